"""PgBouncer before the seedtest database, pooling transactions: the same numbers, over fewer sessions."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.intake.files import import_file
from seedtest_assets.local.postgres import EmbeddedPostgres
from seedtest_assets.local.processes import HOST, any_free_port, port_is_free
from seedtest_assets.resources.database import Database
from seedtest_assets.settings import settings
from tests.orchestration.cohort import EVERY_WEEK, OUTPUTS, MainJob, checksums, forget

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PGBOUNCER is None, reason="no pgbouncer here: apt-get install pgbouncer"),
]
SESSIONS = 1
CONFIG = """
[databases]
seedtest = host={host} port={server_port} dbname=seedtest
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {sessions}
"""


@pytest.fixture(scope="module")
def pooler(postgres: EmbeddedPostgres) -> Iterator[sa.URL]:
    """The database's address behind PgBouncer as it is installed, without a setting for our sake."""
    server = sa.make_url(postgres.url("seedtest"))
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())  # it refuses to be root
    port = any_free_port()
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        users, config = folder / "users.txt", folder / "pgbouncer.ini"
        users.write_text(f'"{server.username}" "{server.password}"\n')
        config.write_text(CONFIG.format(host=HOST, server_port=server.port, port=port, users=users, sessions=SESSIONS))
        for path in (folder, users, config):
            os.chown(path, account.pw_uid, account.pw_gid)
        assert PGBOUNCER is not None
        process = subprocess.Popen([PGBOUNCER, "--quiet", config], user=account.pw_uid, group=account.pw_gid)
        try:
            deadline = time.monotonic() + 10
            while port_is_free(port):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            yield server.set(port=port)
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture
def elsewhere(cohort: Database) -> Iterator[None]:
    """The role's sessions begin in another zone than UTC."""
    with cohort.transaction() as connection:
        connection.execute(sa.text("ALTER ROLE seedtest SET timezone = 'Asia/Seoul'"))
    yield
    with cohort.transaction() as connection:
        connection.execute(sa.text("ALTER ROLE seedtest RESET timezone"))


def test_through_a_pooler_of_transactions_the_numbers_are_the_same(
    cohort: Database,
    computed: MainJob,
    elsewhere: None,
    pooler: sa.URL,
    attempts_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = checksums(cohort)
    answers = sa.select(*(column for column in tables.attempt.c if column.name != "id")).order_by("source_id")
    taken_in = cohort.rows(answers)
    forget(cohort, tables.attempt, *OUTPUTS)
    monkeypatch.setenv("DATABASE_URL", pooler.render_as_string(hide_password=False))
    settings.cache_clear()
    pooled = Database()
    import_file(pooled, attempts_file, source="cohort")
    for week in EVERY_WEEK:
        assert MainJob(computed.instance)(week).success
    with pooled.transaction() as connection:
        assert connection.execute(sa.text("SELECT inet_server_port() <> :port"), {"port": pooler.port}).scalar_one()
    pooled.engine.dispose()
    assert cohort.rows(answers) == taken_in
    assert checksums(cohort) == before
