"""intake.attempt as one partition for each month: for schools with tens of millions of answers.

The plain table is right for all others; benchmarks/large_school tells what is gained, and what it costs. Readers and
the intake use one table of one name, and need not know which of the two it is.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import sqlalchemy as sa

from seedtest_assets.intake.writer import wait_for_intakes
from seedtest_assets.resources.database import DIALECT
from seedtest_assets.tables import attempt

MONTHS_AHEAD = 12
LEAST_ROWS = 10_000
"""Answers that are worth a partition of their own; a few with a wrong date are not."""
COPY = "_by_month"
"""What names end with until the partitioned table takes the plain one's place."""

SEQUENCE = "attempt_id_seq"
KEYS = {
    attempt.primary_key.name: "PRIMARY KEY (id, completed_at)",
    "uq_attempt_source_source_id": "UNIQUE (source, source_id, completed_at)",
}
"""A key must hold what the table is partitioned by: that an identity has one row at all is the intake's care."""

LACKING = """
WITH this AS (SELECT date_trunc('month', now() AT TIME ZONE 'UTC') AS month), wanted AS (
    SELECT generate_series(month, month + make_interval(months => :ahead), '1 month') AS month FROM this
    UNION
    SELECT date_trunc('month', completed_at AT TIME ZONE 'UTC') FROM {rows} GROUP BY 1 HAVING count(*) >= :least_rows
)
SELECT :attempt || to_char(month, '_YYYY_MM') AS name, month AT TIME ZONE 'UTC' AS begins,
    (month + interval '1 month') AT TIME ZONE 'UTC' AS ends
FROM wanted ORDER BY month
"""

GRANTS = """
SELECT format('GRANT %s%s ON {copy} TO %s%s', privilege_type, columns, coalesce(quote_ident(rolname), 'PUBLIC'),
    CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END)
FROM (
    SELECT relacl, NULL FROM pg_class WHERE oid = '{attempt}'::regclass
    UNION ALL SELECT attacl, format('(%I)', attname) FROM pg_attribute WHERE attrelid = '{attempt}'::regclass
) AS privileges (acl, columns), aclexplode(acl) LEFT JOIN pg_roles ON pg_roles.oid = grantee
"""


def partition_attempts(connection: sa.Connection, *, least_rows: int = LEAST_ROWS) -> list[str]:
    """Partition intake.attempt by the months (UTC) of completed_at; where it is, make the months that it lacks.

    A month has a partition if it runs, if it is one of the MONTHS_AHEAD next ones, or once it has enough answers. All
    others share the default partition, so that no answer is refused for its date, until their month is made.

    Everything happens in the caller's transaction: an interruption leaves the table as it was. Ids, comments and
    privileges are kept. Intakes wait for the end; readers of the plain table go on until its copy takes its place.
    Statistics are made each time, because autovacuum makes none of a partitioned table as a whole.

    Args:
        connection: the transaction. On disk there must be room for the plain table once more.
        least_rows: how many answers are enough.

    Returns:
        The partitions that were made, in the order of their months.
    """
    wait_for_intakes(connection)
    if not is_partitioned(connection):
        return _convert(connection, least_rows)
    made = _make_months(connection, least_rows)
    _run(connection, "ANALYZE {attempt}")
    return made


def is_partitioned(connection: sa.Connection) -> bool:
    """Whether intake.attempt is partitioned."""
    partitioned = "SELECT EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = '{attempt}'::regclass)"
    return bool(_run(connection, partitioned).scalar_one())


def same_as_plain(connection: sa.Connection) -> Callable[..., bool]:
    """Alembic's include_object for a comparison with `tables`: partitions, and the key that is theirs, are left out.

    Args:
        connection: the one that is compared; asked nothing before anything is.
    """

    @cache
    def partitions() -> set[str]:
        children = "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid"
        return set(_run(connection, f"{children} WHERE inhparent = to_regclass('{{attempt}}')").scalars())

    def included(thing: sa.schema.SchemaItem, name: str | None, kind: str, *_: object) -> bool:
        if kind == "unique_constraint" and name in KEYS:
            return not partitions()
        return kind != "table" or name not in partitions()

    return included


