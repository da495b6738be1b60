"""Columns out and columns in: what COPY carries is what was there."""

import json
import uuid
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID

from seedtest_assets.failures import PermanentFailure
from seedtest_assets.resources.database import Database, copy_in

COLUMNS = {
    "n": sa.Integer(),
    "big": sa.BigInteger(),
    "x": sa.Double(),
    "yes": sa.Boolean(),
    "words": sa.Text(),
    "who": UUID(),
    "day": sa.Date(),
    "at": TIMESTAMP(timezone=True),
    "doc": JSONB(),
}
STUDENT = uuid.UUID("00000000-0000-0000-0000-0000000000ab")
NASTY = [
    "",
    " ",
    "NULL",
    "NA",
    "\\N",
    "\\.",
    'a "quoted", one',
    "two\nlines\r\nmore",
    "it's 100% %s %(x)s",
    "학생 é 🎓",
    "t",
]

instants = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20) | st.sampled_from(NASTY)
documents = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
).filter(lambda value: "\\u0000" not in json.dumps(value))
one_row = st.fixed_dictionaries(
    {
        "n": st.none() | st.integers(-(2**31), 2**31 - 1),
        "big": st.none() | st.integers(-(2**63), 2**63 - 1),
        "x": st.none() | st.floats(allow_nan=False),
        "yes": st.none() | st.booleans(),
        "words": st.none() | texts,
        "who": st.none() | st.uuids(),
        "day": st.none() | st.dates(date(1900, 1, 1), date(2200, 1, 1)),
        "at": st.none() | instants,
        "doc": st.none() | documents,
    }
)


@pytest.fixture
def everything(scratch) -> sa.Table:
    columns = (sa.Column(name, kind) for name, kind in COLUMNS.items())
    return scratch("everything", sa.Column("place", sa.Integer()), *columns)


def plain(value: Any) -> Any:
    """A frame's cell as Python has it: missing is None, a uuid is its text."""
    if isinstance(value, dict | list):
        return value
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime()
    return str(value) if isinstance(value, uuid.UUID) else value.item() if isinstance(value, np.generic) else value


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(rows=st.lists(one_row, min_size=1, max_size=6))
def test_frame_returns_what_is_stored_whatever_is_stored(database: Database, everything: sa.Table, rows) -> None:
    placed = [{**row, "place": place} for place, row in enumerate(rows)]
    none = {name: sa.null() for name in COLUMNS}
    with database.transaction() as connection:
        connection.execute(sa.delete(everything))
        for row in placed:  # past copy_in: the driver's own way
            connection.execute(sa.insert(everything).values(none | {k: v for k, v in row.items() if v is not None}))
    frame = database.frame(sa.select(everything).order_by("place"))
    found = [{name: plain(value) for name, value in row.items()} for row in frame.to_dict("records")]
    assert found == [{name: plain(value) for name, value in row.items()} for row in placed]


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(rows=st.lists(one_row, min_size=1, max_size=6))
def test_copy_in_then_frame_is_the_identity(database: Database, everything: sa.Table, rows) -> None:
    placed = pd.DataFrame([{"place": place, **row} for place, row in enumerate(rows)], dtype=object)
    with database.transaction() as connection:
        connection.execute(sa.delete(everything))
        assert copy_in(connection, everything, placed) == len(rows)
    once = database.frame(sa.select(everything).order_by("place"))
    with database.transaction() as connection:
        connection.execute(sa.delete(everything))
        copy_in(connection, everything, once)
    twice = database.frame(sa.select(everything).order_by("place"))
    pd.testing.assert_frame_equal(once, twice)
    found = [{name: plain(value) for name, value in row.items()} for row in once.to_dict("records")]
    assert found == [{"place": place, **{k: plain(v) for k, v in row.items()}} for place, row in enumerate(rows)]


def test_dtypes_with_nothing_missing_with_something_missing_and_with_no_rows(
    database: Database, everything: sa.Table
) -> None:
    full = {
        **{"place": 1, "n": 1, "big": 2**60, "x": 0.1, "yes": True, "words": "w", "who": STUDENT},
        **{"day": date(2025, 1, 1), "at": datetime(2025, 1, 1, 12, tzinfo=UTC), "doc": {"k": [1, None]}},
    }
    dense = {
        "n": "int32",
        "big": "int64",
        "x": "float64",
        "yes": "bool",
        "words": "str",
        "who": "category",
        "day": "object",
        "at": "datetime64[us, UTC]",
        "doc": "object",
    }
    query = sa.select(everything).order_by("place")
    nothing = database.frame(query)
    assert (list(nothing.columns), len(nothing)) == (["place", *COLUMNS], 0)
    assert {name: str(nothing[name].dtype) for name in COLUMNS} == dense
    with database.transaction() as connection:
        connection.execute(sa.insert(everything), [full])
    assert {name: str(dtype) for name, dtype in database.frame(query).dtypes.items() if name != "place"} == dense
    with database.transaction() as connection:
        connection.execute(sa.insert(everything).values(place=2))
    nullable = dense | {"n": "Int32", "big": "Int64", "yes": "boolean"}
    mixed = database.frame(query)
    assert {name: str(mixed[name].dtype) for name in COLUMNS} == nullable
    assert mixed.loc[1, list(COLUMNS)].isna().all()
    assert mixed.loc[0, "big"] == 2**60


