"""Blocking checks: what a week wrote is in range. A window that fails stops what lies below it."""

from datetime import date
from typing import Any

import dagster as dg
import sqlalchemy as sa

from seedtest_assets.assets.common import window
from seedtest_assets.calendar import WEEKS, Week
from seedtest_assets.resources.database import Database


def out_of_range(table: sa.Table) -> dict[str, sa.ColumnElement[bool]]:
    """For each numeric column, the condition under which a row violates the range `tables` gives it.

    NaN violates every range: PostgreSQL sorts it above all numbers, and unknown is NULL, never NaN.
    """
    found: dict[str, sa.ColumnElement[bool]] = {}
    for column in table.c:
        if "range" not in column.info:
            continue
        low, high = column.info["range"]
        beyond = [column == sa.cast("NaN", sa.Double)] if isinstance(column.type, sa.Double) else []
        beyond += [column < low] if low is not None else []
        beyond += [column > high] if high is not None else []
        found[column.name] = sa.or_(*beyond)
    return found


def numbers_in_range(table: sa.Table) -> dg.AssetChecksDefinition:
    """The blocking check of a table's weeks. Keys and required values are held by the table's own constraints."""

    @dg.asset_check(
        asset=table.name,
        name="numbers_in_range",
        blocking=True,
        partitions_def=WEEKS,
        description="Every number lies in the range that its column allows; none is NaN.",
    )
    def check(context: dg.AssetCheckExecutionContext, database: Database) -> dg.AssetCheckResult:
        conditions = out_of_range(table)
        counts = [sa.func.count().filter(condition).label(name) for name, condition in conditions.items()]
        bad: dict[str, int] = {}
        rows = 0
        for key in context.partition_keys:
            week = Week.of(date.fromisoformat(key))
            query: sa.Select[*tuple[Any, ...]] = sa.select(sa.func.count().label("rows"), *counts).where(
                window(table, week)
            )
            (found,) = database.rows(query)
            rows += found.rows
            for name in conditions:
                if found._mapping[name]:
                    bad[name] = bad.get(name, 0) + found._mapping[name]
        return dg.AssetCheckResult(
            passed=not bad,
            description=f"rows out of range, by column: {bad}" if bad else None,
            metadata={"rows": rows, **bad},
        )

    return check
