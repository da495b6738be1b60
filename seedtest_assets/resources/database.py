"""PostgreSQL: reading columns out, writing a window in, one transaction each.

Frames travel by COPY in both directions: a million attempts are read in seconds, and no row becomes a Python
object. Values are bound by the driver; no SQL is put together from data. What went wrong is told without the
values it went wrong with: they are personal data, and messages end in Dagster's event log.
"""

import io
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any, cast

import dagster as dg
import pandas as pd
import psycopg2
import pyarrow as pa
import pyarrow.csv
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID
from sqlalchemy.dialects.postgresql import psycopg2 as psycopg2_dialect
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

from seedtest_assets import tables
from seedtest_assets.failures import PermanentFailure, TransientFailure
from seedtest_assets.settings import settings

PIPE_BUFFER = 1 << 20
ASSET_NAMESPACE = uuid.UUID("6f2c1e58-7a0e-5d7b-9c35-6a4d1f0b2e77")
DIALECT: PGDialect_psycopg2 = psycopg2_dialect.dialect()  # type: ignore[no-untyped-call]
UTC = sa.text("SET LOCAL TIME ZONE 'UTC'")
NO_DATABASE = (
    "No database is configured. Set DATABASE_URL=postgresql://user:password@host/seedtest, or start the commands "
    "through ./run, which brings its own PostgreSQL."
)


def run_id(asset: str, week_start: date) -> uuid.UUID:
    """The identity of an asset's window: the same for every rerun."""
    return uuid.uuid5(ASSET_NAMESPACE, f"{asset}/{week_start.isoformat()}")


