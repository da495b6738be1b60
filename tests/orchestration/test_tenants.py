"""Two tenants in one database and one Dagster, each a schema and a code location: as good as alone, and apart."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml

from seedtest_assets import tables
from seedtest_assets.local.home import CHECKOUT
from seedtest_assets.local.postgres import EmbeddedPostgres
from seedtest_assets.local.processes import HOST, RecordedProcess, any_free_port
from seedtest_assets.resources.database import Database
from seedtest_assets.simulate import write_cohort
from tests.orchestration.cohort import EVERY_WEEK, LEFT_OUT, OUTPUTS, SPEC, MainJob, forget
from tests.served import Served

pytestmark = pytest.mark.slow

SEEDTEST = Path(sys.executable).with_name("seedtest")
NORTH, SOUTH = "north", "south"
WEEK = EVERY_WEEK[0]
LAUNCH = """
mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
ASSETS = "{ assetNodes { assetKey { path } repository { location { name } } } }"


@dataclass(frozen=True)
class Tenant:
    """A tenant: a role that owns a schema of the same name, and how its processes are told."""

    name: str
    environment: dict[str, str]

    def seedtest(self, *arguments: str | Path) -> None:
        """Call the command line as this tenant."""
        done = subprocess.run([SEEDTEST, *arguments], env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def rows(self, sql: str) -> list[sa.Row]:
        """What the tenant's own role reads."""
        engine = sa.create_engine(self.environment["DATABASE_URL"], poolclass=sa.NullPool)
        with engine.connect() as connection:
            return list(connection.execute(sa.text(sql)).all())


def context_of(name: str) -> dict[str, dict[str, list[str]]]:
    """What a code server says of its runs' pods."""
    return {"k8s": {"env_config_maps": [f"tenant-{name}"], "env_secrets": [f"tenant-database-{name}"]}}


def administrator(postgres: EmbeddedPostgres, database: str) -> sa.Engine:
    url = sa.make_url(postgres.url(database))
    password = (postgres.folder / "password.postgres").read_text()
    return sa.create_engine(url.set(username="postgres", password=password), isolation_level="AUTOCOMMIT")


def wait_until(done, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


@pytest.fixture(scope="module")
def tenants(
    cohort: Database, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Tenant]]:
    """North has the very answers of the school that is alone, south others; both are migrated and filled."""
    made = {}
    owner = administrator(postgres, "seedtest")
    with owner.connect() as connection:
        for name in (NORTH, SOUTH):
            password = secrets.token_hex(16)
            connection.execute(sa.text(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'"))
            connection.execute(sa.text(f"CREATE SCHEMA {name} AUTHORIZATION {name}"))
            url = sa.make_url(postgres.url("seedtest")).set(username=name, password=password)
            home = tmp_path_factory.mktemp(name)
            environment = {
                **os.environ,
                "SEEDTEST_TENANT": name,
                "DAGSTER_CLI_API_GRPC_CONTAINER_CONTEXT": json.dumps(
                    context_of(name)
                ),  # as dagster-values-tenants.yaml
                "SEEDTEST_HOME": str(home),
                "REPORT_FORMAT": "html",
                "REPORT_FOLDER": str(tmp_path_factory.getbasetemp() / "reports"),
                "DATABASE_URL": url.render_as_string(hide_password=False),
                "DAGSTER_DATABASE_URL": postgres.url("dagster"),
            }
            made[name] = Tenant(name, environment)
    for name, seed in ((NORTH, SPEC.seed), (SOUTH, SPEC.seed + 1)):
        folder = tmp_path_factory.mktemp(f"{name}_cohort")
        write_cohort(replace(SPEC, seed=seed), folder)
        made[name].seedtest("migrate")
        made[name].seedtest("import", folder / "attempts.parquet", "--source", "cohort")
    yield made
    with owner.connect() as connection:
        for name in made:
            connection.execute(sa.text(f"DROP OWNED BY {name} CASCADE"))
            connection.execute(sa.text(f"DROP ROLE {name}"))
    owner.dispose()


@pytest.fixture(scope="module")
def workspace(
    tenants: dict[str, Tenant], postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Served, dg.DagsterInstance]]:
    """A code server for each tenant, and one webserver and daemon before both."""
    home = tmp_path_factory.mktemp("dagster")
    shutil.copyfile(CHECKOUT / "deploy" / "dagster.yaml", home / "dagster.yaml")
    processes, entries = [], []

    def start(name: str, *command: str | Path, port: int, environment: dict[str, str]) -> None:
        process = RecordedProcess(home / f"{name}.json")
        log = home / f"{name}.log"
        of_both = {"DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "yes"}
        process.start(
            [sys.executable, "-m", "dagster", *command],
            port=port,
            log=log,
            cwd=CHECKOUT,
            environment={**environment, **of_both},
        )
        processes.append(process)

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DAGSTER_HOME", str(home))
        environment.setenv("DAGSTER_DATABASE_URL", postgres.url("dagster"))
        with dg.DagsterInstance.get() as instance:
            instance.wipe()
            try:
                for tenant in tenants.values():
                    port = any_free_port()
                    server = ("api", "grpc", "-m", "seedtest_assets.definitions", "-h", HOST, "-p", str(port))
                    start(tenant.name, *server, port=port, environment=tenant.environment)
                    entries.append({"grpc_server": {"host": HOST, "port": port, "location_name": tenant.name}})
                (home / "workspace.yaml").write_text(yaml.safe_dump({"load_from": entries}))
                port = any_free_port()
                dev = ("dev", "-w", home / "workspace.yaml", "-h", HOST, "-p", str(port))
                start("dagster", *dev, port=port, environment=dict(os.environ))
                there = Served(f"http://{HOST}:{port}")
                wait_until(lambda: len(locations(there)) == len(tenants), 120, (home / "dagster.log").read_text())
                yield there, instance
            finally:
                for process in reversed(processes):
                    process.stop(grace=10)


def locations(there: Served) -> set[str]:
    """The code locations that are loaded and have assets."""
    try:
        return {node["repository"]["location"]["name"] for node in there.ask(ASSETS)["assetNodes"]}
    except OSError:
        return set()
    except Exception as error:  # the webserver is not there yet
        if "Connect" in type(error).__name__:
            return set()
        raise


@pytest.fixture(scope="module")
def runs(workspace: tuple[Served, dg.DagsterInstance], tenants: dict[str, Tenant]) -> dict[str, dg.RunRecord]:
    """One week of both tenants, asked for at the same moment."""
    there, instance = workspace
    launched = {}
    for name in tenants:
        job = {"repositoryLocationName": name, "repositoryName": "__repository__", "jobName": "metrics_job"}
        tag = {"key": "dagster/partition", "value": WEEK.isoformat()}
        params = {"selector": job, "executionMetadata": {"tags": [tag]}}
        answer = there.ask(LAUNCH, params=params)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        launched[name] = answer["run"]["runId"]

    def records() -> dict[str, dg.RunRecord]:
        return {name: instance.get_run_record_by_id(run_id) for name, run_id in launched.items()}

    wait_until(lambda: all(one.dagster_run.is_finished for one in records().values()), 240, "the runs do not end")
    return records()


def described(rows: list[sa.Row]) -> list[str]:
    return sorted(repr(tuple(row)) for row in rows)


def test_runs_of_different_tenants_succeed_at_the_same_time(runs: dict[str, dg.RunRecord]) -> None:
    assert {one.dagster_run.status for one in runs.values()} == {dg.DagsterRunStatus.SUCCESS}
    assert max(one.start_time for one in runs.values()) < min(one.end_time for one in runs.values())


def test_a_tenants_numbers_are_those_of_a_school_that_is_alone(
    runs: dict[str, dg.RunRecord], tenants: dict[str, Tenant], cohort: Database, instance: dg.DagsterInstance
) -> None:
    forget(cohort, *OUTPUTS)
    assert MainJob(instance)(WEEK).success
    compared = set()
    for table in OUTPUTS:
        if table.name == "fit_attempt":
            continue
        columns = ", ".join(column.name for column in table.c if column.name not in LEFT_OUT)
        with cohort.transaction() as connection:
            alone = described(list(connection.execute(sa.text(f"SELECT {columns} FROM {table.fullname}")).all()))
        assert described(tenants[NORTH].rows(f"SELECT {columns} FROM north.{table.name}")) == alone, table.name
        compared |= {table.name} if alone else set()
    assert compared >= {"mirt_item_params", "mirt_ability", "features_topic_daily", "weekly_metrics", "weekly_kpi"}
    same = "SELECT user_id, i_t, e_t, s_churn FROM {}.weekly_kpi"
    assert described(tenants[SOUTH].rows(same.format(SOUTH))) != described(tenants[NORTH].rows(same.format(NORTH)))


def test_asset_keys_jobs_and_partitions_are_each_tenants_own(
    workspace: tuple[Served, dg.DagsterInstance], runs: dict[str, dg.RunRecord]
) -> None:
    there, instance = workspace
    found: dict[str, set[str]] = {NORTH: set(), SOUTH: set()}
    for node in there.ask(ASSETS)["assetNodes"]:
        prefix, name = node["assetKey"]["path"]
        assert prefix == node["repository"]["location"]["name"]
        found[prefix].add(name)
    assert found[NORTH] == found[SOUTH] >= {"attempt", "mirt_ability", "weekly_kpi", "report_artifact"}
    for name in (NORTH, SOUTH):
        written = {event.asset_key.path[0] for event in events(instance, runs[name]) if event.asset_key}
        assert written == {name}
    assert instance.get_materialized_partitions(dg.AssetKey([NORTH, "weekly_kpi"])) == {WEEK.isoformat()}
    assert instance.get_materialized_partitions(dg.AssetKey("weekly_kpi")) == set()


def events(instance: dg.DagsterInstance, record: dg.RunRecord) -> list[dg.DagsterEvent]:
    logged = instance.all_logs(record.dagster_run.run_id)
    return [one.dagster_event for one in logged if one.dagster_event is not None]


def test_a_code_server_passes_on_what_it_is_told_about_pods(runs: dict[str, dg.RunRecord]) -> None:
    for name, record in runs.items():
        origin = record.dagster_run.job_code_origin
        assert origin is not None
        assert origin.repository_origin.container_context == context_of(name)


def test_what_a_run_waits_for_is_its_tenants_own(runs: dict[str, dg.RunRecord]) -> None:
    for name, record in runs.items():
        pools = record.dagster_run.run_op_concurrency.all_pools
        assert pools
        assert {one for one in pools if not one.startswith(f"{name}_")} == set()


def test_a_tenants_role_reads_no_other_schema(tenants: dict[str, Tenant]) -> None:
    for foreign in ("south.attempt", "intake.attempt", "analytics.weekly_kpi"):
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied for schema"):
            tenants[NORTH].rows(f"SELECT 1 FROM {foreign}")


def test_the_schema_holds_everything_and_nothing_lies_beside_it(tenants: dict[str, Tenant], cohort: Database) -> None:
    sql = "SELECT n.nspname, c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    owned = f"{sql} JOIN pg_roles r ON r.oid = c.relowner WHERE r.rolname = '{SOUTH}' AND c.relkind IN ('r', 'p', 'v')"
    with cohort.transaction() as connection:
        found = connection.execute(sa.text(owned)).all()
    assert {schema for schema, _, _ in found} == {SOUTH}
    assert {name for _, name, _ in found} == {
        *(table.name for table in tables.metadata.sorted_tables),
        *("mirt_item_params_current", "alembic_version"),
    }


def test_reports_of_tenants_lie_apart_and_reconciliation_leaves_the_others(
    runs: dict[str, dg.RunRecord], tenants: dict[str, Tenant]
) -> None:
    folder = Path(tenants[NORTH].environment["REPORT_FOLDER"])
    for name in (NORTH, SOUTH):
        tenants[name].seedtest("report", "--week", WEEK.isoformat())
    before = {name: sorted(folder.glob(f"{name}/reports/**/*.html")) for name in (NORTH, SOUTH)}
    assert all(before.values())
    for files in before.values():
        for file in files:
            os.utime(file, (0, 0))  # old enough to be an orphan, if no row lists it
    code = (
        "from seedtest_assets.automation.kept_reports import reconcile\n"
        "from seedtest_assets.resources.artifact_store import ArtifactStore\n"
        "from seedtest_assets.resources.database import Database\n"
        "print(reconcile(Database(), ArtifactStore()))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], env=tenants[NORTH].environment, capture_output=True, text=True, check=True
    ).stdout
    assert re.search(r"orphans=0, lost=0", said), said
    assert {name: sorted(folder.glob(f"{name}/reports/**/*.html")) for name in (NORTH, SOUTH)} == before


def test_exam_results_are_read_from_the_tenants_own_view(
    tenants: dict[str, Tenant], postgres: EmbeddedPostgres
) -> None:
    """The application keeps one table for all, and shows each tenant its organisation's documents."""
    with administrator(postgres, "seedtest").connect() as connection:
        for statement in (
            f"CREATE TABLE public.results_of_all AS SELECT * FROM (VALUES {document(7)}, {document(8)}) AS d{COLUMNS}",
            "CREATE VIEW south.exam_results AS SELECT * FROM public.results_of_all WHERE org_id = 8",
            "GRANT SELECT ON south.exam_results TO south",
        ):
            connection.execute(sa.text(statement.replace(":", r"\:")))
        try:
            tenants[SOUTH].seedtest("intake")
        finally:
            connection.execute(sa.text("DROP TABLE public.results_of_all CASCADE"))
    taken = "SELECT item_id FROM south.attempt WHERE source = 'exam_results'"
    assert [row.item_id for row in tenants[SOUTH].rows(taken)] == [8]


def test_a_tenants_answers_can_be_by_month(tenants: dict[str, Tenant]) -> None:
    south = tenants[SOUTH]
    answers = "SELECT id, student_id, item_id, completed_at, attempt_no FROM south.attempt ORDER BY id"
    months = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'south.attempt'::regclass"
    before = south.rows(answers)
    south.seedtest("partition")
    assert south.rows(answers) == before
    made = described(south.rows(months))
    assert len(made) > 12
    south.seedtest("partition")
    assert described(south.rows(months)) == made
    south.seedtest("migrate")


COLUMNS = "(id, session_id, user_id, exam_id, org_id, status, result_json, created_at, updated_at)"


def document(organisation: int) -> str:
    """A row of exam_results with one answer, to a question that bears the organisation's number."""
    questions = json.dumps({"questions": [{"question_id": str(organisation), "is_correct": True}]})
    when = "timestamptz '2026-03-01 12:00+00'"
    return (
        f"(gen_random_uuid(), 's{organisation}', 'u{organisation}', 1, {organisation}, 'ready', "
        f"'{questions}'::jsonb, {when}, {when})"
    )
