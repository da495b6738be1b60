"""A_t by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from seedtest_assets.models.engagement import engagement

DAY = 86_400


def one_student(rows, first_day=0):
    """Engagement from (day, seconds into the day, session or None, seconds on the answer, hint) in time order."""
    day, second, session, spent, hint = zip(*rows, strict=True)
    result = engagement(
        np.zeros(len(rows), np.int64),
        np.array(day, float) * DAY + np.array(second, float),
        np.array(day, np.int64),
        pd.Series(session, dtype="str"),
        np.array(spent, float),
        np.array(hint, float),
        first_day,
        1,
    )
    return {name: getattr(result, name)[0] for name in ("a_t", "sessions", "mean_gap_days", "hint_rate", "dwell_s")}


def test_all_parts_weighted():
    # Two sessions on days 3 and 7: 30 + 60 s and 90 s of work; one of three answers hinted.
    rows = [(3, 0, "x", 30, 1), (3, 60, "x", 20, 0), (7, 0, "y", 90, 0)]
    got = one_student(rows)
    assert got["sessions"] == 2
    assert got["mean_gap_days"] == 4
    assert got["hint_rate"] == pytest.approx(1 / 3)
    assert got["dwell_s"] == pytest.approx((30 + 60 + 90) / 2)
    parts = 0.35 * 2 / 28 + 0.25 / 4 + 0.20 * (1 - 0.5 / 3) + 0.20 * 90 / 900
    assert got["a_t"] == pytest.approx(parts)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("hints", (0.35 / 28 * 2 + 0.25 / 4 + 0.20 * 0.1) / 0.80),
        ("time", (0.35 / 28 * 2 + 0.25 / 4 + 0.20 * 1.0) / 0.80),
        ("hints and time", (0.35 / 28 * 2 + 0.25 / 4) / 0.60),
    ],
)
def test_a_part_that_is_not_logged_is_left_out_and_the_weights_are_renormalised(missing, expected):
    spent = math.nan if "time" in missing else 90
    hint = math.nan if "hints" in missing else 0
    got = one_student([(3, 0, "x", spent, hint), (7, 0, "y", spent, hint)])
    assert got["a_t"] == pytest.approx(expected)
    assert math.isnan(got["hint_rate"]) == ("hints" in missing)
    assert math.isnan(got["dwell_s"]) == ("time" in missing)


def test_one_active_day_has_no_gap():
    got = one_student([(3, 0, "x", 90, 0)])
    assert math.isnan(got["mean_gap_days"])
    assert got["a_t"] == pytest.approx((0.35 / 28 + 0.20 * 1.0 + 0.20 * 0.1) / 0.75)


def test_a_gap_that_ends_in_the_window_counts_whole_and_an_earlier_one_does_not():
    rows = [(-9, 0, "a", 10, 0), (-6, 0, "b", 10, 0), (4, 0, "c", 10, 0)]
    assert one_student(rows)["mean_gap_days"] == 10


@pytest.mark.parametrize(("pause", "sessions"), [(1_800, 1), (1_801, 2)])
def test_without_session_ids_more_than_thirty_minutes_begin_a_new_one(pause, sessions):
    assert one_student([(3, 0, None, 10, 0), (3, pause, None, 10, 0)])["sessions"] == sessions


def test_a_session_that_began_before_the_window_counts_with_what_is_inside():
    got = one_student([(-1, DAY - 60, "x", 30, 0), (0, 40, "x", 30, 0)])
    assert got["sessions"] == 1
    assert got["dwell_s"] == pytest.approx(100)


def test_time_at_work_is_at_most_thirty_minutes_an_answer():
    got = one_student([(3, 0, "x", 99_999, 0), (3, 50_000, "x", 10, 0)])
    assert got["dwell_s"] == 3_600


def test_the_full_mark_is_one():
    rows = [(day, 40_000 * k, f"{day}-{k}", 1_200, 0) for day in range(28) for k in range(2)]
    assert one_student(rows)["a_t"] == pytest.approx(1)


def test_the_same_session_id_of_two_students_is_two_sessions():
    result = engagement(
        np.array([0, 1]),
        np.array([0.0, 5.0]),
        np.array([0, 0]),
        pd.Series(["x", "x"]),
        np.array([10.0, 20.0]),
        np.array([0.0, 1.0]),
        0,
        2,
    )
    assert result.sessions.tolist() == [1, 1]
    assert result.dwell_s.tolist() == [10, 20]
    assert result.hint_rate.tolist() == [0, 1]
