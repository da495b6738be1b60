"""The Dagster UI as `seedtest up` serves it, on a computed cohort, and a browser to look at it."""

import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
from playwright.sync_api import Page, sync_playwright

from seedtest_assets.automation.weekly_runs import WeekRun, run_weeks
from seedtest_assets.local.home import CHECKOUT
from seedtest_assets.local.postgres import EmbeddedPostgres
from seedtest_assets.local.webserver import Webserver
from seedtest_assets.resources.database import Database
from seedtest_assets.settings import settings
from tests.orchestration.cohort import EVERY_WEEK
from tests.orchestration.conftest import attempts_file, cohort

__all__ = ["attempts_file", "cohort"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SUCCEEDED, FAILED = EVERY_WEEK[:3], EVERY_WEEK[3]


@dataclass(frozen=True)
class Ui:
    """A served UI.

    Attributes:
        url: its address.
        failed: a run of `seedtest run` that could not reach the IRT service.
        instance: the storage that the UI shows.
    """

    url: str
    failed: WeekRun
    instance: dg.DagsterInstance

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data that a GraphQL query gives."""
        answer = httpx.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60)
        document: dict[str, Any] = answer.raise_for_status().json()
        assert "errors" not in document, document["errors"]
        return document["data"]


@pytest.fixture(scope="module")
def ui(cohort: Database, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """Three weeks computed by `seedtest run`, the fourth failed; webserver and daemon on them."""
    home = tmp_path_factory.mktemp("dagster")
    shutil.copyfile(CHECKOUT / "deploy" / "dagster.yaml", home / "dagster.yaml")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DAGSTER_HOME", str(home))
        environment.setenv("DAGSTER_DATABASE_URL", postgres.url("dagster"))
        with dg.DagsterInstance.get() as instance:
            instance.wipe()
            yield from _served(instance, home)


def _served(instance: dg.DagsterInstance, home: Path) -> Iterator[Ui]:
    settings.cache_clear()
    assert all(outcome.success for outcome in run_weeks(SUCCEEDED))
    with pytest.MonkeyPatch.context() as unreachable:
        unreachable.setenv("R_IRT_BASE_URL", "http://127.0.0.1:9")
        unreachable.setattr(dg.RetryPolicy, "calculate_delay", lambda self, attempt: 0.0)
        settings.cache_clear()
        (failed,) = run_weeks([FAILED])
    assert not failed.success
    webserver = Webserver(home)
    ready: list[str] = []
    answers = threading.Event()

    def serve() -> None:
        try:
            webserver.serve(ready=lambda url: (ready.append(url), answers.set()))
        finally:
            answers.set()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert answers.wait(150)
        assert ready, "Dagster did not start"
        yield Ui(ready[0], failed, instance)
    finally:
        webserver.stop()
        thread.join()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A page of a headless Chromium without a past."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            str(tmp_path / "profile"),
            executable_path=CHROMIUM,
            headless=True,
            args=QUIET,
            viewport={"width": 2200, "height": 1300},
        )
        yield browser.pages[0] if browser.pages else browser.new_page()
        browser.close()
