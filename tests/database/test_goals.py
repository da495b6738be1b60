"""Which goal counts for whom, and which weeks' scores a trend sees."""

import uuid
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest

from seedtest_assets import tables
from seedtest_assets.assets.goals import read_goals
from seedtest_assets.assets.scores import read_theta_week, read_topic_scores
from seedtest_assets.calendar import Week
from seedtest_assets.resources.database import copy_in
from seedtest_assets.settings import settings

MONDAY = date(2026, 3, 2)
LATER = datetime(2026, 6, 1, tzinfo=UTC)
ANN, BOB = (str(uuid.UUID(int=n)) for n in (1, 2))


@pytest.fixture
def week() -> Week:
    return Week.of(MONDAY, now=LATER)  # closed: as_of is Monday the 9th


def goals(database, *rows) -> None:
    names = ["user_id", "topic_id", "target_theta", "target_date", "priority", "valid_from"]
    with database.transaction() as connection:
        copy_in(connection, tables.learning_goal, pd.DataFrame(rows, columns=names))


def told(database, week, users=(ANN,)):
    found = read_goals(database, week, pd.Index(users))
    return [tuple(row) for row in found[["user_id", "topic_id", "target_theta", "goal"]].itertuples(index=False)]


BEFORE = datetime(2026, 1, 1, tzinfo=UTC)
OVERALL = tables.OVERALL


def test_a_student_without_a_goal_has_the_default_four_weeks_ahead(database, week, monkeypatch):
    monkeypatch.setenv("METRICS_DEFAULT_TARGET", "0.25")
    settings.cache_clear()
    (row,) = read_goals(database, week, pd.Index([ANN])).itertuples()
    assert (row.topic_id, row.target_theta, row.goal) == (OVERALL, 0.25, "default")
    assert (row.target_date, row.weeks) == (date(2026, 4, 5), 4.0)  # Sunday: as_of is a Monday's midnight


def test_the_first_priority_counts_and_of_equals_the_newest(database, week):
    goals(
        database,
        (ANN, None, 0.1, None, 2, BEFORE + timedelta(days=9)),
        (ANN, None, 0.2, None, 1, BEFORE),
        (ANN, None, 0.3, None, 1, BEFORE + timedelta(days=1)),
    )
    assert told(database, week) == [(ANN, OVERALL, 0.3, "learning_goal")]


def test_a_goal_that_is_over_or_not_yet_set_does_not_count(database, week):
    goals(
        database,
        (ANN, None, 0.1, date(2026, 3, 8), 1, BEFORE),  # its last day is the week's Sunday
        (ANN, None, 0.2, date(2026, 5, 1), 1, week.as_of),
        (BOB, None, 0.4, date(2026, 3, 9), 1, BEFORE),
    )
    assert told(database, week, (ANN, BOB)) == [
        (ANN, OVERALL, 0.0, "default"),
        (BOB, OVERALL, 0.4, "learning_goal"),
    ]
    (bob,) = read_goals(database, week, pd.Index([BOB])).itertuples()
    assert bob.weeks == pytest.approx(1 / 7)  # to the end of that Monday


def test_topic_goals_stand_beside_the_overall_one(database, week):
    goals(database, (ANN, "algebra", 1.0, None, 1, BEFORE), (BOB, "algebra", 2.0, None, 1, BEFORE))
    assert told(database, week) == [(ANN, OVERALL, 0.0, "default"), (ANN, "algebra", 1.0, "learning_goal")]


def metrics(database, user, monday, theta, as_of) -> None:
    row = {
        "user_id": user, "week_start": monday, "as_of": as_of, "theta_week": theta, "theta_week_se": 0.5,
        "sessions": 1, "active_days": 1, "attempts": 6, "idle_days": 0, "run_id": str(uuid.uuid4()),
    }  # fmt: skip
    with database.transaction() as connection:
        copy_in(connection, tables.weekly_metrics, pd.DataFrame([row]))


def test_theta_week_comes_from_weeks_that_were_over_and_is_dated_to_their_middle(database, week):
    for monday, theta in ((MONDAY, 0.3), (MONDAY - timedelta(weeks=2), 0.1), (MONDAY - timedelta(weeks=12), -1.0)):
        metrics(database, ANN, monday, theta, datetime.combine(monday + timedelta(weeks=1), datetime.min.time(), UTC))
    unfinished = MONDAY - timedelta(weeks=1)
    metrics(database, ANN, unfinished, 9.0, datetime.combine(unfinished + timedelta(days=2), datetime.min.time(), UTC))
    found = read_theta_week(database, week, 12)
    assert found[["user_id", "week", "score", "se"]].to_numpy().tolist() == [
        [ANN, -2.5, 0.1, 0.5],
        [ANN, -0.5, 0.3, 0.5],
    ]


def test_scores_of_the_running_week_are_dated_to_the_middle_of_its_days(database):
    running = Week.of(MONDAY, now=datetime(2026, 3, 5, 12, tzinfo=UTC))  # Thursday: three days are over
    metrics(database, ANN, MONDAY, 0.3, running.as_of)
    assert read_theta_week(database, running, 12)["week"].tolist() == [-1.5 / 7]


def test_without_a_bank_there_are_no_topic_scores(database, week):
    assert read_topic_scores(database, week, 12).empty
