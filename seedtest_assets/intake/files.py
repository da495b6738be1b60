"""CSV and Parquet files of attempts, read as a stream."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from seedtest_assets.intake.writer import AttemptWriter, Count
from seedtest_assets.resources.database import Database

BATCH_ROWS = 50_000
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
TRUTH = {"true": True, "t": True, "1": True, "yes": True, "false": False, "f": False, "0": False, "no": False}
OFFSET = r"(?:[zZ]|[+-]\d{2}(?::?\d{2})?)$"
FAR_FUTURE = pd.Timedelta(days=1)
Progress = Callable[[float], None]


class UnreadableFile(ValueError):
    """The file cannot be taken in at all; the message says why and what is expected."""


@dataclass(frozen=True)
class Batch:
    """Some rows of a file as they came.

    Attributes:
        rows: at most BATCH_ROWS rows, all of the file's columns.
        malformed: lines that are no rows at all (another number of fields).
        done: how far into the file they end, 0 to 1.
    """

    rows: pa.Table
    malformed: list[str]
    done: float


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
    file with the wrong number of fields too. Importing a file again changes nothing.

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
    with database.transaction() as connection:
        writer = AttemptWriter(connection, source)
        for batch in _batches(path):
            columns = _columns(path, batch.rows.column_names, item_column)
            rows, rejects, zero_times = _sorted_out(batch, columns, timezone)
            writer.add(rows, rejects, zero_times=zero_times)
            progress(batch.done)
        return writer.finish()


def _batches(path: Path) -> Iterator[Batch]:
    if not path.is_file():
        raise UnreadableFile(f"{path} does not exist")
    readers = {
        ".parquet": _parquet_batches,
        ".pq": _parquet_batches,
        ".csv": _csv_batches,
        ".gz": _csv_batches,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UnreadableFile(f"{path.name}: give a .parquet, .csv or .csv.gz file")
    try:
        yield from reader(path)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise UnreadableFile(f"{path.name} cannot be read as {path.suffix}: {error}") from error


def _parquet_batches(path: Path) -> Iterator[Batch]:
    with pa.parquet.ParquetFile(path) as file:
        rows, read = max(file.metadata.num_rows, 1), 0
        for batch in file.iter_batches(BATCH_ROWS):
            read += batch.num_rows
            yield Batch(pa.Table.from_batches([batch]), [], read / rows)


def _csv_batches(path: Path) -> Iterator[Batch]:
    """Every column as text: what is no number or time is refused by row, not by file."""
    malformed: list[str] = []

    def refuse(row: Any) -> str:
        malformed.append(row.text)
        return "skip"

    with pa.csv.open_csv(path) as preview:
        names = preview.schema.names
    convert = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        strings_can_be_null=True,
        null_values=["", "NA", "NULL"],
    )
    parse = pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=refuse)
    read_options = pa.csv.ReadOptions(block_size=4 << 20, use_threads=False)
    size, read = max(path.stat().st_size, 1), 0
    with pa.csv.open_csv(path, read_options, parse, convert) as reader:
        for batch in reader:
            read += batch.nbytes
            lines, malformed[:] = malformed.copy(), []
            yield Batch(pa.Table.from_batches([batch]), lines, min(read / size, 1.0))


def _columns(path: Path, found: list[str], item_column: str | None) -> dict[str, str]:
    """The file's column for each of ours.

    Raises:
        UnreadableFile: when a required one is missing.
    """
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
    raw = batch.rows

    def text(ours: str) -> "pd.Series[str]":
        if ours not in columns:
            return pd.Series(None, index=range(raw.num_rows), dtype="str")
        return _text(raw[columns[ours]])

    as_text = [raw[name].cast(pa.string()).fill_null("") for name in raw.column_names]
    content = pc.binary_join_element_wise(*as_text, "\x1f")
    truth = text("correct").str.strip().str.lower().map(TRUTH)
    time_text = text("response_time_ms")
    time_ms = pd.to_numeric(time_text, errors="coerce").round()
    hints_text = text("hint_used").str.strip().str.lower()
    hints = hints_text.map(TRUTH).astype("object").where(hints_text.isin(TRUTH.keys()))
    hint_count = pd.to_numeric(hints_text, errors="coerce")
    hint_used = hints.where(hints.notna(), (hint_count > 0).where(hint_count.notna()))
    completed = _instants(raw, columns, "completed_at", timezone)
    rows = pd.DataFrame(
        {
            "identity": _identities(content, text("source_id")),
            "student": text("student_id"),
            "item": text("item_id"),
            "correct": truth,
            "response_time_ms": time_ms.where(time_ms != 0),
            "hint_used": hint_used,
            "completed_at": completed,
            "started_at": _instants(raw, columns, "started_at", timezone),
            "session_id": text("session_id"),
            "topic_id": text("topic_id"),
        }
    )
    reasons = {
        "contains a NUL character": pc.match_substring(content, "\x00").to_pandas().to_numpy(bool),
        "student_id is missing": rows["student"].isna(),
        "item_id is missing": rows["item"].isna(),
        "time of the answer is missing or not a time": completed.isna(),
        "time of the answer is in the future": completed > pd.Timestamp.now("UTC") + FAR_FUTURE,
        "correct is missing or not true/false": truth.isna(),
        "response_time_ms is not a number": time_text.notna() & time_ms.isna(),
        "response_time_ms is negative": time_ms < 0,
        "response_time_ms is beyond 24 days": time_ms > np.iinfo(np.int32).max,
        "hint_used is neither a number nor true/false": hints_text.notna() & rows["hint_used"].isna(),
    }
    reason = np.select([np.asarray(bad, bool) for bad in reasons.values()], list(reasons), default="")
    good = reason == ""
    zero_times = int((time_ms == 0)[good].sum())
    valid = rows[good].astype({"correct": "bool", "response_time_ms": "Int32", "hint_used": "boolean"})
    return (
        valid,
        _rejects(raw.filter(pa.array(~good)), rows["identity"][~good], reason[~good], batch),
        zero_times,
    )


def _identities(content: pa.ChunkedArray, given: "pd.Series[str]") -> "pd.Series[str]":
    hashed = pd.Series([hashlib.md5(row.encode(), usedforsecurity=False).hexdigest() for row in content.to_pylist()])
    return given.where(given.notna(), hashed)


def _instants(raw: pa.Table, columns: dict[str, str], ours: str, timezone: str) -> "pd.Series[pd.Timestamp]":
    """Times as UTC; text in ISO 8601, and what carries no offset is local to `timezone`. NaT where it is no time."""
    if ours not in columns:
        return pd.Series(pd.NaT, index=range(raw.num_rows), dtype="datetime64[us, UTC]")
    column = raw[columns[ours]]
    if pa.types.is_timestamp(column.type):
        parsed = column.to_pandas().reset_index(drop=True)
        instants: pd.Series[pd.Timestamp] = (
            parsed.dt.tz_convert("UTC") if column.type.tz else _localised(parsed, timezone)
        )
        return instants
    text = _text(column).str.strip()
    has_offset = text.str.contains(OFFSET, regex=True, na=False) & text.str.contains(":", regex=False, na=False)
    absolute = pd.to_datetime(text.where(has_offset), utc=True, errors="coerce", format="ISO8601")
    local = pd.to_datetime(text.where(~has_offset), errors="coerce", format="ISO8601")
    return absolute.where(has_offset, _localised(local, timezone))


def _text(column: pa.ChunkedArray) -> "pd.Series[str]":
    text: pd.Series[str] = column.cast(pa.string()).to_pandas().astype("str").reset_index(drop=True)
    return text


def _localised(times: "pd.Series[pd.Timestamp]", timezone: str) -> "pd.Series[pd.Timestamp]":
    """Local times as UTC; the first of an hour that comes twice, the next of one that is left out."""
    first = np.ones(len(times), bool)
    return times.dt.tz_localize(timezone, ambiguous=first, nonexistent="shift_forward").dt.tz_convert("UTC")


def _rejects(
    raw: pa.Table, identities: "pd.Series[str]", reasons: "np.ndarray[Any, Any]", batch: Batch
) -> pd.DataFrame:
    payloads = [
        {name: None if value is None else str(value).replace("\x00", "\ufffd") for name, value in row.items()}
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
