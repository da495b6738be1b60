"""The IRT service is busy, refuses, or forgets: what the step makes of it."""

import json

import pytest

from seedtest_assets.resources import plumber
from tests.orchestration.cohort import EVERY_WEEK, failed, retried, why
from tests.reliability.between import Answer, Between

FIRST = EVERY_WEEK[0]


@pytest.fixture(autouse=True)
def impatience(monkeypatch, quick_retries):
    """Every job is polled, at once."""
    monkeypatch.setattr(plumber, "WAIT_SECONDS", 0)
    monkeypatch.setattr(plumber, "POLL_SECONDS", 0.01)


def problem(status):
    return Answer(status, json.dumps({"status": status, "title": "Trouble", "detail": "", "errors": []}).encode())


def first(number, answer, wanted):
    """Answers the first `number` requests that are wanted."""
    left = iter(range(number))
    return lambda request: answer if wanted(request) and next(left, None) is not None else None


def test_a_service_that_is_busy_for_a_while_costs_retries_only(cohort, fresh, irt_server, monkeypatch):
    busy = first(3, problem(503), lambda request: request.method == "POST")
    with Between(busy, irt_server["R_IRT_BASE_URL"]).listening() as between:
        monkeypatch.setenv("R_IRT_BASE_URL", between.url)
        result = fresh(FIRST)
    assert result.success
    assert retried(result) == ["mirt"] * 3


def test_a_service_that_stays_busy_fails_the_step_after_three_retries(cohort, fresh, irt_server, monkeypatch):
    busy = first(100, problem(503), lambda request: request.method == "POST")
    with Between(busy, irt_server["R_IRT_BASE_URL"]).listening() as between:
        monkeypatch.setenv("R_IRT_BASE_URL", between.url)
        result = fresh(FIRST)
    assert failed(result) == ["mirt"]
    assert retried(result) == ["mirt"] * 3
    assert len(between.seen) == 4
    assert "503" in why(result)


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_refused_request_fails_the_step_at_once(cohort, fresh, irt_server, monkeypatch, status):
    refusing = first(100, problem(status), lambda request: request.method == "POST")
    with Between(refusing, irt_server["R_IRT_BASE_URL"]).listening() as between:
        monkeypatch.setenv("R_IRT_BASE_URL", between.url)
        result = fresh(FIRST)
    assert failed(result) == ["mirt"]
    assert retried(result) == []
    assert len(between.seen) == 1
    assert str(status) in why(result)


def test_a_job_lost_by_the_service_is_sent_again_under_its_key(cohort, fresh, irt_server, monkeypatch):
    monkeypatch.setenv("MIRT_MODEL", "Rasch")  # another request than the others': a job that is not done yet
    lost = first(1, problem(404), lambda request: request.path.startswith("/jobs/"))
    with Between(lost, irt_server["R_IRT_BASE_URL"]).listening() as between:
        monkeypatch.setenv("R_IRT_BASE_URL", between.url)
        result = fresh(FIRST)
    assert result.success
    assert retried(result) == ["mirt"]
    sent = [request for request in between.seen if request.path.startswith("/irt/calibrate")]
    keys = [request.headers["Idempotency-Key"] for request in sent]
    assert len(keys) == 2
    assert keys[0] == keys[1]


def test_a_wrong_token_is_told_and_not_tried_again(cohort, fresh, monkeypatch):
    monkeypatch.setenv("R_IRT_INTERNAL_TOKEN", "not-the-token")
    result = fresh(FIRST)
    assert failed(result) == ["mirt"]
    assert retried(result) == []
    assert "401" in why(result)
    assert "not-the-token" not in why(result)
