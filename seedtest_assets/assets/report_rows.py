"""The rows behind the reports of a chunk of students, and the calibration that their abilities are measured with."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import numpy as np
import pandas as pd
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.assets.common import Bank as Calibration
from seedtest_assets.assets.common import bank_items, local_date, newest_bank, window
from seedtest_assets.assets.records import among
from seedtest_assets.assets.segments import newest_members
from seedtest_assets.calendar import Week
from seedtest_assets.models.irt import Ints
from seedtest_assets.models.recommendation import Questions
from seedtest_assets.reports.facts import ScaleFacts
from seedtest_assets.resources.database import Database
from seedtest_assets.settings import settings

HISTORY_WEEKS = 12
RECENT_DAYS = 28
"""Days that answers are counted over by topic, and misses are looked back on."""

Row = dict[str, Any]
"""A row by its columns; NULL is whatever pandas makes of it."""


@dataclass(frozen=True)
class StudentRows:
    """Rows of one chunk of students, by student: one row, or a frame of several."""

    profile: dict[str, Row]
    kpi: dict[str, Row]
    metrics: dict[str, pd.DataFrame]
    topics: dict[str, pd.DataFrame]
    goals: dict[str, pd.DataFrame]
    answers: dict[str, pd.DataFrame]
    segment: dict[str, Row]


@dataclass(frozen=True)
class Bank:
    """The calibration of the week, and how its questions are called."""

    questions: Questions
    unsound: Ints
    names: dict[int, str]
    scale: ScaleFacts | None


def read_students(database: Database, week: Week, users: Sequence[str]) -> StudentRows:
    """Read what is known of these students: of the week, and of the weeks and days before it that a report looks at."""
    profile, kpi, metrics, ability = (
        tables.student_profile,
        tables.weekly_kpi,
        tables.weekly_metrics,
        tables.mirt_ability,
    )
    features, goal, a = tables.features_topic_daily, tables.growth_goal, database.attempt.c
    meta, days = tables.mirt_fit_meta, max(settings().mirt_lookback_days, RECENT_DAYS)
    since = week.start - timedelta(weeks=HISTORY_WEEKS - 1)
    members = newest_members(week).subquery()
    one = database.frame
    return StudentRows(
        profile=_by_user(one(sa.select(profile).where(among(profile.c.user_id, users)))),
        kpi=_by_user(one(sa.select(kpi).where(window(kpi, week), among(kpi.c.user_id, users)))),
        metrics=_grouped(
            one(
                sa.select(
                    metrics,
                    ability.c.n_responses.label("theta_n"),
                    meta.c.linking_constants.is_not(None).label("linked"),
                )
                .outerjoin_from(
                    metrics,
                    ability,
                    (ability.c.user_id == metrics.c.user_id) & (ability.c.week_start == metrics.c.week_start),
                )
                .outerjoin(meta, meta.c.run_id == ability.c.bank_run_id)
                .where(metrics.c.week_start.between(since, week.start), among(metrics.c.user_id, users))
                .order_by(metrics.c.week_start)
            )
        ),
        topics=_grouped(
            one(
                sa.select(features)
                .where(
                    features.c.date >= week.as_of_day - timedelta(days=days),
                    features.c.date < week.as_of_day,
                    among(features.c.user_id, users),
                )
                .order_by(features.c.date)
            )
        ),
        goals=_grouped(one(sa.select(goal).where(window(goal, week), among(goal.c.user_id, users)))),
        answers=_grouped(
            one(
                sa.select(
                    a.student_id.label("user_id"),
                    a.item_id,
                    sa.func.coalesce(a.topic_id, "").label("topic"),
                    local_date(a.completed_at, week).label("day"),
                    a.correct,
                )
                .where(
                    a.completed_at >= week.days_before(days),
                    a.completed_at < week.as_of,
                    among(a.student_id, users),
                )
                .order_by(a.completed_at, a.item_id)
            )
        ),
        segment=_by_user(one(sa.select(members).where(among(members.c.user_id, users)))),
    )


def read_bank(database: Database, week: Week) -> Bank:
    """The newest calibration of this week or before it, its questions with topics and names; none without one."""
    bank, a, key = newest_bank(database, week), database.attempt.c, tables.item_key.c
    items = bank_items(bank).subquery()
    age = (week.as_of_day - bank.week_start).days if bank else 0
    calibrated_on = week.days_before(age + settings().mirt_lookback_days)
    topic = (
        sa.select(a.item_id, sa.func.max(a.topic_id).label("topic"))
        .where(a.completed_at >= calibrated_on, a.completed_at < week.as_of)
        .group_by(a.item_id)
        .subquery()
    )
    found = database.frame(
        sa.select(items, sa.func.coalesce(topic.c.topic, "").label("topic"))
        .outerjoin_from(items, topic, topic.c.item_id == items.c.item_id)
        .order_by(items.c.item_id)
    )
    names = database.frame(sa.select(key.item_id, key.text))
    questions = Questions(
        found["item_id"].to_numpy(np.int64),
        found["topic"].to_numpy(dtype=object),
        *(found[name].to_numpy(dtype=float) for name in ("a", "b", "c")),
    )
    scale = None
    if bank:
        anchors = bank.linking["n_anchors"] if bank.linking else None
        scale = ScaleFacts(bank.model, bank.week_start, len(found), anchors, None)
    return Bank(questions, _unsound(database, bank), dict(zip(names["item_id"], names["text"], strict=True)), scale)


def _unsound(database: Database, bank: Calibration | None) -> Ints:
    """Questions that do not follow the model, or have drifted: none to recommend."""
    items, drift = tables.mirt_item_params.c, tables.item_drift.c
    identity = bank.run_id if bank else None
    flagged = sa.select(items.item_id).where(items.run_id == identity, items.flag.is_not(None))
    drifted = sa.select(drift.item_id).where(drift.run_id == identity, drift.flag)
    found = {row.item_id for query in (flagged, drifted) for row in database.rows(query)}
    return np.array(sorted(found), dtype=np.int64)


def records(frame: pd.DataFrame) -> list[Row]:
    """A frame's rows."""
    return cast(list[Row], frame.to_dict("records"))


def _by_user(frame: pd.DataFrame) -> dict[str, Row]:
    return {str(row["user_id"]): row for row in records(frame)}


def _grouped(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(user): rows for user, rows in frame.assign(user_id=frame["user_id"].astype(str)).groupby("user_id")}