def normalised_url(url: str) -> sa.URL:
    """Any PostgreSQL URL as SQLAlchemy wants it, with the one driver this project uses.

    Raises:
        ValueError: for another database than PostgreSQL.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() not in {"postgresql", "postgres"}:
        raise ValueError(f"{parsed.get_backend_name()} is not supported: DATABASE_URL must be postgresql://…")
    return parsed.set(drivername="postgresql+psycopg2")


@dataclass(frozen=True)
class Rows:
    """New content for one table's window: `rows` replaces what `where` selects.

    Attributes:
        table: the table.
        rows: a frame whose columns are columns of the table, or a SELECT with such labels.
        where: the window's condition, for example `table.c.week_start == week.start`.
    """

    table: sa.Table
    rows: pd.DataFrame | sa.Select[*tuple[Any, ...]]
    where: sa.ColumnElement[bool]


class Database(dg.ConfigurableResource[None]):
    """The seedtest database. Connects on first use, with a pool of two, and never at import."""

    @cached_property
    def engine(self) -> sa.Engine:
        """The pooled engine."""
        url = settings().database_url
        if url is None:
            raise PermanentFailure(NO_DATABASE)
        return sa.create_engine(
            normalised_url(url.get_secret_value()),
            pool_size=2,
            max_overflow=0,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={"application_name": "seedtest", "connect_timeout": 10},
        )

    @cached_property
    def attempt(self) -> sa.TableClause:
        """The relation of answered questions (SEEDTEST_ATTEMPT_RELATION)."""
        return tables.attempt_relation()

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Close the pool with the run: a week-long backfill must not gather idle connections."""
        if "engine" in self.__dict__:
            self.engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """One transaction: committed at the end, rolled back on any error. It speaks UTC, whatever the server does.

        Raises:
            TransientFailure: when the server is away, shutting down or out of connections, when two
                transactions met in a deadlock, or when no connection of the pool came free in time.
            PermanentFailure: when it refuses the statement: a missing migration, a violated constraint, …
        """
        try:
            with self.engine.begin() as connection:
                connection.execute(UTC)  # of this transaction: a pooler gives the session to others after it
                yield connection
        except sa.exc.TimeoutError as error:
            raise TransientFailure(f"no database connection came free: {error}") from error
        except (sa.exc.DBAPIError, psycopg2.Error) as error:  # COPY goes past SQLAlchemy
            cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
            # `from None`: the driver's own message quotes values.
            if _is_transient(cause):
                raise TransientFailure(f"the database is away: {_what_happened(cause)}") from None
            if isinstance(cause, psycopg2.errors.UndefinedTable | psycopg2.errors.UndefinedColumn):
                raise PermanentFailure(
                    f"{_what_happened(cause)}. Is the schema up to date? `seedtest migrate` brings it."
                ) from None
            raise PermanentFailure(f"the database refused the statement: {_what_happened(cause)}") from None

    def frame(self, query: sa.Select[*tuple[Any, ...]], connection: sa.Connection | None = None) -> pd.DataFrame:
        """The rows of a SELECT as a frame, one Arrow-typed or NumPy column each.

        uuid and text come as strings, timestamps as UTC datetimes, booleans and integers with NULLs in nullable
        columns, jsonb as what json.loads makes of it.

        Args:
            query: the SELECT; its bound values are quoted by the driver.
            connection: a transaction to read in; by default one of its own.
        """
        if connection is None:
            with self.transaction() as own:
                return self.frame(query, own)
        table = _copy_out(connection, query)
        frame = _to_pandas(table)
        for column in query.selected_columns:
            if isinstance(column.type, JSONB):
                frame[column.name] = frame[column.name].astype(object).map(json.loads, na_action="ignore")
        return frame

    def rows(self, query: sa.Select[*tuple[Any, ...]]) -> Sequence[sa.Row[*tuple[Any, ...]]]:
        """The rows of a small SELECT."""
        with self.transaction() as connection:
            return connection.execute(query).all()

    @contextmanager
    def alone(self, work: str, week_start: date) -> Iterator[None]:
        """Do long work on a week that nobody else does at the same time: whoever comes second waits for the first.

        The lock is that of a transaction that does nothing else, so that it ends with the process, and works through
        a pooler of transactions. It takes one of the pool's two connections.

        Args:
            work: its name, other than any table's.
            week_start: the week.
        """
        with self.transaction() as connection:
            connection.execute(sa.select(_advisory_lock(work, week_start)))
            yield

    def replace(self, *windows: Rows, week_start: date) -> dict[str, int]:
        """Put new content into the windows of one or several tables, all in one transaction.

        For each table: take the advisory lock of (table, week), so that two writers queue; delete the window;
        copy the new rows in. Readers see the old rows or the new ones, never half; a crash leaves the old.

        Args:
            windows: the new content, parents before children.
            week_start: the week whose locks are taken.

        Returns:
            Rows written, by table name.
        """
        written = {}
        with self.transaction() as connection:
            for window in sorted(windows, key=lambda w: w.table.name):  # one order: no deadlock
                connection.execute(sa.select(_advisory_lock(window.table.name, week_start)))
            for window in reversed(windows):
                connection.execute(sa.delete(window.table).where(window.where))
            for window in windows:
                written[window.table.name] = self._insert(connection, window)
        return written

    def _insert(self, connection: sa.Connection, window: Rows) -> int:
        if isinstance(window.rows, pd.DataFrame):
            return copy_in(connection, window.table, window.rows)
        names = [column.name for column in window.rows.selected_columns]
        return connection.execute(window.table.insert().from_select(names, window.rows)).rowcount


def _advisory_lock(name: str, week_start: date) -> sa.ColumnElement[Any]:
    """A lock of the database, which other tenants may share."""
    return sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"{tables.ANALYTICS}.{name}"), week_start.toordinal())


def _copy_out(connection: sa.Connection, query: sa.Select[*tuple[Any, ...]]) -> pa.Table:
    """The rows of a SELECT as an Arrow table, parsed while they arrive: the text is never in memory as a whole."""
    schema = pa.schema([(column.name, _arrow_type(column.type)) for column in query.selected_columns])
    compiled = query.compile(dialect=DIALECT, compile_kwargs={"render_postcompile": True})
    read_end, write_end = os.pipe()
    with ThreadPoolExecutor(1) as pool, _cursor(connection) as cursor:
        parsed = pool.submit(_parse, read_end, schema)
        # A broken pipe means that the parser has given up: its own error says why.
        with suppress(BrokenPipeError), io.BufferedWriter(io.FileIO(write_end, "wb"), PIPE_BUFFER) as sink:
            statement = cursor.mogrify(str(compiled), compiled.params).decode()
            cursor.copy_expert(f"COPY ({statement}) TO STDOUT (FORMAT csv)", sink)
        return parsed.result()


