"""The commands of deploy/compose.yaml, its variables, scripts and health checks, as processes on this machine."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import psycopg2
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from dotenv import dotenv_values

from seedtest_assets.local.home import CHECKOUT
from seedtest_assets.local.postgres import EmbeddedPostgres, programs
from seedtest_assets.local.processes import RecordedProcess, tail
from seedtest_assets.local.services import SERVICES
from tests.deploy.compose import DEPLOY, compose, environment, interpolated
from tests.deploy.manifests import Document
from tests.reliability.seaweed import PARTS, free_ports

pytestmark = pytest.mark.slow

WELL_SECONDS = 120.0
LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries {
    name loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } } }"""
LAUNCH = """mutation { launchRun(executionParams: { mode: "default", selector: {
    repositoryLocationName: "seedtest", repositoryName: "__repository__", jobName: "freshness_job" } }) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STATUS = """{ runOrError(runId: "%s") { ... on Run { status } } }"""


class Containers:
    """Services of the file, started as processes with their own variables; names and ports are this machine's.

    Args:
        folder: for what the containers would keep, and for logs.
        variables: those of deploy/.env.
        replaced: texts of the file, and what stands in their place here.
    """

    def __init__(self, folder: Path, variables: dict[str, str], replaced: dict[str, str]) -> None:
        self.folder = folder
        self.replaced = replaced
        self.services: Document = self.here(interpolated(compose(), variables)["services"])
        self.processes: dict[str, RecordedProcess] = {}

    def here(self, part: Any) -> Any:
        """A part of the file as this machine needs it."""
        text = json.dumps(part)
        for there, here in self.replaced.items():
            text = text.replace(there, here)
        return json.loads(text)

    def variables(self, name: str) -> dict[str, str]:
        """The environment of a service, and nothing of this process's but the programs."""
        given = self.here(environment(self.services[name]))
        return {**given, "PATH": os.environ["PATH"], "HOME": str(self.folder), "DAGSTER_HOME": str(self.folder)}

    def command(self, name: str) -> list[str]:
        """What the container runs."""
        return [*self.services[name].get("entrypoint", []), *self.services[name]["command"]]

    def once(self, name: str, command: list[str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a service that ends, or another command in its place."""
        return subprocess.run(
            command or self.command(name),
            env=self.variables(name),
            cwd=CHECKOUT,
            check=False,
            capture_output=True,
            text=True,
        )

    def is_well(self, name: str) -> bool:
        """What the service's health check says."""
        test = self.services[name]["healthcheck"]["test"]
        assert test[0] == "CMD"
        return self.once(name, test[1:]).returncode == 0

    def start(self, name: str) -> None:
        """Start a service that stays, and wait until its health check passes; before, it must not."""
        assert not self.is_well(name)
        process = self.processes[name] = RecordedProcess(self.folder / f"{name}.json")
        log = self.folder / f"{name}.log"
        process.start(
            self.command(name),
            port=0,
            log=log,
            cwd=CHECKOUT,
            environment=self.variables(name),
        )
        deadline = time.monotonic() + WELL_SECONDS
        while not self.is_well(name):
            assert process.alive(), f"{name} ended: {tail(log)}"
            assert time.monotonic() < deadline, f"{name} is not well: {tail(log)}"
            time.sleep(0.2)

    def stop(self, grace: float = 10) -> None:
        """End them all."""
        for process in reversed(self.processes.values()):
            process.stop(grace=grace)


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What make-env.sh writes."""
    folder = tmp_path_factory.mktemp("deploy")
    shutil.copytree(DEPLOY / "compose", folder / "compose")
    subprocess.run([folder / "compose" / "make-env.sh"], check=True)
    return {name: str(value) for name, value in dotenv_values(folder / ".env", interpolate=False).items()}


@pytest.fixture(scope="module")
def server(server_folder: Path, variables: dict[str, str]) -> Iterator[EmbeddedPostgres]:
    """PostgreSQL as the image's entry point leaves it: empty, then databases.sql as the superuser."""
    postgres = EmbeddedPostgres(server_folder / "compose", fast=True)
    postgres.start()
    try:
        superuser = (postgres.folder / "password.postgres").read_text()
        psql = [programs() / "psql", "-v", "ON_ERROR_STOP=1", "--no-psqlrc", "--dbname", "postgres"]
        at = {"PGHOST": "127.0.0.1", "PGPORT": str(postgres.port()), "PGUSER": "postgres", "PGPASSWORD": superuser}
        empty = ["DROP DATABASE seedtest", "DROP DATABASE dagster", "DROP ROLE seedtest"]
        subprocess.run([*psql, *(f"--command={statement}" for statement in empty)], env=at, check=True)
        script = [*psql, "--file", DEPLOY / "compose" / "databases.sql"]
        assert subprocess.run(script, env=at, check=False, capture_output=True).returncode != 0  # no passwords
        given = environment(interpolated(compose(), variables)["services"]["postgres"])
        subprocess.run(script, env=at | given, check=True)
        yield postgres
    finally:
        postgres.stop()


def connected(server: EmbeddedPostgres, role: str, database: str, variables: dict[str, str]) -> Any:
    password = variables[f"{role.upper()}_PASSWORD"]
    return psycopg2.connect(host="127.0.0.1", port=server.port(), user=role, password=password, dbname=database)


def test_each_database_is_its_roles_alone(server: EmbeddedPostgres, variables: dict[str, str]) -> None:
    for own, other in (("seedtest", "dagster"), ("dagster", "seedtest")):
        with connected(server, own, own, variables) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE SCHEMA made; CREATE TABLE public.made (); DROP TABLE public.made; DROP SCHEMA made")
            cursor.execute("SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
            assert cursor.fetchone() == (False,)
        connection.close()
        with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
            connected(server, own, other, variables)
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            connected(server, own, own, {**variables, f"{own.upper()}_PASSWORD": "another"})


@pytest.fixture
def dagster(server: EmbeddedPostgres, variables: dict[str, str], tmp_path: Path) -> Iterator[Containers]:
    """Dagster's containers, with the ports of this machine."""
    code_server, webserver = free_ports(2)
    shutil.copyfile(DEPLOY / "dagster.yaml", tmp_path / "dagster.yaml")
    workspace = (DEPLOY / "compose" / "workspace.yaml").read_text()
    workspace = workspace.replace("host: code-server", "host: 127.0.0.1").replace("3030", str(code_server))
    (tmp_path / "workspace.yaml").write_text(workspace)
    containers = Containers(
        tmp_path,
        variables,
        {
            "0.0.0.0": "127.0.0.1",
            "@postgres/": f"@127.0.0.1:{server.port()}/",
            '"3030"': f'"{code_server}"',
            '"3000"': f'"{webserver}"',
            "127.0.0.1:3000": f"127.0.0.1:{webserver}",
            "/workspace.yaml": str(tmp_path / "workspace.yaml"),
            "/tmp/seedtest": str(tmp_path / "seedtest"),
        },
    )
    try:
        yield containers
    finally:
        containers.stop()


def test_dagster_starts_and_runs(dagster: Containers) -> None:
    for name in ("migrate", "migrate-dagster", "migrate", "migrate-dagster"):  # at every start
        done = dagster.once(name)
        assert done.returncode == 0, done.stderr
    for name in ("code-server", "webserver", "daemon"):
        dagster.start(name)

    port = dagster.services["webserver"]["command"][4]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:

        def ask(query: str) -> Any:
            return client.post("/graphql", json={"query": query}).raise_for_status().json()["data"]

        (location,) = ask(LOCATIONS)["workspaceOrError"]["locationEntries"]
        assert location == {
            "name": "seedtest",
            "loadStatus": "LOADED",
            "locationOrLoadError": {"__typename": "RepositoryLocation"},
        }
        launched = ask(LAUNCH)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run = launched["run"]["runId"]
        deadline = time.monotonic() + WELL_SECONDS
        seen = set()
        while (status := ask(STATUS % run)["runOrError"]["status"]) not in {"SUCCESS", "FAILURE", "CANCELED"}:
            seen.add(status)
            assert time.monotonic() < deadline, f"{status}: {tail(dagster.folder / 'code-server.log')}"
            time.sleep(0.2)
        assert status == "SUCCESS", tail(dagster.folder / "code-server.log", 60)
        assert "STARTED" in seen or "STARTING" in seen


@pytest.fixture
def objects(variables: dict[str, str], tmp_path: Path) -> Iterator[Containers]:
    """The object store's containers: its ports and files here, its commands as they are."""
    ports = free_ports(2 * len(PARTS))
    plain, grpc = ports[: len(PARTS)], ports[len(PARTS) :]
    address = {part: f"127.0.0.1:{one}.{other}" for part, one, other in zip(PARTS, plain, grpc, strict=True)}
    script = (DEPLOY / "compose" / "objects.sh").read_text().replace("/tmp/s3.json", str(tmp_path / "s3.json"))
    (tmp_path / "objects.sh").write_text(script)
    (tmp_path / "data").mkdir()
    containers = Containers(
        tmp_path,
        variables,
        {
            "0.0.0.0": "127.0.0.1",
            "-s3.port=8333": f"-s3.port={plain[-1]}",
            "127.0.0.1:8333": f"127.0.0.1:{plain[-1]}",
            "127.0.0.1:9333": address["master"],
            "127.0.0.1:8888": address["filer"],
            "-dir=/data": f"-dir={tmp_path / 'data'}",
            '"/objects.sh"': f'"{tmp_path / "objects.sh"}"',
            '"/bucket.sh"': f'"{DEPLOY / "compose" / "bucket.sh"}"',
        },
    )
    more = [f"-{part}.port={port}" for part, port in zip(PARTS[:-1], plain, strict=False)]
    more += [f"-{part}.port.grpc={port}" for part, port in zip(PARTS, grpc, strict=True)]
    more += [f"-{part}.localSocket={tmp_path / part}.sock" for part in ("filer", "s3")]
    containers.services["objects"]["command"] += more
    try:
        yield containers
    finally:
        containers.stop(grace=0)  # a clean stop takes half a minute
        for part, port in zip(PARTS, grpc, strict=True):
            Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock").unlink(missing_ok=True)


def test_the_object_store_has_one_bucket_and_one_identity(objects: Containers) -> None:
    objects.start("objects")
    for _ in range(2):  # at every start
        made = objects.once("bucket")
        assert made.returncode == 0, made.stderr
    given = objects.variables("objects")
    bucket = given["S3_BUCKET"]

    with_keys = client(objects, given["OBJECTS_ACCESS_KEY"], given["OBJECTS_SECRET_KEY"])
    for key in ("week=2026-03-02/kept.pdf", "week=2026-03-02/gone.pdf"):
        with_keys.put_object(Bucket=bucket, Key=key, Body=b"content")
    with_keys.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "week=2026-03-02/gone.pdf"}]})
    (kept,) = with_keys.list_objects_v2(Bucket=bucket)["Contents"]
    assert with_keys.get_object(Bucket=bucket, Key=kept["Key"])["Body"].read() == b"content"
    (filer,) = [one.partition("=")[2] for one in objects.command("objects") if one.startswith("-filer.port=")]
    address = f"http://127.0.0.1:{filer}/buckets/{bucket}/{kept['Key']}"
    assert objects.once("objects", ["wget", "-qO-", address]).stdout == "content"  # as the guide has it
    for forbidden in (with_keys.create_bucket, with_keys.delete_bucket):
        with pytest.raises(ClientError, match="AccessDenied"):
            forbidden(Bucket="other" if forbidden == with_keys.create_bucket else bucket)

    for stranger in (
        client(objects, given["OBJECTS_ACCESS_KEY"], "another"),
        client(objects, "another", given["OBJECTS_SECRET_KEY"]),
        client(objects),
    ):
        with pytest.raises(ClientError, match=r"AccessDenied|SignatureDoesNotMatch|InvalidAccessKeyId"):
            stranger.list_objects_v2(Bucket=bucket)


