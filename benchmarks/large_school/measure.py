"""What reading, importing and cleaning cost over a large intake.attempt, plain and by month; prints the tables."""

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.assets import features, irt, item_bank, reference_scale, scores, series, weekly_metrics
from seedtest_assets.assets.records import read_records
from seedtest_assets.assets.report_facts import STUDENTS_AT_ONCE
from seedtest_assets.assets.report_rows import read_students
from seedtest_assets.automation.inactivity import Silences
from seedtest_assets.calendar import Week
from seedtest_assets.checks.integrity import dangling
from seedtest_assets.intake.partitions import LEAST_ROWS, partition_attempts
from seedtest_assets.intake.writer import AttemptWriter
from seedtest_assets.local.postgres import EmbeddedPostgres
from seedtest_assets.local.schema import migrate
from seedtest_assets.resources.database import DIALECT, Database
from seedtest_assets.settings import settings

WEEK = Week.of(date(2025, 12, 22))
"""The last whole week of three years of answers."""
ANSWERS_OF_A_STUDENT = 500
NEW, CORRECTED, MOVED = 100_000, 4_000, 1_000
"""Rows of the import that is measured: new ones of the week; known ones with another result, and of another month."""
RUNS = 3
ATTEMPT = tables.attempt.fullname
PLAIN, BY_MONTH = "seedtest", "by_month"
"""The databases of the two tables."""

SESSIONS = """
CREATE TABLE public.session AS
SELECT student, at, row_number() OVER (PARTITION BY student ORDER BY at) - 1 AS place
FROM (
    SELECT student, timestamptz '2023-01-01Z' + random() * interval '1096 days' AS at
    FROM generate_series(1, :students) AS student, generate_series(1, 50)
) AS sessions ORDER BY at
"""
ANSWERS = f"""
INSERT INTO {ATTEMPT} (source, source_id, student_id, item_id, correct, response_time_ms, hint_used, completed_at,
    started_at, attempt_no, session_id, topic_id)
SELECT 'file', md5(student || '-' || answer), md5(student::text)::uuid, item, random() < 0.6, ms,
    random() < 0.1, at + make_interval(secs => 60 * turn), at + make_interval(secs => 60 * turn - ms / 1000.0),
    1 + (answer % 5 = 4)::int, student || '-' || place, 'topic ' || item % 40
FROM public.session
CROSS JOIN LATERAL generate_series(0, 9) AS turn
CROSS JOIN LATERAL (SELECT 10 * place + turn AS answer) AS a
CROSS JOIN LATERAL (SELECT 1 + (37 * student + 7919 * (answer - CASE WHEN answer % 5 = 4 THEN 4 ELSE 0 END)) % 20000
    AS item, exp(9.8 + 0.5 * random_normal())::int AS ms) AS b
"""
"""In order of time, to 20,000 items of 40 topics; of five answers of a student the last is to the item of the first."""
METRICS = f"""
INSERT INTO {tables.weekly_metrics.fullname}
    (user_id, week_start, as_of, sessions, active_days, attempts, idle_days, run_id)
SELECT student_id, CAST(:week AS date), CAST(:as_of AS timestamptz), 0, 0, 0, 0, gen_random_uuid() FROM {ATTEMPT}
WHERE completed_at >= CAST(:as_of AS timestamptz) - interval '56 days' AND completed_at < :as_of GROUP BY student_id
"""
"""A row of metrics for each student of the week, for the check that looks for their answers."""


# -- two databases of one server --------------------------------------------------------------------------------


class Server:
    """The embedded server, with the plain table in its first database and the partitioned one in a second."""

    def __init__(self, folder: Path) -> None:
        self._server = EmbeddedPostgres(folder / "postgres")
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def database(self, name: str) -> Database:
        os.environ["DATABASE_URL"] = self._server.url(name)
        settings.cache_clear()
        database = Database()
        database.engine.connect().close()
        return database

    def copy(self, name: str) -> None:
        """A second database, file by file."""
        url = sa.make_url(self._server.url("postgres"))
        password = (self._server.folder / "password.postgres").read_text()
        engine = sa.create_engine(url.set(username="postgres", password=password), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name} OWNER seedtest TEMPLATE seedtest STRATEGY file_copy"))
        engine.dispose()

    def chill(self) -> None:
        """Start anew, with nothing of the data in memory: neither in the server's nor in the system's."""
        self._server.stop()
        for file in self._server.data.rglob("*"):
            if file.is_file():
                with file.open("rb") as opened:
                    os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        self._server.start()


