"""The hazard of coming back after an active day: a Cox model of the time to the next (Cox 1972).

Ties by Efron (1977), gaps that come into view late (left truncation), standard errors robust to the gaps of one student
(Lin & Wei 1989), a score test of proportional hazards (Grambsch & Therneau 1994) and Harrell's concordance: the same
numbers as R's `survival`. Times are whole days, of which there are few: every sum over a risk set is a running
sum over days, and a fit of a million gaps takes seconds.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.linalg import solve
from scipy.stats import chi2, norm

from seedtest_assets.models.irt import Bools, Floats, Ints
from seedtest_assets.models.landmarks import COVARIATES
from seedtest_assets.models.survival import (
    CLOSE,
    FEWEST,
    ILL_CONDITIONED,
    MAX_ITERATIONS,
    ROUNDING,
    covariate_scale,
    standardise,
)


def fit_cox(gaps: pd.DataFrame) -> dict[str, Any]:
    """The Cox model of the gaps, as JSON; the same fields as the forecast service's /survival/cox.

    Args:
        gaps: columns of `return_gaps`.

    Returns:
        status ("fitted", "too few events": fewer than FEWEST returns or students, "no covariate": all are constant,
        or "not converged"), n (gaps), n_students, events, dropped (constant covariates), and, None unless
        fitted, names, coef, hr, se, p, covariates (how they were standardised), concordance, and ph_test: columns
        name, chisq, df, p, whose last row is GLOBAL. Concordance is None without a pair, chisq and p where the data
        cannot be tested.
    """
    scales = {name: scale for name in COVARIATES if (scale := covariate_scale(gaps[name].to_numpy(dtype=float)))}
    students, student = np.unique(gaps["student"].to_numpy(), return_inverse=True)
    events = int(gaps["returned"].sum())
    dropped = [name for name in COVARIATES if name not in scales]
    counts = {"n": len(gaps), "n_students": len(students), "events": events, "dropped": dropped}
    parts = ("names", "coef", "hr", "se", "p", "covariates", "concordance", "ph_test")
    nothing = {**counts, **dict.fromkeys(parts)}
    if min(events, len(students)) < FEWEST:
        return {"status": "too few events", **nothing}
    if not scales:
        return {"status": "no covariate", **nothing}
    x = np.column_stack([standardise(gaps[name].to_numpy(dtype=float), scale) for name, scale in scales.items()])
    start, stop, returned = (gaps[name].to_numpy(np.int64) for name in ("start", "stop", "returned"))
    times = Times.of(start, stop, returned == 1)
    fit = cox(x, times, student)
    if not fit.converged:
        return {"status": "not converged", **nothing}
    df = np.append(np.ones(len(scales), np.int64), len(scales))
    return {
        "status": "fitted",
        **counts,
        "names": list(scales),
        "coef": fit.coefficients.tolist(),
        "hr": np.exp(fit.coefficients).tolist(),
        "se": fit.se.tolist(),
        "p": np.asarray(2 * norm.sf(np.abs(fit.coefficients) / fit.se)).tolist(),
        "covariates": scales,
        "concordance": _known(concordance(scores(x, fit.coefficients), times)),
        "ph_test": {
            "name": [*scales, "GLOBAL"],
            "chisq": [_known(value) for value in fit.proportionality],
            "df": df.tolist(),
            "p": [_known(value) for value in np.asarray(chi2.sf(fit.proportionality, df))],
        },
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


@dataclass(frozen=True)
class Times:
    """When each of n subjects is at risk, after `start` up to and at `stop`, and whether its event falls at `stop`.

    Attributes:
        event: shape (n,).
        first: number of distinct event times up to start, shape (n,).
        last: number of distinct event times up to stop, shape (n,).
        n_times: number of distinct event times.
    """

    event: Bools
    first: Ints
    last: Ints
    n_times: int

    @classmethod
    def of(cls, start: Ints | Floats, stop: Ints | Floats, event: Bools) -> "Times":
        """From times themselves."""
        times = np.unique(stop[event])
        first, last = (np.searchsorted(times, moment, side="right").astype(np.int64) for moment in (start, stop))
        return cls(event, first, last, len(times))

    def at_risk(self, weight: Floats, values: Floats) -> Floats:
        """Weighted sum of values (n, k) over the risk set of each event time, shape (n_times, k)."""
        late = self.first > 0
        return self._after(self.last, weight, values) - self._after(self.first[late], weight[late], values[late])

    def at_event(self, weight: Floats, values: Floats) -> Floats:
        """Weighted sum of values (n, k) over the events of each event time, shape (n_times, k)."""
        return _sums(self.last[self.event] - 1, weight[self.event], values[self.event], self.n_times)

    def _after(self, position: Ints, weight: Floats, values: Floats) -> Floats:
        return np.asarray(np.cumsum(_sums(position, weight, values, self.n_times + 1)[:0:-1], axis=0)[::-1])


def _sums(group: Ints, weight: Floats, values: Floats, n_groups: int) -> Floats:
    """Weighted sums of values (n, k) over the rows of each group, shape (n_groups, k)."""
    members = sparse.csc_array((weight, group, np.arange(len(group) + 1)), shape=(n_groups, len(group)))
    return np.asarray(members @ values)


@dataclass(frozen=True)
class CoxFit:
    """A Cox model.

    Attributes:
        coefficients: log hazard ratios, shape (k,).
        se: standard errors robust to dependence within students, shape (k,).
        proportionality: score statistics of a coefficient that changes with the Kaplan-Meier estimate of having
            come back: of each covariate (1 df), then of all together (k df); shape (k + 1,).
        converged: whether the maximum was reached; otherwise se and proportionality are NaN.
    """

    coefficients: Floats
    se: Floats
    proportionality: Floats
    converged: bool


@dataclass(frozen=True)
class _RiskSets:
    """Efron's sums at some coefficients, over event times t and the events r = 0..d - 1 tied at t.

    Event r sees the tied ones with weight 1 - r/d.

    Attributes:
        log_likelihood: of all events.
        score: sum of x - mean of x in the risk set, by event time, shape (n_times, k).
        mean: mean of x in the risk set, averaged over the tied events, shape (n_times, k).
        information: covariance of x in the risk set, by event time, shape (n_times, k, k).
        weight: exp(x b), shape (n,).
        hazard: increments of the baseline cumulative hazard, shape (n_times,).
        mean_hazard: the same times the mean of x, shape (n_times, k).
        tied_hazard, tied_mean_hazard: the part that an event of that time does not see, shapes as above.
    """

    log_likelihood: float
    score: Floats
    mean: Floats
    information: Floats
    weight: Floats
    hazard: Floats
    mean_hazard: Floats
    tied_hazard: Floats
    tied_mean_hazard: Floats

    @classmethod
    def at(cls, coefficients: Floats, x: Floats, products: Floats, times: Times) -> "_RiskSets":
        """Sums at some coefficients; `products` has columns 1, x and the upper triangle of x x'."""
        k = x.shape[1]
        weight = np.exp(x @ coefficients)
        everyone, tied = times.at_risk(weight, products), times.at_event(weight, products)
        deaths = np.bincount(times.last[times.event] - 1, minlength=times.n_times)
        time = np.repeat(np.arange(times.n_times), deaths)
        share = (np.arange(len(time)) - np.repeat(np.cumsum(deaths) - deaths, deaths)) / deaths[time]
        sums = everyone[time] - share[:, None] * tied[time]
        ones, inverse = np.ones(len(time)), 1 / sums[:, 0]
        means = sums * inverse[:, None]
        mean = means[:, 1 : k + 1]
        row, column = np.triu_indices(k)
        covariance = np.empty((times.n_times, k, k))
        upper = _sums(time, ones, means[:, k + 1 :] - mean[:, row] * mean[:, column], times.n_times)
        covariance[:, row, column] = covariance[:, column, row] = upper
        total, unseen = (
            _sums(time, weights, means[:, : k + 1], times.n_times) for weights in (inverse, inverse * share)
        )
        total_mean = _sums(time, ones, mean, times.n_times)
        return cls(
            float((x[times.event] @ coefficients).sum() + np.log(inverse).sum()),
            times.at_event(np.ones(len(x)), x) - total_mean,
            total_mean / deaths[:, None],
            covariance,
            weight,
            total[:, 0],
            total[:, 1:],
            unseen[:, 0],
            unseen[:, 1:],
        )


