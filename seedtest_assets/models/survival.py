"""The risk of falling silent: a logistic regression for each horizon, and what its parameters alone predict.

It pools all landmarks of all students (Allison 1982; van Houwelingen 2007). Design, prior, covariance and risk model,
which is JSON, are those of the forecast service's /survival/fit and /survival/predict. An event needs the rest of the
14 silent days first: where they do not fit into the horizon the risk is exactly 0, and those landmarks have no part
in the fit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.linalg import solve
from scipy.special import expit, log_expit, ndtri
from scipy.stats import rankdata

from seedtest_assets.models.irt import Bools, Floats, Ints
from seedtest_assets.models.landmarks import COVARIATES, HORIZONS

HorizonModel = dict[str, Any]
"""What `fit_risk` says of a horizon."""

FULL, RECENCY = "full", "recency"
"""The whole model, and that of idle days alone."""

FEWEST = 10
"""Events, landmarks without one, and students that a fit needs."""

IDLE_PRIOR_SD = 2.5
"""Of an idle day's coefficient, around 0: weak, but separated data keep a maximum."""

PRIOR_SD = 0.1
"""Of the other coefficients: where data are few, idle days speak alone (benchmarks/churn compares it with others)."""

TAIL = 0.05
"""Probability left out on each side of an interval."""

MAX_ITERATIONS = 50
CLOSE = 1e-16
"""Squared length of Newton's last step, in standard errors."""

ILL_CONDITIONED = 1e12
ROUNDING = 1e-13
"""At the maximum a step changes the log posterior by less than a double can show."""

ROWS_AT_ONCE = 50_000


def fit_risk(
    landmarks: pd.DataFrame, horizons: tuple[int, ...] = HORIZONS, *, prior_sd: float = PRIOR_SD
) -> list[HorizonModel]:
    """The risk model: for each horizon how the design is made, coefficients and their covariance.

    Args:
        landmarks: columns of `training_landmarks`, in any order.
        horizons: days, of those that the landmarks have outcomes for.
        prior_sd: of the coefficients that are not of idle days, around 0.

    Returns:
        For each horizon, ascending: horizon, n (landmarks), n_students, events, status ("fitted", "too few
        events": fewer than FEWEST events, landmarks without or students, or "not converged"), iterations;
        idle_levels, covariates, holidays and weekdays, of which the design is made, its terms, their
        coefficients and covariance (None unless fitted), what was dropped because it was constant; and
        recency, terms, coefficients and covariance of the model of idle days alone: the baseline, and what
        is left when the whole model fails.
    """
    return [_fit_horizon(landmarks, horizon, prior_sd) for horizon in sorted(horizons)]


def predict_risk(rows: pd.DataFrame, model: list[HorizonModel], *, recency_only: bool = False) -> pd.DataFrame:
    """Risks with 90 % intervals, made non-decreasing in the horizon by cumulative maxima.

    Args:
        rows: columns of `at_risk`, in any order; holidays_<h> for each of the model's horizons.
        model: of `fit_risk` or of the forecast service.
        recency_only: by idle days alone. Otherwise that is done only where the whole model has no coefficients.

    Returns:
        Columns student, horizon, risk, risk_lower, risk_upper, rank (1 is the highest risk of the horizon; equal
        risks share the smaller number) and model ("full", "recency", or "none": a risk that is not 0 is then
        NaN), all rows at the shortest horizon first.
    """
    found: list[pd.DataFrame] = []
    highest = np.zeros((3, len(rows)))
    for of_horizon in sorted(model, key=lambda one: int(one["horizon"])):
        name, parameters = usable_parameters(of_horizon, recency_only=recency_only)
        highest = np.fmax(highest, at := _risk_at(rows, of_horizon, parameters))
        published = np.where(np.isnan(at), np.nan, highest)
        found.append(
            pd.DataFrame(
                {
                    "student": rows["student"].to_numpy(),
                    "horizon": of_horizon["horizon"],
                    **dict(zip(("risk", "risk_lower", "risk_upper"), published, strict=True)),
                    "rank": rankdata(-published[0], "min", nan_policy="omit"),
                    "model": name,
                }
            )
        )
    return pd.concat(found, ignore_index=True)


def usable_parameters(model: HorizonModel, *, recency_only: bool) -> tuple[str, HorizonModel | None]:
    """The whole model's parameters (FULL), or those of idle days alone (RECENCY), or none ("none"), with their name."""
    if model["coefficients"] is not None and not recency_only:
        return FULL, model
    if model["recency"] is not None and model["recency"]["coefficients"] is not None:
        return RECENCY, model["recency"]
    return "none", None


