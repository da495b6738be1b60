"""Trends and goals in the pipeline: what is published, by which method, and what is said when something is missing."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from scipy.stats import norm

from seedtest_assets import tables
from seedtest_assets.assets.scores import read_scores
from seedtest_assets.calendar import Week
from seedtest_assets.resources.database import copy_in
from seedtest_assets.resources.growth import GrowthService
from seedtest_assets.settings import settings
from tests.orchestration.cohort import EVERY_WEEK, MainJob, checked, checksum, failed, forget, retried, why

LAST = EVERY_WEEK[-1]
GROWTH = (tables.growth_glmm_meta, tables.growth_glmm_effect, tables.growth_brms_meta, tables.growth_goal)
AS_OF = datetime.combine(LAST + timedelta(weeks=1), datetime.min.time(), UTC)


@pytest.fixture(scope="module")
def weekly_models_job(computed: MainJob) -> MainJob:
    """The job of closed weeks, on the cohort of which all nightly runs are done."""
    return MainJob(computed.instance, "weekly_models_job")


@pytest.fixture(autouse=True)
def nothing_grown(computed: MainJob, cohort) -> None:
    forget(cohort, *GROWTH, tables.learning_goal)


@pytest.fixture
def bayesian(monkeypatch: pytest.MonkeyPatch) -> None:
    """By PyMC, with as few draws as can be published."""
    for name, value in {
        "METRICS_USE_BAYESIAN": "true",
        "GROWTH_ENGINE": "pymc",
        "BRMS_N_SAMPLES": "1000",
        "BRMS_N_WARMUP": "500",
    }.items():
        monkeypatch.setenv(name, value)


def read(database, table, *where) -> pd.DataFrame:
    return database.frame(sa.select(table).where(*where))


def only(database, table):
    (row,) = database.rows(sa.select(table))
    return row


def attempts(database, asset):
    log = tables.fit_attempt
    return database.rows(sa.select(log).where(log.c.asset == asset, log.c.week_start == LAST).order_by(log.c.tried_at))


def dense_line(scores: pd.DataFrame, parameters: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """A student's line given the scores, from the joint normal of line and scores."""
    p = parameters
    x = np.column_stack([np.ones(len(scores)), scores["week"]])
    cross = p["correlation"] * p["sd_intercept"] * p["sd_week"]
    g = np.array([[p["sd_intercept"] ** 2, cross], [cross, p["sd_week"] ** 2]])
    beta = np.array([p["intercept"], p["week"]])
    gain = g @ x.T @ np.linalg.inv(x @ g @ x.T + np.diag((p["kappa"] * scores["se"]) ** 2))
    return beta + gain @ (scores["score"] - x @ beta), g - gain @ x @ g


def test_slopes_and_goals_of_the_trend_reach_the_kpi_with_their_origin(cohort, weekly_models_job):
    result = weekly_models_job(LAST)
    assert result.success
    meta = only(cohort, tables.growth_glmm_meta)
    assert meta.formula.startswith("score ~ week + (week | student)")
    slopes = read(
        cohort, tables.growth_glmm_effect,
        tables.growth_glmm_effect.c.level == "student", tables.growth_glmm_effect.c.term == "week",
    )  # fmt: skip
    fixed = meta.fixed_effects["week"]["estimate"]
    np.testing.assert_allclose(slopes["total"], fixed + slopes["estimate"], atol=1e-12)

    goals = read(cohort, tables.growth_goal)
    assert set(goals["method"]) == {"normal"}
    assert goals["p_lower"].isna().all()
    np.testing.assert_allclose(
        goals["p_goal"], norm.cdf((goals["mu"] - goals["target_theta"]) / goals["sigma"]), atol=1e-12
    )
    kpi = read(cohort, tables.weekly_kpi, tables.weekly_kpi.c.week_start == LAST).set_index("user_id")
    assert kpi["p_goal"].notna().sum() == len(goals)
    assert kpi["p_goal"].dropna().to_dict() == goals.set_index("user_id")["p_goal"].to_dict()
    assert kpi["growth_slope"].dropna().to_dict() == slopes.set_index("id")["total"].to_dict()
    origin = kpi["provenance"].loc[goals["user_id"].iloc[0]]["p_goal"]
    assert (origin["method"], origin["engine"], origin["goal"]) == ("normal", "lme4", "default")
    assert origin["fit_run_id"] == str(meta.run_id)


