"""What S3, and the way to it, may do to whoever keeps reports there: told with advice, in time, and without secrets."""

import logging
import socket
import time
import traceback

import pytest

from seedtest_assets.failures import PermanentFailure, TransientFailure
from seedtest_assets.resources import artifact_bucket
from tests.reliability.between import Answer, Between
from tests.reliability.seaweed import ACCESS_KEY, BUCKET, SECRET_KEY, Seaweed

STUDENT = "7a1d3c52-0000-4000-8000-57d3e27f0001"
KEY = f"reports/{STUDENT}/2026-03-02/report.pdf"
PDF = "application/pdf"
OPERATIONS = {
    "put": lambda store: store.put(KEY, b"x", PDF),
    "get": lambda store: store.get(KEY),
    "kept": lambda store: list(store.kept(KEY)),
    "delete": lambda store: store.delete([KEY]),
    "check": lambda store: store.check(),
}


def told(error):
    """Everything that Dagster would write of an error."""
    return "".join(traceback.format_exception(error)) + str(getattr(error, "description", ""))


def secrets_in(text, store):
    return [secret for secret in (STUDENT, ACCESS_KEY, SECRET_KEY, "X-Amz-", store.place.prefix) if secret in text]


def test_the_server_refuses_content_that_was_damaged_on_its_way(bucket, monkeypatch):
    bucket.put(KEY, b"old", PDF)
    digest = artifact_bucket.hashlib.sha256(b"what was sent")
    with monkeypatch.context() as patched:
        patched.setattr(artifact_bucket.hashlib, "sha256", lambda _: digest)
        with pytest.raises(TransientFailure, match="BadDigest") as caught:
            bucket.place.put(KEY, b"what arrived", PDF)
    assert STUDENT not in told(caught.value)
    assert bucket.get(KEY) == b"old"


def test_an_answer_that_was_damaged_on_its_way_is_not_taken(in_s3):
    checksum = {"x-amz-checksum-sha256": "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="}  # of "hello"
    bodies = iter([b"hello", b"hellO"])
    with Between(lambda _: Answer(200, next(bodies), PDF, checksum)).listening() as stub:
        store = in_s3(stub.url, AWS_RESPONSE_CHECKSUM_VALIDATION="when_required")
        assert store.get(KEY) == b"hello"
        with pytest.raises(TransientFailure, match="damaged") as caught:
            store.get(KEY)
    assert STUDENT not in told(caught.value)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("variables", "said", "advice"),
    [
        ({"S3_BUCKET": "no-such-bucket"}, "no-such-bucket (NoSuchBucket)", "Create the bucket"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, f"{BUCKET} (SignatureDoesNotMatch)", "Check the credentials"),
        ({"AWS_ACCESS_KEY_ID": "wrong"}, f"{BUCKET} (InvalidAccessKeyId)", "Check the credentials"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, f"{BUCKET} (PartialCredentialsError)", "Check the credentials"),
        ({"S3_BUCKET": "No bucket's name"}, "No bucket's name (ParamValidationError)", "S3_BUCKET"),
    ],
)
def test_what_asking_again_cannot_mend_is_told_with_advice(seaweed, in_s3, caplog, operation, variables, said, advice):
    caplog.set_level(logging.DEBUG)
    store = in_s3(seaweed.url, **variables)
    with pytest.raises(PermanentFailure) as caught:
        OPERATIONS[operation](store)
    assert said in caught.value.description
    assert advice in caught.value.description
    assert caught.value.allow_retries is False
    assert secrets_in(told(caught.value) + caplog.text, store) == []


def test_without_credentials_there_is_advice_also_for_links(seaweed, in_s3, monkeypatch):
    store = in_s3(seaweed.url)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for operation in (lambda: store.put(KEY, b"x", PDF), lambda: store.link(KEY)):
        with pytest.raises(PermanentFailure, match=r"NoCredentialsError.*AWS_ACCESS_KEY_ID"):
            operation()