def execute(database: Database, *statements: str, **values: Any) -> float:
    """Seconds that statements take, each in a transaction of its own, with room to sort."""
    seconds = 0.0
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("SET maintenance_work_mem = '1GB'"))
        connection.execute(sa.text("SET work_mem = '256MB'"))
        for statement in statements:
            begin = time.perf_counter()
            connection.execute(sa.text(statement), values)
            seconds += time.perf_counter() - begin
        connection.invalidate()
    return seconds


def load(database: Database, rows: int) -> None:
    """Answers in order of time; indexes afterwards, which leaves them smaller than years of intakes would."""
    migrate()
    with database.transaction() as connection:
        for constraint in (tables.attempt.primary_key, *_uniques()):
            connection.execute(sa.schema.DropConstraint(constraint))
        for index in tables.attempt.indexes:
            index.drop(connection)
    execute(database, SESSIONS, students=rows // ANSWERS_OF_A_STUDENT)
    execute(database, ANSWERS, "DROP TABLE public.session")
    with database.transaction() as connection:
        connection.execute(sa.text("SET maintenance_work_mem = '1GB'"))
        for constraint in (tables.attempt.primary_key, *_uniques()):
            connection.execute(sa.schema.AddConstraint(constraint))
        for index in tables.attempt.indexes:
            index.create(connection)
    execute(database, METRICS, week=WEEK.start, as_of=WEEK.as_of)
    execute(database, f"VACUUM ANALYZE {ATTEMPT}", f"VACUUM ANALYZE {tables.weekly_metrics.fullname}")


def _uniques() -> list[sa.UniqueConstraint]:
    return [each for each in tables.attempt.constraints if isinstance(each, sa.UniqueConstraint)]


# -- what is read -----------------------------------------------------------------------------------------------


class Overheard(Database):
    """Notes what is asked of attempts, and answers as an empty database would."""

    @cached_property
    def asked(self) -> list[Any]:
        return []

    def frame(self, query: Any, connection: sa.Connection | None = None) -> pd.DataFrame:
        self.asked.append(query)
        return pd.DataFrame(columns=[column.name for column in query.selected_columns])

    def rows(self, query: Any) -> Any:
        self.asked.append(query)
        return [(0,) * len(query.selected_columns)]


def asked_by(work: Callable[[Database], Any]) -> list[Any]:
    """The statements about attempts that some reading function issues."""
    ear = Overheard()
    work(ear)
    return [query for query in ear.asked if ATTEMPT in str(query)]


def weekly_queries(users: list[str]) -> dict[str, str]:
    """What assets, checks and the sensor ask of the table for a week: their own statements, with values."""
    ear, week, metrics = Overheard(), WEEK, tables.weekly_metrics
    active, first_days = asked_by(lambda database: read_records(database, week, settings().survival_lookback_days))
    (of_users,) = asked_by(lambda database: read_students(database, week, users))
    (weeks_of_students,) = asked_by(lambda database: series.student_weeks(database, week, 12))
    (silences,) = asked_by(lambda database: Silences(database, week).batch(None))
    (counts,) = asked_by(lambda database: item_bank._counts(database, week))
    unanswered = sa.func.count().filter(dangling(ear, metrics, week)["user_id"])
    queries = {
        "features: the week by student, topic and day": features._daily_counts(ear, week),
        "features: 60 days of the week's students": features._window_answers(ear, week),
        "weekly_metrics: 56 days": weekly_metrics._answers(ear, week),
        "mirt: first answers of 60 days": irt.calibration_answers(ear, week),
        "progress: own weeks of 12": scores._answers(ear, week, 12),
        "series: sessions of 12 weeks": weeks_of_students,
        "anchors: topics of items, 60 days": reference_scale._topics(ear, week),
        "churn: active days": active,
        "sensor: silences": silences,
        "reports: 60 days of 500 students": of_users,
        "churn: first days *": first_days,
        "bank_health: items ever answered *": counts,
        "check: answers of the week's students *": sa.select(unanswered).where(metrics.c.week_start == week.start),
    }
    return {name: _literal(query) for name, query in queries.items()}


def _literal(query: Any) -> str:
    return str(query.compile(dialect=DIALECT, compile_kwargs={"literal_binds": True}))


def plan_of(database: Database, sql: str) -> dict[str, Any]:
    """The plan as it was carried out, with seconds and 8 kB pages."""
    with database.transaction() as connection:
        explained = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}"
        cursor = connection.connection.cursor()
        cursor.execute(explained)
        (plan,) = cursor.fetchone()[0]
        return plan


