"""Students whose risk of falling silent has crossed the threshold: churn_alert, and telling the webhook of them.

A student has one alert from the midnight at which the risk has reached CHURN_ALERT_THRESHOLD to the one at which it is
below again or the student has lapsed. Between them nothing is raised; crossing once more is another alert.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import date
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster import AssetExecutionContext

from seedtest_assets import tables
from seedtest_assets.assets.common import FRESH_DAILY, LAST, OWNERS, asset_key, column_schema, weeks, window
from seedtest_assets.assets.records import among, days_off
from seedtest_assets.calendar import WEEKS, Week, current_week, local_midnight
from seedtest_assets.failures import STEP_RETRIES, PermanentFailure, TransientFailure
from seedtest_assets.resources.database import Database
from seedtest_assets.resources.webhook import Alert, ChurnWebhook
from seedtest_assets.settings import settings

BATCH = 500
"""Alerts in one request."""

ALERT, RISK = tables.churn_alert, tables.survival_risk


@dataclass(frozen=True)
class Delivery:
    """What came of telling the webhook.

    Attributes:
        delivered: alerts it has taken.
        trouble: why it has not taken the rest; None = it has.
    """

    delivered: int = 0
    trouble: str | None = None


@dg.asset(
    key=asset_key("churn_alert"),
    deps=[asset_key("survival_risk")],
    check_specs=[
        dg.AssetCheckSpec(
            "alerts_delivered",
            asset=asset_key("churn_alert"),
            description="The webhook, where one is configured (CHURN_WEBHOOK_URL), has taken every open alert that "
            "nobody has acknowledged. What waits is sent by the next run.",
        )
    ],
    partitions_def=WEEKS,
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    retry_policy=STEP_RETRIES,
    op_tags=LAST,
    group_name="churn",
    owners=OWNERS,
    kinds={"postgres"},
    code_version="1",
    freshness_policy=FRESH_DAILY,
    metadata=column_schema(ALERT),
)
def churn_alert(context: AssetExecutionContext, database: Database, webhook: ChurnWebhook) -> Iterator[Any]:
    """A row for each time a student's risk has crossed the threshold, cleared when it is over; new ones are sent.

    Only as of the newest midnight: a backfill of older weeks raises, clears and sends nothing. A webhook that does
    not answer fails nothing; the alerts wait.
    """
    (week,) = weeks(context)
    if _is_current(week):
        raise_alerts(database, week)
        delivery = deliver(database, webhook)
        done: dict[str, Any] = {
            "raised": _count(database, ALERT.c.crossed_at == week.as_of),
            "cleared": _count(database, ALERT.c.cleared_at == week.as_of),
            "delivered": delivery.delivered,
        }
    else:
        delivery = Delivery(trouble="the next run for the week of yesterday sends them")
        done = {"nothing_done_because": "an alert about the past helps nobody"}
    waiting = _count(database, _waits())
    yield dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": _count(database, window(ALERT, week)),
            **done,
            "open": _count(database, ALERT.c.cleared_at.is_(None)),
            "waiting": waiting,
        }
    )
    yield _delivered_check(waiting if webhook.is_configured else 0, delivery)


def raise_alerts(database: Database, week: Week, users: Sequence[str] | None = None) -> int:
    """Raise and clear alerts by the risks as of the week's as_of; nothing unless that is the newest midnight.

    Done again as of the same midnight it decides anew from the same earlier state: the same risks change nothing,
    corrected ones give what they would have given the first time. Two at once queue.

    Args:
        database: where risks and alerts are.
        week: whose risks count.
        users: only these students' alerts.

    Returns:
        Alerts raised.
    """
    if not _is_current(week):
        return 0
    settled = _settled(database, week, users)
    lock = sa.func.pg_advisory_xact_lock(sa.func.hashtext(ALERT.fullname), 0)  # of all weeks: an alert outlives its own
    with database.transaction() as connection:
        connection.execute(sa.select(lock))
        connection.execute(settled)
        return connection.execute(_raised(week, users)).rowcount


def deliver(database: Database, webhook: ChurnWebhook) -> Delivery:
    """Send the webhook what waits, oldest first, and note what it has taken.

    At least once: an interruption between the two means that the batch is sent again. A batch that is refused does
    not hold up the others; a webhook that does not answer is left alone until the next run.
    """
    if not webhook.is_configured:
        return Delivery()
    columns = [ALERT.c[field.name] for field in fields(Alert)]
    waiting = [
        Alert(*row)
        for row in database.rows(sa.select(*columns).where(_waits()).order_by(ALERT.c.crossed_at, ALERT.c.user_id))
    ]
    delivery = Delivery()
    for first in range(0, len(waiting), BATCH):
        batch = waiting[first : first + BATCH]
        try:
            webhook.send(batch)
        except PermanentFailure as refusal:
            delivery = Delivery(delivery.delivered, refusal.description)
        except TransientFailure as failure:
            return Delivery(delivery.delivered, str(failure))
        else:
            _note(database, batch)
            delivery = Delivery(delivery.delivered + len(batch), delivery.trouble)
    return delivery


def _note(database: Database, taken: Sequence[Alert]) -> None:
    key = sa.tuple_(ALERT.c.user_id, ALERT.c.crossed_at)
    noted = sa.update(ALERT).where(key.in_([(alert.user_id, alert.crossed_at) for alert in taken]))
    with database.transaction() as connection:
        connection.execute(noted.values(notified_at=sa.func.now()))


def _is_current(week: Week) -> bool:
    """Whether the week's as_of is the newest midnight, as that of the week of yesterday is."""
    return week.as_of == current_week().as_of


