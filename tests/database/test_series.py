"""Weekly series from answers in PostgreSQL: sessions as for A_t, weeks without answers, topics with too few."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from seedtest_assets import tables
from seedtest_assets.assets.scores import OwnWeeks
from seedtest_assets.assets.series import read_panel, score_mondays, student_weeks, students_of
from seedtest_assets.calendar import Week
from seedtest_assets.models.engagement import engagement
from seedtest_assets.resources.database import copy_in

LAST = date(2026, 3, 23)
WEEK = Week(LAST, LAST + timedelta(weeks=1), "UTC")
NO_SCORES = pd.DataFrame({"user_id": [], "topic_id": [], "week": [], "score": [], "se": [], "n": []})
NOBODY = OwnWeeks(NO_SCORES.drop(columns="topic_id"), NO_SCORES)


def answers(n: int, seed: int) -> pd.DataFrame:
    """Answers of five students over four weeks in bursts, half of them with a logged session."""
    random = np.random.default_rng(seed)
    minutes = np.sort(random.integers(0, 4 * 7 * 24 * 60, n // 4))
    at = (minutes[:, None] + random.integers(0, 90, (len(minutes), 4)).cumsum(axis=1)).ravel()[:n]
    at = at[at < 4 * 7 * 24 * 60]
    student, logged = random.integers(0, 5, len(at)), random.random(len(at)) < 0.5
    begins = datetime.combine(LAST - timedelta(weeks=3), datetime.min.time(), UTC)
    return pd.DataFrame(
        {
            "source": "test",
            "source_id": [str(i) for i in range(len(at))],
            "student_id": [f"00000000-0000-4000-8000-00000000000{s}" for s in student],
            "item_id": random.integers(0, 50, len(at)),
            "correct": random.random(len(at)) < 0.6,
            "completed_at": [begins + timedelta(minutes=int(m), seconds=i % 60) for i, m in enumerate(at)],
            "attempt_no": 1,
            "session_id": [f"s{m // 120}" if known else None for m, known in zip(at, logged, strict=True)],
            "topic_id": [f"t{i % 3}" for i in random.integers(0, 3, len(at))],
        }
    ).drop_duplicates(["student_id", "completed_at"])


@pytest.fixture
def filled(database):
    def with_rows(rows: pd.DataFrame):
        with database.transaction() as connection:
            copy_in(connection, tables.attempt, rows)
        return database

    return with_rows


@pytest.mark.parametrize("seed", range(5))
def test_weekly_sessions_are_those_of_engagement(filled, seed):
    rows = answers(400, seed)
    found = student_weeks(filled(rows), WEEK, 4).set_index(["user_id", "week_start"]).sort_index()
    rows = rows.assign(
        week=[LAST - timedelta(weeks=(LAST - at.date() + timedelta(days=6)).days // 7) for at in rows["completed_at"]]
    )
    for (user, monday), of in rows.sort_values("completed_at").groupby(["student_id", "week"]):
        n = len(of)
        seconds = np.array([at.timestamp() for at in of["completed_at"]])
        nothing, zero = np.full(n, np.nan), np.zeros(n, np.int64)
        expected = engagement(zero, seconds, zero, of["session_id"].reset_index(drop=True), nothing, nothing, 0, 1)
        row = found.loc[(user, monday)]
        assert (row["attempts"], row["correct"]) == (n, of["correct"].sum())
        # Both begin a new run at the week's first answer, but for one that goes on from the week before.
        assert expected.sessions[0] - row["sessions"] in {0, 1}


def test_weeks_without_answers_are_zero_once_there_were_some_and_unknown_before(filled):
    rows = answers(400, seed=9)
    second = LAST - timedelta(weeks=2)
    kept = [
        at.date() >= second and not (LAST <= at.date() + timedelta(weeks=1) < LAST + timedelta(weeks=1))
        for at in rows["completed_at"]
    ]
    database = filled(rows[kept])
    activity = student_weeks(database, WEEK, 4)
    panel = read_panel(database, WEEK, activity, NOBODY, 4)
    attempts = panel.values[(panel.key["metric"] == "attempts") & (panel.key["scope"] == "cohort")][0]
    assert np.isnan(attempts[0])
    assert attempts[2] == 0
    assert attempts[1] + attempts[3] == sum(kept)
    accuracy = panel.values[(panel.key["metric"] == "accuracy") & (panel.key["scope"] == "cohort")][0]
    assert np.isnan(accuracy[[0, 2]]).all()
    students = students_of(activity, NOBODY, WEEK, 4)
    assert np.nansum(students.attempts) == sum(kept)
    assert np.isnan(students.theta).all()


def test_a_topic_that_is_hardly_practised_has_no_series(filled):
    rows = answers(600, seed=10)
    rare = rows["topic_id"].eq("t2") & (rows.index % 10 > 0)
    database = filled(rows[~rare])
    panel = read_panel(database, WEEK, student_weeks(database, WEEK, 4), NOBODY, 4)
    assert set(panel.key.loc[panel.key["scope"] == "topic", "scope_id"]) == {"t0", "t1"}


def test_counts_are_modelled_as_logarithms_and_come_back(filled):
    database = filled(answers(400, seed=11))
    panel = read_panel(database, WEEK, student_weeks(database, WEEK, 4), NOBODY, 4)
    assert panel.natural(panel.modelled) == pytest.approx(panel.values, nan_ok=True)
    counts = panel.is_count[:, 0]
    assert panel.modelled[counts] == pytest.approx(np.log1p(panel.values[counts]), nan_ok=True)
    assert (panel.natural(np.full_like(panel.values, -9.0))[counts] == 0).all()


def test_scores_belong_to_the_weeks_they_were_made_in():
    scores = pd.DataFrame({"week": [-0.5, -1.5, -11.5]})
    found = score_mondays(scores, WEEK)["week_start"].tolist()
    assert found == [LAST, LAST - timedelta(weeks=1), LAST - timedelta(weeks=11)]
