"""Weekly series of the cohort, its topics and its segments: what is forecast, and where anomalies are looked for."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.assets.common import local_monday
from seedtest_assets.assets.scores import OwnWeeks
from seedtest_assets.assets.segments import newest_members
from seedtest_assets.calendar import WEEK, Week, local_midnight
from seedtest_assets.models.anomaly_level import row_medians
from seedtest_assets.models.engagement import SESSION_GAP_SECONDS
from seedtest_assets.models.irt import Bools, Floats
from seedtest_assets.models.topic_scores import MIXED
from seedtest_assets.resources.database import Database

KEY = ["scope", "scope_id", "metric"]
COUNTS = ("attempts", "sessions")
"""Metrics that are modelled as log(1 + count): they move by shares, and are never below 0."""
OVERLAPPING = ("i_t",)
"""Metrics whose neighbouring weeks share answers: shown, but no anomalies are looked for in them."""
LARGEST = 50.0
"""Logarithm of a count beyond all counts: a trend that explodes has limits that are numbers."""
MIN_ANSWERS = 10
"""A topic or a segment has a series if half of its weeks since the first, but for the last, have as many answers."""


@dataclass(frozen=True)
class Panel:
    """Weekly series of equal length, the last week the one that is judged.

    Attributes:
        key: a row per series: scope (cohort, topic, segment), scope_id, metric; ascending.
        weeks: the Mondays.
        values: shape (series, weeks), in natural units; NaN where a week has none.
    """

    key: pd.DataFrame
    weeks: list[date]
    values: Floats

    @property
    def is_count(self) -> Bools:
        """Of each series, shape (series, 1), whether it is one of COUNTS."""
        return np.asarray(self.key["metric"].isin(COUNTS), np.bool_)[:, None]

    @property
    def modelled(self) -> Floats:
        """The values on the scale on which they are modelled."""
        return np.log1p(self.values, out=self.values.copy(), where=self.is_count)

    def natural(self, modelled: Floats) -> Floats:
        """Values of the modelled scale, shape (series, …), in natural units."""
        return np.expm1(np.clip(modelled, 0, LARGEST), out=modelled.copy(), where=self.is_count)


@dataclass(frozen=True)
class Students:
    """Own weeks of students, the last week the one that is judged.

    Attributes:
        users: their keys, ascending.
        weeks: the Mondays.
        theta, se: own-week ability and its standard error, logits, shape (students, weeks); NaN where a week has none.
        attempts: answers, shape (students, weeks); NaN before a student's first week.
    """

    users: "pd.Index[str]"
    weeks: list[date]
    theta: Floats
    se: Floats
    attempts: Floats


def mondays(week: Week, lookback: int) -> list[date]:
    """The Mondays of the last `lookback` weeks up to this one."""
    return [week.start - WEEK * ago for ago in reversed(range(lookback))]


def score_mondays(scores: pd.DataFrame, week: Week) -> pd.DataFrame:
    """Own-week scores with week_start, their Monday, for their weeks since as_of; of a week that is over."""
    ago = np.floor(-scores["week"].to_numpy(dtype=float)).astype(int)
    return scores.assign(week_start=np.array([week.start - WEEK * int(n) for n in ago], dtype=object))


def student_weeks(database: Database, week: Week, lookback: int) -> pd.DataFrame:
    """What each student did in each ISO week of the look-back: user_id, week_start, attempts, correct, sessions.

    A session is what shares a logged id, and where none is logged what a pause of 30 minutes ends, as for A_t.
    """
    a = database.attempt.c

    def before(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.func.lag(column).over(partition_by=a.student_id, order_by=(a.completed_at, a.id))

    pause = sa.func.extract("epoch", a.completed_at - before(a.completed_at))
    follows = before(a.session_id).is_(None) & (pause <= SESSION_GAP_SECONDS)
    answers = (
        sa.select(
            a.student_id,
            local_monday(a.completed_at, week).label("week_start"),
            a.correct,
            a.session_id,
            (a.session_id.is_(None) & ~sa.func.coalesce(follows, sa.false())).label("begins"),
        )
        .where(a.completed_at >= _begins(week, lookback), a.completed_at < week.as_of)
        .subquery()
        .c
    )
    query = sa.select(
        answers.student_id.label("user_id"),
        answers.week_start,
        sa.func.count().label("attempts"),
        sa.func.count().filter(answers.correct).label("correct"),
        (sa.func.count(answers.session_id.distinct()) + sa.func.count().filter(answers.begins)).label("sessions"),
    ).group_by(answers.student_id, answers.week_start)
    return database.frame(query)


def students_of(activity: pd.DataFrame, scores: OwnWeeks, week: Week, lookback: int) -> Students:
    """The students with an answer in the look-back.

    Args:
        activity: of `student_weeks`.
        scores: the own-week scores of these weeks.
        week: the last week; over.
        lookback: how many weeks.
    """
    weeks = mondays(week, lookback)
    users = pd.Index(np.unique(activity["user_id"].astype(str)))

    def matrix(rows: pd.DataFrame, name: str) -> Floats:
        wide = rows.pivot(index="user_id", columns="week_start", values=name)
        return wide.reindex(index=users, columns=weeks).to_numpy(dtype=float)

    own = score_mondays(scores.overall, week)
    return Students(
        users, weeks, matrix(own, "score"), matrix(own, "se"), _with_idle_weeks(matrix(activity, "attempts"))
    )


def read_panel(database: Database, week: Week, activity: pd.DataFrame, scores: OwnWeeks, lookback: int) -> Panel:
    """The series that end with a week that is over.

    Of the cohort and of each segment: mean own-week theta, answers, sessions, accuracy and mean I_t. Of each topic:
    mean own-week theta, answers, accuracy. A week without answers between two with some has 0 of them.

    Args:
        database: where the answers are.
        week: the last of the series; over.
        activity: of `student_weeks`.
        scores: the own-week scores of these weeks.
        lookback: how many weeks.
    """
    weeks = mondays(week, lookback)
    improved = database.frame(_improvement(weeks)).assign(metric="i_t")
    theta = score_mondays(scores.overall, week).rename(columns={"score": "value"}).assign(metric="theta_week")
    measured = pd.concat([theta, improved])[["user_id", "week_start", "metric", "value"]]
    everybody = pd.DataFrame({"user_id": activity["user_id"].unique(), "scope": "cohort", "scope_id": "all"})
    members = pd.concat([everybody, database.frame(_segments(week))])
    topics = score_mondays(scores.by_topic, week).rename(columns={"topic_id": "scope_id", "score": "value"})
    series = pd.concat(
        [
            _totals(activity.merge(members, on="user_id")),
            _means(measured.merge(members, on="user_id")),
            _totals(database.frame(_topic_weeks(database, week, lookback)).assign(scope="topic")),
            _means(topics[topics["scope_id"] != MIXED].assign(scope="topic", metric="theta_week")),
        ]
    )
    return _panel(series, weeks)


def _totals(activity: pd.DataFrame) -> pd.DataFrame:
    """Series of counts, and of the accuracy that they make, by scope."""
    counts = [name for name in ("attempts", "correct", "sessions") if name in activity]
    totals = activity.groupby(["scope", "scope_id", "week_start"])[counts].sum()
    totals["accuracy"] = totals["correct"] / totals["attempts"]
    metrics = totals.drop(columns="correct").reset_index()
    return metrics.melt(["scope", "scope_id", "week_start"], var_name="metric").dropna(subset=["value"])


def _means(measured: pd.DataFrame) -> pd.DataFrame:
    """Series of means over students, each the same to the last digit in whatever order the rows come."""
    ordered = measured.dropna(subset=["value"]).sort_values("value")
    return ordered.groupby([*KEY, "week_start"])["value"].mean().reset_index()


def _panel(series: pd.DataFrame, weeks: list[date]) -> Panel:
    wide = series.pivot(index=KEY, columns="week_start", values="value").reindex(columns=weeks).sort_index()
    key, values = wide.index.to_frame(index=False), wide.to_numpy(dtype=float)
    values = np.where(Panel(key, weeks, values).is_count, _with_idle_weeks(values), values)
    answers = row_medians(values[:, :-1]) >= MIN_ANSWERS
    of_enough = key.loc[(key["metric"] == "attempts") & answers, ["scope", "scope_id"]].assign(enough=True)
    kept = key.merge(of_enough, how="left")["enough"].notna() | (key["scope"] == "cohort")
    return Panel(key[kept].reset_index(drop=True), weeks, values[kept.to_numpy()])


def _with_idle_weeks(counts: Floats) -> Floats:
    """Counts that are 0 where, after a first one, there is none."""
    begun = np.logical_or.accumulate(np.isfinite(counts), axis=1)
    return np.where(begun, np.nan_to_num(counts), np.nan)


def _improvement(weeks: list[date]) -> sa.Select[*tuple[Any, ...]]:
    m = tables.weekly_metrics.c
    return sa.select(m.user_id, m.week_start, m.i_t.label("value")).where(
        m.week_start.between(weeks[0], weeks[-1]), m.i_t.is_not(None)
    )


def _segments(week: Week) -> sa.Select[*tuple[Any, ...]]:
    """Members of the newest segments, if any were found."""
    s = newest_members(week).subquery().c
    return sa.select(s.user_id, sa.literal("segment").label("scope"), s.segment.label("scope_id")).where(
        s.segment != tables.UNSEGMENTED
    )


def _topic_weeks(database: Database, week: Week, lookback: int) -> sa.Select[*tuple[Any, ...]]:
    a = database.attempt.c
    monday = local_monday(a.completed_at, week)
    return (
        sa.select(
            a.topic_id.label("scope_id"),
            monday.label("week_start"),
            sa.func.count().label("attempts"),
            sa.func.count().filter(a.correct).label("correct"),
        )
        .where(a.completed_at >= _begins(week, lookback), a.completed_at < week.as_of, a.topic_id.is_not(None))
        .group_by(a.topic_id, monday)
    )


def _begins(week: Week, lookback: int) -> datetime:
    return local_midnight(mondays(week, lookback)[0], week.timezone)
