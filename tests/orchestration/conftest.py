"""A small simulated cohort in the real database, and the main job on it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from seedtest_assets import tables
from seedtest_assets.intake.files import import_file
from seedtest_assets.local.home import CHECKOUT
from seedtest_assets.local.postgres import EmbeddedPostgres
from seedtest_assets.resources.database import Database
from seedtest_assets.settings import settings
from seedtest_assets.simulate import write_cohort
from tests.orchestration.cohort import EVERY_WEEK, OUTPUTS, SPEC, MainJob, forget


@pytest.fixture(scope="session")
def attempts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(SPEC, folder)
    return folder / "attempts.parquet"


@pytest.fixture(scope="module")
def cohort(migrated: str, irt_server: dict[str, str], attempts_file: Path) -> Iterator[Database]:
    """The database with the cohort's answers and nothing computed, and the environment that finds all servers."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DATABASE_URL", migrated)
        environment.setenv("MIRT_MIN_RESPONSES", "20")
        environment.setenv("MIRT_ANCHOR_MIN_RESPONSES", "20")
        environment.setenv("MIRT_ANCHOR_MIN", "5")
        environment.setenv("FORECAST_ENGINE", "statsforecast")  # prophet takes its time: test_forecast.py
        for name, value in irt_server.items():
            environment.setenv(name, value)
        settings.cache_clear()
        database = Database()
        forget(database, *tables.metadata.sorted_tables)
        import_file(database, attempts_file, source="cohort")
        yield database
        database.engine.dispose()


@pytest.fixture(scope="module")
def computed(cohort: Database) -> Iterator[MainJob]:
    """The main job, once it has computed every week of the cohort in order."""
    with dg.DagsterInstance.ephemeral() as instance:
        job = MainJob(instance)
        for week in EVERY_WEEK:
            assert job(week).success
        yield job


@pytest.fixture
def fresh(cohort: Database, instance: dg.DagsterInstance) -> MainJob:
    """The main job on the cohort when nothing has been computed yet."""
    forget(cohort, *OUTPUTS)
    return MainJob(instance)


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries as many as ever, without the wait between them."""
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda self, attempt: 0.0)


@pytest.fixture
def dagster_home(
    tmp_path: Path, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """Dagster's own storage in PostgreSQL, configured as deployed, without a run."""
    shutil.copyfile(CHECKOUT / "deploy" / "dagster.yaml", tmp_path / "dagster.yaml")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_DATABASE_URL", postgres.url("dagster"))
    with dg.DagsterInstance.get() as instance:
        instance.wipe()
        yield instance
