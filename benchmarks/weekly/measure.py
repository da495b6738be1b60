"""features_topic_daily and weekly_metrics of one week over growing attempt tables; prints the tables of README.md."""

import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import sqlalchemy as sa
from scipy.optimize import brentq
from scipy.special import expit

from seedtest_assets import tables
from seedtest_assets.assets import features, weekly_metrics
from seedtest_assets.calendar import Week
from seedtest_assets.intake.files import import_file
from seedtest_assets.local.postgres import EmbeddedPostgres
from seedtest_assets.local.schema import migrate
from seedtest_assets.resources.database import Database, Rows, run_id
from seedtest_assets.simulate import CohortSpec, write_cohort

STUDENTS = (900, 9_000, 45_000)
NAIVE_STUDENTS = 900
WEEK_START = date(2025, 6, 23)
WEEKS = 6
"""About 1e5, 1e6 and 5e6 answers, all within the 56 days that the week looks back on."""


@dataclass
class Split:
    """Seconds by kind of work."""

    read: float = 0.0
    write: float = 0.0
    total: float = 0.0
    rows: int = 0

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        setattr(self, kind, getattr(self, kind) + time.perf_counter() - begin)


SPLIT = Split()


class TimedDatabase(Database):
    """The product's database, with a clock at its two doors."""

    def frame(self, query: Any, connection: sa.Connection | None = None) -> pd.DataFrame:
        if connection is not None:  # the outer call is the one that is timed
            return super().frame(query, connection)
        with SPLIT.timed("read"):
            return super().frame(query)

    def replace(self, *windows: Rows, week_start: date) -> dict[str, int]:
        with SPLIT.timed("write"):
            written = super().replace(*windows, week_start=week_start)
        SPLIT.rows = sum(written.values())
        return written


def asset(name: str) -> tuple[Split, float]:
    """One materialisation in this (fresh) process: the split, and the process's peak memory in MB."""
    room = {"features_topic_daily": features.features_topic_daily, "weekly_metrics": weekly_metrics.weekly_metrics}
    resources = {"database": TimedDatabase()}
    with dg.DagsterInstance.ephemeral() as instance, SPLIT.timed("total"):
        dg.materialize([room[name]], partition_key=WEEK_START.isoformat(), resources=resources, instance=instance)
    return SPLIT, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def load(students: int) -> int:
    """A cohort in the database, with its true item parameters as last week's published bank."""
    database = Database()
    with database.transaction() as connection:
        names = ", ".join(table.fullname for table in tables.metadata.sorted_tables)
        connection.execute(sa.text(f"TRUNCATE {names}"))
    with tempfile.TemporaryDirectory() as folder:
        write_cohort(CohortSpec(students=students, weeks=WEEKS, end=WEEK_START + timedelta(days=6)), Path(folder))
        count = import_file(database, Path(folder) / "attempts.parquet")
        truth = pd.read_parquet(Path(folder) / "truth_items.parquet")
    publish(database, truth)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))
    return count.new


def publish(database: Database, truth: pd.DataFrame) -> None:
    week = Week.of(WEEK_START - timedelta(weeks=1))
    identity = str(run_id("mirt_fit_meta", week.start))
    meta = pd.DataFrame(
        {
            "run_id": [identity],
            "week_start": [week.start],
            "as_of": [week.as_of],
            "model": ["2PL"],
            "model_spec": [{"quadrature": {"n": 61, "min": -6, "max": 6}}],
            "metrics": [{"latent_mean": 0.0, "latent_sd": 1.0}],
            "dagster_run_id": ["benchmark"],
        }
    )
    keys = database.frame(sa.select(tables.item_key.c.item_id, tables.item_key.c.text))
    items = truth.merge(keys, left_on="item_id", right_on="text", suffixes=("_text", ""))
    rows = items[["item_id", "a", "b"]].assign(run_id=identity, c=0.0, n_responses=0, is_anchor=False)
    everything = sa.true()
    database.replace(
        Rows(tables.mirt_fit_meta, meta, everything),
        Rows(tables.mirt_item_params, rows, everything),
        week_start=week.start,
    )


def naive() -> tuple[float, int]:
    """theta_week, E_t and A_t's parts as one would write them first: a function applied to each student's frame."""
    database = Database()
    week = Week.of(WEEK_START)
    items = database.frame(
        sa.select(tables.mirt_item_params.c.item_id, tables.mirt_item_params.c.a, tables.mirt_item_params.c.b)
    )
    answers = database.frame(weekly_metrics._answers(database, week)).merge(items, on="item_id", how="left")
    begin = time.perf_counter()
    answers["log_time"] = np.log(answers["response_time_ms"].astype(float))
    answers["log_time"] -= answers.groupby("item_id")["log_time"].transform("median")

    def one(student: pd.DataFrame) -> pd.Series:
        student = student.sort_values("completed_at")
        own = student[student["in_week"]]
        right = student[student["correct"]]
        now, before = right[right["days_ago"] <= 28], right[right["days_ago"] > 28]
        last = student[student["days_ago"] <= 28]
        pause = last["completed_at"].diff() > pd.Timedelta(minutes=30)

        def score(theta: float) -> float:
            p = expit(own["a"] * (theta - own["b"]))
            information = (own["a"] ** 2 * p * (1 - p)).sum()
            bias = (own["a"] ** 3 * p * (1 - p) * (1 - 2 * p)).sum()
            return float((own["a"] * (own["correct"] - p)).sum() + bias / (2 * information))

        return pd.Series(
            {
                "theta_week": brentq(score, -10, 10) if len(own) >= 5 else np.nan,
                "e_t": 1 - np.exp(now["log_time"].mean() - before["log_time"].mean()),
                "sessions": pause.sum() + 1,
                "hint_rate": last["hint_used"].mean(),
                "mean_gap": last["days_ago"].drop_duplicates().diff().abs().mean(),
            }
        )

    answers.groupby("student_id", observed=True).apply(one)
    return time.perf_counter() - begin, len(answers)


def fresh(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call in a process of its own, so that its memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def main() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedPostgres(Path(folder) / "postgres")
        server.start()
        try:
            os.environ["DATABASE_URL"] = server.url("seedtest")
            fresh(migrate)
            print(f"imported, measured in fresh processes on {os.cpu_count()} cores")
            print(
                "| answers | asset | rows | read s | compute s | write s | total s | µs per answer | peak MB | load |"
            )
            print("|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|")
            for students in STUDENTS:
                answers = fresh(load, students)
                for name in ("features_topic_daily", "weekly_metrics"):
                    split, peak = fresh(asset, name)
                    compute = split.total - split.read - split.write
                    seconds = (split.read, compute, split.write, split.total)
                    cells = [f"{answers:,}", name, f"{split.rows:,}", *(f"{s:.1f}" for s in seconds)]
                    cells += [f"{1e6 * split.total / answers:.1f}", f"{peak:.0f}", f"{os.getloadavg()[0]:.1f}"]
                    print(f"| {' | '.join(cells)} |", flush=True)
                if students == NAIVE_STUDENTS:
                    seconds, answers = fresh(naive)
                    cells = [f"{answers:,}", "naive", f"{students:,}", "", f"{seconds:.1f}", "", "", ""]
                    print(f"| {' | '.join(cells)} | | {os.getloadavg()[0]:.1f} |", flush=True)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
