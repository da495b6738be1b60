"""From answers to each student's risk: what is published, by whom, and what happens where nothing can be."""

import uuid
from datetime import UTC, datetime, timedelta

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.assets import churn
from seedtest_assets.models import survival
from seedtest_assets.resources.database import Database
from seedtest_assets.settings import settings
from tests.orchestration.cohort import checked, checksum, failed, forget, succeeded
from tests.orchestration.silent_cohort import FIRST_DAY, answer, drawn, mondays, run, user

CHURN = (tables.survival_fit_meta, tables.survival_risk, tables.weekly_kpi)
NOBODY = "00000000-0000-4000-8000-000000000000"
NOWHERE = "http://127.0.0.1:9"


STUDENTS, WEEKS = 60, 21
ACTIVE = drawn(STUDENTS, WEEKS)
*EARLIER, LAST = mondays(WEEKS)


@pytest.fixture(autouse=True)
def python_engine(monkeypatch):
    monkeypatch.setenv("SURVIVAL_ENGINE", "python")


@pytest.fixture(scope="module")
def silent(migrated):
    """The database with a cohort's answers, and all its weeks but the last computed in order."""
    with pytest.MonkeyPatch.context() as environment, dg.DagsterInstance.ephemeral() as instance:
        environment.setenv("DATABASE_URL", migrated)
        environment.setenv("SURVIVAL_ENGINE", "python")
        settings.cache_clear()
        database = Database()
        forget(database, *tables.metadata.sorted_tables)
        answer(database, ACTIVE)
        for week in EARLIER:
            assert run(database, week, instance).success
        yield database
        database.engine.dispose()


@pytest.fixture
def last_week(silent, instance):
    """Run the last week, in the environment as it is then; what it writes is gone after the test."""
    yield lambda: run(silent, LAST, instance)
    with silent.transaction() as connection:
        for table in (*CHURN, tables.weekly_metrics, tables.fit_attempt):
            connection.execute(sa.delete(table).where(table.c.week_start == LAST))


@pytest.fixture
def run_weeks(database, instance):
    """Run the path for some weeks of another cohort, in order; the last result."""

    def run_all(active, weeks):
        answer(database, active)
        for week in weeks:
            result = run(database, week, instance)
            assert result.success
        return result

    return run_all


def risks(database, week, horizon=None):
    r = tables.survival_risk
    query = sa.select(r).where(r.c.week_start == week)
    frame = database.frame(query if horizon is None else query.where(r.c.horizon_days == horizon))
    return frame.assign(user_id=frame["user_id"].astype(str)).sort_values(["horizon_days", "user_id"])


def kpis(database, week):
    k = tables.weekly_kpi
    frame = database.frame(sa.select(k).where(k.c.week_start == week))
    return frame.assign(user_id=frame["user_id"].astype(str)).set_index("user_id")


def fits(database):
    return database.rows(sa.select(tables.survival_fit_meta).order_by(tables.survival_fit_meta.c.week_start))


def publication(result):
    return checked(result)["survival_risk", "fit_published"]


def test_who_is_at_risk_and_for_how_long_idle(silent, last_week):
    assert last_week().success
    found = risks(silent, LAST, 14).set_index("user_id")
    expected = {}
    for student, days in enumerate(ACTIVE):
        on = np.flatnonzero(days)
        if len(on) and len(days) - 1 - on[-1] < 14:
            expected[user(student)] = (len(days) - 1 - on[-1], FIRST_DAY + timedelta(days=int(on[-1])))
    assert {name: (row.idle_days, row.last_active) for name, row in found.iterrows()} == expected
    assert set(found["model"]) == {"full"}
    assert (found["as_of"] == pd.Timestamp(LAST + timedelta(weeks=1), tz="UTC")).all()
    assert sorted(found["rank"]) == sorted((-found["risk"]).rank(method="min").astype(int))