def cox(x: Floats, times: Times, student: Ints) -> CoxFit:
    """Maximum of the partial likelihood by Newton's method, its step halved while the likelihood falls.

    Args:
        x: covariates, standardised, shape (n, k).
        times: of the n subjects.
        student: index of the student of each subject, shape (n,).
    """
    n, k = x.shape
    coefficients = np.zeros(k)
    row, column = np.triu_indices(k)
    products = np.column_stack([np.ones(n), x, x[:, row] * x[:, column]])
    at = _RiskSets.at(coefficients, x, products, times)
    converged, iterations = False, 0
    while not converged and iterations < MAX_ITERATIONS:
        information, gradient = at.information.sum(axis=0), at.score.sum(axis=0)
        if not np.linalg.cond(information) < ILL_CONDITIONED:
            break
        step = solve(information, gradient, assume_a="pos")
        converged = bool(gradient @ step < CLOSE)
        reached = _RiskSets.at(coefficients + step, x, products, times)
        while reached.log_likelihood < at.log_likelihood - ROUNDING * abs(at.log_likelihood):
            step /= 2
            reached = _RiskSets.at(coefficients + step, x, products, times)
        coefficients, at, iterations = coefficients + step, reached, iterations + 1
    if not converged:
        return CoxFit(coefficients, np.full(k, np.nan), np.full(k + 1, np.nan), converged)
    bread = np.linalg.inv(at.information.sum(axis=0))
    influence = _sums(student, np.ones(n), _score_residuals(at, x, times), int(student.max()) + 1) @ bread
    return CoxFit(coefficients, np.sqrt(np.sum(influence**2, axis=0)), _proportionality(at, times), converged)


