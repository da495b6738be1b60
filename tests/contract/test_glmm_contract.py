"""What the client sends and what the real glmm service answers, held to the service's own OpenAPI document."""

import numpy as np
import pandas as pd
import pytest

from seedtest_assets.failures import PermanentFailure
from seedtest_assets.resources.glmm import GlmmService
from seedtest_assets.resources.plumber import Unprocessable
from seedtest_assets.settings import settings
from tests.contract.openapi import Request, Response, client, contract_of, hold_to

INTERCEPT, WEEK, SD_INTERCEPT, SD_WEEK = 0.2, 0.03, 0.8, 0.05


@pytest.fixture(scope="module")
def http(irt_server):
    with client(irt_server, "R_GLMM") as http:
        yield http


@pytest.fixture(scope="module")
def contract(http):
    return contract_of(http)


@pytest.fixture
def service(irt_server, monkeypatch):
    for name, value in irt_server.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    return GlmmService()


@pytest.fixture(scope="module")
def lines():
    """The true lines of 200 students."""
    rng = np.random.default_rng(5)
    return pd.DataFrame({"intercept": rng.normal(INTERCEPT, SD_INTERCEPT, 200), "week": rng.normal(WEEK, SD_WEEK, 200)})


@pytest.fixture(scope="module")
def scores(lines):
    rng = np.random.default_rng(6)
    student, week, topic = (
        column.ravel() for column in np.meshgrid(np.arange(200), -0.5 - np.arange(12), np.arange(3), indexing="ij")
    )
    se = rng.uniform(0.25, 0.6, len(student))
    truth = lines["intercept"].to_numpy()[student] + lines["week"].to_numpy()[student] * week
    score = truth + np.array([-0.3, 0.1, 0.2])[topic] + rng.normal(0, se)
    topics = np.array(["algebra, first", "geometry", "수열"])[topic]
    return pd.DataFrame({"student": student, "topic": topics, "week": week, "score": score, "se": se})


def post(http, contract, path, **body):
    response = http.post(path, json=body, headers={"Prefer": "wait=60"})
    contract.validate_request(Request(response.request))
    contract.validate_response(Request(response.request), Response(response))
    assert response.json()["state"] == "succeeded", response.json()
    return response.json()["result"]


def test_a_trend_is_as_the_contract_says_and_finds_the_lines(contract, exchanged, service, scores, lines):
    fit = service.fit_progress(scores.sample(frac=1, random_state=1).assign(user_id="kept here"))
    hold_to(contract, exchanged)
    assert (fit.engine, fit.converged, fit.singular) == ("lme4", True, False)
    assert fit.formula == fit.fit_meta["formula"] == "score ~ week + (week | student) + (1 | topic)"
    assert fit.fixed_effects["term"].tolist() == ["intercept", "week"] == fit.fixed_covariance.index.tolist()
    np.testing.assert_allclose(np.sqrt(np.diag(fit.fixed_covariance)), fit.fixed_effects["se"], rtol=1e-9)
    slope = fit.fixed_effects.set_index("term").loc["week"]
    assert slope["lower"] < WEEK < slope["upper"]
    students = fit.students.set_index("student").loc[lines.index]
    for name in ("intercept", "week"):
        error = students[f"{name}_total"] - lines[name]
        assert 0.85 < (error / students[f"se_{name}"]).std() < 1.15  # what all share, such as topics, is in the mean
        assert (students[f"se_{name}_total"] > students[f"se_{name}"]).all()
    assert fit.topics["topic_id"].tolist() == ["algebra, first", "geometry", "수열"]
    assert fit.random["residual"] == pytest.approx(1, abs=0.05)


def test_scores_without_topics_are_fitted_without_them(contract, exchanged, service, scores):
    fit = service.fit_progress(scores[scores["topic"] == "geometry"].drop(columns="topic"))
    hold_to(contract, exchanged)
    assert fit.formula == "score ~ week + (week | student)"
    assert fit.topics.empty
    assert fit.random["sd_topic"] is None


def test_what_has_no_trend_is_refused_with_its_reason(contract, exchanged, service, scores):
    with pytest.raises(Unprocessable, match="at least 2 weeks"):
        service.fit_progress(scores[scores["week"] == -0.5])
    with pytest.raises(Unprocessable, match="must be above 0") as caught:
        service.fit_progress(scores.assign(se=scores["se"].where(scores.index != 3, 0)))
    hold_to(contract, exchanged)
    (error, *_) = caught.value.problem["errors"]
    assert (error["field"], error["row"]) == ("rows.se", 4)


def test_what_cannot_be_read_is_a_broken_contract(service, scores):
    with pytest.raises(PermanentFailure, match="400"):
        service.fit_progress(scores.assign(score=scores["score"].where(scores.index != 3)))


def test_a_trend_on_answers_is_as_the_contract_says(http, contract, lines):
    rng = np.random.default_rng(7)
    student, week = (column.ravel() for column in np.meshgrid(np.arange(60), -0.5 - np.arange(20)))
    a, b = np.exp(rng.normal(0, 0.3, len(student))), rng.normal(0, 1, len(student))
    theta = lines["intercept"].to_numpy()[student] + lines["week"].to_numpy()[student] * week
    correct = rng.random(len(student)) < 1 / (1 + np.exp(-a * (theta - b)))
    columns = {"student_id": student.astype(str), "week": week, "correct": correct.astype(int), "a": a, "b": b}
    rows = {name: column.tolist() for name, column in columns.items()}
    found = post(http, contract, "/glmm/fit_progress", rows=rows, family="binomial")
    assert found["fit_meta"]["n_agq"] == 1
    assert found["random"]["residual"] is None


def test_a_model_of_answers_predicts_from_its_json_alone(http, contract):
    rng = np.random.default_rng(8)
    student, item = (column.ravel() for column in np.meshgrid(np.arange(40), np.arange(15)))
    logit = rng.normal(0, 1, 40)[student] + rng.normal(0, 1, 15)[item]
    rows = {
        "student_id": [f"s{number}" for number in student],
        "item_id": [f"i{number}" for number in item],
        "hints": rng.poisson(1, len(student)).tolist(),
    }
    correct = (rng.random(len(student)) < 1 / (1 + np.exp(-logit))).astype(int).tolist()
    found = post(http, contract, "/glmm/fit", rows=rows | {"correct": correct}, fixed=["hints"])
    model = found["model"]
    predicted = post(http, contract, "/glmm/predict", rows=rows, model=model)["predictions"]
    effects = {name: dict(zip(of["level"], of["effect"], strict=True)) for name, of in model["effects"].items()}
    intercept, hints = model["fixed"]["estimate"]
    expected = [
        intercept + hints * n + effects["student_id"][s] + effects["item_id"][i]
        for s, i, n in zip(rows["student_id"], rows["item_id"], rows["hints"], strict=True)
    ]
    np.testing.assert_allclose(predicted["linear_predictor"], expected, atol=1e-9)
    np.testing.assert_allclose(predicted["probability"], 1 / (1 + np.exp(-np.array(expected))), atol=1e-9)
