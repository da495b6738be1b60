"""A small simulated cohort, the main job on it in this process, and what it left behind."""

import hashlib
import json
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import dagster as dg
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.automation.weekly_runs import QUIET
from seedtest_assets.definitions import definitions
from seedtest_assets.resources.database import Database
from seedtest_assets.settings import settings
from seedtest_assets.simulate import CohortSpec

SPEC = CohortSpec(students=40, items=24, topics=3, weeks=6, end=date(2026, 3, 29), seed=5, sessions_per_week=4.0)
EVERY_WEEK = [SPEC.start + timedelta(weeks=n) for n in range(SPEC.weeks)]
OUTPUTS = [table for table in tables.metadata.sorted_tables if table.schema == "analytics"]
LEFT_OUT = {"dagster_run_id", "computed_at", "fitted_at", "tried_at"}


@dataclass(frozen=True)
class MainJob:
    """The main job, or another, on one instance: `job(week)` runs it for a week, in the environment as it is then."""

    instance: dg.DagsterInstance
    name: str = "metrics_job"

    def __call__(self, week: date, **ops: dict[str, Any]) -> dg.ExecuteInProcessResult:
        settings.cache_clear()
        job = definitions().resolve_job_def(self.name)
        config = QUIET | {"ops": {name: {"config": values} for name, values in ops.items()}}
        return job.execute_in_process(
            config, partition_key=week.isoformat(), instance=self.instance, raise_on_error=False
        )


def succeeded(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.step_key for event in result.all_events if event.is_step_success}


def failed(result: dg.ExecuteInProcessResult) -> list[str]:
    return [event.step_key for event in result.all_events if event.is_step_failure]


def retried(result: dg.ExecuteInProcessResult) -> list[str]:
    return [event.step_key for event in result.all_events if event.is_step_up_for_retry]


def checked(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    found = result.get_asset_check_evaluations()
    return {(check.asset_key.to_user_string(), check.check_name): check for check in found}


def why(result: dg.ExecuteInProcessResult) -> str:
    """Everything that the failed step said, causes included."""
    (event, *_) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data
    said, error = [], data.error
    while error is not None:
        said.append(error.message)
        error = error.cause
    if data.user_failure_data is not None:
        said.append(data.user_failure_data.description)
    return "\n".join(said)


def checksum(database: Database, table: sa.Table, week: date | None = None) -> str:
    """Of a table's rows in any order, without what names the run and the clock; of a week, or of all."""
    columns = [column for column in table.c if column.name not in LEFT_OUT]
    query = sa.select(*columns)
    if week is not None and "date" in table.c:
        query = query.where(table.c.date >= week, table.c.date < week + timedelta(weeks=1))
    elif week is not None and "week_start" in table.c:
        query = query.where(table.c.week_start == week)
    elif week is not None:
        (fit,) = (key.column.table for key in table.c.run_id.foreign_keys)
        query = query.join(fit).where(fit.c.week_start == week)
    rows = sorted(json.dumps([*row], default=str, sort_keys=True) for row in database.rows(query))
    return f"{len(rows)} rows, {hashlib.sha256(chr(10).join(rows).encode()).hexdigest()}"


def checksums(database: Database, week: date | None = None) -> dict[str, str]:
    left_out = {"fit_attempt"} if week is None else {"fit_attempt", "item_anchor"}  # the anchors are of no week
    written = [table for table in OUTPUTS if table.name not in left_out]
    return {table.name: checksum(database, table, week) for table in written}


def forget(database: Database, *names: sa.Table) -> None:
    with database.transaction() as connection:
        connection.execute(sa.text(f"TRUNCATE {', '.join(table.fullname for table in names)} CASCADE"))