def _score_residuals(at: _RiskSets, x: Floats, times: Times) -> Floats:
    """Each subject's part of the score, shape (n, k): its event's, minus what its time at risk made expected."""
    hazard = np.concatenate([[0], np.cumsum(at.hazard)])
    mean_hazard = np.concatenate([np.zeros((1, x.shape[1])), np.cumsum(at.mean_hazard, axis=0)])
    seen, seen_mean = (total[times.last] - total[times.first] for total in (hazard, mean_hazard))
    residual = np.asarray(at.weight[:, None] * (seen_mean - x * seen[:, None]))
    event, time = times.event, times.last[times.event] - 1
    unseen = x[event] * at.tied_hazard[time, None] - at.tied_mean_hazard[time]
    residual[event] += x[event] - at.mean[time] + at.weight[event, None] * unseen
    return residual


def _proportionality(at: _RiskSets, times: Times) -> Floats:
    """Score statistics of x g(t) beside x, with g the Kaplan-Meier estimate of an event before t, centred.

    NaN where all events come at one time, or are too few to tell x g(t) from x.
    """
    one = np.ones(len(times.event))
    deaths = times.at_event(one, one[:, None])[:, 0]
    surviving = np.cumprod(1 - deaths / times.at_risk(one, one[:, None])[:, 0])
    g = 1 - np.concatenate([[1], surviving[:-1]])
    g -= g @ deaths / deaths.sum()
    k = at.score.shape[1]
    score = np.concatenate([np.zeros(k), g @ at.score])
    blocks = [np.einsum("t,tij->ij", g**power, at.information) for power in (0, 1, 2)]
    information = np.block([[blocks[0], blocks[1]], [blocks[1], blocks[2]]])
    if not np.linalg.cond(information) < ILL_CONDITIONED:
        return np.full(k + 1, np.nan)

    def statistic(tested: list[int]) -> float:
        some = [*range(k), *(k + j for j in tested)]
        return float(score[some] @ np.linalg.solve(information[np.ix_(some, some)], score[some]))

    return np.array([*(statistic([j]) for j in range(k)), statistic(list(range(k)))])


def scores(x: Floats, coefficients: Floats) -> Floats:
    """Linear predictors, shape (n,), summed in one order: equal covariates have equal scores to the last digit."""
    return np.asarray((x * coefficients).sum(axis=1))


def concordance(score: Floats, times: Times) -> float:
    """Share of pairs, an event and another subject still at risk after it, in which the event has the higher score.

    Ties of the score count half (Harrell et al. 1982). NaN when there is no pair.
    """
    order = np.argsort(score, kind="stable")
    value, first, last, event = score[order], times.first[order], times.last[order], times.event[order]
    concordant, pairs = 0.0, 0
    here = np.arange(len(score))
    for time in range(times.n_times):
        here = here[last[here] > time]
        at_risk = here[first[here] <= time]
        ends = event[at_risk] & (last[at_risk] == time + 1)
        mine, others = value[at_risk[ends]], value[at_risk[~ends]]
        concordant += sum(float(np.searchsorted(others, mine, side).sum()) for side in ("left", "right")) / 2
        pairs += len(mine) * len(others)
    return concordant / pairs if pairs else float("nan")
