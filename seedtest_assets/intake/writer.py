"""How attempts get into intake.attempt: staged as text, then mapped, deduplicated and numbered in one statement each.

Everything happens in the caller's transaction: an interrupted intake leaves nothing behind, and taking the same
rows in again changes nothing, because a row's identity is (source, source_id).
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID, insert

from seedtest_assets.resources.database import copy_in
from seedtest_assets.tables import attempt, attempt_reject, item_key

UUID_TEXT = "^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$"
INTEGER_TEXT = "^[0-9]{1,18}$"
DUPLICATE = "duplicate of an earlier row"

_temporary = sa.MetaData()
_options: dict[str, Any] = {"prefixes": ["TEMPORARY"], "postgresql_on_commit": "DROP"}

staged = sa.Table(
    "staged_attempt",
    _temporary,
    sa.Column("ordinal", sa.BigInteger(), nullable=False),
    sa.Column("identity", sa.Text(), nullable=False),
    sa.Column("student", sa.Text(), nullable=False),
    sa.Column("item", sa.Text(), nullable=False),
    sa.Column("correct", sa.Boolean(), nullable=False),
    sa.Column("response_time_ms", sa.Integer()),
    sa.Column("hint_used", sa.Boolean()),
    sa.Column("completed_at", TIMESTAMP(timezone=True), nullable=False),
    sa.Column("started_at", TIMESTAMP(timezone=True)),
    sa.Column("session_id", sa.Text()),
    sa.Column("topic_id", sa.Text()),
    **_options,
)
"""Rows as read: ids still text; `identity` becomes source_id; `ordinal` is the place in the source."""

refused = sa.Table(
    "staged_reject",
    _temporary,
    sa.Column("identity", sa.Text(), nullable=False),
    sa.Column("reason", sa.Text(), nullable=False),
    sa.Column("payload", JSONB(), nullable=False),
    **_options,
)


@dataclass
class Count:
    """What an intake did.

    Attributes:
        read: rows (or questions) looked at.
        new, changed, unchanged: rows that were inserted, corrected, or known already.
        rejected: rows in attempt_reject, by reason.
        zero_times: response times of 0 ms, read as not logged.
        first, last: earliest and latest completed_at of the rows taken in.
    """

    read: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    zero_times: int = 0
    first: datetime | None = None
    last: datetime | None = None

    def metadata(self) -> dict[str, Any]:
        """Counts for the asset's log; no ids."""
        numbers = {"read": self.read, "new": self.new, "changed": self.changed, "unchanged": self.unchanged}
        return {**numbers, "rejected": sum(self.rejected.values()), **dict(self.rejected)}

    def __add__(self, other: "Count") -> "Count":
        times = [t for t in (self.first, other.first) if t], [t for t in (self.last, other.last) if t]
        return Count(
            self.read + other.read,
            self.new + other.new,
            self.changed + other.changed,
            self.unchanged + other.unchanged,
            self.rejected + other.rejected,
            self.zero_times + other.zero_times,
            min(times[0], default=None),
            max(times[1], default=None),
        )


