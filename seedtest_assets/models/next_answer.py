"""Predicting an answer from the student's earlier ones: by item response theory, and by shares it should beat.

Earlier means strictly earlier in time: answers of one instant (an exam whose questions carry its closing time) know
nothing of each other. Sums over earlier answers are differences of one running sum, so no student is visited by Python.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_expit, logit, softmax

from seedtest_assets.models.irt import (
    Answers,
    Bools,
    Floats,
    Ints,
    log_likelihood,
    moments,
    normal_log_weights,
)

ANSWERS_AT_ONCE = 200_000
"""Answers whose posteriors are in memory together, 61 nodes each."""

STRENGTH_BOUNDS = (0.1, 1000.0)
"""Within which the weight of a share's starting value is looked for, answers."""


@dataclass(frozen=True)
class History:
    """Answers of several students, in any order.

    Attributes:
        student: index of the student, shape (n,).
        at: when, as any number that grows with time, shape (n,).
        item: index of the item, shape (n,).
        correct: shape (n,).
    """

    student: Ints
    at: Ints
    item: Ints
    correct: Bools

    def __len__(self) -> int:
        return len(self.student)

    def take(self, rows: Ints | Bools) -> "History":
        """Some of the answers."""
        return History(self.student[rows], self.at[rows], self.item[rows], self.correct[rows])


@dataclass(frozen=True)
class ItemBank:
    """What a calibration says: P(correct) = c + (1 - c) / (1 + exp(-a (theta - b))), theta ~ N(mean, sd^2).

    Attributes:
        a: discrimination, shape (items,).
        b: difficulty, logits, shape (items,).
        c: lower asymptote, shape (items,).
        latent_mean, latent_sd: distribution of ability before the first answer.
    """

    a: Floats
    b: Floats
    c: Floats
    latent_mean: float
    latent_sd: float

    def log_probabilities(self) -> tuple[Floats, Floats]:
        """Of a wrong and of a right answer on each item at NODES, two arrays of shape (items, 61)."""
        items = np.arange(len(self.a))
        wrong, right = (
            log_likelihood(Answers(items, self.a, self.b, self.c, np.full(len(items), outcome), len(items)))
            for outcome in (False, True)
        )
        return wrong, right


@dataclass(frozen=True)
class Followed:
    """Students followed through their answers.

    Attributes:
        probability: P(correct) of each answer given the earlier ones, shape (n,).
        theta: posterior mean of ability after the last answer, shape (students,).
        sd: its posterior standard deviation.
    """

    probability: Floats
    theta: Floats
    sd: Floats


def earlier_sums(group: Ints, at: Ints, values: Floats) -> Floats:
    """Sums of a value over the rows of the same group at strictly earlier instants.

    Args:
        group: index of each row's group, shape (n,).
        at: instant of each row, shape (n,).
        values: shape (n,) or (n, k).

    Returns:
        Sums, in the shape of `values`.
    """
    order = np.lexsort((at, group))
    first_of_group = _starts(group[order])
    first_of_instant = np.maximum(first_of_group, _starts(at[order]))
    running = np.zeros((len(values) + 1, *values.shape[1:]))
    np.cumsum(values[order], axis=0, out=running[1:])
    sums = np.empty(values.shape)
    sums[order] = running[first_of_instant] - running[first_of_group]
    return sums


def _starts(keys: Ints) -> Ints:
    """Of each row the first row of its run of equal keys."""
    rows = np.arange(len(keys))
    rows[1:][keys[1:] == keys[:-1]] = 0
    return np.asarray(np.maximum.accumulate(rows), np.int64)


