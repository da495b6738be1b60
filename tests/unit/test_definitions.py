"""The code location: it loads from nothing, its graph is the one that is meant, and every asset is described."""

import subprocess
import sys
from datetime import datetime
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.definitions import definitions
from seedtest_assets.local.home import CHECKOUT

FROM_NOTHING = """
import socket, sys, warnings

def refuse(*args, **kwargs):
    raise AssertionError(f"a connection was tried: {args}")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
seen = []
warnings.showwarning = lambda message, category, *rest: seen.append(f"{category.__name__}: {message}")
warnings.simplefilter("default")
import seedtest_assets.automation.jobs  # its own filter comes after
import dagster as dg
from seedtest_assets.definitions import definitions

loaded = definitions()
dg.Definitions.validate_loadable(loaded)
ours = [warning for warning in seen if "seedtest" in warning or "metrics_job" in warning or "Beta" in warning]
assert not ours, ours
heavy = {"dagster_postgres", "dagster_webserver", "matplotlib", "alembic", "typer", "pymc", "sklearn", "statsforecast"}
heavy |= {"altair", "boto3", "vl_convert"}
heavy &= set(sys.modules)
assert not heavy, heavy
print(sorted(key.to_user_string() for key in loaded.resolve_asset_graph().get_all_asset_keys()))
"""

GRAPH = {
    "attempt": ("intake", set()),
    "mirt_fit_meta": ("irt", {"attempt"}),
    "mirt_item_params": ("irt", {"attempt"}),
    "mirt_ability": ("irt", {"attempt"}),
    "item_drift": ("irt", {"mirt_item_params"}),
    "item_dif": ("irt", {"attempt", "mirt_item_params"}),
    "bank_health": ("irt", {"attempt", "mirt_item_params", "mirt_ability"}),
    "features_topic_daily": ("features", {"attempt", "mirt_ability"}),
    "weekly_metrics": ("metrics", {"attempt", "mirt_ability", "features_topic_daily"}),
    "survival_fit_meta": ("churn", {"attempt", "weekly_metrics"}),
    "survival_risk": ("churn", {"attempt", "weekly_metrics", "survival_risk"}),
    "churn_alert": ("churn", {"survival_risk"}),
    "learning_goal": ("intake", set()),
    **dict.fromkeys(("growth_glmm_meta", "growth_glmm_effect"), ("progress", {"attempt", "mirt_ability"})),
    **dict.fromkeys(
        ("growth_brms_meta", "growth_goal"),
        ("growth", {"attempt", "mirt_ability", "growth_glmm_effect", "learning_goal"}),
    ),
    **dict.fromkeys(
        ("segment_meta", "segment_transition", "user_segment"), ("segments", {"weekly_metrics", "features_topic_daily"})
    ),
    **dict.fromkeys(
        ("prophet_fit_meta", "anomalies", "theta_forecast"),
        ("forecast", {"attempt", "mirt_ability", "weekly_metrics", "user_segment"}),
    ),
    "weekly_kpi": (
        "kpi",
        {"weekly_metrics", "survival_risk", "growth_glmm_effect", "growth_goal"}
        | {"anomalies", "theta_forecast", "user_segment"},
    ),
    "report_artifact": (
        "reports",
        {"weekly_kpi", "weekly_metrics", "mirt_ability", "features_topic_daily", "growth_goal", "user_segment"},
    ),
    "cohort_report_artifact": (
        "reports",
        {"weekly_kpi", "weekly_metrics", "mirt_ability", "mirt_item_params", "features_topic_daily", "growth_goal"}
        | {"survival_fit_meta", "survival_risk", "churn_alert", "prophet_fit_meta", "anomalies"}
        | {"segment_meta", "segment_transition", "user_segment", "bank_health", "item_drift", "item_dif"},
    ),
}
FACTS = {"attempt", "learning_goal"}
MATERIALISED = [name for name in GRAPH if name not in FACTS]
OF_CLOSED_WEEKS = {name for name, (group, _) in GRAPH.items() if group in {"progress", "growth", "forecast"}}
REPORTS = {name for name, (group, _) in GRAPH.items() if group == "reports"}
SEGMENTS = {name for name, (group, _) in GRAPH.items() if group == "segments"}
TABLES = {table.name: table for table in tables.metadata.sorted_tables}


@pytest.fixture(scope="module")
def graph():
    return definitions().resolve_asset_graph()


def node(graph, name):
    return graph.get(dg.AssetKey(name))


