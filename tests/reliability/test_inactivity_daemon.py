"""The sensor in the real daemon, on PostgreSQL: who has been idle for seven days has a new risk within a minute."""

import shutil
import time
import uuid
from datetime import UTC, datetime, timedelta

import dagster as dg
import pandas as pd
import pytest
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.calendar import WEEK, Week, monday
from seedtest_assets.local.home import CHECKOUT
from seedtest_assets.models.landmarks import training_landmarks
from seedtest_assets.models.survival import fit_risk
from seedtest_assets.resources.database import copy_in, run_id
from tests.served import served
from tests.statistics.silence_oracle import FIRST, Silence

SELECTOR = {"repositoryName": "__repository__", "repositoryLocationName": "seedtest", "sensorName": "inactivity"}
START = """mutation ($selector: SensorSelector!) {
  startSensor(sensorSelector: $selector) { __typename ... on PythonError { message } }
}"""
TICKS = """query ($selector: SensorSelector!) {
  sensorOrError(sensorSelector: $selector) { ... on Sensor { sensorState { ticks { timestamp status runIds } } } }
}"""


def publish_a_fit(database):
    week = Week.of(monday(datetime.now(UTC).date()) - WEEK)
    model = fit_risk(training_landmarks(Silence.draw(300, 120, seed=3).records(4), FIRST + 120, 90))
    row = {
        "run_id": str(run_id("survival_fit_meta", week.start)),
        "week_start": week.start,
        "as_of": week.as_of,
        "engine": "python",
        "model": "full",
        "risk_model": model,
        "cox": {},
        "calibration": {},
        "n": model[1]["n"],
        "events": model[1]["events"],
        "dagster_run_id": "none",
    }
    with database.transaction() as connection:
        copy_in(connection, tables.survival_fit_meta, pd.DataFrame([row]))


def answered(database, days_ago):
    """New students, each with a last answer so many days ago and some before it; their keys."""
    noon = datetime.combine(datetime.now(UTC).date(), datetime.min.time(), UTC) + timedelta(hours=12)
    students = [str(uuid.uuid4()) for _ in days_ago]
    rows = pd.DataFrame(
        [
            {
                "source": "daemon",
                "source_id": f"{student} {back}",
                "student_id": student,
                "item_id": back,
                "correct": True,
                "completed_at": noon - timedelta(days=ago + back),
                "attempt_no": 1,
            }
            for student, ago in zip(students, days_ago, strict=True)
            for back in range(3)
        ]
    )
    with database.transaction() as connection:
        copy_in(connection, tables.attempt, rows)
    return students


def refreshed(database):
    """When the risk of each student was computed by the sensor's job."""
    r = tables.survival_risk.c
    found = database.rows(
        sa.select(r.user_id, r.computed_at, r.idle_days).where(r.trigger == "inactivity", r.horizon_days == 14)
    )
    return {str(row.user_id): (row.computed_at, row.idle_days) for row in found}


def wait_for(database, students, seconds=120):
    until = time.monotonic() + seconds
    while not set(students) <= set(refreshed(database)):
        assert time.monotonic() < until, f"{len(students)} students are not all refreshed after {seconds} s"
        time.sleep(0.5)


@pytest.mark.slow
def test_rows_are_there_within_a_minute_of_the_tick(database, postgres, tmp_path, monkeypatch):
    shutil.copyfile(CHECKOUT / "deploy" / "dagster.yaml", tmp_path / "dagster.yaml")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_DATABASE_URL", postgres.url("dagster"))
    publish_a_fit(database)
    silent, others = answered(database, [8, 9, 9, 13]), answered(database, [1, 3, 7, 15, 40])
    with dg.DagsterInstance.get() as instance:
        instance.wipe()
        with served(tmp_path) as there:
            assert there.ask(START, selector=SELECTOR)["startSensor"]["__typename"] == "Sensor"
            wait_for(database, silent)
            late = answered(database, [10])  # these answers arrive after the sensor has looked
            wait_for(database, late)
            ticks = there.ask(TICKS, selector=SELECTOR)["sensorOrError"]["sensorState"]["ticks"]
        found = refreshed(database)
        assert set(found) == {*silent, *late}
        assert [found[student][1] for student in (*silent, *late)] == [7, 8, 8, 12, 9]
        requested = sorted(tick["timestamp"] for tick in ticks if tick["runIds"])
        assert len(requested) == 2
        for tick, students in zip(requested, (silent, late), strict=True):
            assert all(0 < found[student][0].timestamp() - tick < 60 for student in students)
        kpi = tables.weekly_kpi.c
        joined = database.rows(sa.select(kpi.user_id, kpi.week_start).where(kpi.s_churn.is_not(None)))
        this_week = monday(datetime.now(UTC).date() - timedelta(days=1))
        assert {(str(user), week) for user, week in map(tuple, joined)} == {(s, this_week) for s in found}
        assert not set(others) & set(found)
        runs = instance.get_runs(dg.RunsFilter(job_name="refresh_inactive"))
        assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS] * 2
        said = str([(run.run_config, run.tags) for run in runs])
        assert not any(student in said for student in found)
