"""What the tables know of the cohort's week, as the facts of the teacher's report.

Nothing here depends on when a row was written, or by which run: the same week gives the same facts.
"""

from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from seedtest_assets import tables
from seedtest_assets.assets.cohort_attention import attention
from seedtest_assets.assets.cohort_bank import bank_facts
from seedtest_assets.assets.common import window
from seedtest_assets.assets.weekly_kpi import INTERVAL_90
from seedtest_assets.calendar import WEEK, Week, local_day
from seedtest_assets.reports.cohort_facts import (
    ActivityFacts,
    CohortFacts,
    GrowthFacts,
    MoveFacts,
    RiskFacts,
    RiskRecordFacts,
    SegmentationFacts,
    SegmentSizeFacts,
    SeriesFacts,
    TopicWeekFacts,
    UnpublishedFacts,
    UnusualSeriesFacts,
)
from seedtest_assets.reports.facts import Estimate, Lang
from seedtest_assets.resources.database import Database, run_id
from seedtest_assets.settings import settings

ROWS = 10
"""Unusual series and moves that are listed."""
TOPICS = 20
"""Topics that are listed."""
BANDS = 10
"""Of the risk: bands of equal width."""


def cohort_facts(database: Database, week: Week) -> CohortFacts:
    """The facts of the cohort's week."""
    lang = settings().report_lang
    needed = attention(database, week)
    unusual, n_unusual, n_judged = _unusual(database, week)
    topics = _topics(database, week)
    segmentation, names = _segmentation(database, week, lang)
    return CohortFacts(
        lang=lang,
        week_start=week.start,
        as_of=_as_of(database, week),
        horizon_days=settings().metrics_churn_horizon_days,
        threshold=settings().churn_alert_threshold,
        lookback_days=settings().mirt_lookback_days,
        now=_activity(database, week),
        before=_activity(database, Week(week.start - WEEK, week.start, week.timezone)),
        own_week=_own_week(database, week),
        ability=_series(database, week, "theta_week"),
        answers=_series(database, week, "attempts"),
        unusual=unusual,
        n_unusual=n_unusual,
        n_judged=n_judged,
        attention=needed.students,
        n_attention=needed.total,
        attention_by_kind=needed.by_kind,
        risk=_risk(database, week),
        bank=bank_facts(database, week),
        topics=topics[:TOPICS],
        n_topics=len(topics),
        segmentation=segmentation,
        segment_names=names,
        risk_record=_risk_record(database, week),
        growth=_growth(database, week),
        unpublished=_unpublished(database, week),
    )


def _as_of(database: Database, week: Week) -> date:
    """The day on whose midnight the week's facts end: before the week's own when a night has not run yet, or failed."""
    metrics = tables.weekly_metrics
    (newest,) = database.rows(sa.select(sa.func.max(metrics.c.as_of)).where(window(metrics, week)))[0]
    return week.as_of_day if newest is None else local_day(newest, week.timezone)


def _counts() -> list[sa.ColumnElement[Any]]:
    f = tables.features_topic_daily.c
    return [
        sa.cast(sa.func.count(f.user_id.distinct()), sa.Integer).label("students"),
        *(sa.cast(sa.func.coalesce(sa.func.sum(of), 0), sa.Integer).label(of.name) for of in (f.attempts, f.correct)),
    ]


def _activity(database: Database, week: Week) -> ActivityFacts:
    (row,) = database.rows(sa.select(*_counts()).where(window(tables.features_topic_daily, week)))
    return ActivityFacts(*tuple(row))


def _mean(value: sa.ColumnElement[Any], se: sa.ColumnElement[Any]) -> list[sa.ColumnElement[Any]]:
    """A mean over students; their number; the standard error that the errors of the students' own values leave it."""
    n = sa.func.count(value)  # sums are exact: one of floats depends on the order of its terms
    return [
        sa.cast(sa.func.avg(sa.cast(value, sa.Numeric)), sa.Double).label("mean"),
        sa.cast(n, sa.Integer).label("n"),
        (sa.func.sqrt(sa.cast(sa.func.sum(sa.cast(se * se, sa.Numeric)), sa.Double)) / sa.func.nullif(n, 0)).label(
            "se"
        ),
    ]


def _estimate(row: Any) -> Estimate | None:
    return None if row.mean is None else _normal(row.mean, row.se, row.n)


