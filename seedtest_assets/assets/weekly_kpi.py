"""One row per student and week, what all models said: weekly_kpi. Last in every job, and cheap."""

from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster import AssetExecutionContext

from seedtest_assets import tables
from seedtest_assets.assets.common import FRESH_DAILY, OWNERS, column_schema, single_run, weeks, window
from seedtest_assets.assets.weekly_metrics import weekly_metrics
from seedtest_assets.calendar import WEEKS, Week
from seedtest_assets.failures import STEP_RETRIES
from seedtest_assets.resources.database import Database, Rows, run_id

INTERVAL_90 = 1.6448536269514722
"""Standard normal quantile of .95: the half width of a 90 % interval in standard errors."""


@dg.asset(
    name="weekly_kpi",
    deps=[weekly_metrics],
    partitions_def=WEEKS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    retry_policy=STEP_RETRIES,
    group_name="kpi",
    owners=OWNERS,
    kinds={"postgres"},
    code_version="1",
    freshness_policy=FRESH_DAILY,
    metadata=column_schema(tables.weekly_kpi),
)
def weekly_kpi(context: AssetExecutionContext, database: Database) -> dg.MaterializeResult[None]:
    """The week's indicators of every student, each with its origin in `provenance`.

    Numbers whose model has not spoken are NULL. Old readers find the same rows in the view public.weekly_kpi.
    """
    table = tables.weekly_kpi
    written = []
    for week in weeks(context):
        result = database.replace(Rows(table, _joined(week), window(table, week)), week_start=week.start)
        written.append(result[table.name])
    return single_run(written)


def _joined(week: Week) -> sa.Select[*tuple[Any, ...]]:
    m = tables.weekly_metrics
    half_width = INTERVAL_90 * m.c.i_t_se
    provenance = sa.func.jsonb_strip_nulls(
        sa.func.jsonb_build_object(
            "i_t",
            _origin(
                m.c.i_t,
                method=m.c.i_t_method,
                se=m.c.i_t_se,
                lower=m.c.i_t - half_width,
                upper=m.c.i_t + half_width,
                bank_run_id=m.c.bank_run_id,
            ),
            "e_t",
            _origin(m.c.e_t, method=sa.literal("response_time_ratio"), n=m.c.e_t_n),
            "r_t",
            _origin(m.c.r_t, method=sa.literal("beta_binomial"), n=m.c.r_t_n),
            "a_t",
            _origin(m.c.a_t, method=sa.literal("weighted_parts"), n=m.c.sessions),
        )
    )
    return sa.select(
        m.c.user_id,
        m.c.week_start,
        m.c.as_of,
        m.c.i_t,
        m.c.e_t,
        m.c.r_t,
        m.c.a_t,
        provenance.label("provenance"),
        sa.literal(run_id("weekly_kpi", week.start), sa.Uuid).label("run_id"),
    ).where(m.c.week_start == week.start)


def _origin(value: sa.ColumnElement[Any], **facts: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """JSON of a number's origin, or NULL where the number is."""
    pairs = [part for name, fact in facts.items() for part in (sa.literal(name), fact)]
    described = sa.func.jsonb_build_object(*pairs, sa.literal("run_id"), tables.weekly_metrics.c.run_id)
    return sa.case((value.is_not(None), described))
