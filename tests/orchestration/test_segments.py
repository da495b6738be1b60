"""Segments in the pipeline: planted groups are found, named, kept and passed on; without groups that is said."""

from datetime import date, timedelta

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from sklearn.metrics import adjusted_rand_score

from seedtest_assets import tables
from seedtest_assets.assets.segments import segments
from seedtest_assets.assets.weekly_kpi import weekly_kpi
from seedtest_assets.automation.weekly_runs import QUIET
from seedtest_assets.calendar import Week
from seedtest_assets.resources.database import Database, copy_in, run_id
from seedtest_assets.settings import settings
from tests.orchestration.cohort import checked, checksum, forget, why
from tests.orchestration.silent_cohort import mondays, user
from tests.statistics.segment_worlds import weekly

SEGMENTS = (tables.segment_meta, tables.segment_transition, tables.user_segment)
STUDENTS = 300
EVERY_WEEK = mondays(12)
BEFORE, LAST = EVERY_WEEK[-2:]


@pytest.fixture
def school(migrated, monkeypatch):
    """An empty database."""
    monkeypatch.setenv("DATABASE_URL", migrated)
    settings.cache_clear()
    database = Database()
    forget(database, *tables.metadata.sorted_tables)
    yield database
    database.engine.dispose()


def write(database: Database, metrics: pd.DataFrame, weeks: list[date]) -> None:
    """Rows of weekly_metrics and features_topic_daily, as the assets before this one write them."""
    numbers = {name: number for number, name in enumerate(pd.unique(metrics["user_id"]))}
    known = metrics.assign(
        user_id=[user(numbers[name]) for name in metrics["user_id"]],
        week_start=[weeks[n] for n in metrics["week_start"]],
    )
    rows = known.drop(columns="rt_median_s").assign(
        as_of=[Week.of(week).as_of for week in known["week_start"]],
        sessions=known["active_days"],
        idle_days=0,
        run_id=[str(run_id("weekly_metrics", week)) for week in known["week_start"]],
    )
    active = known[known["attempts"] > 0]
    correct = np.random.default_rng(0).binomial(active["attempts"], 0.7)
    daily = pd.DataFrame(
        {
            "user_id": active["user_id"],
            "topic_id": "t",
            "date": active["week_start"],
            "attempts": active["attempts"],
            "correct": correct,
            "accuracy": correct / active["attempts"],
            "rt_median_ms": 1000 * active["rt_median_s"],
            "last_seen_at": [Week.of(week).begins for week in active["week_start"]],
            "run_id": [str(run_id("features_topic_daily", week)) for week in active["week_start"]],
        }
    )
    with database.transaction() as connection:
        copy_in(connection, tables.weekly_metrics, rows)
        copy_in(connection, tables.features_topic_daily, daily)