def test_risks_rise_with_the_horizon_and_an_early_event_is_impossible(silent, last_week):
    assert last_week().success
    by_horizon = [risks(silent, LAST, horizon).set_index("user_id") for horizon in (7, 14, 28)]
    short, middle, long = by_horizon
    assert (short["risk"][short["idle_days"] < 7] == 0).all()
    assert (short["risk_upper"][short["idle_days"] < 7] == 0).all()
    assert (short["risk"][short["idle_days"] >= 7] > 0).all()
    for name in ("risk", "risk_lower", "risk_upper"):
        assert (short[name] <= middle[name]).all()
        assert (middle[name] <= long[name]).all()
    assert all(
        ((each["risk_lower"] <= each["risk"]) & (each["risk"] <= each["risk_upper"])).all() for each in by_horizon
    )


@pytest.mark.parametrize("horizon", [14, 28])
def test_the_kpi_is_the_risk_at_its_horizon_and_says_where_it_comes_from(silent, last_week, monkeypatch, horizon):
    monkeypatch.setenv("METRICS_CHURN_HORIZON_DAYS", str(horizon))
    assert last_week().success
    found, risk = kpis(silent, LAST), risks(silent, LAST, horizon).set_index("user_id")
    at_risk = found[found["churn_state"] == "at_risk"]
    assert at_risk["s_churn"].to_dict() == risk["risk"].to_dict()
    lapsed = found[found["churn_state"] == "lapsed"]
    assert len(lapsed) > 0
    assert lapsed["s_churn"].isna().all()
    assert not any("s_churn" in origin for origin in lapsed["provenance"])
    fit = fits(silent)[-1]
    assert fit.week_start == LAST
    for name, row in at_risk.iterrows():
        origin = row["provenance"]["s_churn"]
        assert (origin["engine"], origin["trigger"], origin["fit_run_id"]) == ("python", "schedule", str(fit.run_id))
        assert (origin["horizon_days"], origin["method"]) == (horizon, "landmark_logistic_full")
        assert (origin["lower"], origin["upper"]) == (risk["risk_lower"][name], risk["risk_upper"][name])
    view = sa.text("SELECT user_id::text, kpis->'S' AS s FROM public.weekly_kpi WHERE week_start = :week")
    with silent.transaction() as connection:
        shown = dict(tuple(row) for row in connection.execute(view, {"week": LAST}))
    assert {name: s for name, s in shown.items() if s is not None} == at_risk["s_churn"].to_dict()


def test_published_risks_are_judged_when_their_horizon_is_over(silent, last_week):
    result = last_week()
    record = fits(silent)[-1].calibration["14"]
    rows = []
    for n, week in enumerate(EARLIER):
        end = 7 * n + 7
        if end + 14 <= ACTIVE.shape[1] and end >= ACTIVE.shape[1] - 90:
            for row in risks(silent, week, 14).itertuples():
                on = np.flatnonzero(ACTIVE[uuid.UUID(row.user_id).int - 1])
                silences = [a + 15 for a, b in zip(on, [*on[1:], ACTIVE.shape[1]], strict=True) if b - a >= 15]
                rows.append((row.risk, any(end < silence <= end + 14 for silence in silences)))
    risk, event = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    assert (record["n"], record["events"]) == (len(rows), int(event.sum()))
    assert record["brier"] == pytest.approx(np.mean((risk - event) ** 2), abs=1e-12)
    assert (record["predicted"], record["happened"]) == pytest.approx((risk.mean(), event.mean()), abs=1e-12)
    found = checked(result)
    calibrated, skilled = (found["survival_risk", name] for name in ("risk_is_calibrated", "risk_beats_recency"))
    of_all = fits(silent)[-1].calibration
    slopes = {f"{horizon}_days": of["slope"] for horizon, of in of_all.items() if of["slope"] is not None}
    assert {name: slope.value for name, slope in calibrated.metadata.items()} == slopes != {}
    assert calibrated.passed == all(0.8 <= slope.value <= 1.25 for slope in calibrated.metadata.values())
    assert skilled.metadata["14_days"].value == record["skill"]
    assert skilled.passed == all(skill.value > 0 for skill in skilled.metadata.values())


def test_covariates_that_never_vary_are_left_out_and_listed(silent):
    model = {one["horizon"]: one for one in fits(silent)[-1].risk_model}
    assert "e_t" in model[14]["dropped"]  # no response times: E_t is unknown for all
    assert not any(term.startswith("e_t") for term in model[14]["terms"])
    assert model[14]["status"] == "fitted"
    assert np.isfinite(model[14]["coefficients"]).all()


