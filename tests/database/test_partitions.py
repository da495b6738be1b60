"""intake.attempt by months: the rows and numbers of the plain table whatever comes in, from the months in question."""

import random
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from hashlib import md5
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from seedtest_assets.assets import features, irt, item_bank, reference_scale, scores, series, weekly_metrics
from seedtest_assets.assets.records import read_records
from seedtest_assets.calendar import Week
from seedtest_assets.intake import partitions
from seedtest_assets.intake.partitions import is_partitioned, partition_attempts, same_as_plain
from seedtest_assets.intake.writer import STAGED, AttemptWriter, Count
from seedtest_assets.local.postgres import EmbeddedPostgres
from seedtest_assets.local.schema import migrate
from seedtest_assets.resources.database import Database
from seedtest_assets.settings import settings
from seedtest_assets.tables import SCHEMAS, attempt, attempt_reject, item_key, metadata

WEEK = Week.of(date(2026, 3, 2))
FIRST_DAY, DAYS = datetime(2025, 6, 10, tzinfo=UTC), 272
"""Answers of ten months, up to after the week's end."""


@pytest.fixture(scope="module")
def second_url(migrated: str, postgres: EmbeddedPostgres) -> Iterator[str]:
    """A migrated database whose attempts may be partitioned, while the other tests' stay plain."""
    administrator = sa.create_engine(
        sa.make_url(migrated).set(
            username="postgres", password=(postgres.folder / "password.postgres").read_text(), database="postgres"
        ),
        isolation_level="AUTOCOMMIT",
    )
    url = sa.make_url(migrated).set(database="partitions")
    with administrator.connect() as connection, pytest.MonkeyPatch.context() as environment:
        connection.execute(sa.text("CREATE DATABASE partitions OWNER seedtest"))
        environment.setenv("DATABASE_URL", url.render_as_string(hide_password=False))
        settings.cache_clear()
        migrate()
        yield url.render_as_string(hide_password=False)
        connection.execute(sa.text("DROP DATABASE partitions WITH (FORCE)"))
    administrator.dispose()