def _convert(connection: sa.Connection, least_rows: int) -> list[str]:
    """Put a partitioned copy in the plain table's place."""
    _run(connection, "LOCK TABLE {attempt} IN SHARE ROW EXCLUSIVE MODE")
    like = "LIKE {attempt} INCLUDING ALL EXCLUDING IDENTITY EXCLUDING INDEXES"
    _run(connection, f"CREATE TABLE {{copy}} ({like}) PARTITION BY RANGE (completed_at)")
    _run(connection, "CREATE TABLE {default} PARTITION OF {copy} DEFAULT")
    made = _make(connection, _lacking(connection, "{attempt}", least_rows), of="{copy}")
    _run(connection, "INSERT INTO {copy} TABLE {attempt}")
    # Sorted into indexes at once, rows are in them sooner, and closer together, than one after the other.
    for name, key in KEYS.items():
        _run(connection, f"ALTER TABLE {{copy}} ADD CONSTRAINT {name}{COPY} {key}")
    for index in attempt.indexes:
        _run(connection, f"CREATE INDEX {index.name}{COPY} ON {{copy}} ({', '.join(index.columns.keys())})")
    sequence = f"SEQUENCE NAME {_name(f'{SEQUENCE}{COPY}')}"
    _run(connection, f"ALTER TABLE {{copy}} ALTER id ADD GENERATED ALWAYS AS IDENTITY ({sequence})")
    following = "nextval(pg_get_serial_sequence('{attempt}', 'id'))"
    _run(connection, f"SELECT setval(pg_get_serial_sequence('{{copy}}', 'id'), {following})")
    for grant in _run(connection, GRANTS).scalars().all():
        connection.exec_driver_sql(grant)
    _run(connection, "ANALYZE {copy}")
    _run(connection, "DROP TABLE {attempt}")
    for name in (attempt.name, SEQUENCE, *KEYS, *(index.name for index in attempt.indexes)):
        _run(connection, f"ALTER TABLE {_name(f'{name}{COPY}')} RENAME TO {name}")
    connection.execute(sa.schema.SetTableComment(attempt))
    return made


def _make_months(connection: sa.Connection, least_rows: int) -> list[str]:
    """Make the months that are lacking, and let the rows of the default partition find their place again."""
    lacking = _lacking(connection, "{default}", least_rows)
    if not lacking:
        return []
    _run(connection, "LOCK TABLE {attempt} IN ACCESS EXCLUSIVE MODE")
    _run(connection, "CREATE TEMPORARY TABLE set_aside AS TABLE {default}")
    _run(connection, "TRUNCATE {default}")
    made = _make(connection, lacking, of="{attempt}")
    _run(connection, "INSERT INTO {attempt} OVERRIDING SYSTEM VALUE TABLE set_aside")
    _run(connection, "DROP TABLE set_aside")
    return made


def _lacking(connection: sa.Connection, rows: str, least_rows: int) -> list[sa.Row[*tuple[Any, ...]]]:
    """Months to make, by the rows of a table: the name of their partition, when they begin and end."""
    values = {"attempt": attempt.name, "ahead": MONTHS_AHEAD, "least_rows": least_rows}
    months = _run(connection, LACKING.replace("{rows}", rows), values).all()
    known = sa.inspect(connection).get_table_names(attempt.schema)
    return [month for month in months if month.name not in known]


def _make(connection: sa.Connection, months: list[sa.Row[*tuple[Any, ...]]], *, of: str) -> list[str]:
    for name, begins, ends in months:
        bounds = f"FROM ('{begins}') TO ('{ends}')"
        _run(connection, f"CREATE TABLE {_name(name)} PARTITION OF {of} FOR VALUES {bounds}")
    return [month.name for month in months]


def _run(
    connection: sa.Connection, statement: str, values: dict[str, Any] | None = None
) -> sa.CursorResult[*tuple[Any, ...]]:
    """Execute a statement about {attempt}, its {copy} or its {default} partition."""
    names = {"attempt": attempt.name, "copy": f"{attempt.name}{COPY}", "default": f"{attempt.name}_default"}
    text = statement.format(**{place: _name(name) for place, name in names.items()})
    return connection.execute(sa.text(text), values)


def _name(name: str) -> str:
    """A name in attempt's schema, as SQL writes it."""
    quote = DIALECT.identifier_preparer
    return f"{quote.quote_schema(attempt.schema or '')}.{quote.quote(name)}"
