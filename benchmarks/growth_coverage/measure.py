"""Calibration, recovery and coverage of the marginal growth model; prints the tables of README.md.

From the checkout: python -m benchmarks.growth_coverage.measure
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import chisquare, kstest, norm

from seedtest_assets.models.growth import (
    PARAMETERS,
    Mixture,
    Posterior,
    Priors,
    goal_probability,
    predictive,
    sample,
    statistics,
    unpublishable,
)
from tests.statistics.growth_second_engine import TYPICAL, Cohort, ranks

DATA_SETS, SEEDS, STUDENTS, WEEKS = 1000, range(1, 11), 1000, 12
GOAL_WEEK = 6.0


@dataclass(frozen=True)
class Run:
    """A cohort and what is found: next week's scores, and goals in GOAL_WEEK with what came true."""

    cohort: Cohort
    posterior: Posterior
    predicted: Mixture
    oracle: Mixture
    goals: pd.DataFrame
    reached: np.ndarray

    @classmethod
    def of(cls, seed: int) -> "Run":
        cohort = Cohort.draw(STUDENTS, WEEKS, seed)
        known, later = statistics(cohort.scores), cohort.next_week
        posterior = sample(known, Priors(), chains=4, samples=1000, warmup=1000, seed=seed, max_seconds=600)
        if reasons := unpublishable(posterior.diagnostics):
            raise RuntimeError(f"seed {seed}: {reasons}")
        at = later.student, later.week, later.se
        target = np.random.default_rng(seed).normal(0.4, 0.5, STUDENTS)
        return cls(
            cohort,
            posterior,
            predictive(known, posterior.draws.iloc[::5], *at),
            predictive(known, pd.DataFrame([cohort.parameters]), *at),
            goal_probability(known, posterior.draws, later.student, np.full(STUDENTS, GOAL_WEEK), target),
            cohort.level(GOAL_WEEK) >= target,
        )


def show_ranks() -> None:
    print("| parameter | mean rank of 100 | chi-square, 10 bins, p | Kolmogorov-Smirnov p | largest distance |")
    print("|---|--:|--:|--:|--:|")
    for name, rank in ranks(DATA_SETS, students=30, weeks=8).items():
        chi = chisquare(np.histogram(rank, bins=10, range=(0, 100))[0]).pvalue
        ks = kstest((rank + 0.5) / 101, "uniform")
        print(f"| {name} | {rank.mean():.1f} | {chi:.3f} | {ks.pvalue:.3f} | {ks.statistic:.3f} |", flush=True)
    print(f"\n95 % of uniform ranks stay within {1.358 / np.sqrt(DATA_SETS):.3f}.\n")


def show_recovery(runs: list[Run]) -> None:
    print("| parameter | truth | mean of posterior means | mean posterior sd | RMS z | 90 % intervals that hold |")
    print("|---|--:|--:|--:|--:|--:|")
    for row, name in enumerate(PARAMETERS):
        found = pd.DataFrame([run.posterior.summary.iloc[row] for run in runs])
        z = (found["mean"] - TYPICAL[name]) / found["sd"]
        held = ((found["q5"] < TYPICAL[name]) & (found["q95"] > TYPICAL[name])).sum()
        print(
            f"| {name} | {TYPICAL[name]} | {found['mean'].mean():.4f} | {found['sd'].mean():.4f} "
            f"| {np.sqrt(np.mean(z.astype(float) ** 2)):.2f} | {held} of {len(runs)} |"
        )
    print()


def show_coverage(runs: list[Run]) -> None:
    print("| seed | 50 % | 80 % | 90 % | CRPS | best CRPS | true lines in 90 % | mean P(goal) | reached |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    rows = []
    for run in runs:
        score = run.cohort.next_week.score
        from_middle = np.abs(run.predicted.below(score) - 0.5)
        off = np.abs(run.goals["mu"] - run.cohort.level(GOAL_WEEK)) / run.goals["sigma"]
        rows.append(
            [
                *(np.mean(from_middle < share / 2) for share in (0.5, 0.8, 0.9)),
                run.predicted.crps(score).mean(),
                run.oracle.crps(score).mean(),
                np.mean(off < norm.ppf(0.95)),
                run.goals["p_goal"].mean(),
                run.reached.mean(),
            ]
        )
    for seed, row in zip([*SEEDS, "**all**"], [*rows, np.mean(rows, axis=0)], strict=True):
        print(f"| {seed} | {' | '.join(f'{value:.3f}' for value in row)} |")
    print()


def show_goals(runs: list[Run]) -> None:
    p = np.concatenate([run.goals["p_goal"] for run in runs])
    reached = np.concatenate([run.reached for run in runs])
    print("| P(goal) | students | mean P(goal) | reached | standard error |\n|---|--:|--:|--:|--:|")
    for low in np.arange(10) / 10:
        some = (p >= low) & (p < low + 0.1)
        error = np.sqrt(np.sum((p * (1 - p))[some])) / some.sum()
        cells = f"{p[some].mean():.3f} | {reached[some].mean():.3f} | {error:.3f}"
        print(f"| {low:.1f}-{low + 0.1:.1f} | {some.sum():,} | {cells} |")


def main() -> None:
    show_ranks()
    runs = [Run.of(seed) for seed in SEEDS]
    show_recovery(runs)
    show_coverage(runs)
    show_goals(runs)


if __name__ == "__main__":
    main()
