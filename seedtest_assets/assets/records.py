"""What the churn model knows of students: their active days, and the weekly metrics of closed weeks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from seedtest_assets import tables
from seedtest_assets.assets.common import local_date
from seedtest_assets.calendar import WEEK, Week, local_midnight
from seedtest_assets.models.landmarks import COVARIATES, OBSERVED_DAYS, Calendar, Records, session_rate, student_keys
from seedtest_assets.resources.database import Database
from seedtest_assets.settings import settings


@dataclass(frozen=True)
class Known:
    """Students who may be at risk on some day of a look-back, and what is known of them.

    Attributes:
        users: their keys, ascending; a student's number is the position here.
        records: what the landmarks are made from.
    """

    users: "pd.Index[str]"
    records: Records


def days_off(database: Database) -> Calendar:
    """The days of intake.holiday, and whether they count as idle (SURVIVAL_IDLE_SKIPS_HOLIDAYS)."""
    days = database.frame(sa.select(_ordinal(tables.holiday.c.date).label("day")).distinct())
    return Calendar(np.sort(days["day"].to_numpy(np.int64)), settings().survival_idle_skips_holidays)


def read_records(database: Database, week: Week, lookback_days: int = 0, users: Sequence[str] | None = None) -> Known:
    """Facts before the week's as_of of students who were at risk then or on a day of the look-back.

    Args:
        database: where they are.
        week: whose as_of ends the look-back.
        lookback_days: days before as_of.
        users: only these students.
    """
    calendar, first = days_off(database), week.as_of_day.toordinal() - lookback_days
    begins = local_midnight(date.fromordinal(calendar.earliest_at_risk(first)), week.timezone)
    a = database.attempt.c
    day = _ordinal(local_date(a.completed_at, week))
    active = database.frame(
        sa.select(a.student_id, day.label("day"))
        .where(a.completed_at >= begins, a.completed_at < week.as_of, among(a.student_id, users))
        .group_by(a.student_id, day)
    )
    metrics = database.frame(_closed_weeks(week, first, users))
    first_days = database.frame(
        sa.select(a.student_id, sa.func.min(day).label("first_day"))
        .where(a.completed_at < week.as_of, among(a.student_id, users))
        .group_by(a.student_id)
    )
    return _known(active, metrics.merge(first_days.rename(columns={"student_id": "user_id"}), on="user_id"), calendar)


def among(student: sa.ColumnElement[Any], users: Sequence[str] | None) -> sa.ColumnElement[bool]:
    """Whether a student is one of `users`; None is everybody."""
    if users is None:
        return sa.true()
    return student == sa.any_(sa.cast(sa.literal(list(users), ARRAY(sa.Text)), ARRAY(UUID)))


def _closed_weeks(week: Week, first: int, users: Sequence[str] | None) -> sa.Select[*tuple[Any, ...]]:
    """Metrics as of a week's end: those of a week that still runs will change."""
    m = tables.weekly_metrics.c
    as_of_day = local_date(m.as_of, week)
    oldest = date.fromordinal(first - OBSERVED_DAYS)  # older ones say nothing of a student's last weeks
    return sa.select(
        m.user_id,
        _ordinal(as_of_day).label("as_of_day"),
        m.a_t,
        m.e_t,
        m.r_t,
        m.mean_gap_days.label("mean_gap"),
        m.sessions,
    ).where(
        as_of_day == m.week_start + WEEK.days,
        m.as_of <= week.as_of,
        m.week_start >= oldest,
        among(m.user_id, users),
    )


def _ordinal(day: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """A day's number, as `date.toordinal` gives it."""
    return sa.cast(day - sa.literal(date.min, sa.Date), sa.Integer) + date.min.toordinal()


def _known(active: pd.DataFrame, metrics: pd.DataFrame, calendar: Calendar) -> Known:
    users = pd.Index(np.unique(active["student_id"].astype(str)))
    of_metrics = users.get_indexer(metrics["user_id"].astype(str))
    known = metrics[of_metrics >= 0]
    as_of_day, first_day = (known[name].to_numpy(np.int64) for name in ("as_of_day", "first_day"))
    rate = session_rate(known["sessions"].to_numpy(dtype=float), as_of_day, first_day)
    covariates = known.assign(student=of_metrics[of_metrics >= 0], as_of_day=as_of_day, session_rate=rate)
    activity = pd.DataFrame(
        {"student": users.get_indexer(active["student_id"].astype(str)), "day": active["day"].to_numpy(np.int64)}
    )
    records = Records(
        activity, covariates[["student", "as_of_day", *COVARIATES]], student_keys(users.tolist()), calendar
    )
    return Known(users, records)
