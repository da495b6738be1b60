"""E_t by hand."""

import numpy as np
import pytest

from seedtest_assets.models.efficiency import efficiency


def one_student(times_before, times_now, items=None):
    times = np.array([*times_before, *times_now], float)
    n = len(times)
    item = np.zeros(n, np.int64) if items is None else np.array(items)
    recent = np.arange(n) >= len(times_before)
    return efficiency(np.zeros(n, np.int64), item, np.log(times), recent, 1)


@pytest.mark.parametrize(("ratio", "value"), [(0.8, 0.2), (1.0, 0.0), (1.25, -0.25), (1e-9, 1.0), (9.0, -1.0)])
def test_it_is_one_minus_the_ratio_of_geometric_mean_times_within_one(ratio, value):
    before = np.array([4.0, 10.0, 12.0, 25.0, 40.0])
    result = one_student(before, before[::-1] * ratio)
    assert result.value[0] == pytest.approx(value, abs=1e-6)
    assert result.n[0] == 10


def test_an_item_that_takes_everyone_longer_is_no_loss():
    # The student meets item 0 (10 s for everyone) before and item 1 (50 s for everyone) now.
    student = np.repeat([0, 1, 2], 10)
    item = np.tile(np.repeat([0, 1], 5), 3)
    recent = np.tile(np.repeat([False, True], 5), 3)
    result = efficiency(student, item, np.log(np.where(item == 0, 10.0, 50.0)), recent, 3)
    np.testing.assert_allclose(result.value, 0, atol=1e-12)


def test_four_answers_in_a_window_are_too_few():
    result = one_student([10.0] * 4, [10.0] * 9)
    assert np.isnan(result.value[0])
    assert result.n[0] == 13


def test_a_student_without_timed_answers_is_unknown_and_nobody_is_nothing():
    nothing = np.empty(0, np.int64)
    result = efficiency(nothing, nothing, np.empty(0), np.empty(0, bool), 2)
    assert np.isnan(result.value).tolist() == [True, True]
    assert result.n.tolist() == [0, 0]
    assert len(efficiency(nothing, nothing, np.empty(0), np.empty(0, bool), 0).value) == 0
