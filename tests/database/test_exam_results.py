"""The application's exam_results, taken in step by step: no ready document is missed, no malformed one stops it."""

import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from seedtest_assets.failures import PermanentFailure
from seedtest_assets.intake import exam_results as intake
from seedtest_assets.intake.exam_results import take_in_exam_results
from seedtest_assets.resources.database import Database
from seedtest_assets.tables import exam_results

START = datetime(2025, 3, 3, 9, tzinfo=UTC)
QUESTION = {"question_id": "q1", "is_correct": True, "topic": "algebra", "time_spent_sec": 12.5, "used_hints": 2}


@pytest.fixture
def application(database: Database) -> Iterator[Database]:
    """A database that also has the application's table."""
    exam_results.create(database.engine)
    yield database
    exam_results.drop(database.engine)


def document(number: int = 1, **other: Any) -> dict[str, Any]:
    return {
        "id": uuid.UUID(int=number),
        "session_id": f"session {number}",
        "user_id": f"user {number}",
        "exam_id": 1,
        "org_id": 1,
        "status": "ready",
        "result_json": {"questions": [QUESTION]},
        "created_at": START,
        "updated_at": START + timedelta(minutes=number),
    } | other


@pytest.fixture
def put(application: Database) -> Callable[..., None]:
    """Insert or replace documents, as the application would."""

    def put(*documents: dict[str, Any]) -> None:
        with application.transaction() as connection:
            ids = [given["id"] for given in documents]
            connection.execute(sa.delete(exam_results).where(exam_results.c.id.in_(ids)))
            for given in documents:
                null = {name: sa.null() for name, value in given.items() if value is None}
                connection.execute(sa.insert(exam_results).values(given | null))

    return put


@pytest.fixture
def rejects(read) -> Callable[[], Counter[str]]:
    return lambda: Counter(dict(read("SELECT reason, count(*) FROM intake.attempt_reject GROUP BY reason")))


def test_a_document_becomes_an_attempt_per_question(application: Database, put, read) -> None:
    other = {"question_id": 7, "correct": False, "time_spent_sec": 0, "topic": None}
    put(document(result_json={"questions": [QUESTION, other]}))
    count = take_in_exam_results(application)
    assert (count.read, count.new, count.zero_times, count.rejected) == (2, 2, 1, Counter())
    query = (
        "SELECT source, source_id, student_id = md5('user 1')::uuid, correct, response_time_ms, hint_used, "
        "completed_at, attempt_no, session_id, topic_id FROM intake.attempt ORDER BY source_id"
    )
    at, id_ = START + timedelta(minutes=1), uuid.UUID(int=1)
    assert read(query) == [
        ("exam_results", f"{id_}/7", True, False, None, None, at, 1, "session 1", None),
        ("exam_results", f"{id_}/q1", True, True, 12500, True, at, 1, "session 1", "algebra"),
    ]
    assert read("SELECT item_id FROM intake.attempt WHERE source_id LIKE '%/7'") == [(7,)]


@pytest.mark.parametrize("status", ["pending", "failed", "READY", None])
def test_only_ready_documents_count(application: Database, put, read, status: str | None) -> None:
    put(document(1, status=status), document(2))
    assert take_in_exam_results(application).read == 1
    assert read("SELECT DISTINCT session_id FROM intake.attempt") == [("session 2",)]


def test_a_document_that_becomes_ready_later_is_found_although_others_went_before(application: Database, put) -> None:
    put(document(1, status="pending"), document(2))
    assert take_in_exam_results(application).new == 1
    put(document(1, updated_at=START + timedelta(minutes=3)))
    assert take_in_exam_results(application).new == 1


