"""`seedtest evaluate growth` on simulated cohorts and on real data; prints the tables of README.md.

From the checkout: python -m benchmarks.growth_evaluation.measure [--students N] [FOLDER]
"""

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pandas as pd

from seedtest_assets.evaluation.growth import Evaluation, NotEvaluable, Protocol, answers_of_file, evaluate_growth
from seedtest_assets.evaluation.growth_summary import (
    GOAL_HEADINGS,
    SCORE_HEADINGS,
    goal_rows,
    in_weeks,
    notes,
    score_rows,
    verdicts,
)
from seedtest_assets.local.home import CHECKOUT
from seedtest_assets.local.services import SERVICES, RServices
from seedtest_assets.models.growth import PARAMETERS
from seedtest_assets.resources.glmm import GlmmService
from seedtest_assets.resources.plumber import IrtService
from seedtest_assets.settings import settings
from seedtest_assets.simulate import CohortSpec, write_cohort

SCHOOL = {"MIRT_LOOKBACK_DAYS": "365", "SEEDTEST_TIMEZONE": "America/New_York"}
"""Topics are the items of algebra_2005: their first answers are spread over the year."""


def table(heading: tuple[str, ...], rows: list[list[str]]) -> None:
    print(f"\n| {' | '.join(('', *heading))} |")
    print(f"|---|{'--:|' * len(heading)}")
    for row in rows:
        print(f"| {' | '.join(part.replace(chr(10), '<br>') for part in row)} |", flush=True)
    print()


def show(name: str, answers: pd.DataFrame, environment: Mapping[str, str], *, cuts: int) -> None:
    os.environ.update(environment)
    settings.cache_clear()
    began = time.monotonic()
    try:
        found = evaluate_growth(answers, IrtService(), GlmmService(), Protocol(cuts=cuts))
    except NotEvaluable as error:
        print(f"\n**{name}**: {error}")
        return
    print(
        f"\n**{name}**: {found.students:,} students, {found.answers:,} answers in the weeks from {found.first} to "
        f"{found.last}, predicted on {', '.join(str(fit.cut) for fit in found.fits)}; {time.monotonic() - began:.0f} s."
    )
    scores_of(found)
    goals_of(found)
    for sentence in notes(found):
        print(f"- {sentence}")
    for horizon in found.horizons:
        print(f"- {in_weeks(horizon)}: {' '.join(verdicts(horizon))}")
    fits_of(found)


def scores_of(found: Evaluation) -> None:
    rows = []
    for horizon in found.horizons:
        counts = f"{horizon.n:,} scores, {horizon.students:,} students"
        if horizon.reason is not None:
            rows.append([f"{in_weeks(horizon)}: not judged, {horizon.reason}", *[""] * len(SCORE_HEADINGS)])
        for number, (method, cells) in enumerate(score_rows(horizon)):
            rows.append([f"**{in_weeks(horizon)}**, {method}\n{counts}" if number == 0 else method, *cells])
    table(SCORE_HEADINGS, rows)


def goals_of(found: Evaluation) -> None:
    rows = []
    for horizon in found.judged:
        for goal in horizon.goals:
            name = f"**{in_weeks(horizon)}, target {goal.target}**"
            if goal.reason is not None:
                rows.append([f"{name}: not judged, {goal.reason}", *[""] * len(GOAL_HEADINGS)])
            for number, (method, cells) in enumerate(goal_rows(goal)):
                rows.append([f"{name}, {method}\n{goal.events:,} events" if number == 0 else method, *cells])
    table(GOAL_HEADINGS, rows)


def fits_of(found: Evaluation) -> None:
    """The six parameters at each cut, by each method that has them."""
    rows = []
    for fit in found.fits:
        counts = f"{fit.scores:,} scores, {fit.students:,} students, {fit.items:,} items"
        for method in found.methods:
            values = fit.parameters[method]
            if PARAMETERS[0] in values:
                rows.append([f"{fit.cut}, {method}\n{counts}", *(f"{values[name]:.3f}" for name in PARAMETERS)])
    table(PARAMETERS, rows)


def simulated(name: str, spec: CohortSpec) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_cohort(spec, Path(folder))
        answers, _ = answers_of_file(Path(folder) / "attempts.parquet", None)
    show(name, answers, {}, cuts=3)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--students", type=int, default=500)
    parser.add_argument("folder", type=Path, nargs="?", default=CHECKOUT.parent / "shared" / "data")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="growth-evaluation-") as name:
        Path(name).chmod(0o755)
        services = RServices(Path(name) / "services")
        os.environ.update(services.start([service for service in SERVICES if service.name in {"irt", "glmm"}]))
        try:
            evaluate(given.students, given.folder)
        finally:
            services.stop()


def evaluate(students: int, folder: Path) -> None:
    spec = {"students": students, "items": 360, "weeks": 26, "end": date(2025, 6, 29), "seed": 7}
    simulated("simulated, straight lines", CohortSpec(**spec, topic_sd=0.0))
    simulated("simulated, topics deviate", CohortSpec(**spec))
    if not folder.is_dir():
        print(f"{folder} does not exist: the real data sets are left out")
        return
    answers, _ = answers_of_file(folder / "algebra_2005" / "attempts.parquet", "topic_id")
    show("algebra_2005", answers, SCHOOL, cuts=8)


if __name__ == "__main__":
    main()
