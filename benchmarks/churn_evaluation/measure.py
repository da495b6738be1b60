"""`seedtest evaluate churn` on a real school year and on a simulated cohort; prints the tables of README.md.

From the checkout: python -m benchmarks.churn_evaluation.measure [--students N] [FOLDER]
"""

import argparse
import os
import tempfile
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from seedtest_assets.evaluation.churn import (
    FULL,
    Evaluation,
    Horizon,
    NotEvaluable,
    Protocol,
    attempts_of_file,
    evaluate_churn,
)
from seedtest_assets.evaluation.churn_summary import MODELS, p_value, verdicts
from seedtest_assets.evaluation.report import cell, plain_number
from seedtest_assets.models.landmarks import Calendar
from seedtest_assets.settings import settings
from seedtest_assets.simulate import CohortSpec, write_cohort

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
HEADINGS = ("happened", "predicted", "AUC", "Brier", "skill", "slope", "intercept", "ICI")


def table(heading: list[str], rows: list[list[str]]) -> None:
    print(f"\n| {' | '.join(heading)} |")
    print(f"|---|{'--:|' * (len(heading) - 1)}")
    for row in rows:
        print(f"| {' | '.join(part.replace(chr(10), '<br>') for part in row)} |", flush=True)
    print()


def rows_of(horizon: Horizon) -> list[list[str]]:
    counts = f"{horizon.n:,} landmarks, {horizon.students:,} students, {horizon.events:,} events"
    if horizon.reason is not None:
        return [[f"{horizon.days} days: not judged, {horizon.reason}", *[""] * len(HEADINGS)]]
    found = []
    for name, of in horizon.quality.items():
        whole = name == FULL
        found.append(
            [
                f"**{horizon.days} days**, {MODELS[name]}\n{counts}" if whole else MODELS[name],
                cell(horizon.happened) if whole else "",
                *(cell(number) for number in (of.predicted, of.auc, of.brier)),
                cell(horizon.skill, signed=True) if whole else "",
                cell(of.slope),
                cell(of.intercept, signed=True),
                cell(of.ici),
            ]
        )
    return found


def show(name: str, case: tuple[pd.DataFrame, Protocol, Calendar, pd.DataFrame | None]) -> Evaluation | None:
    began = time.monotonic()
    try:
        found = evaluate_churn(*case)
    except NotEvaluable as error:
        print(f"\n**{name}**: {error}")
        return None
    print(
        f"\n**{name}**: {found.students:,} students, {found.answers:,} answers from {found.first} to {found.last}, "
        f"{found.days_off} days off, judged from {found.cut} on; {time.monotonic() - began:.0f} s."
    )
    table(["", *HEADINGS], [row for horizon in found.horizons for row in rows_of(horizon)])
    for horizon in found.judged:
        print(f"- {horizon.days} days: {' '.join(verdicts(horizon))}")
    return found


def groups_of(found: Evaluation) -> None:
    rows = []
    for horizon in found.judged:
        for of in horizon.groups:
            compared = ["", "", ""] if np.isnan(of.p) else [plain_number(of.abroca), p_value(of.p), p_value(of.q)]
            counts = [f"{of.students:,}", f"{of.n:,}"]
            rows.append([f"{horizon.days} days, {of.group}", *counts, cell(of.auc), cell(of.slope), *compared])
    table(["", "students", "landmarks", "AUC", "slope", "ABROCA", "p", "q"], rows)


def simulated(students: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cohort(CohortSpec(students=students, weeks=30, end=date(2025, 6, 29), seed=7), folder)
        attempts, _ = attempts_of_file(folder / "attempts.parquet")
    ids = np.unique(attempts["student_id"])
    drawn = np.random.default_rng(1).choice(["a", "b"], len(ids), p=[0.6, 0.4])
    groups = pd.DataFrame({"student_id": ids, "name": "drawn at random", "value": drawn})
    found = show("simulated", (attempts, Protocol(), Calendar(), groups))
    if found is not None:
        groups_of(found)


def algebra(folder: Path) -> None:
    os.environ["SEEDTEST_TIMEZONE"] = "America/New_York"
    settings.cache_clear()
    attempts, _ = attempts_of_file(folder / "algebra_2005" / "attempts.parquet")
    worked = attempts["completed_at"].dt.tz_convert("America/New_York").dt.date.map(date.toordinal).to_numpy()
    nobody = np.setdiff1d(np.arange(worked.min(), worked.max() + 1), worked)
    covariate = Calendar(nobody)
    for name, calendar in (
        ("no calendar", Calendar()),
        ("days off as a covariate", covariate),
        ("days off do not count as idle", replace(covariate, idle_skips_days_off=True)),
    ):
        show(f"algebra_2005, {name}", (attempts, Protocol(), calendar, None))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--students", type=int, default=4_000)
    parser.add_argument("folder", type=Path, nargs="?", default=DATA)
    given = parser.parse_args()
    simulated(given.students)
    if not given.folder.is_dir():
        print(f"{given.folder} does not exist: the real data set is left out")
        return
    algebra(given.folder)


if __name__ == "__main__":
    main()
