"""Unusual weeks of students: how far a week's value lies from what the student's own earlier weeks let expect.

The forecast is that of `models.anomaly_level`, made without the week; what students have in common is estimated from
the earlier weeks. A score is the standard normal quantile of the predictive t's probability, so that 2.5 means the same
with five weeks as with fifty. A week is flagged when |score| is at or above the threshold and, among all students of
the week, Benjamini & Hochberg's (1995) q is at most MOST_FALSE.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import ndtri, ndtri_exp, stdtr, stdtrit
from scipy.stats import false_discovery_control, t

from seedtest_assets.models.anomaly_level import LEAST_COHORT, Parameters, one_step, row_medians
from seedtest_assets.models.irt import Floats

THRESHOLD = 2.5
MOST_FALSE = 0.10
"""Share of the week's flags that may be false on average."""

LEAST_WEEKS = 4
"""Earlier weeks with a value below which there is no score: three make a level's start, the fourth tests it."""

TAIL = 0.05
"""Probability left out on each side of an interval."""

NO_VALUE = "no value in the week"
TOO_SHORT = f"fewer than {LEAST_WEEKS} earlier weeks with a value"
NO_VARIATION = "earlier weeks do not vary"

LOG_SCALE, LOG_DRIFT = (0.0, 0.5), (np.log(0.1), 1.0)
LOG_SCALE_DF, LOG_TAIL_DF = (np.log(10), 1.0), (np.log(10), 1.0)
"""Mean and sd of normal priors, of scale / its moment estimate, drift / noise, and degrees of freedom: they decide for
a student alone, and give way to a cohort."""

FARTHEST = 5.0
"""Prior sds within which the mode is looked for."""

LEAST_TAIL_DF, MOST_TELLING = 4.0, 4.0
"""Noise has at least so many degrees of freedom, and an error beyond so many sds tells no more than one of so many:
else one spike in a short history would pass for heavy tails, under which nothing is unusual."""

SAMPLED = 500
"""Students behind the four: with the weeks before they make thousands of errors, which is plenty for four numbers."""

ROUNDING = 1e-12
"""Of the largest value: what varies no more than this does not vary."""

MAD = float(1 / ndtri(0.75))
"""Sd of a normal distribution per median absolute deviation."""


class UnusableValues(ValueError):
    """Values or standard errors that cannot be scored."""


def cohort_parameters(history: Floats, se: Floats | None = None) -> Parameters | None:
    """What the students' earlier weeks have in common; None where there is nothing that tells how much a week varies.

    Center and spread of levels are the median and MAD of the students' medians, less the noise that these have; scale,
    drift and both degrees of freedom are at the mode of the posterior, whose likelihood is that of the one-step
    forecasts (Dawid 1984). Of more than SAMPLED students it takes evenly many of all levels. A scale that no standard
    errors tell is as uncertain as the number of errors that it was found from; the tails carry that.

    Args:
        history: weeks before the one that is scored, ascending, NaN where missing, shape (students, weeks).
        se: standard errors of the values, > 0; None if they are not known.
    """
    errors = _errors(history, se)
    some = np.count_nonzero(~np.isnan(history), axis=1) >= 2
    if not some.any():
        return None
    history, errors = _ordered(history[some], errors[some])
    known = ~np.isnan(history)
    deviation = (history - row_medians(history)[:, None])[known]
    varies = np.abs(deviation).max() > ROUNDING * np.abs(history[known]).max()
    if se is None and not varies:
        return None
    noise = MAD * np.median(np.abs(deviation)) or np.sqrt(np.mean(deviation**2))
    usual = float(np.median(errors[known]))
    scale = 1.0 if se is not None else float(noise)
    center, spread = _levels(history, scale * usual)
    rows = np.unique(np.linspace(0, len(history) - 1, SAMPLED).astype(np.int64))
    values, errors = history[rows], errors[rows]

    def parameters(at: Floats) -> Parameters:
        factor, drift, scale_df, tail_df = np.exp(at).tolist()
        return Parameters(scale * factor, center, spread, drift * scale * usual, scale_df, LEAST_TAIL_DF + tail_df)

    priors = np.array([LOG_SCALE, LOG_DRIFT, LOG_SCALE_DF, LOG_TAIL_DF])

    def loss(at: Floats) -> float:
        found = one_step(values, errors, parameters(at))
        of = found.standing
        x = np.clip((values - found.expected)[of] / found.sd[of], -MOST_TELLING, MOST_TELLING)
        likelihood = np.sum(t.logpdf(x, found.df[of]) - np.log(found.sd[of] / (scale * usual)))
        return float(0.5 * np.sum(((at - priors[:, 0]) / priors[:, 1]) ** 2) - likelihood)

    bounds = list(zip(*(priors[:, 0] + FARTHEST * side * priors[:, 1] for side in (-1, 1)), strict=True))
    mode = minimize(loss, priors[:, 0], method="L-BFGS-B", bounds=bounds, options={"eps": 1e-3, "ftol": 1e-5})
    found = parameters(mode.x)
    if se is not None:
        return found
    return replace(found, tail_df=1 / (1 / found.tail_df + 1 / (known.sum() - len(history))))


