"""Second engines of the growth model: lme4 for what needs no prior, the whole PyMC model and brms for the posterior."""

import json
import subprocess

import arviz
import numpy as np
import pandas as pd
import pytest

from seedtest_assets.models.growth import (
    PARAMETERS,
    Posterior,
    Priors,
    Scores,
    TimeIsOver,
    _compiled,
    conditional_line,
    goal_probability,
    log_likelihood,
    sample,
    statistics,
    unpublishable,
)
from seedtest_assets.resources.growth import GrowthService
from seedtest_assets.settings import settings

from .growth_second_engine import TYPICAL, Cohort, sample_whole

pytestmark = pytest.mark.slow
PRIORS = Priors()
LONG = {"chains": 4, "samples": 2500, "warmup": 1000, "seed": 5}
SHORT = {"chains": 2, "samples": 300, "warmup": 300, "seed": 3, "max_seconds": 120}

LME4 = """
suppressMessages(library(lme4))
d <- sleepstudy
fit <- lmer(Reaction ~ Days + (Days | Subject), d, REML = FALSE)
sd <- attr(VarCorr(fit)$Subject, "stddev")
effects <- ranef(fit, condVar = TRUE)$Subject
cat(jsonlite::toJSON(list(
  student = as.integer(d$Subject) - 1L, week = d$Days, score = d$Reaction,
  log_lik = as.numeric(logLik(fit)), fixed = unname(fixef(fit)), sd = unname(sd), residual = sigma(fit),
  correlation = attr(VarCorr(fit)$Subject, "correlation")[1, 2],
  modes = unname(as.matrix(effects)), variance = aperm(attr(effects, "postVar"), c(3, 1, 2))
), digits = NA, auto_unbox = TRUE))
"""


@pytest.fixture(scope="module")
def sleepstudy():
    """lme4's own data (Belenky et al. 2003) and its maximum likelihood fit."""
    ran = subprocess.run(["Rscript", "-e", LME4], check=True, capture_output=True, text=True)
    return json.loads(ran.stdout)


def test_likelihood_modes_and_conditional_variances_are_those_of_lme4(sleepstudy):
    student, week, score = (np.array(sleepstudy[name]) for name in ("student", "week", "score"))
    of = statistics(Scores(student, week.astype(float), score, np.ones(len(student)), 18))
    residual, correlation = sleepstudy["residual"], sleepstudy["correlation"]
    values = (*sleepstudy["fixed"], *sleepstudy["sd"], correlation, residual)
    parameters = dict(zip(PARAMETERS, values, strict=True))
    assert sleepstudy["log_lik"] == pytest.approx(-875.9697, abs=1e-4)  # Bates et al. 2015: deviance 1751.939
    assert log_likelihood(of, parameters).sum() == pytest.approx(sleepstudy["log_lik"], abs=1e-6)
    mean, covariance = conditional_line(of, parameters)
    np.testing.assert_allclose(mean - sleepstudy["fixed"], sleepstudy["modes"], atol=1e-5)
    np.testing.assert_allclose(covariance, sleepstudy["variance"], rtol=1e-6, atol=1e-6)


# -- what is sampled ------------------------------------------------------------------------------------------


def test_the_compiled_likelihood_and_its_derivatives_are_those_of_numpy():
    """Differences of the log posterior between points, priors written out, and central differences."""
    cohort = Cohort.draw(40, 8, seed=1)
    of = statistics(cohort.scores)
    names = [shared.name for shared in _compiled().logp_func.get_shared()]
    values = np.hstack(list(PRIORS.as_request().values()))
    shared = [values if name == "priors" else getattr(of, name) for name in names]

    def compiled(at):
        value, derivatives = _compiled().logp_func.vm.jit_fn(at, *shared)
        return float(value), derivatives

    def expected(at):
        line, log_sds, logit, log_kappa = at[:2], at[2:4], at[4], at[5]
        sds, correlation = np.exp(log_sds), np.tanh(logit / 2)
        parameters = dict(zip(PARAMETERS, (*line, *sds, correlation, np.exp(log_kappa)), strict=True))
        log_prior = -0.5 * (line[0] ** 2 + (line[1] / 0.5) ** 2 + (log_kappa / 0.5) ** 2)
        log_prior += np.sum(log_sds - np.log1p(sds**2)) + 2 * np.log1p(-(correlation**2))
        return log_likelihood(of, parameters).sum() + log_prior

    random = np.random.default_rng(2)
    centre = np.array([0.2, 0.03, np.log(0.8), np.log(0.05), 0.6, 0.1])
    points = centre + random.normal(0, 0.3, (5, 6))
    unconstrained = list(_compiled().coords["unconstrained_parameter"])
    order = [
        unconstrained.index(name)
        for name in ("line_0", "line_1", "sds_log___0", "sds_log___1", "half_logodds__", "log_kappa")
    ]
    inverse = np.argsort(order)
    found = [compiled(point[inverse])[0] - compiled(points[0][inverse])[0] for point in points]
    np.testing.assert_allclose(found, [expected(point) - expected(points[0]) for point in points], atol=1e-7)
    steps = 1e-5 * np.eye(6)
    for point in points:
        numeric = [(expected(point + step) - expected(point - step)) / 2e-5 for step in steps]
        np.testing.assert_allclose(compiled(point[inverse])[1][order], numeric, rtol=1e-5, atol=1e-4)


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """Scores that tell slopes apart: the whole model then mixes well."""
    return Cohort.draw(50, 10, seed=4, parameters=TYPICAL | {"sd_week": 0.15})


