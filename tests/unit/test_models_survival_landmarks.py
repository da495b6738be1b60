"""Landmarks: against a slow reference, by hand, and nothing after the landmark or the cut enters."""

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedtest_assets.models.landmarks import (
    COVARIATES,
    HORIZONS,
    SILENT_DAYS,
    Calendar,
    Records,
    at_risk,
    landmark_days,
    outcomes,
    return_gaps,
    session_rate,
    student_keys,
    training_landmarks,
)

from . import reference_survival as reference

MONDAY = date(2025, 3, 3).toordinal()
DAYS = 100
CUT = MONDAY + 80
ALWAYS = ("student", "day", "idle", "due", "weekday", *COVARIATES)


def records(activity, metrics=(), days_off=(), *, skips=False, students=None):
    """Records from (student, day) and (student, as_of_day, value) with days counted from MONDAY."""
    active = [(student, MONDAY + day) for student, day in activity]
    students = students or max((student for student, _ in active), default=-1) + 1
    rows = [(student, MONDAY + day, *(value + place for place in range(5))) for student, day, value in metrics]
    return Records(
        pd.DataFrame(active, columns=["student", "day"], dtype=np.int64),
        pd.DataFrame(rows, columns=["student", "as_of_day", *COVARIATES]),
        student_keys([f"student {number}" for number in range(students)]),
        Calendar(np.array(sorted(days_off), np.int64) + MONDAY, skips),
    )


