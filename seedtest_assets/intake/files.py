"""CSV and Parquet files of attempts, read as a stream."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from seedtest_assets.intake.writer import DUPLICATE, LONGEST_ID, STAGED, AttemptWriter, Count
from seedtest_assets.resources.database import Database

BATCH_ROWS = 50_000
CSV_BLOCK = 2 << 20
REQUIRED = {
    "student_id": ("student_id",),
    "item_id": ("item_id",),
    "completed_at": ("completed_at", "answered_at"),
    "correct": ("correct", "is_correct"),
}
OPTIONAL = {
    "hint_used": ("hint_used", "hints_used"),
    "response_time_ms": ("response_time_ms",),
    "started_at": ("started_at",),
    "session_id": ("session_id",),
    "topic_id": ("topic_id",),
    "source_id": ("source_id",),
}
TRUTH = {
    **dict.fromkeys(("true", "t", "yes", "1", "1.0"), True),
    **dict.fromkeys(("false", "f", "no", "0", "0.0"), False),
}
DATE_TIME = r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?"
OFFSET = r" ?(?:[zZ]|[+-]\d{2}(?::?\d{2})?)"
LOCAL_TIME, ABSOLUTE_TIME = rf"{DATE_TIME})?$", rf"{DATE_TIME}{OFFSET})$"
LONG_AGO = pd.Timestamp("1970-01-01", tz="UTC")
FAR_FUTURE = pd.Timedelta(days=1)
Progress = Callable[[float], None]
Bools = npt.NDArray[np.bool_]


class UnreadableFile(ValueError):
    """The file cannot be taken in at all; the message says why and what is expected."""


@dataclass(frozen=True)
class Batch:
    """Some rows of a file as they came.

    Attributes:
        rows: all of the file's columns.
        malformed: lines that are no rows at all (another number of fields).
        done: how far into the file they end, 0 to 1.
    """

    rows: pa.Table
    malformed: list[str]
    done: float


@dataclass(frozen=True)
class AttemptFile:
    """An opened file: its columns, and its rows as a stream."""

    columns: list[str]
    batches: Iterator[Batch]


def import_file(
    database: Database,
    path: Path,
    *,
    source: str = "file",
    item_column: str | None = None,
    timezone: str = "UTC",
    progress: Progress = lambda done: None,
) -> Count:
    """Take a CSV or Parquet file of attempts into intake.attempt, all or nothing.

    Memory is bounded by the batch. A row is refused, with its reason, into attempt_reject; a line of a CSV
    file with the wrong number of fields too. Importing a file again changes nothing; importing it with another
    item column or time zone corrects its rows.

    Args:
        database: where to.
        path: the file; columns as in the attempt contract, `answered_at`, `is_correct`, `hints_used` also by
            these names. A `source_id` column, if there is one, identifies rows; otherwise their content does.
        source: name of the source, the first half of a row's identity.
        item_column: take the item from this column instead of item_id (e.g. topic_id for coarse items).
        timezone: zone of times that carry no offset.
        progress: called with the share of the file that is read.

    Raises:
        UnreadableFile: no such file, another format, or a required column is missing.
    """
    with _opened(path) as file:
        columns = _columns(path, file.columns, item_column)
        with database.transaction() as connection:
            writer = AttemptWriter(connection, source)
            for batch in file.batches:
                rows, rejects, zero_times = _sorted_out(batch, columns, timezone)
                writer.add(rows, rejects, zero_times=zero_times)
                progress(batch.done)
            return writer.finish()


def read_file(
    path: Path, *, item_column: str | None = None, progress: Progress = lambda done: None
) -> tuple[pd.DataFrame, Counter[str]]:
    """The attempts that `import_file` would take from a file, all in memory, without a database.

    Args:
        path: the file, as for `import_file`; times without an offset are UTC.
        item_column: take the item from this column instead of item_id.
        progress: called with the share of the file that is read.

    Returns:
        The valid rows in the file's order (columns STAGED, ids as the file has them) and how many were refused,
        by reason.

    Raises:
        UnreadableFile: no such file, another format, or a required column is missing.
    """
    parts, refused = [], Counter[str]()
    with _opened(path) as file:
        columns = _columns(path, file.columns, item_column)
        for batch in file.batches:
            rows, rejects, _ = _sorted_out(batch, columns, "UTC")
            parts.append(rows)
            refused.update(rejects["reason"].tolist())
            progress(batch.done)
    if not parts:
        return pd.DataFrame(columns=STAGED), refused
    rows = pd.concat(parts, ignore_index=True)
    repeated = rows.duplicated("identity")
    refused.update({DUPLICATE: int(repeated.sum())} if repeated.any() else {})
    return rows[~repeated], refused


@contextmanager
def _opened(path: Path) -> Iterator[AttemptFile]:
    if not path.is_file():
        raise UnreadableFile(f"{path} does not exist")
    openers = {".parquet": _parquet, ".pq": _parquet, ".csv": _csv, ".gz": _csv}
    opener = openers.get(path.suffix.lower())
    if opener is None:
        raise UnreadableFile(f"{path.name}: give a .parquet, .csv or .csv.gz file")
    try:
        with opener(path) as file:
            yield file
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(f"{path.name} cannot be read as {path.suffix}: {error}") from error


@contextmanager
def _parquet(path: Path) -> Iterator[AttemptFile]:
    with pa.parquet.ParquetFile(path) as file:

        def batches() -> Iterator[Batch]:
            rows, read = max(file.metadata.num_rows, 1), 0
            for batch in file.iter_batches(BATCH_ROWS):
                read += batch.num_rows
                yield Batch(pa.Table.from_batches([batch]), [], read / rows)

        yield AttemptFile(file.schema_arrow.names, batches())


@contextmanager
def _csv(path: Path) -> Iterator[AttemptFile]:
    """Every column as bytes: what is no text, number or time is refused by row, not by file."""
    malformed: list[str] = []

    def refuse(row: Any) -> str:
        malformed.append(row.text)
        return "skip"

    parse = pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse)
    with pa.csv.open_csv(path, parse_options=parse) as preview:
        names = preview.schema.names
    malformed.clear()
    convert = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.binary()), strings_can_be_null=True, null_values=["", "NA", "NULL"]
    )
    with pa.csv.open_csv(path, pa.csv.ReadOptions(block_size=CSV_BLOCK, use_threads=False), parse, convert) as reader:

        def batches() -> Iterator[Batch]:
            size, read = max(path.stat().st_size, 1), 0
            for batch in reader:
                read += batch.nbytes
                lines, malformed[:] = malformed.copy(), []
                yield Batch(pa.Table.from_batches([batch]), lines, min(read / size, 1.0))
            if malformed:
                yield Batch(reader.schema.empty_table(), malformed, 1.0)

        yield AttemptFile(names, batches())


def _columns(path: Path, found: list[str], item_column: str | None) -> dict[str, str]:
    """The file's column for each of ours.

    Raises:
        UnreadableFile: when a required one is missing, or two have one name.
    """
    repeated = sorted({name for name in found if found.count(name) > 1})
    if repeated:
        raise UnreadableFile(f"{path.name} has several columns named {', '.join(repeated)}")
    columns = {
        ours: next((name for name in names if name in found), None) for ours, names in (REQUIRED | OPTIONAL).items()
    }
    if item_column is not None:
        columns["item_id"] = item_column if item_column in found else None
    missing = [
        item_column if ours == "item_id" and item_column else " or ".join(names)
        for ours, names in REQUIRED.items()
        if columns[ours] is None
    ]
    if missing:
        raise UnreadableFile(
            f"{path.name} has no column {', '.join(str(name) for name in missing)}. "
            f"It has: {', '.join(found)}. Required: {', '.join(' or '.join(names) for names in REQUIRED.values())}; "
            f"used if present: {', '.join(' or '.join(names) for names in OPTIONAL.values())}."
        )
    return {ours: name for ours, name in columns.items() if name is not None}


def _sorted_out(batch: Batch, columns: dict[str, str], timezone: str) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """The valid rows, the refused ones with their reason, and how many response times were 0."""
    raw, not_utf8 = _as_text(batch.rows)

    def text(ours: str) -> "pd.Series[str]":
        if ours not in columns:
            return pd.Series(None, index=range(raw.num_rows), dtype="str")
        found: pd.Series[str] = raw[columns[ours]].to_pandas().astype("str")
        return found.mask(found.str.strip() == "")

    def instants(ours: str) -> "pd.Series[pd.Timestamp]":
        if ours in columns and pa.types.is_timestamp(batch.rows[columns[ours]].type):
            return _utc(batch.rows[columns[ours]], timezone)
        return _parsed(text(ours).str.strip(), timezone)

    content = pc.binary_join_element_wise(*(column.fill_null("") for column in raw.columns), "\x1f")
    truth = text("correct").str.strip().str.lower().map(TRUTH)
    time_text = text("response_time_ms")
    time_ms = pd.to_numeric(time_text, errors="coerce").round()
    hints_text = text("hint_used").str.strip().str.lower()
    hint_count = pd.to_numeric(hints_text, errors="coerce")
    hints = hints_text.map(TRUTH).astype("object")
    hint_used = hints.where(hints.notna(), (hint_count > 0).where(hint_count >= 0))
    completed, started, started_text = instants("completed_at"), instants("started_at"), text("started_at")
    rows = pd.DataFrame(
        {
            "identity": _identities(content, text("source_id")),
            "student": text("student_id"),
            "item": text("item_id"),
            "correct": truth,
            "response_time_ms": time_ms.where(time_ms != 0),
            "hint_used": hint_used,
            "completed_at": completed,
            "started_at": started,
            "session_id": text("session_id"),
            "topic_id": text("topic_id"),
        }
    )[STAGED]
    ids = rows[["student", "item", "session_id", "topic_id"]].assign(source_id=text("source_id"))
    tomorrow = pd.Timestamp.now("UTC") + FAR_FUTURE
    reasons = {
        "is not UTF-8": not_utf8,
        "contains a NUL character": pc.match_substring(content, "\x00"),
        "student_id is missing": rows["student"].isna(),
        "item_id is missing": rows["item"].isna(),
        f"an id is longer than {LONGEST_ID} characters": ids.apply(lambda id_: id_.str.len() > LONGEST_ID).any(axis=1),
        "an id contains a line break (a quote that is not closed?)": ids.apply(
            lambda id_: id_.str.contains("\n", regex=False, na=False)
        ).any(axis=1),
        "time of the answer is missing or not ISO 8601": completed.isna(),
        "time of the answer is before 1970": completed < LONG_AGO,
        "time of the answer is in the future": completed > tomorrow,
        "started_at is not ISO 8601": started_text.notna() & started.isna(),
        "started_at is before 1970 or in the future": (started < LONG_AGO) | (started > tomorrow),
        "correct is missing or not true/false": truth.isna(),
        "response_time_ms is not a number": time_text.notna() & time_ms.isna(),
        "response_time_ms is negative": time_ms < 0,
        "response_time_ms is beyond 24 days": time_ms > np.iinfo(np.int32).max,
        "hint_used is neither a count nor true/false": hints_text.notna() & rows["hint_used"].isna(),
    }
    reason = np.select([np.asarray(bad, bool) for bad in reasons.values()], list(reasons), default="")
    good = reason == ""
    zero_times = int((time_ms == 0)[good].sum())
    valid = rows[good].astype({"correct": "bool", "response_time_ms": "Int32", "hint_used": "boolean"})
    refused = _rejects(raw.filter(pa.array(~good)), rows["identity"][~good], reason[~good], batch)
    return valid, refused, zero_times


def _as_text(rows: pa.Table) -> tuple[pa.Table, Bools]:
    """Every column as text, and which rows have bytes that are no UTF-8 (� stands in for these)."""
    not_utf8 = np.zeros(rows.num_rows, bool)
    columns = {}
    for name in rows.column_names:
        raw = rows[name]
        if pa.types.is_string(raw.type) or pa.types.is_large_string(raw.type):
            raw = raw.cast(pa.large_binary())  # Arrow checks bytes when they become text, not when it reads
        column = _cast(raw)
        if column is None:
            values = raw.to_pylist()
            printed = [value.decode(errors="replace") if isinstance(value, bytes) else value for value in values]
            broken = (isinstance(v, bytes) and v != p.encode() for v, p in zip(values, printed, strict=True))
            not_utf8 |= np.fromiter(broken, bool, len(values))
            column = pa.chunked_array([[None if value is None else str(value) for value in printed]], pa.string())
        columns[name] = column
    return pa.table(columns), not_utf8


def _cast(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """The column as text, or None where Arrow has no way: uuids, lists, bytes that are no UTF-8."""
    if isinstance(column.type, pa.BaseExtensionType):
        return None
    if pa.types.is_timestamp(column.type):  # as UTC: with a zone the text takes thirty times as long
        column = column.cast(pa.timestamp(column.type.unit))
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _identities(content: pa.ChunkedArray, given: "pd.Series[str]") -> "pd.Series[str]":
    """The given identity where it can be stored, else that of the row's content."""
    hashed = pd.Series([hashlib.md5(row.encode(), usedforsecurity=False).hexdigest() for row in content.to_pylist()])
    storable = (given.str.len() <= LONGEST_ID) & ~given.str.contains("\x00", regex=False, na=False)
    return given.where(storable, hashed)


