"""Files of attempts: what is taken in, how ids are mapped, what is refused and why, and that nothing is lost."""

import gzip
import hashlib
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from seedtest_assets.intake import files
from seedtest_assets.intake.files import UnreadableFile, import_file
from seedtest_assets.intake.writer import AttemptWriter, Count
from seedtest_assets.resources.database import Database

START = datetime(2025, 3, 3, 9, tzinfo=UTC)
HEADER = "student_id,item_id,completed_at,correct"


def good(**other: Any) -> dict[str, Any]:
    return {"student_id": "s1", "item_id": "q1", "completed_at": "2025-03-03T09:00:00Z", "correct": "true"} | other


@pytest.fixture
def take(database: Database, tmp_path: Path) -> Callable[..., Count]:
    """Write rows (or a text) to a CSV file and import it."""

    def csv(content: list[dict[str, Any]] | str | bytes, name: str = "attempts.csv", **options: Any) -> Count:
        path = tmp_path / name
        if isinstance(content, list):
            content = pd.DataFrame(content).to_csv(index=False)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return import_file(database, path, **options)

    return csv


@pytest.fixture
def rejects(read) -> Callable[[], Counter[str]]:
    """Rows of attempt_reject by reason."""
    return lambda: Counter(dict(read("SELECT reason, count(*) FROM intake.attempt_reject GROUP BY reason")))


def student_uuid(text: str) -> str:
    """The data contract's sentence, once more and on its own: md5, laid out 8-4-4-4-12."""
    digits = hashlib.md5(text.encode()).hexdigest()
    return "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])


def item_bigint(text: str) -> int:
    """First 8 bytes of the md5, big-endian, & 0x7fffffffffffffff."""
    return int.from_bytes(hashlib.md5(text.encode()).digest()[:8], "big") & 0x7FFFFFFFFFFFFFFF


# -- ids ------------------------------------------------------------------------------------------------------


@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    texts=st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=30),
        min_size=1,
        max_size=30,
        unique=True,
    )
)
def test_text_ids_map_as_the_contract_says(database: Database, tmp_path: Path, texts: list[str]) -> None:
    texts = [text for text in texts if not (text.isascii() and text.isdigit())]
    with database.transaction() as connection:
        connection.execute(sa.text("TRUNCATE intake.attempt, intake.item_key"))
    rows = {"student_id": texts, "item_id": texts, "completed_at": START, "correct": True}
    pq.write_table(pa.table(pd.DataFrame(rows)), tmp_path / "a.parquet")
    import_file(database, tmp_path / "a.parquet")
    found = database.rows(sa.text("SELECT student_id::text, item_id FROM intake.attempt"))
    assert {tuple(row) for row in found} == {(student_uuid(text), item_bigint(text)) for text in texts}
    keys = database.rows(sa.text("SELECT item_id, text FROM intake.item_key"))
    assert {tuple(row) for row in keys} == {(item_bigint(text), text) for text in texts}


def test_published_md5_values_of_two_ids(take, read) -> None:
    """RFC 1321, A.5: md5 of 'a' and of 'abc'; the sign bit of the latter is set and has to go."""
    take([good(student_id="a", item_id="a"), good(student_id="abc", item_id="abc")])
    assert read("SELECT student_id::text, item_id FROM intake.attempt ORDER BY 1") == [
        ("0cc175b9-c0f1-b6a8-31c3-99e269772661", 0x0CC175B9C0F1B6A8),
        ("90015098-3cd2-4fb0-d696-3f7d28e17f72", 0x100150983CD24FB0),
    ]


def test_uuids_and_integers_stay_themselves_and_need_no_key(take, read) -> None:
    student = uuid.UUID("6F9619FF-8B86-D011-B42D-00CF4FC964FF")
    items = ["0", "7", "123456789012345678", "1234567890123456789", str(2**63 - 1)]
    take([good(student_id=str(student).upper(), item_id=item) for item in items])
    assert read("SELECT DISTINCT student_id FROM intake.attempt") == [(student,)]
    assert read("SELECT item_id FROM intake.attempt ORDER BY 1") == [(int(item),) for item in items]
    assert read("SELECT * FROM intake.item_key") == []


