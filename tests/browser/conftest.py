"""The Dagster UI as `seedtest up` serves it, on a computed cohort, and a browser to look at it."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from playwright.sync_api import Page, sync_playwright

from seedtest_assets.automation.weekly_runs import WeekRun, run_weeks
from seedtest_assets.local.home import CHECKOUT
from seedtest_assets.local.postgres import EmbeddedPostgres
from seedtest_assets.resources.database import Database
from seedtest_assets.settings import settings
from tests.orchestration.cohort import EVERY_WEEK
from tests.orchestration.conftest import attempts_file, cohort
from tests.served import Served, served

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
class Ui(Served):
    """A served UI.

    Attributes:
        failed: a run of `seedtest run` that could not reach the IRT service.
        instance: the storage that the UI shows.
    """

    failed: WeekRun
    instance: dg.DagsterInstance


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
    with served(home) as there:
        yield Ui(there.url, failed, instance)


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
