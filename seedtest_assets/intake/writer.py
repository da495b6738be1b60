"""How attempts get into intake.attempt: staged with mapped ids, then deduplicated and numbered in one statement each.

Everything happens in the caller's transaction: an interrupted intake leaves nothing behind, and taking the same
rows in again changes nothing, because a row's identity is (source, source_id). Identities are looked up, and not left
to a unique constraint: where intake.attempt is partitioned by month, none can hold them across months.
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
INTEGER_TEXT = "^(0|[1-9][0-9]{0,17})$"
LONG_INTEGER_TEXT = "^[1-9][0-9]{18}$"
LONGEST_ID = 500
"""Characters of an id: what an index entry holds also in UTF-8."""
DUPLICATE = "duplicate of an earlier row"


def _student_id(text: sa.ColumnElement[str]) -> sa.ColumnElement[Any]:
    """A uuid stays itself; any other text is its md5, laid out 8-4-4-4-12."""
    return sa.cast(sa.case((text.regexp_match(UUID_TEXT), text), else_=sa.func.md5(text)), UUID)


def _is_integer(text: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """A bigint as it is usually written; '007' and '7' are two texts and stay two items."""
    fits = sa.collate(text, "C") <= str(2**63 - 1)
    return sa.or_(text.regexp_match(INTEGER_TEXT), sa.and_(text.regexp_match(LONG_INTEGER_TEXT), fits))


def _item_id(text: sa.ColumnElement[str]) -> sa.ColumnElement[int]:
    """A whole number stays itself; any other text is the first 8 bytes of its md5, big-endian, 63 bits."""
    bits = sa.cast(sa.literal("x") + sa.func.left(sa.func.md5(text), 16), sa.dialects.postgresql.BIT(64))
    hashed = sa.cast(bits, sa.BigInteger).op("&")(sa.literal(2**63 - 1, sa.BigInteger))
    return sa.case((_is_integer(text), sa.cast(text, sa.BigInteger)), else_=hashed)


_temporary = sa.MetaData()
_options: dict[str, Any] = {"prefixes": ["TEMPORARY"], "postgresql_on_commit": "DROP"}

staged = sa.Table(
    "staged_attempt",
    _temporary,
    sa.Column("ordinal", sa.BigInteger(), nullable=False),
    sa.Column("identity", sa.Text(), nullable=False),
    sa.Column("student", sa.Text(), nullable=False),
    sa.Column("item", sa.Text(), nullable=False),
    sa.Column("student_id", UUID(), sa.Computed(_student_id(sa.column("student", sa.Text())))),
    sa.Column("item_id", sa.BigInteger(), sa.Computed(_item_id(sa.column("item", sa.Text())))),
    sa.Column("correct", sa.Boolean(), nullable=False),
    sa.Column("response_time_ms", sa.Integer()),
    sa.Column("hint_used", sa.Boolean()),
    sa.Column("completed_at", TIMESTAMP(timezone=True), nullable=False),
    sa.Column("started_at", TIMESTAMP(timezone=True)),
    sa.Column("session_id", sa.Text()),
    sa.Column("topic_id", sa.Text()),
    **_options,
)
"""Rows as read: ids as text and mapped; `identity` becomes source_id; `ordinal` is the place in the source."""

STAGED = [column.name for column in staged.c if column.computed is None and column.name != "ordinal"]
"""What a batch of valid rows consists of."""

refused = sa.Table(
    "staged_reject",
    _temporary,
    sa.Column("identity", sa.Text(), nullable=False),
    sa.Column("reason", sa.Text(), nullable=False),
    sa.Column("payload", JSONB(), nullable=False),
    **_options,
)

known = sa.Table(  # identities of staged rows that are in attempt, with what the row there is found by
    "known_attempt",
    _temporary,
    sa.Column("identity", sa.Text(), nullable=False),
    sa.Column("completed_at", TIMESTAMP(timezone=True), nullable=False),
    sa.Column("student_id", UUID(), nullable=False),
    sa.Column("item_id", sa.BigInteger(), nullable=False),
    sa.Column("differs", sa.Boolean(), nullable=False),
    **_options,
)

touched = sa.Table(  # (student, item) pairs that gained, lost or changed an attempt
    "touched_attempt",
    _temporary,
    sa.Column("student_id", UUID(), nullable=False),
    sa.Column("item_id", sa.BigInteger(), nullable=False),
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


def wait_for_intakes(connection: sa.Connection) -> None:
    """Wait until no other intake runs; others wait for this transaction.

    Two intakes, of whichever sources, would number attempts of the same students, or both insert what neither knows.
    """
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(attempt.fullname))))


class AttemptWriter:
    """Takes batches of rows into intake.attempt within one transaction.

    Use: `writer = AttemptWriter(connection, "file")`, `add` batches, `finish`. A row that is known already by its
    identity is corrected where it differs.

    Args:
        connection: the transaction; it waits until no other intake runs.
        source: the first half of a row's identity.
        keep_first_time: a correction leaves completed_at as it was, because the source tells only when it last wrote.
    """

    def __init__(self, connection: sa.Connection, source: str, *, keep_first_time: bool = False) -> None:
        self._connection = connection
        self._source = source
        self._keep_first_time = keep_first_time
        self._count = Count()
        wait_for_intakes(connection)
        _temporary.create_all(connection, checkfirst=False)

    def add(self, rows: pd.DataFrame, rejects: pd.DataFrame, *, zero_times: int = 0) -> None:
        """Stage a batch.

        Args:
            rows: valid rows; columns STAGED.
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
        """Refuse duplicates, insert or correct, number the attempts; then drop the staging tables."""
        self._connection.execute(sa.text("ANALYZE staged_attempt"))
        self._refuse_duplicates()
        self._keep_rejects()
        self._keep_item_keys()
        earlier = self._connection.execute(sa.select(sa.exists(sa.select(attempt.c.id)))).scalar_one()
        if earlier:
            self._find_known()
        self._count.changed = self._correct()
        self._count.new = self._insert()
        self._sum_up()
        if earlier:  # otherwise the numbers given on the way in are the final ones
            self._renumber()
        _temporary.drop_all(self._connection, checkfirst=False)
        return self._count

    def _refuse_duplicates(self) -> None:
        place = sa.func.row_number().over(partition_by=staged.c.identity, order_by=staged.c.ordinal)
        numbered = sa.select(staged.c.ordinal, place.label("place")).subquery()
        repeated = sa.delete(staged).where(
            staged.c.ordinal.in_(sa.select(numbered.c.ordinal).where(numbered.c.place > 1))
        )
        gone = repeated.returning(*(staged.c[name] for name in STAGED)).cte("gone")
        row = sa.func.to_jsonb(sa.literal_column("gone")).op("-")("identity")
        again = sa.select(gone.c.identity, sa.literal(DUPLICATE), row)
        found = self._connection.execute(refused.insert().from_select(["identity", "reason", "payload"], again))
        self._count.rejected.update({DUPLICATE: found.rowcount} if found.rowcount else {})

    def _keep_rejects(self) -> None:
        """Into attempt_reject; what is refused again for another reason is corrected there."""
        payload = sa.cast(refused.c.payload, sa.Text)
        turn = sa.func.row_number().over(partition_by=refused.c.identity, order_by=[refused.c.reason, payload])
        numbered = sa.select(refused, turn.label("turn")).subquery()
        suffix = sa.case((numbered.c.turn > 1, "#" + sa.cast(numbered.c.turn, sa.Text)), else_="")
        identity = numbered.c.identity + suffix
        rows = sa.select(sa.literal(self._source), identity, numbered.c.reason, numbered.c.payload).order_by(identity)
        statement = insert(attempt_reject).from_select(["source", "source_id", "reason", "payload"], rows)
        new = {name: statement.excluded[name] for name in ("reason", "payload")}
        changed = sa.or_(*(attempt_reject.c[name].is_distinct_from(value) for name, value in new.items()))
        self._connection.execute(
            statement.on_conflict_do_update(index_elements=["source", "source_id"], set_=new, where=changed)
        )

    def _keep_item_keys(self) -> None:
        texts = sa.select(staged.c.item_id, staged.c.item).distinct().where(~_is_integer(staged.c.item))
        self._connection.execute(insert(item_key).from_select(["item_id", "text"], texts).on_conflict_do_nothing())

    def _find_known(self) -> None:
        """Which rows are in attempt already, which of them differ, and the pairs that a change will touch.

        Looked up in the order of the index, so that one page serves many rows: each partition has an index of its own,
        and random access to all of them would take several times as long.
        """
        read = sa.select(staged).order_by(staged.c.identity).subquery("read")
        there = (
            sa.select(attempt)
            .where(attempt.c.source == self._source, attempt.c.source_id == read.c.identity)
            .limit(1)  # there is no other, and the planner is kept from reading the whole table instead
            .lateral("there")
        )
        differs = sa.or_(*(there.c[name].is_distinct_from(read.c[name]) for name in self._correctable()))
        found = sa.select(
            read.c.identity, there.c.completed_at, there.c.student_id, there.c.item_id, differs
        ).join_from(read, there, sa.true())
        self._connection.execute(known.insert().from_select(list(known.c), found))
        self._connection.execute(sa.text("ANALYZE known_attempt"))
        left = sa.select(known.c.student_id, known.c.item_id).where(known.c.differs)
        settled = sa.exists().where(known.c.identity == staged.c.identity, ~known.c.differs)
        entered = sa.select(staged.c.student_id, staged.c.item_id).where(~settled)
        pairs = left.union(entered).order_by("student_id", "item_id")
        self._connection.execute(touched.insert().from_select(["student_id", "item_id"], pairs))
        self._connection.execute(sa.text("ANALYZE touched_attempt"))

    def _correct(self) -> int:
        """Give known rows that differ what was read of them now."""
        correctable = self._correctable()
        changes = (
            sa.select(known.c.identity, known.c.completed_at.label("was_at"), *(staged.c[name] for name in correctable))
            .join(staged, known.c.identity == staged.c.identity)
            .where(known.c.differs)
            .cte("changes")
            .prefix_with("MATERIALIZED")  # few of many: joined with attempt first, they were looked for in all of it
        )
        found_by = (  # the time, of no use to find a single row, tells its month's partition
            (attempt.c.source == self._source)
            & (attempt.c.source_id == changes.c.identity)
            & (attempt.c.completed_at == changes.c.was_at)
        )
        corrected = {name: changes.c[name] for name in correctable}
        return self._connection.execute(sa.update(attempt).values(corrected).where(found_by)).rowcount

    def _insert(self) -> int:
        turn = sa.func.row_number().over(
            partition_by=[staged.c.student_id, staged.c.item_id], order_by=[staged.c.completed_at, staged.c.ordinal]
        )
        taken = self._taken()
        rows = (
            sa.select(sa.literal(self._source), staged.c.identity, turn, *(staged.c[name] for name in taken))
            .where(~sa.exists().where(known.c.identity == staged.c.identity))
            .order_by(staged.c.ordinal)
        )
        columns = ["source", "source_id", "attempt_no", *taken]
        return self._connection.execute(attempt.insert().from_select(columns, rows)).rowcount

    @staticmethod
    def _taken() -> list[str]:
        """The columns that are taken as they are staged."""
        return [column.name for column in attempt.c if column.name in staged.c]

    def _correctable(self) -> list[str]:
        kept = {"completed_at"} if self._keep_first_time else set()
        return [name for name in self._taken() if name not in kept]

    def _sum_up(self) -> None:
        rows, first, last = self._connection.execute(
            sa.select(sa.func.count(), sa.func.min(staged.c.completed_at), sa.func.max(staged.c.completed_at))
        ).one()
        self._count.unchanged = rows - self._count.new - self._count.changed
        self._count.first, self._count.last = first, last

    def _renumber(self) -> None:
        """attempt_no of every attempt on the pairs that were touched."""
        turn = sa.func.row_number().over(
            partition_by=[attempt.c.student_id, attempt.c.item_id],
            order_by=[attempt.c.completed_at, attempt.c.id],
        )
        numbered = (
            sa.select(attempt.c.id, attempt.c.completed_at, turn.label("turn"))
            .join(touched, (attempt.c.student_id == touched.c.student_id) & (attempt.c.item_id == touched.c.item_id))
            .subquery()
        )
        self._connection.execute(
            sa.update(attempt)
            .values(attempt_no=numbered.c.turn)
            .where(
                attempt.c.id == numbered.c.id,
                attempt.c.completed_at == numbered.c.completed_at,
                attempt.c.attempt_no != numbered.c.turn,
            )
        )
