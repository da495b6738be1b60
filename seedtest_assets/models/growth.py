"""Growth of students and the probability of reaching a goal: a Bayesian line for each student.

score_it ~ N((b0 + u0_i) + (b1 + u1_i) t, (kappa se_it)^2), (u0, u1)_i ~ N(0, G); t in weeks, 0 = as_of. The standard
errors are known but for a common factor kappa. The students' deviations u are integrated out (Lindley & Smith 1972;
Laird & Ware 1982), which leaves six parameters and eight sums for each student, however many scores there are.

With A = X'WX / kappa^2 and r = X'W(y - X beta) / kappa^2, u given the student's scores is normal with covariance
V = (G^-1 + A)^-1 = G (I + A G)^-1 and mean V r. For 2 x 2 matrices V = (G + |G| adj A) / |I + A G|, which holds for a
singular G as well.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import elementwise
from scipy.special import ndtr, ndtri

from seedtest_assets.models.irt import Floats, Ints

PARAMETERS = ("intercept", "week", "sd_intercept", "sd_week", "correlation", "kappa")
"""Of the population, in this order in draws and summaries of either engine: b0, b1, the roots of G's diagonal, its
correlation, and the factor of the standard errors."""

TAIL = 0.05
"""Probability left out on each side of an interval."""

FEW, ROUNDING = 3, 1e-12
"""Fewer scores may be equal by chance; more are, if their variance is no more than rounding."""

KEPT_DRAWS = 1000
"""Draws that a posterior hands on, evenly over its chains."""

CELLS_AT_ONCE = 500_000

MAX_RHAT = 1.01
MIN_ESS = 400
MIN_EBFMI = 0.3
"""The gate of publication (Vehtari et al. 2021; Betancourt 2016)."""

TARGET_ACCEPT, CAREFUL, ENOUGH = 0.9, 0.99, 100
"""Acceptance that the sampler's steps aim at. Scores of a student beyond the two that make a line tell errors from
lines; where those are not ENOUGH the posterior has sharp corners, which need small steps."""


@dataclass(frozen=True)
class Priors:
    """Priors of the six parameters: normal (mean, sd), half-Cauchy (scale) and LKJ (shape).

    Attributes:
        intercept: mean and sd of b0.
        week: mean and sd of b1, per week.
        sd_intercept: scale of the half-Cauchy.
        sd_week: scale of the half-Cauchy, per week.
        lkj: shape eta of the correlation, density proportional to (1 - correlation^2)^(eta - 1).
        log_kappa: mean and sd of log kappa.
    """

    intercept: tuple[float, float] = (0.0, 1.0)
    week: tuple[float, float] = (0.0, 0.5)
    sd_intercept: float = 1.0
    sd_week: float = 1.0
    lkj: float = 2.0
    log_kappa: tuple[float, float] = (0.0, 0.5)

    def as_request(self) -> dict[str, Any]:
        """As the growth service takes them: lists and numbers."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


@dataclass(frozen=True)
class Scores:
    """Scores of students in weeks.

    Attributes:
        student: index of the student of each score, in 0..n_students - 1, shape (n,).
        week: weeks after as_of; in the past negative, shape (n,).
        score: logits, shape (n,).
        se: its standard error, > 0, shape (n,).
        n_students: number of students; one may be without a score.
    """

    student: Ints
    week: Floats
    score: Floats
    se: Floats
    n_students: int


@dataclass(frozen=True)
class Statistics:
    """What the likelihood needs of each student's scores; every array has shape (n_students,).

    With weights 1 / se^2: number of scores, sums of weight, of weight times week, week^2, score, week x score and
    score^2, and the sum of log se.
    """

    n: Floats
    w: Floats
    wt: Floats
    wtt: Floats
    wy: Floats
    wty: Floats
    wyy: Floats
    log_se: Floats

    def of(self, student: Ints) -> "Statistics":
        """Those of some students, in the shape of their indices."""
        return Statistics(*(getattr(self, field.name)[student] for field in fields(self)))