def student_scores(
    values: Floats, se: Floats | None = None, threshold: float = THRESHOLD, parameters: Parameters | None = None
) -> pd.DataFrame:
    """Score the newest week of every student.

    Values should be on a scale on which a week's noise does not grow with the level: abilities in logits as they are,
    counts as logarithms of 1 + count. With fewer than LEAST_COHORT students of a week nothing is taken off for a week
    that is hard for all.

    Args:
        values: last column the week that is scored, before it the earlier weeks, NaN where missing, shape (students,
            weeks).
        se: standard errors of the values, > 0 where there is a value, same shape; None if they are not known.
        threshold: absolute score from which a week may be flagged.
        parameters: of the cohort; None finds them from the earlier weeks.

    Returns:
        A row for each student: score; expected, lower, upper (90 % interval) in units of the values, the cohort's
        movement in the week included; p, two-sided; q, Benjamini & Hochberg's over the students scored; flag;
        weeks, the earlier ones with a value; reason, why there is no score, or None. Unknown numbers are NaN.

    Raises:
        UnusableValues: values are not a matrix, or not finite, or have no standard error.
    """
    errors = _errors(values, se)
    if values.shape[1] == 0:
        raise UnusableValues("there must be at least one week, the one that is scored")
    weeks = np.count_nonzero(~np.isnan(values[:, :-1]), axis=1)
    given = parameters or cohort_parameters(values[:, :-1], None if se is None else errors[:, :-1])
    nothing = given is None
    reasons = [np.isnan(values[:, -1]), weeks < LEAST_WEEKS, np.full(len(values), nothing)]
    reason = np.select(reasons, [NO_VALUE, TOO_SHORT, NO_VARIATION], default="")
    scored = reason == ""
    found = pd.DataFrame(np.nan, index=range(len(values)), columns=["score", "expected", "lower", "upper", "p", "q"])
    if given is not None and scored.any():
        last = one_step(values, errors, given)
        expected, sd, df = (of[scored, -1] for of in (last.expected, last.sd, last.df))
        score, p = normal_score((values[scored, -1] - expected) / sd, df)
        width = stdtrit(df, 1 - TAIL) * sd
        rows = [score, expected, expected - width, expected + width, p, false_discovery_control(p)]
        found.loc[scored] = np.column_stack(rows)
    flag = (found["score"].abs() >= threshold) & (found["q"] <= MOST_FALSE)
    return found.assign(flag=flag, weeks=weeks, reason=pd.Series(reason, dtype=object).where(~scored, None))


def normal_score(x: Floats, df: Floats) -> tuple[Floats, Floats]:
    """Standard normal quantile of Student's t probability of x, and the two-sided p; both tails alike.

    Through the logarithm of the smaller tail, which is exact down to 1e-308, a score of 37.5; beyond that it stays.
    """
    tail = np.maximum(stdtr(df, -np.abs(x)), np.finfo(float).tiny)
    return np.asarray(-np.sign(x) * ndtri_exp(np.log(tail))), np.minimum(2 * tail, 1.0)


def _errors(values: Floats, se: Floats | None) -> Floats:
    """Standard errors of all cells: 1 where none are known, and where there is no value."""
    if values.ndim != 2:
        raise UnusableValues(f"values must be a matrix of students x weeks, got the shape {values.shape}")
    if np.isinf(values).any():
        raise UnusableValues("every value must be a finite number, or NaN where it is missing")
    if se is None:
        return np.ones_like(values)
    if se.shape != values.shape:
        raise UnusableValues(f"se must have the shape of values, {values.shape}, got {se.shape}")
    known = ~np.isnan(values)
    if not (np.isfinite(se[known]).all() and (se[known] > 0).all()):
        raise UnusableValues("every value needs a standard error that is finite and greater than 0")
    return np.where(known, se, 1.0)


def _levels(history: Floats, noise: float) -> tuple[float | None, float]:
    """Center and spread of the students' levels; no center for a small cohort."""
    if len(history) < LEAST_COHORT:
        return None, noise
    medians = row_medians(history)
    center = float(np.median(medians))
    of_noise = np.pi / 2 * noise**2 * np.mean(1 / np.count_nonzero(~np.isnan(history), axis=1))
    spread = (MAD * np.median(np.abs(medians - center))) ** 2 - of_noise
    return center, float(np.sqrt(max(spread, (noise / 10) ** 2)))


def _ordered(history: Floats, errors: Floats) -> tuple[Floats, Floats]:
    """Students in the order of their values, whatever the order of the rows: levels lie evenly in it."""
    order = np.lexsort(np.concatenate([errors, history], axis=1).T)
    return history[order], errors[order]
