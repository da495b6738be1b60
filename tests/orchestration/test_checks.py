"""The asset checks: numbers out of range stop what lies below them, and silence is noticed."""

import math
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.assets import features, irt, weekly_metrics
from seedtest_assets.checks import WEEKLY
from seedtest_assets.checks.freshness import latest_closed_week
from seedtest_assets.checks.integrity import out_of_range
from seedtest_assets.definitions import definitions
from tests.orchestration.cohort import EVERY_WEEK, QUIET, SPEC, checked, failed, retried, succeeded, why

WEEK = EVERY_WEEK[0]

NOBODY = "00000000-0000-4000-8000-000000000000"


def spoilt(function, column, value):
    def spoil(*args, **kwargs):
        frame = function(*args, **kwargs)
        return frame.assign(**{column: [value, *frame[column].iloc[1:]]})

    return spoil


@pytest.mark.parametrize(
    ("module", "function", "column", "value", "asset", "below"),
    [
        (weekly_metrics, "weekly_numbers", "i_t", 1.5, "weekly_metrics", {"weekly_kpi"}),
        (weekly_metrics, "weekly_numbers", "a_t", -0.01, "weekly_metrics", {"weekly_kpi"}),
        (weekly_metrics, "weekly_numbers", "dwell_s", math.inf, "weekly_metrics", {"weekly_kpi"}),
        (irt, "_ability_rows", "theta", 12.5, "mirt_ability", {"weekly_metrics", "weekly_kpi"}),
        (irt, "_ability_rows", "n_responses", -1, "mirt_ability", {"weekly_metrics", "weekly_kpi"}),
        (irt, "_ability_rows", "bank_run_id", NOBODY, "mirt_ability", {"weekly_metrics", "weekly_kpi"}),
        (weekly_metrics, "weekly_numbers", "user_id", NOBODY, "weekly_metrics", {"weekly_kpi"}),
        (features, "_topic_theta", "theta_sd", -1.0, "features_topic_daily", {"weekly_metrics", "weekly_kpi"}),
    ],
)
def test_a_number_out_of_range_or_a_key_of_nothing_stops_what_lies_below(
    cohort, fresh, monkeypatch, module, function, column, value, asset, below
):
    if asset == "features_topic_daily":
        assert fresh(WEEK).success  # topic ability needs the calibration of an earlier week
    week = WEEK + timedelta(weeks=asset == "features_topic_daily")
    monkeypatch.setattr(module, function, spoilt(getattr(module, function), column, value))
    result = fresh(week)
    assert not result.success
    check = checked(result)[asset, "keys_and_ranges"]
    assert not check.passed
    assert check.description == f"rows out of range or pointing to nothing, by column: {{'{column}': 1}}"
    assert not below & succeeded(result)
    assert failed(result) == [f"{asset}_keys_and_ranges"]
    assert retried(result) == []
    assert "keys_and_ranges" in why(result)


def test_item_parameters_out_of_range_stop_what_is_scored_with_them(cohort, fresh, monkeypatch):
    published = irt._published

    def steep(context, week, outcome):
        outcome.calibration.items.loc[0, "a"] = 25.0
        return published(context, week, outcome)

    monkeypatch.setattr(irt, "_published", steep)
    result = fresh(WEEK)
    assert not result.success
    assert checked(result)["mirt_ability", "item_parameters_in_range"].description.endswith("{'a': 1}")
    assert not {"weekly_metrics", "weekly_kpi"} & succeeded(result)


def test_every_number_of_a_healthy_week_is_in_range(cohort, fresh):
    for week in EVERY_WEEK[:3]:
        found = checked(fresh(week))
    of_numbers = {asset for asset, name in found if name.endswith(("in_range", "and_ranges"))}
    assert of_numbers == {table.name for table in (*WEEKLY, tables.survival_risk)}
    assert all(check.passed for check in found.values() if check.blocking)
    assert found["weekly_kpi", "keys_and_ranges"].metadata["rows"].value > 0


def test_a_week_of_old_facts_is_noticed_when_its_rows_are_missing(cohort, fresh, monkeypatch):
    monkeypatch.setenv("SEEDTEST_DATA_END", (WEEK + timedelta(days=8)).isoformat())
    freshness = definitions().resolve_job_def("freshness_job")
    missing = checked(freshness.execute_in_process(QUIET, instance=fresh.instance))
    assert len(missing) == len(WEEKLY)
    for check in missing.values():
        assert (check.passed, check.severity, check.blocking) == (False, dg.AssetCheckSeverity.WARN, False)
        assert check.description == f"the week of {WEEK} has no rows: materialise that partition"
    assert fresh(WEEK).success
    there = checked(freshness.execute_in_process(QUIET, instance=fresh.instance))
    assert all(check.passed for check in there.values())


@pytest.mark.parametrize("end", [SPEC.end, SPEC.end + timedelta(days=6)])
def test_the_latest_closed_week_of_a_historical_set_is_its_last_full_one(end, monkeypatch):
    monkeypatch.setenv("SEEDTEST_DATA_END", end.isoformat())
    assert latest_closed_week(datetime(2026, 11, 20, tzinfo=UTC)).start == EVERY_WEEK[-1]


@pytest.mark.parametrize(
    ("now", "closed"), [("2026-04-05T23:59", date(2026, 3, 23)), ("2026-04-06T00:00", date(2026, 3, 30))]
)
def test_the_latest_closed_week_of_today_ended_last_sunday(now, closed):
    assert latest_closed_week(datetime.fromisoformat(now).replace(tzinfo=UTC)).start == closed


def test_every_numeric_column_of_the_weekly_tables_has_a_range():
    for table in WEEKLY:
        numeric = {column.name for column in table.c if isinstance(column.type, sa.Double | sa.Integer)}
        assert numeric == {column.name for column in table.c if "range" in column.info}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_out_of_range_in_columns_without_bounds(cohort, fresh, value):
    assert fresh(WEEK).success
    with cohort.transaction() as connection:
        connection.execute(sa.update(tables.weekly_kpi).values(growth_slope=value))
    condition = out_of_range(tables.weekly_kpi)["growth_slope"]
    counts = cohort.rows(sa.select(sa.func.count(), sa.func.count().filter(condition)).select_from(tables.weekly_kpi))
    assert counts[0][0] == counts[0][1] > 0
