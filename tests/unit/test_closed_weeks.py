"""When the trends and the reports of a closed week are requested: after the run before them, and only then."""

from datetime import UTC, datetime

import dagster as dg
import pytest

from seedtest_assets.automation.closed_weeks import closed_week, modelled_week


@pytest.fixture
def tell(clock):
    """What a sensor says of a successful run with these tags, on Monday the 9th."""
    clock(datetime(2026, 3, 9, 3, tzinfo=UTC))

    @dg.job(name="metrics_job")
    def metrics_job() -> None:
        pass

    def of(tags, sensor=closed_week):
        with dg.DagsterInstance.ephemeral() as instance:
            result = metrics_job.execute_in_process(instance=instance, tags=tags)
            run = instance.get_run_by_id(result.run_id)
            context = dg.build_run_status_sensor_context(
                sensor.name, result.all_events[-1], instance, run, partition_key=tags["dagster/partition"]
            )
            return sensor(context), run.run_id

    return of


def test_the_run_that_closed_the_week_is_followed_by_its_trends(tell):
    request, run_id = tell({"dagster/schedule_name": "nightly_metrics", "dagster/partition": "2026-03-02"})
    assert (request.partition_key, request.run_key) == ("2026-03-02", run_id)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"dagster/schedule_name": "nightly_metrics", "dagster/partition": "2026-03-09"}, "not over"),
        ({"dagster/partition": "2026-03-02"}, "not a run of the nightly schedule"),
        ({"dagster/backfill": "abc", "dagster/partition": "2026-03-02"}, "not a run of the nightly schedule"),
    ],
)
def test_the_running_week_and_runs_by_hand_are_not(tell, tags, reason):
    skipped, _ = tell(tags)
    assert isinstance(skipped, dg.SkipReason)
    assert reason in skipped.skip_message


def test_the_models_that_the_sensor_asked_for_are_followed_by_the_reports(tell):
    tags = {"dagster/sensor_name": "closed_week", "dagster/partition": "2026-03-02"}
    request, run_id = tell(tags, modelled_week)
    assert (request.partition_key, request.run_key) == ("2026-03-02", run_id)


@pytest.mark.parametrize("tags", [{}, {"dagster/sensor_name": "inactivity"}, {"dagster/backfill": "abc"}])
def test_models_that_were_run_by_hand_are_not(tell, tags):
    skipped, _ = tell(tags | {"dagster/partition": "2026-03-02"}, modelled_week)
    assert isinstance(skipped, dg.SkipReason)
    assert "not a run of the closed week's sensor" in skipped.skip_message
