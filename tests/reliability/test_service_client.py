"""What an R service may do to its client, and how each of it is named: transient, permanent, or the data's fault."""

import json
import socket
import threading

import pytest

from seedtest_assets.failures import PermanentFailure, TransientFailure, is_transient
from seedtest_assets.resources import plumber
from seedtest_assets.resources.plumber import Service, Unprocessable
from tests.reliability.between import Answer, Between

TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
PERMANENT = (400, 401, 403, 404, 405, 409, 410, 411, 413, 415, 501)


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    monkeypatch.setattr(plumber, "POLL_SECONDS", 0.01)


def document(**fields):
    return Answer(200, json.dumps(fields).encode(), "application/json")


def problem(status, **fields):
    return {"type": "about:blank", "title": "Trouble", "status": status, "detail": "so it is", "errors": []} | fields


def ask(url, *, timeout=5.0, progress=lambda job: None, body=b"student_id,item_id,correct\n"):
    service = Service("IRT", "R_IRT_BASE_URL", url, "s3cret", timeout)
    return service.run_job("/irt/calibrate", body, "text/csv", {"model": "2PL"}, progress)


def outcome_of(answer):
    with Between(lambda request: answer).listening() as stub, pytest.raises(Exception) as caught:
        ask(stub.url)
    return caught


@pytest.mark.parametrize("status", TRANSIENT)
def test_a_service_that_is_busy_or_ill_is_asked_again_later(status):
    caught = outcome_of(Answer(status, json.dumps(problem(status)).encode()))
    assert caught.type is TransientFailure
    assert str(status) in str(caught.value)
    assert is_transient(status)


@pytest.mark.parametrize("status", PERMANENT)
def test_a_refused_request_is_not_sent_again(status):
    caught = outcome_of(Answer(status, json.dumps(problem(status)).encode()))
    assert caught.type is PermanentFailure
    assert caught.value.allow_retries is False
    assert f"{status} Trouble: so it is" in caught.value.description
    assert not is_transient(status)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(302, headers={"Location": "/elsewhere"}, content_type="text/html"),
        Answer(200, b"<html>please log in</html>", "text/html"),
        Answer(502, b"<html>Bad Gateway</html>", "text/html"),
        Answer(200, b"{", "application/json"),
        Answer(400, b"{", "application/problem+json"),
    ],
    ids=["redirect", "a page", "a gateway", "half a document", "half a problem"],
)
def test_what_is_not_the_services_own_answer_is_named_and_classified(answer):
    caught = outcome_of(answer)
    assert caught.type in {PermanentFailure, TransientFailure}
    assert (caught.type is TransientFailure) == (answer.status == 502)
    assert "IRT" in str(caught.value)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, PermanentFailure), (413, PermanentFailure), (422, Unprocessable), (500, TransientFailure)],
)
def test_a_failed_job_is_classified_by_its_problem(status, kind):
    errors = [{"field": "responses.correct", "row": 3, "message": "is neither 0 nor 1"}]
    caught = outcome_of(document(id="a" * 32, state="failed", problem=problem(status, errors=errors)))
    assert caught.type is kind
    if kind is not TransientFailure:
        assert caught.value.metadata["errors"].value == errors
        assert caught.value.allow_retries is False


def test_nobody_listening_is_transient_and_says_what_to_do():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refuses every connection
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(TransientFailure) as caught:
            ask(url)
    for advice in (url, "seedtest services start", "R_IRT_BASE_URL", "seedtest run --resume", "in the UI"):
        assert advice in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_connection_that_breaks_in_the_answer_is_transient():
    def hang_up(listener):
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=hang_up, args=(listener,))
        thread.start()
        with pytest.raises(TransientFailure):
            ask(f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()


def test_a_job_is_followed_to_its_end_and_its_progress_is_told():
    states = iter(
        [
            Answer(202, json.dumps({"id": "f" * 32, "state": "queued"}).encode(), "application/json"),
            document(id="f" * 32, state="running", progress={"iteration": 3}),
            document(id="f" * 32, state="succeeded", result={"answer": 42}),
        ]
    )
    told = []
    with Between(lambda request: next(states)).listening() as stub:
        assert ask(stub.url, progress=told.append) == {"answer": 42}
    assert [job["state"] for job in told] == ["queued", "running"]
    post, *polls = stub.seen
    assert [(poll.method, poll.path) for poll in polls] == [("GET", f"/jobs/{'f' * 32}")] * 2
    assert post.headers["Authorization"] == polls[0].headers["Authorization"] == "Bearer s3cret"
    assert post.headers["Content-Length"] == str(len(post.body))


def test_a_lost_job_is_transient_and_sent_again_under_the_same_key():
    answers = iter(
        [
            Answer(202, json.dumps({"id": "0" * 32, "state": "running"}).encode(), "application/json"),
            Answer(404, json.dumps(problem(404)).encode()),
            document(id="1" * 32, state="succeeded", result={}),
            document(id="2" * 32, state="succeeded", result={}),
        ]
    )
    with Between(lambda request: next(answers)).listening() as stub:
        with pytest.raises(TransientFailure, match="lost our job"):
            ask(stub.url)
        ask(stub.url)
        ask(stub.url, body=b"student_id,item_id,correct\na,b,1\n")
    keys = [request.headers["Idempotency-Key"] for request in stub.seen if request.method == "POST"]
    assert keys[0] == keys[1] != keys[2]


def test_a_job_that_never_ends_is_given_up_after_the_timeout():
    forever = Answer(202, json.dumps({"id": "0" * 32, "state": "running"}).encode(), "application/json")
    with (
        Between(lambda request: forever).listening() as stub,
        pytest.raises(TransientFailure, match="did not finish /irt/calibrate within 0 s"),
    ):
        ask(stub.url, timeout=0.05)


@pytest.mark.parametrize("name", ["IRT", "forecast", "glmm", "BRMS"])
def test_without_an_address_the_advice_is_to_set_one(monkeypatch, name):
    variable = f"R_{name.upper()}_BASE_URL"
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(PermanentFailure) as caught:
        plumber.configured(name)
    assert variable in caught.value.description
