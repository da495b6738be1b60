"""A closed week after the night that gave it its last numbers: models of whole weeks, and then its reports."""

from datetime import date

import dagster as dg

from seedtest_assets.automation.jobs import metrics_job, reports_job, weekly_models_job
from seedtest_assets.automation.schedules import nightly_metrics
from seedtest_assets.calendar import Week

SECONDS_BETWEEN_TICKS = 300
"""Of no hurry after a night's run; and every tick of every tenant costs the daemon .2 s (benchmarks/tenants)."""
SCHEDULE, SENSOR = "dagster/schedule_name", "dagster/sensor_name"


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitored_jobs=[metrics_job],
    request_job=weekly_models_job,
    minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
)
def closed_week(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
    """After the nightly run that closed a week, requests its trends, goals and forecasts.

    In the order of the data, not of the clock: however late the night's run has ended. A week that was run by hand, or
    by a backfill, is the affair of whoever did.
    """
    run = context.dagster_run
    if run.tags.get(SCHEDULE) != nightly_metrics.name:
        return dg.SkipReason("not a run of the nightly schedule")
    week = Week.of(date.fromisoformat(str(context.partition_key)))
    if week.as_of_day < week.end:
        return dg.SkipReason(f"the week of {week.start} is not over")
    return dg.RunRequest(run_key=run.run_id, partition_key=week.key)


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitored_jobs=[weekly_models_job],
    request_job=reports_job,
    minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
)
def modelled_week(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
    """After the models that `closed_week` asked for, requests the week's reports: last, after all that they print."""
    run = context.dagster_run
    if run.tags.get(SENSOR) != closed_week.name:
        return dg.SkipReason("not a run of the closed week's sensor")
    return dg.RunRequest(run_key=run.run_id, partition_key=context.partition_key)
