"""Time and peak memory of `seedtest import`, one fresh process per case, beside naive ways; prints the table."""

import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.csv as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from seedtest_assets.intake.files import import_file
from seedtest_assets.local.postgres import EmbeddedPostgres
from seedtest_assets.local.schema import migrate
from seedtest_assets.resources.database import Database
from seedtest_assets.simulate import CohortSpec, write_cohort

STUDENTS = {"1e5": 900, "1e6": 9_000}
WEEKS = 6


def simulated(folder: Path, students: int) -> None:
    folder.mkdir()
    write_cohort(CohortSpec(students=students, weeks=WEEKS, end=date(2025, 6, 29)), folder)
    with pc.CSVWriter(folder / "attempts.csv", pq.read_schema(folder / "attempts.parquet")) as writer:
        for batch in pq.ParquetFile(folder / "attempts.parquet").iter_batches():
            writer.write_batch(batch)


def imported(path: Path) -> int:
    count = import_file(Database(), path)
    return count.new + count.unchanged


def copied(path: Path) -> int:
    """The lower bound: PostgreSQL's own COPY of the text, no types, no keys, no mapping, no index."""
    header = path.open().readline()
    columns = ", ".join(f"{name} text" for name in header.strip().split(","))
    with Database().transaction() as connection:
        connection.execute(sa.text(f"CREATE TABLE public.naive ({columns})"))
        cursor = connection.connection.cursor()
        with path.open("rb") as file:
            cursor.copy_expert("COPY public.naive FROM STDIN (FORMAT csv, HEADER)", file)
        return cursor.rowcount


def to_sql(path: Path) -> int:
    """What a first script does: read the whole file, write rows by INSERT, no keys, no mapping, no index."""
    frame = pd.read_parquet(path)
    frame.to_sql("naive", Database().engine, schema="public", index=False)
    return len(frame)


def executemany(path: Path) -> int:
    """One INSERT per row by the driver, no keys, no mapping, no index."""
    frame = pd.read_parquet(path).astype(object)
    rows = frame.where(frame.notna(), None).to_numpy().tolist()
    columns = ", ".join(f"{name} text" for name in frame.columns)
    places = ", ".join(["%s"] * len(frame.columns))
    with Database().transaction() as connection:
        connection.execute(sa.text(f"CREATE TABLE public.naive ({columns})"))
        connection.connection.cursor().executemany(f"INSERT INTO public.naive VALUES ({places})", rows)
    return len(rows)


def emptied() -> None:
    with Database().transaction() as connection:
        connection.execute(sa.text("TRUNCATE intake.attempt, intake.attempt_reject, intake.item_key"))
        connection.execute(sa.text("DROP TABLE IF EXISTS public.naive"))


def measured(work: Callable[[Path], int], path: Path) -> tuple[int, float, float]:
    """Rows, seconds, and the (fresh) process's peak memory in MB."""
    Database().rows(sa.select(1))
    begin = time.perf_counter()
    rows = work(path)
    return rows, time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fresh(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call in a process of its own, so that its memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def main() -> None:
    cases: list[tuple[str, str, str, Callable[[Path], int], bool]] = [
        ("seedtest import", "1e5", "attempts.parquet", imported, True),
        ("seedtest import", "1e6", "attempts.parquet", imported, True),
        ("seedtest import, the same file again", "1e6", "attempts.parquet", imported, False),
        ("seedtest import", "1e5", "attempts.csv", imported, True),
        ("seedtest import", "1e6", "attempts.csv", imported, True),
        ("COPY of the text alone", "1e6", "attempts.csv", copied, True),
        ("pandas to_sql", "1e5", "attempts.parquet", to_sql, True),
        ("psycopg2 executemany", "1e5", "attempts.parquet", executemany, True),
    ]
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for size, students in STUDENTS.items():
            fresh(simulated, folder / size, students)
        server = EmbeddedPostgres(folder / "postgres")
        server.start()
        try:
            os.environ["DATABASE_URL"] = server.url("seedtest")
            fresh(migrate)
            print("| way | file | answers | seconds | answers per second | peak memory MB | load |")
            print("|---|---|--:|--:|--:|--:|--:|")
            for way, size, file, work, empty in cases:
                if empty:
                    fresh(emptied)
                rows, seconds, peak = fresh(measured, work, folder / size / file)
                cells = (way, Path(file).suffix[1:], f"{rows:,}", f"{seconds:.1f}", f"{rows / seconds:,.0f}")
                print(f"| {' | '.join(cells)} | {peak:.0f} | {os.getloadavg()[0]:.1f} |", flush=True)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
