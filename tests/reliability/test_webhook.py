"""What a webhook may do to whoever tells it of alerts: refused once, tried again, given up, and no secret told."""

import json
import logging
import socket
import threading
import time
import uuid
from contextlib import contextmanager
from datetime import UTC, date, datetime
from itertools import pairwise

import httpx
import pytest

from seedtest_assets.failures import PermanentFailure, TransientFailure
from seedtest_assets.resources import webhook
from seedtest_assets.resources.webhook import Alert, ChurnWebhook
from seedtest_assets.settings import settings
from tests.reliability.between import Answer, Between

TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
PERMANENT = (301, 302, 307, 308, 304, 400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 501)
TOKEN = "s3cret-token"
PATH = "/hooks/s3cret-path?key=s3cret-query"
TRIES = 4


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    monkeypatch.setattr(webhook, "PAUSES", (0.01, 0.02, 0.04))


@pytest.fixture
def configure(monkeypatch):
    def at(url, token=TOKEN):
        monkeypatch.setenv("CHURN_WEBHOOK_URL", url)
        monkeypatch.setenv("CHURN_WEBHOOK_TOKEN", token)
        settings.cache_clear()
        return ChurnWebhook()

    return at


def alert(number=1, **changed):
    known = {
        "user_id": uuid.UUID(int=number),
        "week_start": date(2026, 3, 2),
        "crossed_at": datetime(2026, 3, 7, tzinfo=UTC),
        "horizon_days": 14,
        **{"risk": 0.8125, "risk_lower": 0.75, "risk_upper": 0.875, "threshold": 0.7},
    }
    return Alert(**known | changed)


def answering(*statuses):
    """A server that answers with these statuses in order, and then with the last."""
    left = list(statuses)
    return Between(lambda request: Answer(left.pop(0) if len(left) > 1 else left[0])).listening()


def test_an_alert_is_a_key_and_numbers_and_nothing_else(configure):
    with answering(204) as stub:
        configure(stub.url + PATH).send([alert(1), alert(2, risk_upper=1.0)])
    (request,) = stub.seen
    numbers = {"horizon_days": 14, "risk": 0.8125, "risk_lower": 0.75, "risk_upper": 0.875, "threshold": 0.7}
    when = {"week_start": "2026-03-02", "crossed_at": "2026-03-07T00:00:00Z"}
    assert json.loads(request.body) == {
        "event": "churn_alert",
        "tenant": None,
        "alerts": [
            {"user_id": "00000000-0000-0000-0000-000000000001", **when, **numbers},
            {"user_id": "00000000-0000-0000-0000-000000000002", **when, **numbers, "risk_upper": 1.0},
        ],
    }
    assert (request.method, request.path) == ("POST", PATH)
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"


def test_the_key_is_that_of_the_content_and_without_a_token_none_is_sent(configure):
    with answering(200) as stub:
        configured = configure(stub.url, token="")
        for batch in ([alert(1)], [alert(1)], [alert(2)], [alert(1, risk=0.9)]):
            configured.send(batch)
    first, again, other, risen = (request.headers["Idempotency-Key"] for request in stub.seen)
    assert first == again
    assert len({first, other, risen}) == 3
    assert all("Authorization" not in request.headers for request in stub.seen)


def test_what_passes_by_itself_is_tried_again_with_longer_and_longer_pauses(configure, monkeypatch):
    pauses = (0.05, 0.1, 0.2)
    monkeypatch.setattr(webhook, "PAUSES", pauses)
    arrived = []
    statuses = iter((503, 429, 500, 200))

    def answer(request):
        arrived.append(time.monotonic())
        return Answer(next(statuses))

    with Between(answer).listening() as stub:
        configure(stub.url).send([alert()])
    assert [later >= pause for later, pause in zip(gaps(arrived), pauses, strict=True)] == [True] * 3
    assert len({(request.body, request.headers["Idempotency-Key"]) for request in stub.seen}) == 1


def gaps(times):
    return [later - earlier for earlier, later in pairwise(times)]


@pytest.mark.parametrize("status", TRANSIENT)
def test_a_webhook_that_stays_busy_or_ill_is_given_up(configure, status):
    with answering(status) as stub, pytest.raises(TransientFailure) as caught:
        configure(stub.url + PATH).send([alert()])
    assert str(caught.value) == f"127.0.0.1 answered {status}"
    assert len(stub.seen) == TRIES