def test_a_regrade_corrects_the_answers_and_keeps_the_first_time(application: Database, put, read) -> None:
    put(document(result_json={"questions": [QUESTION, QUESTION | {"question_id": "q2"}]}))
    take_in_exam_results(application)
    regraded = [QUESTION | {"is_correct": False, "topic": "geometry"}, QUESTION | {"question_id": "q2"}]
    put(document(result_json={"questions": regraded}, updated_at=START + timedelta(days=3)))
    count = take_in_exam_results(application)
    assert (count.new, count.changed, count.unchanged) == (0, 1, 1)
    assert read("SELECT correct, topic_id, completed_at FROM intake.attempt ORDER BY source_id") == [
        (False, "geometry", START + timedelta(minutes=1)),
        (True, "algebra", START + timedelta(minutes=1)),
    ]


MALFORMED_QUESTIONS = [
    ("text", "question is not an object"),
    (None, "question is not an object"),
    ([1], "question is not an object"),
    ({"question_id": None}, "question_id is missing or neither text nor number"),
    ({"question_id": " "}, "question_id is missing or neither text nor number"),
    ({"question_id": True}, "question_id is missing or neither text nor number"),
    ({"question_id": 1.5}, "question_id is missing or neither text nor number"),
    ({"question_id": {"id": 1}}, "question_id is missing or neither text nor number"),
    ({"question_id": "x" * 501}, "an id is longer than 500 characters"),
    ({"topic": ["a"]}, "topic is neither text nor number"),
    ({"topic": "x" * 501}, "an id is longer than 500 characters"),
    ({"is_correct": None}, "is_correct is missing or not true/false"),
    ({"is_correct": 1}, "is_correct is missing or not true/false"),
    ({"is_correct": "true"}, "is_correct is missing or not true/false"),
    ({"time_spent_sec": "12"}, "time_spent_sec is not a number"),
    ({"time_spent_sec": True}, "time_spent_sec is not a number"),
    ({"time_spent_sec": -1}, "time_spent_sec is negative or beyond 24 days"),
    ({"time_spent_sec": 2147483.648}, "time_spent_sec is negative or beyond 24 days"),
    ({"time_spent_sec": 1e12}, "time_spent_sec is negative or beyond 24 days"),
    ({"used_hints": "some"}, "used_hints is neither a count nor true/false"),
    ({"used_hints": 1.5}, "used_hints is neither a count nor true/false"),
    ({"used_hints": -1}, "used_hints is neither a count nor true/false"),
]


@pytest.mark.parametrize(("wrong", "reason"), MALFORMED_QUESTIONS)
def test_a_malformed_question_is_refused_and_its_neighbours_are_taken(
    application: Database, put, read, wrong: Any, reason: str
) -> None:
    bad = QUESTION | wrong if isinstance(wrong, dict) else wrong
    put(document(result_json={"questions": [QUESTION, bad, QUESTION | {"question_id": "q2"}]}))
    count = take_in_exam_results(application)
    assert (count.read, count.new, dict(count.rejected)) == (3, 2, {reason: 1})
    identity = f"{uuid.UUID(int=1)}/[1]"
    assert read("SELECT source, source_id, reason FROM intake.attempt_reject") == [("exam_results", identity, reason)]
    assert read("SELECT payload FROM intake.attempt_reject") == [({"question": bad},)]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"user_id": None}, "user_id is missing"),
        ({"user_id": "  "}, "user_id is missing"),
        ({"result_json": None}, "result_json has no list of questions"),
        ({"result_json": []}, "result_json has no list of questions"),
        ({"result_json": "text"}, "result_json has no list of questions"),
        ({"result_json": {"questions": {"q1": True}}}, "result_json has no list of questions"),
        ({"updated_at": None}, "updated_at is missing or in the future"),
        ({"updated_at": datetime(2999, 1, 1, tzinfo=UTC)}, "updated_at is missing or in the future"),
    ],
)
def test_a_malformed_document_is_refused_and_the_others_are_taken(
    application: Database, put, rejects, wrong: dict[str, Any], reason: str
) -> None:
    put(document(1), document(2, **wrong), document(3))
    count = take_in_exam_results(application)
    assert (count.new, dict(count.rejected)) == (2, {reason: 1})
    assert rejects() == {reason: 1}
    take_in_exam_results(application)
    assert rejects() == {reason: 1}