def test_the_code_location_loads_with_an_empty_environment_and_without_a_network(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", FROM_NOTHING],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert eval(result.stdout) == sorted(GRAPH)


def test_the_graph_is_the_one_that_is_meant(graph):
    found = {
        key.to_user_string(): (
            graph.get(key).group_name,
            {parent.to_user_string() for parent in graph.get(key).parent_keys},
        )
        for key in graph.get_all_asset_keys()
    }
    assert found == GRAPH


def test_the_facts_are_external_and_the_rest_is_materialised(graph):
    assert {key.to_user_string() for key in graph.external_asset_keys} == FACTS
    assert {key.to_user_string() for key in graph.materializable_asset_keys} == set(MATERIALISED)


@pytest.mark.parametrize("name", GRAPH)
def test_every_asset_is_described(graph, name):
    asset = node(graph, name)
    assert len(asset.description) > 40
    assert asset.owners == ["team:learning-analytics"]
    assert asset.kinds
    assert asset.group_name
    assert asset.metadata["dagster/table_name"] == TABLES[name].fullname


@pytest.mark.parametrize("name", MATERIALISED)
def test_every_materialised_asset_has_a_version_a_freshness_policy_and_the_one_calendar(graph, name):
    asset = node(graph, name)
    assert asset.code_version
    assert asset.freshness_policy is not None
    assert asset.partitions_def == node(graph, "weekly_kpi").partitions_def
    assert asset.partitions_def.day_offset == 1
    assert asset.backfill_policy is not None


@pytest.mark.parametrize("name", GRAPH)
def test_the_column_schema_is_that_of_the_table(graph, name):
    schema = node(graph, name).metadata["dagster/column_schema"]
    table = TABLES[name]
    assert [column.name for column in schema.columns] == [column.name for column in table.c]
    for column in schema.columns:
        assert column.constraints.nullable == table.c[column.name].nullable
        assert column.type
    key = [column.name for column in table.primary_key]
    assert schema.constraints.other == [f"primary key ({', '.join(key)})"]
    alone = {column.name for column in schema.columns if column.constraints.unique}
    assert (set(key) <= alone) == (len(key) == 1)


def test_only_the_fit_tables_may_be_skipped(graph):
    found = {
        asset.op.name: (asset.op.pool, {spec.key.to_user_string() for spec in asset.specs if spec.skippable})
        for asset in graph.assets_defs
        if asset.is_executable and any(spec.skippable for spec in asset.specs)
    }
    assert found == {
        "mirt": ("r_irt", {"mirt_fit_meta", "mirt_item_params"}),
        "churn": ("r_forecast", {"survival_fit_meta"}),
        "progress": ("r_glmm", {"growth_glmm_meta"}),
        "growth": ("r_growth", {"growth_brms_meta"}),
    }


@pytest.mark.parametrize(
    ("name", "pool"), [("item_drift", "r_irt"), ("item_dif", "r_irt"), ("bank_health", None), ("churn_alert", None)]
)
def test_what_leads_to_no_students_numbers_waits_for_those_that_do_and_stops_none(graph, name, pool):
    assert {key.to_user_string() for key in graph.get(dg.AssetKey(name)).child_keys} <= REPORTS
    assert node(graph, name).assets_def.op.tags["dagster/priority"] == "-1"
    assert node(graph, name).assets_def.op.pool == pool


def test_every_derived_table_has_one_owner():
    owned = [
        key.to_user_string()
        for asset in definitions().resolve_asset_graph().assets_defs
        if asset.is_executable and asset.keys
        for key in asset.keys
    ]
    derived = {table.name for table in tables.metadata.sorted_tables if table.schema == "analytics"}
    # The log of mirt's tries and the reference scale are written with mirt's tables, and are not a week's; reports that
    # could not be made are listed with those that could.
    assert sorted(owned) == sorted(derived - {"fit_attempt", "item_anchor", "report_failure"})


def test_checks_stop_what_is_below_where_numbers_are_wrong_and_only_there(graph):
    found = {
        (key.asset_key.to_user_string(), key.name): node_.blocking
        for key in graph.asset_check_keys
        for node_ in [graph.get(key)]
    }
    weekly = ("mirt_ability", "features_topic_daily", "weekly_metrics", "weekly_kpi")
    of_models = ("survival_risk", "growth_glmm_effect", "growth_goal", "anomalies", "theta_forecast", "user_segment")
    assert found == {
        **{(name, "keys_and_ranges"): True for name in (*weekly, *of_models)},
        ("mirt_ability", "item_parameters_in_range"): True,
        ("mirt_ability", "calibration_converged"): False,
        ("mirt_ability", "on_reference_scale"): False,
        ("mirt_item_params", "items_fit"): False,
        ("item_drift", "no_item_drift"): False,
        ("item_dif", "no_dif"): False,
        ("bank_health", "bank_serves_students"): False,
        ("growth_glmm_effect", "progress_published"): False,
        ("growth_goal", "goal_method"): False,
        ("prophet_fit_meta", "engines_tested"): False,
        ("anomalies", "nothing_unusual"): False,
        ("segment_meta", "segments_are_stable"): False,
        ("survival_risk", "fit_published"): False,
        ("survival_risk", "risk_is_calibrated"): False,
        ("survival_risk", "risk_beats_recency"): False,
        ("churn_alert", "alerts_delivered"): False,
        ("report_artifact", "every_report_made"): False,
        **{(name, "latest_closed_week_has_rows"): False for name in weekly},
    }


def test_jobs_and_schedules_are_those_of_the_cadence():
    repository = definitions().get_repository_def()
    schedules = {
        each.name: (each.job_name, each.cron_schedule, each.execution_timezone, each.default_status)
        for each in repository.schedule_defs
    }
    stopped = dg.DefaultScheduleStatus.STOPPED
    assert schedules == {
        "nightly_intake": ("intake_job", "5 2 * * *", "UTC", stopped),
        "nightly_metrics": ("metrics_job", "30 2 * * *", "UTC", stopped),
        "twice_monthly_segments": ("segments_job", "0 7 1,15 * *", "UTC", stopped),
        "daily_freshness": ("freshness_job", "0 6 * * *", "UTC", stopped),
        "weekly_reconciliation": ("reconcile_reports", "0 5 * * 0", "UTC", stopped),
    }
    of_job = {
        name: {key.to_user_string() for key in definitions().resolve_job_def(name).asset_layer.executable_asset_keys}
        for name in ("metrics_job", "weekly_models_job", "segments_job", "week_job", "reports_job")
    }
    assert of_job == {
        "metrics_job": set(MATERIALISED) - OF_CLOSED_WEEKS - SEGMENTS - REPORTS,
        "weekly_models_job": OF_CLOSED_WEEKS | {"weekly_kpi"},
        "segments_job": SEGMENTS | {"weekly_kpi"},
        "week_job": set(MATERIALISED) - REPORTS,
        "reports_job": REPORTS,
    }
    job = definitions().resolve_job_def("metrics_job")
    assert job.partitions_def == node(definitions().resolve_asset_graph(), "weekly_kpi").partitions_def
    assert {key.name for key in job.asset_layer.asset_graph.asset_check_keys} == {
        *("keys_and_ranges", "item_parameters_in_range", "calibration_converged", "on_reference_scale"),
        *("items_fit", "no_item_drift", "no_dif", "bank_serves_students"),
        *("fit_published", "risk_is_calibrated", "risk_beats_recency", "alerts_delivered"),
    }
    assert job.executor_def.name == "in_process"


def test_retries_are_those_of_the_failure_taxonomy(graph):
    for asset in graph.assets_defs:
        if asset.is_executable:
            assert asset.op.retry_policy is not None, asset.op.name
            assert asset.op.retry_policy.max_retries == 3


@pytest.mark.parametrize(
    ("local", "week"),
    [
        ("2026-03-09T02:30", "2026-03-02"),  # Monday: the week that ended on Sunday
        ("2026-03-10T02:30", "2026-03-09"),  # Tuesday: the running week
        ("2026-03-15T02:30", "2026-03-09"),
        ("2026-03-29T02:30", "2026-03-23"),
    ],
)
def test_the_nightly_run_asks_for_the_week_of_yesterday(local, week):
    schedule = definitions().get_repository_def().get_schedule_def("nightly_metrics")
    instant = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo("UTC"))
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(
            instance, scheduled_execution_time=instant, repository_def=definitions().get_repository_def()
        )
        (request,) = schedule.evaluate_tick(context).run_requests
    assert request.partition_key == week
    assert request.tags["dagster/partition"] == week


