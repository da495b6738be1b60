"""What a person sees in the Dagster UI, and what a click there does."""

import time

import dagster as dg
import pytest
import sqlalchemy as sa
from playwright.sync_api import expect

from seedtest_assets import tables
from tests.browser.conftest import FAILED, SUCCEEDED

pytestmark = pytest.mark.slow

REEXECUTE = """
mutation ($parent: String!) {
  launchRunReexecution(reexecutionParams: {parentRunId: $parent, strategy: FROM_FAILURE}) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
RUNS_OF_THE_JOB = """
query ($selector: PipelineSelector!) {
  pipelineOrError(params: $selector) {
    ... on Pipeline { runs { runId status tags { key value } } }
  }
}
"""
JOB = {"repositoryLocationName": "seedtest", "repositoryName": "__repository__", "pipelineName": "week_job"}
SECONDS = 1000


def finished(instance, run_id):
    deadline = time.monotonic() + 120
    while not (run := instance.get_run_by_id(run_id)).is_finished:
        assert time.monotonic() < deadline, f"the run is still {run.status}"
        time.sleep(0.5)
    return run


def test_the_lineage_leads_from_attempt_to_weekly_kpi(ui, page):
    page.set_viewport_size({"width": 3200, "height": 6000})  # what lies outside is not drawn
    groups = ("intake", "irt", "features", "metrics", "kpi")
    page.goto(f"{ui.url}/asset-groups?expanded={','.join(f'global@global:{group}' for group in groups)}")
    fit = ["mirt_fit_meta", "mirt_item_params", "mirt_ability"]
    left_edge = {}
    for name in ["attempt", *fit, "features_topic_daily", "weekly_metrics", "weekly_kpi"]:
        node = page.locator("foreignObject").get_by_text(name, exact=True).first
        expect(node).to_be_visible(timeout=30 * SECONDS)
        left_edge[name] = node.bounding_box()["x"]
    path = ["attempt", "mirt_ability", "features_topic_daily", "weekly_metrics", "weekly_kpi"]
    assert sorted(path, key=left_edge.__getitem__) == path
    for name in fit:
        assert left_edge["attempt"] < left_edge[name]


@pytest.mark.parametrize("week", SUCCEEDED, ids=str)
def test_a_materialised_partition_of_weekly_kpi_is_shown_with_its_rows(ui, cohort, page, week):
    page.goto(f"{ui.url}/assets/weekly_kpi?view=partitions&partition={week}")
    expect(page.get_by_text("Materialized", exact=True).first).to_be_visible(timeout=30 * SECONDS)
    k = tables.weekly_kpi.c
    ((rows,),) = cohort.rows(sa.select(sa.func.count()).where(k.week_start == week))
    shown = page.get_by_role("row").filter(has_text="dagster/partition_row_count")
    expect(shown).to_be_visible(timeout=30 * SECONDS)
    assert shown.inner_text().split() == ["dagster/partition_row_count", str(rows)]


def test_what_seedtest_run_did_is_listed_under_the_job_with_its_partitions(ui, page):
    listed = ui.ask(RUNS_OF_THE_JOB, selector=JOB)["pipelineOrError"]["runs"]
    partitions = {tag["value"] for run in listed for tag in run["tags"] if tag["key"] == "dagster/partition"}
    assert {week.isoformat() for week in (*SUCCEEDED, FAILED)} <= partitions
    page.goto(f"{ui.url}/locations/__repository__@seedtest/jobs/week_job/runs")
    expect(page.get_by_text(ui.failed.run_id[:8]).first).to_be_visible(timeout=30 * SECONDS)
    page.goto(f"{ui.url}/runs/{ui.failed.run_id}")
    expect(page.get_by_text("Re-execute", exact=False).first).to_be_visible(timeout=30 * SECONDS)


def test_a_failed_run_is_re_executed_from_its_failure(ui):
    launched = ui.ask(REEXECUTE, parent=ui.failed.run_id)["launchRunReexecution"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run = finished(ui.instance, launched["run"]["runId"])
    assert run.status == dg.DagsterRunStatus.SUCCESS
    assert run.parent_run_id == ui.failed.run_id
    assert run.tags["dagster/partition"] == FAILED.isoformat()
    steps = {stats.step_key for stats in ui.instance.get_run_step_stats(run.run_id)}
    assert {"mirt", "features_topic_daily", "weekly_metrics", "weekly_kpi"} <= steps
    assert FAILED.isoformat() in ui.instance.get_materialized_partitions(dg.AssetKey("weekly_kpi"))
