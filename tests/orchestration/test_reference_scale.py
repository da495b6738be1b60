"""Two groups of students in two weeks, on one bank: their abilities are on one scale, and what changed is found."""

from datetime import date, datetime, time, timedelta

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from scipy.special import expit

from seedtest_assets import tables
from seedtest_assets.intake.files import import_file
from seedtest_assets.resources.database import Database, run_id
from seedtest_assets.resources.plumber import IrtService
from seedtest_assets.settings import settings
from tests.orchestration.cohort import OUTPUTS, MainJob, checked, checksums, failed, forget, succeeded

FIRST, SECOND, THIRD = (date(2026, 3, 2) + timedelta(weeks=n) for n in range(3))
STUDENTS, ITEMS, COMMON = 400, 40, 4
GROWTH, SPREAD = 0.8, 0.75
"""The second week's students are abler, and more alike."""
DRIFTED = [3, 11, 19, 27]
DRIFT = 1.0
UNFAIR = 7
GROUPS = ("a", "b")


def answers(random, week, theta, items, a, b, focal):
    """Every student answers every item, at noon of one of the week's days."""
    student, item = np.indices((len(theta), len(items)))
    harder = 1.2 * (np.array(items) == UNFAIR) * focal[:, None] * (week == SECOND)
    right = random.random(student.shape) < expit(a * (theta[:, None] - b - harder))
    day = random.integers(0, 7, len(theta))
    noon = datetime.combine(week, time(12))
    return pd.DataFrame(
        {
            "student_id": [f"{week}-{n}" for n in student.ravel()],
            "item_id": np.array(items)[item.ravel()].astype(str),
            "topic_id": [f"topic {items[n] % 4}" for n in item.ravel()],
            "answered_at": [
                noon + timedelta(days=int(day[n]), seconds=int(k))
                for n, k in zip(student.ravel(), item.ravel(), strict=True)
            ],
            "is_correct": right.ravel(),
        }
    )


@pytest.fixture(scope="module")
def truth():
    """Of the first two weeks: mean and sd of the students' true abilities."""
    random = np.random.default_rng(4)
    theta = {FIRST: random.normal(0, 1, STUDENTS), SECOND: random.normal(GROWTH, SPREAD, STUDENTS)}
    theta[THIRD] = random.normal(0, 1, STUDENTS)
    return random, theta


@pytest.fixture(scope="module")
def bank(migrated, irt_server, tmp_path_factory, truth):
    """The database with the three weeks' answers; the third's are on other items, but for a few."""
    random, theta = truth
    a, b = random.lognormal(0, 0.25, 2 * ITEMS), random.uniform(-1.8, 1.8, 2 * ITEMS)
    focal = random.random(STUDENTS) < 0.4
    items = list(range(ITEMS))
    later = b + DRIFT * np.isin(np.arange(2 * ITEMS), DRIFTED)
    others = [*range(COMMON), *range(ITEMS, 2 * ITEMS - COMMON)]
    frames = [
        answers(random, FIRST, theta[FIRST], items, a[:ITEMS], b[:ITEMS], focal),
        answers(random, SECOND, theta[SECOND], items, a[:ITEMS], later[:ITEMS], focal),
        answers(random, THIRD, theta[THIRD], others, a[others], b[others], focal),
    ]
    file = tmp_path_factory.mktemp("bank") / "attempts.parquet"
    pd.concat(frames).to_parquet(file)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DATABASE_URL", migrated)
        environment.setenv("MIRT_LOOKBACK_DAYS", "7")
        for name, value in irt_server.items():
            environment.setenv(name, value)
        settings.cache_clear()
        database = Database()
        forget(database, *tables.metadata.sorted_tables)
        import_file(database, file, source="bank")
        with database.transaction() as connection:
            for week in (FIRST, SECOND):
                for n, each in enumerate(focal):
                    row = {
                        "user_id": sa.func.md5(f"{week}-{n}").cast(sa.Uuid),
                        "name": "class",
                        "value": GROUPS[int(each)],
                    }
                    connection.execute(tables.student_attribute.insert().values(row))
        yield database
        forget(database, *tables.metadata.sorted_tables)
        database.engine.dispose()


@pytest.fixture
def fresh(bank, instance):
    forget(bank, *OUTPUTS)
    return MainJob(instance)


@pytest.fixture(scope="module")
def computed(bank):
    """The main job, once it has computed the first two weeks, and what it said of the second."""
    with dg.DagsterInstance.ephemeral() as instance:
        forget(bank, *OUTPUTS)
        job = MainJob(instance)
        results = {week: job(week) for week in (FIRST, SECOND)}
        assert all(result.success for result in results.values())
        yield job, results


