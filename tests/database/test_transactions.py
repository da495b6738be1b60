"""Windows are replaced whole or not at all, writers queue, readers never see half; failures are told apart."""

import gc
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.failures import PermanentFailure, TransientFailure
from seedtest_assets.local.postgres import EmbeddedPostgres
from seedtest_assets.resources.database import Database, Rows, copy_in, normalised_url, run_id
from seedtest_assets.settings import settings

WEEK = date(2025, 6, 23)
OTHER_WEEK = date(2025, 6, 16)
METRICS, ABILITY = tables.weekly_metrics, tables.mirt_ability


def metrics(n: int, *, attempts: int, week: date = WEEK) -> Rows:
    """A window of weekly_metrics of n students, all with the same number of attempts."""
    users = [str(uuid.UUID(int=i)) for i in range(n)]
    numbers = {"sessions": 1, "active_days": 1, "idle_days": 0, "attempts": attempts}
    frame = pd.DataFrame(
        {
            "user_id": users,
            "week_start": week,
            "as_of": pd.Timestamp("2025-06-30", tz="UTC"),
            **numbers,
            "run_id": str(run_id("weekly_metrics", week)),
        }
    )
    return Rows(METRICS, frame, METRICS.c.week_start == week)


def abilities(n: int, *, week: date = WEEK) -> Rows:
    identity = str(run_id("mirt_ability", week))
    frame = pd.DataFrame(
        {
            "user_id": [str(uuid.UUID(int=i)) for i in range(n)],
            "week_start": week,
            "as_of": pd.Timestamp("2025-06-30", tz="UTC"),
            **{"theta": 0.0, "se": 1.0, "n_responses": 5, "method": "EAP", "model": "2PL"},
            **{"bank_run_id": identity, "run_id": identity},
        }
    )
    return Rows(ABILITY, frame, ABILITY.c.week_start == week)


def stored(database: Database) -> list[tuple[date, int, int]]:
    """Rows and attempts of each week."""
    m = METRICS.c
    found = database.rows(
        sa.select(m.week_start, sa.func.count(), sa.func.sum(m.attempts)).group_by(m.week_start).order_by(m.week_start)
    )
    return [tuple(row) for row in found]


def test_writing_a_window_again_leaves_the_same_rows_and_other_windows_alone(database: Database) -> None:
    assert database.replace(metrics(5, attempts=3, week=OTHER_WEEK), week_start=OTHER_WEEK) == {"weekly_metrics": 5}
    for _ in range(2):
        assert database.replace(metrics(4, attempts=2), week_start=WEEK) == {"weekly_metrics": 4}
    assert stored(database) == [(OTHER_WEEK, 5, 15), (WEEK, 4, 8)]
    database.replace(metrics(0, attempts=0), week_start=WEEK)
    assert stored(database) == [(OTHER_WEEK, 5, 15)]


def test_a_select_can_be_the_new_content(database: Database) -> None:
    database.replace(metrics(3, attempts=2), week_start=WEEK)
    k, m = tables.weekly_kpi, METRICS
    query = sa.select(
        m.c.user_id, m.c.week_start, m.c.as_of, sa.literal({}, k.c.provenance.type).label("provenance"), m.c.run_id
    )
    for _ in range(2):
        assert database.replace(Rows(k, query, k.c.week_start == WEEK), week_start=WEEK) == {"weekly_kpi": 3}


class Stop(Exception):
    pass