def answer(status, code):
    return Answer(status, f"<Error><Code>{code}</Code><Message>{KEY}</Message></Error>".encode(), "application/xml")


@pytest.mark.parametrize(
    ("status", "code", "kind", "requests"),
    [
        (503, "SlowDown", TransientFailure, 2),
        (500, "InternalError", TransientFailure, 2),
        (429, "TooManyRequests", TransientFailure, 2),
        (400, "RequestTimeout", TransientFailure, 2),
        (400, "XAmzContentSHA256Mismatch", TransientFailure, 1),
        (409, "OperationAborted", TransientFailure, 1),
        (403, "AccessDenied", PermanentFailure, 1),
        (400, "ExpiredToken", PermanentFailure, 1),
        (400, "KMS.NotFoundException", PermanentFailure, 1),
        (501, "NotImplemented", PermanentFailure, 1),
    ],
)
def test_an_answer_is_worth_another_request_or_not(in_s3, monkeypatch, status, code, kind, requests):
    monkeypatch.setattr(artifact_bucket, "TRIES", 2)
    with Between(lambda _: answer(status, code)).listening() as stub, pytest.raises(kind, match=code) as caught:
        in_s3(stub.url).get(KEY)
    assert len(stub.seen) == requests
    assert STUDENT not in told(caught.value)


def test_a_server_that_stays_ill_is_asked_five_times(in_s3):
    with Between(lambda _: answer(500, "InternalError")).listening() as stub, pytest.raises(TransientFailure):
        in_s3(stub.url).get(KEY)
    assert len(stub.seen) == 5


def test_a_busy_server_is_asked_again(in_s3):
    answers = iter([answer(503, "SlowDown"), answer(500, "InternalError"), Answer(200, b"x", PDF)])
    with Between(lambda _: next(answers)).listening() as stub:
        assert in_s3(stub.url).get(KEY) == b"x"
    assert len(stub.seen) == 3


@pytest.mark.parametrize(
    ("codes", "kind"), [(["SlowDown"], TransientFailure), (["SlowDown", "AccessDenied"], PermanentFailure)]
)
def test_what_is_not_deleted_is_counted(in_s3, codes, kind):
    errors = "".join(f"<Error><Key>{KEY}</Key><Code>{code}</Code></Error>" for code in codes)
    partial = Answer(200, f"<DeleteResult>{errors}</DeleteResult>".encode(), "application/xml")
    with Between(lambda _: partial).listening() as stub, pytest.raises(kind) as caught:
        in_s3(stub.url).delete([KEY, KEY + ".2", KEY + ".3"])
    assert f"{len(codes)} of 3 reports" in told(caught.value)
    assert STUDENT not in told(caught.value)


def test_a_server_that_never_answers_is_given_up_in_time(in_s3, monkeypatch):
    monkeypatch.setattr(artifact_bucket, "READ_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = in_s3(f"http://127.0.0.1:{silent.getsockname()[1]}")
        begun = time.monotonic()
        with pytest.raises(TransientFailure, match="ReadTimeoutError") as caught:
            store.put(KEY, b"x", PDF)
    assert time.monotonic() - begun < 30
    assert secrets_in(told(caught.value), store) == []


@pytest.mark.slow
def test_a_server_that_dies_is_told_in_time_and_keeps_the_same_report_when_it_is_back(tmp_path, in_s3, caplog):
    caplog.set_level(logging.DEBUG)
    server = Seaweed(tmp_path)
    try:
        server.start()
        store = in_s3(server.url)
        kept = KEY.replace("0001", "0002")
        store.put(kept, b"before", PDF)
        server.stop()
        for operation in OPERATIONS.values():
            begun = time.monotonic()
            with pytest.raises(TransientFailure, match="does not answer") as caught:
                operation(store)
            assert time.monotonic() - begun < 30
            assert secrets_in(told(caught.value) + caplog.text, store) == []
        server.start()
        store.put(KEY, b"after", PDF)
        assert {found.key: store.get(found.key) for found in store.kept()} == {kept: b"before", KEY: b"after"}
    finally:
        server.stop()