def test_a_goal_is_predicted_from_the_students_own_weeks(cohort, weekly_models_job):
    """The line at the goal's date, from a dense joint normal of the scores; the newest is the week's theta_week."""
    assert weekly_models_job(LAST).success
    goals = read(cohort, tables.growth_goal)
    meta, metrics = only(cohort, tables.growth_glmm_meta), tables.weekly_metrics
    theta_week = read(cohort, metrics, metrics.c.week_start == LAST).set_index("user_id")["theta_week"]
    own_weeks = read_scores(cohort, Week.of(LAST), 12).overall
    for user in theta_week.dropna().index[[0, 7, 19]]:
        scores = own_weeks[own_weeks["user_id"] == user]
        assert scores["score"].iloc[-1] == pytest.approx(theta_week[user], abs=1e-6)
        line, covariance = dense_line(scores, meta.overall)
        x = np.array([1.0, 4.0])
        (goal,) = goals[goals["user_id"] == user].itertuples()
        assert goal.mu == pytest.approx(x @ line, abs=1e-9)
        assert goal.sigma == pytest.approx(np.sqrt(x @ covariance @ x), abs=1e-9)
        assert goal.n_scores == len(scores)


def test_a_rerun_gives_the_same_rows(cohort, weekly_models_job, bayesian):
    assert weekly_models_job(LAST).success
    before = {table.name: checksum(cohort, table) for table in (*GROWTH, tables.weekly_kpi)}
    assert weekly_models_job(LAST).success
    assert {table.name: checksum(cohort, table) for table in (*GROWTH, tables.weekly_kpi)} == before


def test_the_posterior_gives_p_with_an_interval(cohort, weekly_models_job, bayesian):
    result = weekly_models_job(LAST)
    assert result.success
    fit = only(cohort, tables.growth_brms_meta)
    assert fit.engine == "pymc"
    assert fit.diagnostics["rhat"] < 1.01
    assert fit.diagnostics["divergences"] == 0
    assert min(fit.diagnostics["ess_bulk"], fit.diagnostics["ess_tail"]) > 400
    goals = read(cohort, tables.growth_goal)
    assert set(goals["method"]) == {"posterior"}
    assert (goals["p_lower"] <= goals["p_goal"]).all()
    assert (goals["p_goal"] <= goals["p_upper"]).all()
    assert set(goals["fit_run_id"]) == {str(fit.run_id)}
    assert checked(result)["growth_goal", "goal_method"].passed
    # What the posterior knows of the cohort's line lies within what lme4 does.
    trend = only(cohort, tables.growth_glmm_meta).overall
    for name in ("intercept", "week"):
        found = fit.posterior_summary[name]
        assert abs(found["mean"] - trend[name]) < found["sd"]


def test_a_run_may_ask_for_the_posterior_on_its_own(cohort, weekly_models_job, bayesian, monkeypatch):
    monkeypatch.setenv("METRICS_USE_BAYESIAN", "false")
    assert weekly_models_job(LAST, growth={"bayesian": True}).success
    assert set(read(cohort, tables.growth_goal)["method"]) == {"posterior"}


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [("GROWTH_MAX_SECONDS", "0.001", "stopped"), ("BRMS_N_SAMPLES", "100", "ESS")],
)
def test_what_is_not_publishable_leaves_the_normal_method_which_says_why(
    cohort, weekly_models_job, bayesian, monkeypatch, setting, value, reason
):
    monkeypatch.setenv(setting, value)
    result = weekly_models_job(LAST)
    assert result.success
    assert read(cohort, tables.growth_brms_meta).empty
    goals = read(cohort, tables.growth_goal)
    assert set(goals["method"]) == {"normal"}
    assert goals["instead"].str.contains(reason).all()
    kpi = read(cohort, tables.weekly_kpi, tables.weekly_kpi.c.p_goal.is_not(None))
    assert all(reason in provenance["p_goal"]["instead"] for provenance in kpi["provenance"])
    check = checked(result)["growth_goal", "goal_method"]
    assert not check.passed
    assert reason in check.description
    last = attempts(cohort, "growth")[-1]
    assert not last.published
    assert reason in last.reason


def test_a_later_failure_keeps_the_last_good_fit(cohort, weekly_models_job, bayesian, monkeypatch):
    assert weekly_models_job(LAST).success
    before = only(cohort, tables.growth_brms_meta)
    monkeypatch.setenv("GROWTH_MAX_SECONDS", "0.001")
    assert weekly_models_job(LAST).success
    assert only(cohort, tables.growth_brms_meta).computed_at == before.computed_at


