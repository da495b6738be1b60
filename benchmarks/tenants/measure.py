"""What a night of several tenants takes in one database and one Dagster; prints the tables of the README.

python benchmarks/tenants/measure.py --tenants 10 --students 200 --at-once 2
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import psutil
import sqlalchemy as sa
import yaml

from seedtest_assets import tables
from seedtest_assets.cli import last_sunday
from seedtest_assets.local.home import CHECKOUT
from seedtest_assets.local.machine import Machine, local_machine
from seedtest_assets.local.processes import HOST, RecordedProcess, any_free_port

SEEDTEST = Path(sys.executable).with_name("seedtest")
WEEKS = 8
LAUNCH = """
mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) { __typename ... on LaunchRunSuccess { run { runId } } }
}
"""
WATCH = """
mutation ($selector: SensorSelector!) {
  startSensor(sensorSelector: $selector) { __typename ... on PythonError { message } }
}
"""
SENSORS = ("closed_week", "modelled_week", "inactivity")
LOADED = "{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } } }"
SESSIONS = "SELECT datname, state, count(*) FROM pg_stat_activity WHERE datname IS NOT NULL GROUP BY 1, 2"
COMMITTED = "SELECT xact_commit FROM pg_stat_database WHERE datname = 'seedtest'"
SIZE = """
SELECT count(*), sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = :schema AND c.relkind IN ('r', 'i')
"""


def command(*arguments: str | Path, tenant: str) -> float:
    """Seconds that a command of a tenant takes."""
    began = time.perf_counter()
    environment = os.environ | {"SEEDTEST_TENANT": tenant}
    subprocess.run([SEEDTEST, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def prepare(names: Sequence[str], engine: sa.Engine, students: int, folder: Path) -> dict[str, float]:
    """The first tenant computes its weeks; the others get copies of its rows. Returns seconds of what was measured."""
    migrations = [command("migrate", tenant=name) for name in names]
    first, *others = names
    command("simulate", folder, "--students", str(students), "--weeks", str(WEEKS), tenant=first)
    command("import", folder / "attempts.parquet", tenant=first)
    monday = last_sunday() - timedelta(days=6)
    earliest = monday - timedelta(weeks=WEEKS - 1)
    command("run", "--from", str(earliest), "--to", str(monday - timedelta(weeks=1)), tenant=first)
    with engine.begin() as connection:
        for table in tables.metadata.sorted_tables:
            columns = ", ".join(column.name for column in table.c)
            for other in others:
                connection.execute(
                    sa.text(
                        f"INSERT INTO {other}.{table.name} ({columns}) OVERRIDING SYSTEM VALUE "
                        f"SELECT {columns} FROM {first}.{table.name}"
                    )
                )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))
    return {"migration, s": sum(migrations) / len(migrations)}


class Watch:
    """Looks at sessions, processes and processors while a block runs.

    Args:
        engine: of the database that is watched.
        roots: by name, the processes that are watched with all their descendants.
    """

    def __init__(self, engine: sa.Engine, roots: dict[str, list[psutil.Process]]) -> None:
        self._engine, self._roots = engine, roots
        self._over = threading.Event()
        self.sessions: Counter[str] = Counter()
        self.memory: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}
        self.commits = 0

    def __enter__(self) -> "Watch":
        self._before, self._began = self._processor_seconds(), time.perf_counter()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        after = self._processor_seconds()
        self.seconds = {name: after[name] - self._before[name] for name in after}
        self.wall = time.perf_counter() - self._began

    def _look(self) -> None:
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            committed = connection.execute(sa.text(COMMITTED)).scalar_one()
            while not self._over.wait(0.5):
                now: Counter[str] = Counter()
                for database, state, count in connection.execute(sa.text(SESSIONS)):
                    now[database] += count
                    now[f"{database}, active"] += count if state == "active" else 0
                now["seedtest"] -= 1  # this one
                now["seedtest, active"] -= 1
                self.sessions |= now
                for name, roots in self._roots.items():
                    self.memory[name] = max(self.memory[name], sum(map(proportional_mb, alive(roots))))
            self.commits = connection.execute(sa.text(COMMITTED)).scalar_one() - committed

    def _processor_seconds(self) -> dict[str, float]:
        """Of processes and of the descendants that they have waited for, or that still run."""
        return {name: sum(sum(one.cpu_times()[:4]) for one in alive(roots)) for name, roots in self._roots.items()}


def alive(roots: list[psutil.Process]) -> list[psutil.Process]:
    return [one for root in roots for one in (root, *root.children(recursive=True)) if one.is_running()]


def proportional_mb(process: psutil.Process) -> int:
    """Its memory, of shared pages its share."""
    try:
        return process.memory_full_info().pss >> 20
    except psutil.Error:
        return 0


@contextmanager
def dagster(names: Sequence[str], at_once: int, home: Path) -> Iterator[tuple[str, dict[str, list[psutil.Process]]]]:
    """A code server for each tenant, a webserver and a daemon; the address and the processes."""
    instance = yaml.safe_load((CHECKOUT / "deploy" / "dagster.yaml").read_text())
    instance["concurrency"]["runs"]["max_concurrent_runs"] = at_once
    (home / "dagster.yaml").write_text(yaml.safe_dump(instance))
    os.environ["DAGSTER_HOME"] = str(home)
    started: dict[str, list[RecordedProcess]] = defaultdict(list)

    def start(group: str, name: str, *arguments: str, port: int, tenant: str | None = None) -> None:
        process = RecordedProcess(home / f"{name}.json")
        environment = os.environ | ({"SEEDTEST_TENANT": tenant} if tenant else {})
        run = [sys.executable, "-m", *arguments]
        process.start(run, port=port, log=home / f"{name}.log", cwd=CHECKOUT, environment=environment)
        started[group].append(process)

    entries = []
    try:
        for name in names:
            port = any_free_port()
            server = ("dagster", "api", "grpc", "-m", "seedtest_assets.definitions", "-h", HOST, "-p", str(port))
            start("code servers and runs", name, *server, port=port, tenant=name)
            entries.append({"grpc_server": {"host": HOST, "port": port, "location_name": name}})
        workspace = home / "workspace.yaml"
        workspace.write_text(yaml.safe_dump({"load_from": entries}))
        port = any_free_port()
        start("webserver", "web", "dagster_webserver", "-w", str(workspace), "-h", HOST, "-p", str(port), port=port)
        start("daemon", "daemon", "dagster._daemon", "run", "-w", str(workspace), port=0)
        url = f"http://{HOST}:{port}"
        wait_until(lambda: all_loaded(url, len(names)))
        yield url, {group: [psutil.Process(one.pid()) for one in processes] for group, processes in started.items()}
    finally:
        for processes in started.values():
            for process in processes:
                process.stop(grace=5)


def ask(url: str, query: str, **variables: Any) -> Any:
    answer = httpx.post(f"{url}/graphql", json={"query": query, "variables": variables}, timeout=120)
    return answer.raise_for_status().json()["data"]


def all_loaded(url: str, count: int) -> bool:
    try:
        entries = ask(url, LOADED)["workspaceOrError"]["locationEntries"]
    except httpx.TransportError:
        return False
    return (
        len([entry for entry in entries if entry["locationOrLoadError"]["__typename"] == "RepositoryLocation"]) == count
    )


def switch_sensors_on(url: str, names: Sequence[str]) -> None:
    for name in names:
        for sensor in SENSORS:
            selector = {"repositoryLocationName": name, "repositoryName": "__repository__", "sensorName": sensor}
            answer = ask(url, WATCH, selector=selector)["startSensor"]
            if answer["__typename"] != "Sensor":
                raise RuntimeError(f"{name}, {sensor}: {answer}")


def wait_until(done: Any, seconds: float = 7200) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(1)


def night(url: str, names: Sequence[str], job: str, week: date, instance: dg.DagsterInstance) -> list[dg.RunRecord]:
    """A run of the job for every tenant, all asked for at the same time; what became of them."""
    launched = []
    for name in names:
        selector = {"repositoryLocationName": name, "repositoryName": "__repository__", "jobName": job}
        tags = [{"key": "dagster/partition", "value": week.isoformat()}]
        params = {"selector": selector, "executionMetadata": {"tags": tags}}
        launched.append(ask(url, LAUNCH, params=params)["launchRun"]["run"]["runId"])
    found: list[dg.RunRecord] = []

    def all_over() -> bool:
        found[:] = [record for run_id in launched if (record := instance.get_run_record_by_id(run_id))]
        return all(record.dagster_run.is_finished for record in found)

    wait_until(all_over)
    failed = [record.dagster_run.run_id for record in found if not record.dagster_run.is_success]
    if failed:
        raise RuntimeError(f"{job} failed: {failed}")
    return found


def report(job: str, records: list[dg.RunRecord], watch: Watch, instance: dg.DagsterInstance) -> None:
    seconds = [record.end_time - record.start_time for record in records]
    steps: dict[str, list[float]] = defaultdict(list)
    for record in records:
        for stats in instance.get_run_step_stats(record.dagster_run.run_id):
            if stats.start_time and stats.end_time:  # else it was skipped
                steps[stats.step_key.split("__")[-1]].append(stats.end_time - stats.start_time)
    share = {name: value / len(records) for name, value in watch.seconds.items()}
    print(f"\n### {job}: {len(records)} tenants")
    print(f"all: {watch.wall:.0f} s; a run: {sum(seconds) / len(seconds):.1f} s; load {os.getloadavg()[0]:.1f}")
    print("processor seconds a tenant: " + ", ".join(f"{name} {value:.1f}" for name, value in share.items()))
    print(f"transactions a tenant: {watch.commits / len(records):.0f}")
    print("most sessions: " + ", ".join(f"{name} {count}" for name, count in sorted(watch.sessions.items())))
    print("most memory, MB: " + ", ".join(f"{name} {value}" for name, value in watch.memory.items()))
    print("\n| step | s, mean of tenants |\n|---|--:|")
    for name, values in sorted(steps.items(), key=lambda item: -sum(item[1])):
        print(f"| {name} | {sum(values) / len(values):.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenants", type=int, default=10)
    parser.add_argument("--students", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=2, help="runs at a time")
    given = parser.parse_args()
    names = [f"school{number:03}" for number in range(given.tenants)]
    with tempfile.TemporaryDirectory(dir="/tmp") as scratch, local_machine() as variables:
        home = Path(scratch)
        os.environ["REPORT_FOLDER"] = str(home / "reports")
        engine = sa.create_engine(variables["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg2://"))
        measured = prepare(names, engine, given.students, home / "cohort")
        with engine.connect() as connection:
            relations, size = connection.execute(sa.text(SIZE), {"schema": names[-1]}).one()
            answers = connection.execute(sa.text(f"SELECT count(*) FROM {names[0]}.attempt")).scalar_one()
        print(f"{given.tenants} tenants of {given.students} students, {answers:,} answers in {WEEKS} weeks each")
        print(f"a tenant's schema: {relations} tables and indexes, {int(size) >> 20} MB; {measured}")
        machine = Machine(Path(os.environ["SEEDTEST_HOME"]))
        week = last_sunday() - timedelta(days=6)
        began = time.perf_counter()
        with dagster(names, given.at_once, home) as (url, processes):
            print(f"all code locations loaded after {time.perf_counter() - began:.0f} s")
            services = [psutil.Process(status.pid) for status in machine.services.status() if status.pid]
            postmaster = int((machine.postgres.folder / "data" / "postmaster.pid").read_text().split()[0])
            roots = {**processes, "R services": services, "PostgreSQL": [psutil.Process(postmaster)]}
            with dg.DagsterInstance.get() as instance:
                switch_sensors_on(url, names)
                time.sleep(60)  # until the silent of the past weeks are dealt with
                with Watch(engine, roots) as idle:
                    time.sleep(60)
                quiet = ", ".join(f"{name} {value:.1f}" for name, value in idle.seconds.items())
                print(f"a minute in which nothing runs, processor seconds: {quiet}")
                print("sessions then: " + ", ".join(f"{name} {count}" for name, count in sorted(idle.sessions.items())))
                print("memory then, MB: " + ", ".join(f"{name} {value}" for name, value in idle.memory.items()))
                for job in ("metrics_job", "weekly_models_job"):
                    with Watch(engine, roots) as watch:
                        records = night(url, names, job, week, instance)
                    report(job, records, watch, instance)
        engine.dispose()


if __name__ == "__main__":
    main()
