"""Unusual newest points of series: a one-step forecast of any engine, judged by the engine's earlier one-step errors.

score = qnorm P(T_df <= (observed - expected) / s). The scale s is the root mean square of the series' earlier errors,
each counted as BOUND robust sds at most (Winsorised), so that one earlier spike does not hide a new one, and moderated
by the sibling series (Smyth 2004): with s_0 and d_0 the siblings' common scale and its degrees of freedom,

    s^2 = (d_0 s_0^2 + d s_j^2) / (d_0 + d),   1 / df = 1 / (d_0 + d) + 1 / TAIL_DF,   d = EFFICIENCY x errors.

The newest point is in none of these, so a spike cannot hide itself.
"""

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import stdtrit
from scipy.stats import f

from seedtest_assets.models.anomaly import (
    LOG_SCALE_DF,
    MAD,
    NO_VALUE,
    NO_VARIATION,
    ROUNDING,
    TAIL,
    THRESHOLD,
    UnusableValues,
    normal_score,
)
from seedtest_assets.models.anomaly_level import (
    BOUND,
    BOUNDED_SQUARE,
    Parameters,
    one_step,
    row_medians,
)
from seedtest_assets.models.irt import Floats, Ints

LEAST_ERRORS = 3
TOO_FEW = f"fewer than {LEAST_ERRORS} earlier forecasts"
NO_FORECAST = "no forecast of the week"

EFFICIENCY = 0.75
"""Degrees of freedom of a Winsorised mean square per error: .70 to .84 for 3 to 25 normal errors."""

TAIL_DF = 10.0
"""Degrees of freedom of the noise: a dozen errors cannot tell, and normal tails would alarm at the first heavy one."""

LEAST_SIBLINGS = 3
"""Series of a family, itself among them, below which each has a scale of its own only."""

LEVEL = Parameters(scale=1.0, center=None, spread=0.0, drift=0.3, scale_df=3.0, tail_df=np.inf)
"""Of `level_forecasts`, for series in units of their own noise: half of a change is forgotten in some two weeks."""


def series_scores(
    observed: Floats, expected: Floats, errors: Floats, family: Ints | None = None, threshold: float = THRESHOLD
) -> pd.DataFrame:
    """Score the newest point of each series.

    Args:
        observed: newest points, NaN where missing, shape (series,).
        expected: their one-step forecasts, made without them, NaN where there is none, shape (series,).
        errors: observed less expected of earlier one-step forecasts of the same engine on the same series, in any
            order, NaN where there is none, shape (series, weeks).
        family: number of each series' siblings, series of the same quantity, shape (series,); None for no siblings.
        threshold: absolute score from which a point is flagged.

    Returns:
        A row for each series: score; expected, lower, upper (90 % interval); p, two-sided; flag; errors, how many
        there are; reason, why there is no score, or None. Unknown numbers are NaN.

    Raises:
        UnusableValues: shapes do not belong together, or a number is infinite.
    """
    if errors.ndim != 2 or not len(errors) == len(observed) == len(expected):
        shapes = f"{observed.shape}, {expected.shape} and {errors.shape}"
        raise UnusableValues(f"observed, expected and errors need a row for each series, got the shapes {shapes}")
    if any(np.isinf(of).any() for of in (observed, expected, errors)):
        raise UnusableValues("every number must be finite, or NaN where it is missing")
    n = np.count_nonzero(~np.isnan(errors), axis=1)
    scale, df = _moderated(robust_scale(errors), EFFICIENCY * n, n, family)
    reasons = [np.isnan(observed), np.isnan(expected), n < LEAST_ERRORS, ~(scale > ROUNDING * np.abs(expected))]
    reason = np.select(reasons, [NO_VALUE, NO_FORECAST, TOO_FEW, NO_VARIATION], default="")
    scored = reason == ""
    found = pd.DataFrame(np.nan, index=range(len(errors)), columns=["score", "expected", "lower", "upper", "p"])
    tails = 1 / (1 / df[scored] + 1 / TAIL_DF)
    score, p = normal_score((observed - expected)[scored] / scale[scored], tails)
    middle, width = expected[scored], stdtrit(tails, 1 - TAIL) * scale[scored]
    found.loc[scored] = np.column_stack([score, middle, middle - width, middle + width, p])
    flag = found["score"].abs() >= threshold
    return found.assign(flag=flag, errors=n, reason=pd.Series(reason, dtype=object).where(~scored, None))


def robust_scale(errors: Floats) -> Floats:
    """Winsorised root mean square about 0 of each row, consistent for normal errors; NaN for a row without one.

    The bound is BOUND times the median absolute error, MAD-scaled. Where more than half of the errors are 0 that is 0,
    and the plain root mean square is taken.
    """
    squares = errors**2
    bound = (BOUND * MAD * row_medians(np.abs(errors))[:, None]) ** 2
    bounded = np.where(bound > 0, np.minimum(squares, bound) / BOUNDED_SQUARE, squares)
    n = np.count_nonzero(~np.isnan(errors), axis=1)
    return np.asarray(np.sqrt(np.divide(np.nansum(bounded, axis=1), n, where=n > 0, out=np.full(len(n), np.nan))))


def level_forecasts(values: Floats) -> tuple[Floats, Floats]:
    """One-step forecasts by a robust local level, for series that no better engine forecasts.

    Args:
        values: last column the newest point, NaN where missing, shape (series, weeks).

    Returns:
        The forecast of the newest point, NaN without an earlier value, shape (series,); and errors of the earlier
        forecasts, NaN where there is none, shape (series, weeks - 1).
    """
    history = values[:, :-1]
    of_changes = robust_scale(np.diff(history, axis=1)) / np.sqrt(2)
    unit = np.fmin(robust_scale(history - row_medians(history)[:, None]), of_changes)
    unit = np.where(unit > 0, unit, 1.0)[:, None]
    found = one_step(values / unit, np.ones_like(values), LEVEL)
    expected = found.expected * unit
    errors = np.where(found.standing, values - expected, np.nan)[:, :-1]
    some = ~np.isnan(history).all(axis=1)
    return np.where(some, expected[:, -1], np.nan), errors


def _moderated(scale: Floats, df: Floats, n: Ints, family: Ints | None) -> tuple[Floats, Floats]:
    """Scales and degrees of freedom, each drawn to those of its family."""
    scale, df = scale.copy(), df.astype(np.float64)
    for number in np.unique(family) if family is not None else ():
        members = family == number
        known = members & (n >= LEAST_ERRORS) & (scale > 0)
        if known.sum() < LEAST_SIBLINGS:
            continue
        common, common_df = _common(scale[known] ** 2, df[known])
        own = np.nan_to_num(scale[members]) ** 2 * df[members]
        scale[members] = np.sqrt((common_df * common + own) / (common_df + df[members]))
        df[members] += common_df
    return scale, df


def _common(squares: Floats, df: Floats) -> tuple[float, float]:
    """Common square s_0^2 and its d_0: s_j^2 / s_0^2 ~ F(d_j, d_0) (Smyth 2004), at the mode with a prior on d_0."""
    middle = float(np.median(squares))
    mean, sd = LOG_SCALE_DF

    def loss(at: Floats) -> float:
        common, common_df = np.exp(at)
        likelihood = np.sum(f.logpdf(squares / middle / common, df, common_df) - at[0])
        return float(0.5 * ((at[1] - mean) / sd) ** 2 - likelihood)

    found = minimize(loss, [0.0, mean], method="Nelder-Mead", options={"xatol": 0.01, "fatol": 0.01})
    common, common_df = np.exp(found.x)
    return middle * float(common), float(common_df)
