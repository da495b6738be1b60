"""Each student's weekly report: rendered, kept in the object store, listed in report_artifact."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import dagster as dg
import pandas as pd
import sqlalchemy as sa
from dagster import AssetExecutionContext
from pydantic import Field

from seedtest_assets import tables
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
from seedtest_assets.assets.records import among
from seedtest_assets.assets.report_facts import NoFacts, student_facts
from seedtest_assets.assets.segments import newest_members
from seedtest_assets.assets.weekly_kpi import weekly_kpi
from seedtest_assets.calendar import WEEKS, Week
from seedtest_assets.failures import STEP_RETRIES, PermanentFailure
from seedtest_assets.reports.facts import STUDENT
from seedtest_assets.reports.language import FOLDER
from seedtest_assets.reports.renderers import named
from seedtest_assets.resources.artifact_store import ArtifactStore, Stored
from seedtest_assets.resources.database import Database, Rows, run_id
from seedtest_assets.resources.report_renderer import Rendered, Request, render_batch, renderer
from seedtest_assets.settings import settings

ARTIFACT, FAILURE = tables.report_artifact, tables.report_failure
DOCUMENT = FOLDER / "weekly_report.qmd"
CONTENT_TYPES = {"html": "text/html; charset=utf-8", "pdf": "application/pdf"}
WRITTEN_AT_ONCE = 50
"""Reports after which the table is told: what a batch that ends early has to do again."""

Progress = Callable[["Batch"], None]


class ReportConfig(dg.Config):
    """Whose reports a run makes; by default everybody's."""

    user_ids: list[str] = Field(
        default=[], description="Only these students. They are kept with the run, as all that a run is asked for."
    )
    segment: str | None = Field(default=None, description="Only students of this segment, by its key.")
    min_risk: float | None = Field(
        default=None, ge=0, le=1, description="Only students whose risk (S) is at least this."
    )
    again: bool = Field(default=False, description="Render what has not changed, too.")


@dataclass
class Batch:
    """How far a batch is.

    Attributes:
        asked: students whose reports are wanted.
        made: reports rendered and kept.
        unchanged: reports that are kept already, of the same facts and by the same means.
        failed: students whose report could not be made; report_failure says why.
        bytes: of what was made.
    """

    asked: int
    made: int = 0
    unchanged: int = 0
    failed: int = 0
    bytes: int = 0

    @property
    def done(self) -> int:
        """Students that are through."""
        return self.made + self.unchanged + self.failed


@dataclass
class _Unwritten:
    """What is kept in the store, or failed, and not in the tables yet."""

    artifacts: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    users: set[str] = field(default_factory=set)


@dg.asset(
    key=asset_key("report_artifact"),
    deps=[
        weekly_kpi,
        *asset_keys("weekly_metrics", "mirt_ability", "features_topic_daily", "growth_goal", "user_segment"),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "every_report_made",
            asset=asset_key("report_artifact"),
            description="Every student who was asked for has a report of this week. report_failure lists the others, "
            "with the reason.",
        )
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
def report_artifact(
    context: AssetExecutionContext, config: ReportConfig, database: Database, artifact_store: ArtifactStore
) -> Iterator[Any]:
    """One report per student of the week, HTML and PDF, in the student's language; only what changed is rendered.

    A batch that ended early goes on where it was. A student whose report cannot be made stops nobody else's.
    """
    (week,) = weeks(context)
    kept_in = artifact_store.check()  # before anything is rendered
    users = students_of(database, week, config)
    said = 0

    def tell(batch: Batch) -> None:
        nonlocal said
        if batch.done * 10 // max(batch.asked, 1) > said:
            said = batch.done * 10 // batch.asked
            context.log.info(f"{batch.done:,} of {batch.asked:,} students, {batch.made:,} reports made")

    begun = datetime.now(UTC)
    batch = make_reports(database, artifact_store, week, users, again=config.again, progress=tell)
    seconds = (datetime.now(UTC) - begun).total_seconds()
    yield dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": _rows_of_week(database, week),
            "students": batch.asked,
            "made": batch.made,
            "unchanged": batch.unchanged,
            "failed": batch.failed,
            "megabytes": batch.bytes / 1e6,
            "seconds_per_report": seconds / batch.made if batch.made else 0.0,
            "kept_in": kept_in,
            "open": "seedtest report --week " + week.key + " --user USER_ID --open",
        }
    )
    without = batch.asked - batch.made - batch.unchanged
    yield dg.AssetCheckResult(
        check_name="every_report_made",
        passed=without == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{without} students without one: see {tables.report_failure.fullname}" if without else None,
        metadata={"asked": batch.asked, "failed": batch.failed},
    )