def _utc(column: pa.ChunkedArray, timezone: str) -> "pd.Series[pd.Timestamp]":
    """Timestamps as UTC; those without a zone are local to `timezone`."""
    times: pd.Series[pd.Timestamp] = column.to_pandas()
    return times.dt.tz_convert("UTC") if column.type.tz else _localised(times, timezone)


def _parsed(text: "pd.Series[str]", timezone: str) -> "pd.Series[pd.Timestamp]":
    """ISO 8601 as UTC; what carries no offset is local to `timezone`. NaT where it is no time."""
    absolute, local = text.str.match(ABSOLUTE_TIME, na=False), text.str.match(LOCAL_TIME, na=False)
    at = pd.to_datetime(text.where(absolute), utc=True, errors="coerce", format="ISO8601")
    here = pd.to_datetime(text.where(local), errors="coerce", format="ISO8601")
    return at.where(absolute, _localised(here, timezone))


def _localised(times: "pd.Series[pd.Timestamp]", timezone: str) -> "pd.Series[pd.Timestamp]":
    """Local times as UTC; the first of an hour that comes twice, the next of one that is left out."""
    first = np.ones(len(times), bool)
    return times.dt.tz_localize(timezone, ambiguous=first, nonexistent="shift_forward").dt.tz_convert("UTC")


def _rejects(
    raw: pa.Table, identities: "pd.Series[str]", reasons: "np.ndarray[Any, Any]", batch: Batch
) -> pd.DataFrame:
    payloads = [
        {name: None if value is None else value.replace("\x00", "\ufffd") for name, value in row.items()}
        for row in raw.to_pylist()
    ]
    rows = pd.DataFrame({"identity": identities.to_numpy(), "reason": reasons, "payload": payloads})
    lines = [line.replace("\x00", "\ufffd") for line in batch.malformed]
    malformed = pd.DataFrame(
        {
            "identity": [hashlib.md5(line.encode(), usedforsecurity=False).hexdigest() for line in lines],
            "reason": "wrong number of fields",
            "payload": [{"line": line} for line in lines],
        }
    )
    return pd.concat([rows, malformed], ignore_index=True)
