"""Reports in a folder and in a real S3 server: kept whole, found again, shown to nobody else, and nothing told."""

import threading
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from seedtest_assets.failures import PermanentFailure
from seedtest_assets.resources import artifact_bucket
from seedtest_assets.resources.artifact_place import NoSuchArtifact
from seedtest_assets.settings import settings
from tests.reliability.seaweed import BUCKET

STUDENT = "7a1d3c52-0000-4000-8000-57d3e27f0001"
KEY = f"reports/{STUDENT}/2026-03-02/report.pdf"
PDF = "application/pdf"
MILLION_A = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"  # FIPS 180-2, appendix B.3
AWKWARD = (
    "reports/학생/2026-03-02/보고서.html",
    "reports/é e\u0301/a b+c%2F&?#=;'\"<script>.pdf",
    "reports/~$HOME/`id`/{}[]|^.pdf",
    "reports/🎓/report.pdf",
)


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path, configure):
    """Each place, empty."""
    if request.param == "folder":
        return configure(REPORT_FOLDER=tmp_path / "reports", S3_BUCKET="")
    return request.getfixturevalue("bucket")


def listed(store, prefix=""):
    return {kept.key for kept in store.kept(prefix)}


# --- what holds for each place


def test_what_is_put_is_got_and_described(store):
    body = b"a" * 1_000_000
    before = datetime.now(UTC).replace(microsecond=0)
    stored = store.put(KEY, body, PDF)
    assert store.get(KEY) == body
    assert (stored.key, stored.bytes) == (KEY, 1_000_000)
    assert stored.sha256 == MILLION_A
    assert stored.url.startswith(("file:///", f"s3://{BUCKET}/"))
    assert stored.url.endswith(KEY)
    (kept,) = store.kept()
    assert (kept.key, kept.bytes) == (KEY, 1_000_000)
    assert kept.modified.tzinfo is UTC
    assert before <= kept.modified <= datetime.now(UTC) + timedelta(seconds=1)


def test_a_second_put_takes_the_place_of_the_first(store):
    first = store.put(KEY, b"old and long", PDF)
    again = store.put(KEY, b"old and long", PDF)
    second = store.put(KEY, b"new", PDF)
    assert first == again
    assert second.url == first.url
    assert second.sha256 != first.sha256
    assert store.get(KEY) == b"new"
    assert [kept.bytes for kept in store.kept()] == [3]


def test_an_empty_report_is_a_report(store):
    store.put(KEY, b"", PDF)
    assert store.get(KEY) == b""


def test_keys_of_any_script_and_with_any_sign_are_kept_apart(store):
    for number, key in enumerate(AWKWARD):
        store.put(key, str(number).encode(), PDF)
    assert listed(store) == set(AWKWARD)
    assert [store.get(key) for key in AWKWARD] == [b"0", b"1", b"2", b"3"]
    assert store.delete(AWKWARD) == 4
    assert listed(store) == set()


def test_a_prefix_selects_and_need_not_end_with_a_name(store):
    keys = {f"reports/{student}/{week}.pdf" for student in ("a1", "a2", "b1") for week in ("w1", "w2")}
    for key in keys:
        store.put(key, b"x", PDF)
    assert listed(store) == keys
    assert listed(store, "reports/a1/") == {"reports/a1/w1.pdf", "reports/a1/w2.pdf"}
    assert listed(store, "reports/a") == {key for key in keys if key.startswith("reports/a")}
    assert listed(store, "reports/a1/w1.pdf") == {"reports/a1/w1.pdf"}
    for nothing in ("reports/c", "nowhere/", "reports/a1/w1.pdf/"):
        assert listed(store, nothing) == set()


def test_nothing_is_kept_under_an_unknown_key(store):
    for asked in (KEY, "reports"):
        with pytest.raises(NoSuchArtifact) as caught:
            store.get(asked)
        assert isinstance(caught.value, LookupError)
        assert caught.value.allow_retries is False
        assert STUDENT not in caught.value.description
        store.put(KEY + ".other", b"x", PDF)


def test_a_deletion_takes_what_is_named_and_may_be_repeated(store):
    for number in range(3):
        store.put(f"reports/{number}/r.pdf", b"x", PDF)
    gone = ["reports/0/r.pdf", "reports/1/r.pdf", "reports/1/r.pdf", "reports/never/r.pdf"]
    assert store.delete(gone) == 3
    assert store.delete(iter(gone)) == 3
    assert store.delete([]) == 0
    assert listed(store) == {"reports/2/r.pdf"}


@pytest.mark.parametrize(
    "key", ["../x", "a/../../x", "/etc/x", "a//b", "a/", "", ".drafts/x", "a/./b", "a\nb", "a\0b", "a\\b"]
)
def test_what_is_no_key_is_refused_by_every_operation(store, key):
    for operation in (
        lambda: store.put(key, b"x", PDF),
        lambda: store.get(key),
        lambda: store.link(key),
        lambda: store.delete(["fine", key]),
        lambda: store.kept(f"{key}/x"),
    ):
        with pytest.raises(PermanentFailure, match="key must be"):
            operation()
    assert listed(store) == set()


