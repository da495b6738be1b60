"""The plain question that freshness policies cannot ask of a partition: has the latest closed week rows?"""

from datetime import UTC, datetime

import dagster as dg
import sqlalchemy as sa

from seedtest_assets.assets.common import asset_key, window
from seedtest_assets.calendar import WEEK, Week, monday, today
from seedtest_assets.failures import STEP_RETRIES
from seedtest_assets.resources.database import Database


def latest_closed_week(now: datetime) -> Week:
    """The last week that is over: seen from `now`, or from the end of a historical data set (SEEDTEST_DATA_END)."""
    return Week.of(monday(today(now)) - WEEK, now=now)


def latest_closed_week_has_rows(table: sa.Table) -> dg.AssetChecksDefinition:
    """The check of one table; run by its own daily job, since a backfill of old weeks says nothing about it."""

    @dg.asset_check(
        asset=asset_key(table.name),
        name="latest_closed_week_has_rows",
        retry_policy=STEP_RETRIES,
        description="The last week that is over has rows. Freshness policies look at the asset as a whole.",
    )
    def check(database: Database) -> dg.AssetCheckResult:
        week = latest_closed_week(datetime.now(UTC))
        (found,) = database.rows(sa.select(sa.func.count().label("rows")).where(window(table, week)))
        return dg.AssetCheckResult(
            passed=found.rows > 0,
            severity=dg.AssetCheckSeverity.WARN,
            description=None if found.rows else f"the week of {week.start} has no rows: materialise that partition",
            metadata={"week": week.key, "rows": found.rows},
        )

    return check