def linking(database, week):
    meta = tables.mirt_fit_meta.c
    ((constants,),) = database.rows(sa.select(meta.linking_constants).where(meta.week_start == week))
    return constants


def abilities(database, week):
    ability = tables.mirt_ability.c
    rows = database.rows(sa.select(ability.theta, ability.se).where(ability.week_start == week))
    return np.array([tuple(row) for row in rows]).T


def flagged(database, table, week):
    run = run_id("mirt_fit_meta", week)
    return {row[0] for row in database.rows(sa.select(table.c.item_id).where(table.c.run_id == run, table.c.flag))}


def test_the_first_calibration_sets_the_scale_and_is_linked_to_itself(bank, computed):
    _, results = computed
    anchor = tables.item_anchor.c
    rows = bank.rows(sa.select(anchor.valid_from, anchor.valid_to, anchor.bank, anchor.model).distinct())
    as_of = datetime.combine(SECOND, time()).astimezone().replace(tzinfo=rows[0].valid_from.tzinfo)
    assert [tuple(row) for row in rows] == [(as_of, None, run_id("mirt_fit_meta", FIRST), "2PL")]
    constants = linking(bank, FIRST)
    assert constants["A"] == pytest.approx(1, abs=1e-6)
    assert constants["B"] == pytest.approx(0, abs=1e-6)
    check = checked(results[FIRST])["mirt_ability", "on_reference_scale"]
    assert check.passed
    assert check.metadata["n_anchors"].value == constants["n_anchors"] >= 20


def test_abilities_of_both_weeks_are_on_one_scale_although_anchors_drifted(bank, computed, truth):
    _, theta = truth
    unit = abilities(bank, FIRST)[0].mean(), linking(bank, SECOND)
    assert unit[0] == pytest.approx(theta[FIRST].mean(), abs=0.1)
    eap, se = abilities(bank, SECOND)
    assert eap.mean() - unit[0] == pytest.approx(theta[SECOND].mean() - theta[FIRST].mean(), abs=0.1)
    spread = np.sqrt(eap.var() + np.mean(se**2))
    assert spread == pytest.approx(theta[SECOND].std() / theta[FIRST].std(), abs=0.08)
    meta = tables.mirt_fit_meta.c
    ((metrics,),) = bank.rows(sa.select(meta.metrics).where(meta.week_start == SECOND))
    assert metrics["latent_mean"] == pytest.approx(eap.mean(), abs=0.03)
    assert metrics["latent_sd"] == pytest.approx(spread, abs=0.05)


def test_all_methods_are_kept_beside_the_one_in_use(bank, computed):
    constants = linking(bank, SECOND)
    methods = {each["method"]: each for each in constants["methods"]}
    assert set(methods) == {"mean/mean", "mean/sigma", "Haebara", "Stocking-Lord", "robust"}
    assert (constants["method"], constants["A"], constants["B"]) == ("robust", *(methods["robust"][k] for k in "AB"))
    assert constants["se_A"] > 0
    assert constants["se_B"] > 0
    assert all(each["reason"] for each in constants["dropped"])


def test_items_that_changed_are_found_and_named(bank, computed):
    _, results = computed
    drift, anchor = tables.item_drift, tables.item_anchor.c
    anchors = {row[0] for row in bank.rows(sa.select(anchor.item_id))}
    run = run_id("mirt_fit_meta", SECOND)
    rows = bank.rows(sa.select(drift.c.item_id, drift.c.d_b, drift.c.flag).where(drift.c.run_id == run))
    assert {row.item_id for row in rows} == anchors
    planted = anchors & set(DRIFTED)
    assert planted
    assert planted <= flagged(bank, drift, SECOND)
    assert len(flagged(bank, drift, SECOND) - planted) <= 2
    assert np.mean([row.d_b for row in rows if row.item_id in planted]) == pytest.approx(DRIFT, abs=0.3)
    assert flagged(bank, drift, FIRST) == set()
    assert checked(results[FIRST])["item_drift", "no_item_drift"].passed
    check = checked(results[SECOND])["item_drift", "no_item_drift"]
    assert (check.passed, check.severity, check.blocking) == (False, dg.AssetCheckSeverity.WARN, False)
    assert all(str(item) in check.description for item in planted)


