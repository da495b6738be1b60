"""Jobs: the main path over one week, the checks of freshness, and the intake."""

import warnings

import dagster as dg

from seedtest_assets.assets.alerts import churn_alert
from seedtest_assets.assets.common import asset_key
from seedtest_assets.assets.item_bank import bank_health, item_dif, item_drift
from seedtest_assets.assets.weekly_kpi import weekly_kpi
from seedtest_assets.automation.sizes import MODELS_OF_WEEKS, ONE_PAGE_AT_A_TIME, REPORTS
from seedtest_assets.checks import LATEST
from seedtest_assets.failures import STEP_RETRIES
from seedtest_assets.intake.exam_results import take_in_exam_results
from seedtest_assets.resources.database import Database

# A backfill of the job takes the stricter of its assets' policies, one week a run, as the calibration needs it. That
# is meant, and the tables in SQL keep the range in a single run for backfills of their own.
warnings.filterwarnings("ignore", message=r"Asset job \w+ materializes assets with varying BackfillPolicies")

OF_CLOSED_WEEKS = dg.AssetSelection.groups("progress", "growth", "forecast")
"""Models of whole weeks: once a week is over, they are fitted."""
SEGMENTS = dg.AssetSelection.groups("segments")
"""Twice a month: who belongs together does not change from night to night."""
EVERYTHING = dg.AssetSelection.assets(
    weekly_kpi, churn_alert, item_drift, item_dif, bank_health
).upstream().required_multi_asset_neighbors() - dg.AssetSelection.checks(*LATEST)

metrics_job = dg.define_asset_job(
    "metrics_job",
    selection=EVERYTHING - OF_CLOSED_WEEKS - SEGMENTS,
    description="Every night: calibrate and score, features, weekly metrics, churn, weekly KPI; and beside it alerts, "
    "and how the item bank holds up.",
)

weekly_models_job = dg.define_asset_job(
    "weekly_models_job",
    selection=OF_CLOSED_WEEKS | dg.AssetSelection.assets(weekly_kpi),
    tags=MODELS_OF_WEEKS,
    description="Once a week is over and its metrics are there: trends, goals, forecasts, anomalies, and the weekly "
    "KPI with them.",
)

segments_job = dg.define_asset_job(
    "segments_job",
    selection=SEGMENTS | dg.AssetSelection.assets(weekly_kpi),
    description="Twice a month: groups of students, and the weekly KPI with them.",
)

week_job = dg.define_asset_job(
    "week_job",
    selection=EVERYTHING,
    tags=MODELS_OF_WEEKS,
    description="All of a closed week, in one run: for weeks that are computed afterwards.",
)

reports_job = dg.define_asset_job(
    "reports_job",
    selection=dg.AssetSelection.groups("reports"),
    tags=REPORTS,
    description="Once a closed week has its trends, goals, forecasts and KPI: every student's report, and the "
    "teacher's. For weeks that are computed afterwards it is run when their reports are wanted.",
)

freshness_job = dg.define_asset_job(
    "freshness_job",
    selection=dg.AssetSelection.checks(*LATEST),
    tags=ONE_PAGE_AT_A_TIME,
    description="Has the latest closed week rows? Run on its own: a backfill of old weeks says nothing about it.",
)


@dg.op(retry_policy=STEP_RETRIES)
def intake_exam_results(context: dg.OpExecutionContext, database: Database) -> None:
    """Take in what the application's exam_results have had since the last time."""
    count = take_in_exam_results(database)
    context.log.info(f"{count}")
    context.log_event(dg.AssetObservation(asset_key("attempt"), metadata=count.metadata()))


@dg.job(description="Incremental intake from the application's exam_results.", tags=ONE_PAGE_AT_A_TIME)
def intake_job() -> None:
    """One op: the intake is one transaction a page."""
    intake_exam_results()
