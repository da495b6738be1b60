"""When what runs. Times are local (SEEDTEST_TIMEZONE); the order is that of the data.

Schedules start switched off: an operator, or the deployment, turns them on per environment.
"""

import dagster as dg

from seedtest_assets.automation.jobs import freshness_job, intake_job, metrics_job, segments_job
from seedtest_assets.automation.kept_reports import reconcile_reports
from seedtest_assets.calendar import week_of_yesterday
from seedtest_assets.settings import settings

TIMEZONE = settings().seedtest_timezone


@dg.schedule(job=metrics_job, cron_schedule="30 2 * * *", execution_timezone=TIMEZONE)
def nightly_metrics(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Every night for the week that contains yesterday, so that Monday's run still gives Sunday to its week."""
    return _for_week_of_yesterday(context)


@dg.schedule(job=segments_job, cron_schedule="0 7 1,15 * *", execution_timezone=TIMEZONE)
def twice_monthly_segments(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """On the 1st and the 15th for the week that contains yesterday, after the night has given it its metrics."""
    return _for_week_of_yesterday(context)


def _for_week_of_yesterday(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    return dg.RunRequest(partition_key=week_of_yesterday(context.scheduled_execution_time, TIMEZONE).isoformat())


nightly_intake = dg.ScheduleDefinition(
    name="nightly_intake",
    job=intake_job,
    cron_schedule="5 2 * * *",
    execution_timezone=TIMEZONE,
    description="Before the nightly metrics.",
)

daily_freshness = dg.ScheduleDefinition(
    name="daily_freshness",
    job=freshness_job,
    cron_schedule="0 6 * * *",
    execution_timezone=TIMEZONE,
    description="Warns when the latest closed week has no rows.",
)

weekly_reconciliation = dg.ScheduleDefinition(
    name="weekly_reconciliation",
    job=reconcile_reports,
    cron_schedule="0 5 * * 0",
    execution_timezone=TIMEZONE,
    description="On Sundays: orphans among the reports are collected.",
)

SCHEDULES = [nightly_intake, nightly_metrics, twice_monthly_segments, daily_freshness, weekly_reconciliation]