@pytest.mark.parametrize("status", PERMANENT)
def test_a_refusal_is_told_and_not_asked_again_nor_followed_elsewhere(configure, status):
    with answering(200) as elsewhere:
        refusal = Answer(status, b"user 00000000-0000-0000-0000-000000000001", headers={"Location": elsewhere.url})
        with Between(lambda request: refusal).listening() as stub, pytest.raises(PermanentFailure) as caught:
            configure(stub.url + PATH).send([alert()])
    assert caught.value.description == f"127.0.0.1 refused the alerts: {status}"
    assert len(stub.seen) == 1
    assert elsewhere.seen == []


def test_nobody_listening_is_given_up_and_heard_once_it_is_back(configure):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refuses every connection
        with pytest.raises(TransientFailure, match=r"127\.0\.0\.1 does not answer \(ConnectError\)"):
            configure(f"http://127.0.0.1:{taken.getsockname()[1]}{PATH}").send([alert()])
    with answering(200) as stub:
        configure(stub.url).send([alert()])
    assert len(stub.seen) == 1


@contextmanager
def raw(converse):
    """A server that speaks as it pleases on each connection; the list of its connections."""
    connections = []

    def serve(listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed: the test is over
                return
            connections.append(connection)
            with connection:
                converse(connection)

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve, args=(listener,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", connections
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def hear(connection):
    """Read the whole request: hanging up on some of it unread would reset the connection, and lose the answer."""
    heard = b""
    while not heard.endswith(b"]}"):
        heard += connection.recv(65536)


def test_a_webhook_that_never_answers_is_given_up_in_time(configure, monkeypatch):
    monkeypatch.setattr(webhook, "TIMEOUT", httpx.Timeout(0.1))

    def silent(connection):
        while connection.recv(65536):
            pass

    begun = time.monotonic()
    with raw(silent) as (url, connections), pytest.raises(TransientFailure, match="ReadTimeout"):
        configure(url).send([alert()])
    assert len(connections) == TRIES
    assert time.monotonic() - begun < 5


def test_a_connection_that_breaks_in_the_answer_is_tried_again(configure):
    def hang_up(connection):
        hear(connection)
        connection.sendall(b"HTTP/1.1 200 O")

    with raw(hang_up) as (url, connections), pytest.raises(TransientFailure, match="RemoteProtocolError"):
        configure(url).send([alert()])
    assert len(connections) == TRIES


def test_an_answer_without_end_is_an_answer(configure):
    def babble(connection):
        hear(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                connection.sendall(b"4\r\nlala\r\n")
        except OSError:  # the client has heard enough
            return

    with raw(babble) as (url, connections):
        configure(url).send([alert()])
    assert len(connections) == 1


@pytest.mark.parametrize("status", [200, 404, 503])
def test_no_log_and_no_message_tells_the_address_the_token_or_a_student(configure, caplog, status):
    caplog.set_level(logging.DEBUG)
    with answering(status) as stub:
        said = outcome(configure(stub.url + PATH), [alert()])
    told = caplog.text + said
    assert len(stub.seen) == (TRIES if status == 503 else 1)
    assert not [secret for secret in (TOKEN, "s3cret", "hooks", "00000000-0000") if secret in told]


def test_a_token_that_is_no_header_is_not_told_either(configure, caplog):
    caplog.set_level(logging.DEBUG)
    with answering(200) as stub:
        said = outcome(configure(stub.url, token="s3cret\nline"), [alert()])
    assert "LocalProtocolError" in said
    assert "s3cret" not in caplog.text + said
    assert stub.seen == []


def outcome(configured, alerts):
    try:
        configured.send(alerts)
    except TransientFailure as failure:
        return str(failure)
    except PermanentFailure as refusal:
        return refusal.description
    return "taken"


def test_it_is_off_until_an_address_is_set(monkeypatch):
    monkeypatch.delenv("CHURN_WEBHOOK_URL", raising=False)
    settings.cache_clear()
    assert not ChurnWebhook().is_configured
    with pytest.raises(PermanentFailure) as caught:
        ChurnWebhook().send([alert()])
    assert "CHURN_WEBHOOK_URL" in caught.value.description
