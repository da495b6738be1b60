"""Which goal counts for whom, and which weeks' scores a trend sees."""

import uuid
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from seedtest_assets import tables
from seedtest_assets.assets.goals import read_goals
from seedtest_assets.assets.scores import read_scores
from seedtest_assets.calendar import Week
from seedtest_assets.models.topic_scores import MIXED
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


BANK = str(uuid.uuid4())


@pytest.fixture
def bank(database) -> None:
    """Five items of difficulty 0, calibrated in the week before."""
    meta = {
        "run_id": BANK, "week_start": MONDAY - timedelta(weeks=1), "as_of": BEFORE, "model": "2PL",
        "model_spec": {"quadrature": {"n": 61, "min": -6, "max": 6}},
        "metrics": {"latent_mean": 0.0, "latent_sd": 1.0}, "fitted_at": BEFORE, "dagster_run_id": "",
    }  # fmt: skip
    items = pd.DataFrame({"run_id": BANK, "item_id": range(5), "a": 1.0, "b": 0.0, "c": 0.0, "n_responses": 99})
    with database.transaction() as connection:
        copy_in(connection, tables.mirt_fit_meta, pd.DataFrame([meta]))
        copy_in(connection, tables.mirt_item_params, items.assign(is_anchor=False))


def answer(database, user, day, correct, topics="xxxxx") -> None:
    """Five answers at noon of a day; `correct` are right."""
    rows = pd.DataFrame(
        {
            "source": "test",
            "source_id": [f"{user} {day} {n}" for n in range(5)],
            "student_id": user,
            "item_id": range(5),
            "correct": [n < correct for n in range(5)],
            "completed_at": datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=12),
            "attempt_no": 1,
            "topic_id": list(topics),
        }
    )
    with database.transaction() as connection:
        copy_in(connection, tables.attempt, rows)


def test_scores_are_of_one_week_each_and_dated_to_its_middle(database, week, bank):
    for weeks, correct in ((0, 3), (2, 2), (11, 1), (12, 5)):  # the last is before the look-back
        answer(database, ANN, MONDAY - timedelta(weeks=weeks), correct, topics="xxxyy" if weeks else "xxxxx")
    answer(database, ANN, MONDAY + timedelta(weeks=1), 5)  # after as_of
    scores = read_scores(database, week, 12)
    assert scores.overall["week"].tolist() == [-11.5, -2.5, -0.5]
    # Warm's estimate for r of n right on equal items of the Rasch model: logit((r + 1/2) / (n + 1)).
    expected = [np.log((r + 0.5) / (5 - r + 0.5)) for r in (1, 2, 3)]
    np.testing.assert_allclose(scores.overall["score"], expected, atol=1e-6)
    assert scores.by_topic["topic_id"].tolist() == [MIXED, MIXED, "x"]
    np.testing.assert_allclose(scores.by_topic.sort_values("week")["score"], expected, atol=1e-6)


def test_scores_of_the_running_week_are_dated_to_the_middle_of_its_days(database, bank):
    running = Week.of(MONDAY, now=datetime(2026, 3, 5, 12, tzinfo=UTC))  # Thursday: three days are over
    answer(database, ANN, MONDAY, 3)
    assert read_scores(database, running, 12).overall["week"].tolist() == [-1.5 / 7]


def test_without_a_bank_there_are_no_scores(database, week):
    answer(database, ANN, MONDAY, 3)
    scores = read_scores(database, week, 12)
    assert scores.overall.empty
    assert scores.by_topic.empty
