"""Time and peak memory of `write_cohort`, one fresh process per case; prints the table of README.md."""

import multiprocessing
import resource
import tempfile
import time
from datetime import date
from pathlib import Path

from seedtest_assets.simulate import CohortSpec, write_cohort

CASES = ((300, 26), (1_000, 26), (10_000, 26), (100_000, 4), (100_000, 26))


def case(students: int, weeks: int) -> tuple[int, float, float, float]:
    """Answers, seconds, peak memory of the process in MB, size of the files in MB."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        summary = write_cohort(CohortSpec(students=students, weeks=weeks, end=date(2025, 6, 29)), Path(folder))
        seconds = time.perf_counter() - begin
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
    return summary.answers, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, size / 1e6


def main() -> None:
    print("| students | weeks | answers | seconds | answers per second | peak memory MB | files MB |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    for students, weeks in CASES:
        with multiprocessing.get_context("spawn").Pool(1) as fresh:
            answers, seconds, peak, size = fresh.apply(case, (students, weeks))
        cells = (f"{students:,}", f"{weeks}", f"{answers:,}", f"{seconds:.1f}", f"{answers / seconds:,.0f}")
        print(f"| {' | '.join(cells)} | {peak:.0f} | {size:.0f} |", flush=True)


if __name__ == "__main__":
    main()
