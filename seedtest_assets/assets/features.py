"""What each student did in each topic on each day: features_topic_daily."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dagster as dg
import numpy as np
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
from seedtest_assets.calendar import WEEKS, Week
from seedtest_assets.failures import STEP_RETRIES
from seedtest_assets.models.irt import Answers, Bools, Floats, Ints, log_likelihood, normal_log_weights
from seedtest_assets.models.topic_ability import topic_ability, topic_sd
from seedtest_assets.resources.database import Database, Rows, run_id
from seedtest_assets.settings import settings

STUDENTS_AT_ONCE = 5000
WEEK_DAYS = range(7)
WEEK_AND_THE_ONE_BEFORE = dg.TimeWindowPartitionMapping(start_offset=-1)
"""Only an order: a backfill calibrates the earlier weeks before topic ability looks for their banks."""
KEY = ["user_id", "topic_id", "date"]


@dg.asset(
    key=asset_key("features_topic_daily"),
    deps=[attempt, dg.AssetDep(asset_key("mirt_ability"), partition_mapping=WEEK_AND_THE_ONE_BEFORE)],
    partitions_def=WEEKS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    retry_policy=STEP_RETRIES,
    group_name="features",
    owners=OWNERS,
    kinds={"python", "postgres"},
    code_version="2",
    freshness_policy=FRESH_DAILY,
    metadata=column_schema(tables.features_topic_daily),
)
def features_topic_daily(context: AssetExecutionContext, database: Database) -> dg.MaterializeResult[None]:
    """Answers, accuracy, response times, hints and topic ability per student, topic and local day.

    The partition is a week; its seven dates are its rows. Topic ability is the posterior after that day's answers,
    from all answers of the look-back window up to that day, under the newest calibration of an *earlier* week:
    a day's feature must not depend on what the week's later days taught the calibration.
    """
    table = tables.features_topic_daily
    written = []
    for week in weeks(context):
        counts = database.frame(_daily_counts(database, week))
        theta = _topic_theta(database, week, counts)
        rows = counts.merge(theta, on=KEY, how="left").assign(run_id=str(run_id(table.name, week.start)))
        result = database.replace(Rows(table, rows, window(table, week)), week_start=week.start)
        written.append(result[table.name])
    return single_run(written)


def _topic(database: Database) -> sa.ColumnElement[str]:
    return sa.func.coalesce(database.attempt.c.topic_id, tables.NO_TOPIC)


def _daily_counts(database: Database, week: Week) -> sa.Select[*tuple[Any, ...]]:
    a = database.attempt
    day, topic = local_date(database.attempt.c.completed_at, week), _topic(database)
    right = sa.func.count().filter(a.c.correct)
    return (
        sa.select(
            a.c.student_id.label("user_id"),
            topic.label("topic_id"),
            day.label("date"),
            sa.func.count().label("attempts"),
            right.label("correct"),
            (sa.cast(right, sa.Double) / sa.func.count()).label("accuracy"),
            sa.cast(sa.func.percentile_cont(0.5).within_group(a.c.response_time_ms), sa.Double).label("rt_median_ms"),
            sa.cast(sa.func.avg(a.c.response_time_ms), sa.Double).label("rt_mean_ms"),
            sa.func.sum(sa.cast(a.c.hint_used, sa.Integer)).label("hints"),
            sa.func.max(a.c.completed_at).label("last_seen_at"),
        )
        .where(a.c.completed_at >= week.begins, a.c.completed_at < week.as_of)
        .group_by(sa.text("1, 2, 3"))
        .order_by(sa.text("1, 2, 3"))
    )


def _window_answers(database: Database, week: Week) -> sa.Select[*tuple[Any, ...]]:
    """All answers of the look-back window, of students who were active in the week."""
    a = database.attempt
    active = sa.select(a.c.student_id).where(a.c.completed_at >= week.begins, a.c.completed_at < week.as_of)
    return sa.select(
        a.c.student_id.label("user_id"),
        _topic(database).label("topic_id"),
        (local_date(database.attempt.c.completed_at, week) - sa.literal(week.start, sa.Date)).label("day"),
        a.c.item_id,
        a.c.correct,
    ).where(
        a.c.completed_at >= week.days_before(settings().mirt_lookback_days),
        a.c.completed_at < week.as_of,
        a.c.student_id.in_(active),
    )


def _topic_theta(database: Database, week: Week, counts: pd.DataFrame) -> pd.DataFrame:
    """theta_mean and theta_sd by KEY; no rows while there is no earlier calibration."""
    nothing = counts[KEY].head(0).assign(theta_mean=np.nan, theta_sd=np.nan)
    bank = newest_bank(database, week, earlier=True)
    if bank is None or counts.empty:
        return nothing
    answers = database.frame(_window_answers(database, week)).merge(database.frame(bank_items(bank)), on="item_id")
    if answers.empty:
        return nothing
    prior = normal_log_weights(bank.latent_mean, bank.latent_sd)
    students = answers["user_id"].cat.categories.sort_values()  # not in the order in which the server sent them
    answers["user_id"] = answers["user_id"].cat.reorder_categories(students)
    student = answers["user_id"].cat.codes.to_numpy().astype(np.int64)
    parts = -(-len(students) // STUDENTS_AT_ONCE)
    sample = _by_topic(answers[student % parts == 0])
    tau = topic_sd(sample.log_likelihood(last_day=len(WEEK_DAYS)), sample.student, prior)
    chunks = (_by_topic(answers[student * parts // len(students) == part]) for part in range(parts))
    return pd.concat([nothing, *(_daily_theta(chunk, week, prior, tau) for chunk in chunks)])


@dataclass(frozen=True)
class ByTopic:
    """Answers of some students, gathered by (student, topic).

    Attributes:
        rows: user_id and topic_id of each pair.
        student: index of each pair's student, shape (pairs,).
        pair: index of each answer's pair, shape (n,).
        answers: the answers with day (0 = Monday of the week), a, b, c, correct.
    """

    rows: pd.DataFrame
    student: Ints
    pair: Ints
    answers: pd.DataFrame

    def log_likelihood(self, last_day: int) -> Floats:
        """Of each pair's answers up to a day, shape (pairs, 61)."""
        until = (self.answers["day"] <= last_day).to_numpy()
        chosen = self.answers[until]
        return log_likelihood(
            Answers(
                self.pair[until],
                chosen["a"].to_numpy(),
                chosen["b"].to_numpy(),
                chosen["c"].to_numpy(),
                chosen["correct"].to_numpy(dtype=bool),
                len(self.rows),
            )
        )

    def active_on(self, day: int) -> Bools:
        """Pairs with an answer on a day, shape (pairs,)."""
        return np.isin(np.arange(len(self.rows)), self.pair[(self.answers["day"] == day).to_numpy()])


def _by_topic(answers: pd.DataFrame) -> ByTopic:
    groups = answers.groupby(["user_id", "topic_id"], observed=True)
    rows = groups.size().reset_index()[["user_id", "topic_id"]].astype(str)
    student = np.unique(rows["user_id"], return_inverse=True)[1]
    return ByTopic(rows, student.astype(np.int64), groups.ngroup().to_numpy().astype(np.int64), answers)


def _daily_theta(topics: ByTopic, week: Week, prior: Floats, tau: float) -> pd.DataFrame:
    """theta_mean and theta_sd of each pair on each of the week's dates on which it was practised."""
    frames = []
    for day in WEEK_DAYS:
        practised = topics.active_on(day)
        of_active_students = np.isin(topics.student, topics.student[practised])
        if not practised.any():
            continue
        student = np.unique(topics.student[of_active_students], return_inverse=True)[1].astype(np.int64)
        posterior = topic_ability(topics.log_likelihood(day)[of_active_students], student, prior, tau)
        wanted = practised[of_active_students]
        frames.append(
            topics.rows[practised].assign(
                date=week.start + timedelta(days=day),
                theta_mean=posterior.mean[wanted],
                theta_sd=posterior.sd[wanted],
            )
        )
    return pd.concat(frames)
