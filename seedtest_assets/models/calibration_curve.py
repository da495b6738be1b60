"""Whether predicted probabilities come true: recalibration, a smoothed calibration curve, bins for a plot, skill.

Predictions of exactly 0 or 1 are statements of logic; what is here judges those between.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import logit

from seedtest_assets.models.evaluation import Outcomes, brier
from seedtest_assets.models.irt import Bools, Floats, Ints
from seedtest_assets.models.survival import fit_logistic

SPAN = 0.75
"""Share of the predictions that a point of the curve is made from, the nearest ones."""

CURVE_POINTS = 201


@dataclass(frozen=True)
class Recalibration:
    """The logistic regression of what happened on the logit of the prediction (Cox 1958); ideally 0 and 1.

    Attributes:
        intercept, slope: NaN where predictions or outcomes are all the same, or the outcomes separated.
        intercept_se, slope_se: standard errors, robust to dependence within students.
        n: predictions between 0 and 1.
    """

    intercept: float
    slope: float
    intercept_se: float
    slope_se: float
    n: int


def recalibration(prediction: Floats, happened: Bools, student: Ints) -> Recalibration:
    """Calibration intercept and slope of n predictions; arrays of shape (n,)."""
    between = (prediction > 0) & (prediction < 1)
    x, y, student = logit(prediction[between]), happened[between], student[between]
    n = len(x)
    if not y.any() or y.all() or x[y].min() >= x[~y].max() or x[y].max() <= x[~y].min():
        return Recalibration(np.nan, np.nan, np.nan, np.nan, n)
    of_student = np.unique(student, return_inverse=True)[1]
    fit = fit_logistic(np.stack([np.ones(n), x]), y.astype(float), of_student, np.full(2, np.inf))
    (intercept, slope), (intercept_se, slope_se) = fit.coefficients, np.sqrt(np.diag(fit.covariance))
    return Recalibration(float(intercept), float(slope), float(intercept_se), float(slope_se), n)


@dataclass(frozen=True)
class Curve:
    """A smoothed calibration curve.

    Attributes:
        prediction: distinct predictions between 0 and 1, ascending, shape (m,).
        happened: smoothed share of what happened there, in [0, 1], shape (m,).
        count: how many have that prediction, shape (m,).
    """

    prediction: Floats
    happened: Floats
    count: Ints

    @property
    def ici(self) -> float:
        """Integrated calibration index: mean over the predictions of |curve - prediction| (Austin & Steyerberg 2019).

        Noise keeps it above 0 even for true probabilities. NaN without predictions between 0 and 1.
        """
        if len(self.prediction) == 0:
            return float("nan")
        return float(np.average(np.abs(self.happened - self.prediction), weights=self.count))


def calibration_curve(prediction: Floats, happened: Bools | Floats) -> Curve:
    """What happened as a smooth function of the prediction: loess (Cleveland 1979) without robustness iterations.

    As Austin & Steyerberg (2019) use it: at each of at most 201 quantiles of the predictions a quadratic, fitted to the
    nearest 75 % of them with tricube weights; linear between. Predictions of 0 and 1 are left out.

    Args:
        prediction: shape (n,).
        happened: what happened, or its true probability where that is known, shape (n,).
    """
    between = (prediction > 0) & (prediction < 1)
    x, row, count = np.unique(prediction[between], return_inverse=True, return_counts=True)
    if len(x) == 0:
        return Curve(x, x, count.astype(np.int64))
    share = np.bincount(row, weights=happened[between]) / count
    cumulated = np.concatenate([[0], np.cumsum(count)])
    at = np.unique(np.searchsorted(cumulated[1:], np.linspace(1, cumulated[-1], CURVE_POINTS)))
    width = _widths(x, cumulated, x[at])
    smooth = np.array([_local_quadratic(x, share, count, point, h) for point, h in zip(x[at], width, strict=True)])
    return Curve(x, np.clip(np.interp(x, x[at], smooth), 0, 1), count.astype(np.int64))


def _widths(x: Floats, cumulated: Ints, at: Floats) -> Floats:
    """Distance within which SPAN of the predictions lie around each point, by bisection."""
    wanted = SPAN * cumulated[-1]
    low, high = np.zeros(len(at)), np.full(len(at), x[-1] - x[0])
    for _ in range(60):
        middle = (low + high) / 2
        inside = np.searchsorted(x, at + middle, side="right"), np.searchsorted(x, at - middle)
        enough = cumulated[inside[0]] - cumulated[inside[1]] >= wanted
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high


def _local_quadratic(x: Floats, share: Floats, count: Ints, point: float, width: float) -> float:
    """The value at `point` of a quadratic fitted around it; of what it cannot tell apart, the smallest."""
    near = slice(np.searchsorted(x, point - width), np.searchsorted(x, point + width, side="right"))
    z = (x[near] - point) / max(width, np.finfo(float).tiny)
    weight = np.maximum(1 - np.abs(z) ** 3, 0) ** 3 * count[near]
    powers = np.stack([np.ones(len(z)), z, z**2])
    weighted = powers * weight
    return float(np.linalg.lstsq(weighted @ powers.T, weighted @ share[near], rcond=1e-12)[0][0])


def calibration_bins(prediction: Floats, happened: Bools | Floats, bins: int = 10) -> pd.DataFrame:
    """Predictions between 0 and 1 in bins that hold equally many; equal predictions share a bin.

    Returns:
        Columns prediction and happened (means of the bin) and n, ascending.
    """
    between = (prediction > 0) & (prediction < 1)
    x = prediction[between]
    edges = np.unique(np.quantile(x, np.arange(1, bins) / bins)) if len(x) else x
    rows = pd.DataFrame({"prediction": x, "happened": happened[between].astype(float)})
    groups = rows.groupby(np.searchsorted(edges, x, side="right"))
    return groups.mean().assign(n=groups.size()).reset_index(drop=True)


def brier_skill(prediction: Floats, baseline: Floats, outcomes: Outcomes, weights: Floats) -> Floats:
    """1 - Brier score / the baseline's (Murphy 1973): 0 is no better, 1 perfect; by replicate, as in `evaluation`."""
    return np.asarray(1 - brier(prediction, outcomes, weights) / brier(baseline, outcomes, weights))
