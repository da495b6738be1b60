import os
import stat
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest
from botocore.stub import Stubber
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from seedtest_assets.failures import PermanentFailure
from seedtest_assets.resources.artifact_folder import Folder
from seedtest_assets.resources.artifact_store import ArtifactStore, checked
from seedtest_assets.settings import settings

KEY = "reports/7a1d3c52/2026-03-02/report.pdf"
PDF = "application/pdf"


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "reports")


@pytest.fixture
def configure(monkeypatch):
    for name in ("REPORT_FOLDER", "S3_BUCKET", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")

    def of(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        settings.cache_clear()
        return ArtifactStore()

    return of


@pytest.fixture
def amazon(configure):
    """A bucket of Amazon's, which nobody asks."""

    def of(**variables):
        credentials = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secret"}
        return configure(**{"S3_BUCKET": "of-a-school", "AWS_REGION": "ap-northeast-2", **credentials, **variables})

    return of


def files(root):
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


# --- which place


def test_without_a_place_there_is_advice(configure):
    with pytest.raises(PermanentFailure) as caught:
        configure().put(KEY, b"x", PDF)
    assert "S3_BUCKET" in caught.value.description
    assert "REPORT_FOLDER" in caught.value.description


def test_a_bucket_goes_before_a_folder(configure, tmp_path):
    both = configure(S3_BUCKET="of-a-school", REPORT_FOLDER=tmp_path)
    assert type(both.place).__name__ == "Bucket"
    assert type(configure(S3_BUCKET="").place).__name__ == "Folder"


def test_a_store_can_be_a_resource_of_dagster_before_it_has_a_place(configure):
    """A method named like one of a mapping's would be called by pydantic when Dagster copies the resource."""
    configure()
    assert dict(ArtifactStore()) == {}


# --- keys


@pytest.mark.parametrize(
    "key",
    [
        *("", "/", "/etc/passwd", "a/", "a//b", ".", "..", "../a", "a/..", "a/../b", "a/./b", ".hidden", "a/.drafts/b"),
        *("a\x00", "a\nb", "a\tb", "a\x7f", "a\x85b", "a\u2028b", "a\ufffe", "a\\b", "..\\a"),
        *("half \ud800", "a" * 256, "é" * 128, "/".join(["a" * 200] * 6)),
    ],
)
def test_what_is_no_key_is_refused_and_not_told(key):
    with pytest.raises(PermanentFailure) as caught:
        checked(key)
    assert caught.value.allow_retries is False
    assert len(key) < 5 or key not in caught.value.description


@given(key=st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="./\\\n"), max_size=40))
@hypothesis_settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_key_of_any_text_stays_within_the_folder_or_is_refused(tmp_path, key):
    root = tmp_path / "within"
    try:
        checked(key)
    except PermanentFailure:
        return
    Folder(root).put(key, b"x", PDF)
    assert [kept.key for kept in Folder(root).kept("")] == [key]
    assert {path.name for path in tmp_path.iterdir()} == {"within"}
    Folder(root).delete([key])
    assert {path.name for path in root.iterdir()} == {".drafts"}


# --- a folder


def test_files_and_folders_are_their_owners_alone(folder):
    before = os.umask(0o022)
    try:
        folder.put(KEY, b"x", PDF)
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (folder.root, *folder.root.rglob("*"))}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert files(folder.root) == {KEY}


def test_the_urls_of_files_open_them(folder):
    key = "reports/학생/a b%20?#.html"
    url = folder.put(key, b"hello", "text/html")
    assert url == folder.link(key, timedelta(1))
    with urlopen(url) as opened:
        assert opened.read() == b"hello"


def test_a_reader_has_the_old_report_or_the_new_one_never_half(folder):
    bodies = [b"a" * 2_000_000, b"b" * 1_000_000]
    folder.put(KEY, bodies[0], PDF)
    done = threading.Event()
    seen = set()

    def read():
        while not done.is_set():
            body = folder.get(KEY)
            seen.add((len(body), body.count(b"a"), body.count(b"b")))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(50):
        folder.put(KEY, bodies[number % 2], PDF)
    done.set()
    reader.join()
    assert seen
    assert seen <= {(2_000_000, 2_000_000, 0), (1_000_000, 0, 1_000_000)}


