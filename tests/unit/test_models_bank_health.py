"""Bank health: against loops over students and items, and cases whose answer is known."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedtest_assets.models.bank_health import CalibratedItems, bank_health

ONE = CalibratedItems(np.array([1.0]), np.array([0.0]), np.array([0.0]))
NOTHING = np.array([], np.int64)


def of(meetings, n_known, items=ONE, theta=(0.0,), se=(0.4,)):
    """The health of a window of (student, item) answers."""
    answers = Counter(item for _, item in meetings)
    met = Counter(item for _, item in set(meetings))
    order = sorted(answers)
    return bank_health(
        items,
        np.array(theta, float),
        np.array(se, float),
        np.array([answers[item] for item in order], np.int64),
        np.array([met[item] for item in order], np.int64),
        len({student for student, _ in meetings}),
        n_known,
    )


MEETINGS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 12)), min_size=1, max_size=80)


@given(MEETINGS, st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_exposure_and_effective_size_equal_loops_over_students_and_items(meetings, never):
    students, items = {student for student, _ in meetings}, {item for _, item in meetings}
    got = of(meetings, len(items) + never)
    exposure = [sum((student, item) in meetings for student in students) / len(students) for item in items]
    shares = [sum(met == item for _, met in meetings) / len(meetings) for item in items]
    assert got.max_exposure == pytest.approx(max(exposure))
    assert got.mean_exposure == pytest.approx(sum(exposure) / len(items))
    assert got.effective_size == pytest.approx(1 / sum(share**2 for share in shares))
    assert got.never_used_share == pytest.approx(never / (len(items) + never))
    assert got.details["exposure_deciles"][0] == pytest.approx(min(exposure))
    assert got.details["exposure_deciles"][10] == pytest.approx(max(exposure))
    assert 1 <= got.effective_size <= len(items) + 1e-9


def test_items_used_alike_count_in_full_and_one_that_is_always_used_counts_alone():
    assert of([(s, i) for s in range(4) for i in range(10)], 10).effective_size == pytest.approx(10)
    assert of([(s, 1) for s in range(4)], 10).effective_size == 1


def test_information_is_the_mean_over_items_at_quantiles_of_ability():
    a, b, c = np.array([1.0, 1.7, 0.6]), np.array([-1.0, 0.3, 2.0]), np.array([0.0, 0.2, 0.1])
    theta = np.random.default_rng(1).normal(0.3, 1.2, 501)
    got = of([(0, 0)], 1, CalibratedItems(a, b, c), theta, np.full(501, 0.5))
    for quantile, value in ((0.1, got.information_p10), (0.5, got.information_p50), (0.9, got.information_p90)):
        at = sorted(theta)[round(500 * quantile)]
        expected = 0.0
        for k in range(3):
            p = c[k] + (1 - c[k]) / (1 + math.exp(-a[k] * (at - b[k])))
            # Birnbaum (1968), eq. 20.4.16
            expected += a[k] ** 2 * (1 - p) / p * ((p - c[k]) / (1 - c[k])) ** 2 / 3
        assert value == pytest.approx(expected)


def test_a_bank_far_from_its_students_tells_little_where_they_are():
    easy = CalibratedItems(np.ones(5), np.full(5, -3.0), np.zeros(5))
    got = of([(0, 0)], 1, easy, np.linspace(0, 2, 11), np.full(11, 0.6))
    assert got.information_p90 < got.information_p50 < got.information_p10 < 0.06


def test_well_measured_are_students_with_a_standard_error_of_half_a_logit_or_less():
    assert of([(0, 0)], 1, theta=[0, 0, 0, 0], se=[0.3, 0.5, 0.51, 0.9]).share_well_measured == 0.5


def test_bands_hold_every_item_and_every_student_once():
    items = CalibratedItems(np.ones(6), np.array([-2.5, -2.0, -0.1, 0.0, 1.99, 2.0]), np.zeros(6))
    got = of([(0, 0)], 1, items, [-9, 0.5, 9], [1, 1, 1])
    assert got.details["items_by_band"] == [1, 1, 1, 1, 1, 1]
    assert got.details["students_by_band"] == [1, 0, 0, 1, 0, 1]


def test_without_answers_or_students_nothing_is_said():
    got = bank_health(ONE, np.array([]), np.array([]), NOTHING, NOTHING, 0, 0)
    said = (got.never_used_share, got.max_exposure, got.effective_size, got.information_p50, got.share_well_measured)
    assert said == (None,) * 5
    assert (got.n_items, got.n_known, got.details["exposure_deciles"]) == (1, 0, [])
