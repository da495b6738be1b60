"""Many weeks in this process: stopped at the first failure, resumed from the failed asset, recorded for the UI."""

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import dagster as dg
import psutil
import pytest
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.assets import weekly_metrics
from seedtest_assets.automation import weekly_runs
from seedtest_assets.automation.weekly_runs import run_weeks
from seedtest_assets.calendar import monday
from seedtest_assets.failures import PermanentFailure
from seedtest_assets.local.home import CHECKOUT
from seedtest_assets.local.services import RService, RServices
from seedtest_assets.resources import plumber
from seedtest_assets.settings import settings
from tests.orchestration.cohort import EVERY_WEEK, OUTPUTS, checksums, forget
from tests.reliability.between import Between

FIRST, SECOND, THIRD = EVERY_WEEK[:3]
STATUS = dg.DagsterRunStatus
IRT = (RService("irt", "R_IRT"),)


@pytest.fixture(autouse=True)
def impatience(monkeypatch, quick_retries):
    """Every job is polled, at once."""
    monkeypatch.setattr(plumber, "WAIT_SECONDS", 0)
    monkeypatch.setattr(plumber, "POLL_SECONDS", 0.01)


@pytest.fixture
def storage(cohort, dagster_home):
    """Dagster's own storage without a run, and nothing computed."""
    forget(cohort, *OUTPUTS)
    return dagster_home


@pytest.fixture
def own_service(server_folder, monkeypatch):
    """An IRT service that a test may kill."""
    services = RServices(server_folder / "mortal")
    for name, value in services.start(IRT).items():
        monkeypatch.setenv(name, value)
    yield services
    services.stop()


def run(*weeks, resume=False):
    settings.cache_clear()
    return list(run_weeks(weeks, resume=resume))


def executed(storage, outcome):
    """Steps that a run started."""
    return {stats.step_key for stats in storage.get_run_step_stats(outcome.run_id)}


@contextmanager
def between(service_url, instead):
    """The service's address, for the length of the block, is one where `instead` comes first."""
    with Between(instead, service_url).listening() as listening, pytest.MonkeyPatch.context() as environment:
        environment.setenv("R_IRT_BASE_URL", listening.url)
        yield listening


def test_every_run_is_recorded_under_the_job_its_partition_and_its_code_location(storage):
    outcomes = run(FIRST, SECOND)
    assert [(outcome.week, outcome.success, outcome.resumed) for outcome in outcomes] == [
        (FIRST, True, False),
        (SECOND, True, False),
    ]
    for outcome in outcomes:
        recorded = storage.get_run_by_id(outcome.run_id)
        assert (recorded.job_name, recorded.status) == ("week_job", STATUS.SUCCESS)
        assert recorded.tags["dagster/partition"] == outcome.week.isoformat()
        assert recorded.remote_job_origin.location_name == "seedtest"
    of_the_location = dg.RunsFilter(tags={".dagster/repository": "__repository__@seedtest"})  # as the UI asks
    assert storage.get_runs_count(of_the_location) == 2
    partitions = storage.get_materialized_partitions(dg.AssetKey("weekly_kpi"))
    assert partitions == {FIRST.isoformat(), SECOND.isoformat()}