def test_a_single_column_keeps_its_nulls_and_its_empty_strings_apart(database: Database, everything: sa.Table) -> None:
    with database.transaction() as connection:
        values = [{"place": place, "words": words} for place, words in enumerate(["", None, "x", None, ""])]
        connection.execute(sa.insert(everything), values)
    words = database.frame(sa.select(everything.c.words).order_by(everything.c.place))["words"]
    assert [None if pd.isna(word) else word for word in words] == ["", None, "x", None, ""]


def test_floats_come_and_go_without_losing_a_bit(database: Database, everything: sa.Table) -> None:
    values = np.array([0.1, 1 / 3, -0.0, 5e-324, 1.7976931348623157e308, np.inf, -np.inf, np.pi])
    with database.transaction() as connection:
        copy_in(connection, everything, pd.DataFrame({"place": range(len(values)), "x": values}))
    back = database.frame(sa.select(everything.c.x).order_by(everything.c.place))["x"].to_numpy()
    assert back.tobytes() == values.tobytes()


@pytest.mark.parametrize("zone", ["Asia/Seoul", "America/New_York", "UTC"])
def test_instants_are_utc_whatever_zone_they_come_in(database: Database, everything: sa.Table, zone: str) -> None:
    instants = pd.Series(pd.to_datetime(["2025-03-30 01:30", "2025-11-02 05:30"]).tz_localize("UTC").tz_convert(zone))
    with database.transaction() as connection:
        copy_in(connection, everything, pd.DataFrame({"place": [0, 1], "at": instants}))
    back = database.frame(sa.select(everything.c.at).order_by(everything.c.place))["at"]
    assert [str(at) for at in back] == ["2025-03-30 01:30:00+00:00", "2025-11-02 05:30:00+00:00"]


@pytest.mark.parametrize("text", [*NASTY, "'); DROP TABLE everything; --", "%(words_1)s", "%%", "$1", ":name", "{0}"])
def test_a_bound_value_is_a_value_and_never_sql(database: Database, everything: sa.Table, text: str) -> None:
    with database.transaction() as connection:
        connection.execute(sa.insert(everything), [{"place": 1, "words": text}, {"place": 2, "words": "other"}])
    found = database.frame(sa.select(everything.c.place, everything.c.words).where(everything.c.words == text))
    assert found.to_dict("records") == [{"place": 1, "words": text}]
    assert database.frame(sa.select(sa.literal(text).label("x")))["x"].tolist() == [text]
    with database.transaction() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(everything)).scalar_one() == 2


def test_percent_signs_of_the_statement_itself_survive(database: Database) -> None:
    assert database.frame(sa.select(sa.literal_column("'100%'", sa.Text).label("x")))["x"].tolist() == ["100%"]
    odd = sa.select((sa.literal(7) % sa.literal(4)).label("x"))
    assert database.frame(odd)["x"].tolist() == [3]


def test_a_frame_column_that_the_table_has_not_is_an_error(database: Database, everything: sa.Table) -> None:
    with pytest.raises(KeyError), database.transaction() as connection:
        copy_in(connection, everything, pd.DataFrame({"place": [1], "unknown": [2]}))


def test_json_that_is_no_json_is_refused(database: Database, everything: sa.Table) -> None:
    with pytest.raises(PermanentFailure), database.transaction() as connection:
        copy_in(connection, everything, pd.DataFrame({"place": [1], "doc": [{"x": float("nan")}]}))


def test_a_time_that_no_frame_can_hold_is_an_error_and_the_connection_stays_usable(database: Database) -> None:
    forever = sa.select(sa.literal_column("'infinity'::timestamptz", TIMESTAMP(timezone=True)).label("at"))
    many = forever.select_from(sa.func.generate_series(1, 300_000))
    with pytest.raises(ValueError, match="infinity"):
        database.frame(many)
    assert database.frame(sa.select(sa.literal(1).label("x")))["x"].tolist() == [1]


def test_a_frame_read_in_a_transaction_sees_what_it_wrote(database: Database, everything: sa.Table) -> None:
    with database.transaction() as connection:
        copy_in(connection, everything, pd.DataFrame({"place": [1, 2]}))
        assert len(database.frame(sa.select(everything.c.place), connection)) == 2
        assert len(database.frame(sa.select(everything.c.place))) == 0


def test_a_frame_put_together_from_an_empty_one_arrives_whole(database: Database, everything: sa.Table) -> None:
    """Arrow's CSV writer puts zero bytes, or an older write's, in place of a table's empty first chunk."""
    full = pd.DataFrame({"place": [1, 2, 3], "words": ["a", "b", "c"]}).astype({"words": "str"})
    for parts in ([full.head(0), full], [full, full.head(0)], [full.head(1), full.head(0), full.tail(2)]):
        with database.transaction() as connection:
            connection.execute(sa.delete(everything))
            assert copy_in(connection, everything, pd.concat(parts, ignore_index=True)) == 3
        back = database.frame(sa.select(everything.c.place, everything.c.words).order_by("place"))
        assert back.to_dict("list") == {"place": [1, 2, 3], "words": ["a", "b", "c"]}
