"""Forecasts and anomalies in the pipeline: what is forecast by which engine, what is flagged, and what is said."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.intake.files import import_file
from seedtest_assets.resources.forecast import ForecastService
from seedtest_assets.simulate import CohortSpec, write_cohort
from tests.orchestration.cohort import MainJob, checked, checksum, failed, forget, retried, why

SPEC = CohortSpec(students=60, items=240, topics=3, weeks=14, end=date(2026, 3, 29), seed=7, sessions_per_week=4.0)
WEEKS = [SPEC.start + timedelta(weeks=n) for n in range(SPEC.weeks)]
LAST = WEEKS[-1]
FORECAST = (tables.prophet_fit_meta, tables.anomalies, tables.theta_forecast)


@pytest.fixture(scope="module")
def school(cohort, tmp_path_factory):
    """The database with fourteen weeks of another cohort, and metrics of the last."""
    forget(cohort, *tables.metadata.sorted_tables)
    folder = tmp_path_factory.mktemp("school")
    write_cohort(SPEC, folder)
    import_file(cohort, folder / "attempts.parquet", source="school")
    with dg.DagsterInstance.ephemeral() as instance:
        assert MainJob(instance)(LAST).success
        yield cohort, MainJob(instance, "weekly_models_job")


@pytest.fixture
def job(school):
    """The job of closed weeks, when nothing has been forecast yet."""
    database, weekly_models_job = school
    forget(database, *FORECAST)
    return weekly_models_job


@pytest.fixture(autouse=True)
def auto(monkeypatch):
    """Whatever is best, as by default."""
    monkeypatch.setenv("FORECAST_ENGINE", "auto")


@pytest.fixture
def quick(auto, monkeypatch):
    """Without prophet, whose backtest takes its time."""
    monkeypatch.setenv("FORECAST_ENGINE", "statsforecast")


@pytest.fixture
def database(school):
    return school[0]


def read(database, table, *where) -> pd.DataFrame:
    return database.frame(sa.select(table).where(*where))


def by_series(database, table) -> pd.DataFrame:
    return read(database, table).set_index(["scope", "scope_id", "metric"]).sort_index()


@pytest.fixture
def changed(school, monkeypatch):
    """Changes answers for one test: called with SQL that replaces the school's relation of attempts."""
    database, _ = school

    def to(sql: str) -> None:
        with database.transaction() as connection:
            connection.execute(sa.text(f"CREATE OR REPLACE VIEW public.changed_attempt AS {sql}"))
        monkeypatch.setenv("SEEDTEST_ATTEMPT_RELATION", "public.changed_attempt")

    yield to
    with database.transaction() as connection:
        connection.execute(sa.text("DROP VIEW IF EXISTS public.changed_attempt"))


IN_LAST_WEEK = (
    f"completed_at >= TIMESTAMPTZ '{LAST} 00:00+00' AND completed_at < TIMESTAMPTZ '{LAST}' + INTERVAL '7 days'"
)
COLUMNS = (
    "id, student_id, item_id, response_time_ms, hint_used, completed_at, started_at, attempt_no, session_id, topic_id"
)


def test_every_series_is_forecast_by_what_is_best_for_its_kind(database, job):
    result = job(LAST)
    assert result.success
    fits = by_series(database, tables.prophet_fit_meta)
    topics = sorted({row.topic_id for row in database.rows(sa.select(tables.attempt.c.topic_id).distinct())})
    assert set(fits.index) == {
        *(("cohort", "all", metric) for metric in ("theta_week", "attempts", "sessions", "accuracy", "i_t")),
        *(("topic", topic, metric) for topic in topics for metric in ("theta_week", "attempts", "accuracy")),
    }
    for (scope, _, metric), row in fits.iterrows():
        if metric == "i_t":  # one week of metrics: too few to forecast
            assert row["engine"] == "naive"
            assert set(row["forecast"]["expected"]) == {None}
            continue
        tested = {engine: of["mase"] for engine, of in row["backtest"].items()}
        assert set(tested) == {"naive", "autoets", "prophet"}
        assert row["engine"] == min(tested, key=tested.get)
        assert row["reason"] == f"best in the backtest, MASE {tested[row['engine']]:.2f}"
        assert row["forecast"].pop("widened") >= 1
        ahead = pd.DataFrame(row["forecast"])
        assert ahead["week_start"].tolist() == [(LAST + timedelta(weeks=n)).isoformat() for n in range(1, 5)]
        assert (ahead["lower"] <= ahead["expected"]).all()
        assert (ahead["expected"] <= ahead["upper"]).all()
        assert scope == "topic" or row["changepoints"]["week_start"]
    assert checked(result)["prophet_fit_meta", "engines_tested"].passed


