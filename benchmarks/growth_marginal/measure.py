"""How long the posterior of growth takes, marginal and whole; prints the tables of README.md.

From the checkout: python -m benchmarks.growth_marginal.measure [--without-whole]
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from seedtest_assets.models.growth import PARAMETERS, Priors, _compiled, goal_probability, sample, statistics
from tests.statistics.growth_second_engine import Cohort, sample_whole

WEEKS = 12
MARGINAL, WHOLE = (300, 1_000, 10_000), (300, 1_000)


def timed(work: Callable[[], Any]) -> tuple[Any, str]:
    """What the work returns; cells of seconds by the clock and of the processors."""
    clock, cpu = time.monotonic(), time.process_time()
    found = work()
    return found, f"{time.monotonic() - clock:.1f} | {time.process_time() - cpu:.1f}"


def show_marginal() -> None:
    print(
        "| students | scores | sampling, s | CPU s | P(goal), s | CPU s | bulk ESS | tail ESS | R-hat | divergences |"
    )
    print("|--:|" + "--:|" * 9)
    for students in MARGINAL:
        cohort = Cohort.draw(students, WEEKS, seed=1, attend=1.0)
        plan = {"chains": 4, "samples": 2000, "warmup": 1000, "seed": 1, "max_seconds": 3600}
        of = statistics(cohort.scores)
        found, sampling = timed(lambda of=of, plan=plan: sample(of, Priors(), **plan))
        goal = np.arange(students), np.full(students, 6.0), np.full(students, 0.5)
        _, goals = timed(lambda of=of, found=found, goal=goal: goal_probability(of, found.draws, *goal))
        of_draws = found.diagnostics
        print(
            f"| {students:,} | {len(cohort.scores.week):,} | {sampling} | {goals} | {of_draws['ess_bulk']:,.0f} "
            f"| {of_draws['ess_tail']:,.0f} | {of_draws['rhat']:.4f} | {of_draws['divergences']} |",
            flush=True,
        )
    print()


def show_whole() -> None:
    import arviz

    print("| students | parameters | compiling and sampling, s | CPU s | bulk ESS | tail ESS | divergences |")
    print("|--:|" + "--:|" * 6)
    for students in WHOLE:
        cohort = Cohort.draw(students, WEEKS, seed=1, attend=1.0)
        plan = {"chains": 4, "samples": 2000, "warmup": 1000, "seed": 1}
        (_, trace), seconds = timed(lambda cohort=cohort, plan=plan: sample_whole(cohort.scores, Priors(), **plan))
        bulk, tail = (arviz.ess(trace, var_names=list(PARAMETERS), method=method) for method in ("bulk", "tail"))
        worst = " | ".join(f"{float(each.to_array().min()):,.0f}" for each in (bulk, tail))
        divergences = int(trace.sample_stats["diverging"].sum())
        print(f"| {students:,} | {6 + 2 * students:,} | {seconds} | {worst} | {divergences} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--without-whole", action="store_true")
    without_whole = parser.parse_args().without_whole
    _, imports = timed(lambda: __import__("nutpie") and __import__("pymc") and __import__("arviz"))
    _, compiling = timed(_compiled)
    print("| | s | CPU s |\n|---|--:|--:|")
    print(f"| importing PyMC | {imports} |\n| compiling the model | {compiling} |\n")
    show_marginal()
    if not without_whole:
        show_whole()


if __name__ == "__main__":
    main()
