"""Incremental intake from the application's exam_results: documents of graded questions."""

import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from seedtest_assets.failures import PermanentFailure
from seedtest_assets.intake.writer import LONGEST_ID, STAGED, AttemptWriter, Count
from seedtest_assets.resources.database import Database
from seedtest_assets.tables import attempt_reject, exam_results, intake_cursor

SOURCE = "exam_results"
PAGE = 1000
UNDATED = "updated_at is missing or in the future"
OVERLAP = timedelta(minutes=10)
"""Read again before the cursor each time: a transaction may commit with an older updated_at than one already seen."""

FAR_FUTURE = timedelta(days=1)

Position = tuple[datetime, uuid.UUID]
START: Position = (datetime.min.replace(tzinfo=UTC), uuid.UUID(int=0))


def take_in_exam_results(database: Database) -> Count:
    """Take in the documents with status 'ready' that changed since the last time, page by page.

    Each page is one transaction together with the cursor, so that an interruption costs one page. A re-graded
    document corrects its answers and keeps their first completed_at. Malformed documents and questions
    go to attempt_reject and stop nothing.

    Raises:
        PermanentFailure: when there is no table exam_results.
    """
    with database.transaction() as connection:
        if not sa.inspect(connection).has_table(exam_results.name, exam_results.schema):
            raise PermanentFailure(
                f"there is no table {exam_results.fullname} in this database: nothing to take in from"
            )
        undated = connection.execute(_refuse_undated()).rowcount
    count = Count(read=undated, rejected=Counter({UNDATED: undated} if undated else {}))
    position = _position(database)
    while True:
        with database.transaction() as connection:
            documents = connection.execute(_page(position)).all()
            if not documents:
                return count
            rows, rejects, zero_times = _questions(documents)
            writer = AttemptWriter(connection, SOURCE, keep_first_time=True)
            writer.add(rows, rejects, zero_times=zero_times)
            count += writer.finish()
            position = (documents[-1].updated_at, documents[-1].id)
            cursor = insert(intake_cursor).values(source=SOURCE, updated_at=position[0], id=position[1])
            connection.execute(
                cursor.on_conflict_do_update(
                    index_elements=["source"], set_={"updated_at": position[0], "id": position[1]}
                )
            )


def _refuse_undated() -> sa.Insert:
    """Documents whose time never comes: without updated_at, or more than a day ahead."""
    e = exam_results.c
    columns = ["source", "source_id", "reason", "payload"]
    payload = sa.func.jsonb_build_object("updated_at", e.updated_at, "result_json", e.result_json)
    dated = e.updated_at.between(START[0], sa.func.now() + FAR_FUTURE)
    documents = sa.select(sa.literal(SOURCE), sa.cast(e.id, sa.Text), sa.literal(UNDATED), payload).where(
        e.status == "ready", dated.is_not(True)
    )
    return insert(attempt_reject).from_select(columns, documents).on_conflict_do_nothing()


def _position(database: Database) -> Position:
    found = database.rows(sa.select(intake_cursor.c.updated_at).where(intake_cursor.c.source == SOURCE))
    return (found[0].updated_at - OVERLAP, START[1]) if found else START


def _page(after: Position) -> sa.Select[*tuple[Any, ...]]:
    """The next documents. One from the future waits: it would carry the cursor past others that are still to come."""
    e = exam_results.c
    return (
        sa.select(e.id, e.session_id, e.user_id, e.result_json, e.updated_at)
        .where(
            e.status == "ready",
            e.updated_at <= sa.func.now(),
            sa.tuple_(e.updated_at, e.id) > sa.tuple_(*map(sa.literal, after)),
        )
        .order_by(e.updated_at, e.id)
        .limit(PAGE)
    )


def _questions(documents: Sequence[sa.Row[*tuple[Any, ...]]]) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Valid questions as rows to stage; what is refused, a document or a question at a time; times of 0."""
    rows: list[dict[str, Any]] = []
    rejects: list[dict[str, Any]] = []
    zero_times = 0

    def refuse(identity: str, reason: str, payload: Any) -> None:
        rejects.append({"identity": identity, "reason": reason, "payload": payload})

    for document in documents:
        content = document.result_json
        questions = content.get("questions") if isinstance(content, dict) else None
        if not isinstance(document.user_id, str) or not document.user_id.strip():
            refuse(str(document.id), "user_id is missing", {"result_json": content})
        elif not isinstance(questions, list):
            refuse(str(document.id), "result_json has no list of questions", {"result_json": content})
        else:
            for place, question in enumerate(questions):
                reason, row = _question(question)
                if reason is not None:
                    refuse(f"{document.id}/[{place}]", reason, {"question": question})
                    continue
                zero_times += row["response_time_ms"] == 0
                rows.append(
                    {
                        **row,
                        "identity": f"{document.id}/{row['item']}",
                        "student": document.user_id,
                        "response_time_ms": row["response_time_ms"] or None,
                        "completed_at": document.updated_at,
                        "session_id": document.session_id,
                    }
                )
    frame = pd.DataFrame(rows, columns=STAGED).astype(
        {
            "response_time_ms": "Int32",
            "hint_used": "boolean",
            "completed_at": "datetime64[us, UTC]",
            "started_at": "datetime64[us, UTC]",
        }
    )
    return frame, pd.DataFrame(rejects, columns=["identity", "reason", "payload"]), zero_times


def _question(question: Any) -> tuple[str | None, dict[str, Any]]:
    """The reason why a question is refused, or None and its part of a row."""
    if not isinstance(question, dict):
        return "question is not an object", {}
    item = question.get("question_id")
    if isinstance(item, bool) or not isinstance(item, int | str) or not str(item).strip():
        return "question_id is missing or neither text nor number", {}
    topic = question.get("topic")
    if isinstance(topic, bool) or not isinstance(topic, int | str | None):
        return "topic is neither text nor number", {}
    if max(len(str(item)), len(str(topic))) > LONGEST_ID:
        return f"an id is longer than {LONGEST_ID} characters", {}
    correct = question.get("is_correct", question.get("correct"))
    if not isinstance(correct, bool):
        return "is_correct is missing or not true/false", {}
    seconds = question.get("time_spent_sec")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float | None):
        return "time_spent_sec is not a number", {}
    if seconds is not None and not 0 <= seconds < 2**31 / 1000 - 1:
        return "time_spent_sec is negative or beyond 24 days", {}
    hints = question.get("used_hints")
    if not isinstance(hints, bool | int | None) or (hints is not None and hints < 0):
        return "used_hints is neither a count nor true/false", {}
    return None, {
        "item": str(item),
        "correct": correct,
        "response_time_ms": None if seconds is None else round(seconds * 1000),
        "hint_used": None if hints is None else hints > 0,
        "topic_id": None if topic is None or not str(topic).strip() else str(topic),
    }
