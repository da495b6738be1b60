"""Answers too many for an HTTP body: files in a folder that the pipeline and an R service share."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

PART_ROWS = 1_000_000
"""Rows to a file, about: the service has one file at a time in memory."""


@contextmanager
def spooled(answers: pd.DataFrame, root: Path, part_rows: int = PART_ROWS) -> Iterator[str]:
    """Write answers to a folder under `root` as CSV files, each with all answers of its students; remove it in the end.

    The folder is named by its content, so that a retried request is the same request. A folder that is there already
    was left by a process that was killed, or is in use by another one with the same answers; its content is the same.

    Args:
        answers: the columns to write; student_id is one of them.
        root: the shared folder (R_SERVICE_SPOOL_DIR).
        part_rows: rows after which the next student begins a new file.

    Yields:
        The folder's name.
    """
    root.mkdir(parents=True, exist_ok=True)
    ordered = answers.sort_values("student_id", kind="stable")
    student = ordered["student_id"].to_numpy()
    starts = np.flatnonzero(np.append(True, student[1:] != student[:-1]))
    firsts = starts[np.unique(starts // part_rows, return_index=True)[1]]
    digest = hashlib.sha256()
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=root))
    folder = draft
    try:
        draft.chmod(0o755)
        for number, (first, last) in enumerate(zip(firsts, [*firsts[1:], len(ordered)], strict=True)):
            part = draft / f"part-{number:05d}.csv"
            pa.csv.write_csv(pa.Table.from_pandas(ordered.iloc[first:last], preserve_index=False), part)
            with part.open("rb") as written:
                digest.update(hashlib.file_digest(written, "sha256").digest())
        folder = root / digest.hexdigest()
        if not folder.exists():
            draft.rename(folder)
        yield folder.name
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
