"""One-step forecasts by a robust local level, many series at once: the prediction that `models.anomaly` judges by.

y_it = C_t + a_it + e_it, e_it ~ N(0, V_i se_it^2), a_it - a_i,t-1 ~ N(0, V_i drift^2), a_i0 ~ N(0, V_i spread^2): a
series has a level of its own about the cohort's path C and a scale V_i of its own about the cohort's, V_i scale_df ~
scale^2 x inverse chi-square(scale_df). Given C, level and scale have the conjugate recursion of West & Harrison
(1997, section 4.6), whose forecasts are Student t; the scale is that of the moderated t (Smyth 2004).

Three things make it robust. An error beyond BOUND of its sds counts as one of BOUND, for the level and for the scale
(Gelper, Fried & Croux 2010), so that an earlier spike neither moves the forecast nor hides a later one. LASTING such
errors in a row on one side are no spike: the level starts again from them. And C_t is the median over the series, so
that a hard week for all is nobody's surprise.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from seedtest_assets.models.irt import Bools, Floats

BOUND = 2.0
"""Sds beyond which an error moves nothing further."""

BOUNDED_SQUARE = float(1 - 2 * BOUND * np.exp(-(BOUND**2) / 2) / np.sqrt(2 * np.pi) + 2 * (BOUND**2 - 1) * ndtr(-BOUND))
"""Mean of min(Z^2, BOUND^2) for a standard normal Z: .9205."""

LEAST_COHORT = 10
"""Series with an earlier value below which nothing is taken off for the cohort: with nine others a week's median
still has a third of a series' own sd, and a student alone would be compared with himself."""

THREE, MEDIAN_OF_THREE = 3, 0.449
"""A level starts from the median of three values, which has .449 of a value's variance: without a cohort from its first
three, after a lasting change from the newest three."""

LASTING = 4
"""Values in a row beyond the bound on one side that make a new level: pauses are of up to three weeks, and a level that
followed them would take the return for the surprise."""

MOST_DF = 1e9


@dataclass(frozen=True)
class Parameters:
    """What a cohort's series have in common.

    Attributes:
        scale: sd of a value whose standard error is 1: with standard errors a factor near 1, without the noise's sd.
        center: level that a series without a value is expected at; None for too few series to have one: each then
            starts from its own first values, and no movement of a cohort is taken off.
        spread: sd of levels about the center, in units of values; not used without a center.
        drift: sd of a level's change in a week, in units of values.
        scale_df: degrees of freedom that the common scale counts for in a series' own; inf makes scales equal.
        tail_df: degrees of freedom of the noise; inf for normal noise.
    """

    scale: float
    center: float | None
    spread: float
    drift: float
    scale_df: float
    tail_df: float


@dataclass(frozen=True)
class OneStep:
    """Forecast of each value from the earlier ones of its series; every array but `path` has shape (series, weeks).

    Attributes:
        expected: median of the forecast.
        sd: scale of its Student t, in units of values.
        df: degrees of freedom: 1/df = 1/(scale_df + earlier errors) + 1/tail_df.
        standing: whether there is a value, and one before it.
        path: C_t less the center, shape (weeks,); 0 without a cohort.
    """

    expected: Floats
    sd: Floats
    df: Floats
    standing: Bools
    path: Floats


def one_step(values: Floats, se: Floats, parameters: Parameters) -> OneStep:
    """Forecasts of every week's values from those of earlier weeks.

    Of the week itself only the cohort's movement is used, the median error of all series that have an earlier value.
    Without a cohort the first three weeks' forecasts know the median of the first three values, the last week's never.

    Args:
        values: NaN where missing, shape (series, weeks).
        se: standard errors, > 0, of all cells (any positive number where a value is missing), shape (series, weeks).
        parameters: of the cohort.
    """
    y, v = values / parameters.scale, se**2
    mean, variance, path = _start(y, v, parameters)
    drift = (parameters.drift / parameters.scale) ** 2
    expected, sd, df = (np.empty_like(y) for _ in range(3))
    standing, paths = np.zeros(y.shape, dtype=bool), np.zeros(y.shape[1])
    seen, errors, excess = np.zeros(len(y), dtype=bool), np.zeros(len(y)), np.zeros(len(y))
    beyond, latest = np.zeros(len(y)), np.zeros((len(y), THREE))  # errors in a row, signed; values less the path
    for week in range(y.shape[1]):
        variance = variance + drift
        has = ~np.isnan(y[:, week])
        standing[:, week] = counts = has & seen
        error = y[:, week] - path - mean
        if parameters.center is not None and counts.sum() >= LEAST_COHORT:
            movement = np.median(error[counts])
            path, error = path + movement, error - movement
            paths[week:] += movement
        unit = variance + v[:, week]
        off = np.sqrt(unit * (1 + excess / (parameters.scale_df + errors)))
        expected[:, week], sd[:, week] = path + mean, off
        df[:, week] = 1 / (parameters.scale_df + errors) + 1 / parameters.tail_df
        bounded = np.clip(np.where(has, error, 0), -BOUND * off, BOUND * off)
        excess = excess + np.where(counts, bounded**2 / unit / BOUNDED_SQUARE - 1, 0)
        errors, seen = errors + counts, seen | has
        gain = np.where(has, variance / unit, 0)
        mean, variance = mean + gain * bounded, (1 - gain) * variance
        side = np.where(counts & (np.abs(error) > BOUND * off), np.sign(error), 0)
        beyond = np.where(has, np.where(side * beyond > 0, beyond, 0) + side, beyond)
        latest = np.where(has[:, None], np.column_stack([latest[:, 1:], y[:, week] - path]), latest)
        if (again := np.abs(beyond) >= LASTING).any():
            mean = np.where(again, np.median(latest, axis=1), mean)
            variance, beyond = np.where(again, MEDIAN_OF_THREE * v[:, week], variance), np.where(again, 0, beyond)
    expected, sd = expected * parameters.scale, sd * parameters.scale
    return OneStep(expected, sd, 1 / np.maximum(df, 1 / MOST_DF), standing, paths * parameters.scale)


def _start(y: Floats, v: Floats, parameters: Parameters) -> tuple[Floats, Floats, float]:
    """Means and variances of the levels about the path before the first week, and the path."""
    if parameters.center is not None:
        spread = (parameters.spread / parameters.scale) ** 2
        return np.zeros(len(y)), np.full(len(y), spread), parameters.center / parameters.scale
    columns = np.argsort(np.isnan(y[:, :-1]), axis=1, kind="stable")[:, :THREE]
    first, of_first = (np.take_along_axis(of, columns, axis=1) for of in (y, v))
    known = ~np.isnan(first)
    usual = np.sum(of_first, axis=1, where=known) / np.maximum(np.count_nonzero(known, axis=1), 1)
    return np.nan_to_num(row_medians(first)), MEDIAN_OF_THREE * usual, 0.0


def row_medians(values: Floats) -> Floats:
    """Median of each row's values; NaN for a row without one."""
    medians = np.full(len(values), np.nan)
    some = ~np.isnan(values).all(axis=1)
    if some.any():
        medians[some] = np.nanmedian(values[some], axis=1)
    return medians
