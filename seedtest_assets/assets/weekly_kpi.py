"""One row per student and week, what all models said: weekly_kpi. Last in every job, and cheap."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster import AssetExecutionContext

from seedtest_assets import tables
from seedtest_assets.assets.common import (
    FRESH_DAILY,
    OWNERS,
    asset_key,
    asset_keys,
    column_schema,
    local_date,
    single_run,
    weeks,
    window,
)
from seedtest_assets.assets.records import among, days_off
from seedtest_assets.assets.segments import newest_members
from seedtest_assets.assets.weekly_metrics import weekly_metrics
from seedtest_assets.calendar import WEEKS, Week
from seedtest_assets.failures import STEP_RETRIES
from seedtest_assets.resources.database import Database, Rows, run_id
from seedtest_assets.settings import settings

INTERVAL_90 = 1.6448536269514722
"""Standard normal quantile of .95: the half width of a 90 % interval in standard errors."""


@dg.asset(
    key=asset_key("weekly_kpi"),
    deps=[
        weekly_metrics,
        *asset_keys(
            "survival_risk", "growth_glmm_effect", "growth_goal", "anomalies", "theta_forecast", "user_segment"
        ),
    ],
    partitions_def=WEEKS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    retry_policy=STEP_RETRIES,
    group_name="kpi",
    owners=OWNERS,
    kinds={"postgres"},
    code_version="4",
    freshness_policy=FRESH_DAILY,
    metadata=column_schema(tables.weekly_kpi),
)
def weekly_kpi(context: AssetExecutionContext, database: Database) -> dg.MaterializeResult[None]:
    """The week's indicators of every student, each with its origin in `provenance`.

    Numbers whose model has not spoken are NULL. Old readers find the same rows in the view public.weekly_kpi.
    """
    return single_run([_write(database, week) for week in weeks(context)])


def rejoin(database: Database, week: Week, users: Sequence[str]) -> int:
    """Join just these students' rows again, from what their models say by now; returns the rows written."""
    return _write(database, week, users)


def _write(database: Database, week: Week, users: Sequence[str] | None = None) -> int:
    table = tables.weekly_kpi
    rows = Rows(table, _joined(database, week, users), window(table, week) & among(table.c.user_id, users))
    return database.replace(rows, week_start=week.start)[table.name]


def _joined(database: Database, week: Week, users: Sequence[str] | None) -> sa.Select[*tuple[Any, ...]]:
    """A row for every student of whom a model has spoken: a risk may be newer than the week's metrics."""
    metrics, risk = tables.weekly_metrics, tables.survival_risk
    m = sa.select(metrics).where(window(metrics, week), among(metrics.c.user_id, users)).subquery("m")
    s = (
        sa.select(risk)
        .where(
            window(risk, week),
            risk.c.horizon_days == settings().metrics_churn_horizon_days,
            among(risk.c.user_id, users),
        )
        .subquery("s")
    )
    student = sa.func.coalesce(m.c.user_id, s.c.user_id)
    slope, goal = _slopes(week), _overall_goals(week)
    unusual, forecast, segment = _anomalies(week), _forecasts(week), newest_members(week).subquery("segment")
    half_width = INTERVAL_90 * m.c.i_t_se
    provenance = sa.func.jsonb_strip_nulls(
        sa.func.jsonb_build_object(
            "i_t",
            _origin(
                m.c.i_t,
                m.c.run_id,
                method=m.c.i_t_method,
                se=m.c.i_t_se,
                lower=m.c.i_t - half_width,
                upper=m.c.i_t + half_width,
                bank_run_id=m.c.bank_run_id,
            ),
            "e_t",
            _origin(m.c.e_t, m.c.run_id, method=sa.literal("response_time_ratio"), n=m.c.e_t_n),
            "r_t",
            _origin(m.c.r_t, m.c.run_id, method=sa.literal("beta_binomial"), n=m.c.r_t_n),
            "a_t",
            _origin(m.c.a_t, m.c.run_id, method=sa.literal("weighted_parts"), n=m.c.sessions),
            "s_churn",
            _origin(
                s.c.risk,
                s.c.run_id,
                method=sa.literal("landmark_logistic_") + s.c.model,
                engine=s.c.engine,
                trigger=s.c.trigger,
                horizon_days=s.c.horizon_days,
                lower=s.c.risk_lower,
                upper=s.c.risk_upper,
                as_of=s.c.as_of,
                fit_run_id=s.c.fit_run_id,
            ),
            "growth_slope",
            _origin(
                slope.c.total,
                slope.c.run_id,
                method=sa.literal("lme4"),
                se=slope.c.total_se,
                lower=slope.c.total - INTERVAL_90 * slope.c.total_se,
                upper=slope.c.total + INTERVAL_90 * slope.c.total_se,
            ),
            "p_goal",
            _origin(
                goal.c.p_goal,
                goal.c.run_id,
                method=goal.c.method,
                engine=goal.c.engine,
                instead=goal.c.instead,
                goal=goal.c.goal,
                target_theta=goal.c.target_theta,
                target_date=goal.c.target_date,
                mu=goal.c.mu,
                lower=goal.c.p_lower,
                upper=goal.c.p_upper,
                n=goal.c.n_scores,
                fit_run_id=goal.c.fit_run_id,
            ),
            "anomaly_score",
            _origin(
                unusual.c.score,
                unusual.c.run_id,
                method=unusual.c.method,
                metric=unusual.c.metric,
                value=unusual.c.value,
                expected=unusual.c.expected,
                lower=unusual.c.lower,
                upper=unusual.c.upper,
                q=unusual.c.q,
            ),
            "forecast_theta",
            _origin(
                forecast.c.expected,
                forecast.c.run_id,
                method=sa.literal("local_level"),
                lower=forecast.c.lower,
                upper=forecast.c.upper,
                n=forecast.c.n_weeks,
            ),
            "segment_label",
            _origin(
                segment.c.segment_label,
                segment.c.run_id,
                segment=segment.c.segment,
                label_ko=segment.c.segment_label_ko,
                probability=segment.c.probability,
                as_of=segment.c.as_of,
                fitted=segment.c.fitted,
                fit_run_id=segment.c.fit_run_id,
            ),
        )
    )
    return sa.select(
        student.label("user_id"),
        sa.literal(week.start, sa.Date).label("week_start"),
        sa.func.greatest(m.c.as_of, s.c.as_of).label("as_of"),
        m.c.i_t,
        m.c.e_t,
        m.c.r_t,
        m.c.a_t,
        goal.c.p_goal,
        goal.c.p_lower,
        goal.c.p_upper,
        goal.c.sigma,
        slope.c.total.label("growth_slope"),
        s.c.risk.label("s_churn"),
        _churn_state(database, week, m, s).label("churn_state"),
        unusual.c.score.label("anomaly_score"),
        unusual.c.flag.label("anomaly_flag"),
        forecast.c.expected.label("forecast_theta"),
        segment.c.segment_label,
        provenance.label("provenance"),
        sa.literal(run_id("weekly_kpi", week.start), sa.Uuid).label("run_id"),
    ).select_from(
        m.join(s, m.c.user_id == s.c.user_id, full=True)
        .outerjoin(slope, slope.c.user_id == student)
        .outerjoin(goal, goal.c.user_id == student)
        .outerjoin(unusual, unusual.c.user_id == student)
        .outerjoin(forecast, forecast.c.user_id == student)
        .outerjoin(segment, segment.c.user_id == student)
    )


