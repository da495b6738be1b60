"""Own-week scores of a look-back, on one scale and one clock: what the trends are fitted to."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.assets.common import bank_items, local_monday, newest_bank
from seedtest_assets.calendar import WEEK, Week
from seedtest_assets.models.topic_scores import topic_scores
from seedtest_assets.resources.database import Database


@dataclass(frozen=True)
class OwnWeeks:
    """Scores of students' ISO weeks, each from that week's answers alone.

    Attributes:
        overall: columns user_id, week (weeks from as_of to the middle of the scored week, negative), score, se.
        by_topic: the same with topic_id.
    """

    overall: pd.DataFrame
    by_topic: pd.DataFrame


def read_scores(database: Database, week: Week, lookback: int) -> OwnWeeks:
    """Scores of the last `lookback` ISO weeks, all under the newest bank; no rows without one."""
    answers = database.frame(_answers(database, week, lookback))
    known = answers.merge(database.frame(bank_items(newest_bank(database, week))), on="item_id")
    known = known.assign(week=_weeks_from_as_of(known["monday"], week))
    overall = topic_scores(known.assign(topic_id=tables.OVERALL))
    return OwnWeeks(overall.drop(columns="topic_id"), topic_scores(known))


def _answers(database: Database, week: Week, lookback: int) -> sa.Select[*tuple[Any, ...]]:
    a = database.attempt.c
    return sa.select(
        a.student_id.label("user_id"),
        sa.func.coalesce(a.topic_id, tables.NO_TOPIC).label("topic_id"),
        local_monday(a.completed_at, week).label("monday"),
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
