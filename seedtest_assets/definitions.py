"""The one place where everything is put together. Loading it opens no connection and needs no environment."""

import dagster as dg

from seedtest_assets import assets, checks
from seedtest_assets.automation.closed_weeks import closed_week, modelled_week
from seedtest_assets.automation.inactivity import inactivity, refresh_inactive
from seedtest_assets.automation.jobs import (
    freshness_job,
    intake_job,
    metrics_job,
    reports_job,
    segments_job,
    week_job,
    weekly_models_job,
)
from seedtest_assets.automation.kept_reports import reconcile_reports
from seedtest_assets.automation.schedules import SCHEDULES
from seedtest_assets.resources.artifact_store import ArtifactStore
from seedtest_assets.resources.database import Database
from seedtest_assets.resources.forecast import ForecastService
from seedtest_assets.resources.glmm import GlmmService
from seedtest_assets.resources.growth import GrowthService
from seedtest_assets.resources.plumber import IrtService
from seedtest_assets.resources.webhook import ChurnWebhook


@dg.definitions
def definitions() -> dg.Definitions:
    """Assets, checks, jobs, schedules, sensors and resources of the code location."""
    return dg.Definitions(
        assets=dg.load_assets_from_package_module(assets, include_specs=True),
        asset_checks=[*checks.BLOCKING, *checks.ITEM_BANK, *checks.LATEST],
        jobs=[
            metrics_job,
            weekly_models_job,
            segments_job,
            week_job,
            reports_job,
            freshness_job,
            intake_job,
            refresh_inactive,
            reconcile_reports,
        ],
        schedules=SCHEDULES,
        sensors=[closed_week, modelled_week, inactivity],
        resources={
            "database": Database(),
            "irt": IrtService(),
            "forecast": ForecastService(),
            "glmm": GlmmService(),
            "growth_service": GrowthService(),
            "webhook": ChurnWebhook(),
            "artifact_store": ArtifactStore(),
        },
        executor=dg.in_process_executor,
    )
