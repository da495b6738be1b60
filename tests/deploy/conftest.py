"""What of the deployment's documents is slow to make: once for all tests, and copied for each."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.launching import launched_job
from tests.deploy.manifests import OVERLAYS, Document, chart_documents, helm_values, rendered


@pytest.fixture(scope="session")
def run_jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Document]:
    """The Job of a run in each environment, as the real launcher makes it."""
    return {overlay: launched_job(helm_values(overlay), tmp_path_factory.mktemp(overlay)) for overlay in OVERLAYS}


@pytest.fixture
def deployed(run_jobs: dict[str, Document]) -> Callable[[str], list[Document]]:
    """All documents of an environment: kustomize's, those of the chart that matter, a run's Job."""

    def of(overlay: str) -> list[Document]:
        return [*rendered(overlay), *chart_documents(helm_values(overlay)), copy.deepcopy(run_jobs[overlay])]

    return of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for Dagster's storage."""
    made = tmp_path / "dagster"
    made.mkdir()
    return made
