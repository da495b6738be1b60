"""A week whose calibration fails or cannot be tried: nothing is published, the night goes on, the reason is kept."""

import pytest
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.resources.database import run_id
from seedtest_assets.resources.plumber import Service
from tests.orchestration.cohort import EVERY_WEEK, OUTPUTS, checked, checksums, failed, retried, succeeded, why

FIRST, SECOND = EVERY_WEEK[:2]
CONVERGED = ("mirt_ability", "calibration_converged")
OF_THE_BANK = {"item_drift", "item_dif", "bank_health"}


@pytest.fixture
def one_iteration(monkeypatch):
    """The real service, told to stop after one iteration."""
    run_job = Service.run_job

    def impatient(self, path, body, content_type, options, progress):
        stop = {"max_iterations": 1} if path == "/irt/calibrate" else {}
        return run_job(self, path, body, content_type, options | stop, progress)

    monkeypatch.setattr(Service, "run_job", impatient)


def calibrate_instead(monkeypatch, change):
    """The real service, asked to calibrate other answers: (student, item, correct) as the change makes them."""
    run_job = Service.run_job

    def ask(self, path, body, content_type, options, progress):
        if path == "/irt/calibrate":
            header, *lines = body.decode().splitlines()
            changed = change([line.split(",") for line in lines])
            body = "\n".join([header, *(",".join(answer) for answer in changed), ""]).encode()
            options = options | {"min_responses": 1}
        return run_job(self, path, body, content_type, options, progress)

    monkeypatch.setattr(Service, "run_job", ask)


@pytest.fixture
def too_few_students(monkeypatch):
    calibrate_instead(monkeypatch, lambda answers: [each for each in answers if each[0] == answers[0][0]])


@pytest.fixture
def constant_items(monkeypatch):
    calibrate_instead(monkeypatch, lambda answers: [(student, item, "1") for student, item, _ in answers])


@pytest.fixture
def contradictory_answers(cohort):
    """A second first answer to an item in the second week, and it says the contrary."""
    a = tables.attempt
    names = [column.name for column in a.c if column.name not in {"id", "source_id", "correct"}]
    first = (
        sa.select(
            *(a.c[name] for name in names), sa.literal("again").label("source_id"), (~a.c.correct).label("correct")
        )
        .where(a.c.attempt_no == 1, a.c.completed_at >= SECOND)
        .order_by(a.c.completed_at)
        .limit(1)
    )
    with cohort.transaction() as connection:
        connection.execute(a.insert().from_select([*names, "source_id", "correct"], first))
    yield
    with cohort.transaction() as connection:
        connection.execute(sa.delete(a).where(a.c.source_id == "again"))


def banks(database):
    m = tables.weekly_metrics.c
    a = tables.mirt_ability.c
    return {
        "metrics": {row[0] for row in database.rows(sa.select(m.bank_run_id).where(m.week_start == SECOND))},
        "ability": {row[0] for row in database.rows(sa.select(a.bank_run_id).where(a.week_start == SECOND))},
    }


def tries(database, week):
    log = tables.fit_attempt
    query = sa.select(log.c.published, log.c.reason, log.c.diagnostics)
    query = query.where(log.c.week_start == week, log.c.asset == "mirt")
    return database.rows(query.order_by(log.c.tried_at))


@pytest.mark.parametrize(
    ("obstacle", "reason"),
    [
        ("one_iteration", "not converged after 1 iterations"),
        ("too_few_students", "the service cannot calibrate"),
        ("constant_items", "the service cannot calibrate"),
        ("contradictory_answers", "the service cannot calibrate"),
    ],
)
def test_a_failed_calibration_is_not_published_and_the_older_bank_serves(cohort, fresh, request, obstacle, reason):
    assert fresh(FIRST).success
    request.getfixturevalue(obstacle)
    result = fresh(SECOND)

    assert result.success
    assert {"features_topic_daily", "weekly_metrics", "weekly_kpi"} <= succeeded(result)
    check = checked(result)[CONVERGED]
    assert (check.passed, check.severity.value, check.blocking) == (False, "ERROR", False)
    assert reason in check.description
    materialised = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
    assert not {"mirt_fit_meta", "mirt_item_params", *OF_THE_BANK} & materialised
    assert not OF_THE_BANK & set(failed(result))
    assert "mirt_ability" in materialised

    published = [row[0] for row in cohort.rows(sa.select(tables.mirt_fit_meta.c.week_start))]
    assert published == [FIRST]
    older = run_id("mirt_fit_meta", FIRST)
    assert banks(cohort) == {"metrics": {older}, "ability": {older}}
    (tried,) = tries(cohort, SECOND)
    assert not tried.published
    assert reason in tried.reason
    assert tried.diagnostics