def test_an_unfair_item_is_found_against_the_larger_group(bank, computed):
    _, results = computed
    dif = tables.item_dif.c
    rows = bank.rows(
        sa.select(dif.attribute, dif.reference, dif.focal, sa.func.count()).group_by(
            dif.attribute, dif.reference, dif.focal
        )
    )
    assert [tuple(row) for row in rows] == [("class", "a", "b", 2 * ITEMS)]
    assert flagged(bank, tables.item_dif, SECOND) == {UNFAIR}
    run = run_id("mirt_fit_meta", SECOND)
    ((d_dif,),) = bank.rows(sa.select(dif.mh_d_dif).where(dif.run_id == run, dif.item_id == UNFAIR))
    assert d_dif < -1
    assert not checked(results[SECOND])["item_dif", "no_dif"].passed
    assert checked(results[FIRST])["item_dif", "no_dif"].passed


def test_health_of_a_bank_that_everybody_has_met(bank, computed):
    _, results = computed
    health = tables.bank_health.c
    (row,) = bank.rows(sa.select(tables.bank_health).where(health.run_id == run_id("mirt_fit_meta", SECOND)))
    assert (row.n_items, row.n_known, row.never_used_share, row.max_exposure) == (ITEMS, ITEMS, 0, 1)
    assert row.effective_size == pytest.approx(ITEMS)
    assert sum(row.details["students_by_band"]) == STUDENTS
    assert row.information_p50 > row.information_p90 > 0.05
    check = checked(results[SECOND])["bank_health", "bank_serves_students"]
    assert not check.passed
    assert "an item was met by 100% of the students" in check.description


def test_item_and_person_fit_are_kept(bank, computed):
    item, ability = tables.mirt_item_params.c, tables.mirt_ability.c
    found = np.array([tuple(row) for row in bank.rows(sa.select(item.infit, item.outfit, item.fit_p, item.rmsd))])
    assert found[:, :2].mean(axis=0) == pytest.approx(1, abs=0.05)
    assert np.all((found[:, 2] >= 0) & (found[:, 2] <= 1))
    assert found[:, 3].max() < 0.2
    lz = np.array([row[0] for row in bank.rows(sa.select(ability.lz_star).where(ability.lz_star.is_not(None)))])
    assert len(lz) == 2 * STUDENTS
    assert (lz.mean(), lz.std()) == (pytest.approx(0, abs=0.15), pytest.approx(1, abs=0.2))


def test_metadata_shows_tables_and_pictures_of_items_and_names_no_student(bank, computed):
    _, results = computed
    shown = {
        event.asset_key.to_user_string(): event.step_materialization_data.materialization.metadata
        for event in results[SECOND].get_asset_materialization_events()
    }
    pictures = {
        "mirt_item_params": ("worst_fit", "item_map"),
        "item_drift": ("most_moved", "drift_plot"),
        "item_dif": ("most_different", "forest_plot"),
        "bank_health": ("bands", "test_information"),
    }
    for asset, (table, picture) in pictures.items():
        assert 0 < len(shown[asset][table].records) <= 20
        assert len(shown[asset][picture].value) < 60_000
    students = {str(row[0]) for row in bank.rows(sa.select(tables.attempt.c.student_id).distinct())}
    said = str({name: {key: value.value for key, value in each.items()} for name, each in shown.items()})
    assert not any(student in said for student in students)


@pytest.mark.parametrize("week", [SECOND, FIRST], ids=str)
def test_a_week_computed_again_gives_the_same_rows_and_no_new_anchors(bank, computed, week):
    job, _ = computed
    before = checksums(bank)
    assert job(week).success
    assert checksums(bank) == before


@pytest.mark.parametrize("method", ["Stocking-Lord", "Haebara", "mean/mean", "mean/sigma", "fixed"])
def test_every_method_puts_the_weeks_on_one_scale(bank, fresh, truth, monkeypatch, method):
    monkeypatch.setenv("MIRT_LINK_METHOD", method)
    _, theta = truth
    for week in (FIRST, SECOND):
        assert fresh(week).success
    before = checksums(bank)
    assert fresh(FIRST).success
    assert checksums(bank) == before
    assert linking(bank, SECOND)["method"] == method
    moved = abilities(bank, SECOND)[0].mean() - abilities(bank, FIRST)[0].mean()
    # The drift of a tenth of the items by one logit moves these methods by a tenth of a logit, and the robust one not.
    assert moved == pytest.approx(theta[SECOND].mean() - theta[FIRST].mean(), abs=0.22)


def test_anchors_held_fixed_keep_their_parameters(bank, fresh, monkeypatch):
    monkeypatch.setenv("MIRT_LINK_METHOD", "fixed")
    for week in (FIRST, SECOND):
        assert fresh(week).success
    item, anchor = tables.mirt_item_params.c, tables.item_anchor.c
    pairs = bank.rows(
        sa.select(item.a, item.b, anchor.a.label("a0"), anchor.b.label("b0"))
        .join_from(tables.mirt_item_params, tables.item_anchor, item.item_id == anchor.item_id)
        .where(item.is_anchor)
    )
    assert len(pairs) == 2 * bank.rows(sa.select(sa.func.count()).select_from(tables.item_anchor))[0][0]
    assert max(abs(row.a - row.a0) + abs(row.b - row.b0) for row in pairs) < 1e-9
    assert bank.rows(sa.select(sa.func.count()).select_from(tables.item_drift))[0][0] == 0


