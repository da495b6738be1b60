"""A real S3 server, and stores of reports that know nothing of this machine."""

import uuid

import pytest

from seedtest_assets.resources.artifact_store import ArtifactStore
from seedtest_assets.settings import settings
from tests.reliability.seaweed import ACCESS_KEY, BUCKET, SECRET_KEY, Seaweed


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory):
    server = Seaweed(tmp_path_factory.mktemp("seaweed"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def configure(monkeypatch):
    """A store of these variables, and of nothing that this machine has."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def of(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        settings.cache_clear()
        return ArtifactStore()

    return of


@pytest.fixture
def in_s3(configure):
    def at(url, **variables):
        known = {
            **{"AWS_ENDPOINT_URL_S3": url, "AWS_REGION": "us-east-1", "S3_BUCKET": BUCKET},
            **{"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "S3_PREFIX": uuid.uuid4().hex},
        }
        return configure(**known | variables)

    return at


@pytest.fixture
def bucket(seaweed, in_s3):
    return in_s3(seaweed.url)