def test_a_document_from_the_future_hides_no_document_that_comes_before_it(application: Database, put, read) -> None:
    now = datetime.now(UTC)
    put(document(1, updated_at=now + timedelta(hours=20)), document(2, updated_at=now - timedelta(hours=2)))
    assert take_in_exam_results(application).new == 1
    put(document(3, updated_at=now - timedelta(hours=1)))
    assert take_in_exam_results(application).new == 1
    put(document(1, updated_at=now))
    assert take_in_exam_results(application).new == 1


def test_the_same_question_twice_in_a_document_counts_once_and_says_so(application: Database, put, rejects) -> None:
    put(document(result_json={"questions": [QUESTION, QUESTION | {"is_correct": False}]}))
    assert take_in_exam_results(application).new == 1
    assert rejects() == {"duplicate of an earlier row": 1}


def test_a_corrected_document_leaves_its_reject_and_a_changed_reason_replaces_it(
    application: Database, put, rejects
) -> None:
    put(document(result_json={"questions": [QUESTION | {"is_correct": "?"}]}))
    take_in_exam_results(application)
    put(document(result_json={"questions": [QUESTION | {"topic": []}]}, updated_at=START + timedelta(minutes=2)))
    take_in_exam_results(application)
    assert rejects() == {"topic is neither text nor number": 1}
    put(document(updated_at=START + timedelta(minutes=3)))
    assert take_in_exam_results(application).new == 1
    assert sum(rejects().values()) == 1


def test_empty_documents_and_an_empty_table_are_fine(application: Database, put, read) -> None:
    assert take_in_exam_results(application).read == 0
    put(document(result_json={"questions": []}))
    assert take_in_exam_results(application).read == 0
    assert read("SELECT count(*) FROM intake.intake_cursor") == [(1,)]


def test_without_the_table_the_failure_says_so(database: Database) -> None:
    with pytest.raises(PermanentFailure, match=r"no table public\.exam_results"):
        take_in_exam_results(database)


def test_ties_at_the_limit_of_a_page_are_not_lost(application: Database, put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "PAGE", 3)
    put(*(document(number, updated_at=START) for number in range(1, 11)))
    assert take_in_exam_results(application).new == 10


def test_a_document_committed_late_is_found_within_the_overlap(
    application: Database, put, elsewhere: sa.Connection
) -> None:
    now = datetime.now(UTC)
    elsewhere.execute(sa.insert(exam_results).values(document(1, updated_at=now - timedelta(minutes=9))))
    put(document(2, updated_at=now - timedelta(seconds=1)))
    assert take_in_exam_results(application).new == 1
    elsewhere.commit()
    count = take_in_exam_results(application)
    assert (count.new, count.unchanged) == (1, 1)


def test_an_interruption_costs_one_page_and_the_next_time_goes_on(
    application: Database, put, read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "PAGE", 4)
    put(*(document(number, updated_at=START + timedelta(hours=number)) for number in range(1, 13)))
    true_questions, pages = intake._questions, []

    def stop(documents: Any) -> Any:
        pages.append(len(documents))
        if len(pages) == 3:
            raise KeyboardInterrupt
        return true_questions(documents)

    monkeypatch.setattr(intake, "_questions", stop)
    with pytest.raises(KeyboardInterrupt):
        take_in_exam_results(application)
    assert read("SELECT count(*) FROM intake.attempt") == [(8,)]
    assert read("SELECT updated_at FROM intake.intake_cursor") == [(START + timedelta(hours=8),)]
    monkeypatch.setattr(intake, "_questions", true_questions)
    count = take_in_exam_results(application)
    assert (count.new, count.unchanged) == (4, 1)  # the one of the overlap again


def test_again_without_changes_reads_the_overlap_only_and_changes_nothing(
    application: Database, put, attempts: Callable[[], pd.DataFrame]
) -> None:
    put(*(document(number, updated_at=START + timedelta(hours=number)) for number in range(1, 31)))
    take_in_exam_results(application)
    before = attempts()
    count = take_in_exam_results(application)
    assert (count.read, count.new, count.changed) == (1, 0, 0)
    pd.testing.assert_frame_equal(before, attempts())


