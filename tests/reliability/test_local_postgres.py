"""Embedded PostgreSQL through everything that happens to a laptop: restarts, kill -9, taken ports."""

import os
import signal
import socket
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg2
import pytest
import sqlalchemy as sa

from seedtest_assets.local.postgres import EmbeddedPostgres, PostgresError


@pytest.fixture
def folder():
    with reachable_folder() as reachable:
        yield reachable / "postgres"


@pytest.fixture(scope="module")
def shared():
    with reachable_folder() as reachable:
        server = EmbeddedPostgres(reachable / "postgres", fast=True)
        yield server
        server.stop()


@pytest.fixture
def postgres(shared):
    """The module's server, running whatever the test before did to it."""
    shared.start()
    return shared


@contextmanager
def reachable_folder():
    """A folder that the system user can reach when the tests run as root; pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="seedtest-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def query(server: EmbeddedPostgres, statement: str, database: str = "seedtest") -> list[tuple]:
    engine = sa.create_engine(server.url(database), poolclass=sa.NullPool)
    with engine.begin() as connection:
        result = connection.execute(sa.text(statement))
        return [tuple(row) for row in result] if result.returns_rows else []


def processes(server: EmbeddedPostgres) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if str(server.data) in _command(process)]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def test_both_databases_belong_to_a_role_that_is_no_superuser(postgres):
    owners = query(
        postgres,
        "SELECT datname, pg_get_userbyid(datdba), pg_encoding_to_char(encoding) FROM pg_database "
        "WHERE datname IN ('seedtest', 'dagster') ORDER BY 1",
    )
    assert owners == [("dagster", "seedtest", "UTF8"), ("seedtest", "seedtest", "UTF8")]
    assert query(postgres, "SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user") == [
        ("seedtest", False)
    ]


@pytest.mark.parametrize("database", ["seedtest", "dagster"])
def test_text_sorts_by_code_point_and_knows_letters_whatever_the_machine_speaks(postgres, database):
    words = ["b", "B", "a", "ä", "가"]
    rows = ", ".join(f"('{word}')" for word in words)
    ordered = query(postgres, f"SELECT word FROM (VALUES {rows}) AS t (word) ORDER BY word", database)
    assert [word for (word,) in ordered] == sorted(words)
    assert query(postgres, "SELECT upper('äé')", database) == [("ÄÉ",)]


def test_starting_a_running_server_changes_nothing(postgres):
    before = query(postgres, "SELECT pg_postmaster_start_time()")
    EmbeddedPostgres(postgres.folder, fast=True).start()
    assert query(postgres, "SELECT pg_postmaster_start_time()") == before


def test_data_and_address_outlive_a_restart(postgres):
    query(postgres, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    address = postgres.url()
    postgres.stop()
    assert not postgres.running()
    assert processes(postgres) == []
    postgres.start()
    assert postgres.url() == address
    assert query(postgres, "SELECT sum(n) FROM kept") == [(500500,)]


def test_committed_rows_survive_kill_9(folder):
    server = EmbeddedPostgres(folder)
    server.start()
    try:
        query(server, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
        (postmaster,) = processes(server)
        os.kill(postmaster.pid, signal.SIGKILL)
        server.start()
        assert query(server, "SELECT sum(n) FROM kept") == [(500500,)]
    finally:
        server.stop()


def test_a_process_number_that_changed_hands_does_not_block_the_start(postgres):
    postgres.stop()
    (postgres.data / "postmaster.pid").write_text(f"{os.getpid()}\n{postgres.data}\n")
    postgres.start()
    assert query(postgres, "SELECT 1") == [(1,)]


def test_a_taken_port_is_left_to_who_has_it(postgres):
    port = postgres.port()
    postgres.stop()
    with socket.create_server(("127.0.0.1", port)):
        postgres.start()
        assert postgres.port() != port
        assert query(postgres, "SELECT 1") == [(1,)]


def test_a_half_made_data_folder_is_made_anew(folder):
    server = EmbeddedPostgres(folder, fast=True)
    (folder / "data.new").mkdir(parents=True)
    (folder / "data.new" / "PG_VERSION").write_text("interrupted")
    server.start()
    try:
        assert query(server, "SELECT 1") == [(1,)]
    finally:
        server.stop()


@pytest.mark.parametrize("role", ["seedtest", "postgres"])
@pytest.mark.parametrize("password", ["wrong", ""])
def test_nobody_enters_without_the_password(postgres, role, password):
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(
            host="127.0.0.1",
            port=postgres.port(),
            user=role,
            password=password,
            dbname="seedtest",
            passfile="/nonexistent",
        )


def test_it_listens_on_loopback_alone_and_trusts_nobody(postgres):
    (postmaster,) = processes(postgres)
    listening = {each.laddr for each in postmaster.net_connections("inet") if each.status == psutil.CONN_LISTEN}
    assert listening == {("127.0.0.1", postgres.port())}
    assert not [each for each in postmaster.net_connections("unix") if "PGSQL" in str(each.laddr)]
    rules = (postgres.data / "pg_hba.conf").read_text().splitlines()
    methods = {rule.split()[-1] for rule in rules if rule.strip() and not rule.startswith("#")}
    assert methods == {"scram-sha-256"}


def test_passwords_are_random_and_private(postgres):
    files = [postgres.folder / f"password.{role}" for role in ("seedtest", "postgres")]
    assert len({file.read_text() for file in files}) == 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_server_never_started_has_no_address(folder):
    with pytest.raises(PostgresError, match="start"):
        EmbeddedPostgres(folder).url()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs the server as themselves")
def test_root_is_told_when_a_parent_folder_is_closed(folder):
    folder.parent.chmod(0o700)
    with pytest.raises(PostgresError, match="SEEDTEST_HOME"):
        EmbeddedPostgres(folder).start()