def test_once_it_converges_the_week_gets_its_own_bank(cohort, fresh, request, monkeypatch):
    assert fresh(FIRST).success
    real = Service.run_job
    request.getfixturevalue("one_iteration")
    assert fresh(SECOND).success
    monkeypatch.setattr(Service, "run_job", real)
    result = fresh(SECOND)
    assert result.success
    assert checked(result)[CONVERGED].passed
    own = run_id("mirt_fit_meta", SECOND)
    assert banks(cohort) == {"metrics": {own}, "ability": {own}}
    assert [tried.published for tried in tries(cohort, SECOND)] == [False, True]


def test_a_week_that_had_a_bank_keeps_it_when_a_later_try_fails(cohort, fresh, request):
    for week in (FIRST, SECOND):
        assert fresh(week).success
    before = checksums(cohort)
    request.getfixturevalue("one_iteration")
    assert fresh(SECOND).success
    assert [tried.published for tried in tries(cohort, SECOND)] == [True, False]
    after = checksums(cohort)
    unchanged = ("mirt_fit_meta", "mirt_item_params", "features_topic_daily")
    assert {name: after[name] for name in unchanged} == {name: before[name] for name in unchanged}
    own = run_id("mirt_fit_meta", SECOND)
    assert banks(cohort) == {"metrics": {own}, "ability": {own}}


def test_a_first_calibration_that_fails_stops_the_week_at_once_with_advice(cohort, fresh, one_iteration):
    result = fresh(FIRST)
    assert not result.success
    assert failed(result) == ["mirt"]
    assert retried(result) == []
    assert "weekly_metrics" not in succeeded(result)
    assert "No calibration has ever been published" in why(result)
    assert "MIRT_MODEL=Rasch" in why(result)
    (tried,) = tries(cohort, FIRST)
    assert "not converged" in tried.reason
    empty = [table for table in OUTPUTS if table.name.startswith(("mirt", "weekly"))]
    assert {cohort.rows(sa.select(sa.func.count()).select_from(table))[0][0] for table in empty} == {0}


def test_with_too_few_answers_to_calibrate_improvement_comes_from_accuracy(cohort, fresh, monkeypatch):
    monkeypatch.setenv("MIRT_MIN_RESPONSES", "10000")
    for week in EVERY_WEEK[:4]:
        result = fresh(week)
        assert result.success
    check = checked(result)[CONVERGED]
    assert (check.passed, check.severity.value) == (False, "WARN")
    m = tables.weekly_metrics.c
    found = cohort.rows(sa.select(m.i_t_method, m.theta, m.theta_week, m.bank_run_id).where(m.i_t.is_not(None)))
    assert len(found) > 0
    assert set(map(tuple, found)) == {("accuracy", None, None, None)}
    counts = sa.select(sa.func.count()).select_from(tables.mirt_ability)
    assert cohort.rows(counts)[0][0] == 0


def test_improvement_can_be_told_to_come_from_accuracy(cohort, fresh, monkeypatch):
    monkeypatch.setenv("METRICS_USE_IRT_THETA", "false")
    for week in EVERY_WEEK[:4]:
        assert fresh(week).success
    m = tables.weekly_metrics.c
    rows = cohort.rows(sa.select(m.i_t_method, m.theta.is_(None)).where(m.i_t.is_not(None)))
    assert {tuple(row) for row in rows} == {("accuracy", False)}
