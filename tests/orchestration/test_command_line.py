"""Dagster's own commands, as continuous integration and people type them."""

import os
import subprocess
import sys

import dagster as dg
import pytest
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.local.home import CHECKOUT
from tests.orchestration.cohort import EVERY_WEEK, OUTPUTS, forget

MODULE = "seedtest_assets.definitions"


def dagster(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "dagster", *arguments],
        cwd=CHECKOUT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def empty_home(tmp_path, monkeypatch):
    """A Dagster home without configuration: SQLite in its folder."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "yes")


def test_definitions_validate(empty_home):
    result = dagster("definitions", "validate", "-w", "workspace.yaml")
    assert result.returncode == 0, result.stderr
    said = result.stdout + result.stderr
    assert "Validation successful for code location seedtest" in said
    assert "BackfillPolicies" not in said
    assert "BetaWarning" not in said


def test_asset_list(empty_home):
    result = dagster("asset", "list", "-m", MODULE)
    assert result.returncode == 0, result.stderr
    # Written with an asset's own table: what the fits tried, the reference scale, the reports that failed.
    beside_assets = {"fit_attempt", "item_anchor", "report_failure"}
    assert result.stdout.split() == sorted({table.name for table in OUTPUTS} - beside_assets)


def test_job_execute_computes_the_week_of_its_partition_tag(cohort, empty_home):
    forget(cohort, *OUTPUTS)
    week = EVERY_WEEK[0]
    result = dagster(
        *("job", "execute", "-m", MODULE, "-j", "metrics_job"), "--tags", f'{{"dagster/partition": "{week}"}}'
    )
    assert result.returncode == 0, result.stderr
    found = {row[0] for row in cohort.rows(sa.select(tables.weekly_kpi.c.week_start))}
    assert found == {week}
    with dg.DagsterInstance.get() as instance:
        assert instance.get_materialized_partitions(dg.AssetKey("weekly_kpi")) == {week.isoformat()}


def test_job_execute_fails_when_the_job_does(cohort, empty_home):
    result = dagster(
        *("job", "execute", "-m", MODULE, "-j", "metrics_job"),
        *("--tags", f'{{"dagster/partition": "{EVERY_WEEK[0]}"}}'),
        R_IRT_INTERNAL_TOKEN="wrong",
    )
    assert result.returncode != 0
    assert "401" in result.stderr + result.stdout