def statistics(scores: Scores) -> Statistics:
    """Sufficient statistics of each student.

    Raises:
        ValueError: a score, week or standard error is not finite, a standard error is not positive, or a student is
            not one of n_students.
    """
    for name in ("week", "score", "se"):
        if not np.isfinite(getattr(scores, name)).all():
            raise ValueError(f"every {name} must be a finite number")
    if not (scores.se > 0).all():
        raise ValueError("every se must be greater than 0")
    if ((scores.student < 0) | (scores.student >= scores.n_students)).any():
        raise ValueError(f"every student must be in 0..{scores.n_students - 1}")
    w, t, y = scores.se**-2, scores.week, scores.score
    values = (np.ones_like(w), w, w * t, w * t**2, w * y, w * t * y, w * y**2, np.log(scores.se))
    sums = (np.bincount(scores.student, each, scores.n_students).astype(np.float64) for each in values)
    return Statistics(*sums)


class _Conditional(NamedTuple):
    """A student's deviations given the scores, and what the marginal likelihood takes from them."""

    u0: Any
    u1: Any
    v00: Any
    v01: Any
    v11: Any
    a00: Any
    a01: Any
    a11: Any
    q0: Any  # q = X'S^-1 (y - X beta), S = X G X' + kappa^2 W^-1: the derivative of the log-likelihood by beta
    q1: Any
    determinant: Any  # |I + A G|
    distance: Any  # (y - X beta)' S^-1 (y - X beta)


def _conditional(
    w: Any,
    wt: Any,
    wtt: Any,
    wy: Any,
    wty: Any,
    wyy: Any,
    b0: Any,
    b1: Any,
    sd0: Any,
    sd1: Any,
    correlation: Any,
    kappa: Any,
) -> _Conditional:
    """See the module; of statistics and parameters, arrays that broadcast, or numbers when numba compiles it."""
    g00, g01, g11 = sd0**2, correlation * sd0 * sd1, sd1**2
    det_g = g00 * g11 * (1 - correlation**2)
    precision = kappa**-2.0
    a00, a01, a11 = w * precision, wt * precision, wtt * precision
    determinant = 1 + a00 * g00 + 2 * a01 * g01 + a11 * g11 + (a00 * a11 - a01**2) * det_g
    v00 = (g00 + det_g * a11) / determinant
    v01 = (g01 - det_g * a01) / determinant
    v11 = (g11 + det_g * a00) / determinant
    y0, y1 = wy * precision, wty * precision
    r0, r1 = y0 - b0 * a00 - b1 * a01, y1 - b0 * a01 - b1 * a11
    u0, u1 = v00 * r0 + v01 * r1, v01 * r0 + v11 * r1
    q0, q1 = r0 - a00 * u0 - a01 * u1, r1 - a01 * u0 - a11 * u1
    distance = wyy * precision - b0 * (y0 + r0) - b1 * (y1 + r1) - u0 * r0 - u1 * r1
    return _Conditional(u0, u1, v00, v01, v11, a00, a01, a11, q0, q1, determinant, distance)


def _students(of: Statistics, parameters: Mapping[str, Any]) -> _Conditional:
    return _conditional(of.w, of.wt, of.wtt, of.wy, of.wty, of.wyy, *(parameters[name] for name in PARAMETERS))


@dataclass(frozen=True)
class Posterior:
    """What a sampler found.

    Attributes:
        engine: which one.
        draws: columns PARAMETERS, at most KEPT_DRAWS rows evenly over the chains.
        summary: a row for each of PARAMETERS, from all draws: parameter, mean, sd, q5, q50, q95, rhat, ess_bulk,
            ess_tail (rank-normalised; Vehtari et al. 2021).
        diagnostics: the worst rhat, ess_bulk and ess_tail of the summary; divergences, ebfmi (the smallest of the
            chains), seconds of sampling; chains, samples, warmup (both for each chain) and seed.
    """

    engine: str
    draws: pd.DataFrame
    summary: pd.DataFrame
    diagnostics: dict[str, float]


class TimeIsOver(RuntimeError):
    """Sampling took longer than it was allowed to; nothing of it is kept."""


class NothingToLearn(ValueError):
    """The scores say nothing: there is none, or all are equal."""


