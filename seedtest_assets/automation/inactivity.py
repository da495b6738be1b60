"""Students who have been idle for INACTIVITY_THRESHOLD_DAYS: found by a sensor, refreshed at once by an op job.

Idle days are whole local days, so a silence comes of age at a midnight. Whether it has been dealt with is a question to
the database: survival_risk says, of the student, the last active day and how long it was ago. The nightly run and this
job answer it alike, and neither a lost cursor nor a restart or late answers can make anybody be missed or done twice.

The cursor is the last activity of the students requested so far. It only lets batches follow each other while earlier
ones still run or have failed: once nobody is left after it, the sensor looks from the beginning again. A keyset of
(time, id) would keep ties at the limit apart. Here a run is given times, both included, and has no limit itself, so
that a tie is whole, and no student's key gets into Dagster's storage.

What is rewritten is some students of a week, not the week: the job observes its tables and materialises none.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import dagster as dg
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.assets.alerts import deliver, raise_alerts
from seedtest_assets.assets.churn import newest_fit, rescore
from seedtest_assets.assets.common import asset_key, local_date, pool
from seedtest_assets.assets.records import days_off
from seedtest_assets.assets.weekly_kpi import rejoin
from seedtest_assets.automation.sizes import ONE_PAGE_AT_A_TIME
from seedtest_assets.calendar import Week, current_week, local_midnight, monday
from seedtest_assets.failures import STEP_RETRIES
from seedtest_assets.resources.database import Database
from seedtest_assets.resources.webhook import ChurnWebhook
from seedtest_assets.settings import settings

BATCH = 10_000
"""Students of one run; those whose last activity is at the same instant as the last of them come on top."""


class Bounds(dg.Config):
    """Whom a run refreshes: students whose last activity lies between two instants (ISO 8601), both included.

    Attributes:
        first: the earliest.
        last: the latest.
        as_of: the midnight that the sensor looked from; it holds where the clock has been set back since.
    """

    first: str
    last: str
    as_of: str


@dataclass(frozen=True)
class Batch:
    """Silences that nothing has been done about.

    Attributes:
        students: how many.
        first: their earliest last activity.
        last: their latest last activity.
        answers: of all students in the time in question. As answers only ever come on top, a batch with the same
            numbers as an earlier one is the earlier one.
    """

    students: int
    first: datetime
    last: datetime
    answers: int

    def request(self, week: Week) -> dg.RunRequest:
        """The run for it: one, however often it is found as of the same midnight."""
        bounds = Bounds(first=self.first.isoformat(), last=self.last.isoformat(), as_of=week.as_of.isoformat())
        return dg.RunRequest(
            run_key=f"{week.as_of_day} {bounds.first} {bounds.last} {self.students} {self.answers}",
            run_config=dg.RunConfig({rescore_inactive.name: bounds}),
        )


class Silences:
    """Students at risk who have been idle for INACTIVITY_THRESHOLD_DAYS or more as of a week's as_of.

    Args:
        database: where answers and risks are.
        week: whose as_of counts.
    """

    def __init__(self, database: Database, week: Week) -> None:
        a, r, threshold = database.attempt.c, tables.survival_risk.c, settings().inactivity_threshold_days
        calendar, as_of_day = days_off(database), week.as_of_day.toordinal()
        earliest = date.fromordinal(calendar.earliest_at_risk(as_of_day))
        latest = date.fromordinal(calendar.latest_idle(as_of_day, threshold))
        self._database = database
        self._seen = (
            sa.select(a.student_id, sa.func.max(a.completed_at).label("last"), sa.func.count().label("answers"))
            .where(a.completed_at >= local_midnight(earliest, week.timezone), a.completed_at < week.as_of)
            .group_by(a.student_id)
            .cte("seen")
        )
        s = self._seen.c
        day = local_date(s.last, week)
        self._silent = s.last < local_midnight(latest + timedelta(days=1), week.timezone)
        # A risk that knows of a later activity than the answers before as_of was made before the clock was set back.
        self._done = sa.exists().where(
            r.user_id == s.student_id,
            r.week_start >= monday(earliest),
            (r.last_active > day) | ((r.last_active == day) & (r.idle_days >= threshold)),
        )
        self._by_sensor = sa.exists().where(
            r.user_id == s.student_id,
            r.week_start == week.start,
            r.as_of == week.as_of,
            r.last_active == day,
            r.trigger == "inactivity",
        )

    def batch(self, after: datetime | None) -> Batch | None:
        """The first of the silences nothing has been done about, those that began after `after` before others."""
        s = self._seen.c
        ahead = sa.true() if after is None else s.last > after
        undone = (
            sa.select(s.last, ahead.label("ahead"))
            .where(self._silent, ~self._done)
            .order_by(sa.desc("ahead"), s.last)
            .limit(BATCH)
            .subquery()
        )
        u = undone.c
        answers = sa.select(sa.cast(sa.func.sum(s.answers), sa.BigInteger())).scalar_subquery()
        found = self._database.rows(
            sa.select(sa.func.count(), sa.func.min(u.last), sa.func.max(u.last), answers)
            .group_by(u.ahead)
            .order_by(u.ahead.desc())
            .limit(1)
        )
        return Batch(*tuple(found[0])) if found else None

    def between(self, first: datetime, last: datetime) -> tuple[list[str], list[str]]:
        """Students within a batch's bounds: whose risk is to be computed, and whose risk this job has by now.

        The latter were computed by an earlier try of the run, which may have failed before it was through.
        """
        s = self._seen.c
        found = self._database.frame(
            sa.select(s.student_id, self._done.label("done")).where(
                self._silent, s.last.between(first, last), ~self._done | self._by_sensor
            )
        )
        students, done = found["student_id"].astype(str), found["done"].astype(bool)
        return students[~done].tolist(), students[done].tolist()


@dg.op(retry_policy=STEP_RETRIES, pool=pool("refresh_inactive"))
def rescore_inactive(context: dg.OpExecutionContext, config: Bounds, database: Database, webhook: ChurnWebhook) -> None:
    """Compute the risks of students within the bounds, raise their alerts, join their KPI rows again.

    Any number of times: whose risk has been computed for this silence keeps it.
    """
    week = max(current_week(), current_week(datetime.fromisoformat(config.as_of)))
    silences = Silences(database, week)
    undone, computed = silences.between(datetime.fromisoformat(config.first), datetime.fromisoformat(config.last))
    users = undone + computed
    rows = {
        tables.survival_risk.name: rescore(database, week, undone),
        tables.churn_alert.name: raise_alerts(database, week, users),
        tables.weekly_kpi.name: rejoin(database, week, users),
    }
    for name, written in rows.items():
        context.log_event(
            dg.AssetObservation(
                asset_key(name),
                partition=week.key,
                metadata={"students": len(users), "rows": written, "as_of": str(week.as_of_day)},
            )
        )
    if trouble := deliver(database, webhook).trouble:
        context.log.warning(f"alerts wait: {trouble}")


@dg.job(
    description="Churn risk, alerts and KPI of the students whom the sensor `inactivity` found, at once.",
    tags={"dagster/priority": "1"} | ONE_PAGE_AT_A_TIME,  # before the queued weeks of a backfill
)
def refresh_inactive() -> None:
    """One op: some rows of a week, observed and not materialised."""
    rescore_inactive()


@dg.sensor(job=refresh_inactive, minimum_interval_seconds=settings().inactivity_interval_seconds)
def inactivity(context: dg.SensorEvaluationContext, database: Database) -> dg.SensorResult | dg.SkipReason:
    """Finds students who have been idle for INACTIVITY_THRESHOLD_DAYS and requests one run for them."""
    week = current_week()
    if newest_fit(database, week) is None:
        return dg.SkipReason("no fit of the churn model has been published yet: nothing to compute a risk with")
    batch = Silences(database, week).batch(datetime.fromisoformat(context.cursor) if context.cursor else None)
    if batch is None:
        days = settings().inactivity_threshold_days
        return dg.SkipReason(f"the risk of everybody who has been idle for {days} days is known as of {week.as_of}")
    return dg.SensorResult(run_requests=[batch.request(week)], cursor=batch.last.isoformat())