@pytest.mark.parametrize("text", ["007", "-5", "1.0", str(2**63), "12345678901234567890", "1e3", "٣", "i7", "7 "])
def test_what_is_no_plain_bigint_is_a_text(take, read, text: str) -> None:
    take([good(item_id=text), good(item_id="7")])
    assert sorted(read("SELECT item_id FROM intake.attempt")) == sorted([(item_bigint(text),), (7,)])
    assert read("SELECT item_id, text FROM intake.item_key") == [(item_bigint(text), text)]


def test_integers_and_uuids_of_parquets_own_types(database: Database, tmp_path: Path, read) -> None:
    students = [uuid.UUID(int=i) for i in (1, 2)]
    table = pa.table(
        {
            "student_id": pa.array([s.bytes for s in students], pa.uuid()),
            "item_id": pa.array([7, 2**63 - 1], pa.int64()),
            "completed_at": pa.array([START, START], pa.timestamp("ms", "Asia/Seoul")),
            "correct": pa.array([1, 0], pa.int8()),
            "topic_id": pa.array(["t", None]).dictionary_encode(),
            "tags": pa.array([["a", "b"], None]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    count = import_file(database, tmp_path / "a.parquet")
    assert (count.new, count.rejected) == (2, Counter())
    assert read("SELECT student_id, item_id, correct, topic_id, completed_at FROM intake.attempt ORDER BY 1") == [
        (students[0], 7, True, "t", START),
        (students[1], 2**63 - 1, False, None, START),
    ]


def test_another_column_can_be_the_item_and_a_second_look_corrects_the_rows(take, read) -> None:
    rows = [good(topic_id="algebra", completed_at=f"2025-03-0{day}T09:00:00Z", item_id=f"q{day}") for day in (3, 4)]
    take(rows)
    assert read("SELECT attempt_no FROM intake.attempt") == [(1,), (1,)]
    count = take(rows, item_column="topic_id")
    assert (count.new, count.changed, count.unchanged) == (0, 2, 0)
    assert read("SELECT item_id, topic_id, attempt_no FROM intake.attempt ORDER BY completed_at") == [
        (item_bigint("algebra"), "algebra", 1),
        (item_bigint("algebra"), "algebra", 2),
    ]
    take(rows)
    assert read("SELECT item_id, attempt_no FROM intake.attempt ORDER BY completed_at") == [
        (item_bigint("q3"), 1),
        (item_bigint("q4"), 1),
    ]


# -- columns and values ---------------------------------------------------------------------------------------


def test_both_namings_of_csv_and_parquet_give_the_same_rows(
    database: Database, tmp_path: Path, attempts: Callable[[], pd.DataFrame]
) -> None:
    contract = pd.DataFrame(
        {
            "source_id": ["r1", "r2", "r3"],
            "student_id": ["s1", "s1", "s2"],
            "item_id": ["q1", "q1", "12"],
            "topic_id": ["t", "t", None],
            "session_id": ["x", None, "y"],
            "started_at": [START, pd.NaT, START],
            "completed_at": [START + timedelta(seconds=s, microseconds=123456) for s in (5, 60, 9)],
            "correct": [True, False, True],
            "response_time_ms": pd.array([5000, None, 0], "Int64"),
            "hint_used": pd.array([True, None, False], "boolean"),
        }
    )
    names = {"completed_at": "answered_at", "correct": "is_correct", "hint_used": "hints_used"}
    raw = contract.rename(columns=names).assign(hints_used=pd.array([2, None, 0], "Int32"), attempt_no=[9, 9, 9])
    seen = []
    for number, (frame, suffix) in enumerate(
        [(contract, "csv"), (contract, "parquet"), (raw, "csv"), (raw, "parquet")]
    ):
        path = tmp_path / f"{number}.{suffix}"
        frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
        count = import_file(database, path, source=f"file {number}")
        assert (count.new, count.zero_times, count.rejected) == (3, 1, Counter())
        stored = attempts()
        seen.append(stored[stored["source"] == f"file {number}"].drop(columns=["source", "attempt_no"]))
    first = seen[0].reset_index(drop=True)
    for other in seen[1:]:
        pd.testing.assert_frame_equal(first, other.reset_index(drop=True))
    assert first["response_time_ms"].isna().tolist() == [False, True, True]
    assert [None if pd.isna(used) else used for used in first["hint_used"]] == [True, None, False]
    assert first["completed_at"][0] == START + timedelta(seconds=5, microseconds=123456)
    assert first["topic_id"].isna().tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("text", "truth"),
    [(t, True) for t in ("true", "TRUE", "True", "t", "1", "1.0", "yes", " true ")]
    + [(t, False) for t in ("false", "FALSE", "f", "0", "0.0", "no")],
)
def test_the_ways_to_write_true_and_false(take, read, text: str, truth: bool) -> None:
    take([good(correct=text)])
    assert read("SELECT correct FROM intake.attempt") == [(truth,)]


@pytest.mark.parametrize(
    ("text", "used"),
    [("0", False), ("1", True), ("7", True), ("0.0", False), ("true", True), ("False", False), ("", None)],
)
def test_hints_are_a_count_or_true_or_false(take, read, text: str, used: bool | None) -> None:
    take([good(hint_used=text)])
    assert read("SELECT hint_used FROM intake.attempt") == [(used,)]


@pytest.mark.parametrize(
    ("text", "zone", "utc"),
    [
        ("2025-03-03T09:00:00Z", "Asia/Seoul", "2025-03-03 09:00:00"),
        ("2025-03-03 09:00:00.25+09:00", "UTC", "2025-03-03 00:00:00.25"),
        ("2025-03-03T09:00:00-0330", "UTC", "2025-03-03 12:30:00"),
        ("2025-03-03 09:00:00+09", "UTC", "2025-03-03 00:00:00"),
        ("2025-03-03 09:00:00", "Asia/Seoul", "2025-03-03 00:00:00"),
        ("2025-03-03 09:00", "UTC", "2025-03-03 09:00:00"),
        ("2025-03-03", "Asia/Seoul", "2025-03-02 15:00:00"),
        ("2025-07-01 09:00:00", "America/New_York", "2025-07-01 13:00:00"),
        ("2025-01-01 09:00:00", "America/New_York", "2025-01-01 14:00:00"),
        ("2025-11-02 01:30:00", "America/New_York", "2025-11-02 05:30:00"),  # twice that night: the first
        ("2025-03-09 02:30:00", "America/New_York", "2025-03-09 07:00:00"),  # left out that night: the next that is
    ],
)
@pytest.mark.parametrize("column", ["completed_at", "started_at"])
def test_times_with_an_offset_are_absolute_and_others_local(
    take, read, text: str, zone: str, utc: str, column: str
) -> None:
    take([good(**{column: text})], timezone=zone)
    assert read(f"SELECT {column} FROM intake.attempt") == [(datetime.fromisoformat(utc).replace(tzinfo=UTC),)]


@pytest.mark.parametrize("zone", ["Asia/Seoul", "UTC"])
def test_parquet_times_without_a_zone_are_local_and_with_one_absolute(
    database: Database, tmp_path: Path, read, zone: str
) -> None:
    at = datetime(2025, 3, 3, 9)
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        table = pa.table(
            {"student_id": ["s"], "item_id": ["i"], "correct": [True], "answered_at": pa.array([at], kind)}
        )
        pq.write_table(table, tmp_path / "a.parquet")
        import_file(database, tmp_path / "a.parquet", source=str(kind), timezone=zone)
    local = at.replace(tzinfo=UTC) - (timedelta(hours=9) if zone == "Asia/Seoul" else timedelta())
    assert read("SELECT completed_at FROM intake.attempt ORDER BY id") == [(local,), (at.replace(tzinfo=UTC),)]


# -- what is refused ------------------------------------------------------------------------------------------

NOT_A_TIME = "time of the answer is missing or not ISO 8601"
REFUSED = [
    ({"student_id": ""}, "student_id is missing"),
    ({"student_id": "  "}, "student_id is missing"),
    ({"student_id": "NULL"}, "student_id is missing"),
    ({"item_id": ""}, "item_id is missing"),
    ({"item_id": "x" * 501}, "an id is longer than 500 characters"),
    ({"topic_id": "한" * 501}, "an id is longer than 500 characters"),
    (
        {"source_id": "".join(random.Random(1).choices("0123456789abcdef", k=9000))},
        "an id is longer than 500 characters",
    ),
    ({"item_id": "one\ntwo"}, "an id contains a line break (a quote that is not closed?)"),
    ({"completed_at": ""}, NOT_A_TIME),
    ({"completed_at": "yesterday"}, NOT_A_TIME),
    ({"completed_at": "now"}, NOT_A_TIME),
    ({"completed_at": "today"}, NOT_A_TIME),
    ({"completed_at": "2025"}, NOT_A_TIME),
    ({"completed_at": "2025-02-30T09:00:00Z"}, NOT_A_TIME),
    ({"completed_at": "2025-03-03T25:00:00Z"}, NOT_A_TIME),
    ({"completed_at": "03/04/2025"}, NOT_A_TIME),
    ({"completed_at": "1741000000"}, NOT_A_TIME),
    ({"completed_at": "1899-12-30"}, "time of the answer is before 1970"),
    ({"completed_at": "0001-01-01T00:00:00+14:00"}, "time of the answer is before 1970"),
    ({"completed_at": "9999-12-31T23:59:59-12:00"}, "time of the answer is in the future"),
    ({"started_at": "9:15"}, "started_at is not ISO 8601"),
    ({"started_at": "0001-01-01T00:00:00+14:00"}, "started_at is before 1970 or in the future"),
    ({"correct": ""}, "correct is missing or not true/false"),
    ({"correct": "0.5"}, "correct is missing or not true/false"),
    ({"response_time_ms": "fast"}, "response_time_ms is not a number"),
    ({"response_time_ms": "nan"}, "response_time_ms is not a number"),
    ({"response_time_ms": "-1"}, "response_time_ms is negative"),
    ({"response_time_ms": "-inf"}, "response_time_ms is negative"),
    ({"response_time_ms": "inf"}, "response_time_ms is beyond 24 days"),
    ({"response_time_ms": str(2**31)}, "response_time_ms is beyond 24 days"),
    ({"hint_used": "some"}, "hint_used is neither a count nor true/false"),
    ({"hint_used": "-1"}, "hint_used is neither a count nor true/false"),
    ({"student_id": "a\x00b"}, "contains a NUL character"),
    ({"source_id": "a\x00b"}, "contains a NUL character"),
    ({"comment": "\x00"}, "contains a NUL character"),
]


@pytest.mark.parametrize(("wrong", "reason"), REFUSED)
def test_a_wrong_row_is_refused_with_its_reason_and_the_others_are_taken(
    take, read, wrong: dict[str, str], reason: str
) -> None:
    fine = good(student_id="fine", completed_at="2025-03-03T10:00:00Z")
    count = take([fine, good(**wrong), fine | {"item_id": "q2", "source_id": "r2"}])
    assert (count.read, count.new, dict(count.rejected)) == (3, 2, {reason: 1})
    assert read("SELECT count(*), count(DISTINCT student_id) FROM intake.attempt") == [(2, 1)]
    ((source, found, payload),) = read("SELECT source, reason, payload FROM intake.attempt_reject")
    assert (source, found) == ("file", reason)
    for name, value in wrong.items():
        assert (payload[name] or "") == ("" if value == "NULL" else value.replace("\x00", "\ufffd"))


def test_lines_with_the_wrong_number_of_fields_are_kept_as_they_came(take, read) -> None:
    ok = "s1,q{},2025-03-03T09:00:00Z,1"
    lines = ["too,many,2025-03-03T09:00:00Z,1,2", ok.format(1), "few", ok.format(2), "a,b,c,d,e,f,g", "few"]
    count = take("\n".join([HEADER, *lines]))  # the first line and the last one: no good row before or after
    assert (count.read, count.new, dict(count.rejected)) == (6, 2, {"wrong number of fields": 4})
    payloads = [row[0]["line"] for row in read("SELECT payload FROM intake.attempt_reject")]
    assert Counter(payloads) == Counter([lines[0], lines[2], lines[4], lines[5]])


def test_a_file_of_malformed_lines_only_is_refused_line_by_line(take, rejects) -> None:
    count = take("\n".join([HEADER, *(f"only,{n}" for n in range(50))]))
    assert (count.read, count.new) == (50, 0)
    assert rejects() == {"wrong number of fields": 50}


def test_bytes_that_are_no_utf8_refuse_their_row_and_no_other(take, read, rejects) -> None:
    lines = [
        b"s1,q1,2025-03-03T09:00:00Z,1",
        "학생,q2,2025-03-03T09:00:00Z,1".encode("cp949"),
        "학생,q3,2025-03-03T09:00:00Z,1".encode(),
    ]
    count = take(b"\n".join([HEADER.encode(), *lines]))
    assert (count.new, rejects()) == (2, {"is not UTF-8": 1})
    assert {row[0] for row in read("SELECT student_id::text FROM intake.attempt")} == {
        student_uuid("s1"),
        student_uuid("학생"),
    }
    ((payload,),) = read("SELECT payload FROM intake.attempt_reject")
    assert payload["item_id"] == "q2"
    assert "\ufffd" in payload["student_id"]


def test_parquet_text_that_is_no_utf8_refuses_its_row(database: Database, tmp_path: Path, rejects) -> None:
    buffers = pa.array([b"s1", b"\xff\xfe"], pa.binary()).buffers()
    students = pa.Array.from_buffers(pa.string(), 2, buffers)
    table = pa.table(
        {"student_id": students, "item_id": ["q", "q"], "completed_at": [START, START], "correct": [True] * 2}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    count = import_file(database, tmp_path / "a.parquet")
    assert (count.new, rejects()) == (1, {"is not UTF-8": 1})


def test_a_quote_that_is_never_closed_loses_no_row_silently(take, read) -> None:
    rows = "\n".join(f"s{n},q1,2025-03-03T09:00:00Z,1,{chr(34) if n == 2 else 't'}" for n in range(5))
    count = take(f"{HEADER},topic_id\n{rows}")
    assert count.new == 2
    ((reason, payload),) = read("SELECT reason, payload FROM intake.attempt_reject")
    assert reason == "an id contains a line break (a quote that is not closed?)"
    assert all(f"s{n}," in payload["topic_id"] for n in (3, 4))


def test_quoted_fields_byte_order_mark_and_windows_line_ends_are_read(take, read) -> None:
    text = f'\ufeff{HEADER},comment\r\n"s,1","q ""1""",2025-03-03T09:00:00Z,1,"two\r\nlines"\r\n'
    assert take(text).new == 1
    assert read("SELECT student_id::text, item_id FROM intake.attempt") == [(student_uuid("s,1"), item_bigint('q "1"'))]


def test_the_same_row_twice_in_a_file_counts_once_and_says_so(take, read) -> None:
    count = take([good(), good(item_id="q2"), good(), good()])
    assert (count.read, count.new, dict(count.rejected)) == (4, 2, {"duplicate of an earlier row": 2})
    assert read(
        "SELECT count(*), count(DISTINCT source_id), bool_and(payload->>'item' = 'q1') FROM intake.attempt_reject"
    ) == [(2, 2, True)]


def test_of_two_rows_with_one_source_id_the_first_counts(take, read) -> None:
    count = take([good(source_id="r", item_id="q1"), good(source_id="r", item_id="q2")])
    assert count.rejected == {"duplicate of an earlier row": 1}
    assert read("SELECT item_id FROM intake.attempt") == [(item_bigint("q1"),)]


def test_as_many_rejects_are_kept_as_are_counted(take, rejects) -> None:
    rows = [good(correct="?")] * 3 + [good(source_id="r", correct=wrong) for wrong in ("?", "!", "true", "true")]
    count = take(rows)
    assert count.new == 1
    assert (
        rejects()
        == count.rejected
        == {
            "correct is missing or not true/false": 5,
            "duplicate of an earlier row": 1,
        }
    )
    take(rows)
    assert sum(rejects().values()) == 6


# -- files that cannot be read --------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Arrow cannot show the 0xff line
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "Empty CSV file"),
        ("a.csv", b"student_id,item_id,correct\ns,q,1\n", "has no column completed_at or answered_at"),
        ("a.csv", b"student_id,item_id,correct\n", "has no column completed_at or answered_at"),
        ("a.csv", b"a;b\n1;2\n", "Required: student_id, item_id, completed_at or answered_at, correct or is_correct"),
        ("a.csv", HEADER.encode() + b",item_id\ns,q,2025-03-03,1,q\n", "several columns named item_id"),
        ("a.csv", b"student_id,\xff\n1,2\n", "cannot be read as .csv"),
        ("a.csv", HEADER.encode() + b"\ns,q,2025-03-03,1\n\xff,malformed\n", "Expected 4 columns, got 2"),
        ("a.csv.gz", b"student_id,item_id\n", "cannot be read as .gz"),
        ("a.parquet", b"student_id,item_id\n", "cannot be read as .parquet"),
        ("a.xlsx", b"", "give a .parquet, .csv or .csv.gz file"),
    ],
)
def test_a_file_that_cannot_be_read_says_why_and_leaves_nothing(
    take, read, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(UnreadableFile) as caught:
        take(content, name)
    assert message in str(caught.value)
    assert read("SELECT count(*) FROM intake.attempt") == [(0,)]


def test_a_file_that_is_not_there_and_an_item_column_that_is_not_there(
    database: Database, tmp_path: Path, take
) -> None:
    with pytest.raises(UnreadableFile, match="does not exist"):
        import_file(database, tmp_path / "none.csv")
    with pytest.raises(UnreadableFile, match=r"has no column skill_id.*It has: student_id"):
        take([good()], item_column="skill_id")


def test_a_parquet_file_without_rows_still_needs_the_columns(database: Database, tmp_path: Path) -> None:
    pq.write_table(pa.table({"student_id": pa.array([], pa.string())}), tmp_path / "a.parquet")
    with pytest.raises(UnreadableFile, match="has no column item_id"):
        import_file(database, tmp_path / "a.parquet")


def test_a_header_alone_is_a_file_without_answers(take) -> None:
    count = take(HEADER + "\n")
    assert (count.read, count.new, count.first) == (0, 0, None)


def test_a_cut_gzip_file_leaves_nothing(database: Database, tmp_path: Path, read) -> None:
    rows = "\n".join(f"s{n},q{random.Random(n).random()},2025-03-03T09:00:00Z,1" for n in range(200_000))
    whole = gzip.compress(f"{HEADER}\n{rows}\n".encode(), 1)
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableFile, match="cannot be read"):
        import_file(database, tmp_path / "cut.csv.gz")
    assert read("SELECT count(*) FROM intake.attempt") == [(0,)]