def sample(
    statistics: Statistics,
    priors: Priors,
    *,
    chains: int,
    samples: int,
    warmup: int,
    seed: int,
    max_seconds: float,
) -> Posterior:
    """Draws of the six parameters from their posterior by NUTS: PyMC's model, nutpie's sampler.

    The same arguments give the same draws. The first call of a process compiles the model.

    Args:
        statistics: of the scores.
        priors: of the parameters.
        chains: as many at a time as there are cores.
        samples: kept of each chain.
        warmup: steps of each chain before them.
        seed: of the random numbers, >= 0.
        max_seconds: of sampling, without compilation.

    Raises:
        TimeIsOver: after max_seconds.
        NothingToLearn: there is no score, or FEW or more are all equal.
    """
    _require_variation(statistics)
    import nutpie

    of_priors = np.hstack(list(priors.as_request().values()))
    sums = {name: getattr(statistics, name) for name in _SUMS}
    beyond_lines = np.maximum(statistics.n - 2, 0).sum()
    start = time.monotonic()
    sampler = nutpie.sample(
        _compiled().with_data(priors=of_priors, **sums),
        draws=samples,
        tune=warmup,
        chains=chains,
        seed=seed,
        target_accept=TARGET_ACCEPT if beyond_lines >= ENOUGH else CAREFUL,
        progress_bar=False,
        blocking=False,
    )
    try:
        trace = sampler.wait(timeout=max_seconds)
    except TimeoutError:
        sampler.cancel()
        raise TimeIsOver(f"sampling was stopped after {max_seconds:g} seconds") from None
    seconds = time.monotonic() - start
    return _posterior(trace, {"seconds": seconds, "chains": chains, "samples": samples, "warmup": warmup, "seed": seed})


def _require_variation(statistics: Statistics) -> None:
    n, w, wy, wyy = (values.sum() for values in (statistics.n, statistics.w, statistics.wy, statistics.wyy))
    if n == 0:
        raise NothingToLearn("there is no score to learn from")
    if n >= FEW and wyy - wy**2 / w <= ROUNDING * wyy:
        raise NothingToLearn("all scores are equal: standard errors say nothing of them, and kappa falls to 0")


def _posterior(trace: Any, settings: dict[str, float]) -> Posterior:
    import arviz

    by_chain = trace.posterior["parameters"].to_numpy()
    draws = pd.DataFrame(by_chain.reshape(-1, len(PARAMETERS)), columns=PARAMETERS)
    each = [by_chain[:, :, position] for position in range(len(PARAMETERS))]
    summary = pd.DataFrame(
        {
            "parameter": PARAMETERS,
            "mean": draws.mean().to_numpy(),
            "sd": draws.std().to_numpy(),
            **{f"q{share}": draws.quantile(share / 100).to_numpy() for share in (5, 50, 95)},
            "rhat": [arviz.rhat(one) for one in each],
            "ess_bulk": [arviz.ess(one) for one in each],
            "ess_tail": [arviz.ess(one, method="tail") for one in each],
        }
    )
    diagnostics = {
        "rhat": float(summary["rhat"].max(skipna=False)),
        "ess_bulk": float(summary["ess_bulk"].min(skipna=False)),
        "ess_tail": float(summary["ess_tail"].min(skipna=False)),
        "divergences": int(trace.sample_stats["diverging"].sum()),
        "ebfmi": float(arviz.bfmi(trace).min()),
    }
    kept = np.linspace(0, len(draws) - 1, min(len(draws), KEPT_DRAWS)).round().astype(int)
    return Posterior("pymc", draws.iloc[kept].reset_index(drop=True), summary, diagnostics | settings)


def unpublishable(diagnostics: Mapping[str, float]) -> list[str]:
    """Reasons why draws with these diagnostics are not to be published, in words; none if they are good.

    A number that is not known (NaN) is a reason.
    """
    reasons = {
        f"R-hat {diagnostics['rhat']:.3f} is not below {MAX_RHAT}": diagnostics["rhat"] < MAX_RHAT,
        f"bulk ESS {diagnostics['ess_bulk']:.0f} is not above {MIN_ESS}": diagnostics["ess_bulk"] > MIN_ESS,
        f"tail ESS {diagnostics['ess_tail']:.0f} is not above {MIN_ESS}": diagnostics["ess_tail"] > MIN_ESS,
        f"{diagnostics['divergences']:.0f} divergences": diagnostics["divergences"] == 0,
        f"E-BFMI {diagnostics['ebfmi']:.2f} is below {MIN_EBFMI}": diagnostics["ebfmi"] >= MIN_EBFMI,
    }
    return [reason for reason, good in reasons.items() if not good]