def tables_of(node: dict[str, Any]) -> Iterator[str]:
    if "Relation Name" in node and node["Actual Loops"] and "attempt" in node["Relation Name"]:
        yield node["Relation Name"]
    for below in node.get("Plans", ()):
        yield from tables_of(below)


def reading(server: Server) -> None:
    """Each query once with cold and RUNS times with warm memory, on one table after the other."""
    database = server.database(PLAIN)
    some = sa.select(tables.attempt.c.student_id).where(tables.attempt.c.id <= 10 * STUDENTS_AT_ONCE).distinct()
    users = [str(row.student_id) for row in database.rows(some.limit(STUDENTS_AT_ONCE))]
    print("| query | rows | partitions | pages | by month | cold s | by month | warm s | by month | load |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for query, sql in weekly_queries(users).items():
        pages, cold, warm = [], [], []
        for name in (PLAIN, BY_MONTH):
            server.chill()
            first, *others = (plan_of(server.database(name), sql) for _ in range(1 + RUNS))
            root = first["Plan"]
            pages.append(f"{root['Shared Hit Blocks'] + root['Shared Read Blocks']:,}")
            cold.append(f"{first['Execution Time'] / 1000:.1f}")
            warm.append(f"{statistics.median(plan['Execution Time'] for plan in others) / 1000:.1f}")
        counts = f"{root['Actual Rows']:,.0f}", f"{len(set(tables_of(root)))}"
        print(row_of(query, *counts, *pages, *cold, *warm), flush=True)


# -- what is written --------------------------------------------------------------------------------------------


def batch(database: Database) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows to stage: new ones of the week; known ones, some with another result and some of another month."""
    a = tables.attempt.c
    columns = {
        "identity": a.source_id,
        "student": sa.cast(a.student_id, sa.Text),
        "item": sa.cast(a.item_id, sa.Text),
        "correct": a.correct,
        "response_time_ms": a.response_time_ms,
        "hint_used": a.hint_used,
        "completed_at": a.completed_at,
        "started_at": a.started_at,
        "session_id": a.session_id,
        "topic_id": a.topic_id,
    }
    rows = sa.select(*(column.label(name) for name, column in columns.items()))
    recent = rows.where(a.completed_at >= WEEK.begins, a.completed_at < WEEK.as_of).order_by(a.id)
    week = database.frame(recent.limit(NEW))
    new = week.assign(identity=[hashlib.md5(f"new {identity}".encode()).hexdigest() for identity in week["identity"]])
    known = database.frame(
        rows.where(a.completed_at >= WEEK.days_before(30), a.completed_at < WEEK.begins).limit(CORRECTED + MOVED)
    )
    regraded = known[:CORRECTED].assign(correct=~known["correct"])
    moved = known[CORRECTED:].assign(completed_at=known["completed_at"] - pd.Timedelta(days=60))
    return new, pd.concat([regraded, moved])


@contextmanager
def undone(database: Database) -> Iterator[sa.Connection]:
    """A transaction that leaves nothing."""
    with database.engine.connect() as connection, connection.begin() as transaction:
        yield connection
        transaction.rollback()


def importing(server: Server) -> None:
    print("| import | cold s | by month | warm s | by month | load |\n|---|--:|--:|--:|--:|--:|")
    none = pd.DataFrame(columns=["identity", "reason", "payload"])
    new, known = batch(server.database(PLAIN))
    for corrections in (known[:0], known):
        rows, cold, warm = pd.concat([new, corrections]), [], []
        for name in (PLAIN, BY_MONTH):
            server.chill()
            seconds = []
            for _ in range(1 + RUNS):
                with undone(server.database(name)) as connection:
                    begin = time.perf_counter()
                    writer = AttemptWriter(connection, "file")
                    writer.add(rows, none)
                    count = writer.finish()
                    seconds.append(time.perf_counter() - begin)
                    assert (count.new, count.changed) == (len(new), len(corrections))
            cold.append(f"{seconds[0]:.1f}")
            warm.append(f"{statistics.median(seconds[1:]):.1f}")
        print(row_of(f"{len(new):,} new, {len(corrections):,} corrected", *cold, *warm), flush=True)


def cleaning(server: Server) -> None:
    print("| care | plain s | by month s | load |\n|---|--:|--:|--:|")
    touch = f"UPDATE {ATTEMPT} SET hint_used = NOT hint_used WHERE completed_at >= '2025-12-20'"
    vacuumed, analysed = [], []
    for name in (PLAIN, BY_MONTH):
        database, seconds = server.database(name), []
        for _ in range(RUNS):
            execute(database, touch)
            seconds.append(execute(database, f"VACUUM {ATTEMPT}"))
        vacuumed.append(f"{statistics.median(seconds):.1f}")
        analysed.append(f"{statistics.median(execute(database, f'ANALYZE {ATTEMPT}') for _ in range(RUNS)):.1f}")
    print(row_of("VACUUM after a change of every hundredth row", *vacuumed))
    print(row_of("ANALYZE", *analysed))


def dropping(server: Server) -> None:
    """The oldest year goes: once, since it does not come back."""
    months = [f"{ATTEMPT}_2023_{month:02}" for month in range(1, 13)]
    print("| the oldest year | s | GB after | load |\n|---|--:|--:|--:|")
    for way, name, statement in (
        ("plain: DELETE", PLAIN, f"DELETE FROM {ATTEMPT} WHERE completed_at < '2024-01-01Z'"),
        ("plain: VACUUM after it", PLAIN, f"VACUUM {ATTEMPT}"),
        ("by month: DROP TABLE of twelve partitions", BY_MONTH, f"DROP TABLE {', '.join(months)}"),
    ):
        database = server.database(name)
        seconds = execute(database, statement)
        print(row_of(way, f"{seconds:.1f}", f"{sum(sizes(database).values()) / 1e9:.1f}"), flush=True)


def row_of(*cells: str) -> str:
    """A row of a table, with the machine's load at its end."""
    return f"| {' | '.join(cells)} | {os.getloadavg()[0]:.1f} |"


def sizes(database: Database) -> dict[str, int]:
    """Bytes of the rows and of each index, over all partitions."""
    names = {"rows": tables.attempt.name} | {
        str(name): str(name)
        for name in (tables.attempt.primary_key.name, *(each.name for each in (*_uniques(), *tables.attempt.indexes)))
    }
    query = sa.text(
        "SELECT coalesce(sum(pg_relation_size(relid)), pg_relation_size(CAST(:name AS regclass))) "
        "FROM pg_partition_tree(CAST(:name AS regclass))"
    )
    with database.transaction() as connection:
        return {
            label: int(connection.execute(query, {"name": f"{tables.attempt.schema}.{name}"}).scalar_one())
            for label, name in names.items()
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=float, default=5e7, help="answers; three times their size is needed on disk")
    parser.add_argument("--folder", type=Path, help="where the server's data are to be; by default gone afterwards")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = arguments.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        measure(folder, int(arguments.rows))


def measure(folder: Path, rows: int) -> None:
    server = Server(folder)
    try:
        plain = server.database(PLAIN)
        begin = time.perf_counter()
        load(plain, rows)
        print(f"{rows:,} answers loaded in {time.perf_counter() - begin:.0f} s")
        plain.engine.dispose()
        server.copy(BY_MONTH)
        by_month = server.database(BY_MONTH)
        begin = time.perf_counter()
        with by_month.transaction() as connection:
            made = partition_attempts(connection, least_rows=min(LEAST_ROWS, rows // 100))
        print(f"{len(made)} partitions made in {time.perf_counter() - begin:.0f} s")
        print("| GB | plain | by month |\n|---|--:|--:|")
        of_plain, of_months = sizes(plain), sizes(by_month)
        for label in of_plain:
            print(f"| {label} | {of_plain[label] / 1e9:.2f} | {of_months[label] / 1e9:.2f} |")
        for part in (reading, importing, cleaning, dropping):
            part(server)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
