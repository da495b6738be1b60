"""Every table of the path is filled for every week, and a week computed again is the same to the last digit."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.intake.files import import_file
from tests.orchestration.cohort import (
    EVERY_WEEK,
    OUTPUTS,
    SPEC,
    MainJob,
    checked,
    checksum,
    checksums,
    forget,
    succeeded,
)

WEEK = timedelta(weeks=1)


CHURN = {"survival_fit_meta", "survival_risk", "churn_alert"}
GROWTH = {"growth_glmm_meta", "growth_glmm_effect", "growth_brms_meta", "growth_goal"}
FORECAST = {"theta_forecast", "segment_transition"}
REPORTS = {"report_artifact", "cohort_report_artifact", "report_failure"}  # of a job of their own: test_reports.py
NOT_YET = CHURN | GROWTH | FORECAST | REPORTS  # this cohort is too young for the others at first
WEEKLY = [table for table in OUTPUTS if {"week_start", "date"} & set(table.c.keys()) and table.name not in NOT_YET]
OF_CALIBRATIONS = [
    table
    for table in OUTPUTS
    if "run_id" in table.c and table not in WEEKLY and table.name not in {"item_dif", *NOT_YET}
]


@pytest.fixture(scope="module")
def computed(computed: MainJob) -> MainJob:
    """Every week as a whole, models of closed weeks included."""
    job = MainJob(computed.instance, "week_job")
    for week in EVERY_WEEK:
        assert job(week).success
    return job


@pytest.fixture
def fresh(fresh: MainJob) -> MainJob:
    return MainJob(fresh.instance, "week_job")


def test_trends_and_goals_are_there_once_there_are_weeks_enough(cohort, computed):
    for table in (tables.growth_glmm_meta, tables.growth_goal, tables.theta_forecast):
        found = {row[0] for row in cohort.rows(sa.select(table.c.week_start).distinct())}
        assert set(EVERY_WEEK[2:]) <= found


@pytest.mark.parametrize("table", WEEKLY, ids=str)
def test_every_table_has_rows_for_every_week(cohort, computed, table):
    weeks = (
        table.c.week_start if "week_start" in table.c else sa.cast(sa.func.date_trunc("week", table.c.date), sa.Date)
    )
    found = {row[0] for row in cohort.rows(sa.select(weeks.label("week")).distinct())}
    assert found == set(EVERY_WEEK)


@pytest.mark.parametrize("table", OF_CALIBRATIONS, ids=str)
def test_every_calibration_has_items_drift_and_health(cohort, computed, table):
    meta = tables.mirt_fit_meta.c
    linked = cohort.rows(sa.select(sa.func.count()).where(meta.linking_constants.is_not(None)))[0][0]
    assert linked >= len(EVERY_WEEK) - 1  # the first week has too few answers for anchors
    calibrations = sa.select(sa.func.count(table.c.run_id.distinct()))
    assert cohort.rows(calibrations)[0][0] == (linked if table.name == "item_drift" else len(EVERY_WEEK))


def test_every_student_with_answers_has_a_kpi(cohort, computed):
    students = sa.select(sa.func.count(tables.attempt.c.student_id.distinct()))
    last = sa.select(sa.func.count()).where(tables.weekly_kpi.c.week_start == EVERY_WEEK[-1])
    assert cohort.rows(last)[0][0] == cohort.rows(students)[0][0]


def test_improvement_comes_from_ability_once_two_windows_are_full(cohort, computed):
    k, m = tables.weekly_kpi, tables.weekly_metrics
    method = m.c.i_t_method
    query = sa.select(method, sa.func.count()).where(m.c.week_start == EVERY_WEEK[-1])
    found = dict(tuple(row) for row in cohort.rows(query.group_by(method)))
    assert found["theta"] > SPEC.students / 2
    origin = k.c.provenance["i_t"]["method"].as_string()
    told = sa.select(origin.label("told"), method.label("method")).join_from(
        k, m, sa.and_(m.c.user_id == k.c.user_id, m.c.week_start == k.c.week_start)
    )
    assert all(row.told == row.method for row in cohort.rows(told))


@pytest.mark.parametrize("week", [EVERY_WEEK[n] for n in (3, 0, 5, 1)], ids=str)
def test_a_week_computed_again_changes_no_row_of_any_week(cohort, computed, week):
    before = checksums(cohort)
    assert computed(week).success
    assert checksums(cohort) == before


def test_results_do_not_depend_on_where_rows_lie_in_the_table(cohort, computed):
    before = checksums(cohort)
    with cohort.transaction() as connection:
        connection.execute(sa.text("UPDATE intake.attempt SET correct = correct WHERE id % 3 = 1"))
    assert computed(EVERY_WEEK[4]).success
    assert checksums(cohort) == before


def test_results_do_not_depend_on_the_order_of_import(cohort, computed, attempts_file, tmp_path):
    before = checksums(cohort)
    rows = pq.read_table(attempts_file)
    pq.write_table(rows.take(np.random.default_rng(3).permutation(len(rows))), tmp_path / "shuffled.parquet")
    forget(cohort, tables.attempt)
    import_file(cohort, tmp_path / "shuffled.parquet", source="cohort")
    assert computed(EVERY_WEEK[5]).success
    assert checksums(cohort) == before


def test_a_week_is_what_it_was_before_later_facts_and_weeks_existed(cohort, fresh, attempts_file):
    known, replayed = EVERY_WEEK[:3], EVERY_WEEK[2]
    with cohort.transaction() as connection:
        end = datetime.combine(known[-1] + WEEK, datetime.min.time(), UTC)
        connection.execute(sa.delete(tables.attempt).where(tables.attempt.c.completed_at >= end))
    for week in known:
        assert fresh(week).success
    then = checksums(cohort, replayed)
    assert import_file(cohort, attempts_file, source="cohort").new > 0
    for week in EVERY_WEEK[3:]:
        assert fresh(week).success
    assert fresh(replayed).success
    assert checksums(cohort, replayed) == then


def test_the_running_week_uses_nothing_after_the_last_midnight(cohort, fresh, clock):
    week = EVERY_WEEK[1]
    assert fresh(EVERY_WEEK[0]).success
    clock(datetime(2026, 2, 26, 15, 30, tzinfo=UTC))  # its Thursday
    midnight = datetime(2026, 2, 26, tzinfo=UTC)
    assert fresh(week).success
    running = checksums(cohort, week)
    for table in (tables.mirt_fit_meta, tables.mirt_ability, tables.weekly_metrics, tables.weekly_kpi):
        found = {row[0] for row in cohort.rows(sa.select(table.c.as_of).where(table.c.week_start == week))}
        assert found == {midnight}
    f = tables.features_topic_daily
    (last,) = cohort.rows(sa.select(sa.func.max(f.c.last_seen_at), sa.func.max(f.c.date)).where(f.c.date >= week))
    assert last[0] < midnight
    assert last[1] == midnight.date() - timedelta(days=1)

    with cohort.transaction() as connection:
        later = tables.attempt.c.completed_at >= midnight
        connection.execute(sa.update(tables.attempt).where(later).values(correct=~tables.attempt.c.correct))
    assert fresh(week).success
    assert checksums(cohort, week) == running
    with cohort.transaction() as connection:
        connection.execute(sa.update(tables.attempt).where(later).values(correct=~tables.attempt.c.correct))

    clock(datetime(2026, 3, 4, 2, 30, tzinfo=UTC))
    assert fresh(week).success
    (closed,) = cohort.rows(sa.select(sa.func.max(tables.weekly_kpi.c.as_of)))
    assert closed[0] == datetime(2026, 3, 2, tzinfo=UTC)
    assert checksums(cohort, week) != running


def test_a_week_without_any_answer_leaves_no_row_and_succeeds(cohort, fresh):
    result = fresh(EVERY_WEEK[0] - WEEK)
    assert result.success
    assert {checksum(cohort, table).split(" ")[0] for table in OUTPUTS if table.name != "fit_attempt"} == {"0"}
    calibrated = checked(result)["mirt_ability", "calibration_converged"]
    assert (calibrated.passed, calibrated.severity.value) == (False, "WARN")
    assert "fewer than 3 items have 20 first attempts" in calibrated.description


def test_a_silent_week_keeps_the_abilities_of_its_window_and_counts_no_answer(cohort, fresh):
    for week in (*EVERY_WEEK[-2:], EVERY_WEEK[-1] + WEEK):
        result = fresh(week)
        assert result.success
    silent = EVERY_WEEK[-1] + WEEK
    m, f = tables.weekly_metrics, tables.features_topic_daily
    (found,) = cohort.rows(
        sa.select(
            sa.func.count(),
            sa.func.count(m.c.theta),
            sa.func.sum(m.c.attempts),
            sa.func.min(m.c.idle_days),
            sa.func.count(m.c.theta_week),
        ).where(m.c.week_start == silent)
    )
    students, theta, attempts, idle, own_week = found
    assert students == theta == SPEC.students
    assert (attempts, own_week) == (0, 0)
    assert idle >= 7
    assert cohort.rows(sa.select(sa.func.count()).where(f.c.date >= silent))[0][0] == 0
    assert "weekly_kpi" in succeeded(result)
