"""Own-week scores of a look-back, on one scale and one clock: what the trends are fitted to."""

from typing import Any

import pandas as pd
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.assets.common import bank_items, local_date, newest_bank
from seedtest_assets.calendar import WEEK, Week
from seedtest_assets.models.topic_scores import topic_scores
from seedtest_assets.resources.database import Database


def read_topic_scores(database: Database, week: Week, lookback: int) -> pd.DataFrame:
    """Scores per student, topic and ISO week of the look-back, all under the newest bank.

    Returns:
        Columns of `topic_scores`; week is weeks from as_of to the middle of the scored week, negative. No rows without
        a bank.
    """
    answers = database.frame(_answers(database, week, lookback))
    known = answers.merge(database.frame(bank_items(newest_bank(database, week))), on="item_id")
    return topic_scores(known.assign(week=_weeks_from_as_of(known["monday"], week)))


def read_theta_week(database: Database, week: Week, lookback: int) -> pd.DataFrame:
    """theta_week with its standard error, of weeks whose metrics were made after they had ended.

    Returns:
        Columns user_id, week (as in `read_topic_scores`), score, se, sorted by the first two.
    """
    m = tables.weekly_metrics.c
    found = database.frame(
        sa.select(m.user_id, m.week_start.label("monday"), m.theta_week.label("score"), m.theta_week_se.label("se"))
        .where(
            m.week_start > week.start - lookback * WEEK,
            m.week_start <= week.start,
            m.theta_week.is_not(None),
            (local_date(m.as_of, week) == m.week_start + WEEK.days) | (m.week_start == week.start),
        )
        .order_by(m.user_id, m.week_start)
    )
    return found.assign(user_id=found["user_id"].astype(str), week=_weeks_from_as_of(found.pop("monday"), week))


def _answers(database: Database, week: Week, lookback: int) -> sa.Select[*tuple[Any, ...]]:
    a = database.attempt.c
    day = local_date(a.completed_at, week)
    return sa.select(
        a.student_id.label("user_id"),
        sa.func.coalesce(a.topic_id, tables.NO_TOPIC).label("topic_id"),
        sa.cast(sa.func.date_trunc("week", day), sa.Date).label("monday"),
        a.item_id,
        a.correct,
    ).where(
        a.completed_at >= week.days_before((week.as_of_day - week.start).days + (lookback - 1) * WEEK.days),
        a.completed_at < week.as_of,
    )


def _weeks_from_as_of(mondays: "pd.Series[Any]", week: Week) -> "pd.Series[float]":
    """Weeks from as_of to the middle of each week's days, those before as_of."""
    middles = {}
    for monday in mondays.unique():
        ago, length = week.as_of_day - monday, min(WEEK, week.as_of_day - monday)
        middles[monday] = (length / 2 - ago) / WEEK
    return mondays.map(middles).astype(float)