def test_a_fit_that_does_not_converge_leaves_the_older_one_in_force(silent, last_week, monkeypatch):
    before = fits(silent)
    monkeypatch.setattr(survival, "MAX_ITERATIONS", 1)
    result = last_week()
    assert result.success
    assert fits(silent) == before
    found = risks(silent, LAST)
    assert set(found["fit_run_id"].astype(str)) == {str(before[-1].run_id)}
    assert set(found["model"]) == {"full"}
    check = publication(result)
    assert (check.passed, check.severity.value) == (False, "ERROR")
    assert "14 days: not converged" in check.description
    assert check.metadata["scored_with_fit_of"].value == EARLIER[-1].isoformat()
    log = tables.fit_attempt.c
    (tried,) = silent.rows(sa.select(log.published, log.reason).where(log.week_start == LAST))
    assert not tried.published
    assert "not converged" in tried.reason


def test_without_a_service_python_stands_in_and_is_named(silent, last_week, monkeypatch):
    monkeypatch.setenv("SURVIVAL_ENGINE", "auto")
    monkeypatch.setenv("R_FORECAST_BASE_URL", NOWHERE)
    result = last_week()
    assert result.success
    check = publication(result)
    assert (check.passed, check.severity.value) == (False, "WARN")
    assert "the python engine stood in" in check.description
    assert set(risks(silent, LAST)["engine"]) == {"python"}
    assert fits(silent)[-1].engine == "python"


def test_the_engine_that_alone_was_asked_for_has_no_stand_in(silent, last_week, monkeypatch, quick_retries):
    before = checksum(silent, tables.survival_risk)
    monkeypatch.setenv("SURVIVAL_ENGINE", "plumber")
    monkeypatch.setenv("R_FORECAST_BASE_URL", NOWHERE)
    assert failed(last_week()) == ["churn"]
    assert checksum(silent, tables.survival_risk) == before


def test_both_engines_publish_the_same_risks(silent, last_week, irt_server, monkeypatch):
    assert last_week().success
    by_python = risks(silent, LAST)
    for name, value in irt_server.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SURVIVAL_ENGINE", "plumber")
    assert publication(last_week()).passed
    by_r = risks(silent, LAST)
    assert set(by_r["engine"]) == {"plumber"}
    numbers = ["risk", "risk_lower", "risk_upper", "risk_recency"]
    np.testing.assert_allclose(by_r[numbers], by_python[numbers], atol=1e-6)
    assert by_r["user_id"].tolist() == by_python["user_id"].tolist()
    assert by_r["rank"].tolist() == by_python["rank"].tolist()


@pytest.mark.parametrize(
    ("column", "value"), [("risk", 1.5), ("rank", -1), ("fit_run_id", NOBODY), ("user_id", NOBODY)]
)
def test_a_risk_out_of_range_or_of_nobody_stops_the_kpi(last_week, monkeypatch, column, value):
    rows = churn._risk_rows

    def spoilt(*args, **kwargs):
        return rows(*args, **kwargs).assign(**{column: lambda frame: [value, *frame[column].iloc[1:]]})

    monkeypatch.setattr(churn, "_risk_rows", spoilt)
    result = last_week()
    assert checked(result)["survival_risk", "keys_and_ranges"].description.endswith(f"{{'{column}': 1}}")
    assert "weekly_kpi" not in succeeded(result)


def test_the_running_week_is_refitted_every_day(silent, last_week, clock):
    seen = []
    for day in (2, 4):
        midnight = LAST + timedelta(days=day)
        clock(datetime.combine(midnight, datetime.min.time(), UTC) + timedelta(hours=3))
        assert last_week().success
        fit = fits(silent)[-1]
        assert (fit.week_start, fit.as_of.date()) == (LAST, midnight)
        assert set(risks(silent, LAST)["as_of"].dt.date) == {midnight}
        seen.append(fit.n)
    assert seen[0] < seen[1]