_SUMS = tuple(field.name for field in fields(Statistics) if field.name != "log_se")
"""What a posterior needs of the statistics: log se changes no comparison of parameters."""


@cache
def _compiled() -> Any:
    """The model, compiled once for data of any length."""
    import nutpie
    import pymc as pm
    import pytensor
    import pytensor.tensor as pt

    with pm.Model(check_bounds=False) as model:
        sums = [pm.Data(name, np.ones(1)) for name in _SUMS]
        prior = pm.Data("priors", np.ones(9))
        line = pm.Normal("line", prior[0:4:2], prior[1:4:2], shape=2)
        sds = pm.HalfCauchy("sds", prior[4:6], shape=2)
        half = pm.Beta("half", prior[6], prior[6])  # LKJ for one correlation; its logit is twice Fisher's z
        log_kappa = pm.Normal("log_kappa", prior[7], prior[8])
        parameters = pm.Deterministic("parameters", pt.stack([*line, *sds, 2 * half - 1, pt.exp(log_kappa)]))
        pm.Potential("log_likelihood", _likelihood()(parameters, *sums)[0])
    with pytensor.config.change_flags(cxx=""):  # numba compiles all that is slow: no C compiler is needed
        return nutpie.compile_pymc_model(model)


def _likelihood() -> Any:
    """The log-likelihood of all students and its derivatives as an operation of PyTensor, shape (7,).

    One loop over the students, compiled by numba: more than ten times as fast as PyTensor's own derivatives, which
    pass over the students once for each place where a parameter is used.
    """
    import pytensor.tensor as pt
    from pytensor.graph.basic import Apply
    from pytensor.graph.null_type import NullType
    from pytensor.graph.op import Op
    from pytensor.link.numba.dispatch.basic import numba_njit, register_funcify_and_cache_key

    kernel = _with_derivatives(numba_njit)

    class Likelihood(Op):  # type: ignore[misc]  # it has no types
        def make_node(self, *inputs: Any) -> Any:
            return Apply(self, [*map(pt.as_tensor, inputs)], [pt.vector(shape=(1 + len(PARAMETERS),))])

        def perform(self, node: Any, inputs: list[Any], outputs: list[list[Any]]) -> None:
            outputs[0][0] = kernel(*inputs)

        def L_op(self, inputs: list[Any], outputs: list[Any], gradients: list[Any]) -> list[Any]:  # noqa: N802
            return [gradients[0][0] * outputs[0][1:], *(NullType("data")() for _ in inputs[1:])]

    @register_funcify_and_cache_key(Likelihood)  # type: ignore[untyped-decorator]
    def compiled(op: Any, **_: Any) -> tuple[Any, None]:
        return kernel, None

    return Likelihood()


def _with_derivatives(compiler: Callable[[Any], Any]) -> Any:
    """A function of PARAMETERS and the sums; `compiler` makes Python functions fast."""
    conditional = compiler(_conditional)

    def likelihood(
        parameters: Floats, n: Floats, w: Floats, wt: Floats, wtt: Floats, wy: Floats, wty: Floats, wyy: Floats
    ) -> Floats:
        b0, b1, sd0, sd1, correlation, kappa = parameters
        deviance = by_b0 = by_b1 = by_g00 = by_g01 = by_g11 = by_log_kappa = 0.0
        for i in range(len(n)):
            of = conditional(w[i], wt[i], wtt[i], wy[i], wty[i], wyy[i], b0, b1, sd0, sd1, correlation, kappa)
            deviance += np.log(of.determinant) + of.distance
            by_b0 += of.q0
            by_b1 += of.q1
            # By G: (q q' - X'S^-1 X) / 2, where X'S^-1 X = A (I + G A)^-1 = (A + |A| adj G) / |I + A G|.
            det_a = of.a00 * of.a11 - of.a01**2
            by_g00 += of.q0**2 - (of.a00 + det_a * sd1**2) / of.determinant
            by_g01 += of.q0 * of.q1 - (of.a01 - det_a * correlation * sd0 * sd1) / of.determinant
            by_g11 += of.q1**2 - (of.a11 + det_a * sd0**2) / of.determinant
            trace_av = of.a00 * of.v00 + 2 * of.a01 * of.v01 + of.a11 * of.v11
            by_log_kappa += of.distance - of.q0 * of.u0 - of.q1 * of.u1 + trace_av - n[i]
        return np.array(
            [
                -n.sum() * np.log(kappa) - 0.5 * deviance,
                by_b0,
                by_b1,
                by_g00 * sd0 + by_g01 * correlation * sd1,
                by_g11 * sd1 + by_g01 * correlation * sd0,
                by_g01 * sd0 * sd1,
                by_log_kappa / kappa,
            ]
        )

    return compiler(likelihood)


