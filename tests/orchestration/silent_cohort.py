"""A cohort of active days in the real database, and the path from answers to the churn risk on it."""

import uuid
from datetime import UTC, date, datetime, time, timedelta

import dagster as dg
import numpy as np
import pandas as pd

from seedtest_assets import tables
from seedtest_assets.assets.attempts import attempt
from seedtest_assets.assets.churn import churn
from seedtest_assets.assets.features import features_topic_daily
from seedtest_assets.assets.weekly_kpi import weekly_kpi
from seedtest_assets.assets.weekly_metrics import weekly_metrics
from seedtest_assets.automation.weekly_runs import QUIET
from seedtest_assets.checks.integrity import keys_and_ranges
from seedtest_assets.resources.database import Database, copy_in
from seedtest_assets.resources.forecast import ForecastService
from seedtest_assets.settings import settings
from tests.statistics.silence_oracle import Silence

FIRST_DAY = date(2025, 8, 4)  # a Monday
PATH = [attempt, features_topic_daily, weekly_metrics, churn, keys_and_ranges(tables.survival_risk), weekly_kpi]


def user(number: int) -> str:
    return str(uuid.UUID(int=number + 1))


def mondays(weeks: int) -> list[date]:
    return [FIRST_DAY + timedelta(weeks=n) for n in range(weeks)]


def drawn(students: int, weeks: int, seed: int = 1) -> np.ndarray:
    """Whether a student was active on a day, shape (students, days)."""
    return Silence.draw(students, 7 * weeks, seed).active


def answer(database: Database, active: np.ndarray) -> None:
    """One answer at noon, to one of a few items, on each active day."""
    student, day = np.nonzero(active)
    noon = datetime.combine(FIRST_DAY, time(12), UTC)
    rows = pd.DataFrame(
        {
            "source": "silence",
            "source_id": [f"{s}-{d}" for s, d in zip(student, day, strict=True)],
            "student_id": [user(s) for s in student],
            "item_id": day % 5,
            "correct": (student + day) % 3 > 0,
            "completed_at": [noon + timedelta(days=int(d)) for d in day],
            "attempt_no": 1,
        }
    )
    with database.transaction() as connection:
        copy_in(connection, tables.attempt, rows)


def run(database: Database, week: date, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """The path of one week, in the environment as it is then."""
    settings.cache_clear()
    return dg.materialize(
        PATH,
        partition_key=week.isoformat(),
        instance=instance,
        resources={"database": database, "forecast": ForecastService()},
        run_config=QUIET,
        raise_on_error=False,
    )