def test_thirty_weeks_at_once_are_what_they_were_week_by_week(database, instance):
    active, weeks = drawn(60, 30), mondays(30)
    for n, week in enumerate(weeks):
        this_week = np.zeros_like(active)
        this_week[:, 7 * n : 7 * n + 7] = active[:, 7 * n : 7 * n + 7]
        answer(database, this_week)
        assert run(database, week, instance).success
    week_by_week = [checksum(database, table) for table in CHURN]
    assert len(fits(database)) > 15
    forget(database, *(table for table in tables.metadata.sorted_tables if table.schema == "analytics"))
    for week in weeks:
        assert run(database, week, instance).success
    assert [checksum(database, table) for table in CHURN] == week_by_week
    assert run(database, weeks[12], instance).success
    assert [checksum(database, table) for table in CHURN] == week_by_week
    with database.transaction() as connection:  # where rows lie in the table does not matter
        connection.execute(
            sa.text("UPDATE analytics.survival_risk SET rank = rank WHERE hashtext(user_id::text) % 3 = 1")
        )
    assert run(database, weeks[-1], instance).success
    assert [checksum(database, table) for table in CHURN] == week_by_week


def always(students, weeks):
    return np.ones((students, 7 * weeks), bool)


def test_nobody_ever_falls_silent_nothing_is_published(database, run_weeks):
    result = run_weeks(always(30, 6), mondays(6)[-1:])
    assert fits(database) == []
    assert len(risks(database, mondays(6)[-1])) == 0
    check = publication(result)
    assert (check.passed, check.severity.value) == (False, "WARN")
    assert "14 days: too few events (0 among" in check.description
    found = kpis(database, mondays(6)[-1])
    assert set(found["churn_state"]) == {"at_risk"}
    assert found["s_churn"].isna().all()


def test_one_student_is_too_few(database, run_weeks):
    active = always(1, 12)
    active[:, 30:50] = False
    result = run_weeks(active, mondays(12)[-1:])
    assert fits(database) == []
    assert "too few events" in publication(result).description


def test_all_have_lapsed_nobody_has_a_risk(database, run_weeks):
    active = drawn(60, 16)
    active[:, -21:] = False
    run_weeks(active, mondays(16)[-1:])
    assert len(fits(database)) == 1
    assert len(risks(database, mondays(16)[-1])) == 0
    found = kpis(database, mondays(16)[-1])
    assert set(found["churn_state"]) == {"lapsed"}
    assert found["s_churn"].isna().all()


def test_a_student_who_comes_back_is_at_risk_again(database, run_weeks):
    active = np.zeros((1, 7 * 10), bool)
    active[0, [0, 20, 21, 65]] = True
    run_weeks(active, mondays(10))
    states = [kpis(database, week)["churn_state"][user(0)] for week in mondays(10)]
    assert states == [*["at_risk"] * 5, *["lapsed"] * 4, "at_risk"]


def test_separation_stays_finite(database, run_weeks):
    """Who is idle for a day never comes back: idle days tell the future perfectly."""
    active = always(60, 14)
    for student, day in enumerate(np.random.default_rng(5).integers(20, 97, 50)):
        active[student, day:] = False
    run_weeks(active, mondays(14)[-1:])
    found = risks(database, mondays(14)[-1], 14)
    assert np.isfinite(found[["risk", "risk_lower", "risk_upper"]].to_numpy()).all()
    assert found["risk"][found["idle_days"] > 0].min() > found["risk"][found["idle_days"] == 0].max()


def test_days_off_do_not_count_as_idle_where_so_configured(database, run_weeks, monkeypatch):
    monkeypatch.setenv("SURVIVAL_IDLE_SKIPS_HOLIDAYS", "true")
    active, off = drawn(60, 18), range(112, 122)
    active[:, 112:] = False
    with database.transaction() as connection:
        days = [{"date": FIRST_DAY + timedelta(days=day), "name": "vacation"} for day in off]
        connection.execute(sa.insert(tables.holiday), days)
    run_weeks(active, mondays(18)[-1:])
    found = risks(database, mondays(18)[-1], 14).set_index("user_id")
    last = {user(student): np.flatnonzero(days).max() for student, days in enumerate(active) if days.any()}
    idle = {name: 125 - day - len([d for d in off if d > day]) for name, day in last.items()}
    assert found["idle_days"].to_dict() == {name: days for name, days in idle.items() if days < 14}
    assert len(found) > 20
    assert set(kpis(database, mondays(18)[-1])["churn_state"]) == {"at_risk", "lapsed"}