def test_a_write_that_fails_leaves_the_old_report_and_nothing_else(folder, monkeypatch):
    folder.put(KEY, b"old", PDF)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", no_space)
        with pytest.raises(PermanentFailure) as caught:
            folder.put(KEY, b"new", PDF)
    assert "No space left on device" in caught.value.description
    assert folder.get(KEY) == b"old"
    assert files(folder.root) == {KEY}


def no_space(path, _target):
    raise OSError(28, "No space left on device", str(path))


def test_what_a_killed_process_left_is_removed_in_time_and_never_listed(folder):
    folder.put(KEY, b"x", PDF)
    left, being_written = (folder.root / ".drafts" / name for name in ("left", "being_written"))
    for draft in (left, being_written):
        draft.write_bytes(b"half a report")
    hours_ago = time.time() - 2 * 3600
    os.utime(left, (hours_ago, hours_ago))
    folder.put(KEY, b"x", PDF)
    assert not left.exists()
    assert being_written.exists()
    assert [kept.key for kept in folder.kept("")] == [KEY]


@pytest.mark.parametrize("where", ["reports", "reports/7a1d3c52", KEY])
def test_a_symbolic_link_leads_nowhere(folder, tmp_path, where):
    outside = tmp_path / "outside"
    outside.mkdir()
    secret = outside / Path(KEY).relative_to(where) if where != KEY else outside / "secret"
    secret.parent.mkdir(parents=True, exist_ok=True)
    secret.write_bytes(b"secret")
    way = folder.root / where
    way.parent.mkdir(parents=True)
    way.symlink_to(outside if where != KEY else secret)
    for operation in (
        lambda: folder.put(KEY, b"x", PDF),
        lambda: folder.get(KEY),
        lambda: folder.link(KEY, timedelta(1)),
        lambda: folder.delete([KEY]),
    ):
        with pytest.raises(PermanentFailure, match="symbolic link"):
            operation()
    assert list(folder.kept("")) == []
    assert secret.read_bytes() == b"secret"
    assert len(files(outside)) == 1


def test_a_folder_of_the_store_may_itself_be_reached_by_a_link(tmp_path):
    real = tmp_path / "disk"
    real.mkdir()
    (tmp_path / "reports").symlink_to(real)
    Folder(tmp_path / "reports").put(KEY, b"x", PDF)
    assert files(real) == {KEY}


def test_a_deletion_leaves_no_folder_that_names_a_student(folder):
    folder.put(KEY, b"x", PDF)
    folder.put(KEY.replace("pdf", "html"), b"x", "text/html")
    folder.delete([KEY])
    assert (folder.root / KEY).parent.is_dir()
    folder.delete([KEY.replace("pdf", "html")])
    assert {path.name for path in folder.root.iterdir()} == {".drafts"}


def test_writing_listing_and_deleting_at_once_disturb_each_other_not(folder):
    keys = ["reports/one/a/r.pdf", "reports/one/b/r.pdf"]
    operations = [
        lambda: folder.put(keys[0], b"x", PDF),
        lambda: folder.put(keys[1], b"x", PDF),
        lambda: folder.delete(keys),
        lambda: list(folder.kept("reports/")),
    ]
    with ThreadPoolExecutor(len(operations)) as pool:
        for repeated in [pool.submit(repeat, operation) for operation in operations]:
            repeated.result()


def repeat(operation):
    for _ in range(100):
        operation()


def test_what_cannot_be_is_refused_without_telling_of_whom(folder):
    folder.put(KEY, b"x", PDF)
    for operation in (
        lambda: folder.put(f"{KEY}/below", b"y", PDF),
        lambda: folder.put(KEY.rpartition("/")[0], b"y", PDF),
        lambda: folder.get(f"{KEY}.never"),
        lambda: folder.get(f"{KEY}/below"),
    ):
        with pytest.raises(PermanentFailure) as caught:
            operation()
        assert "7a1d3c52" not in "".join(traceback.format_exception(caught.value)) + caught.value.description
    assert files(folder.root) == {KEY}


