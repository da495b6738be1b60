"""How good predicted probabilities are: discrimination, proper scores, calibration, and how sure that is.

Answers of one student hang together, so uncertainty comes from drawing whole students (a cluster bootstrap; Davison &
Hinkley 1997, section 3.8). Every metric is a function of the students' weights: ones give the sample, multinomial
counts a replicate, and the same replicates serve all methods, which makes differences paired.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from seedtest_assets.models.irt import Bools, Floats, Ints

ECE_BINS = 15
"""Bins of equal mass in the expected calibration error."""

REPLICATES_AT_ONCE = 16
LOG_FLOOR = 1e-15


@dataclass(frozen=True)
class Outcomes:
    """What predictions are judged by.

    Attributes:
        correct: shape (n,).
        student: index of the student, 0..n_students - 1, each with an answer, shape (n,).
        fold: index of the held-out fold, shape (n,).
    """

    correct: Bools
    student: Ints
    fold: Ints

    @property
    def n_students(self) -> int:
        """Students with an answer."""
        return int(self.student.max()) + 1


Metric = Callable[[Floats, Outcomes, Floats], Floats]
"""Of predictions (n,), outcomes and students' weights (students, replicates): the metric by replicate."""


def auc(prediction: Floats, outcomes: Outcomes, weights: Floats) -> Floats:
    """Share of (right, wrong) pairs of a fold in which the right answer has the higher prediction; ties count half.

    The Mann-Whitney statistic (Hanley & McNeil 1982), with a pair weighing the product of its students' weights. Pairs
    across folds are not formed: their predictions come from different fits, and a training share is by
    construction low where the held-out one is high (Airola et al. 2011). NaN when there is no pair.
    """
    concordant, pairs = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
    for fold in np.unique(outcomes.fold):
        rows = np.flatnonzero(outcomes.fold == fold)
        rows = rows[np.argsort(prediction[rows], kind="stable")]
        value, right = prediction[rows], outcomes.correct[rows, None]
        ties = np.flatnonzero(np.diff(value, prepend=-np.inf))
        for start in range(0, weights.shape[1], REPLICATES_AT_ONCE):
            some = slice(start, start + REPLICATES_AT_ONCE)
            weight = weights[outcomes.student[rows], some]
            positive = np.add.reduceat(weight * right, ties, axis=0)
            negative = np.add.reduceat(weight * ~right, ties, axis=0)
            lower = np.cumsum(negative, axis=0) - negative / 2
            concordant[some] += np.einsum("nr,nr->r", positive, lower)
            pairs[some] += positive.sum(axis=0) * negative.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(concordant / pairs)


def log_loss(prediction: Floats, outcomes: Outcomes, weights: Floats) -> Floats:
    """Mean of -log P(what happened), nats per answer (Good 1952)."""
    happened = np.where(outcomes.correct, prediction, 1 - prediction)
    return mean(-np.log(np.maximum(happened, LOG_FLOOR)), outcomes, weights)


def brier(prediction: Floats, outcomes: Outcomes, weights: Floats) -> Floats:
    """Mean squared distance of the probability from the outcome, 0 or 1 (Brier 1950)."""
    return mean((prediction - outcomes.correct) ** 2, outcomes, weights)


def accuracy(prediction: Floats, outcomes: Outcomes, weights: Floats) -> Floats:
    """Share of answers that are right where P >= .5 and wrong where P < .5."""
    return mean((prediction >= 0.5) == outcomes.correct, outcomes, weights)


def calibration_error(prediction: Floats, outcomes: Outcomes, weights: Floats) -> Floats:
    """Expected calibration error: mean over answers of |share right - mean prediction| of the prediction's bin.

    Naeini, Cooper & Hauskrecht 2015 and Guo et al. 2017, with ECE_BINS bins that hold equally many answers of the
    sample (equal predictions share a bin). It is positive by chance even for true probabilities, about
    sqrt(2 ECE_BINS p (1 - p) / (pi n)) for n independent answers.
    """
    edges = np.quantile(prediction, np.arange(1, ECE_BINS) / ECE_BINS)
    bins = np.searchsorted(edges, prediction, side="right")
    cell = outcomes.student * ECE_BINS + bins
    off = np.bincount(cell, weights=prediction - outcomes.correct, minlength=outcomes.n_students * ECE_BINS)
    gaps = off.reshape(outcomes.n_students, ECE_BINS).T @ weights
    return np.asarray(np.abs(gaps).sum(axis=0) / (np.bincount(outcomes.student) @ weights))


