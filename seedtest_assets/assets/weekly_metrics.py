"""Improvement, efficiency, recovery and engagement of each student: weekly_metrics."""

from typing import Any

import dagster as dg
import pandas as pd
import sqlalchemy as sa
from dagster import AssetExecutionContext

from seedtest_assets import tables
from seedtest_assets.assets.attempts import attempt
from seedtest_assets.assets.common import (
    FRESH_DAILY,
    OWNERS,
    asset_key,
    bank_items,
    column_schema,
    local_date,
    newest_bank,
    single_run,
    weeks,
    window,
)
from seedtest_assets.assets.features import features_topic_daily
from seedtest_assets.calendar import WEEKS, Week
from seedtest_assets.failures import STEP_RETRIES
from seedtest_assets.models.weekly import LOOKBACK_DAYS, weekly_numbers
from seedtest_assets.resources.database import Database, Rows, run_id
from seedtest_assets.settings import settings


@dg.asset(
    key=asset_key("weekly_metrics"),
    deps=[attempt, asset_key("mirt_ability"), features_topic_daily],
    partitions_def=WEEKS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    retry_policy=STEP_RETRIES,
    group_name="metrics",
    owners=OWNERS,
    kinds={"python", "postgres"},
    code_version="2",
    freshness_policy=FRESH_DAILY,
    metadata=column_schema(tables.weekly_metrics),
)
def weekly_metrics(context: AssetExecutionContext, database: Database) -> dg.MaterializeResult[None]:
    """I_t, E_t, R_t, A_t and their parts, for every student with an answer in the last 56 days.

    Both windows of I_t and the own-week theta are scored under one set of item parameters: the newest published
    calibration of this week or before. Students without enough answers on calibrated items get I_t
    from proportions correct, named 'accuracy'; with too few answers it is NULL.
    """
    table = tables.weekly_metrics
    written = []
    for week in weeks(context):
        bank = newest_bank(database, week)
        items = database.frame(bank_items(bank))
        answers = database.frame(_answers(database, week)).merge(items, on="item_id", how="left")
        rows = (
            weekly_numbers(answers, use_theta=settings().metrics_use_irt_theta)
            .merge(_week_totals(database, week), on="user_id", how="left")
            .merge(_ability(database, week), on="user_id", how="left")
            .fillna({"attempts": 0, "active_days": 0})
            .astype({"attempts": "int64", "active_days": "int64"})
            .assign(
                week_start=week.start,
                as_of=week.as_of,
                bank_run_id=str(bank.run_id) if bank else None,
                run_id=str(run_id(table.name, week.start)),
            )
        )
        result = database.replace(Rows(table, rows, window(table, week)), week_start=week.start)
        written.append(result[table.name])
    return single_run(written)


def _answers(database: Database, week: Week) -> sa.Select[*tuple[Any, ...]]:
    a = database.attempt
    days_ago = sa.cast(sa.literal(week.as_of_day, sa.Date) - local_date(a.c.completed_at, week), sa.Integer)
    return sa.select(
        a.c.id,
        a.c.student_id,
        a.c.item_id,
        a.c.topic_id,
        a.c.correct,
        a.c.response_time_ms,
        a.c.hint_used,
        a.c.completed_at,
        a.c.started_at,
        a.c.session_id,
        days_ago.label("days_ago"),
        (a.c.completed_at >= week.begins).label("in_week"),
    ).where(a.c.completed_at >= week.days_before(LOOKBACK_DAYS), a.c.completed_at < week.as_of)


def _week_totals(database: Database, week: Week) -> pd.DataFrame:
    """Answers and active days of the ISO week."""
    f = tables.features_topic_daily
    return database.frame(
        sa.select(
            f.c.user_id,
            sa.func.sum(f.c.attempts).label("attempts"),
            sa.func.count(f.c.date.distinct()).label("active_days"),
        )
        .where(f.c.date >= week.start, f.c.date < week.end)
        .group_by(f.c.user_id)
    )


def _ability(database: Database, week: Week) -> pd.DataFrame:
    m = tables.mirt_ability
    return database.frame(
        sa.select(m.c.user_id, m.c.theta, m.c.se.label("theta_se")).where(m.c.week_start == week.start)
    )