@pytest.mark.parametrize("method", ["robust", "fixed"])
def test_a_calibration_with_too_few_anchors_is_not_published_and_the_older_bank_serves(
    bank, fresh, monkeypatch, method
):
    monkeypatch.setenv("MIRT_LINK_METHOD", method)
    for week in (FIRST, SECOND):
        assert fresh(week).success
    before = checksums(bank, SECOND)
    result = fresh(THIRD)
    assert result.success
    converged = checked(result)["mirt_ability", "calibration_converged"]
    assert (converged.passed, converged.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "set new anchors (docs/operations.md)" in converged.description
    assert checked(result)["mirt_ability", "on_reference_scale"].passed  # that of the bank in use
    log, ability = tables.fit_attempt.c, tables.mirt_ability.c
    (tried,) = bank.rows(sa.select(log.published, log.reason).where(log.week_start == THIRD, log.asset == "mirt"))
    assert (tried.published, tried.reason) == (False, converged.description)
    assert not {"item_drift", "item_dif", "bank_health"} & succeeded(result)
    used = bank.rows(
        sa.select(ability.bank_run_id, sa.func.count()).where(ability.week_start == THIRD).group_by(ability.bank_run_id)
    )
    assert [tuple(row) for row in used] == [(run_id("mirt_fit_meta", SECOND), STUDENTS)]
    assert checksums(bank, SECOND) == before


def test_a_week_before_the_anchors_is_published_on_its_own_scale_and_says_so(bank, fresh):
    assert fresh(SECOND).success
    before = checksums(bank)["item_anchor"]
    result = fresh(FIRST)
    assert result.success
    check = checked(result)["mirt_ability", "on_reference_scale"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "no anchors of this model are in force" in check.description
    assert linking(bank, FIRST) is None
    assert checksums(bank)["item_anchor"] == before
    assert flagged(bank, tables.item_drift, FIRST) == set()


def test_with_too_few_good_items_there_is_no_scale_yet(bank, fresh, monkeypatch):
    monkeypatch.setenv("MIRT_ANCHOR_MIN_RESPONSES", "401")
    result = fresh(FIRST)
    assert result.success
    check = checked(result)["mirt_ability", "on_reference_scale"]
    assert not check.passed
    assert "fewer than 20 items have 401 answers" in check.description
    monkeypatch.setenv("MIRT_ANCHOR_MIN_RESPONSES", "100")
    assert checked(fresh(SECOND))["mirt_ability", "on_reference_scale"].passed


def test_anchors_of_another_model_are_not_linked_to(bank, fresh, monkeypatch):
    assert fresh(FIRST).success
    monkeypatch.setenv("MIRT_MODEL", "Rasch")
    result = fresh(SECOND)
    assert result.success
    assert linking(bank, SECOND) is None
    assert not checked(result)["mirt_ability", "on_reference_scale"].passed


def test_a_model_with_guessing_goes_the_whole_way(bank, fresh, monkeypatch):
    monkeypatch.setenv("MIRT_MODEL", "3PL")
    for week in (FIRST, SECOND):
        assert fresh(week).success
    item, metrics = tables.mirt_item_params.c, tables.weekly_metrics.c
    c = np.array([row[0] for row in bank.rows(sa.select(item.c))])
    assert np.all((c > 0.01) & (c < 0.5))
    assert linking(bank, SECOND)["n_anchors"] >= 5
    own = (metrics.week_start == SECOND) & metrics.theta_week.is_not(None)
    pairs = np.array([tuple(row) for row in bank.rows(sa.select(metrics.theta, metrics.theta_week).where(own))])
    assert len(pairs) == STUDENTS
    assert np.corrcoef(pairs.T)[0, 1] > 0.95


def test_a_service_that_fails_after_the_calibration_keeps_no_student_from_their_numbers(bank, fresh, monkeypatch):
    def refuse(*args, **kwargs):
        raise dg.Failure("the service is away", allow_retries=False)

    monkeypatch.setattr(IrtService, "drift", refuse)
    result = fresh(FIRST)
    assert failed(result) == ["item_drift"]
    assert {"weekly_metrics", "weekly_kpi", "bank_health", "item_dif"} <= succeeded(result)