def _risk_at(rows: pd.DataFrame, model: HorizonModel, parameters: HorizonModel | None) -> Floats:
    """Risk and its limits at one horizon, shape (3, rows)."""
    risks = np.where(_can_happen(rows, model["horizon"]), np.nan, np.zeros((3, len(rows))))
    if parameters is None:
        return risks
    coefficients, covariance = np.array(parameters["coefficients"]), np.array(parameters["covariance"])
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some = slice(start, start + ROWS_AT_ONCE)
        x = _design(rows.iloc[some], model, parameters["terms"])
        se = np.sqrt(np.maximum(np.einsum("jn,jk,kn->n", x, covariance, x, optimize=True), 0))
        limits = expit(coefficients @ x + np.outer([0, ndtri(TAIL), -ndtri(TAIL)], se))
        risks[:, some] = np.where(np.isnan(risks[:, some]), limits, risks[:, some])
    return risks


def _can_happen(rows: pd.DataFrame, horizon: int) -> Bools:
    return np.asarray(rows["due"].to_numpy() <= horizon)


def _fit_horizon(landmarks: pd.DataFrame, horizon: int, prior_sd: float) -> HorizonModel:
    outcome = landmarks[f"event_{horizon}"].to_numpy(dtype=float)
    used = ~np.isnan(outcome) & _can_happen(landmarks, horizon)
    rows, y = landmarks[used], outcome[used]
    students, student = np.unique(rows["student"].to_numpy(), return_inverse=True)
    counts = {"horizon": horizon, "n": len(y), "n_students": len(students), "events": int(y.sum())}
    nothing = dict.fromkeys(("coefficients", "covariance"))
    if min(y.sum(), (1 - y).sum(), len(students)) < FEWEST:
        parts = dict.fromkeys(("idle_levels", "covariates", "holidays", "weekdays", "terms", "dropped", "recency"))
        return {**counts, "status": "too few events", "iterations": 0, **parts, **nothing}
    design = _describe(rows, horizon)
    found: dict[str, HorizonModel] = {}
    recency = _recency_terms(design)
    for name, terms in ((RECENCY, recency), (FULL, design["terms"])):
        of_terms = np.array([np.inf, *np.where(np.isin(terms[1:], recency), IDLE_PRIOR_SD, prior_sd)])
        fit = fit_logistic(_design(rows, design, terms), y, student, of_terms)
        parameters = {"coefficients": fit.coefficients.tolist(), "covariance": fit.covariance.tolist()}
        found[name] = {"terms": terms, **(parameters if fit.converged else nothing)}
    status = {"status": "fitted" if fit.converged else "not converged", "iterations": fit.iterations}
    return {**counts, **status, **design, **found[FULL], "recency": found[RECENCY]}


def _describe(rows: pd.DataFrame, horizon: int) -> HorizonModel:
    """How the design is made from training rows; what is constant says nothing and is left out."""
    idle, weekdays = np.unique(rows["idle"]), np.unique(rows["weekday"])
    scales = {name: scale for name in COVARIATES if (scale := covariate_scale(rows[name].to_numpy(dtype=float)))}
    days_off = rows[f"holidays_{horizon}"].to_numpy(dtype=float)
    design = {
        "horizon": horizon,
        "idle_levels": idle.tolist(),
        "covariates": scales,
        "holidays": None if np.ptp(days_off) == 0 else {"mean": float(days_off.mean()), "sd": float(days_off.std())},
        "weekdays": [int(day) for day in weekdays if day > 1 and len(weekdays) > 1],
    }
    flat = [f"{name}_idle" for name in scales if idle.tolist() == [7]]
    terms = [name for name, _ in _columns(rows.iloc[:0], design) if name not in flat]
    dropped = [name for name in COVARIATES if name not in scales] + flat
    dropped += [f"weekday_{day}" for day in weekdays if day > 1 and len(weekdays) == 1]
    dropped += ["holidays"] if design["holidays"] is None else []
    return {**design, "terms": terms, "dropped": dropped}


def covariate_scale(values: Floats) -> dict[str, Any] | None:
    """Median, mean and sd of the known values, and whether any is missing, or None for a constant."""
    missing = np.isnan(values)
    known = values[~missing]
    if len(known) == 0 or np.ptp(known) == 0:
        return None
    numbers = {"median": np.median(known), "mean": known.mean(), "sd": known.std()}
    return {name: float(number) for name, number in numbers.items()} | {"missing": bool(missing.any())}


def standardise(values: Floats, scale: dict[str, Any]) -> Floats:
    """A covariate with its training median for what is missing, by its training mean and sd."""
    return np.asarray((np.where(np.isnan(values), scale["median"], values) - scale["mean"]) / scale["sd"])


def _recency_terms(design: HorizonModel) -> list[str]:
    return ["intercept", *(f"idle_{level}" for level in design["idle_levels"][1:])]


