"""The terminal's view: what a newcomer types, and what is said when something is wrong."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from seedtest_assets import tables
from seedtest_assets.cli import app
from seedtest_assets.local.postgres import EmbeddedPostgres
from seedtest_assets.resources.database import Database


@pytest.fixture
def seedtest(
    database: Database, postgres: EmbeddedPostgres, irt_service: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Calls `seedtest` on the tests' servers; returns exit code and output."""
    monkeypatch.setenv("DAGSTER_DATABASE_URL", postgres.url("dagster"))
    monkeypatch.setenv("SEEDTEST_HOME", str(tmp_path))

    def call(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, arguments, env={"COLUMNS": "120"})
        return result.exit_code, result.output

    return call


def rows(database: Database, table: sa.Table) -> int:
    return database.rows(sa.select(sa.func.count()).select_from(table))[0][0]


def test_the_demo_computes_its_weeks_and_finds_the_truth_and_a_second_one_computes_nothing(
    seedtest, database, monkeypatch
):
    monkeypatch.setenv("MIRT_MIN_RESPONSES", "10")  # a small cohort gives few answers to an item
    code, output = seedtest("demo", "--students", "60", "--weeks", "4")
    assert code == 0, output
    _, shown = output.split("KPI of the most active students")
    assert "…" not in shown  # eighty columns hold every number
    assert "Found against simulated" in output
    kpis = rows(database, tables.weekly_kpi)
    assert kpis > 100
    newest = sa.select(sa.func.max(tables.weekly_kpi.c.computed_at))
    before = database.rows(newest)
    code, output = seedtest("demo", "--students", "60", "--weeks", "4")
    assert code == 0, output
    assert database.rows(newest) == before
    assert rows(database, tables.weekly_kpi) == kpis


def test_another_demo_takes_the_place_of_the_first_ones_answers(seedtest, database):
    seedtest("demo", "--students", "20", "--weeks", "1", "--seed", "1")
    code, output = seedtest("demo", "--students", "20", "--weeks", "1", "--seed", "2")
    assert code == 0, output
    in_file = int(output.split(" rows read")[0].split()[-1].replace(",", ""))
    assert rows(database, tables.attempt) == in_file


def test_without_answers_run_and_show_say_how_to_get_some(seedtest):
    for command in ("run", "show"):
        code, output = seedtest(command)
        assert code == 1
        assert "seedtest demo" in output
        assert "Traceback" not in output


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("no.csv", None, "does not exist"),
        ("answers.xlsx", b"PK", "give a .parquet, .csv or .csv.gz file"),
        ("answers.parquet", b"not parquet", "cannot be read as .parquet"),
        ("answers.csv", b"who,what\na,b\n", "has no column student_id"),
    ],
)
def test_a_file_that_cannot_be_imported_is_refused_in_one_sentence(seedtest, tmp_path, database, name, content, said):
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    code, output = seedtest("import", str(file))
    assert code == 1
    assert said in " ".join(output.split())
    assert "Traceback" not in output
    assert rows(database, tables.attempt) == 0


@pytest.mark.parametrize(
    ("first", "said"),
    [("2999-01-01", "has not begun"), ("1996-01-01", "set SEEDTEST_START_DATE to an earlier Monday")],
)
def test_a_week_that_is_no_partition_is_refused(seedtest, tmp_path, first, said):
    file = tmp_path / "answers.csv"
    file.write_text("student_id,item_id,answered_at,is_correct\ns,i,2026-01-05T10:00:00Z,true\n")
    assert seedtest("import", str(file))[0] == 0
    code, output = seedtest("run", "--from", first, "--to", first)
    assert code == 1
    assert said in " ".join(output.split())
    assert "Traceback" not in output


def test_every_command_has_a_help_that_says_what_it_does():
    top = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"})
    assert top.exit_code == 0
    for command in ("demo", "simulate", "import", "intake", "run", "show", "migrate", "up", "down", "doctor", "env"):
        assert command in top.output
        result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "120"})
        assert result.exit_code == 0
        assert len(result.output.split("Options")[0].split()) > 8, f"{command} explains nothing"