def _slopes(week: Week) -> sa.Subquery:
    """Growth per week of each student, of the week's own fit."""
    effect = tables.growth_glmm_effect
    return (
        sa.select(sa.cast(effect.c.id, sa.Uuid).label("user_id"), effect.c.total, effect.c.total_se, effect.c.run_id)
        .where(window(effect, week), effect.c.level == "student", effect.c.term == "week")
        .subquery("slope")
    )


def _overall_goals(week: Week) -> sa.Subquery:
    goal = tables.growth_goal
    return sa.select(goal).where(window(goal, week), goal.c.topic_id == tables.OVERALL).subquery("goal")


def _anomalies(week: Week) -> sa.Subquery:
    a = tables.anomalies
    return (
        sa.select(a, sa.cast(a.c.scope_id, sa.Uuid).label("user_id"))
        .where(window(a, week), a.c.scope == "user", a.c.metric == "theta_week")
        .subquery("unusual")
    )


def _forecasts(week: Week) -> sa.Subquery:
    return sa.select(tables.theta_forecast).where(window(tables.theta_forecast, week)).subquery("forecast")


def _churn_state(database: Database, week: Week, m: sa.Subquery, s: sa.Subquery) -> sa.ColumnElement[Any]:
    """at_risk, or lapsed for whoever has been silent too long, whether or not a model has spoken."""
    first = days_off(database).earliest_at_risk(week.as_of_day.toordinal())
    longest = week.as_of_day.toordinal() - 1 - first
    silent = local_date(m.c.as_of, week)
    idle = sa.literal(week.as_of_day, sa.Date) - silent + m.c.idle_days
    return sa.case(
        (s.c.user_id.is_not(None), sa.literal("at_risk")),
        (idle <= longest, sa.literal("at_risk")),
        else_=sa.literal("lapsed"),
    )


def _origin(
    value: sa.ColumnElement[Any], identity: sa.ColumnElement[Any], /, **facts: sa.ColumnElement[Any]
) -> sa.ColumnElement[Any]:
    """JSON of a number's origin, or NULL where the number is."""
    pairs = [part for name, fact in facts.items() for part in (sa.literal(name), fact)]
    described = sa.func.jsonb_build_object(*pairs, sa.literal("run_id"), identity)
    return sa.case((value.is_not(None), described))