def test_an_interruption_in_the_middle_leaves_the_old_rows_of_every_table(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.replace(metrics(4, attempts=1), abilities(4), week_start=WEEK)

    def interrupted(connection: sa.Connection, table: sa.Table, frame: pd.DataFrame) -> int:
        written = copy_in(connection, table, frame)
        if table is ABILITY:
            raise Stop
        return written

    monkeypatch.setattr("seedtest_assets.resources.database.copy_in", interrupted)
    with pytest.raises(Stop):
        database.replace(metrics(9, attempts=9), abilities(9), week_start=WEEK)
    assert stored(database) == [(WEEK, 4, 4)]
    assert len(database.rows(sa.select(ABILITY.c.user_id))) == 4


def test_a_row_that_breaks_a_rule_leaves_the_old_rows(database: Database) -> None:
    database.replace(metrics(4, attempts=1), week_start=WEEK)
    twice = metrics(2, attempts=5)
    frame = pd.concat([twice.rows, twice.rows])
    with pytest.raises(PermanentFailure, match="pk_weekly_metrics"):
        database.replace(Rows(METRICS, frame, twice.where), week_start=WEEK)
    assert stored(database) == [(WEEK, 4, 4)]


def test_a_server_process_killed_in_the_middle_leaves_the_old_rows(
    database: Database, monkeypatch: pytest.MonkeyPatch, postgres: EmbeddedPostgres
) -> None:
    database.replace(metrics(4, attempts=1), week_start=WEEK)

    def killed(connection: sa.Connection, table: sa.Table, frame: pd.DataFrame) -> int:
        written = copy_in(connection, table, frame)
        end(database, connection)
        connection.execute(sa.select(1))
        return written

    monkeypatch.setattr("seedtest_assets.resources.database.copy_in", killed)
    with pytest.raises(TransientFailure):
        database.replace(metrics(9, attempts=9), week_start=WEEK)
    assert stored(database) == [(WEEK, 4, 4)]


def end(database: Database, connection: sa.Connection) -> None:
    """Terminate a session's server process from another session, and wait until it is gone."""
    pid = connection.connection.driver_connection.info.backend_pid
    engine = sa.create_engine(database.engine.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as other:
        other.execute(sa.select(sa.func.pg_terminate_backend(pid, 5000)))
    engine.dispose()


def test_readers_see_the_old_window_or_the_new_one_and_never_half(database: Database) -> None:
    n, rounds = 300, 25
    database.replace(metrics(n, attempts=0), week_start=WEEK)
    seen: list[tuple[int, int]] = []
    done = threading.Event()

    def look() -> None:
        engine = sa.create_engine(database.engine.url)
        query = sa.select(sa.func.count(), sa.func.sum(METRICS.c.attempts)).where(METRICS.c.week_start == WEEK)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not done.is_set():
                seen.append(tuple(connection.execute(query).one()))
        engine.dispose()

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(look) for _ in range(2)]
        for attempts in range(1, rounds):
            database.replace(metrics(n, attempts=attempts), week_start=WEEK)
        done.set()
        for reader in readers:
            reader.result()
    assert {count for count, _ in seen} == {n}
    assert {total for _, total in seen} <= {n * attempts for attempts in range(rounds)}
    assert len({total for _, total in seen}) > 1, "the readers saw one state only: nothing was tested"


def test_two_writers_of_one_window_queue(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most, guard = 0, 0, threading.Lock()

    def slow(connection: sa.Connection, table: sa.Table, frame: pd.DataFrame) -> int:
        nonlocal inside, most
        with guard:
            inside += 1
            most = max(most, inside)
        time.sleep(0.05)
        written = copy_in(connection, table, frame)
        with guard:
            inside -= 1
        return written

    monkeypatch.setattr("seedtest_assets.resources.database.copy_in", slow)
    with ThreadPoolExecutor(4) as pool:
        sizes = [7, 8, 9, 10]
        list(pool.map(lambda n: Database().replace(metrics(n, attempts=1), week_start=WEEK), sizes))
    assert most == 1
    assert next(count for _, count, _ in stored(database)) in sizes


def test_writers_of_several_tables_in_any_order_never_deadlock(database: Database) -> None:
    other = Database()

    def linger(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if "pg_advisory_xact_lock" in statement:
            time.sleep(0.02)  # long enough for the other to take its first lock as well

    for engine in (database.engine, other.engine):
        sa.event.listen(engine, "after_cursor_execute", linger)
    try:
        with ThreadPoolExecutor(2) as pool:
            futures = []
            for _ in range(8):
                futures.append(pool.submit(other.replace, abilities(9), metrics(9, attempts=2), week_start=WEEK))
                futures.append(pool.submit(database.replace, metrics(9, attempts=1), abilities(9), week_start=WEEK))
            written = [future.result() for future in futures]
    finally:
        other.engine.dispose()
    assert all(set(result.values()) == {9} for result in written)


def test_different_weeks_are_written_side_by_side(database: Database, elsewhere: sa.Connection) -> None:
    lock = sa.func.pg_advisory_xact_lock(sa.func.hashtext(METRICS.fullname), OTHER_WEEK.toordinal())
    with elsewhere.begin():
        elsewhere.execute(sa.select(lock))
        assert database.replace(metrics(3, attempts=1), week_start=WEEK) == {"weekly_metrics": 3}


def test_a_missing_table_says_that_the_schema_is_to_be_migrated(database: Database) -> None:
    missing = sa.table("no_such_table", sa.column("x", sa.Integer()), schema="analytics")
    for read in (database.rows, database.frame):
        with pytest.raises(PermanentFailure, match=r"analytics\.no_such_table.*`seedtest migrate`"):
            read(sa.select(missing.c.x))
    with pytest.raises(PermanentFailure, match="`seedtest migrate`"):
        database.frame(sa.select(sa.column("no_such_column", sa.Integer())).select_from(METRICS))


def test_without_an_address_the_failure_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    settings.cache_clear()
    with pytest.raises(PermanentFailure, match="DATABASE_URL"):
        Database().rows(sa.select(1))


def test_no_message_quotes_what_is_stored(database: Database) -> None:
    """Values are students' data; messages end in Dagster's event log, the chain of causes included."""
    secret = "kim.minsu@example.org"

    def messages(cause: Callable[[sa.Connection], object]) -> str:
        with pytest.raises(PermanentFailure) as caught, database.transaction() as connection:
            cause(connection)
        chain, error = [], caught.value
        while error is not None:
            chain.append(f"{error} {getattr(error, 'description', '')}")
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\n".join(chain)

    insert = sa.insert(tables.item_key)

    def same_key_twice(connection: sa.Connection) -> None:
        for item_id in (1, 2):
            connection.execute(insert.values(item_id=item_id, text=secret))

    unique = messages(same_key_twice)
    copied = messages(lambda c: copy_in(c, METRICS, pd.DataFrame({"user_id": [secret]})))
    compared = messages(lambda c: c.execute(sa.text("SELECT CAST(:x AS integer)"), {"x": secret}))
    with pytest.raises(sa.exc.StatementError) as unbindable, database.transaction() as connection:
        connection.execute(
            sa.insert(tables.fit_attempt), [{"asset": secret, "week_start": WEEK, "diagnostics": object()}]
        )
    assert secret not in str(unbindable.value)
    no_null = messages(lambda c: c.execute(insert.values(item_id=3, text=None)))
    assert all(secret not in message for message in (unique, copied, compared, no_null))
    assert "uq_item_key_text" in unique
    assert "weekly_metrics" in copied
    assert "user_id" in copied
    assert "text" in no_null


def test_a_deadlock_is_worth_another_try(database: Database, elsewhere: sa.Connection) -> None:
    for week in (WEEK, OTHER_WEEK):
        database.replace(metrics(1, attempts=1, week=week), week_start=week)
    change = sa.update(METRICS).values(attempts=5)
    ours, theirs = change.where(METRICS.c.week_start == WEEK), change.where(METRICS.c.week_start == OTHER_WEEK)

    def want_ours_too() -> None:
        while not blocked(database):  # the first to wait is the first to look for a deadlock, and gives way
            time.sleep(0.01)
        elsewhere.execute(ours)

    elsewhere.execute(theirs)
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(TransientFailure, match="deadlock"), database.transaction() as connection:
            connection.execute(ours)
            waiting = pool.submit(want_ours_too)
            connection.execute(theirs)
        waiting.result()
    elsewhere.rollback()


def blocked(database: Database) -> bool:
    engine = sa.create_engine(database.engine.url)
    with engine.connect() as connection:
        found = connection.execute(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar_one()
    engine.dispose()
    return bool(found)


def test_a_serialization_failure_and_a_lock_timeout_are_transient(database: Database, elsewhere: sa.Connection) -> None:
    database.replace(metrics(1, attempts=1), week_start=WEEK)
    with pytest.raises(TransientFailure, match="could not serialize"), database.transaction() as connection:
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        connection.execute(sa.select(METRICS.c.user_id))
        elsewhere.execute(sa.update(METRICS).values(attempts=2))
        elsewhere.commit()
        connection.execute(sa.update(METRICS).values(attempts=3))
    elsewhere.execute(sa.update(METRICS).values(attempts=2))
    with pytest.raises(TransientFailure, match="lock timeout"), database.transaction() as connection:
        connection.execute(sa.text("SET LOCAL lock_timeout = '20ms'"))
        connection.execute(sa.update(METRICS).values(attempts=3))
    elsewhere.rollback()


@pytest.mark.parametrize("work", ["select", "copy out", "copy in"])
def test_a_session_ended_under_the_work_is_transient_and_the_next_one_works(database: Database, work: str) -> None:
    with pytest.raises(TransientFailure, match="the database is away"), database.transaction() as connection:
        connection.execute(sa.select(1))
        end(database, connection)
        if work == "select":
            connection.execute(sa.select(1))
        elif work == "copy out":
            database.frame(sa.select(sa.literal(1).label("x")), connection)
        else:
            copy_in(connection, tables.item_key, pd.DataFrame({"item_id": [1], "text": ["a"]}))
    assert database.frame(sa.select(sa.literal(1).label("x")))["x"].tolist() == [1]


def test_an_idle_connection_that_died_is_replaced_without_a_word(database: Database) -> None:
    with database.transaction() as connection:
        pid = connection.connection.driver_connection.info.backend_pid
    engine = sa.create_engine(database.engine.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as other:
        other.execute(sa.select(sa.func.pg_terminate_backend(pid, 5000)))
    engine.dispose()
    assert database.rows(sa.select(1))[0][0] == 1


@pytest.fixture
def stopped_server(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(server_folder / "stopped", fast=True)
    server.start()
    monkeypatch.setenv("DATABASE_URL", server.url("seedtest"))
    settings.cache_clear()
    yield server
    server.stop()


def test_a_stopped_server_is_transient_and_after_its_start_the_same_pool_works(
    stopped_server: EmbeddedPostgres,
) -> None:
    database = Database()
    assert database.rows(sa.select(1))[0][0] == 1
    stopped_server.stop()
    password = sa.make_url(stopped_server.url("seedtest")).password
    for work in (
        lambda: database.rows(sa.select(1)),
        lambda: database.frame(sa.select(sa.literal(1).label("x"))),
        lambda: database.replace(metrics(1, attempts=1), week_start=WEEK),
    ):
        with pytest.raises(TransientFailure, match="the database is away") as caught:
            work()
        assert str(password) not in str(caught.value)
    stopped_server.start()
    assert database.rows(sa.select(1))[0][0] == 1
    database.engine.dispose()


@contextmanager
def short_wait(database: Database) -> Iterator[None]:
    before = database.engine.pool._timeout
    database.engine.pool._timeout = 0.05
    yield
    database.engine.pool._timeout = before


def test_the_pool_has_two_connections_and_the_third_waits_in_vain(database: Database) -> None:
    gc.collect()  # what earlier tests have left to be collected may still be connected
    with database.transaction(), database.transaction() as second:
        backends = sa.text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'seedtest'")
        assert second.execute(backends).scalar_one() == 2
        with short_wait(database), pytest.raises(TransientFailure, match="no database connection came free"):
            database.rows(sa.select(1))


def test_runs_leave_no_connection_behind(
    database: Database, elsewhere: sa.Connection, instance: dg.DagsterInstance
) -> None:
    @dg.asset
    def one(database: Database) -> None:
        database.rows(sa.select(1))

    database.engine.dispose()
    gc.collect()  # before, not after: what the runs themselves leave behind is to be seen
    for _ in range(4):
        assert dg.materialize([one], resources={"database": Database()}, instance=instance).success
    left = sa.text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'seedtest'")
    deadline = time.monotonic() + 5  # a closed connection's process takes a moment to leave
    while (count := elsewhere.execute(left).scalar_one()) and time.monotonic() < deadline:
        elsewhere.rollback()
        time.sleep(0.05)
    assert count == 0


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2", "postgresql+asyncpg"])
def test_any_postgresql_address_is_taken_with_the_one_driver(scheme: str) -> None:
    url = normalised_url(f"{scheme}://user:p%40ss@host:5433/seedtest?sslmode=require")
    assert url.render_as_string(hide_password=False) == (
        "postgresql+psycopg2://user:p%40ss@host:5433/seedtest?sslmode=require"
    )


def test_another_database_than_postgresql_is_refused() -> None:
    with pytest.raises(ValueError, match="sqlite is not supported"):
        normalised_url("sqlite:///x.db")


def test_sessions_speak_utc_and_iso_dates_whatever_the_role_is_set_to(database: Database, postgres, migrated) -> None:
    database.engine.dispose()
    with database.transaction() as connection:
        connection.execute(sa.text("ALTER ROLE seedtest SET timezone = 'Asia/Seoul'"))
        connection.execute(sa.text("ALTER ROLE seedtest SET datestyle = 'German'"))
    database.engine.dispose()
    try:
        found = database.frame(
            sa.select(sa.literal_column("'2025-06-30T12:00:00Z'::timestamptz", METRICS.c.as_of.type).label("at"))
        )
        assert found["at"].tolist() == [pd.Timestamp("2025-06-30 12:00", tz="UTC")]
    finally:
        with database.transaction() as connection:
            connection.execute(sa.text("ALTER ROLE seedtest RESET ALL"))


def test_a_run_id_is_the_same_for_the_same_window_and_only_for_it() -> None:
    ids = {run_id(asset, week) for asset in ("weekly_metrics", "weekly_kpi") for week in (WEEK, OTHER_WEEK)}
    assert len(ids) == 4
    assert run_id("weekly_metrics", WEEK) == run_id("weekly_metrics", WEEK)