def run(database: Database, week: date, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """Segments and KPI of one week, in the environment as it is then."""
    settings.cache_clear()
    result = dg.materialize(
        [segments, weekly_kpi],
        partition_key=week.isoformat(),
        instance=instance,
        resources={"database": database},
        run_config=QUIET,
        raise_on_error=False,
    )
    assert result.success, why(result)
    return result


def members(database: Database, week: date) -> pd.DataFrame:
    table = tables.user_segment
    return database.frame(sa.select(table).where(table.c.week_start == week)).set_index("user_id").sort_index()


def meta(database: Database, week: date):
    table = tables.segment_meta
    (row,) = database.rows(sa.select(table).where(table.c.week_start == week))
    return row


def habits(truth: pd.Series) -> pd.Series:
    return pd.Series(truth.to_numpy(), index=[user(n) for n in range(len(truth))])


@pytest.mark.parametrize("method", ["kmeans", "gmm"])
def test_planted_habits_are_found_named_and_reach_the_kpi(school, instance, monkeypatch, method):
    monkeypatch.setenv("CLUSTER_METHOD", method)
    metrics, truth = weekly(STUDENTS, 12, seed=1)
    write(school, metrics, EVERY_WEEK)
    result = run(school, LAST, instance)
    fit = meta(school, LAST)
    assert (fit.method, fit.k, fit.status, fit.reason, fit.n_students) == (method, 3, "segments", None, STUDENTS)
    assert min(fit.stability) >= 0.85
    assert fit.gap["k"] == fit.silhouette["k"] == fit.bic["k"] == list(range(1, len(fit.bic["bic"]) + 1))
    found = members(school, LAST)
    assert adjusted_rand_score(habits(truth).loc[found.index], found["segment"]) > 0.9
    for language in ("segment_label", "segment_label_ko"):
        assert found.groupby("segment")[language].nunique().eq(1).all()
        assert found[language].nunique() == 3
    assert found["fitted"].all()
    assert found["probability"].between(1 / 3, 1).all()
    kpi = school.frame(sa.select(tables.weekly_kpi).where(tables.weekly_kpi.c.week_start == LAST)).set_index("user_id")
    assert (kpi["segment_label"] == found["segment_label"].reindex(kpi.index)).all()
    origin = kpi["provenance"].iloc[0]["segment_label"]
    assert origin["segment"] == found.loc[kpi.index[0], "segment"]
    assert origin["fit_run_id"] == str(run_id("segment_meta", LAST))
    assert checked(result)["segment_meta", "segments_are_stable"].passed
    told = result.asset_materializations_for_node("segments")[0].metadata
    assert {"profiles", "map", "number", "segments"} <= set(told)


def test_a_rerun_and_rows_in_another_order_give_the_same_rows(school, instance):
    metrics, _ = weekly(STUDENTS, 12, seed=1)
    write(school, metrics, EVERY_WEEK)
    run(school, LAST, instance)
    before = [checksum(school, table) for table in SEGMENTS]
    run(school, LAST, instance)
    assert [checksum(school, table) for table in SEGMENTS] == before
    rows = school.frame(sa.select(tables.weekly_metrics)).sample(frac=1, random_state=1)
    forget(school, tables.weekly_metrics)
    with school.transaction() as connection:
        copy_in(connection, tables.weekly_metrics, rows)
    run(school, LAST, instance)
    assert [checksum(school, table) for table in SEGMENTS] == before


def test_names_are_kept_and_moves_are_counted(school, instance):
    metrics, _ = weekly(STUDENTS, 12, seed=1)
    write(school, metrics, EVERY_WEEK)
    run(school, BEFORE, instance)
    run(school, LAST, instance)
    assert meta(school, BEFORE).k == meta(school, LAST).k == 3
    earlier, later = members(school, BEFORE), members(school, LAST)
    assert set(earlier["segment"]) == set(later["segment"])
    assert (earlier["segment"] == later["segment"]).mean() > 0.95
    moves = school.frame(sa.select(tables.segment_transition))
    assert moves["n"].sum() == STUDENTS
    counted = pd.crosstab(earlier["segment"], later["segment"])
    for row in moves.itertuples():
        assert row.n == counted.loc[row.from_segment, row.to_segment]
        assert row.share == pytest.approx(row.n / counted.loc[row.from_segment].sum())


def test_who_is_too_new_is_assigned_with_the_stored_centres(school, instance):
    metrics, truth = weekly(STUDENTS, 12, seed=1)
    newcomer = metrics["user_id"].unique()[:20]
    write(school, metrics[~metrics["user_id"].isin(newcomer) | (metrics["week_start"] >= 10)], EVERY_WEEK)
    run(school, LAST, instance)
    found = members(school, LAST)
    assert (meta(school, LAST).k, meta(school, LAST).n_students) == (3, STUDENTS - 20)
    assert (~found["fitted"]).sum() == 20
    new = found[~found["fitted"]]
    name_of = pd.crosstab(habits(truth).loc[found.index], found["segment"])[lambda of: of.columns].idxmax(axis=1)
    order = pd.Series([user(n) for n in range(STUDENTS)], index=pd.unique(metrics["user_id"]))
    assert (new["segment"] == habits(truth).loc[new.index].map(name_of)).mean() > 0.8
    assert set(new.index) <= set(order)


def test_one_habit_has_no_segments_and_that_is_a_result(school, instance):
    metrics, truth = weekly(600, 12, seed=5)
    one = truth[truth == "diligent"].index
    write(school, metrics[metrics["user_id"].isin(one)], EVERY_WEEK)
    result = run(school, LAST, instance)
    fit = meta(school, LAST)
    assert (fit.k, fit.status) == (1, "no stable segments")
    assert fit.reason
    found = members(school, LAST)
    assert set(found["segment"]) == {tables.UNSEGMENTED}
    assert set(found["segment_label"]) == {"No stable segments"}
    kpi = school.frame(sa.select(tables.weekly_kpi.c.segment_label).where(tables.weekly_kpi.c.week_start == LAST))
    assert set(kpi["segment_label"]) == {"No stable segments"}
    check = checked(result)["segment_meta", "segments_are_stable"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert check.description.startswith("no stable segments: ")


def test_a_number_that_is_asked_for_is_given_and_doubted(school, instance, monkeypatch):
    monkeypatch.setenv("CLUSTER_N_CLUSTERS", "2")
    metrics, truth = weekly(600, 12, seed=5)
    one = truth[truth == "diligent"].index
    write(school, metrics[metrics["user_id"].isin(one)], EVERY_WEEK)
    result = run(school, LAST, instance)
    assert (meta(school, LAST).k, meta(school, LAST).status) == (2, "unstable segments")
    assert members(school, LAST)["segment"].nunique() == 2
    assert not checked(result)["segment_meta", "segments_are_stable"].passed


@pytest.mark.parametrize("students", [1, 12])
def test_too_few_students_have_no_segments(school, instance, students):
    metrics, _ = weekly(STUDENTS, 12, seed=1)
    some = metrics["user_id"].unique()[:students]
    write(school, metrics[metrics["user_id"].isin(some)], EVERY_WEEK)
    run(school, LAST, instance)
    assert meta(school, LAST).k == 1
    assert meta(school, LAST).status in {"too few students", "no features"}
    assert set(members(school, LAST)["segment"]) <= {tables.UNSEGMENTED}


def test_a_week_without_students_leaves_no_row(school, instance):
    metrics, _ = weekly(STUDENTS, 1, seed=1)
    write(school, metrics, EVERY_WEEK)
    run(school, EVERY_WEEK[0], instance)
    run(school, EVERY_WEEK[0] + timedelta(weeks=20), instance)
    table = tables.segment_meta
    assert [row.week_start for row in school.rows(sa.select(table.c.week_start))] == [EVERY_WEEK[0]]


def test_the_running_week_is_left_out(school, instance, clock):
    metrics, _ = weekly(STUDENTS, 12, seed=1)
    write(school, metrics, EVERY_WEEK)
    run(school, BEFORE, instance)
    assert meta(school, BEFORE).k == 3
    before = checksum(school, tables.user_segment)
    changed = tables.weekly_metrics
    with school.transaction() as connection:  # the last week, seen on its Wednesday
        wednesday = Week.of(LAST).begins + timedelta(days=2)
        connection.execute(sa.update(changed).where(changed.c.week_start == LAST).values(as_of=wednesday, attempts=0))
    clock(Week.of(LAST).begins + timedelta(days=2, hours=12))
    run(school, LAST, instance)
    assert (members(school, LAST)["segment"] == members(school, BEFORE)["segment"]).mean() > 0.95
    assert before == checksum(school, tables.user_segment, BEFORE)