IN_SEOUL = """
from datetime import datetime
from zoneinfo import ZoneInfo
import dagster as dg
from seedtest_assets.assets.common import FRESH_DAILY
from seedtest_assets.automation.schedules import SCHEDULES, nightly_metrics
from seedtest_assets.calendar import WEEKS

assert {each.execution_timezone for each in SCHEDULES} == {"Asia/Seoul"} == {WEEKS.timezone, FRESH_DAILY.timezone}
for local, week in (("2026-03-09T02:30", "2026-03-02"), ("2026-03-10T02:30", "2026-03-09")):
    instant = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo("Asia/Seoul"))
    context = dg.build_schedule_context(scheduled_execution_time=instant)
    assert nightly_metrics(context).partition_key == week, (local, week)
    keys = WEEKS.get_partition_keys(current_time=instant)
    assert week in keys
"""


def test_all_of_automation_keeps_the_time_zone_of_the_settings(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", IN_SEOUL],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PYTHONPATH": str(CHECKOUT), "SEEDTEST_TIMEZONE": "Asia/Seoul"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_ranges_in_the_tables_are_intervals():
    for table in tables.metadata.sorted_tables:
        for column in table.c:
            low, high = column.info.get("range", (None, None))
            assert low is None or high is None or low < high
            assert "range" not in column.info or isinstance(column.type, sa.Double | sa.Integer)
