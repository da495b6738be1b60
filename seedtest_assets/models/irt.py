"""Scoring under fixed item parameters: likelihoods on a grid, posterior moments, Warm's estimate.

Calibration is the IRT service's work; what is here needs only published parameters. Model: two-parameter logistic
with D = 1, P(correct) = 1 / (1 + exp(-a (theta - b))) (Birnbaum 1968); Rasch is a = 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit, log_expit, logsumexp

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
ItemCurve = Callable[[Floats, Floats], Floats]
"""Of a, shape (items, 1), and a (theta - b) at the nodes, shape (items, 61)."""

NODES: Floats = np.linspace(-6.0, 6.0, 61)
"""Quadrature nodes, logits; the calibration's own."""

WLE_BOUND = 10.0


@dataclass(frozen=True)
class Answers:
    """Answers on calibrated items, gathered into groups (a student, a student's topic, a student's week).

    Attributes:
        group: index of the group of each answer, shape (n,), in 0..n_groups - 1.
        a: discrimination of the answered item, shape (n,).
        b: difficulty of the answered item, logits, shape (n,).
        correct: shape (n,).
        n_groups: number of groups; a group may be empty.
    """

    group: Ints
    a: Floats
    b: Floats
    correct: Bools
    n_groups: int

    @property
    def counts(self) -> Ints:
        """Answers per group, shape (n_groups,)."""
        return np.bincount(self.group, minlength=self.n_groups).astype(np.int64)

    def sums(self, values: Floats) -> Floats:
        """Sum of a value over each group's answers, shape (n_groups,)."""
        return np.bincount(self.group, weights=values, minlength=self.n_groups).astype(np.float64)


def normal_log_weights(mean: float, sd: float) -> Floats:
    """Log prior weights of N(mean, sd^2) on NODES, summing to one; shape (61,)."""
    log_density = -0.5 * ((NODES - mean) / sd) ** 2
    return np.asarray(log_density - logsumexp(log_density))


def log_likelihood(answers: Answers) -> Floats:
    """Log P(answers of the group | theta) at each node, shape (n_groups, 61)."""
    return _at_nodes(answers, lambda a, logit: log_expit(-logit), lambda a, logit: log_expit(logit))


def information(answers: Answers) -> Floats:
    """Fisher information about theta, sum a^2 P Q over the group's answers, at each node, shape (n_groups, 61)."""
    return _at_nodes(answers, _item_information, _item_information)


def _item_information(a: Floats, logit: Floats) -> Floats:
    return np.asarray(a**2 * expit(logit) * expit(-logit))


def _at_nodes(answers: Answers, wrong: ItemCurve, right: ItemCurve) -> Floats:
    """Sums over each group's answers of a curve of theta, one for wrong and one for right answers.

    Answers on one item differ only in being right or wrong, so groups are counted over (item, right)
    pairs in a sparse matrix: memory grows with groups and items, not with answers times nodes.
    """
    items, item = np.unique(answers.a + 1j * answers.b, return_inverse=True)  # complex: pairs that sort fast
    a, b = items.real[:, None], items.imag[:, None]
    logit = a * (NODES - b)
    table = np.empty((2 * len(items), len(NODES)))
    table[0::2] = wrong(a, logit)
    table[1::2] = right(a, logit)
    shape = (answers.n_groups, len(table))
    counts = sparse.csr_matrix((np.ones(len(item)), (answers.group, 2 * item + answers.correct)), shape=shape)
    return np.asarray(counts @ table)


def moments(log_posterior: Floats, nodes: Floats = NODES) -> tuple[Floats, Floats]:
    """Mean and standard deviation of unnormalised log posteriors on nodes; two arrays of shape (rows,)."""
    weights = np.exp(log_posterior - logsumexp(log_posterior, axis=1, keepdims=True))
    mean = weights @ nodes
    variance = weights @ nodes**2 - mean**2
    return mean, np.sqrt(np.maximum(variance, 0.0))


@dataclass(frozen=True)
class Estimates:
    """Point estimates per group.

    Attributes:
        theta: logits, NaN for groups without answers.
        se: standard error.
    """

    theta: Floats
    se: Floats


def weighted_likelihood(answers: Answers, tolerance: float = 1e-9) -> Estimates:
    """Warm's weighted likelihood estimate of theta per group, with 1 / sqrt(information) as standard error.

    Solves sum a (x - P) + J / (2 I) = 0 with I = sum a^2 P Q and J = sum a^3 P Q (1 - 2 P) (Warm 1989, eq. 12), whose
    solutions are the extrema of log L + log(I) / 2. The largest of its maxima is found on NODES and refined by
    bisection, all groups at once (items far apart make several). Unlike maximum likelihood it exists when all
    answers are right; it is kept within [-10, 10].
    """
    a, b, x = answers.a, answers.b, answers.correct.astype(float)

    def weighted_score(theta: Floats) -> tuple[Floats, Floats]:
        logit = a * (theta[answers.group] - b)
        p, q = expit(logit), expit(-logit)
        information = answers.sums(a**2 * p * q)
        bias = answers.sums(a**3 * p * q * (q - p))
        with np.errstate(invalid="ignore", divide="ignore"):
            return answers.sums(a * (x - p)) + bias / (2 * information), information

    with np.errstate(divide="ignore"):
        nearest = np.argmax(log_likelihood(answers) + np.log(information(answers)) / 2, axis=1)
    fences = np.concatenate([[-WLE_BOUND], NODES[1:-1], [WLE_BOUND]])
    low, high = fences[np.maximum(nearest - 1, 0)], fences[np.minimum(nearest + 1, len(NODES) - 1)]
    while np.max(high - low, initial=0.0) > tolerance:
        middle = (low + high) / 2
        rising = weighted_score(middle)[0] > 0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    theta = (low + high) / 2
    with np.errstate(divide="ignore"):
        se = 1 / np.sqrt(weighted_score(theta)[1])
    empty = answers.counts == 0
    return Estimates(np.where(empty, np.nan, theta), np.where(empty, np.nan, se))