def mean(values: Floats | Bools, outcomes: Outcomes, weights: Floats) -> Floats:
    """Mean of a number that each answer has, shape (n,), by replicate."""
    return np.asarray(
        (np.bincount(outcomes.student, weights=values) @ weights) / (np.bincount(outcomes.student) @ weights)
    )


METRICS: dict[str, Metric] = {
    "auc": auc,
    "log_loss": log_loss,
    "brier": brier,
    "ece": calibration_error,
    "accuracy": accuracy,
}


@dataclass(frozen=True)
class Estimate:
    """A number of the sample with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Scores:
    """Metrics of several methods on the same answers: first of the sample, then of each bootstrap replicate.

    Attributes:
        by_method: for each method and metric, shape (1 + replicates,).
    """

    by_method: dict[str, dict[str, Floats]]

    def estimate(self, method: str, metric: str) -> Estimate:
        """A method's metric; its interval keeps to [0, 1] where the metric does."""
        values = self.by_method[method][metric]
        found = basic_interval(values)
        highest = np.inf if metric == "log_loss" else 1.0
        return Estimate(found.value, max(found.low, 0.0), min(found.high, highest))

    def difference(self, method: str, other: str, metric: str) -> Estimate:
        """The metric of a method minus that of another, over the same replicates."""
        return basic_interval(self.by_method[method][metric] - self.by_method[other][metric])


def basic_interval(values: Floats) -> Estimate:
    """The basic bootstrap interval, 2 t - (quantiles of t*) (Davison & Hinkley 1997, eq. 5.6).

    Unlike the quantiles themselves it takes the bootstrap's own bias off, which matters for the calibration error:
    replicates are noisier than the sample, and noise raises it.
    """
    value, replicates = values[0], values[1:]
    if len(replicates) == 0 or np.isnan(replicates).all():
        return Estimate(float(value), np.nan, np.nan)
    low, high = np.nanquantile(replicates, [0.025, 0.975])
    return Estimate(float(value), float(2 * value - high), float(2 * value - low))


def student_weights(n_students: int, replicates: int, random: np.random.Generator) -> Floats:
    """Ones for the sample, then for each replicate how often a student is drawn; (n_students, 1 + replicates)."""
    drawn = random.multinomial(n_students, np.full(n_students, 1 / n_students), size=replicates).T
    return np.concatenate([np.ones((n_students, 1)), drawn], axis=1)


def score_predictions(
    predictions: dict[str, Floats],
    outcomes: Outcomes,
    replicates: int,
    random: np.random.Generator,
    progress: Callable[[float], None] = lambda done: None,
) -> Scores:
    """All metrics of all methods, of the sample and of bootstrap replicates over students.

    Args:
        predictions: P(correct) by method, shape (n,).
        outcomes: what happened.
        replicates: bootstrap replicates; 0 gives no intervals.
        random: where the replicates come from.
        progress: called with the share of the work that is done.
    """
    weights = student_weights(outcomes.n_students, replicates, random)
    scores: dict[str, dict[str, Floats]] = {}
    for done, (method, prediction) in enumerate(predictions.items(), start=1):
        scores[method] = {name: metric(prediction, outcomes, weights) for name, metric in METRICS.items()}
        progress(done / len(predictions))
    return Scores(scores)


def empirical_reliability(theta: Floats, sd: Floats) -> float:
    """Variance of the posterior means over that plus the mean posterior variance: what of ability the scores carry."""
    explained = float(np.var(theta, ddof=1))
    return explained / (explained + float(np.mean(sd**2)))