def follow(history: History, bank: ItemBank, n_students: int) -> Followed:
    """Predict each answer by the posterior of theta from the student's earlier answers.

    P(correct_k | answers before k) = integral of P(correct_k | theta) over p(theta | answers before k), on the
    calibration's 61 nodes: the one-step-ahead predictive distribution, whose log scores add up to the student's
    marginal log-likelihood (Dawid 1984).

    Args:
        history: the answers; every item is one of the bank.
        bank: the calibration, made without these students.
        n_students: number of students.
    """
    wrong, right = bank.log_probabilities()
    log_outcome, curves = np.stack([wrong, right]), np.exp(right)
    prior = normal_log_weights(bank.latent_mean, bank.latent_sd)
    probability = np.empty(len(history))
    after = np.tile(prior, (n_students, 1))
    for rows in _blocks(history.student, n_students):
        part = history.take(rows)
        evidence = log_outcome[part.correct.astype(np.int64), part.item]
        before = softmax(prior + earlier_sums(part.student, part.at, evidence), axis=1)
        probability[rows] = np.einsum("nq,nq->n", before, curves[part.item])
        np.add.at(after, part.student, evidence)
    return Followed(probability, *moments(after))


def _blocks(student: Ints, n_students: int) -> Iterator[Ints]:
    """Rows of whole students, about ANSWERS_AT_ONCE at a time."""
    block = np.cumsum(np.bincount(student, minlength=n_students)) // ANSWERS_AT_ONCE
    of_row = block[student]
    for each in np.unique(of_row):
        yield np.flatnonzero(of_row == each)


@dataclass(frozen=True)
class Shares:
    """Earlier answers of a kind: the student's own, or the student's own on the item.

    Attributes:
        right: of these right, shape (n,).
        n: earlier answers, shape (n,).
    """

    right: Floats
    n: Floats

    @classmethod
    def before(cls, group: Ints, history: History) -> "Shares":
        """Those of the same group before each answer."""
        counts = np.column_stack([history.correct, np.ones(len(history))])
        sums = earlier_sums(group, history.at, counts)
        return cls(sums[:, 0], sums[:, 1])

    def smoothed(self, start: Floats, strength: float) -> Floats:
        """(right + strength * start) / (n + strength): the share, from `start` before the first answer."""
        return (self.right + strength * start) / (self.n + strength)

    def best_strength(self, start: Floats, correct: Bools, train: Bools) -> float:
        """The strength of least log-loss on the training answers, within STRENGTH_BOUNDS."""
        mine, begins, right = Shares(self.right[train], self.n[train]), start[train], correct[train]

        def loss(log_strength: float) -> float:
            share = mine.smoothed(begins, float(np.exp(log_strength)))
            return -float(np.log(np.where(right, share, 1 - share)).mean())

        low, high = np.log(STRENGTH_BOUNDS)
        return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))


def item_shares(history: History, train: Bools, n_items: int) -> Floats:
    """Share correct of each item in the training answers, with half an answer of either kind added (Jeffreys)."""
    n = np.bincount(history.item[train], minlength=n_items)
    right = np.bincount(history.item[train], weights=history.correct[train], minlength=n_items)
    return np.asarray((right + 0.5) / (n + 1))


def logistic_combination(shares: list[Floats], correct: Bools, train: Bools) -> Floats:
    """Logistic regression of being right on the logits of several shares, fitted on the training answers.

    Args:
        shares: predictors, each in (0, 1), shape (n,).
        correct: shape (n,).
        train: which answers it is fitted on, shape (n,).

    Returns:
        P(correct) of every answer, shape (n,).

    Raises:
        ArithmeticError: when the maximum of the likelihood is not found.
    """
    predictors = np.column_stack([np.ones(len(correct)), *(logit(share) for share in shares)])
    x, sign = predictors[train], np.where(correct[train], 1.0, -1.0)

    def loss(weights: Floats) -> tuple[float, Floats]:
        margin = sign * (x @ weights)
        return -float(log_expit(margin).mean()), -(x.T @ (sign * expit(-margin))) / len(sign)

    def curvature(weights: Floats) -> Floats:
        p = expit(x @ weights)
        return np.asarray((x.T * (p * (1 - p))) @ x / len(sign))

    start = np.array([0.0, *np.full(len(shares), 1 / len(shares))])
    best = minimize(loss, start, jac=True, hess=curvature, method="trust-exact", options={"gtol": 1e-8})
    if not best.success:
        raise ArithmeticError(f"the logistic combination of {len(shares)} shares was not fitted: {best.message}")
    return np.asarray(expit(predictors @ best.x))