def log_likelihood(statistics: Statistics, parameters: Mapping[str, float]) -> Floats:
    """Log density of each student's scores with the student's deviations integrated out, shape (n_students,).

    Args:
        statistics: of the scores.
        parameters: a value for each of PARAMETERS.
    """
    found = _students(statistics, parameters)
    scale = statistics.n * np.log(2 * np.pi * parameters["kappa"] ** 2) + 2 * statistics.log_se
    return np.asarray(-0.5 * (scale + np.log(found.determinant) + found.distance))


def conditional_line(statistics: Statistics, parameters: Mapping[str, float]) -> tuple[Floats, Floats]:
    """Each student's line (level at as_of, change per week) given the scores and the parameters.

    It is normal: fixed effects plus what lme4 calls the conditional modes, with their conditional variance.

    Returns:
        Mean, shape (n_students, 2), and covariance, shape (n_students, 2, 2).
    """
    found = _students(statistics, parameters)
    mean = np.stack([parameters["intercept"] + found.u0, parameters["week"] + found.u1], axis=-1)
    covariance = np.stack([found.v00, found.v01, found.v01, found.v11], axis=-1)
    return mean, covariance.reshape(-1, 2, 2)


def goal_probability(
    statistics: Statistics, draws: pd.DataFrame, student: Ints, week: Floats, target: Floats
) -> pd.DataFrame:
    """Probability that a student's line is at or above the target in the goal's week.

    Args:
        statistics: of the scores; a student without one has the population's line.
        draws: of the posterior, columns PARAMETERS; a single row is a normal approximation without an interval.
        student: index of each goal's student, shape (goals,).
        week: of each goal, weeks after as_of, shape (goals,).
        target: level to reach, logits, shape (goals,).

    Returns:
        A row for each goal. With m and s the conditional mean and sd of the line in that week and
        p = Phi((m - target) / s) for each draw: p_goal, the mean of p; p_lower and p_upper, its 5 % and 95 % quantiles
        (NaN with one draw); mu, the mean of m; sigma, the whole sd of the line, sqrt(mean s^2 + var m).

    Raises:
        ValueError: a week or target is not finite.
    """
    return combination_probability(statistics, draws, student, _at(week), np.zeros(len(week)), target)


