"""Whether predictions tell two groups' members apart equally well: the area between their ROC curves.

ABROCA = integral of |ROC of one group - ROC of the other| over the false positive rate (Gardner, Brooks & Baker 2019).
It is positive by chance, so it comes with a permutation test in which students change groups.
"""

from dataclasses import dataclass

import numpy as np

from seedtest_assets.models.irt import Bools, Floats, Ints


@dataclass(frozen=True)
class Abroca:
    """The area between two groups' ROC curves.

    Attributes:
        value: in [0, 1]; NaN when a group lacks one of the outcomes.
        p: probability of one at least as large if groups did not matter.
    """

    value: float
    p: float


def abroca(
    score: Floats, happened: Bools, student: Ints, group: Bools, permutations: int, random: np.random.Generator
) -> Abroca:
    """Area with a permutation test over students, who keep all their rows.

    Args:
        score: shape (n,).
        happened: shape (n,).
        student: index of the student of each row, shape (n,).
        group: whether a student belongs to the group that is compared with the others, shape (students,).
        permutations: permutations of `group`; p is (1 + those with an area as large) / (1 + those with an area).
        random: where they come from.
    """
    order, threshold = _ordered(score)
    happened, student = happened[order], student[order]

    def area(group: Bools) -> float:
        return _area(*(_roc(happened, group[student] == side, threshold) for side in (True, False)))

    value = area(group)
    if np.isnan(value):
        return Abroca(value, np.nan)
    by_chance = np.array([area(random.permutation(group)) for _ in range(permutations)])
    by_chance = by_chance[~np.isnan(by_chance)]
    return Abroca(value, float((1 + np.sum(by_chance >= value - 1e-12)) / (1 + len(by_chance))))


def roc(score: Floats, happened: Bools) -> tuple[Floats, Floats]:
    """False and true positive rates at each distinct score, from (0, 0) to (1, 1); NaN without one of the outcomes."""
    order, threshold = _ordered(score)
    return _roc(happened[order], np.ones(len(score), bool), threshold)


def _ordered(score: Floats) -> tuple[Ints, Ints]:
    """The order from the highest score on, and the last place of each distinct score in it."""
    order = np.argsort(-score, kind="stable")
    return order, np.flatnonzero(np.diff(score[order], append=-np.inf))


def _roc(happened: Bools, member: Bools, threshold: Ints) -> tuple[Floats, Floats]:
    """False and true positive rates at each threshold, from (0, 0) to (1, 1)."""
    with np.errstate(invalid="ignore"):
        rates = [np.cumsum(member & (happened == right))[threshold] for right in (False, True)]
        false, true = (np.concatenate([[0], rate]) / rate[-1] for rate in rates)
    return false, true


def _area(one: tuple[Floats, Floats], other: tuple[Floats, Floats]) -> float:
    """Area between two curves that are linear between their points and may rise vertically."""
    x = np.union1d(one[0], other[0])
    if np.isnan(x).any() or np.isnan(one[1][-1] + other[1][-1]):
        return float("nan")
    begin = _heights(one, x[:-1], "right") - _heights(other, x[:-1], "right")
    end = _heights(one, x[1:], "left") - _heights(other, x[1:], "left")
    total = np.abs(begin) + np.abs(end)
    crossing = np.divide(begin**2 + end**2, 2 * total, out=np.zeros(len(total)), where=total > 0)
    return float(np.diff(x) @ np.where(begin * end >= 0, total / 2, crossing))


def _heights(curve: tuple[Floats, Floats], x: Floats, side: str) -> Floats:
    """The curve's height just right or just left of x, where a vertical rise at x has or has not happened."""
    false, true = curve
    before = (np.searchsorted(false, x, side="right") if side == "right" else np.searchsorted(false, x)) - 1
    run, rise = (np.diff(rates)[before] for rates in curve)
    return np.asarray(true[before] + rise * (x - false[before]) / run)