def _risk_now(week: Week) -> sa.ColumnElement[bool]:
    """The rows of the risk that alerts are about."""
    return sa.and_(
        window(RISK, week), RISK.c.as_of == week.as_of, RISK.c.horizon_days == settings().metrics_churn_horizon_days
    )


def _stands(week: Week) -> sa.ColumnElement[bool]:
    """Alerts that were open before the week's as_of, and those raised or cleared by an earlier run as of it."""
    return ALERT.c.cleared_at.is_(None) | (ALERT.c.cleared_at == week.as_of)


def _settled(database: Database, week: Week, users: Sequence[str] | None) -> sa.Update:
    """Clear what is over as of the week's as_of, and open again what an earlier run as of it cleared by other risks.

    A student without a risk has lapsed, or has not been scored since midnight: the answers tell which.
    """
    risk = sa.select(RISK.c.risk).where(_risk_now(week), RISK.c.user_id == ALERT.c.user_id).scalar_subquery()
    over = sa.func.coalesce(risk < settings().churn_alert_threshold, ~_at_risk(database, week))
    cleared_at = sa.case((over, week.as_of))
    return (
        sa.update(ALERT)
        .values(cleared_at=cleared_at)
        .where(
            _stands(week),
            ALERT.c.crossed_at <= week.as_of,
            ALERT.c.cleared_at.is_distinct_from(cleared_at),
            among(ALERT.c.user_id, users),
        )
    )


def _at_risk(database: Database, week: Week) -> sa.ColumnElement[bool]:
    """Whether an alert's student has answered within the days after which a silence counts as churn."""
    earliest = days_off(database).earliest_at_risk(week.as_of_day.toordinal())
    a = database.attempt.c
    return sa.exists().where(
        a.student_id == ALERT.c.user_id,
        a.completed_at >= local_midnight(date.fromordinal(earliest), week.timezone),
        a.completed_at < week.as_of,
    )


def _raised(week: Week, users: Sequence[str] | None) -> sa.Insert:
    """An alert for every student at or above the threshold who has none that stands."""
    threshold = settings().churn_alert_threshold
    crossed = {
        "user_id": RISK.c.user_id,
        "crossed_at": RISK.c.as_of,
        "week_start": RISK.c.week_start,
        "horizon_days": RISK.c.horizon_days,
        "risk": RISK.c.risk,
        "risk_lower": RISK.c.risk_lower,
        "risk_upper": RISK.c.risk_upper,
        "threshold": sa.literal(threshold, sa.Double),
    }
    # Counted, and so looked up student by student. With NOT EXISTS the planner, which expects one row of risks that
    # were written a moment ago, reads all alerts for each of them.
    standing = sa.select(sa.func.count()).where(ALERT.c.user_id == RISK.c.user_id, _stands(week)).scalar_subquery()
    crossing = sa.select(*crossed.values()).where(
        _risk_now(week), RISK.c.risk >= threshold, standing == 0, among(RISK.c.user_id, users)
    )
    return sa.insert(ALERT).from_select(list(crossed), crossing)


def _waits() -> sa.ColumnElement[bool]:
    """Alerts that the webhook has still to be told of: what is over, or in somebody's hands, needs nobody else."""
    return sa.and_(ALERT.c.notified_at.is_(None), ALERT.c.cleared_at.is_(None), ALERT.c.acknowledged_at.is_(None))


def _count(database: Database, alerts: sa.ColumnElement[bool]) -> int:
    (found,) = database.rows(sa.select(sa.func.count().label("alerts")).select_from(ALERT).where(alerts))
    return int(found.alerts)


def _delivered_check(waiting: int, delivery: Delivery) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=not waiting,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"alerts that wait: {waiting}; {delivery.trouble}" if waiting else None,
        metadata={"waiting": waiting, "delivered": delivery.delivered},
    )
