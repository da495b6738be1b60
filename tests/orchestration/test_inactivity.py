"""Students refreshed at once have the rows that the nightly run would have given them, and nobody else is touched."""

from datetime import UTC, datetime, time, timedelta

import dagster as dg
import pytest
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.automation import inactivity as module
from seedtest_assets.automation.weekly_runs import QUIET
from seedtest_assets.definitions import definitions
from seedtest_assets.failures import TransientFailure
from seedtest_assets.settings import settings
from tests.orchestration.cohort import MainJob, failed, retried, why
from tests.orchestration.silent_cohort import answer, drawn, mondays, user

STUDENTS, WEEKS = 150, 15
*CLOSED, RUNNING = mondays(WEEKS)[-4:]
EARLIER, NOW = RUNNING + timedelta(days=1), RUNNING + timedelta(days=3)
REWRITTEN = (tables.survival_risk, tables.churn_alert, tables.weekly_kpi)
NOT_COMPARED = {"computed_at", "trigger", "rank"}


def at(day, hour):
    return datetime.combine(day, time(hour, 31), UTC)


def state(database):
    """The rows of what is rewritten, by table and student."""
    found = {}
    for table in REWRITTEN:
        with database.transaction() as connection:
            rows = connection.execute(sa.select(table)).mappings().all()
        found[table.name] = [dict(row) for row in rows]
    return found


def put_back(database, before):
    with database.transaction() as connection:
        for table in REWRITTEN:
            connection.execute(sa.delete(table))
            if before[table.name]:
                connection.execute(table.insert(), before[table.name])


def of(state, users, *, others=False):
    """These students' rows of the running week and their alerts, or all other rows."""

    def theirs(name, row):
        return str(row["user_id"]) in users and (name == "churn_alert" or row["week_start"] == RUNNING)

    return {name: sorted((row for row in rows if theirs(name, row) != others), key=str) for name, rows in state.items()}


def comparable(state):
    """Without what says when, by whom and among whom a row was made."""

    def of_row(row):
        row = {name: value for name, value in row.items() if name not in NOT_COMPARED}
        if "provenance" in row:
            row["provenance"]["s_churn"].pop("trigger")
        return row

    return {name: sorted(map(of_row, rows), key=str) for name, rows in state.items()}


def sensor(instance, cursor=None):
    repository = definitions().get_repository_def()
    resources = {"database": definitions().resources["database"]}
    with dg.build_sensor_context(instance, cursor, repository_def=repository, resources=resources) as context:
        return repository.get_sensor_def("inactivity").evaluate_tick(context)


def execute(instance, request):
    job = definitions().resolve_job_def("refresh_inactive")
    return job.execute_in_process(
        {**request.run_config, **QUIET}, instance=instance, tags=request.tags, raise_on_error=False
    )


def succeeds(result):
    assert result.success, why(result)
    return True


@pytest.fixture
def nights(database, instance, irt_service, clock, monkeypatch):
    """Main jobs of weeks that are over, then nightly runs of the running one; what each of the last two wrote."""
    monkeypatch.setenv("SURVIVAL_ENGINE", "python")
    monkeypatch.setenv("CHURN_ALERT_THRESHOLD", "0.3")
    monkeypatch.setenv("MIRT_ATTEMPTS", "last")
    answer(database, drawn(STUDENTS, WEEKS))
    job = MainJob(instance)

    def run_all():
        for week in CLOSED:
            clock(at(week + timedelta(weeks=1), 2))
            assert succeeds(job(week))
        written = []
        for day in (EARLIER, NOW):
            clock(at(day, 2))
            assert succeeds(job(RUNNING))
            written.append(state(database))
        return written

    return run_all


def newly_silent(earlier, now):
    """Students whose silence has passed seven days between the two."""
    seven = [
        {(str(row["user_id"]), row["last_active"]) for row in of_night["survival_risk"] if row["idle_days"] >= 7}
        for of_night in (earlier, now)
    ]
    return {name for name, _ in seven[1] - seven[0]}


@pytest.mark.slow
@pytest.mark.parametrize("skips", [False, True])
def test_rows_are_those_of_the_nightly_run_as_of_the_same_midnight(
    database, instance, nights, clock, monkeypatch, skips
):
    monkeypatch.setenv("SURVIVAL_IDLE_SKIPS_HOLIDAYS", str(skips))
    with database.transaction() as connection:
        off = [{"date": RUNNING - timedelta(days=day), "name": "vacation"} for day in (1, 2, 3)]
        connection.execute(tables.holiday.insert(), off)
    earlier, now = nights()
    expected = newly_silent(earlier, now)
    assert len(expected) >= 3
    put_back(database, earlier)
    clock(at(NOW, 0))

    said = sensor(instance)
    (request,) = said.run_requests
    result = execute(instance, request)
    assert result.success

    found = state(database)
    assert comparable(of(found, expected)) == comparable(of(now, expected))
    assert of(found, expected, others=True) == of(earlier, expected, others=True)
    assert {row["trigger"] for row in of(found, expected)["survival_risk"]} == {"inactivity"}
    assert {row["rank"] for row in of(found, expected)["survival_risk"]} == {None}
    assert sensor(instance, said.cursor).run_requests == []


@pytest.mark.slow
def test_it_observes_and_says_nothing_of_anybody(database, instance, nights, clock):
    earlier, now = nights()
    put_back(database, earlier)
    clock(at(NOW, 0))
    materialised = instance.get_materialized_partitions(dg.AssetKey("survival_risk"))
    said = sensor(instance)
    (request,) = said.run_requests
    result = execute(instance, request)
    assert not [event for event in result.all_events if event.is_step_materialization]
    observed = {
        event.asset_key.to_user_string(): event.asset_observation_data.asset_observation
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.ASSET_OBSERVATION
    }
    students = len(newly_silent(earlier, now))
    rows = {name: observation.metadata["rows"].value for name, observation in observed.items()}
    assert rows["survival_risk"] == 3 * students
    assert rows["weekly_kpi"] == students
    assert set(rows) == {table.name for table in REWRITTEN}
    assert {observation.partition for observation in observed.values()} == {RUNNING.isoformat()}
    assert instance.get_materialized_partitions(dg.AssetKey("survival_risk")) == materialised

    run = instance.get_run_by_id(result.run_id)
    kept = [said.cursor, request.run_key, run, *instance.all_logs(result.run_id)]
    for student in range(STUDENTS):
        assert user(student) not in str(kept)


@pytest.mark.slow
def test_a_try_that_failed_half_way_is_finished_by_the_next(
    database, instance, nights, clock, monkeypatch, quick_retries
):
    earlier, now = nights()
    expected = newly_silent(earlier, now)
    put_back(database, earlier)
    clock(at(NOW, 0))
    rejoin, calls = module.rejoin, []

    def away_at_first(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise TransientFailure("the database is away")
        return rejoin(*arguments)

    monkeypatch.setattr(module, "rejoin", away_at_first)
    (request,) = sensor(instance).run_requests
    result = execute(instance, request)
    assert result.success
    assert retried(result) == ["rescore_inactive"]
    assert failed(result) == []
    found = state(database)
    assert comparable(of(found, expected)) == comparable(of(now, expected))
    assert of(found, expected, others=True) == of(earlier, expected, others=True)
    settings.cache_clear()
