"""Blocking checks: what a week wrote is in range and points to what exists. What fails stops what lies below it."""

from datetime import date
from typing import Any

import dagster as dg
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.assets.common import asset_key, window
from seedtest_assets.calendar import WEEKS, Week
from seedtest_assets.failures import STEP_RETRIES
from seedtest_assets.resources.database import Database


def out_of_range(table: sa.Table) -> dict[str, sa.ColumnElement[bool]]:
    """For each numeric column, the condition under which a row violates the range `tables` gives it.

    NaN and the infinities violate every range: unknown is NULL, never NaN.
    """
    no_number = [sa.cast(word, sa.Double) for word in ("NaN", "Infinity", "-Infinity")]
    found: dict[str, sa.ColumnElement[bool]] = {}
    for column in table.c:
        if "range" not in column.info:
            continue
        low, high = column.info["range"]
        beyond = [column.in_(no_number)] if isinstance(column.type, sa.Double) else []
        beyond += [column < low] if low is not None else []
        beyond += [column > high] if high is not None else []
        found[column.name] = sa.or_(*beyond)
    return found


def dangling(database: Database, table: sa.Table, week: Week) -> dict[str, sa.ColumnElement[bool]]:
    """For each key of another table, the condition under which a row points to nothing.

    Unique keys and required values are held by the table's own constraints. What crosses tables is not: replacing a
    week's calibration must not cascade, and attempts may be the application's own.
    """
    attempt = database.attempt.c
    found: dict[str, sa.ColumnElement[bool]] = {}
    if "user_id" in table.c:
        answered = sa.exists().where(attempt.student_id == table.c.user_id, attempt.completed_at < week.as_of)
        found["user_id"] = ~answered
    for column in table.c:
        fits = [tables.metadata.tables[f"{tables.ANALYTICS}.{name}"].c for name in column.info.get("fits", ())]
        known = [sa.exists().where(fit.run_id == column, fit.week_start <= week.start) for fit in fits]
        if known:
            found[column.name] = column.is_not(None) & ~sa.or_(*known)
    return found


def keys_and_ranges(
    table: sa.Table, *, asset: sa.Table | None = None, name: str = "keys_and_ranges"
) -> dg.AssetChecksDefinition:
    """The blocking check of a table's weeks.

    Args:
        table: what is looked at.
        asset: whose descendants are stopped; by default the table's own.
        name: of the check.
    """

    @dg.asset_check(
        asset=asset_key((table if asset is None else asset).name),
        name=name,
        blocking=True,
        partitions_def=WEEKS,
        retry_policy=STEP_RETRIES,
        description=f"Every number of {table.fullname} lies in its column's range, none is NaN or infinite; students "
        "have answers before as_of, calibrations and fits exist and are not of a later week. "
        "Once the cause is mended, materialise the week anew: re-execution from the failure would only look again.",
    )
    def check(context: dg.AssetCheckExecutionContext, database: Database) -> dg.AssetCheckResult:
        bad: dict[str, int] = {}
        rows = 0
        for key in context.partition_keys:
            week = Week.of(date.fromisoformat(key))
            conditions = out_of_range(table) | dangling(database, table, week)
            counts = [sa.func.count().filter(condition).label(column) for column, condition in conditions.items()]
            query: sa.Select[*tuple[Any, ...]] = sa.select(sa.func.count().label("rows"), *counts).where(
                window(table, week)
            )
            (found,) = database.rows(query)
            rows += found.rows
            for column in conditions:
                if found._mapping[column]:
                    bad[column] = bad.get(column, 0) + found._mapping[column]
        return dg.AssetCheckResult(
            passed=not bad,
            description=f"rows out of range or pointing to nothing, by column: {bad}" if bad else None,
            metadata={"rows": rows, **bad},
        )

    return check
