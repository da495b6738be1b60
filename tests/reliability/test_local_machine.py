"""One home, several commands at once: what is shared, who stops it, what a kill leaves behind."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import sqlalchemy as sa

from seedtest_assets.local.doctor import Check, checks
from seedtest_assets.local.home import CHECKOUT
from seedtest_assets.local.machine import Machine, local_machine
from seedtest_assets.local.processes import any_free_port
from seedtest_assets.local.schema import migrate
from seedtest_assets.local.services import SERVICES
from seedtest_assets.settings import settings

USER = """
import sys
from seedtest_assets.local.machine import local_machine

with local_machine(services=False) as variables:
    print(variables["DATABASE_URL"], flush=True)
    sys.stdin.read()
"""
GIVEN_NOTHING = (
    "DATABASE_URL",
    "DAGSTER_DATABASE_URL",
    "DAGSTER_HOME",
    *(name for service in SERVICES for name in (service.base_url, service.token)),
)


@pytest.fixture(scope="module")
def folder():
    """A home that the system user can reach when the tests run as root; pytest's own folders are closed."""
    with tempfile.TemporaryDirectory(prefix="seedtest-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def machine(monkeypatch, folder):
    """The home's machine, of which nothing runs, in an environment that gives nothing."""
    for name in GIVEN_NOTHING:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SEEDTEST_HOME", str(folder))
    mine = Machine(folder)
    yield mine
    mine.stop()


class User:
    """Another process that uses the machine until it is told to leave."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.url = self.process.stdout.readline().strip()

    def leave(self, number: signal.Signals | None = None) -> int:
        if number is not None:
            self.process.send_signal(number)
        self.process.communicate()
        return self.process.returncode


def test_the_last_user_out_stops_the_server(machine):
    first, second = User(), User()
    assert first.url == second.url
    assert first.leave() == 0
    assert machine.postgres.running()
    assert second.leave() == 0
    assert not machine.postgres.running()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_user_ended_by_a_signal_leaves_nothing_running(machine, number):
    assert User().leave(number) != 0
    assert not machine.postgres.running()


def test_after_kill_9_of_a_user_the_next_one_takes_over(machine):
    killed = User()
    killed.leave(signal.SIGKILL)
    assert machine.postgres.running()
    follower = User()
    assert follower.url == killed.url
    follower.leave()
    assert not machine.postgres.running()


def test_variables_and_settings_hold_inside_the_block_only(machine):
    before = dict(os.environ)
    with local_machine(services=False) as variables:
        assert settings().database_url.get_secret_value() == os.environ["DATABASE_URL"]
        assert (Path(variables["DAGSTER_HOME"]) / "dagster.yaml").read_text() == (
            CHECKOUT / "deploy" / "dagster.yaml"
        ).read_text()
        for name, database in (("DATABASE_URL", "seedtest"), ("DAGSTER_DATABASE_URL", "dagster")):
            with sa.create_engine(variables[name], poolclass=sa.NullPool).connect() as connection:
                assert connection.scalar(sa.text("SELECT current_database()")) == database
    assert dict(os.environ) == before
    assert settings().database_url is None


def test_a_given_database_is_used_and_none_is_started(machine, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://someone:secret@db.example:5433/school")
    with local_machine(services=False) as variables:
        assert variables["DATABASE_URL"] == "postgresql://someone:secret@db.example:5433/school"
        assert variables["DAGSTER_DATABASE_URL"] == ("postgresql+psycopg2://someone:secret@db.example:5433/dagster")
        assert not machine.postgres.running()


def test_an_exception_inside_the_block_still_stops_everything(machine):
    with pytest.raises(ZeroDivisionError), local_machine(services=False):
        raise ZeroDivisionError
    assert not machine.postgres.running()


def test_what_is_kept_outlives_its_users_until_it_is_stopped(machine):
    variables = machine.keep()
    with local_machine() as seen:
        shared = ("DATABASE_URL", "R_IRT_BASE_URL", "R_IRT_INTERNAL_TOKEN")
        assert [seen[name] for name in shared] == [variables[name] for name in shared]
    assert machine.postgres.running()
    assert {service.ready for service in machine.services.status()} == {True}
    machine.stop()
    assert not machine.postgres.running()
    assert {service.pid for service in machine.services.status()} == {None}


def test_the_doctor_names_what_mends_the_database(machine):
    def found(what: str) -> Check | None:
        return next((check for check in checks() if check.what == what), None)

    assert found("database").good is None  # it starts when a command needs it
    assert found("migrations") is None
    with local_machine(services=False):
        assert found("database").good is True
        assert (found("migrations").good, found("migrations").fix) == (False, "./run seedtest migrate")
        migrate()
        assert found("migrations").good is True
    assert not machine.postgres.running()


def test_the_doctor_finds_a_database_that_does_not_answer(machine, monkeypatch):
    port = any_free_port()
    monkeypatch.setenv("DATABASE_URL", f"postgresql://someone:secret@127.0.0.1:{port}/school")
    (database,) = (check for check in checks() if check.what == "database")
    assert database.good is False
    assert "secret" not in database.found
    assert "DATABASE_URL" in database.fix