def test_the_check_tells_what_is_no_folder_and_makes_none(folder, tmp_path):
    assert str(folder.root) in folder.check()
    assert not folder.root.exists()
    (tmp_path / "file").touch()
    with pytest.raises(PermanentFailure, match="REPORT_FOLDER"):
        Folder(tmp_path / "file").check()
    with pytest.raises(PermanentFailure, match="REPORT_FOLDER"):
        Folder(tmp_path / "file" / "below").check()


# --- a bucket of Amazon's


@pytest.mark.parametrize("region", ["us-east-1", "ap-northeast-2"])
def test_links_go_to_the_bucket_in_its_region_and_last_a_week(amazon, region):
    """The host of the signature must be the one that answers: a redirect would be refused."""
    link = urlsplit(amazon(AWS_REGION=region).link(KEY))
    asked = {name: value[0] for name, value in parse_qs(link.query).items()}
    host = "of-a-school.s3.amazonaws.com" if region == "us-east-1" else f"of-a-school.s3.{region}.amazonaws.com"
    assert (link.scheme, link.netloc, link.path) == ("https", host, f"/{KEY}")
    assert asked["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
    assert asked["X-Amz-Expires"] == "604800"
    assert f"/{region}/s3/aws4_request" in asked["X-Amz-Credential"]


def test_links_last_as_long_as_the_settings_or_the_caller_say(amazon):
    store = amazon(REPORT_LINK_SECONDS=3600)
    assert "X-Amz-Expires=3600&" in store.link(KEY)
    assert "X-Amz-Expires=60&" in store.link(KEY, timedelta(minutes=1))


def test_another_server_is_asked_by_path(amazon):
    store = amazon(AWS_ENDPOINT_URL_S3="http://storage.school.example:9000/")
    assert store.link(KEY).startswith(f"http://storage.school.example:9000/of-a-school/{KEY}?")


@pytest.mark.parametrize(
    ("variables", "encryption"),
    [
        ({"S3_KMS_KEY_ID": "alias/unused"}, {}),
        ({"S3_SSE": "aws:kms"}, {"ServerSideEncryption": "aws:kms"}),
        (
            {"S3_SSE": "aws:kms", "S3_KMS_KEY_ID": "alias/reports"},
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/reports"},
        ),
    ],
)
def test_a_put_asks_for_what_the_settings_say(amazon, variables, encryption):
    store = amazon(S3_PREFIX="school-a", **variables)
    with Stubber(store.place.client) as s3:
        s3.add_response(
            "put_object",
            {},
            {
                "Bucket": "of-a-school",
                "Key": f"school-a/{KEY}",
                "Body": b"abc",
                "ChecksumSHA256": "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
                "ContentType": PDF,
                "ContentDisposition": 'inline; filename="report.pdf"',
                "CacheControl": "private",
                **encryption,
            },
        )
        stored = store.put(KEY, b"abc", PDF)
    assert stored.url == f"s3://of-a-school/school-a/{KEY}"


def test_a_deletion_asks_for_a_thousand_at_a_time_and_goes_on_after_a_refusal(amazon):
    store = amazon()
    keys = [f"reports/{number}.pdf" for number in range(2001)]
    with Stubber(store.place.client) as s3:
        for first in (0, 1000, 2000):
            objects = [{"Key": key} for key in keys[first : first + 1000]]
            answer = {"Errors": [{"Key": keys[0], "Code": "AccessDenied"}]} if first == 0 else {}
            s3.add_response(
                "delete_objects", answer, {"Bucket": "of-a-school", "Delete": {"Objects": objects, "Quiet": True}}
            )
        with pytest.raises(PermanentFailure, match=r"1 of 2001 reports.*AccessDenied: 1"):
            store.delete(keys)
        s3.assert_no_pending_responses()