def students_of(database: Database, week: Week, config: ReportConfig) -> list[str]:
    """The students with a row in the week's KPI that the config asks for, by their keys.

    Raises:
        PermanentFailure: students were asked for by key, and some have no row.
    """
    kpi = tables.weekly_kpi
    wanted = [window(kpi, week)]
    if config.user_ids:
        wanted.append(among(kpi.c.user_id, config.user_ids))
    if config.segment is not None:
        members = newest_members(week).subquery()
        wanted.append(kpi.c.user_id.in_(sa.select(members.c.user_id).where(members.c.segment == config.segment)))
    if config.min_risk is not None:
        wanted.append(kpi.c.s_churn >= config.min_risk)
    found = database.frame(sa.select(kpi.c.user_id).where(*wanted).order_by(kpi.c.user_id))
    missing = len(set(config.user_ids)) - len(found)
    if missing > 0 and len(wanted) == 2:  # asked for by key alone
        raise PermanentFailure(
            f"{missing} of the students asked for have no row in weekly_kpi for {week.start}, and no report."
        )
    return found["user_id"].astype(str).tolist()


def make_reports(
    database: Database,
    store: ArtifactStore,
    week: Week,
    users: Sequence[str],
    *,
    again: bool = False,
    progress: Progress = lambda batch: None,
) -> Batch:
    """Render, keep and list the reports of these students' week.

    Args:
        database: the facts, and report_artifact.
        store: where reports are kept.
        week: the week.
        users: the students.
        again: also what has not changed.
        progress: told after every report.

    Raises:
        TransientFailure: the object store or the database is away; what was made until then is listed.
    """
    using, batch, unwritten = renderer(), Batch(len(users)), _Unwritten()
    rendered_by = named(using)
    with database.alone("report batch", week.start):
        _forget_absent(database, week)
        known = {} if again else _known_hashes(database, store, week, users)
        failed_before = _failed(database, week)
        waiting: dict[str, dict[str, str]] = {}

        def changed() -> Iterator[Request]:
            for facts in student_facts(database, week, users):
                if isinstance(facts, NoFacts):
                    _keep(store, week, Rendered(str(facts.user_id), {}, facts.reason), unwritten, batch)
                    progress(batch)
                    continue
                user, digest = str(facts.user_id), input_hash(STUDENT.dump_json(facts), rendered_by)
                if known.get(user) == dict.fromkeys(settings().report_format, digest):
                    batch.unchanged += 1
                    if user in failed_before:
                        unwritten.users.add(user)
                    progress(batch)
                    continue
                waiting[user] = {"renderer": rendered_by, "input_hash": digest, "lang": facts.lang}
                yield Request(user, DOCUMENT, STUDENT.dump_python(facts, mode="json"))

        try:
            with closing(render_batch(changed(), settings().report_format, using=using)) as rendered:
                for report in rendered:
                    _keep(store, week, report, unwritten, batch, **waiting.pop(report.key))
                    progress(batch)
                    if len(unwritten.users) >= WRITTEN_AT_ONCE:
                        _write(database, week, unwritten)
        finally:
            _write(database, week, unwritten)
    return batch