def test_another_tenants_run_of_the_week_does_not_count_as_ones_own(storage, monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(weekly_runs, "LOCATION", "another")
        assert [outcome.success for outcome in run(FIRST)] == [True]
    assert [outcome.success for outcome in run(FIRST, resume=True)] == [True]
    assert run(FIRST, resume=True) == []


@pytest.mark.slow
def test_a_service_killed_in_the_middle_of_a_calibration(cohort, storage, own_service):
    assert all(outcome.success for outcome in run(FIRST))
    before = checksums(cohort)
    service = next(each for each in own_service.status() if each.name == "irt")

    def kill(request):
        if request.path.startswith("/jobs/") and psutil.pid_exists(service.pid):
            process = psutil.Process(service.pid)
            process.kill()
            process.wait(10)

    with between(service.url, kill):
        (stopped,) = run(SECOND, THIRD)
    assert (stopped.week, stopped.success) == (SECOND, False)
    for advice in ("mirt: ", "does not answer", "seedtest services start", "seedtest run --resume", "in the UI"):
        assert advice in stopped.reason
    retries = storage.all_logs(stopped.run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY)
    assert [event.step_key for event in retries] == ["mirt"] * 3
    assert checksums(cohort) == before
    tries = sa.select(tables.fit_attempt.c.week_start).where(tables.fit_attempt.c.asset == "mirt")
    assert [row[0] for row in cohort.rows(tries)] == [FIRST]

    own_service.start(IRT)
    resumed, went_on = run(FIRST, SECOND, THIRD, resume=True)
    assert (resumed.week, resumed.success, resumed.resumed) == (SECOND, True, True)
    assert (went_on.week, went_on.success, went_on.resumed) == (THIRD, True, False)
    assert {"mirt", "features_topic_daily", "weekly_metrics", "weekly_kpi"} <= executed(storage, resumed)
    assert storage.get_run_by_id(resumed.run_id).parent_run_id == stopped.run_id
    assert run(FIRST, SECOND, THIRD, resume=True) == []

    found = checksums(cohort)
    forget(cohort, *OUTPUTS)
    run(FIRST, SECOND, THIRD)
    assert checksums(cohort) == found


def test_a_run_goes_on_from_the_asset_that_failed(cohort, storage, monkeypatch):
    def fail(*_, **__):
        raise PermanentFailure("not today")

    with monkeypatch.context() as broken:
        broken.setattr(weekly_metrics, "weekly_numbers", fail)
        (stopped,) = run(FIRST)
    assert (stopped.success, stopped.reason) == (False, "weekly_metrics: not today")
    before = checksums(cohort)
    (resumed,) = run(FIRST, resume=True)
    assert (resumed.success, resumed.resumed) == (True, True)
    steps = executed(storage, resumed)
    assert {"weekly_metrics", "weekly_kpi"} <= steps
    assert not {"mirt", "features_topic_daily"} & steps
    after = checksums(cohort)
    below = {"weekly_metrics", "segment_meta", "user_segment", "prophet_fit_meta", "anomalies", "weekly_kpi"}
    assert {name for name in before if before[name] != after[name]} == below


def test_what_a_blocking_check_stopped_is_computed_anew(cohort, storage, monkeypatch):
    numbers = weekly_metrics.weekly_numbers
    with monkeypatch.context() as spoilt:
        spoilt.setattr(weekly_metrics, "weekly_numbers", lambda *a, **k: numbers(*a, **k).assign(a_t=2.0))
        (stopped,) = run(FIRST)
    assert not stopped.success
    assert stopped.reason.startswith("weekly_metrics, keys_and_ranges: rows out of range or pointing to nothing")
    assert "{'a_t'" in stopped.reason
    (again,) = run(FIRST, resume=True)
    assert (again.success, again.resumed) == (True, False)


def test_a_week_that_was_running_when_it_was_computed_is_computed_again_once_it_is_over(storage, clock):
    now = datetime.now(UTC)
    running = monday(now.date())
    (outcome,) = run(running)
    assert outcome.success
    assert storage.get_run_by_id(outcome.run_id).job_name == "metrics_job"  # models of whole weeks wait for its end
    assert run(running, resume=True) == []
    clock(now + timedelta(days=8))
    assert [(outcome.week, outcome.resumed) for outcome in run(running, resume=True)] == [(running, False)]


def test_a_week_that_has_not_begun_is_refused(storage):
    with pytest.raises(ValueError, match="has not begun"):
        run(monday(datetime.now(UTC).date()) + timedelta(weeks=2), resume=True)


@pytest.mark.slow
def test_a_run_whose_process_was_killed_is_closed_and_resumed(cohort, storage, irt_server):
    reached, released = threading.Event(), threading.Event()

    def hold(request):
        reached.set()
        released.wait(60)

    with between(irt_server["R_IRT_BASE_URL"], hold):
        code = f"from seedtest_assets.automation.weekly_runs import *; list(run_weeks([date.fromisoformat('{FIRST}')]))"
        process = subprocess.Popen([sys.executable, "-c", code], cwd=CHECKOUT, env=os.environ)
        assert reached.wait(60)
        process.kill()
        process.wait()
        released.set()
    (orphan,) = storage.get_runs()
    assert orphan.status == STATUS.STARTED
    (resumed,) = run(FIRST, resume=True)
    assert (resumed.success, resumed.resumed) == (True, True)
    assert storage.get_run_by_id(orphan.run_id).status == STATUS.FAILURE
    assert "mirt" in executed(storage, resumed)


def test_a_run_of_a_living_process_is_left_alone(storage):
    (outcome,) = run(FIRST)
    living = storage.get_run_by_id(outcome.run_id)
    other = storage.create_run_for_job(dg.job(name="week_job")(lambda: None), tags=living.tags, status=STATUS.STARTED)
    run(SECOND)
    assert storage.get_run_by_id(other.run_id).status == STATUS.STARTED