def test_a_gzip_file_is_read_like_the_file_in_it(take, attempts) -> None:
    rows = pd.DataFrame([good(item_id=f"q{n}") for n in range(100)]).to_csv(index=False)
    assert take(rows).new == 100
    assert take(gzip.compress(rows.encode()), "attempts.csv.gz").unchanged == 100


# -- again, interrupted, later, at the same time --------------------------------------------------------------


def many(n: int, seed: int = 1) -> list[dict[str, Any]]:
    """n answers of few students on few items, so that items are met again, with ties in time."""
    draw = random.Random(seed)
    return [
        good(
            source_id=f"r{seed}-{k}",
            student_id=f"s{draw.randrange(5)}",
            item_id=f"q{draw.randrange(8)}",
            completed_at=(START + timedelta(minutes=draw.randrange(200))).isoformat(),
            correct=draw.random() < 0.6,
        )
        for k in range(n)
    ]


def test_imported_twice_gives_the_same_rows(take, attempts) -> None:
    first = take([*many(300), good(correct="?")])
    once = attempts()
    again = take([*many(300), good(correct="?")])
    pd.testing.assert_frame_equal(once, attempts())
    assert (first.new, again.new, again.changed, again.unchanged) == (300, 0, 0, 300)
    assert first.rejected == again.rejected


