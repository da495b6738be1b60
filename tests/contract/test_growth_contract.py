"""What the client sends and what the real growth service answers, held to the service's own OpenAPI document."""

import numpy as np
import pandas as pd
import pytest

from seedtest_assets.models.growth import PARAMETERS, Priors, Scores, goal_probability, statistics
from seedtest_assets.resources.growth import GrowthService
from seedtest_assets.resources.plumber import Unprocessable
from seedtest_assets.settings import settings
from tests.contract.openapi import client, contract_of, hold_to

PLAN = {"chains": 2, "samples": 200, "warmup": 200, "seed": 3, "max_seconds": 120.0}


@pytest.fixture(scope="module")
def contract(irt_server):
    with client(irt_server, "R_BRMS") as http:
        yield contract_of(http)


@pytest.fixture
def service(irt_server, monkeypatch):
    for name, value in irt_server.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    return GrowthService()


@pytest.fixture(scope="module")
def scores():
    random = np.random.default_rng(5)
    student, week = np.repeat(np.arange(30), 6), np.tile(np.arange(-5.5, 0), 30)
    level, slope = random.normal(0.2, 0.8, 30), random.normal(0.05, 0.06, 30)
    se = random.uniform(0.3, 0.7, student.size)
    score = level[student] + slope[student] * week + se * random.standard_normal(student.size)
    return pd.DataFrame({"student": student + 100, "week": week, "score": score, "se": se})


def test_a_fit_is_as_the_contract_says_and_repeats_itself(contract, exchanged, service, scores):
    assert service.is_configured
    found = service.fit(scores, Priors().as_request(), **PLAN)
    hold_to(contract, exchanged)
    assert (found["engine"], found["model"], found["n"], found["n_students"]) == ("brms", "trend", 180, 30)
    assert found["priors"] == Priors().as_request()
    assert tuple(found["posterior_summary"]["parameter"]) == tuple(found["draws"]) == PARAMETERS
    draws = pd.DataFrame(found["draws"])
    assert len(draws) == 400
    summary = pd.DataFrame(found["posterior_summary"]).set_index("parameter")
    np.testing.assert_allclose(draws.mean(), summary["mean"], rtol=1e-9)
    np.testing.assert_allclose(draws.std(), summary["sd"], rtol=1e-9)
    assert found["diagnostics"]["rhat"] == max(found["posterior_summary"]["rhat"])
    other = service.fit(scores, Priors(week=(0.0, 0.4)).as_request(), **PLAN)
    assert other["draws"] != found["draws"]
    again = service.fit(scores, Priors().as_request(), **PLAN | {"max_seconds": 119.0})  # not the same job
    assert again["draws"] == found["draws"]


def test_both_engines_make_the_same_probabilities_of_the_same_draws(contract, exchanged, service, scores):
    random = np.random.default_rng(6)
    draws = pd.DataFrame(
        {
            "intercept": random.normal(0.2, 0.1, 50),
            "week": random.normal(0.05, 0.01, 50),
            "sd_intercept": random.uniform(0.6, 1, 50),
            "sd_week": np.r_[0.0, random.uniform(0.03, 0.09, 49)],
            "correlation": np.r_[0.0, 1.0, random.uniform(-0.5, 0.5, 48)],
            "kappa": random.uniform(0.9, 1.2, 50),
        }
    )
    goals = pd.DataFrame({"student": [103, 129, 130, 103], "goal_week": [4.0, -2.5, 4.0, 12.0], "target": 0.5})
    found = service.predict(scores, draws, goals)
    hold_to(contract, exchanged)
    assert found["student"].tolist() == [103, 129, 130, 103]
    assert found["n_scores"].tolist() == [6, 6, 0, 6]
    index, week, score, se = (scores[name].to_numpy() for name in ("student", "week", "score", "se"))
    mine = goal_probability(
        statistics(Scores(index - 100, week, score, se, 31)),
        draws,
        goals["student"].to_numpy() - 100,
        goals["goal_week"].to_numpy(),
        goals["target"].to_numpy(),
    )
    for name in ("p_goal", "p_lower", "p_upper", "mu", "sigma"):
        np.testing.assert_allclose(found[name], mine[name], atol=1e-9)


def test_a_prediction_from_one_draw_has_no_interval(contract, exchanged, service, scores):
    draw = pd.DataFrame([dict(zip(PARAMETERS, (0.2, 0.05, 0.8, 0.06, 0.3, 1.0), strict=True))])
    goals = pd.DataFrame({"student": [103], "goal_week": [4.0], "target": [0.5]})
    found = service.predict(scores, draw, goals)
    hold_to(contract, exchanged)
    assert found[["p_lower", "p_upper"]].isna().all(axis=None)
    assert 0 < found.loc[0, "p_goal"] < 1


def test_an_impossible_score_is_refused_with_field_and_row(service, scores):
    impossible = scores.assign(se=scores["se"].where(scores.index != 3, -1.0))
    with pytest.raises(Unprocessable) as caught:
        service.fit(impossible, Priors().as_request(), **PLAN)
    (error, *_) = caught.value.problem["errors"]
    assert (error["field"], error["row"]) == ("scores.se", 4)


def test_a_fit_that_takes_too_long_is_stopped(contract, exchanged, service, scores):
    with pytest.raises(Unprocessable, match="Stopped after max_seconds, 2, with"):
        service.fit(scores, Priors().as_request(), **PLAN | {"samples": 100_000, "max_seconds": 2.0})
    hold_to(contract, exchanged)


def test_students_are_text_on_the_wire(exchanged, service, scores):
    goals = pd.DataFrame({"student": [103], "goal_week": [4.0], "target": [0.5]})
    service.predict(scores, pd.DataFrame([dict.fromkeys(PARAMETERS, 0.5)]), goals)
    assert '"student_id": ["103"]' in exchanged[0][0].content.decode()