def _normal(value: float, se: float | None, n: int | None = None) -> Estimate:
    """A number with the interval of a normal distribution, where its standard error is known."""
    if se is None:
        return Estimate(value, n=n)
    return Estimate(value, value - INTERVAL_90 * se, value + INTERVAL_90 * se, n)


def _own_week(database: Database, week: Week) -> Estimate | None:
    m = tables.weekly_metrics
    (row,) = database.rows(sa.select(*_mean(m.c.theta_week, m.c.theta_week_se)).where(window(m, week)))
    return _estimate(row)


def _series(database: Database, week: Week, metric: str) -> SeriesFacts | None:
    fit = tables.prophet_fit_meta
    found = database.rows(
        sa.select(fit.c.history, fit.c.forecast, fit.c.engine).where(
            window(fit, week), fit.c.scope == "cohort", fit.c.metric == metric
        )
    )
    if not found:
        return None
    history, forecast, engine = found[0]
    known = [pair for pair in zip(history["week_start"], history["value"], strict=True) if pair[1] is not None]
    ahead = [
        (monday, Estimate(*limits))
        for monday, *limits in zip(
            *(forecast[name] for name in ("week_start", "expected", "lower", "upper")), strict=True
        )
        if limits[0] is not None
    ]
    return SeriesFacts(
        weeks=[date.fromisoformat(monday) for monday, _ in known],
        values=[value for _, value in known],
        coming=[date.fromisoformat(monday) for monday, _ in ahead],
        ahead=[estimate for _, estimate in ahead],
        engine=engine,
    )


def _unusual(database: Database, week: Week) -> tuple[list[UnusualSeriesFacts], int, int]:
    """The most unusual series, and how many are, and were judged."""
    a = tables.anomalies
    rows = database.rows(
        sa.select(a.c.scope, a.c.scope_id, a.c.metric, a.c.value, a.c.expected, a.c.lower, a.c.upper, a.c.flag)
        .where(window(a, week), a.c.scope.in_(["cohort", "topic", "segment"]), a.c.score.is_not(None))
        .order_by(sa.func.abs(a.c.score).desc(), a.c.scope, a.c.scope_id, a.c.metric)
    )
    flagged = [row for row in rows if row.flag]
    listed = [
        UnusualSeriesFacts(
            row.scope,
            "" if row.scope == "cohort" else row.scope_id,
            row.metric,
            row.value,
            Estimate(row.expected, row.lower, row.upper),
        )
        for row in flagged[:ROWS]
    ]
    return listed, len(flagged), len(rows)


def _risk(database: Database, week: Week) -> RiskFacts | None:
    risk, kpi, horizon = tables.survival_risk, tables.weekly_kpi, settings().metrics_churn_horizon_days
    band = sa.func.least(sa.cast(sa.func.floor(risk.c.risk * BANDS), sa.Integer), BANDS - 1)
    banded = database.rows(
        sa.select(band.label("band"), sa.func.count().label("students"))
        .where(window(risk, week), risk.c.horizon_days == horizon)
        .group_by(band)
    )
    counted = {row.band: row.students for row in banded}
    if not counted:
        return None
    ((lapsed,),) = database.rows(
        sa.select(sa.func.count()).select_from(kpi).where(window(kpi, week), kpi.c.churn_state == "lapsed")
    )
    bands = [counted.get(number, 0) for number in range(BANDS)]
    return RiskFacts(bands, lapsed)


def _topics(database: Database, week: Week) -> list[TopicWeekFacts]:
    f = tables.features_topic_daily.c
    in_week = window(tables.features_topic_daily, week)
    counts = sa.select(f.topic_id, *_counts()).where(in_week).group_by(f.topic_id).subquery("counts")
    last = (  # each student's ability in the topic after the last answer of the week
        sa.select(f.topic_id, f.theta_mean, f.theta_sd)
        .where(in_week, f.theta_mean.is_not(None))
        .ext(distinct_on(f.user_id, f.topic_id))
        .order_by(f.user_id, f.topic_id, f.date.desc())
        .subquery("last")
    )
    means = sa.select(last.c.topic_id, *_mean(last.c.theta_mean, last.c.theta_sd)).group_by(last.c.topic_id)
    mean = means.subquery("mean")
    rows = database.rows(
        sa.select(counts, mean.c.mean, mean.c.n, mean.c.se)
        .outerjoin_from(counts, mean, mean.c.topic_id == counts.c.topic_id)
        .order_by(counts.c.attempts.desc(), counts.c.topic_id)
    )
    return [
        TopicWeekFacts(
            "" if row.topic_id == tables.NO_TOPIC else row.topic_id,
            ActivityFacts(row.students, row.attempts, row.correct),
            _estimate(row),
        )
        for row in rows
    ]


