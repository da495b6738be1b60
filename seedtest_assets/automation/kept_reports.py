"""Once a week: what the object store keeps and what the tables list are brought together again."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from seedtest_assets import tables
from seedtest_assets.assets.common import asset_key
from seedtest_assets.automation.sizes import ONE_PAGE_AT_A_TIME
from seedtest_assets.failures import STEP_RETRIES
from seedtest_assets.resources.artifact_store import ArtifactStore
from seedtest_assets.resources.database import Database

PREFIX = "reports/"
GRACE = timedelta(days=1)
"""A report is kept before it is listed: what is younger may belong to a batch that still runs."""


@dataclass(frozen=True)
class Reconciled:
    """What did not fit together.

    Attributes:
        orphans: files that no row lists (a batch ended between the two, a student was erased, a format was given
            up): deleted.
        lost: rows whose file is gone from this place: deleted, so that the week's next batch makes the report anew.
            Rows of another place (a bucket, a prefix or a folder that the settings do not name now) stay.
    """

    orphans: int
    lost: int


def reconcile(database: Database, store: ArtifactStore) -> Reconciled:
    """Delete the files that nothing lists, and the rows that list nothing."""
    lists = (tables.report_artifact, tables.cohort_report_artifact)
    # Rows first: what they list was kept before, so it is found now.
    rows = [row for table in lists for row in database.rows(sa.select(table.c.storage_key, table.c.url))]
    listed = {row.storage_key for row in rows}
    kept = {found.key: found.modified for found in store.kept(PREFIX)}
    old = datetime.now(UTC) - GRACE
    orphans = store.delete(key for key, modified in kept.items() if key not in listed and modified < old)
    lost = sorted({row.storage_key for row in rows if row.url == store.url(row.storage_key)} - kept.keys())
    gone = sa.any_(sa.cast(sa.literal(lost, ARRAY(sa.Text)), ARRAY(sa.Text)))
    with database.transaction() as connection:
        for table in lists:
            connection.execute(sa.delete(table).where(table.c.storage_key == gone))
    return Reconciled(orphans, len(lost))


@dg.op(retry_policy=STEP_RETRIES)
def bring_together(context: dg.OpExecutionContext, database: Database, artifact_store: ArtifactStore) -> None:
    """Delete the files that nothing lists, and the rows that list nothing."""
    found = reconcile(database, artifact_store)
    context.log_event(dg.AssetObservation(asset_key("report_artifact"), metadata=asdict(found)))


@dg.job(
    description="Reports that no table lists, and rows whose report is gone: both are deleted.", tags=ONE_PAGE_AT_A_TIME
)
def reconcile_reports() -> None:
    """One op: files are listed once."""
    bring_together()