def numbered(frame: pd.DataFrame) -> None:
    """attempt_no is 1, 2, 3 … by completed_at within each student and item."""
    for _, group in frame.groupby(["student_id", "item_id"]):
        ordered = group.sort_values("attempt_no")
        assert ordered["attempt_no"].tolist() == list(range(1, len(group) + 1))
        assert ordered["completed_at"].is_monotonic_increasing


@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_attempts_are_numbered_by_time_also_when_older_ones_come_later(take, attempts, pieces: int) -> None:
    rows = sorted(many(300), key=lambda row: row["completed_at"], reverse=True)
    for piece in range(pieces):
        take(rows[piece::pieces] if pieces == 2 else rows[piece * 300 // pieces : (piece + 1) * 300 // pieces])
    stored = attempts()
    assert len(stored) == 300
    assert stored["attempt_no"].max() > 3
    numbered(stored)


def test_attempts_of_another_source_are_numbered_along(take, attempts) -> None:
    take(many(100, seed=1), source="one")
    take(many(100, seed=2), source="two")
    numbered(attempts())


def test_a_corrected_row_changes_answer_time_student_and_item_and_the_numbers_follow(take, attempts) -> None:
    rows = many(120)
    take(rows)
    changed = [
        row
        | {
            "student_id": "s0",
            "item_id": "q0",
            "completed_at": (START - timedelta(days=n)).isoformat(),
            "correct": True,
        }
        for n, row in enumerate(rows[:10])
    ]
    count = take(changed)
    assert (count.new, count.changed) == (0, 10)
    stored = attempts()
    numbered(stored)
    moved = stored[stored["completed_at"] < START]
    assert set(moved["student_id"].astype(str)) == {student_uuid("s0")}
    assert len(stored) == 120


def test_an_interrupted_import_leaves_nothing_and_can_be_done_again(
    take, read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "CSV_BLOCK", 4096)
    rows = pd.DataFrame(many(400)).to_csv(index=False)

    def stop(done: float) -> None:
        if done > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take(rows, progress=stop)
    empty = [("attempt", 0), ("attempt_reject", 0), ("item_key", 0)]
    count = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM intake.{name}" for name, _ in empty)
    assert read(count) == empty
    assert take(rows).new == 400


def test_an_import_that_fails_at_the_very_end_leaves_nothing(take, read, monkeypatch: pytest.MonkeyPatch) -> None:
    take(many(50, seed=1))

    def fail(_: AttemptWriter) -> None:
        raise RuntimeError

    monkeypatch.setattr(AttemptWriter, "_renumber", fail)
    with pytest.raises(RuntimeError):
        take([*many(50, seed=2), good(correct="?")])
    assert read("SELECT count(*) FROM intake.attempt") == [(50,)]
    assert read("SELECT count(*) FROM intake.attempt_reject") == [(0,)]


def test_an_import_waits_for_another_ones_end_whatever_their_sources(
    database: Database, tmp_path: Path, attempts, read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both number the same students' attempts: side by side each would count without what the other has inserted."""
    for seed in (1, 2):
        rows = pd.DataFrame(many(150, seed)).assign(item_id=lambda frame: frame["item_id"].str.removeprefix("q"))
        rows.to_csv(tmp_path / f"{seed}.csv", index=False)
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    insert, others = AttemptWriter._insert, []

    def insert_then_start_the_other(writer: AttemptWriter) -> int:
        new = insert(writer)
        if not others:
            others.append(pool.submit(import_file, Database(), tmp_path / "2.csv", source="two"))
            while read(waiting) == [(0,)] and not others[0].done():
                time.sleep(0.01)
        return new

    monkeypatch.setattr(AttemptWriter, "_insert", insert_then_start_the_other)
    with ThreadPoolExecutor(1) as pool:
        import_file(database, tmp_path / "1.csv", source="one")
        assert others[0].result().new == 150
    stored = attempts()
    assert len(stored) == 300
    numbered(stored)


def test_progress_rises_to_one(take, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CSV_BLOCK", 4096)
    seen: list[float] = []
    take(pd.DataFrame(many(400)).to_csv(index=False), progress=seen.append)
    assert len(seen) > 2
    assert seen == sorted(seen)
    assert 0 < seen[0] < 1
    assert seen[-1] == pytest.approx(1, abs=0.2)


def test_a_hundred_thousand_rows_of_garbage_are_all_refused_with_reasons(
    database: Database, tmp_path: Path, rejects
) -> None:
    draw = random.Random(1)
    alphabet = "abc,\"\n \t'\\%0123456789-:TZ\x00é한"
    with (tmp_path / "garbage.csv").open("w", newline="") as file:
        file.write(HEADER + ",topic_id\n")
        for _ in range(100_000):
            word = "".join(draw.choices(alphabet, k=draw.randrange(30)))
            file.write(word.replace("\n", " ").replace('"', "") + "\n")
    count = import_file(database, tmp_path / "garbage.csv")
    assert count.new == 0
    assert count.read > 90_000  # blank lines are no rows
    assert sum(rejects().values()) == sum(count.rejected.values()) == count.read


def test_the_counts_for_the_log_hold_no_id(take) -> None:
    count = take([good(student_id="kim.minsu"), good(student_id="kim.minsu", correct="kim.minsu")])
    assert "kim" not in json.dumps(count.metadata())
    assert count.metadata()["rejected"] == 1