def test_series_are_what_the_answers_say(database, job, quick):
    assert job(LAST).success
    a = tables.attempt.c
    week = sa.cast(sa.func.date_trunc("week", a.completed_at), sa.Date)
    counts = database.frame(
        sa.select(
            week.label("week_start"), sa.func.count().label("n"), sa.func.avg(sa.cast(a.correct, sa.Integer)).label("p")
        ).group_by(week)
    ).sort_values("week_start")
    fits = by_series(database, tables.prophet_fit_meta)
    history = {metric: fits.loc[("cohort", "all", metric), "history"]["value"] for metric in fits.index.levels[2]}
    before = [None] * 4  # fourteen weeks, of the eighteen that are looked back on
    assert history["attempts"] == before + counts["n"].tolist()
    assert history["accuracy"][4:] == pytest.approx(counts["p"].astype(float).tolist())
    sessions = database.frame(
        sa.select(week.label("week_start"), sa.func.count(sa.distinct(a.session_id)).label("n")).group_by(week)
    ).sort_values("week_start")
    assert history["sessions"] == before + sessions["n"].tolist()


def test_ordinary_weeks_are_not_flagged_and_reach_the_kpi(database, job, quick):
    result = job(LAST)
    rows = read(database, tables.anomalies)
    series, students = rows[rows["scope"] != "user"], rows[rows["scope"] == "user"]
    assert not (series["metric"] == "i_t").any()
    assert series["score"].notna().all()
    assert series["flag"].eq(True).mean() < 0.15
    assert students["flag"].eq(True).mean() < 0.05
    assert set(students["metric"]) == {"theta_week", "attempts"}
    kpi = read(database, tables.weekly_kpi).set_index("user_id")
    theta = students[students["metric"] == "theta_week"].set_index("scope_id")
    both = theta.join(kpi, lsuffix="_found")
    assert both["score"].to_numpy() == pytest.approx(both["anomaly_score"].to_numpy(dtype=float), nan_ok=True)
    ahead = read(database, tables.theta_forecast).set_index("user_id")
    assert kpi["forecast_theta"].dropna().sort_index().to_numpy() == pytest.approx(
        ahead["expected"].reindex(kpi.index).dropna().sort_index().to_numpy()
    )
    (origin,) = kpi.loc[kpi["forecast_theta"].notna(), "provenance"].head(1)
    assert origin["forecast_theta"]["method"] == "local_level"
    assert origin["forecast_theta"]["lower"] < origin["forecast_theta"]["upper"]
    assert checked(result)["anomalies", "nothing_unusual"].metadata["series_judged"].value == len(series)


