"""Scoring under fixed item parameters: likelihoods on a grid, posterior moments, Warm's estimate.

Calibration is the IRT service's work; what is here needs only published parameters. Model: three-parameter logistic
with D = 1, P(correct) = c + (1 - c) / (1 + exp(-a (theta - b))) (Birnbaum 1968); the 2PL has c = 0, Rasch also a = 1.

With L = logistic(a (theta - b)), every derivative of the model needs P'/P only through r = L / P, which is
logistic(a (theta - b) - log c) at any c: exactly 1 where c = 0.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.integrate import cumulative_trapezoid
from scipy.special import expit, log_expit, logsumexp

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
ItemCurve = Callable[[Floats, Floats, Floats], Floats]
"""Of a and c, shape (items, 1), and a (theta - b) at the nodes, shape (items, 61)."""

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
        c: lower asymptote of the answered item, shape (n,).
        correct: shape (n,).
        n_groups: number of groups; a group may be empty.
    """

    group: Ints
    a: Floats
    b: Floats
    c: Floats
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
    return _at_nodes(
        answers,
        lambda a, c, logit: np.log1p(-c) + log_expit(-logit),
        lambda a, c, logit: np.logaddexp(_log(c), np.log1p(-c) + log_expit(logit)),
    )


def information(answers: Answers) -> Floats:
    """Fisher information about theta, sum P'^2 / (P Q) over the group's answers, at each node, shape (n_groups, 61)."""
    return _at_nodes(answers, item_information, item_information)


def item_information(a: Floats, c: Floats, logit: Floats) -> Floats:
    """P'^2 / (P Q) of an item at a (theta - b) = logit: a^2 L (1 - L) (1 - c) r."""
    return np.asarray(a**2 * expit(logit) * expit(-logit) * (1 - c) * expit(logit - _log(c)))


def _lost_to_guessing(a: Floats, c: Floats, logit: Floats) -> Floats:
    """I' - J of an item, with J = P' P'' / (P Q): a I (1 - r), which is 0 where c = 0."""
    return np.asarray(a * item_information(a, c, logit) * expit(_log(c) - logit))


def _log(c: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(c))


def _at_nodes(answers: Answers, wrong: ItemCurve, right: ItemCurve) -> Floats:
    """Sums over each group's answers of a curve of theta, one for wrong and one for right answers.

    Answers on one item differ only in being right or wrong, so groups are counted over (item, right)
    pairs in a sparse matrix: memory grows with groups and items, not with answers times nodes.
    """
    curves = np.unique(answers.a + 1j * answers.b, return_inverse=True)[1]  # complex: pairs that sort fast
    _, example, item = np.unique(curves + 1j * answers.c, return_index=True, return_inverse=True)
    a, b, c = (values[example][:, None] for values in (answers.a, answers.b, answers.c))
    logit = a * (NODES - b)
    table = np.empty((2 * len(example), len(NODES)))
    table[0::2] = wrong(a, c, logit)
    table[1::2] = right(a, c, logit)
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

    Solves S + J / (2 I) = 0 with the score S = sum a r (x - P), I = sum P'^2 / (P Q) and J = sum P' P'' / (P Q) (Warm
    1989, eq. 12), whose solutions are the extrema of log L plus the integral of J / (2 I). Without guessing that is
    log L + log(I) / 2; with it, what J lacks to I' is integrated over NODES. The largest maximum is found on NODES
    and refined by bisection, all groups at once (items far apart make several). Unlike maximum likelihood it
    exists when all answers are right; it is kept within [-10, 10].
    """
    a, b, c, x = answers.a, answers.b, answers.c, answers.correct.astype(float)

    def weighted_score(theta: Floats) -> tuple[Floats, Floats]:
        logit = a * (theta[answers.group] - b)
        p, q, r = expit(logit), expit(-logit), expit(logit - _log(c))
        item = item_information(a, c, logit)
        information = answers.sums(item)
        bias = answers.sums(a * item * (q - p))
        with np.errstate(invalid="ignore", divide="ignore"):
            return answers.sums(a * r * (x - c - (1 - c) * p)) + bias / (2 * information), information

    with np.errstate(divide="ignore"):
        nearest = np.argmax(log_likelihood(answers) + _log_warm_weight(answers), axis=1)
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


def _log_warm_weight(answers: Answers) -> Floats:
    """The integral of J / (2 I) at each node, up to a constant of the group, shape (n_groups, 61)."""
    total = information(answers)
    lost = np.divide(_at_nodes(answers, _lost_to_guessing, _lost_to_guessing), total, where=total > 0, out=0 * total)
    return (np.log(total) - cumulative_trapezoid(lost, NODES, axis=1, initial=0)) / 2
