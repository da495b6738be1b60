"""Where answers come from, and how many weeks a run may take."""

import uuid
from datetime import UTC, datetime

import dagster as dg
import pytest
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.definitions import definitions
from seedtest_assets.intake.files import import_file
from tests.orchestration.cohort import EVERY_WEEK, OUTPUTS, QUIET, MainJob, checksums, forget

IN_SQL = ["features_topic_daily", "weekly_metrics", "weekly_kpi"]


@pytest.fixture
def own_view(cohort, attempts_file, monkeypatch):
    """The application's own table, with other columns beside those of the contract, behind a view."""
    with cohort.transaction() as connection:
        connection.execute(sa.text("CREATE SCHEMA app"))
        connection.execute(sa.text("CREATE TABLE app.answer AS SELECT *, 'x' AS colour FROM intake.attempt"))
        connection.execute(sa.text("CREATE VIEW app.attempts_of_ours AS SELECT * FROM app.answer"))
    forget(cohort, tables.attempt)
    monkeypatch.setenv("SEEDTEST_ATTEMPT_RELATION", "app.attempts_of_ours")
    yield
    with cohort.transaction() as connection:
        connection.execute(sa.text("DROP SCHEMA app CASCADE"))
    import_file(cohort, attempts_file, source="cohort")


def test_an_applications_own_view_gives_the_same_numbers(cohort, computed, own_view):
    before = checksums(cohort)
    forget(cohort, *OUTPUTS)
    for week in EVERY_WEEK:
        assert MainJob(computed.instance)(week).success
    assert checksums(cohort) == before


def test_a_range_of_weeks_in_one_run_gives_the_rows_of_one_run_a_week(cohort, computed):
    before = checksums(cohort)
    forget(cohort, *(table for table in OUTPUTS if table.name in IN_SQL))
    result = (
        definitions()
        .resolve_implicit_global_asset_job_def()
        .execute_in_process(
            QUIET,
            asset_selection=[dg.AssetKey(name) for name in IN_SQL],
            tags={
                "dagster/asset_partition_range_start": EVERY_WEEK[0].isoformat(),
                "dagster/asset_partition_range_end": EVERY_WEEK[-1].isoformat(),
            },
            instance=computed.instance,
        )
    )
    assert result.success
    assert checksums(cohort) == before
    for table in (tables.weekly_metrics, tables.weekly_kpi):
        said = {
            event.partition: event.metadata["dagster/partition_row_count"].value
            for event in result.asset_materializations_for_node(table.name)
        }
        query = sa.select(table.c.week_start, sa.func.count()).group_by(table.c.week_start)
        assert said == {week.isoformat(): rows for week, rows in cohort.rows(query)}


@pytest.mark.parametrize("name", ["features_topic_daily", "weekly_metrics", "weekly_kpi", "mirt_ability"])
def test_backfills_take_ranges_where_sql_does_the_work_and_weeks_where_a_model_is_fitted(name):
    policy = definitions().resolve_asset_graph().get(dg.AssetKey(name)).backfill_policy
    assert policy == (dg.BackfillPolicy.single_run() if name in IN_SQL else dg.BackfillPolicy.multi_run(1))


@pytest.fixture
def exam_results(cohort):
    """The application's own table with one finished exam and one that cannot be read."""
    with cohort.transaction() as connection:
        tables.exam_results.create(connection)
        finished = {"questions": [{"question_id": 1, "is_correct": True, "topic": "sets", "time_spent_sec": 9}]}
        now = datetime(2026, 3, 3, 9, tzinfo=UTC)
        for number, document in enumerate((finished, ["no", "exam"])):
            row = {"id": uuid.UUID(int=number + 1), "session_id": f"s{number}", "user_id": "7", "status": "ready"}
            times = {"created_at": now, "updated_at": now}
            connection.execute(tables.exam_results.insert().values(**row, **times, result_json=document))
    yield
    with cohort.transaction() as connection:
        tables.exam_results.drop(connection)


def test_the_intake_job_reports_on_the_attempts_it_took_in(cohort, exam_results, instance):
    forget(cohort, tables.attempt, tables.attempt_reject, tables.intake_cursor)
    result = definitions().resolve_job_def("intake_job").execute_in_process(QUIET, instance=instance)
    assert result.success
    assert cohort.rows(sa.select(sa.func.count()).select_from(tables.attempt))[0][0] == 1
    assert cohort.rows(sa.select(sa.func.count()).select_from(tables.attempt_reject))[0][0] == 1
    observed = instance.fetch_observations(dg.AssetKey("attempt"), limit=1).records[0].asset_observation
    assert 1 in {value.value for value in observed.metadata.values()}
