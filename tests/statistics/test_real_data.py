"""`seedtest import` and `run` on real data: every table fills, ability agrees with accuracy, reruns change nothing."""

from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from seedtest_assets import tables
from seedtest_assets.cli import app
from seedtest_assets.local.postgres import EmbeddedPostgres
from seedtest_assets.local.summary import PATH
from seedtest_assets.resources.database import Database

VOLATILE = {"computed_at", "fitted_at", "dagster_run_id"}
GROWTH = {"growth_glmm_effect", "growth_goal"}


@pytest.fixture
def seedtest(
    database: Database,
    postgres: EmbeddedPostgres,
    irt_service: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Calls `seedtest` on the tests' servers and expects success."""
    monkeypatch.setenv("DAGSTER_DATABASE_URL", postgres.url("dagster"))
    monkeypatch.setenv("SEEDTEST_HOME", str(tmp_path))

    def call(*arguments: str) -> str:
        result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
        assert result.exit_code == 0, result.output
        return result.output

    return call


def content(database: Database, table: sa.Table) -> pd.DataFrame:
    columns = [column for column in table.c if column.name not in VOLATILE]
    return database.frame(sa.select(*columns).order_by(*table.primary_key.columns))


def ability_and_accuracy(database: Database, lookback_days: int) -> pd.DataFrame:
    """Ability and proportion correct over the very answers it was estimated from, by student and week."""
    a, ability, fit, item = tables.attempt, tables.mirt_ability, tables.mirt_fit_meta, tables.mirt_item_params
    begins = sa.func.make_interval(0, 0, 0, lookback_days)
    query = (
        sa.select(
            ability.c.week_start,
            ability.c.theta,
            sa.cast(sa.func.avg(sa.cast(a.c.correct, sa.Integer)), sa.Double).label("accuracy"),
            sa.func.count().label("n"),
            ability.c.n_responses,
        )
        .join_from(ability, fit, ability.c.bank_run_id == fit.c.run_id)
        .join(a, (a.c.student_id == ability.c.user_id) & (a.c.attempt_no == 1))
        .join(item, (item.c.run_id == fit.c.run_id) & (item.c.item_id == a.c.item_id))
        .where(a.c.completed_at < ability.c.as_of, a.c.completed_at >= ability.c.as_of - begins)
        .group_by(ability.c.week_start, ability.c.user_id)
    )
    return database.frame(query)


@pytest.mark.parametrize(
    ("name", "item_column", "lookback_days", "first", "last", "least_correlation", "empty"),
    [
        # Topics are the items; a student meets a new one every few days, so first answers are looked for over a year.
        ("algebra_2005", "topic_id", 365, "2006-03-06", "2006-03-26", 0.80, set()),
        # Half of the students practise on one day only: nobody's growth can be told.
        ("memphis_stats", None, 60, "2015-11-09", "2015-11-29", 0.80, GROWTH),
    ],
)
def test_real_answers_fill_every_table_and_ability_agrees_with_accuracy(
    shared_data,
    seedtest,
    database,
    monkeypatch,
    name,
    item_column,
    lookback_days,
    first,
    last,
    least_correlation,
    empty,
):
    monkeypatch.setenv("MIRT_LOOKBACK_DAYS", str(lookback_days))
    monkeypatch.setenv("MIRT_ANCHOR_MIN_RESPONSES", "50")  # 114 students: few topics have a hundred first answers
    monkeypatch.setenv("MIRT_ANCHOR_MIN", "5")
    if item_column is None:
        monkeypatch.setenv("FORECAST_ENGINE", "statsforecast")  # prophet takes its time: on algebra_2005
    file = str(shared_data / name / "attempts.parquet")
    seedtest("import", file, *(["--item-column", item_column] if item_column else []))
    seedtest("run", "--from", first, "--to", last)
    assert {table.name for table in PATH if content(database, table).empty} == empty
    tried = content(database, tables.fit_attempt).query("asset == 'progress'")
    assert tried["published"].ne(bool(empty)).all()
    assert not empty or tried["reason"].str.contains("rows must be more than").all()

    found = ability_and_accuracy(database, lookback_days)
    assert (found["n"] == found["n_responses"]).all()
    by_week = found.groupby("week_start")[["theta", "accuracy"]].corr().xs("theta", level=1)["accuracy"]
    assert by_week.min() > least_correlation, by_week

    before = {table.name: content(database, table) for table in PATH}
    seedtest("run", "--from", first, "--to", first)
    for table in PATH:
        pd.testing.assert_frame_equal(before[table.name], content(database, table), check_exact=True)