@pytest.fixture
def school(second_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database without attempts, their table plain."""
    monkeypatch.setenv("DATABASE_URL", second_url)
    settings.cache_clear()
    school = Database()
    with school.transaction() as connection:
        connection.execute(sa.text(f"DROP TABLE {attempt.fullname} CASCADE"))
        attempt.create(connection)
        connection.execute(sa.text(f"TRUNCATE {attempt_reject.fullname}, {item_key.fullname}"))
    yield school
    school.engine.dispose()


def partition(database: Database, least_rows: int = 1) -> list[str]:
    with database.transaction() as connection:
        return partition_attempts(connection, least_rows=least_rows)


def take_in(database: Database, rows: pd.DataFrame, **options: Any) -> Count:
    with database.transaction() as connection:
        writer = AttemptWriter(connection, "test", **options)
        writer.add(rows, pd.DataFrame(columns=["identity", "reason", "payload"]))
        return writer.finish()


def stored(database: Database) -> pd.DataFrame:
    """Everything that is in the table, ids and all."""
    with database.engine.connect() as connection:
        return pd.read_sql(sa.select(attempt).order_by(attempt.c.id), connection)


def partition_of(database: Database, identity: str) -> list[str]:
    """The tables in which an identity has a row."""
    query = sa.select(sa.literal_column("tableoid::regclass::text")).where(attempt.c.source_id == identity)
    return [row[0].split(".")[-1] for row in database.rows(query.select_from(attempt))]


def answers(rows: list[tuple[str, str, str, bool, datetime]]) -> pd.DataFrame:
    """Rows to stage: identity, student, item, correct, completed_at."""
    frame = pd.DataFrame(rows, columns=["identity", "student", "item", "correct", "completed_at"])
    frame["completed_at"] = frame["completed_at"].astype("datetime64[us, UTC]")
    return frame


def ten_months(n: int, seed: int = 1) -> pd.DataFrame:
    """Answers of few students on few items, with all that may be known of an answer."""
    draw = random.Random(seed)
    frame = answers(
        [
            (
                f"{seed}-{k}",
                f"s{draw.randrange(30)}",
                str(draw.randrange(40)),
                draw.random() < 0.6,
                FIRST_DAY + timedelta(seconds=draw.randrange(DAYS * 86400)),
            )
            for k in range(n)
        ]
    )
    frame["response_time_ms"] = [draw.choice([None, draw.randrange(1000, 90000)]) for _ in range(n)]
    frame["hint_used"] = [draw.choice([None, True, False]) for _ in range(n)]
    frame["session_id"] = [draw.choice([None, f"session {draw.randrange(20)}"]) for _ in range(n)]
    frame["topic_id"] = [draw.choice([None, "x", "y"]) for _ in range(n)]
    assert set(frame.columns) | {"started_at"} == set(STAGED)
    return frame.astype({"response_time_ms": "Int32", "hint_used": "boolean"})


# -- the intake -----------------------------------------------------------------------------------------------

ANSWER = st.tuples(
    st.sampled_from([f"r{k}" for k in range(6)]),
    st.sampled_from(["s1", "s2"]),
    st.sampled_from(["1", "2"]),
    st.booleans(),
    st.sampled_from([datetime(2025, month, 15, hour, tzinfo=UTC) for month in (3, 4, 5) for hour in (0, 1)]),
)
"""Few identities over three months, so that most batches correct, repeat and move rows."""


@pytest.fixture
def by_month(school: Database) -> Database:
    """No answers, and partitions for March and April of 2025: those of May are left to the default one."""
    days = [datetime(2025, month, 1, tzinfo=UTC) for month in (3, 4)]
    take_in(school, answers([(f"{day}", "s", "1", True, day) for day in days]))
    assert partition(school)[:2] == ["attempt_2025_03", "attempt_2025_04"]
    empty(school)
    return school


def empty(*databases: Database) -> None:
    for database in databases:
        with database.transaction() as connection:
            connection.execute(sa.text(f"TRUNCATE {attempt.fullname}, {attempt_reject.fullname} RESTART IDENTITY"))


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(ANSWER, min_size=1, max_size=8), min_size=1, max_size=4), keep=st.booleans())
def test_any_imports_leave_the_rows_that_the_last_word_on_each_identity_makes_in_both_tables(
    database: Database, by_month: Database, batches: list[list[tuple[Any, ...]]], keep: bool
) -> None:
    empty(database, by_month)
    expected: dict[str, tuple[Any, ...]] = {}
    for batch in batches:
        news, changes = 0, 0
        for identity, *row in {answer[0]: answer for answer in reversed(batch)}.values():
            before = expected.get(identity)
            row[-1] = before[-1] if keep and before else row[-1]
            news, changes = news + (before is None), changes + (before not in (None, tuple(row)))
            expected[identity] = tuple(row)
        counts = [take_in(each, answers(batch), keep_first_time=keep) for each in (database, by_month)]
        assert counts[0] == counts[1]
        assert (counts[0].new, counts[0].changed) == (news, changes)
    plain = stored(database)
    pd.testing.assert_frame_equal(plain, stored(by_month))
    found = {
        row.source_id: (row.student_id, str(row.item_id), row.correct, row.completed_at) for row in plain.itertuples()
    }
    assert len(plain) == len(found)
    students = {name: uuid.UUID(bytes=md5(name.encode()).digest()) for name in ("s1", "s2")}
    assert found == {identity: (students[row[0]], *row[1:]) for identity, row in expected.items()}
    for _, tries in plain.groupby(["student_id", "item_id"]):
        in_order = tries.sort_values(["completed_at", "id"])
        assert in_order["attempt_no"].tolist() == list(range(1, len(tries) + 1))


def test_a_corrected_time_moves_the_row_to_its_month_and_leaves_none_behind(by_month: Database) -> None:
    places = []
    for month in (3, 4, 5, 3):
        take_in(by_month, answers([("r", "s", "1", True, datetime(2025, month, 15, tzinfo=UTC))]))
        places.append(partition_of(by_month, "r"))
    assert places == [["attempt_2025_03"], ["attempt_2025_04"], ["attempt_default"], ["attempt_2025_03"]]
    assert stored(by_month)["id"].tolist() == [1]


def test_a_source_that_tells_only_when_it_last_wrote_moves_no_row(by_month: Database) -> None:
    for month, correct in ((3, True), (4, False)):
        row = answers([("r", "s", "1", correct, datetime(2025, month, 15, tzinfo=UTC))])
        take_in(by_month, row, keep_first_time=True)
    assert partition_of(by_month, "r") == ["attempt_2025_03"]
    assert stored(by_month)["correct"].tolist() == [False]


def test_two_intakes_at_once_of_the_same_identities_leave_one_row_of_each(
    by_month: Database, second_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No constraint would stop the second: its rows are in another month."""
    find, others = AttemptWriter._correct, []
    rows = [
        answers([(f"r{k}", "s", "1", True, datetime(2025, month, 15, tzinfo=UTC)) for k in range(50)])
        for month in (3, 4)
    ]
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

    def then_start_the_other(writer: AttemptWriter) -> int:
        if not others:
            others.append(pool.submit(take_in, by_month, rows[1]))
            while by_month_again.rows(waiting)[0][0] == 0 and not others[0].done():
                time.sleep(0.01)
        return find(writer)

    monkeypatch.setattr(AttemptWriter, "_correct", then_start_the_other)
    by_month_again = Database()
    with ThreadPoolExecutor(1) as pool:
        assert take_in(by_month, rows[0]).new == 50
        assert others[0].result().changed == 50
    by_month_again.engine.dispose()
    assert len(stored(by_month)) == 50


@pytest.mark.parametrize("year", [1970, 2024, 2026])
def test_an_answer_of_a_month_that_nobody_foresaw_is_taken_in_and_moves_once_its_month_is_made(
    by_month: Database, year: int
) -> None:
    day = datetime(year, 2, 28, 23, 59, 59, 999999, tzinfo=UTC)
    take_in(by_month, answers([("far", "s", "1", True, day), ("near", "s", "1", True, day.replace(2025, 3))]))
    before = stored(by_month)
    assert partition_of(by_month, "far") == ["attempt_default"]
    assert partition(by_month, least_rows=2) == []
    assert partition(by_month, least_rows=1) == [f"attempt_{year}_02"]
    assert partition_of(by_month, "far") == [f"attempt_{year}_02"]
    pd.testing.assert_frame_equal(before, stored(by_month))


# -- the conversion -------------------------------------------------------------------------------------------


def weekly_queries(database: Database) -> dict[str, Any]:
    """What the assets ask the table for a week: their own statements."""
    return {
        "daily counts": features._daily_counts(database, WEEK),
        "answers of the look-back": features._window_answers(database, WEEK),
        "weekly answers": weekly_metrics._answers(database, WEEK),
        "first answers": irt.calibration_answers(database, WEEK),
        "own weeks": scores._answers(database, WEEK, 12),
        "topics by week": series._topic_weeks(database, WEEK, 12),
        "use of items": item_bank._use_of_items(database, WEEK),
        "topics of items": reference_scale._topics(database, WEEK),
    }


def weekly_numbers(database: Database) -> dict[str, Any]:
    """What the assets read of the table for a week, in an order of its own."""
    numbers = {name: database.frame(query) for name, query in weekly_queries(database).items()}
    numbers["activity by week"] = series.student_weeks(database, WEEK, 12)
    for name, frame in numbers.items():
        plain = frame.astype(dict.fromkeys(frame.columns[frame.dtypes == "category"], str))
        numbers[name] = plain.sort_values(list(plain.columns), ignore_index=True)
    known = read_records(database, WEEK, lookback_days=90)
    return numbers | {
        "students": known.users,
        "activity": known.records.activity.sort_values(["student", "day"], ignore_index=True),
        "counts": item_bank._counts(database, WEEK),
    }


def test_conversion_keeps_every_row_and_every_number_of_the_week(school: Database) -> None:
    take_in(school, ten_months(3000))
    rows, numbers = stored(school), weekly_numbers(school)
    made = partition(school, least_rows=280)
    held = pd.Series(rows["completed_at"]).dt.strftime("attempt_%Y_%m").value_counts()
    assert made[: -partitions.MONTHS_AHEAD - 1] == sorted(held[held >= 280].index)
    assert 0 < (held < 280).sum() < len(held)
    pd.testing.assert_frame_equal(rows, stored(school))
    for name, frame in weekly_numbers(school).items():
        if isinstance(frame, pd.DataFrame):
            assert len(frame) > 0, name
            pd.testing.assert_frame_equal(numbers[name], frame, check_exact=True)
        else:
            assert list(numbers[name]) == list(frame)


def test_twice_changes_nothing(school: Database) -> None:
    take_in(school, ten_months(500))
    catalogue = sa.text(
        "SELECT c.oid, c.relname, c.relfilenode FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE nspname IN ('intake', 'analytics') ORDER BY 1"
    )
    assert len(partition(school, least_rows=20)) >= 10 + partitions.MONTHS_AHEAD
    once = school.rows(catalogue), stored(school)
    assert partition(school, least_rows=20) == []
    assert school.rows(catalogue) == once[0]
    pd.testing.assert_frame_equal(once[1], stored(school))


def test_months_are_made_ahead_from_the_one_that_runs(school: Database) -> None:
    (now,) = school.rows(sa.text("SELECT to_char(now() AT TIME ZONE 'UTC', '_YYYY_MM')"))[0]
    made = partition(school)
    assert (made[0], len(made)) == (f"attempt{now}", partitions.MONTHS_AHEAD + 1)
    assert made == sorted(set(made))
    today, later = datetime.now(UTC), datetime.now(UTC) + timedelta(days=365)
    take_in(school, answers([("now", "s", "1", True, today), ("later", "s", "1", True, later)]))
    assert [partition_of(school, name) for name in ("now", "later")] == [[made[0]], [f"attempt_{later:%Y_%m}"]]


def test_wherever_a_conversion_is_interrupted_the_plain_table_stays(
    school: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_in(school, ten_months(60))
    before, run, done = stored(school), partitions._run, 0
    while True:
        left = done

        def until_interrupted(*arguments: Any) -> Any:
            nonlocal left
            if not left:
                raise KeyboardInterrupt
            left -= 1
            return run(*arguments)

        monkeypatch.setattr(partitions, "_run", until_interrupted)
        try:
            partition(school, least_rows=20)
        except KeyboardInterrupt:
            done += 1
        else:
            break
        monkeypatch.setattr(partitions, "_run", run)
        with school.transaction() as connection:
            assert not is_partitioned(connection)
            assert "attempt" in sa.inspect(connection).get_table_names(attempt.schema)
            assert not {"attempt_by_month", "attempt_default"} & set(
                sa.inspect(connection).get_table_names(attempt.schema)
            )
        pd.testing.assert_frame_equal(before, stored(school))
    assert done > 20
    pd.testing.assert_frame_equal(before, stored(school))


def test_while_rows_are_copied_readers_go_on_and_writers_wait(
    school: Database, second_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_in(school, ten_months(60))
    run, seen = partitions._run, []
    other = sa.create_engine(second_url)

    def look(connection: sa.Connection, statement: str, *values: Any) -> Any:
        result = run(connection, statement, *values)
        if statement.startswith(("INSERT", "CREATE INDEX")):
            with other.begin() as elsewhere:
                elsewhere.execute(sa.text("SET LOCAL lock_timeout = '1s'"))
                seen.append(elsewhere.execute(sa.select(sa.func.count()).select_from(attempt)).scalar_one())
            with pytest.raises(sa.exc.OperationalError, match="lock timeout"), other.begin() as elsewhere:
                elsewhere.execute(sa.text("SET LOCAL lock_timeout = '100ms'"))
                elsewhere.execute(sa.update(attempt).values(correct=True))
        return result

    monkeypatch.setattr(partitions, "_run", look)
    partition(school)
    other.dispose()
    assert seen == [60, 60, 60]


def test_ids_go_on_and_meaning_and_privileges_stay(school: Database) -> None:
    take_in(school, ten_months(20))
    with school.transaction() as connection:
        connection.execute(sa.text(f"GRANT SELECT ON {attempt.fullname} TO PUBLIC"))
        connection.execute(sa.text(f"GRANT UPDATE (correct) ON {attempt.fullname} TO PUBLIC"))
    asked = sa.text(
        "SELECT attname, col_description(attrelid, attnum), obj_description(attrelid), relacl::text, attacl::text, "
        "attnotnull, attidentity FROM pg_attribute JOIN pg_class c ON c.oid = attrelid "
        f"WHERE attrelid = '{attempt.fullname}'::regclass AND attnum > 0 ORDER BY attnum"
    )
    before = school.rows(asked)
    partition(school)
    assert school.rows(asked) == before
    take_in(school, ten_months(1, seed=2))
    ids = stored(school)["id"]
    assert ids.is_unique
    assert ids.max() > 20


def test_what_is_made_has_the_names_of_what_it_replaces(school: Database) -> None:
    """So that a later migration finds keys and indexes; and none but those of partitions are new."""
    query = sa.text(
        "SELECT relname FROM pg_class WHERE relnamespace = 'intake'::regnamespace AND relname LIKE '%attempt%' "
        "AND NOT relispartition"
    )
    before = {row[0] for row in school.rows(query)}
    partition(school)
    assert {row[0] for row in school.rows(query)} == before


def test_autogenerate_sees_no_partitions_but_still_what_else_differs(school: Database) -> None:
    def differences() -> list[Any]:
        with school.engine.connect() as connection:
            options = {
                "include_schemas": True,
                "compare_server_default": True,
                "include_name": lambda name, kind, parents: kind != "schema" or name in SCHEMAS,
                "include_object": same_as_plain(connection),
            }
            return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)

    assert differences() == []
    take_in(school, ten_months(60))
    partition(school)
    assert differences() == []
    with school.transaction() as connection:
        connection.execute(sa.text(f"ALTER TABLE {attempt.fullname} ADD COLUMN region text"))
        connection.execute(sa.text(f"CREATE INDEX ON {attempt.fullname} (topic_id)"))
    assert {difference[0] for difference in differences()} == {"remove_column", "remove_index"}


# -- what it is for -------------------------------------------------------------------------------------------


@pytest.fixture
def ten_partitions(school: Database) -> Database:
    take_in(school, ten_months(4000))
    partition(school)
    return school


def read_by(database: Database, query: sa.Select[Any]) -> set[str]:
    """The tables that a query's plan looks into."""

    def tables_of(node: dict[str, Any]) -> Iterator[str]:
        if "Relation Name" in node and node["Actual Loops"]:
            yield node["Relation Name"]
        for below in node.get("Plans", ()):
            yield from tables_of(below)

    with database.transaction() as connection:
        sql = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
        (plan,) = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql.replace('%', '%%')}").scalar_one()
        return set(tables_of(plan["Plan"]))


def test_a_week_looks_into_the_months_of_its_look_back_alone(ten_partitions: Database) -> None:
    """56 days before 9 March begin on 12 January, 60 on the 8th, twelve weeks on 15 December."""
    quarter = {"attempt_2026_01", "attempt_2026_02", "attempt_2026_03"}
    expected = dict.fromkeys(weekly_queries(ten_partitions), quarter) | {
        "daily counts": {"attempt_2026_03"},
        "own weeks": quarter | {"attempt_2025_12"},
        "topics by week": quarter | {"attempt_2025_12"},
    }
    found = {name: read_by(ten_partitions, query) for name, query in weekly_queries(ten_partitions).items()}
    assert found == expected


def test_all_of_the_table_is_looked_into_without_a_time(ten_partitions: Database) -> None:
    """The control: read_by does see what is not pruned."""
    everything = read_by(ten_partitions, sa.select(ten_partitions.attempt.c.id))
    assert {f"attempt_2025_{month:02}" for month in range(6, 13)} | {"attempt_default"} <= everything


def test_a_month_can_be_dropped_and_later_answers_of_it_are_taken_in(ten_partitions: Database) -> None:
    rows = stored(ten_partitions)
    with ten_partitions.transaction() as connection:
        connection.execute(sa.text(f"DROP TABLE {attempt.fullname}_2025_07"))
    july = rows["completed_at"].dt.strftime("%Y_%m") == "2025_07"
    assert july.any()
    pd.testing.assert_frame_equal(rows[~july].reset_index(drop=True), stored(ten_partitions))
    take_in(ten_partitions, answers([("late", "s", "1", True, datetime(2025, 7, 1, tzinfo=UTC))]))
    assert partition_of(ten_partitions, "late") == ["attempt_default"]
