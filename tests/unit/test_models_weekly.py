"""All weekly numbers against slow loops on random data, by hand at the windows' edges, and in any row order."""

import math
from datetime import UTC, datetime, timedelta
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedtest_assets.models.improvement import improvement, proportion_log_likelihood
from seedtest_assets.models.irt import NODES
from seedtest_assets.models.recovery import shrunk_share
from seedtest_assets.models.weekly import weekly_numbers

from . import reference_weekly as reference

AS_OF = datetime(2025, 6, 16, tzinfo=UTC)
ITEMS = [(1, "t1", 1.1, -0.5, 0.0), (2, "t1", 0.8, 0.4, 0.25), (3, "t2", 1.6, 0.1, 0.0)]
ITEMS += [(4, None, None, None, None), (5, "t2", None, None, None)]
ITEMS += [(item, "t1", None, None, None) for item in range(6, 14)]
TIMES = {
    "id": "int64",
    "response_time_ms": "Int64",
    "hint_used": "boolean",
    "completed_at": "datetime64[us, UTC]",
    "started_at": "datetime64[us, UTC]",
    "a": "float64",
    "b": "float64",
    "c": "float64",
}
STUDENTS = ["9f-a", "0b-c", "44-d"]
SECONDS_OF_DAY = [0, 60, 60, 1_860, 1_861, 3_600, 40_000, 85_000, 86_390]  # ties, and 1,800 s apart to the second


def frame(answers):
    columns = [
        *("id", "student_id", "item_id", "topic_id", "correct", "response_time_ms", "hint_used", "completed_at"),
        *("started_at", "session_id", "days_ago", "in_week", "a", "b", "c"),
    ]
    return pd.DataFrame(answers, columns=columns).astype(
        TIMES | {"item_id": "int64", "correct": "bool", "days_ago": "int64", "in_week": "bool"}
    )


def answer(number, days_ago, student="s", item=1, **changed):
    """An answer at noon, `days_ago` days before as_of (1 = the last day), on a calibrated item."""
    completed = AS_OF - timedelta(days=days_ago - 0.5) + timedelta(seconds=number)
    known = {
        "id": number,
        "student_id": student,
        "item_id": item,
        "topic_id": "t1",
        "correct": True,
        "response_time_ms": 10_000,
        "hint_used": False,
        "completed_at": completed,
        "started_at": None,
        "session_id": f"day {days_ago}",
        "days_ago": days_ago,
        "in_week": days_ago <= 7,
        "a": 1.0,
        "b": 0.0,
        "c": 0.0,
    }
    return known | changed


def history(seed, size):
    """Answers of up to three students, crowded in time: ties, sessions over midnight, repeats, gaps in the log."""
    random = Random(seed)
    days = random.choice([[1, 7, 8, 14, 15, 28, 29, 56], [3, 20, 27, 28, 29, 30, 40], [2, 13, 16]])
    logged = random.choice([0, 0.5, 1])
    result = []
    for number in random.sample(range(size), size):
        item, topic, a, b, c = random.choice(ITEMS)
        one = answer(number, random.choice(days), random.choice(STUDENTS), item)
        completed = AS_OF - timedelta(days=one["days_ago"], seconds=-random.choice(SECONDS_OF_DAY))
        result.append(
            one
            | {"topic_id": random.choice([topic, topic, None]), "a": a, "b": b, "c": c, "completed_at": completed}
            | {"correct": random.random() < 0.6, "response_time_ms": random.choice([None, 0, 700, 12_000, 50_000])}
            | {"hint_used": random.choice([True, False]) if random.random() < logged else None}
            | {"session_id": random.choice(["x", "y"]) if random.random() < logged else None}
            | {"started_at": random.choice([None, *(completed - timedelta(seconds=shown) for shown in (20, -5))])}
        )
    return result


HISTORIES = st.builds(history, st.integers(0, 2**32), st.integers(1, 120))


def by_user(numbers):
    return numbers.set_index("user_id")


def same(got, expected, tolerance=1e-9):
    if expected is None:
        return bool(pd.isna(got))
    return got == pytest.approx(expected, abs=tolerance)


@given(HISTORIES)
@settings(max_examples=80, deadline=None)
def test_efficiency_recovery_engagement_and_theta_equal_the_slow_reference(answers):
    numbers = by_user(weekly_numbers(frame(answers), use_theta=False))
    students = reference.by_student(answers)
    assert numbers.index.tolist() == sorted(students)

    fast = reference.efficiency(answers)
    met = reference.recovery(answers)
    engaged = reference.engagement(answers)
    theta = reference.own_week_theta(answers)
    n, right = (np.array([met[student][k] for student in numbers.index]) for k in (0, 1))
    shares = shrunk_share(right, n)
    for share, (student, row) in zip(shares, numbers.iterrows(), strict=True):
        assert same(row["e_t"], fast[student][0])
        assert row["e_t_n"] == fast[student][1]
        assert row["r_t_n"] == met[student][0]
        assert same(row["r_t"], None if np.isnan(share) else share)
        for name, value in engaged[student].items():
            assert same(row[name], value), name
        assert row["idle_days"] == min(one["days_ago"] for one in students[student]) - 1
        value, se, count = theta[student]
        assert row["theta_week_n"] == count
        assert same(row["theta_week"], value, 1e-5)
        assert same(row["theta_week_se"], se, 1e-5)