def _parse(read_end: int, schema: pa.Schema) -> pa.Table:
    with io.BufferedReader(io.FileIO(read_end), PIPE_BUFFER) as source:
        if not source.peek(1):
            return schema.empty_table()
        return pa.csv.read_csv(
            source,
            read_options=pa.csv.ReadOptions(column_names=schema.names),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            convert_options=pa.csv.ConvertOptions(
                column_types=schema,
                true_values=["t"],
                false_values=["f"],
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )


def copy_in(connection: sa.Connection, table: sa.Table, frame: pd.DataFrame) -> int:
    """COPY a frame into a table; its columns are matched by name, missing values become NULL.

    Raises:
        KeyError: when the frame has a column that the table has not.
    """
    if frame.empty:
        return 0
    content = frame.copy(deep=False)
    for name in content.columns:
        if isinstance(table.c[name].type, JSONB):
            content[name] = content[name].map(json.dumps, na_action="ignore")
        elif content[name].dtype == object:
            content[name] = content[name].map(str, na_action="ignore")
        elif isinstance(content[name].dtype, pd.DatetimeTZDtype):  # a zone makes Arrow's text thirty times slower
            content[name] = content[name].dt.tz_convert("UTC").dt.tz_localize(None)
    buffer = io.BytesIO()
    # One chunk: of a column that begins with an empty one, as concatenation leaves it, Arrow writes zero bytes.
    arrow = pa.Table.from_pandas(content, preserve_index=False).combine_chunks()
    pa.csv.write_csv(arrow, buffer, pa.csv.WriteOptions(include_header=False))
    buffer.seek(0)
    quote = DIALECT.identifier_preparer
    columns = ", ".join(quote.quote(name) for name in content.columns)
    with _cursor(connection) as cursor:
        cursor.copy_expert(f"COPY {quote.format_table(table)} ({columns}) FROM STDIN (FORMAT csv)", buffer)
        return int(cursor.rowcount)


def _cursor(connection: sa.Connection) -> psycopg2.extensions.cursor:
    """The driver's own cursor, for COPY; a context manager."""
    driver_connection = cast("psycopg2.extensions.connection", connection.connection.driver_connection)
    return driver_connection.cursor()


def _is_transient(error: BaseException | None) -> bool:
    if isinstance(error, psycopg2.InterfaceError):
        return True
    if not isinstance(error, psycopg2.OperationalError):
        return False
    # No SQLSTATE: the connection itself failed. 08 connection, 40 rollback, 53 resources, 57P shutdown, 55P lock.
    return error.pgcode is None or error.pgcode[:2] in {"08", "40", "53"} or error.pgcode[:3] in {"57P", "55P"}


def _what_happened(error: BaseException | None) -> str:
    """What the server said, without the values it said it about."""
    if not isinstance(error, psycopg2.Error) or error.diag.sqlstate is None:
        return str(error).strip()  # the connection itself failed
    said = error.diag
    quotes_a_value = error.diag.sqlstate.startswith("22")
    message = "a value does not fit" if quotes_a_value else said.message_primary
    place = [said.table_name, said.column_name, said.constraint_name, (said.context or "").partition(": ")[0]]
    return ", ".join([f"{message} ({type(error).__name__})", *filter(None, place)])


def _arrow_type(kind: sa.types.TypeEngine[Any]) -> pa.DataType:
    match kind:
        case sa.Boolean():
            return pa.bool_()
        case sa.BigInteger():
            return pa.int64()
        case sa.Integer():
            return pa.int32()
        case sa.Float() | sa.Numeric():
            return pa.float64()
        case TIMESTAMP() | sa.DateTime():
            return pa.timestamp("us", tz="UTC")
        case sa.Date():
            return pa.date32()
        case UUID() | sa.Uuid():
            return pa.dictionary(pa.int32(), pa.string())
        case _:
            return pa.string()


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    """NumPy columns where nothing is missing; nullable integers and booleans where something is."""
    nullable = {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        dtype = nullable.get(column.type) if column.null_count else None
        mapper = None if dtype is None else {column.type: dtype}.get
        columns[name] = column.to_pandas(types_mapper=mapper, date_as_object=True)
    return pd.DataFrame(columns, copy=False)
