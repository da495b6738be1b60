"""Cohorts whose growth is known, and the growth model with every student's line among its parameters."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from seedtest_assets.models.growth import PARAMETERS, Priors, Scores, sample, statistics
from seedtest_assets.models.irt import Floats

TYPICAL = dict(zip(PARAMETERS, (0.2, 0.03, 0.8, 0.05, 0.3, 1.1), strict=True))


@dataclass(frozen=True)
class Cohort:
    """Students, each with a line, and scores in some of the weeks.

    Attributes:
        parameters: of the population.
        lines: true level at as_of and change per week, shape (n_students, 2).
        scores: of the weeks before as_of; a student may have none.
        next_week: a score of each student in the week after as_of.
    """

    parameters: dict[str, float]
    lines: Floats
    scores: Scores
    next_week: Scores

    @classmethod
    def draw(
        cls, students: int, weeks: int, seed: int, parameters: dict[str, float] = TYPICAL, attend: float = 0.8
    ) -> "Cohort":
        """Each student has a score in each week with probability `attend`; standard errors are lognormal."""
        random = np.random.default_rng(seed)
        b0, b1, sd0, sd1, correlation, kappa = parameters.values()
        off = correlation * sd0 * sd1
        lines = random.multivariate_normal([b0, b1], [[sd0**2, off], [off, sd1**2]], students)

        def scores(student: Any, week: Any) -> Scores:
            se = random.lognormal(np.log(0.45), 0.3, len(student))
            truth = lines[student, 0] + lines[student, 1] * week
            return Scores(student, week, random.normal(truth, kappa * se), se, students)

        student, weeks_ago = np.nonzero(random.random((students, weeks)) < attend)
        everyone = np.arange(students)
        return cls(parameters, lines, scores(student, -0.5 - weeks_ago), scores(everyone, np.full(students, 0.5)))

    def level(self, week: float) -> Floats:
        """True value of every student's line in a week, shape (n_students,)."""
        return np.asarray(self.lines @ [1.0, week])


NARROW = Priors((0.0, 0.7), (0.0, 0.05), sd_intercept=0.5, sd_week=0.05, lkj=2.0, log_kappa=(0.0, 0.2))
"""Priors under which simulated cohorts look like cohorts."""


def ranks(data_sets: int, students: int, weeks: int) -> pd.DataFrame:
    """Simulation-based calibration (Talts et al. 2018): a row for each data set, columns PARAMETERS.

    Parameters are drawn from NARROW, scores from them, and 100 nearly independent draws from the posterior; their
    number below the truth is uniform on 0..100 if the sampler samples the posterior.
    """

    def one(seed: int) -> pd.Series:
        truth = prior_draw(NARROW, np.random.default_rng(10_000 + seed))
        of = statistics(Cohort.draw(students, weeks, seed, truth).scores)
        found = sample(of, NARROW, chains=2, samples=500, warmup=500, seed=seed, max_seconds=120)
        return (found.draws.iloc[::10] < pd.Series(truth)).sum()

    return pd.DataFrame([one(seed) for seed in range(data_sets)])


def prior_draw(priors: Priors, random: np.random.Generator) -> dict[str, float]:
    """A value of each of PARAMETERS."""
    values = (
        random.normal(*priors.intercept),
        random.normal(*priors.week),
        abs(priors.sd_intercept * random.standard_cauchy()),
        abs(priors.sd_week * random.standard_cauchy()),
        2 * random.beta(priors.lkj, priors.lkj) - 1,
        np.exp(random.normal(*priors.log_kappa)),
    )
    return dict(zip(PARAMETERS, values, strict=True))


def sample_whole(
    scores: Scores, priors: Priors, *, chains: int, samples: int, warmup: int, seed: int
) -> tuple[pd.DataFrame, Any]:
    """Draws of PARAMETERS, and the whole trace, with two more parameters for each student.

    Nothing is integrated out: what it shares with `models.growth` is the model. Levels and slopes are sampled
    themselves, which is quick where the scores tell them apart.
    """
    import nutpie
    import pymc as pm

    with pm.Model() as model:
        intercept, week = pm.Normal("intercept", *priors.intercept), pm.Normal("week", *priors.week)
        sd_intercept = pm.HalfCauchy("sd_intercept", priors.sd_intercept)
        sd_week = pm.HalfCauchy("sd_week", priors.sd_week)
        correlation = pm.Uniform("correlation", -1, 1)
        pm.Potential("lkj", (priors.lkj - 1) * pm.math.log(1 - correlation**2))
        kappa = pm.LogNormal("kappa", *priors.log_kappa)
        level = pm.Normal("level", intercept, sd_intercept, shape=scores.n_students)
        expected = week + correlation * sd_week / sd_intercept * (level - intercept)
        slope = pm.Normal("slope", expected, sd_week * pm.math.sqrt(1 - correlation**2))
        line = level[scores.student] + slope[scores.student] * scores.week
        pm.Normal("score", line, kappa * scores.se, observed=scores.score)
    trace = nutpie.sample(
        nutpie.compile_pymc_model(model, var_names=list(PARAMETERS)),
        draws=samples,
        tune=warmup,
        chains=chains,
        seed=seed,
        target_accept=0.9,
        progress_bar=False,
        save_warmup=False,
    )
    return pd.DataFrame({name: trace.posterior[name].to_numpy().ravel() for name in PARAMETERS}), trace