def test_a_link_lasts_between_a_second_and_a_week(store):
    for expires in (timedelta(0), timedelta(seconds=-1), timedelta(days=7, seconds=1)):
        with pytest.raises(PermanentFailure, match="one second to seven days"):
            store.link(KEY, expires)
    assert store.link(KEY, timedelta(days=7)) != ""


def test_the_check_says_where_reports_are_kept_and_changes_nothing(store):
    assert "reports are kept in the" in store.check()
    assert listed(store) == set()


def test_writers_of_the_same_report_leave_one_of_theirs(store):
    bodies = [letter.encode() * 300_000 for letter in "abcd"]
    writers = [threading.Thread(target=store.put, args=(KEY, body, PDF)) for body in bodies]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert store.get(KEY) in bodies
    assert listed(store) == {KEY}


# --- what only S3 does


def test_the_server_serves_the_report_to_a_link_as_it_was_put(bucket):
    key = AWKWARD[0]
    bucket.put(key, b"<!doctype html>", "application/xhtml+xml")
    answer = httpx.get(bucket.link(key), trust_env=False)
    assert (answer.status_code, answer.content) == (200, b"<!doctype html>")
    assert answer.headers["Content-Type"] == "application/xhtml+xml"  # not what the name would tell
    assert answer.headers["Content-Disposition"] == 'inline; filename="___.html"'
    assert answer.headers["Cache-Control"] == "private"


def test_a_link_opens_one_report_with_one_key_for_a_time(bucket, seaweed, in_s3):
    other = KEY.replace("0001", "0002")
    for key in (KEY, other):
        bucket.put(key, b"x", PDF)
    link = bucket.link(KEY, timedelta(minutes=10))
    last = link[-1]
    prefix = settings().s3_prefix
    forged = {
        "unsigned": link.partition("?")[0],
        "other student": link.replace("0001", "0002"),
        "longer": link.replace("X-Amz-Expires=600", "X-Amz-Expires=6000"),
        "other signature": link[:-1] + ("0" if last != "0" else "1"),
        "wrong secret": in_s3(seaweed.url, AWS_SECRET_ACCESS_KEY="wrong", S3_PREFIX=prefix).link(KEY),
        "wrong key": in_s3(seaweed.url, AWS_ACCESS_KEY_ID="wrong", S3_PREFIX=prefix).link(KEY),
    }
    assert len({link, *forged.values()}) == 7
    assert httpx.get(link, trust_env=False).status_code == 200
    assert {name: httpx.get(url, trust_env=False).status_code for name, url in forged.items()} == dict.fromkeys(
        forged, 403
    )


def test_a_link_ends(bucket):
    bucket.put(KEY, b"x", PDF)
    short, long = bucket.link(KEY, timedelta(seconds=1)), bucket.link(KEY)
    deadline = time.monotonic() + 60
    while httpx.get(short, trust_env=False).status_code != 403:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert httpx.get(long, trust_env=False).status_code == 200


def test_a_link_is_not_made_public_by_the_url_that_is_recorded(bucket):
    stored = bucket.put(KEY, b"x", PDF)
    assert stored.url == f"s3://{BUCKET}/{settings().s3_prefix}/{KEY}"


def test_prefixes_keep_tenants_apart(seaweed, in_s3):
    one = in_s3(seaweed.url, S3_PREFIX="/tenant/one/")
    one.put(KEY, b"of one", PDF)
    two = in_s3(seaweed.url, S3_PREFIX="tenant/on")
    two.put(KEY, b"of two", PDF)
    assert listed(one) == listed(two) == {KEY}
    two.delete([KEY])
    assert listed(two) == set()
    assert one.get(KEY) == b"of one"


def test_lists_go_on_after_a_page(bucket, monkeypatch):
    monkeypatch.setattr(artifact_bucket, "PAGE_KEYS", 2)
    keys = {f"reports/{number}.pdf" for number in range(7)}
    for key in keys:
        bucket.put(key, b"x", PDF)
    found = [kept.key for kept in bucket.kept()]
    assert len(found) == 7
    assert set(found) == keys


def test_deletions_go_on_after_a_batch(bucket, monkeypatch):
    monkeypatch.setattr(artifact_bucket, "MOST_DELETED", 2)
    for number in range(5):
        bucket.put(f"reports/{number}.pdf", b"x", PDF)
    assert bucket.delete(f"reports/{number}.pdf" for number in range(5)) == 5
    assert listed(bucket) == set()


def test_the_server_encrypts_when_it_is_asked_to(seaweed, in_s3):
    client = seaweed.client()
    for asked, expected in (("none", None), ("AES256", "AES256")):
        store = in_s3(seaweed.url, S3_SSE=asked)
        store.put(KEY, b"secret", PDF)
        answer = client.head_object(Bucket=BUCKET, Key=store.place.prefix + KEY)
        assert answer.get("ServerSideEncryption") == expected
        assert store.get(KEY) == b"secret"
        assert httpx.get(store.link(KEY), trust_env=False).content == b"secret"