def client(objects: Containers, access_key: str | None = None, secret_key: str | None = None) -> Any:
    """A client of the store; without keys an anonymous one."""
    (port,) = [one.partition("=")[2] for one in objects.command("objects") if one.startswith("-s3.port=")]
    unsigned = {} if access_key else {"signature_version": UNSIGNED}
    config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}, **unsigned)
    session = boto3.session.Session(access_key, secret_key)
    return session.client("s3", region_name="us-east-1", endpoint_url=f"http://127.0.0.1:{port}", config=config)


def test_versions_are_those_of_the_images(server: EmbeddedPostgres, variables: dict[str, str]) -> None:
    tags = {name: one["image"].rpartition(":")[2] for name, one in compose()["services"].items()}
    weed = subprocess.run(["weed", "version"], check=True, capture_output=True, text=True).stdout
    assert tags["objects"] == tags["bucket"]
    assert f" {tags['objects']} " in weed
    with connected(server, "seedtest", "seedtest", variables) as connection:
        assert tags["postgres"].split(".")[0] == str(connection.server_version // 10_000)
    connection.close()


@pytest.mark.parametrize("name", [one.name for one in SERVICES])
def test_an_r_service_says_that_it_is_ready(irt_server: dict[str, str], name: str) -> None:
    (known,) = [one for one in SERVICES if one.name == name]
    port = irt_server[known.base_url].rpartition(":")[2]
    (free,) = free_ports(1)
    for number, well in ((port, True), (free, False)):
        test = [part.replace("8000", str(number)) for part in compose()["services"][f"r-{name}"]["healthcheck"]["test"]]
        assert test[0] == "CMD"
        assert (subprocess.run(test[1:], check=False, capture_output=True).returncode == 0) is well
