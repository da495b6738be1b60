"""Real servers for the tests: PostgreSQL with the migrated schema, the IRT service, Dagster's own storage."""

import os
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from seedtest_assets import calendar, tables
from seedtest_assets.local.postgres import EmbeddedPostgres
from seedtest_assets.local.schema import migrate
from seedtest_assets.local.services import RServices
from seedtest_assets.resources.database import Database
from seedtest_assets.resources.plumber import IrtService
from seedtest_assets.settings import settings

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _settings_of_this_test() -> Iterator[None]:
    """Settings are read anew: a test may set the environment with monkeypatch before it uses them."""
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's system user can enter when the tests run as root."""
    with tempfile.TemporaryDirectory(prefix="seedtest-tests-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="session")
def postgres(server_folder: Path) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL server of the tests' own."""
    server = EmbeddedPostgres(server_folder / "postgres", fast=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def migrated(postgres: EmbeddedPostgres) -> str:
    """URL of a database that has the newest schema."""
    url = postgres.url("seedtest")
    before = os.environ.get("DATABASE_URL")
    os.environ["DATABASE_URL"] = url
    settings.cache_clear()
    migrate()
    if before is None:
        del os.environ["DATABASE_URL"]
    else:
        os.environ["DATABASE_URL"] = before
    return url


@pytest.fixture
def database(migrated: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """The seedtest database, migrated, every table empty."""
    monkeypatch.setenv("DATABASE_URL", migrated)
    settings.cache_clear()
    database = Database()
    names = ", ".join(table.fullname for table in tables.metadata.sorted_tables)
    with database.transaction() as connection:
        connection.execute(sa.text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
    yield database
    database.engine.dispose()


@pytest.fixture(scope="session")
def irt_server(server_folder: Path) -> Iterator[dict[str, str]]:
    """The IRT service as a child process; the variables with which it is found."""
    services = RServices(server_folder / "services")
    yield services.start()
    services.stop()


@pytest.fixture
def irt_service(irt_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> IrtService:
    """A client of the IRT service, whose variables are set for this test."""
    for name, value in irt_server.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    return IrtService()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance that ends with the test."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Set what time the calendar thinks it is."""

    def stand_still(now: datetime) -> None:
        class Standing(datetime):
            @classmethod
            def now(cls, tz=None):
                return now.astimezone(tz)

        monkeypatch.setattr(calendar, "datetime", Standing)

    return stand_still


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; tests that need it are skipped elsewhere."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data sets are not beside this checkout (../shared/data)")
    return SHARED_DATA