def test_pymc_stands_in_for_a_service_that_is_away_and_is_named(cohort, weekly_models_job, bayesian, monkeypatch):
    monkeypatch.setenv("GROWTH_ENGINE", "auto")
    monkeypatch.setenv("R_BRMS_BASE_URL", "http://127.0.0.1:9")
    result = weekly_models_job(LAST)
    assert result.success
    assert only(cohort, tables.growth_brms_meta).engine == "pymc"
    check = checked(result)["growth_goal", "goal_method"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert "PyMC stood in for the service" in check.description


def test_pymc_stands_in_for_a_fit_that_cannot_be_published(cohort, weekly_models_job, bayesian, monkeypatch):
    """The real service, of which fewer draws are asked than can be published."""
    monkeypatch.setenv("GROWTH_ENGINE", "auto")
    asked = GrowthService.fit
    monkeypatch.setattr(
        GrowthService, "fit", lambda self, *of, **plan: asked(self, *of, **plan | {"samples": 60, "warmup": 60})
    )
    result = weekly_models_job(LAST)
    assert result.success
    assert only(cohort, tables.growth_brms_meta).engine == "pymc"
    assert set(read(cohort, tables.growth_goal)["method"]) == {"posterior"}
    check = checked(result)["growth_goal", "goal_method"]
    assert not check.passed
    assert "ESS" in check.description


@pytest.mark.usefixtures("quick_retries")
def test_the_service_that_was_asked_for_is_retried_and_then_missed(cohort, weekly_models_job, bayesian, monkeypatch):
    monkeypatch.setenv("GROWTH_ENGINE", "plumber")
    monkeypatch.setenv("R_BRMS_BASE_URL", "http://127.0.0.1:9")
    result = weekly_models_job(LAST)
    assert failed(result) == ["growth"]
    assert retried(result) == ["growth"] * 3
    assert "R_BRMS_BASE_URL" in why(result)
    assert read(cohort, tables.growth_goal).empty


@pytest.mark.slow
def test_brms_and_pymc_publish_the_same(cohort, weekly_models_job, bayesian, monkeypatch):
    assert weekly_models_job(LAST).success
    by_pymc, p_of_pymc = only(cohort, tables.growth_brms_meta), read(cohort, tables.growth_goal)
    for name, value in {"GROWTH_ENGINE": "plumber", "BRMS_N_SAMPLES": "4000", "BRMS_N_WARMUP": "1500"}.items():
        monkeypatch.setenv(name, value)
    assert weekly_models_job(LAST).success
    by_brms, p_of_brms = only(cohort, tables.growth_brms_meta), read(cohort, tables.growth_goal)
    assert by_brms.engine == "plumber"
    for name, found in by_pymc.posterior_summary.items():
        other = by_brms.posterior_summary[name]
        # The error of a difference of two means, each of more than 400 effective draws, is below .08 sd.
        assert abs(found["mean"] - other["mean"]) < 0.3 * found["sd"], name
    both = p_of_pymc.merge(p_of_brms, on=["user_id", "topic_id"])
    assert len(both) == len(p_of_pymc)
    assert (both["p_goal_x"] - both["p_goal_y"]).abs().max() < 0.03


def test_goals_by_topic_and_goals_that_are_over(cohort, weekly_models_job):
    users = sorted(read(cohort, tables.weekly_metrics, tables.weekly_metrics.c.theta_week.is_not(None))["user_id"])
    ann, bob = str(users[0]), str(users[-1])
    before = AS_OF - timedelta(days=30)
    (topic,) = {
        row.topic_id for row in cohort.rows(sa.select(sa.func.min(tables.attempt.c.topic_id).label("topic_id")))
    }
    rows = [
        (ann, None, -9.0, LAST + timedelta(days=21), before),  # met long ago
        (ann, topic, 9.0, LAST + timedelta(days=21), before),
        (bob, None, 5.0, LAST + timedelta(days=6), before),  # over: its day was the week's Sunday
    ]
    with cohort.transaction() as connection:
        names = ["user_id", "topic_id", "target_theta", "target_date", "valid_from"]
        copy_in(connection, tables.learning_goal, pd.DataFrame(rows, columns=names))
    assert weekly_models_job(LAST).success
    goals = read(cohort, tables.growth_goal).set_index(["user_id", "topic_id"])
    assert goals.loc[(ann, tables.OVERALL), "p_goal"] > 0.999
    assert goals.loc[(ann, topic), "p_goal"] < 0.001
    assert goals.loc[(ann, topic), "sigma"] > 0
    assert goals.loc[(bob, tables.OVERALL), "goal"] == "default"


def test_before_there_are_weeks_enough_nothing_is_published_and_nothing_fails(cohort, weekly_models_job):
    """The first week has no bank for the weeks before it, or one week of scores: no trend."""
    result = weekly_models_job(EVERY_WEEK[0])
    assert result.success
    assert read(cohort, tables.growth_glmm_meta).empty
    assert read(cohort, tables.growth_goal).empty
    check = checked(result)["growth_glmm_effect", "progress_published"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert not settings().metrics_use_bayesian


def test_one_week_of_scores_has_no_trend_but_a_posterior(cohort, weekly_models_job, bayesian, monkeypatch):
    """With one week lme4 refuses, in words; priors make the Bayesian trend proper."""
    monkeypatch.setenv("BRMS_LOOKBACK_WEEKS", "1")
    monkeypatch.setenv("GLMM_LOOKBACK_WEEKS", "2")
    week = EVERY_WEEK[2]
    only_now = tables.weekly_metrics.c.week_start == week
    assert read(cohort, tables.weekly_metrics, only_now)["theta_week"].notna().any()
    assert weekly_models_job(week).success
    goals = read(cohort, tables.growth_goal)
    assert set(goals["method"]) == {"posterior"}
    assert (goals["n_scores"] == 1).all()
    assert goals["p_goal"].between(0, 1).all()