def combination_probability(
    statistics: Statistics, draws: pd.DataFrame, student: Ints, weights: Floats, variance: Floats, target: Floats
) -> pd.DataFrame:
    """As `goal_probability`, of weights x (level, change per week) of students' lines plus N(0, variance).

    Args:
        statistics: of the scores.
        draws: of the posterior, columns PARAMETERS.
        student: index of each goal's student, shape (goals,).
        weights: shape (2, goals).
        variance: of what is added, shape (goals,).
        target: shape (goals,).
    """
    for name, values in (("week", weights), ("target", target)):
        if not np.isfinite(values).all():
            raise ValueError(f"the {name} of every goal must be a finite number")
    columns = ("p_goal", "p_lower", "p_upper", "mu", "sigma")
    found = np.empty((len(columns), len(student)))
    rows = max(1, CELLS_AT_ONCE // len(draws))
    for start in range(0, len(student), rows):
        some = slice(start, start + rows)
        mean, of_line = _combination(statistics, draws, student[some], weights[:, some])
        total = of_line + variance[some, None]
        p = _at_least(mean, np.sqrt(total), target[some, None])
        interval = np.quantile(p, [TAIL, 1 - TAIL], axis=1) if len(draws) > 1 else np.full((2, len(p)), np.nan)
        sigma = np.sqrt(total.mean(axis=1) + mean.var(axis=1))
        found[:, some] = p.mean(axis=1), *interval, mean.mean(axis=1), sigma
    return pd.DataFrame(dict(zip(columns, found, strict=True)))


def _at(week: Floats) -> Floats:
    """Weights of level and change per week in a line's value, shape (2, rows)."""
    return np.stack([np.ones(len(week)), week])


def _combination(statistics: Statistics, draws: pd.DataFrame, student: Ints, weights: Floats) -> tuple[Floats, Floats]:
    """Mean and variance of weights x (level, change) for each draw, both of shape (rows, draws)."""
    parameters = {name: draws[name].to_numpy(dtype=float) for name in PARAMETERS}
    found = _students(statistics.of(student[:, None]), parameters)
    x0, x1 = weights[:, :, None]
    mean = x0 * (parameters["intercept"] + found.u0) + x1 * (parameters["week"] + found.u1)
    variance = x0**2 * found.v00 + 2 * x0 * x1 * found.v01 + x1**2 * found.v11
    return mean, np.maximum(variance, 0)  # rounding, where correlation is 1


def _at_least(mean: Floats, sd: Floats, target: Floats) -> Floats:
    """P(N(mean, sd^2) >= target); what has no spread is there or is not."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sd > 0, ndtr((mean - target) / sd), mean >= target)


@dataclass(frozen=True)
class Mixture:
    """What is predicted of scores: for each an equally weighted mixture of normal distributions, one for each draw.

    Attributes:
        means: shape (rows, draws).
        sds: > 0, shape (rows, draws).
    """

    means: Floats
    sds: Floats

    @property
    def mean(self) -> Floats:
        """Shape (rows,)."""
        return np.asarray(self.means.mean(axis=1))

    @property
    def sd(self) -> Floats:
        """Shape (rows,)."""
        return np.asarray(np.sqrt((self.sds**2).mean(axis=1) + self.means.var(axis=1)))

    def below(self, score: Floats) -> Floats:
        """P(score of the row < score), shape (rows,): of what came true, uniform if the predictions are calibrated."""
        return np.asarray(ndtr((score[:, None] - self.means) / self.sds).mean(axis=1))

    def at_least(self, score: Floats) -> Floats:
        """P(score of the row >= score), shape (rows,)."""
        return np.asarray(ndtr((self.means - score[:, None]) / self.sds).mean(axis=1))

    def quantile(self, share: float) -> Floats:
        """The score that this share lies below, shape (rows,)."""

        def excess(score: Floats, row: Ints) -> Floats:
            return Mixture(self.means[row], self.sds[row]).below(score) - share

        of_draws = self.means + ndtri(share) * self.sds
        rounding = 1e-9 * self.sds.max(axis=1)  # with a single draw both ends are the answer, or nearly
        bracket = of_draws.min(axis=1) - rounding, of_draws.max(axis=1) + rounding
        return np.asarray(elementwise.find_root(excess, bracket, args=(np.arange(len(self.means)),)).x)

    def crps(self, score: Floats) -> Floats:
        """Continuous ranked probability score of what came true, E|X - score| - E|X - X'| / 2, shape (rows,).

        In closed form (Grimit et al. 2006), for rows x draws^2 pairs.
        """
        to_score = _mean_distance(score[:, None] - self.means, self.sds).mean(axis=1)
        within = [
            _mean_distance(mean[:, None] - mean, np.hypot(sd[:, None], sd)).mean()
            for mean, sd in zip(self.means, self.sds, strict=True)
        ]
        return np.asarray(to_score - 0.5 * np.array(within))


def predictive(statistics: Statistics, draws: pd.DataFrame, student: Ints, week: Floats, se: Floats) -> Mixture:
    """Scores that students will have, or might have had: line and residual.

    Args:
        statistics: of the scores that are known.
        draws: of the posterior, columns PARAMETERS.
        student: index of the student of each score to predict, shape (rows,).
        week: of each, weeks after as_of, shape (rows,).
        se: standard error of each, shape (rows,).
    """
    mean, variance = _combination(statistics, draws, student, _at(week))
    return Mixture(mean, np.sqrt(variance + np.outer(se, draws["kappa"]) ** 2))


def _mean_distance(mean: Floats, sd: Floats) -> Floats:
    """E|N(mean, sd^2)|."""
    z = mean / sd
    return np.asarray(2 * sd * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) + mean * (2 * ndtr(z) - 1))
