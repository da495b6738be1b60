"""Is the posterior the posterior, and does what it promises come true? Smaller forms of benchmarks/growth_coverage."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare, kstest

from seedtest_assets.models.growth import (
    Mixture,
    Posterior,
    Priors,
    goal_probability,
    predictive,
    sample,
    statistics,
    unpublishable,
)

from .growth_second_engine import Cohort, ranks

pytestmark = pytest.mark.slow
SEEDS = (1, 2, 3)
STUDENTS = 1000


@dataclass(frozen=True)
class Judged:
    cohort: Cohort
    posterior: Posterior
    predicted: Mixture
    goals: pd.DataFrame
    reached: np.ndarray


@pytest.fixture(scope="module")
def judged() -> list[Judged]:
    """Cohorts, what is found, next week's scores as predicted, and goals six weeks ahead."""

    def one(seed: int) -> Judged:
        cohort = Cohort.draw(STUDENTS, 12, seed)
        of, later = statistics(cohort.scores), cohort.next_week
        posterior = sample(of, Priors(), chains=2, samples=1000, warmup=500, seed=seed, max_seconds=300)
        assert unpublishable(posterior.diagnostics) == []
        predicted = predictive(of, posterior.draws.iloc[::5], later.student, later.week, later.se)
        target = np.random.default_rng(seed).normal(0.4, 0.5, STUDENTS)
        goals = goal_probability(of, posterior.draws, later.student, np.full(STUDENTS, 6.0), target)
        return Judged(cohort, posterior, predicted, goals, cohort.level(6.0) >= target)

    return [one(seed) for seed in SEEDS]


def test_ranks_of_the_truth_are_uniform():
    """60 data sets; chi-square over five bins and Kolmogorov-Smirnov, one false alarm in 1,000 runs."""
    found = ranks(60, students=30, weeks=8)
    for name, rank in found.items():
        assert chisquare(np.histogram(rank, bins=5, range=(0, 100))[0]).pvalue > 1e-3 / 12, name
        assert kstest((rank + 0.5) / 101, "uniform").pvalue > 1e-3 / 12, name


def test_parameters_are_recovered(judged):
    z = np.array(
        [
            (of.summary["mean"] - list(one.cohort.parameters.values())) / of.summary["sd"]
            for one in judged
            for of in [one.posterior]
        ]
    )
    assert np.abs(z).max() < 3.5  # one false alarm in 120 runs
    assert np.sqrt(np.mean(z**2)) == pytest.approx(1, abs=0.5)


def test_next_weeks_scores_fall_into_their_intervals(judged):
    pit = np.concatenate([one.predicted.below(one.cohort.next_week.score) for one in judged])
    for share, within in ((0.5, 0.03), (0.8, 0.025), (0.9, 0.02)):
        assert np.mean(np.abs(pit - 0.5) < share / 2) == pytest.approx(share, abs=within)
    for one in judged:
        later = one.cohort.next_week.score
        held = (later > one.predicted.quantile(0.05)) & (later < one.predicted.quantile(0.95))
        assert held.mean() == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / STUDENTS))


def test_no_prediction_is_much_better_than_that_of_the_true_parameters(judged):
    """CRPS of the posterior is within 1 % of the oracle's, which knows the six parameters; both beat the cohort's."""
    for one in judged:
        of, later = statistics(one.cohort.scores), one.cohort.next_week
        oracle = predictive(of, pd.DataFrame([one.cohort.parameters]), later.student, later.week, later.se)
        crps, best = one.predicted.crps(later.score).mean(), oracle.crps(later.score).mean()
        assert crps == pytest.approx(best, rel=0.01)
        cohort = Mixture(np.full((STUDENTS, 1), later.score.mean()), np.full((STUDENTS, 1), later.score.std()))
        assert best < 0.9 * cohort.crps(later.score).mean()


def test_goals_are_reached_as_often_as_promised(judged):
    p = np.concatenate([one.goals["p_goal"] for one in judged])
    reached = np.concatenate([one.reached for one in judged])
    for low in np.arange(0, 1, 0.1):
        some = (p >= low) & (p < low + 0.1)
        assert abs(np.sum((reached - p)[some])) < 4 * np.sqrt(np.sum((p * (1 - p))[some])), low
    for one in judged:
        assert (one.goals["p_lower"] <= one.goals["p_goal"]).mean() > 0.99
        off = np.abs(one.goals["mu"] - one.cohort.level(6.0)) / one.goals["sigma"]
        assert np.mean(off < 1.645) == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / STUDENTS))