def log_likelihood_of(rows):
    p = [(reference.chance(one, NODES), one["correct"]) for one in rows]
    return sum(np.log(chance if correct else 1 - chance) for chance, correct in p)


@given(HISTORIES, st.booleans())
@settings(max_examples=40, deadline=None)
def test_improvement_sees_the_right_answers(answers, use_theta):
    numbers = by_user(weekly_numbers(frame(answers), use_theta=use_theta))
    scored = reference.improvement_windows(answers, calibrated=True)
    counted = reference.improvement_windows(answers, calibrated=False)
    by_theta = [s for s in numbers.index if use_theta and min(len(window) for window in scored[s]) >= 5]
    by_accuracy = [s for s in numbers.index if s not in by_theta and min(len(window) for window in counted[s]) >= 5]
    expected = {}
    if by_theta:
        windows = (np.array([log_likelihood_of(scored[s][w]) for s in by_theta]) for w in (0, 1))
        moved = improvement(*windows)
        expected |= {s: (m, sd, "theta") for s, m, sd in zip(by_theta, moved.mean, moved.sd, strict=True)}
    if by_accuracy:
        windows = (
            proportion_log_likelihood(
                np.array([sum(one["correct"] for one in counted[s][w]) for s in by_accuracy]),
                np.array([len(counted[s][w]) for s in by_accuracy]),
            )
            for w in (0, 1)
        )
        moved = improvement(*windows)
        expected |= {s: (m, sd, "accuracy") for s, m, sd in zip(by_accuracy, moved.mean, moved.sd, strict=True)}
    for student, row in numbers.iterrows():
        mean, sd, method = expected.get(student, (None, None, None))
        assert same(row["i_t"], mean, 1e-6)
        assert same(row["i_t_se"], sd, 1e-6)
        assert row["i_t_method"] == method or (method is None and pd.isna(row["i_t_method"]))


@given(HISTORIES, st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_the_order_of_rows_does_not_matter(answers, seed):
    shuffled = Random(seed).sample(answers, len(answers))
    pd.testing.assert_frame_equal(
        weekly_numbers(frame(answers), use_theta=True),
        weekly_numbers(frame(shuffled), use_theta=True),
        rtol=1e-6,
        atol=1e-6,
    )


def only(answers, use_theta=True):
    (row,) = weekly_numbers(frame(answers), use_theta=use_theta).to_dict("records")
    return row


@pytest.mark.parametrize(("edge", "known"), [(14, False), (15, True), (28, True), (29, False)])
def test_the_earlier_window_of_improvement_is_days_15_to_28(edge, known):
    row = only([answer(k, 1) for k in range(5)] + [answer(9 + k, edge) for k in range(5)])
    assert math.isnan(row["i_t"]) != known


@pytest.mark.parametrize(("edge", "known"), [(28, False), (29, True), (56, True)])
def test_the_earlier_window_of_efficiency_is_days_29_to_56(edge, known):
    row = only([answer(k, 3) for k in range(5)] + [answer(9 + k, edge) for k in range(5)])
    assert math.isnan(row["e_t"]) != known


@pytest.mark.parametrize(("error", "again", "met"), [(29, 28, 1), (28, 1, 0), (56, 29, 0), (56, 1, 1)])
def test_recovery_is_of_errors_before_the_last_28_days_met_in_them(error, again, met):
    assert only([answer(1, error, correct=False), answer(2, again)])["r_t_n"] == met


def test_idle_days_count_whole_days_without_answers():
    assert only([answer(1, 1)])["idle_days"] == 0
    assert only([answer(1, 20), answer(2, 56)])["idle_days"] == 19


def test_a_student_silent_for_28_days_has_engagement_zero():
    row = only([answer(1, 29), answer(2, 40)])
    assert row["a_t"] == 0
    assert row["sessions"] == 0
    assert math.isnan(row["dwell_s"])


@pytest.mark.parametrize("enough", [4, 5])
def test_theta_of_the_week_needs_five_answers_on_calibrated_items(enough):
    row = only([answer(k, 2) for k in range(enough)] + [answer(9, 2, a=None, b=None), answer(10, 8)])
    assert row["theta_week_n"] == enough
    assert math.isnan(row["theta_week"]) == (enough < 5)


def test_all_correct_answers_of_a_week_give_a_finite_theta():
    row = only([answer(k, 2) for k in range(5)])
    assert row["theta_week"] == pytest.approx(math.log(5.5 / 0.5))


def test_without_a_bank_improvement_falls_back_to_accuracy():
    rows = [answer(k, 1 if k < 6 else 20, a=None, b=None, correct=k < 6) for k in range(12)]
    row = only(rows)
    assert row["i_t_method"] == "accuracy"
    assert row["i_t"] > 0
    assert row["theta_week_n"] == 0


def test_no_answers_give_no_rows():
    numbers = weekly_numbers(frame([]), use_theta=True)
    assert len(numbers) == 0
    assert {"user_id", "i_t", "e_t", "r_t", "a_t", "theta_week"} <= set(numbers.columns)