STUDENTS = 3
ACTIVITY = st.lists(st.tuples(st.integers(0, STUDENTS - 1), st.integers(0, DAYS)), max_size=40)
NUMBERS = st.one_of(st.just(np.nan), st.floats(-2, 2, allow_subnormal=False))
METRICS = st.lists(
    st.tuples(st.integers(0, STUDENTS - 1), st.integers(0, DAYS // 7).map(lambda week: 7 * week), NUMBERS),
    max_size=20,
    unique_by=lambda row: row[:2],
)
DAYS_OFF = st.sets(st.integers(0, DAYS), max_size=30)
HISTORIES = st.builds(
    lambda activity, metrics, off, skips: records(activity, metrics, off, skips=skips, students=STUDENTS),
    ACTIVITY,
    METRICS,
    DAYS_OFF,
    st.booleans(),
)


def assert_rows(frame, expected):
    assert len(frame) == len(expected)
    if expected:
        pd.testing.assert_frame_equal(frame, pd.DataFrame(expected)[frame.columns], check_dtype=False)


@given(HISTORIES, st.integers(0, DAYS), st.integers(1, 70))
def test_landmarks_and_gaps_equal_the_reference(history, cut, lookback):
    cut += MONDAY
    assert_rows(
        training_landmarks(history, cut, lookback), reference.training_landmarks(history, cut, lookback, HORIZONS)
    )
    assert_rows(at_risk(history, cut), reference.at_risk(history, cut, HORIZONS))
    assert_rows(return_gaps(history, cut, lookback), reference.return_gaps(history, cut, lookback))


def changed_from(history, moment, activity, metrics):
    """The history with other facts from the midnight that begins `moment` on."""
    old, new = history.activity, activity
    made, remade = history.metrics, metrics
    return replace(
        history,
        activity=pd.concat([old[old["day"] < moment], new[new["day"] >= moment]], ignore_index=True),
        metrics=pd.concat([made[made["as_of_day"] <= moment], remade[remade["as_of_day"] > moment]], ignore_index=True),
    )


def check_no_leak(builder, history, other, moment):
    """What is said at landmarks up to a moment, and of outcomes up to it, does not depend on facts after it."""
    later = changed_from(history, moment, other.activity, other.metrics)
    found, again = (builder(one, CUT, 60) for one in (history, later))
    if moment >= CUT:
        pd.testing.assert_frame_equal(found, again)
    found, again = (one[one["day"] <= moment].reset_index(drop=True) for one in (found, again))
    days_off = [f"holidays_{horizon}" for horizon in HORIZONS]
    pd.testing.assert_frame_equal(found[[*ALWAYS, *days_off]], again[[*ALWAYS, *days_off]])
    for horizon in HORIZONS:
        over = found["day"] + horizon <= moment
        pd.testing.assert_series_equal(found.loc[over, f"event_{horizon}"], again.loc[over, f"event_{horizon}"])


@given(HISTORIES, HISTORIES, st.integers(0, DAYS))
def test_nothing_after_the_landmark_enters(history, other, moment):
    check_no_leak(training_landmarks, history, other, MONDAY + moment)


def shifted(frame, column, days):
    return frame.assign(**{column: frame[column] + days})


def features_of_the_running_week(history, cut, lookback):
    return training_landmarks(replace(history, metrics=shifted(history.metrics, "as_of_day", -7)), cut, lookback)


def idle_from_the_landmarks_own_day(history, cut, lookback):
    return training_landmarks(replace(history, activity=shifted(history.activity, "day", -1)), cut, lookback)


def follow_up_across_the_cut(history, cut, lookback):
    rows = training_landmarks(history, cut + 14, lookback + 14)
    return rows[rows["day"] <= cut - min(HORIZONS)].reset_index(drop=True)


LEAKY = (features_of_the_running_week, idle_from_the_landmarks_own_day, follow_up_across_the_cut)


@pytest.mark.parametrize("builder", [training_landmarks, *LEAKY])
def test_a_leaky_builder_is_caught(builder):
    """The property above fails for each leak, and on the same histories not for the builder itself."""
    caught = 0
    for seed in range(10):
        random = np.random.default_rng(seed)
        histories = []
        for _ in range(2):
            active = [(s, d) for s in range(20) for d in range(DAYS) if random.random() < 0.1]
            made = [(s, 7 * week, random.normal()) for s in range(20) for week in range(DAYS // 7)]
            histories.append(records(active, made))
        try:
            check_no_leak(builder, *histories, CUT - 7 * int(random.integers(0, 4)))
        except AssertionError:
            caught += 1
    assert (caught > 0) == (builder in LEAKY)


@pytest.mark.parametrize("idle", range(SILENT_DAYS))
def test_the_event_is_dated_fourteen_days_after_the_last_activity(idle):
    active = [(0, 0), (0, 30)]
    history = records(active)
    rows = training_landmarks(history, CUT, 80)
    event = MONDAY + 30 + 15  # fourteen whole days, 31..44, are over at this midnight
    looked_at = rows[rows["day"] > MONDAY + 30]
    assert (looked_at["day"] + looked_at["due"] == event).all()
    for horizon in HORIZONS:
        expected = (looked_at["day"] < event) & (event <= looked_at["day"] + horizon)
        assert (looked_at[f"event_{horizon}"] == expected).all()
    row = at_risk(history, MONDAY + 31 + idle)
    assert row[["idle", "due"]].to_numpy().tolist() == [[idle, SILENT_DAYS - idle]]


def test_activity_on_the_last_day_of_the_silence_prevents_the_event_and_a_day_later_does_not():
    def events(back):
        history = records([(0, 30), *((0, day) for day in range(back, 80))])
        rows = training_landmarks(history, CUT, 80)
        return rows[rows["day"] <= MONDAY + 44]["event_28"]

    assert events(44).eq(0).all()
    assert events(45).eq(1).all()
    assert len(events(45)) >= 1


def test_a_lapsed_student_has_no_landmark_until_the_return():
    assert at_risk(records([(0, 0)]), MONDAY + 15).empty
    rows = training_landmarks(records([(0, 0), (0, 50)]), CUT, 80)
    assert not rows["day"].between(MONDAY + 15, MONDAY + 50).any()
    assert rows["day"].gt(MONDAY + 50).any()


def test_outcomes_are_known_only_when_the_horizon_is_over_at_the_cut():
    rows = training_landmarks(records([(0, day) for day in range(DAYS)]), CUT, 80)
    for horizon in HORIZONS:
        assert (rows[f"event_{horizon}"].notna() == (rows["day"] + horizon <= CUT)).all()
    assert rows["day"].max() <= CUT - 7


def test_landmarks_fall_on_all_weekdays_one_a_week_and_the_same_tomorrow():
    n, weeks = 3_000, 10
    active = [(student, day) for student in range(n) for day in range(0, 80, 5)]
    history = records(active)
    rows = training_landmarks(history, CUT, 75)
    week = (rows["day"] - 1) // 7
    assert not pd.DataFrame({"student": rows["student"], "week": week}).duplicated().any()
    whole = rows[(rows["day"] >= MONDAY + 14) & (rows["day"] < MONDAY + 7 * weeks)]
    assert len(whole) == n * (weeks - 2)
    counts = whole["weekday"].value_counts()
    assert (np.abs(counts - len(whole) / 7) < 5 * np.sqrt(len(whole) / 7)).all()
    assert abs(np.corrcoef(*(whole[whole["day"].sub(MONDAY) // 7 == w]["weekday"] for w in (3, 4)))[0, 1]) < 0.1
    tomorrow = training_landmarks(history, CUT + 1, 76)
    both = rows.merge(tomorrow, on=["student", "day"], how="left")
    assert both["idle_y"].notna().all()


def test_the_hash_is_the_same_on_every_machine():
    keys = student_keys(["a", "0b6a8e1c-5d52-4a3c-8f3e-6a9d5a3b7c10"])
    assert keys.tolist() == [3405396810240292928, 11395666423674760085]
    assert landmark_days(keys, np.array([105_616, 105_617])).tolist() == [MONDAY + 5, MONDAY + 11]


def test_days_off_are_counted_from_the_landmark_to_where_the_silence_would_end():
    days_off = [39, 40, 44, 45, 60]
    row = at_risk(records([(0, 30)], days_off=days_off), MONDAY + 40).iloc[0]
    assert (row["idle"], row["due"]) == (9, 5)
    assert (row["holidays_7"], row["holidays_14"], row["holidays_28"]) == (2, 2, 4)


def test_days_off_do_not_count_as_idle_when_so_configured():
    row = at_risk(records([(0, 30)], days_off=range(31, 41), skips=True), MONDAY + 45).iloc[0]
    assert (row["idle"], row["due"]) == (4, 10)
    rows = training_landmarks(records([(0, 0), (0, 30)], days_off=range(31, 41), skips=True), CUT, 80)
    after = rows[rows["day"] > MONDAY + 30]
    assert (after["event_7"] == (after["day"] + 7 >= MONDAY + 55)).all()


@given(DAYS_OFF, st.booleans(), st.integers(1, 60), st.integers(1, SILENT_DAYS - 1))
def test_who_is_idle_for_so_long_and_still_at_risk_is_a_range_of_last_active_days(off, skips, landmark, least):
    calendar = records([], days_off=off, skips=skips, students=1).calendar
    earliest, latest = calendar.earliest_at_risk(MONDAY + landmark), calendar.latest_idle(MONDAY + landmark, least)
    for active in range(MONDAY - 40, MONDAY + landmark):
        idle = calendar.idle(np.array([active]), np.array([MONDAY + landmark]))[0]
        assert (idle < SILENT_DAYS) == (active >= earliest)
        assert (idle >= least) == (active <= latest)


@given(HISTORIES, st.integers(30, DAYS))
def test_outcomes_of_given_landmarks_are_those_of_training(history, cut):
    rows = training_landmarks(history, MONDAY + cut, 60)
    found = outcomes(history, rows[["student", "day"]], MONDAY + cut)
    pd.testing.assert_frame_equal(found, rows[list(found.columns)])


def test_sessions_count_per_day_that_the_student_was_there():
    rate = session_rate(np.array([3.0, 3.0, 28.0, 1.0]), np.full(4, 100), np.array([97, 10, 72, 100]))
    assert rate.tolist() == [1.0, 3 / 28, 1.0, 1.0]


def test_nobody_and_one_student():
    assert training_landmarks(records([], students=1), CUT, 60).empty
    assert at_risk(records([], students=1), CUT).empty
    assert return_gaps(records([], students=1), CUT, 60).empty
    assert len(at_risk(records([(0, 79)]), CUT)) == 1


@settings(max_examples=20)
@given(st.permutations(range(12)))
def test_the_order_of_the_facts_does_not_matter(order):
    days = [0, 3, 4, 10, 11, 20, 33, 34, 40, 47, 60, 61]
    history = records([(number % 2, day) for number, day in enumerate(days)], [(0, 7, 1.0), (1, 14, 2.0), (0, 21, 3.0)])
    shuffled = replace(history, activity=history.activity.iloc[list(order)], metrics=history.metrics.iloc[::-1])
    pd.testing.assert_frame_equal(training_landmarks(history, CUT, 80), training_landmarks(shuffled, CUT, 80))
