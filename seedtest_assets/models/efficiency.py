"""E_t: whether a student answers correctly in less time than before."""

from dataclasses import dataclass

import numpy as np

from seedtest_assets.models.irt import Bools, Floats, Ints

MIN_ANSWERS = 5


@dataclass(frozen=True)
class Efficiency:
    """Per student.

    Attributes:
        value: 1 - exp(mean log time now - mean log time before), clamped to [-1, 1]; .2 means a fifth less time per
            correct answer. NaN with fewer than 5 timed correct answers in either window; shape (n_students,).
        n: timed correct answers in both windows, shape (n_students,).
    """

    value: Floats
    n: Ints


def efficiency(
    student: Ints,
    item: Ints,
    log_time: Floats,
    recent: Bools,
    n_students: int,
    min_answers: int = MIN_ANSWERS,
) -> Efficiency:
    """Efficiency from timed correct answers; each log time is centred on its item's median.

    Args:
        student: index in 0..n_students - 1 of each answer, shape (n,).
        item: item of each answer; any integers, shape (n,).
        log_time: natural logarithm of the response time, shape (n,).
        recent: in the later window (the earlier one otherwise), shape (n,).
        n_students: number of students.
        min_answers: least number of answers in each window.
    """
    centred = log_time - _median_of_group(item, log_time)

    def window(chosen: Bools) -> tuple[Floats, Ints]:
        n = np.bincount(student[chosen], minlength=n_students).astype(np.int64)
        total = np.bincount(student[chosen], weights=centred[chosen], minlength=n_students)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(n >= min_answers, total / n, np.nan), n

    (now, n_now), (before, n_before) = window(recent), window(~recent)
    value = np.clip(1 - np.exp(now - before), -1.0, 1.0)
    return Efficiency(value, n_now + n_before)


def _median_of_group(group: Ints, values: Floats) -> Floats:
    """Each value's group median, shape of `values`."""
    _, code = np.unique(group, return_inverse=True)
    order = np.lexsort((values, code))
    size = np.bincount(code)
    first = np.cumsum(size) - size
    ordered = values[order]
    lower, upper = ordered[first + (size - 1) // 2], ordered[first + size // 2]
    return np.asarray(((lower + upper) / 2)[code])