def _keep(
    store: ArtifactStore, week: Week, report: Rendered, unwritten: _Unwritten, batch: Batch, **origin: str
) -> None:
    identity = {"user_id": report.key, "week_start": week.start, "run_id": run_id(ARTIFACT.name, week.start)}
    if report.problem is not None:
        unwritten.failures.append({**identity, "reason": report.problem})
        batch.failed += 1
    else:
        kept = {
            wanted: store.put(storage_key(report.key, week, wanted), body, CONTENT_TYPES[wanted])
            for wanted, body in report.files.items()
        }
        unwritten.artifacts += [{**identity, **artifact(wanted, stored, **origin)} for wanted, stored in kept.items()]
        batch.made += 1
        batch.bytes += sum(stored.bytes for stored in kept.values())
    unwritten.users.add(report.key)


def artifact(wanted: str, stored: Stored, **origin: str) -> dict[str, Any]:
    """The columns that say what is kept of a report, and what it was made of."""
    return {
        "format": wanted,
        "url": stored.url,
        "storage_key": stored.key,
        "sha256": stored.sha256,
        "bytes": stored.bytes,
        "template_version": template_version(),
        "generated_at": datetime.now(UTC),
        **origin,
    }


def storage_key(owner: str, week: Week, wanted: str) -> str:
    """The key of a report: of a student, or of the cohort."""
    return f"reports/{owner}/{week.key}/report.{wanted}"


@cache
def template_version() -> str:
    """Digest of documents, words, design, and of the code that words and draws."""
    code = FOLDER.parent / "seedtest_assets" / "reports"
    files = [*FOLDER.rglob("*"), *code.glob("*.py"), *code.glob("*.lua")]
    digest = hashlib.sha256()
    for file in sorted(path for path in files if path.is_file()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def input_hash(facts: bytes, renderer: str) -> str:
    """Digest of all that a report is made of."""
    return hashlib.sha256(b"\0".join((facts, template_version().encode(), renderer.encode()))).hexdigest()


def _known_hashes(
    database: Database, store: ArtifactStore, week: Week, users: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Of each student, what each format was made of that is kept where the settings say."""
    artifact = ARTIFACT.c
    listed = database.rows(
        sa.select(artifact.user_id, artifact.format, artifact.input_hash, artifact.url, artifact.storage_key).where(
            window(ARTIFACT, week), among(artifact.user_id, users)
        )
    )
    found: dict[str, dict[str, str]] = {}
    for row in listed:
        if row.url == store.url(row.storage_key):
            found.setdefault(str(row.user_id), {})[row.format] = row.input_hash
    return found


def _failed(database: Database, week: Week) -> set[str]:
    return {str(row.user_id) for row in database.rows(sa.select(FAILURE.c.user_id).where(window(FAILURE, week)))}


def _forget_absent(database: Database, week: Week) -> None:
    """Rows of students who are in the week no more: replayed without them, or erased. Their files are orphans then."""
    kpi = tables.weekly_kpi
    with database.transaction() as connection:
        for table in (ARTIFACT, FAILURE):
            is_there = sa.exists().where(window(kpi, week), kpi.c.user_id == table.c.user_id)
            connection.execute(sa.delete(table).where(window(table, week), ~is_there))


def _write(database: Database, week: Week, unwritten: _Unwritten) -> None:
    """Tell the tables what was made, and what could not be; a report that failed leaves its older row alone."""
    if not unwritten.users:
        return
    made = sorted({row["user_id"] for row in unwritten.artifacts})
    database.replace(
        Rows(ARTIFACT, _frame(ARTIFACT, unwritten.artifacts), window(ARTIFACT, week) & among(ARTIFACT.c.user_id, made)),
        Rows(
            FAILURE,
            _frame(FAILURE, unwritten.failures),
            window(FAILURE, week) & among(FAILURE.c.user_id, sorted(unwritten.users)),
        ),
        week_start=week.start,
    )
    unwritten.artifacts.clear()
    unwritten.failures.clear()
    unwritten.users.clear()


def _frame(table: sa.Table, rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[column.name for column in table.c if column.name != "computed_at"])


def _rows_of_week(database: Database, week: Week) -> int:
    return int(database.rows(sa.select(sa.func.count()).where(window(ARTIFACT, week)))[0][0])