def test_two_intakes_at_once_take_each_document_once(application: Database, put, read) -> None:
    put(*(document(number, user_id="one", updated_at=START + timedelta(hours=number)) for number in range(1, 61)))
    with ThreadPoolExecutor(3) as pool:
        counts = list(pool.map(lambda _: take_in_exam_results(Database()), range(3)))
    assert sum(count.new for count in counts) == 60
    numbers = [number for (number,) in read("SELECT attempt_no FROM intake.attempt ORDER BY completed_at")]
    assert numbers == list(range(1, 61))


def test_attempts_are_numbered_over_exam_results_and_files_alike(application: Database, put, read, tmp_path) -> None:
    from seedtest_assets.intake.files import import_file

    put(document(1, user_id="u"), document(3, user_id="u"))
    take_in_exam_results(application)
    row = {"student_id": "u", "item_id": "q1", "correct": True, "completed_at": START + timedelta(minutes=2)}
    pd.DataFrame([row]).to_parquet(tmp_path / "a.parquet")
    import_file(application, tmp_path / "a.parquet")
    assert read("SELECT source, attempt_no FROM intake.attempt ORDER BY completed_at") == [
        ("exam_results", 1),
        ("file", 2),
        ("exam_results", 3),
    ]


class Application:
    """Writes documents over time the way an application does; knows what must have been taken in."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = START
        self.ready: dict[int, bool] = {}

    def write(self, number: int, *, ready: bool, correct: bool, back: int) -> None:
        """Insert or update a document; its updated_at lies up to `back` seconds before the others' (a long commit)."""
        row = document(
            number,
            status="ready" if ready else "grading",
            updated_at=self.now - timedelta(seconds=back),
            result_json={"questions": [QUESTION | {"is_correct": correct}]},
        )
        with self.database.transaction() as connection:
            connection.execute(sa.delete(exam_results).where(exam_results.c.id == row["id"]))
            connection.execute(sa.insert(exam_results).values(row))
        if ready:
            self.ready[number] = correct


steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 12), st.booleans(), st.booleans(), st.integers(0, 590)),
        st.tuples(st.just("wait"), st.integers(0, 4000)),
        st.tuples(st.just("intake"), st.booleans()),
    ),
    max_size=40,
)


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(history=steps, page=st.integers(1, 4))
def test_no_ready_document_is_missed_in_any_history(application: Database, history: Any, page: int) -> None:
    """Writes, ties, late commits within the overlap, re-grades, pages and interruptions in any order."""
    with application.transaction() as connection:
        names = "intake.attempt, intake.attempt_reject, intake.intake_cursor, public.exam_results"
        connection.execute(sa.text(f"TRUNCATE {names}"))
    app = Application(application)
    true_questions = intake._questions

    def interrupted(documents: Any) -> Any:
        if documents[-1].id.int % 2:
            raise InterruptedError
        return true_questions(documents)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake, "PAGE", page)
        for step in [*history, ("intake", False)]:
            match step:
                case ("write", number, ready, correct, back):
                    app.write(number, ready=ready, correct=correct, back=back)
                case ("wait", seconds):
                    app.now += timedelta(seconds=seconds)
                case ("intake", broken):
                    patch.setattr(intake, "_questions", interrupted if broken else true_questions)
                    with suppress(InterruptedError):
                        take_in_exam_results(application)
    found = application.rows(sa.text("SELECT source_id, correct FROM intake.attempt"))
    taken = {uuid.UUID(row.source_id.split("/")[0]).int: row.correct for row in found}
    still_ready = application.rows(
        sa.select(exam_results.c.id, exam_results.c.result_json).where(exam_results.c.status == "ready")
    )
    assert {row.id.int: row.result_json["questions"][0]["is_correct"] for row in still_ready}.items() <= taken.items()
    assert set(taken) <= set(app.ready)