def _columns(rows: pd.DataFrame, design: HorizonModel) -> Iterator[tuple[str, Floats | Bools]]:
    """The columns that a design can have, in order; an idle level that training has not seen is the nearest it has."""
    levels = np.array(design["idle_levels"])
    idle = levels[np.argmin(np.abs(levels - rows["idle"].to_numpy()[:, None]), axis=1)]
    yield "intercept", np.ones(len(rows))
    for level in levels[1:]:
        yield f"idle_{level}", idle == level
    for name, scale in design["covariates"].items():
        values = rows[name].to_numpy(dtype=float)
        standardised = standardise(values, scale)
        yield name, standardised
        if scale["missing"]:
            yield f"{name}_missing", np.isnan(values)
        yield f"{name}_idle", standardised * (idle - 7) / 7
    for day in design["weekdays"]:
        yield f"weekday_{day}", rows["weekday"].to_numpy() == day
    if design["holidays"] is not None:
        days_off = rows[f"holidays_{design['horizon']}"].to_numpy(dtype=float)
        yield "holidays", (days_off - design["holidays"]["mean"]) / design["holidays"]["sd"]


def _design(rows: pd.DataFrame, design: HorizonModel, terms: list[str]) -> Floats:
    """A row for each of `terms`, shape (terms, rows)."""
    x = np.empty((len(terms), len(rows)))
    at = {name: position for position, name in enumerate(terms)}
    for name, column in _columns(rows, design):
        if name in at:
            x[at[name]] = column
    return x


@dataclass(frozen=True)
class LogisticFit:
    """A logistic regression with a normal prior.

    Attributes:
        coefficients: mode of the posterior, shape (terms,).
        covariance: sandwich of the inverse information around the students' summed scores, times G / (G - 1) for G
            students (Liang & Zeger 1986), and the prior's precision, shape (terms, terms). The prior is in the
            information, which pulls estimates towards 0; among the scores it stands for that bias, squared and averaged
            over the prior. When rows do not depend on each other, this is the posterior covariance.
        iterations: Newton steps.
        converged: whether the mode was reached; otherwise the covariance is NaN.
    """

    coefficients: Floats
    covariance: Floats
    iterations: int
    converged: bool


def fit_logistic(x: Floats, y: Floats, student: Ints, prior_sd: Floats) -> LogisticFit:
    """Newton's method, its step halved while the log posterior falls.

    It ends with a step of less than 1e-8 standard errors, gradient' H^-1 gradient < 1e-16. Without a prior there may be
    no maximum to come to.

    Args:
        x: design, a row for each term, shape (terms, n).
        y: outcomes, 0 or 1, shape (n,).
        student: index of the student of each row, each with a row, shape (n,).
        prior_sd: of the coefficients, around 0; infinite for no prior, shape (terms,).
    """
    precision = prior_sd**-2

    def log_posterior(at: Floats) -> float:
        logit = at @ x
        return float(np.sum(y * logit + log_expit(-logit)) - precision @ at**2 / 2)

    coefficients = np.zeros(len(x))
    value, converged, iterations = log_posterior(coefficients), False, 0
    while not converged and iterations < MAX_ITERATIONS:
        p = expit(coefficients @ x)
        information = _information(x, p, precision)
        if not np.linalg.cond(information) < ILL_CONDITIONED:
            break
        gradient = x @ (y - p) - precision * coefficients
        step = solve(information, gradient, assume_a="pos")
        converged = bool(gradient @ step < CLOSE)
        reached = log_posterior(coefficients + step)
        while reached < value - ROUNDING * abs(value):
            step /= 2
            reached = log_posterior(coefficients + step)
        coefficients, value, iterations = coefficients + step, reached, iterations + 1
    if not converged:
        return LogisticFit(coefficients, np.full((len(x), len(x)), np.nan), iterations, converged)
    p = expit(coefficients @ x)
    n_students = int(student.max()) + 1
    scores = np.array([np.bincount(student, weights=row * (y - p), minlength=n_students) for row in x])
    bread = np.linalg.inv(_information(x, p, precision))
    covariance = bread @ (scores @ scores.T * n_students / (n_students - 1) + np.diag(precision)) @ bread
    return LogisticFit(coefficients, (covariance + covariance.T) / 2, iterations, converged)


def _information(x: Floats, p: Floats, precision: Floats) -> Floats:
    """Negative second derivative of the log posterior; no copy is ever as large as the design."""
    total = np.diag(precision)
    for start in range(0, x.shape[1], ROWS_AT_ONCE):
        some = slice(start, start + ROWS_AT_ONCE)
        total += (x[:, some] * (p[some] * (1 - p[some]))) @ x[:, some].T
    return total