@pytest.fixture(scope="module")
def marginal(cohort) -> Posterior:
    return sample(statistics(cohort.scores), PRIORS, **LONG, max_seconds=300)


def assert_alike(marginal: Posterior, means: pd.Series, ess: float) -> None:
    assert marginal.diagnostics["ess_bulk"] >= 4000
    assert ess >= 4000
    summary = marginal.summary.set_index("parameter")
    off = (means[list(PARAMETERS)] - summary["mean"]) / summary["sd"]
    assert (off.abs() < 0.1).all(), off


def test_the_marginal_form_has_the_posterior_of_the_whole_model(cohort, marginal):
    draws, trace = sample_whole(cohort.scores, PRIORS, **LONG)
    found = [arviz.ess(trace, var_names=list(PARAMETERS), method=method) for method in ("bulk", "tail")]
    assert_alike(marginal, draws.mean(), min(float(each.to_array().min()) for each in found))
    summary = marginal.summary.set_index("parameter")
    for share in (5, 50, 95):
        off = (draws.quantile(share / 100) - summary[f"q{share}"]) / summary["sd"]
        assert (off.abs() < 0.15).all(), off


def test_the_marginal_form_has_the_posterior_of_brms(irt_server, monkeypatch):
    """Of students with few scores: brms samples their distances from the mean, which mixes well there."""
    cohort, plan = (
        Cohort.draw(50, 10, seed=7, parameters=TYPICAL | {"sd_week": 0.15}, attend=0.3),
        LONG | {"samples": 5000},
    )
    marginal = sample(statistics(cohort.scores), PRIORS, **plan, max_seconds=300)
    for name, value in irt_server.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    rows = pd.DataFrame({name: getattr(cohort.scores, name) for name in ("student", "week", "score", "se")})
    found = GrowthService().fit(rows, PRIORS.as_request(), **plan, max_seconds=600)
    summary = pd.DataFrame(found["posterior_summary"]).set_index("parameter")
    assert_alike(marginal, summary["mean"], min(summary["ess_bulk"].min(), summary["ess_tail"].min()))
    draws, goal = pd.DataFrame(found["draws"]), (np.arange(50), np.full(50, 6.0), np.full(50, 0.5))
    mine, theirs = (goal_probability(statistics(cohort.scores), of, *goal) for of in (marginal.draws, draws))
    np.testing.assert_allclose(mine["p_goal"], theirs["p_goal"], atol=0.02)
    goals = pd.DataFrame(dict(zip(("student", "goal_week", "target"), goal, strict=True)))
    np.testing.assert_allclose(GrowthService().predict(rows, draws, goals)[list(theirs)], theirs, atol=1e-9)


# -- how it is sampled ----------------------------------------------------------------------------------------


def test_a_posterior_is_as_it_says_and_the_same_again(cohort, marginal):
    of = statistics(cohort.scores)
    again = sample(of, PRIORS, **LONG, max_seconds=300)
    pd.testing.assert_frame_equal(again.draws, marginal.draws)
    assert tuple(marginal.draws) == PARAMETERS == tuple(marginal.summary["parameter"])
    assert len(marginal.draws) == 1000
    assert marginal.engine == "pymc"
    assert {name: marginal.diagnostics[name] for name in LONG} == LONG
    assert unpublishable(marginal.diagnostics) == []
    summary = marginal.summary.set_index("parameter")
    kept = (marginal.draws.mean() - summary["mean"]) / summary["sd"]
    assert (kept.abs() < 5 / np.sqrt(1000)).all()
    other = sample(of, PRIORS, **(SHORT | {"seed": 4}))
    assert not np.isin(other.draws["kappa"], sample(of, PRIORS, **SHORT).draws["kappa"]).any()


def test_priors_are_heeded(cohort):
    """A prior much surer than the data is the posterior; and it is the prior that was asked for."""
    sure = Priors(intercept=(3.0, 1e-3), week=(-0.5, 1e-4), log_kappa=(1.0, 1e-3))
    found = sample(statistics(cohort.scores), sure, **SHORT).summary.set_index("parameter")["mean"]
    np.testing.assert_allclose(found[["intercept", "week", "kappa"]], [3, -0.5, np.e], rtol=0.01)
    together = Priors(lkj=1e5)
    found = sample(statistics(cohort.scores), together, **SHORT).summary.set_index("parameter")
    assert abs(found.loc["correlation", "mean"]) < 0.01


def test_when_the_time_is_over_nothing_is_left(cohort):
    with pytest.raises(TimeIsOver, match=r"stopped after 0\.2 seconds"):
        sample(statistics(cohort.scores), PRIORS, **(SHORT | {"samples": 1_000_000, "max_seconds": 0.2}))
    assert len(sample(statistics(cohort.scores), PRIORS, **SHORT).draws) == 600


@pytest.mark.parametrize(("students", "weeks"), [(1, 1), (1, 12), (3, 4), (5, 1), (100, 2)])
def test_few_scores_leave_the_priors_and_no_divergence(students, weeks):
    """One student, one week, none with a score to spare: a proper posterior all the same."""
    scores = Cohort.draw(students, weeks, seed=6, attend=1.0).scores
    found = sample(statistics(scores), PRIORS, chains=4, samples=1500, warmup=1000, seed=1, max_seconds=120)
    assert unpublishable(found.diagnostics) == []
    if weeks == 1:
        # A single week leaves the mean of slopes to its prior, whose sd is .5.
        assert found.summary.set_index("parameter").loc["week", "sd"] == pytest.approx(0.5, rel=0.2)