def _segmentation(database: Database, week: Week, lang: Lang) -> tuple[SegmentationFacts | None, dict[str, str]]:
    """The newest segmentation, and how its groups, and those of the one before, are called."""
    meta, user, moved = tables.segment_meta.c, tables.user_segment.c, tables.segment_transition.c
    newest = database.rows(
        sa.select(meta.run_id, meta.week_start, meta.status, meta.reason, meta.labels, meta.n_students)
        .where(meta.week_start <= week.start)
        .order_by(meta.week_start.desc())
        .limit(2)
    )
    if not newest:
        return None, {}
    run = newest[0]
    sizes = database.rows(
        sa.select(user.segment, sa.func.count())
        .where(user.week_start == run.week_start, user.segment != tables.UNSEGMENTED)
        .group_by(user.segment)
        .order_by(sa.func.count().desc(), user.segment)
    )
    rows = database.rows(
        sa.select(moved.from_segment, moved.to_segment, moved.n)
        .where(moved.run_id == run.run_id)
        .order_by(moved.n.desc(), moved.from_segment, moved.to_segment)
    )
    moves = [MoveFacts(_group(row.from_segment), _group(row.to_segment), row.n) for row in rows]
    changed = [move for move in moves if move.before != move.now]
    names = {
        label["key"]: label[lang]
        for each in reversed(newest)
        for label in each.labels
        if label["key"] != tables.UNSEGMENTED
    }
    facts = SegmentationFacts(
        made=run.week_start,
        status=run.status,
        reason=run.reason,
        n_students=run.n_students,
        sizes=[SegmentSizeFacts(*tuple(size)) for size in sizes],
        stayed=sum(move.students for move in moves if move.before is not None and move.before == move.now),
        moves=changed[:ROWS],
        n_moves=len(changed),
    )
    return facts, names


def _group(key: str) -> str | None:
    return None if key in {tables.UNSEGMENTED, tables.NO_SEGMENT} else key


def _risk_record(database: Database, week: Week) -> RiskRecordFacts | None:
    fit = tables.survival_fit_meta.c
    found = database.rows(
        sa.select(fit.week_start, fit.brier, fit.skill_over_recency, fit.calibration)
        .where(fit.week_start <= week.start)
        .order_by(fit.week_start.desc())
        .limit(1)
    )
    if not found:
        return None
    fitted, brier, skill, calibration = found[0]
    record = calibration.get(str(settings().metrics_churn_horizon_days), {})
    slope = record.get("slope")
    return RiskRecordFacts(
        fitted=fitted,
        brier=brier,
        skill=skill,
        slope=None if slope is None else _normal(slope, record.get("slope_se")),
        n=record.get("n", 0),
        events=record.get("events", 0),
    )


def _growth(database: Database, week: Week) -> GrowthFacts | None:
    goal = tables.growth_goal
    origin = (goal.c.method, goal.c.engine, goal.c.instead, goal.c.fit_run_id)
    found = database.rows(
        sa.select(*origin, sa.func.count().label("goals"))
        .where(window(goal, week))
        .group_by(*origin)
        .order_by(sa.func.count().desc(), *origin)
    )
    if not found:
        return None
    first = found[0]
    of_week = {run_id(table.name, week.start) for table in (tables.growth_brms_meta, tables.growth_glmm_meta)}
    return GrowthFacts(
        first.method, first.engine, first.instead, first.fit_run_id in of_week, sum(row.goals for row in found)
    )


def _unpublished(database: Database, week: Week) -> list[UnpublishedFacts]:
    """What the newest try of each fit says, where that was not published."""
    fit = tables.fit_attempt
    newest = (
        sa.select(fit.c.asset, fit.c.published, fit.c.reason)
        .where(window(fit, week))
        .ext(distinct_on(fit.c.asset))
        .order_by(fit.c.asset, fit.c.tried_at.desc())
        .subquery()
    )
    rows = database.rows(sa.select(newest.c.asset, newest.c.reason).where(~newest.c.published).order_by("asset"))
    return [UnpublishedFacts(*tuple(row)) for row in rows]
