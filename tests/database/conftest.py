"""What the database tests share: a row-independent picture of a table, and a connection of one's own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from seedtest_assets.resources.database import Database

Rows = list[tuple[Any, ...]]


@pytest.fixture
def read(database: Database) -> Callable[[str], Rows]:
    """The rows of a query written by hand, read past the code under test."""

    def rows(sql: str) -> Rows:
        with sa.create_engine(database.engine.url).connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(sql))]

    return rows


@pytest.fixture
def write(database: Database) -> Callable[..., None]:
    """Execute a statement written by hand, with its values."""

    def execute(sql: str, *values: dict[str, Any]) -> None:
        with database.transaction() as connection:
            connection.execute(sa.text(sql), list(values) or None)

    return execute


@pytest.fixture
def scratch(database: Database) -> Iterator[Callable[..., sa.Table]]:
    """Make a table for this test only: `scratch("name", Column, …)`."""
    metadata = sa.MetaData()

    def make(name: str, *columns: sa.Column[Any]) -> sa.Table:
        table = sa.Table(name, metadata, *columns)
        table.create(database.engine)
        return table

    yield make
    metadata.drop_all(database.engine)


@contextmanager
def _other(database: Database) -> Iterator[sa.Connection]:
    engine = sa.create_engine(database.engine.url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def elsewhere(database: Database) -> Iterator[sa.Connection]:
    """A second session, as another process would have it."""
    with _other(database) as connection:
        yield connection


@pytest.fixture
def attempts(database: Database) -> Callable[[], pd.DataFrame]:
    """All attempts as they are stored, without the surrogate id, in the order of their source identity."""

    def frame() -> pd.DataFrame:
        with _other(database) as connection:
            query = sa.text("SELECT * FROM intake.attempt ORDER BY source, source_id")
            return pd.read_sql(query, connection).drop(columns="id")

    return frame
