"""The terminal's view: what a newcomer types, and what is said when something is wrong."""

import uuid
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from seedtest_assets import tables
from seedtest_assets.cli import app, last_sunday
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
    reports = files(output)
    assert [name for name, _ in reports] == ["teacher, html", "teacher, pdf", "a student", "a student"]
    assert all(file.stat().st_size > 10_000 for _, file in reports)
    of_last_week = sa.select(sa.func.count()).where(tables.weekly_kpi.c.week_start == last_sunday() - timedelta(days=6))
    assert rows(database, tables.report_artifact) == 2 * database.rows(of_last_week)[0][0]
    newest = sa.select(sa.func.max(tables.weekly_kpi.c.computed_at))
    before = database.rows(newest)
    code, output = seedtest("demo", "--students", "60", "--weeks", "4")
    assert code == 0, output
    assert database.rows(newest) == before
    assert rows(database, tables.weekly_kpi) == kpis
    assert "reports: 0 made" in output
    assert files(output) == reports


def files(output: str) -> list[tuple[str, Path]]:
    """Whose report is in which file, as a command has said."""
    lines = (line.partition(": file://") for line in output.splitlines() if ": file://" in line)
    return [(name, Path(path)) for name, _, path in lines]


def test_reports_are_made_for_one_or_all_and_what_is_missing_is_said(seedtest, database, write_kpi):
    ann, bob = write_kpi(date(2026, 3, 2), 2)
    code, output = seedtest("report", "--week", "2026-03-04", "--user", str(ann))
    assert code == 0, output
    assert "reports: 1 made" in output
    assert [name for name, _ in files(output)] == ["html", "pdf"]
    assert rows(database, tables.cohort_report_artifact) == 0
    code, output = seedtest("report", "--week", "2026-03-08")
    assert code == 0, output
    assert "reports: 1 made, 1 unchanged, 0 failed" in output
    assert rows(database, tables.cohort_report_artifact) == 2
    code, output = seedtest("report", "--week", "2026-03-08", "--again", "--user", str(bob))
    assert "reports: 1 made, 0 unchanged" in output
    for arguments, said in (
        (("--week", "2026-03-09"), "No student has a row in weekly_kpi for the week of 2026-03-09"),
        (("--week", "2026-03-04", "--user", str(uuid.UUID(int=99))), "1 of the students asked for have no row"),
        (("--week", "2199-01-01"), "has not begun"),
        (("--user", "nobody"), "UUID"),
    ):
        code, output = seedtest("report", *arguments)
        assert code != 0
        assert said in " ".join(output.split())
        assert "Traceback" not in output


@pytest.fixture
def write_kpi(database):
    """Rows in the KPI of a week, with nothing in them; returns the students."""

    def write(monday: date, students: int) -> list[uuid.UUID]:
        users = [uuid.UUID(int=number + 1) for number in range(students)]
        known = {"week_start": monday, "as_of": datetime(2026, 3, 9, tzinfo=UTC), "provenance": {}}
        with database.transaction() as connection:
            for user in users:
                connection.execute(sa.insert(tables.weekly_kpi).values(user_id=user, run_id=user, **known))
        return users

    return write


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
