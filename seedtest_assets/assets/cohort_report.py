"""The teacher's report on a week: rendered, kept in the object store, listed in cohort_report_artifact."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import dagster as dg
import pandas as pd
import sqlalchemy as sa
from dagster import AssetExecutionContext
from pydantic import Field

from seedtest_assets import tables
from seedtest_assets.assets.cohort_facts import cohort_facts
from seedtest_assets.assets.common import (
    FRESH_WEEKLY,
    OWNERS,
    asset_key,
    asset_keys,
    column_schema,
    pool,
    weeks,
    window,
)
from seedtest_assets.assets.reports import CONTENT_TYPES, artifact, input_hash, storage_key
from seedtest_assets.assets.weekly_kpi import weekly_kpi
from seedtest_assets.calendar import WEEKS, Week
from seedtest_assets.failures import STEP_RETRIES, PermanentFailure
from seedtest_assets.reports.cohort_facts import COHORT_FACTS
from seedtest_assets.reports.language import FOLDER
from seedtest_assets.reports.renderers import named
from seedtest_assets.resources.artifact_store import ArtifactStore
from seedtest_assets.resources.database import Database, Rows, run_id
from seedtest_assets.resources.report_renderer import Request, render_batch, renderer
from seedtest_assets.settings import settings

ARTIFACT = tables.cohort_report_artifact
COHORT = "cohort"
"""In place of a student's key."""
DOCUMENT = FOLDER / "cohort_report.qmd"
LINKED = timedelta(hours=1)


class CohortReportConfig(dg.Config):
    """What a run may ask for."""

    again: bool = Field(default=False, description="Render the report though nothing has changed.")


@dg.asset(
    key=asset_key("cohort_report_artifact"),
    deps=[
        weekly_kpi,
        *asset_keys(
            "survival_risk", "survival_fit_meta", "churn_alert", "anomalies", "prophet_fit_meta", "growth_goal"
        ),
        *asset_keys("mirt_item_params", "mirt_ability", "bank_health", "item_drift", "item_dif"),
        *asset_keys("features_topic_daily", "weekly_metrics", "user_segment", "segment_meta", "segment_transition"),
    ],
    partitions_def=WEEKS,
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    retry_policy=STEP_RETRIES,
    pool=pool("reports"),
    group_name="reports",
    owners=OWNERS,
    kinds={"quarto", "s3", "postgres"},
    code_version="1",
    freshness_policy=FRESH_WEEKLY,
    metadata=column_schema(ARTIFACT),
)
def cohort_report_artifact(
    context: AssetExecutionContext, config: CohortReportConfig, database: Database, artifact_store: ArtifactStore
) -> Iterator[Any]:
    """The teacher's report on the week, HTML and PDF: the week, who needs attention and why, the item bank.

    Rendered only when what it says, or how, has changed.
    """
    (week,) = weeks(context)
    rendered = make_cohort_report(database, artifact_store, week, again=config.again)
    kept = database.rows(
        sa.select(ARTIFACT.c.format, ARTIFACT.c.storage_key, ARTIFACT.c.bytes)
        .where(window(ARTIFACT, week))
        .order_by(ARTIFACT.c.format)
    )
    yield dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": len(kept),
            "rendered": rendered,
            "kilobytes": sum(row.bytes for row in kept) / 1e3,
            "kept_in": artifact_store.check(),
            # Who sees it here may read it for an hour: `seedtest report --week …` makes a new one.
            **{row.format: dg.MetadataValue.url(artifact_store.link(row.storage_key, LINKED)) for row in kept},
        }
    )


def make_cohort_report(database: Database, store: ArtifactStore, week: Week, again: bool = False) -> bool:
    """Render, keep and list the teacher's report on a week, unless the one that is kept says the same.

    Args:
        database: the facts, and cohort_report_artifact.
        store: where reports are kept.
        week: the week.
        again: also when nothing has changed.

    Returns:
        Whether it was rendered.

    Raises:
        PermanentFailure: the document cannot be rendered.
        TransientFailure: the object store or the database is away.
    """
    using, formats = renderer(), settings().report_format
    rendered_by = named(using)
    with database.alone("cohort report", week.start):
        facts = cohort_facts(database, week)
        digest = input_hash(COHORT_FACTS.dump_json(facts), rendered_by)
        if not again and _known_hashes(database, store, week) == dict.fromkeys(formats, digest):
            return False
        request = Request(COHORT, DOCUMENT, COHORT_FACTS.dump_python(facts, mode="json"))
        (report,) = render_batch([request], formats, workers=1, using=using)
        if report.problem is not None:
            raise PermanentFailure(
                f"The teacher's report on the week of {week.start} was not made: {report.problem}. "
                "An older one, if there is one, stays."
            )
        _keep(database, store, week, report.files, renderer=rendered_by, input_hash=digest, lang=facts.lang)
    return True


def _keep(database: Database, store: ArtifactStore, week: Week, files: Mapping[Any, bytes], **origin: str) -> None:
    """Keep the files, then list them: what is listed is there."""
    identity = {"week_start": week.start, "run_id": run_id(ARTIFACT.name, week.start)}
    rows = [
        {
            **identity,
            **artifact(wanted, store.put(storage_key(COHORT, week, wanted), body, CONTENT_TYPES[wanted]), **origin),
        }
        for wanted, body in files.items()
    ]
    database.replace(Rows(ARTIFACT, pd.DataFrame(rows), window(ARTIFACT, week)), week_start=week.start)


def _known_hashes(database: Database, store: ArtifactStore, week: Week) -> dict[str, str]:
    """What each format was made of that is kept where the settings say."""
    artifact = ARTIFACT.c
    listed = database.rows(
        sa.select(artifact.format, artifact.input_hash, artifact.url, artifact.storage_key).where(
            window(ARTIFACT, week)
        )
    )
    return {row.format: row.input_hash for row in listed if row.url == store.url(row.storage_key)}