class AttemptWriter:
    """Takes batches of rows into intake.attempt within one transaction.

    Use: `writer = AttemptWriter(connection, "file")`, `add` batches, `finish`.
    """

    def __init__(self, connection: sa.Connection, source: str) -> None:
        self._connection = connection
        self._source = source
        self._count = Count()
        # Two intakes of one source would number the same attempts: the second waits.
        lock = sa.func.pg_advisory_xact_lock(sa.func.hashtext("intake.attempt"), sa.func.hashtext(source))
        connection.execute(sa.select(lock))
        _temporary.create_all(connection, checkfirst=False)

    def add(self, rows: pd.DataFrame, rejects: pd.DataFrame, *, zero_times: int = 0) -> None:
        """Stage a batch.

        Args:
            rows: valid rows; the columns of `staged` without `ordinal`.
            rejects: columns identity, reason, payload (a dict).
            zero_times: response times of 0 among the rows, which came here as missing.
        """
        ordinal = range(self._count.read, self._count.read + len(rows))
        copy_in(self._connection, staged, rows.assign(ordinal=ordinal))
        copy_in(self._connection, refused, rejects)
        self._count.read += len(rows) + len(rejects)
        self._count.rejected.update(rejects["reason"].tolist())
        self._count.zero_times += zero_times

    def finish(self) -> Count:
        """Map ids, refuse duplicates, insert or correct, number the attempts; then drop the staging tables."""
        self._connection.execute(sa.text("ANALYZE staged_attempt"))
        self._refuse_duplicates()
        self._keep_rejects()
        self._keep_item_keys()
        known_before = self._connection.execute(sa.select(sa.exists(sa.select(attempt.c.id)))).scalar_one()
        self._upsert()
        if known_before:
            self._renumber()
        _temporary.drop_all(self._connection, checkfirst=False)
        return self._count

    def _refuse_duplicates(self) -> None:
        place = sa.func.row_number().over(partition_by=staged.c.identity, order_by=staged.c.ordinal)
        numbered = sa.select(staged, place.label("place")).subquery()
        repeated = sa.select(numbered).where(numbered.c.place > 1).cte("repeated")
        row = sa.func.to_jsonb(sa.literal_column("repeated")).op("-")("place").op("-")("ordinal").op("-")("identity")
        again = sa.select(repeated.c.identity + "#" + sa.cast(repeated.c.place, sa.Text), sa.literal(DUPLICATE), row)
        found = self._connection.execute(refused.insert().from_select(["identity", "reason", "payload"], again))
        if found.rowcount:
            self._count.rejected[DUPLICATE] += found.rowcount
            self._connection.execute(
                sa.delete(staged).where(staged.c.ordinal.in_(sa.select(numbered.c.ordinal).where(numbered.c.place > 1)))
            )

    def _keep_rejects(self) -> None:
        rows = sa.select(sa.literal(self._source), refused.c.identity, refused.c.reason, refused.c.payload).order_by(
            refused.c.identity
        )
        columns = ["source", "source_id", "reason", "payload"]
        self._connection.execute(insert(attempt_reject).from_select(columns, rows).on_conflict_do_nothing())

    def _keep_item_keys(self) -> None:
        texts = sa.select(_item_id(staged.c.item), staged.c.item).distinct()
        derived = texts.where(staged.c.item.op("!~")(INTEGER_TEXT))
        self._connection.execute(insert(item_key).from_select(["item_id", "text"], derived).on_conflict_do_nothing())

    def _upsert(self) -> None:
        student, item = _student_id(staged.c.student), _item_id(staged.c.item)
        turn = sa.func.row_number().over(
            partition_by=[student, item], order_by=[staged.c.completed_at, staged.c.ordinal]
        )
        kept = [
            "correct",
            "response_time_ms",
            "hint_used",
            "completed_at",
            "started_at",
            "session_id",
            "topic_id",
        ]
        rows = sa.select(
            sa.literal(self._source),
            staged.c.identity,
            student,
            item,
            turn,
            *(staged.c[name] for name in kept),
        ).order_by(staged.c.ordinal)
        statement = insert(attempt).from_select(
            ["source", "source_id", "student_id", "item_id", "attempt_no", *kept], rows
        )
        # A re-grade corrects the answer and keeps the first completed_at.
        corrected = {name: statement.excluded[name] for name in kept if name not in {"completed_at", "started_at"}}
        changed = sa.or_(*(attempt.c[name].is_distinct_from(value) for name, value in corrected.items()))
        upsert = (
            statement.on_conflict_do_update(index_elements=["source", "source_id"], set_=corrected, where=changed)
            .returning(sa.literal_column("(xmax = 0)").label("is_new"), attempt.c.completed_at)
            .cte("upsert")
        )
        is_new = upsert.c.is_new
        result = self._connection.execute(
            sa.select(sa.func.count().filter(is_new).label("new"), sa.func.count().filter(~is_new).label("changed"))
            .select_from(upsert)
            .add_cte(upsert)
        ).one()
        span = self._connection.execute(
            sa.select(sa.func.count(), sa.func.min(staged.c.completed_at), sa.func.max(staged.c.completed_at))
        ).one()
        self._count.new, self._count.changed = result.new, result.changed
        self._count.unchanged = span[0] - result.new - result.changed
        self._count.first, self._count.last = span[1], span[2]

    def _renumber(self) -> None:
        """attempt_no of every attempt on the (student, item) pairs that were touched."""
        touched = sa.select(_student_id(staged.c.student), _item_id(staged.c.item)).distinct()
        turn = sa.func.row_number().over(
            partition_by=[attempt.c.student_id, attempt.c.item_id],
            order_by=[attempt.c.completed_at, attempt.c.id],
        )
        numbered = (
            sa.select(attempt.c.id, turn.label("turn"))
            .where(sa.tuple_(attempt.c.student_id, attempt.c.item_id).in_(touched))
            .subquery()
        )
        self._connection.execute(
            sa.update(attempt)
            .values(attempt_no=numbered.c.turn)
            .where(attempt.c.id == numbered.c.id, attempt.c.attempt_no != numbered.c.turn)
        )


def _student_id(text: sa.ColumnElement[str]) -> sa.ColumnElement[Any]:
    """A uuid stays itself; any other text is its md5, laid out 8-4-4-4-12."""
    return sa.cast(sa.case((text.op("~")(UUID_TEXT), text), else_=sa.func.md5(text)), UUID)


def _item_id(text: sa.ColumnElement[str]) -> sa.ColumnElement[int]:
    """A whole number stays itself; any other text is the first 8 bytes of its md5, big-endian, 63 bits."""
    bits = sa.cast(sa.literal("x") + sa.func.left(sa.func.md5(text), 16), sa.dialects.postgresql.BIT(64))
    hashed = sa.cast(bits, sa.BigInteger).op("&")(sa.literal(2**63 - 1, sa.BigInteger))
    return sa.case((text.op("~")(INTEGER_TEXT), sa.cast(text, sa.BigInteger)), else_=hashed)