def test_a_week_in_which_most_answers_are_lost_is_flagged_and_named(database, job, quick, changed):
    changed(f"SELECT {COLUMNS}, correct FROM intake.attempt WHERE NOT ({IN_LAST_WEEK}) OR id % 10 = 0")
    result = job(LAST)
    assert result.success
    found = by_series(database, tables.anomalies)
    lost = found.loc[("cohort", "all", "attempts")]
    assert lost["flag"]
    assert lost["score"] < -2.5
    assert lost["value"] < lost["lower"] < lost["expected"] < lost["upper"]
    assert not found.loc[("cohort", "all", "accuracy"), "flag"]
    check = checked(result)["anomalies", "nothing_unusual"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert f"cohort all: attempts is {lost['value']:.3g}" in check.description


def test_a_student_who_suddenly_fails_is_flagged_alone(database, job, quick, changed):
    n = sa.func.count()
    a = tables.attempt.c
    (busy, *_) = database.rows(
        sa.select(a.student_id, n).where(sa.text(IN_LAST_WEEK)).group_by(a.student_id).order_by(n.desc())
    )
    wrong = f"CASE WHEN student_id = '{busy.student_id}' AND {IN_LAST_WEEK} THEN false ELSE correct END AS correct"
    changed(f"SELECT {COLUMNS}, {wrong} FROM intake.attempt")
    assert job(LAST).success
    rows = read(
        database, tables.anomalies, tables.anomalies.c.scope == "user", tables.anomalies.c.metric == "theta_week"
    )
    flagged = rows[rows["flag"].eq(True)]
    assert flagged["scope_id"].tolist() == [str(busy.student_id)]
    assert flagged["score"].item() < -3
    assert flagged["q"].item() <= 0.10
    kpi = read(database, tables.weekly_kpi).set_index("user_id")["anomaly_flag"]
    assert kpi[kpi.eq(True)].index.tolist() == [str(busy.student_id)]


def test_a_rerun_gives_the_same_rows(database, job):
    assert job(LAST).success
    before = [checksum(database, table) for table in FORECAST]
    assert job(LAST).success
    assert [checksum(database, table) for table in FORECAST] == before


def test_what_was_asked_for_is_taken(database, job, monkeypatch):
    monkeypatch.setenv("FORECAST_ENGINE", "statsforecast")
    monkeypatch.setattr(ForecastService, "fit_prophet", lambda *args, **kwargs: pytest.fail("prophet was asked"))
    result = job(LAST)
    fits = by_series(database, tables.prophet_fit_meta).drop(index=("cohort", "all", "i_t"))
    assert set(fits["engine"]) == {"autoets"}
    assert fits["changepoints"].isna().all()
    assert checked(result)["prophet_fit_meta", "engines_tested"].passed


def test_a_run_may_ask_for_an_engine_on_its_own(database, job):
    assert job(LAST, forecast={"engine": "prophet"}).success
    fits = by_series(database, tables.prophet_fit_meta).drop(index=("cohort", "all", "i_t"))
    assert set(fits["engine"]) == {"prophet"}
    assert fits["reason"].str.startswith("asked for, MASE").all()


def test_without_the_service_the_others_forecast_and_it_is_said(database, job, monkeypatch):
    monkeypatch.setenv("R_FORECAST_BASE_URL", "http://127.0.0.1:9")
    result = job(LAST)
    assert result.success
    fits = by_series(database, tables.prophet_fit_meta)
    assert not fits["engine"].eq("prophet").any()
    check = checked(result)["prophet_fit_meta", "engines_tested"]
    assert not check.passed
    assert check.description.startswith("prophet took no part: ")


def test_prophet_that_was_asked_for_is_retried_and_then_missed(database, job, monkeypatch, quick_retries):
    assert job(LAST).success
    before = [checksum(database, table) for table in FORECAST]
    monkeypatch.setenv("FORECAST_ENGINE", "prophet")
    monkeypatch.setenv("R_FORECAST_BASE_URL", "http://127.0.0.1:9")
    result = job(LAST)
    assert failed(result) == ["forecast"]
    assert len(retried(result)) == 3
    assert [checksum(database, table) for table in FORECAST] == before


def test_weeks_with_days_off_reach_prophet(database, job, monkeypatch):
    monkeypatch.setenv("PROPHET_HOLIDAY_COUNTRY", "KR")
    seen = []
    fit = ForecastService.fit_prophet

    def listen(self, *args, **kwargs):
        seen.append(kwargs["holidays"])
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(ForecastService, "fit_prophet", listen)
    assert job(LAST).success
    # Seollal 2026 is the 17th of February; the 1st of March is a Sunday, and Monday the 2nd stands in.
    assert {"2026-02-16", "2026-03-02"} <= set(seen[0]["ds"])
    assert read(database, tables.prophet_fit_meta)["holidays"][0] == seen[0]["ds"].tolist()
    monkeypatch.setenv("PROPHET_HOLIDAY_COUNTRY", "QQ")
    assert failed(job(LAST)) == ["forecast"]


def test_two_weeks_are_too_few_and_nothing_fails(database, job, quick):
    result = job(WEEKS[1])
    assert result.success, why(result)
    rows = read(database, tables.anomalies)
    assert set(rows["scope"]) == {"cohort", "topic", "user"}
    assert rows["score"].isna().all()
    assert rows["flag"].isna().all()
    assert set(rows["reason"]) == {"no forecast of the week", "fewer than 4 earlier weeks with a value"}
    fits = by_series(database, tables.prophet_fit_meta)
    assert set(fits["reason"]) == {"too few weeks to test any"}
    assert not len(read(database, tables.theta_forecast))


def test_prophet_takes_part_from_the_first_weeks_on(database, job):
    result = job(WEEKS[4])
    assert result.success, why(result)
    assert checked(result)["prophet_fit_meta", "engines_tested"].passed
    fits = by_series(database, tables.prophet_fit_meta)
    assert "prophet" in fits.loc[("cohort", "all", "attempts"), "backtest"]


def test_a_running_week_has_no_forecast(database, job, quick, clock):
    clock(datetime(2026, 3, 26, 12, tzinfo=UTC))
    result = job(LAST)
    assert result.success, why(result)
    assert [len(read(database, table)) for table in FORECAST] == [0, 0, 0]
    check = checked(result)["prophet_fit_meta", "engines_tested"]
    assert not check.passed
    assert check.description == "the week is not over: forecasts are made of whole weeks"


def test_the_next_weeks_scores_fall_into_their_intervals(database, job, quick):
    """Forecast from the week before the last, and look at the last."""
    assert job(LAST).success
    theta = read(database, tables.anomalies, tables.anomalies.c.metric == "theta_week")
    known = theta[(theta["scope"] == "user") & theta["score"].notna()]
    within = known["value"].between(known["lower"], known["upper"]).mean()
    assert 0.75 < within <= 1.0  # 90 % of some thirty
    assert np.abs(known["score"]).median() < 1.2  # of a standard normal: .67
