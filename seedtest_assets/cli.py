"""`seedtest`: everything a person does with the pipeline from a terminal."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from seedtest_assets.local import cli as local
from seedtest_assets.local.machine import local_machine
from seedtest_assets.local.postgres import PostgresError
from seedtest_assets.local.schema import migrate as migrate_schema
from seedtest_assets.local.services import ServiceError

if TYPE_CHECKING:
    import pandas as pd

    from seedtest_assets.assets.reports import ReportConfig
    from seedtest_assets.automation.weekly_runs import OpConfig
    from seedtest_assets.intake.writer import Count
    from seedtest_assets.models.landmarks import Calendar
    from seedtest_assets.simulate import CohortSpec

app = typer.Typer(
    help="""From answered questions to each student's weekly indicators.

A first tour: [bold]seedtest simulate DIR[/bold] makes a cohort whose truth is known,
[bold]seedtest import DIR/attempts.parquet[/bold] takes its answers in, [bold]seedtest run[/bold] computes its weeks,
[bold]seedtest show[/bold] prints what came out and [bold]seedtest up[/bold] opens the Dagster UI on it.
Without DATABASE_URL every command brings this checkout's own PostgreSQL.""",
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
evaluate_app = typer.Typer(
    help="How good predictions are on what the models have not seen, beside naive ones.", no_args_is_help=True
)
console = Console()

DAY = ["%Y-%m-%d"]


@app.command()
def demo(
    students: Annotated[int, typer.Option(min=5, help="Students of the simulated cohort.")] = 500,
    weeks: Annotated[int, typer.Option(min=1, help="Weeks, ending last Sunday.")] = 26,
    seed: Annotated[int, typer.Option(help="The same seed gives the same cohort.")] = 1,
) -> None:
    """Simulate a cohort, compute all its weeks, and show what came out beside the truth."""
    from seedtest_assets.assets.reports import ReportConfig
    from seedtest_assets.calendar import monday
    from seedtest_assets.local import demo as cohort
    from seedtest_assets.resources.database import Database
    from seedtest_assets.simulate import CohortSpec

    # So few items that, from the fourth week on, enough of them have the answers that anchors need.
    spec = CohortSpec(students=students, items=360, weeks=weeks, end=last_sunday(), seed=seed)
    kept = cohort.is_kept(spec)
    with _machine():
        with _progress() as progress:
            if not kept:
                _simulate(progress, spec, cohort.folder())
                cohort.forget_attempts(Database())
            _import(progress, cohort.folder() / "attempts.parquet", source=cohort.SOURCE)
            cohort.set_goals(Database(), spec)
            cohort.set_profiles(Database(), spec)
            _run(progress, spec.start, spec.end, resume=kept, asked=cohort.asked(spec))
        _show(spec.end)
        console.print(cohort.recovery_of_truth(Database(), spec))
        _make_reports(monday(spec.end), ReportConfig(), again=False)
        for line in _addresses(monday(spec.end)):
            console.print(line, soft_wrap=True)
    console.print(
        "\nThe Dagster UI on these weeks: [bold]./run up[/bold]. "
        "Your own data: [bold]./run seedtest import FILE[/bold]."
    )


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(help="Where to: attempts.parquet, truth_*.parquet, spec.json.")],
    students: Annotated[int, typer.Option(min=1, help="Students of the cohort.")] = 300,
    weeks: Annotated[int, typer.Option(min=1, help="Weeks of activity.")] = 26,
    end: Annotated[datetime | None, typer.Option(formats=DAY, help="Last day; default: last Sunday.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same cohort.")] = 1,
) -> None:
    """Make a cohort whose truth is known: abilities, growth, items, activity, drop-out."""
    from seedtest_assets.simulate import CohortSpec

    spec = CohortSpec(students=students, weeks=weeks, end=end.date() if end else last_sunday(), seed=seed)
    with _progress() as progress:
        _simulate(progress, spec, folder)


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema; where it has it already, nothing happens."""
    with _machine(services=False):
        console.print("the database has the newest schema")


@app.command()
def partition() -> None:
    """Partition the answers by month, or make the months that they lack: for tens of millions of them.

    Intakes wait meanwhile, runs go on until the end; on disk there must be room for the answers once more. What it is
    good for: docs/scale.md.
    """
    from seedtest_assets.intake.partitions import partition_attempts
    from seedtest_assets.resources.database import Database
    from seedtest_assets.tables import attempt

    with _machine(services=False), console.status("partitioning"), Database().transaction() as connection:
        made = partition_attempts(connection)
    span = f": {made[0]} to {made[-1]}" if made else ""
    console.print(f"{attempt.fullname} is partitioned by month; {len(made)} partitions were made{span}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV or Parquet of attempts.")],
    item_column: Annotated[
        str | None,
        typer.Option(help="Take the item from this column: topic_id where questions are too many to calibrate."),
    ] = None,
    source: Annotated[str, typer.Option(help="Name of the source; with a row's content its identity.")] = "file",
    timezone: Annotated[str, typer.Option(help="Zone of times that carry no offset.")] = "UTC",
) -> None:
    """Take answered questions in, all or nothing. Importing a file again changes nothing.

    Columns: student_id, item_id, answered_at (or completed_at), is_correct (or correct); used if present:
    response_time_ms, hints_used (or hint_used), started_at, session_id, topic_id, source_id.
    Rows that cannot be used go to intake.attempt_reject, each with its reason.
    """
    with _machine(services=False), _progress() as progress:
        _import(progress, file, source=source, item_column=item_column, timezone=timezone)


@app.command()
def intake() -> None:
    """Take in what the application's exam_results have had since the last time (the nightly intake job)."""
    from seedtest_assets.intake.exam_results import take_in_exam_results
    from seedtest_assets.resources.database import Database

    with _machine(services=False):
        count = take_in_exam_results(Database())
        _observe("attempt", count.metadata())
        console.print(_count_table(count))


@app.command()
def run(
    first: Annotated[
        datetime | None, typer.Option("--from", formats=DAY, help="First day; default: the first answer's.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=DAY, help="Last day; default: the last answer's.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out weeks that are done; go on from a failed asset.")
    ] = False,
) -> None:
    """Compute every week that touches the days given: calibrate, features, weekly metrics, weekly KPI."""
    with _machine():
        span = _days_of_attempts()
        if span is None:
            _give_up("There are no answers yet: `seedtest import FILE`, or `seedtest demo` for a simulated cohort.")
        with _progress() as progress:
            _run(progress, first.date() if first else span[0], last.date() if last else span[1], resume=resume)
        _show(min(last.date(), span[1]) if last else span[1])


@app.command()
def show(
    day: Annotated[datetime | None, typer.Option("--week", formats=DAY, help="Any day of the week to show.")] = None,
) -> None:
    """Print what a week's run computed: rows by table, the KPI of a few students, two charts."""
    with _machine(services=False):
        span = _days_of_attempts()
        if span is None:
            _give_up("There is nothing to show yet: `seedtest demo`, or `seedtest import FILE` and `seedtest run`.")
        _show(day.date() if day else span[1])


@app.command()
def report(
    user: Annotated[UUID | None, typer.Option(help="Only this student's, by key.")] = None,
    week: Annotated[
        datetime | None, typer.Option(formats=DAY, help="A day of the week; default: the last one that is over.")
    ] = None,
    again: Annotated[bool, typer.Option(help="Render what has not changed, too.")] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open the report in the browser.")] = False,
) -> None:
    """Make the weekly reports of what the tables know, the students' and the teacher's, and say where they are.

    Nothing is computed anew; what has not changed since the last time is not rendered again.
    """
    from seedtest_assets.assets.reports import ReportConfig
    from seedtest_assets.calendar import WEEK, monday, today

    monday_ = monday(week.date()) if week else monday(today()) - WEEK
    if monday_ > today():
        _give_up(f"the week of {monday_} has not begun")
    with _machine(services=False):
        failed = _make_reports(monday_, ReportConfig(user_ids=[str(user)] if user else []), again=again)
        found = _addresses(monday_, user=user)
    for line in found:
        console.print(line, soft_wrap=True)
    if failed:
        from seedtest_assets import tables

        _give_up(f"{tables.report_failure.fullname} says why those reports failed.")
    if open_ and found:
        typer.launch(found[0].split()[-1])


@evaluate_app.command("irt")
def evaluate_irt_(
    file: Annotated[
        Path | None, typer.Argument(help="CSV or Parquet of attempts, as for import; default: the database's.")
    ] = None,
    item_column: Annotated[
        str | None, typer.Option(help="Take the item from this column: topic_id where questions are too many.")
    ] = None,
    model: Annotated[Literal["Rasch", "2PL", "3PL"], typer.Option(help="Item response model.")] = "2PL",
    folds: Annotated[int, typer.Option(min=2, help="Folds of students.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds and the intervals.")] = 1,
    min_responses: Annotated[int, typer.Option(min=2, help="Fewest training answers of an item.")] = 30,
    attempts: Annotated[
        Literal["first", "all"], typer.Option(help="A student's first answer on each item, or all answers.")
    ] = "first",
    bootstrap: Annotated[int, typer.Option(min=0, help="Draws of students behind the intervals; 0: none.")] = 500,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all numbers here, too.")] = None,
) -> None:
    """Predict held-out students' answers, each from the student's earlier ones, beside naive predictions.

    Items are calibrated on the students of the other folds. Shown with 95 % intervals over students: AUC, log-loss,
    Brier score, calibration error and accuracy of the item response model, of shares correct, and the difference.
    """
    from seedtest_assets.evaluation.irt import Protocol, evaluate_irt
    from seedtest_assets.evaluation.report import print_evaluation
    from seedtest_assets.resources.plumber import IrtService

    protocol = Protocol(
        model=model, folds=folds, seed=seed, min_responses=min_responses, attempts=attempts, bootstrap=bootstrap
    )
    with _machine():
        with _evaluating() as advance:
            answers = _answers(file, item_column, advance)
            evaluation = evaluate_irt(answers, IrtService(), protocol, advance)
        print_evaluation(console, evaluation)
    if json_file is not None:
        _write(json_file, json.dumps(evaluation.document(), indent=2) + "\n")


@evaluate_app.command("churn")
def evaluate_churn_(
    file: Annotated[
        Path | None, typer.Argument(help="CSV or Parquet of attempts, as for import; default: the database's.")
    ] = None,
    train_until: Annotated[
        datetime | None,
        typer.Option(formats=DAY, help="First of the later days; default: 40 % of the days, at least 42, are later."),
    ] = None,
    horizons: Annotated[str, typer.Option(help="Days within which the silence may be over, by commas.")] = "7,14,28",
    folds: Annotated[int, typer.Option(min=2, help="Folds of students.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds, the intervals and the permutations.")] = 1,
    bootstrap: Annotated[int, typer.Option(min=0, help="Draws of students behind the intervals; 0: none.")] = 500,
    permutations: Annotated[int, typer.Option(min=1, help="Exchanges of students behind each ABROCA's p.")] = 999,
    holidays: Annotated[
        Path | None, typer.Option(help="With FILE: CSV or Parquet of days off, column date. Else: intake.holiday.")
    ] = None,
    skip_days_off: Annotated[
        bool | None,
        typer.Option(
            "--skip-days-off/--count-days-off",
            help="Days off do not count as idle; default: SURVIVAL_IDLE_SKIPS_HOLIDAYS.",
        ),
    ] = None,
    attributes: Annotated[
        Path | None,
        typer.Option(
            help="With FILE: CSV or Parquet of groups, student_id and a column for each attribute. "
            "Else: intake.student_attribute."
        ),
    ] = None,
    html_file: Annotated[Path | None, typer.Option("--html", help="Write a report with plots here.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all numbers here, too.")] = None,
) -> None:
    """Predict who falls silent for 14 days, in later weeks and for students the model has never met.

    Shown with 95 % intervals over students, for each horizon: AUC, Brier score and its skill over idle days alone,
    calibration slope and intercept, ICI; and, where groups of students are known, whether the risk serves them alike.
    """
    from seedtest_assets.evaluation.churn import Protocol, evaluate_churn
    from seedtest_assets.evaluation.churn_report import html_report
    from seedtest_assets.evaluation.churn_summary import metadata, print_churn_evaluation

    if file is None and (holidays or attributes):
        _give_up("--holidays and --attributes belong to a FILE; the database has tables of its own for them.")
    protocol = Protocol(
        train_until=train_until.date() if train_until else None,
        horizons=_horizons(horizons),
        folds=folds,
        seed=seed,
        bootstrap=bootstrap,
        permutations=permutations,
    )
    with nullcontext() if file else _machine(services=False):
        with _evaluating() as advance:
            attempts, calendar, groups = _churn_facts(file, holidays, attributes, advance)
            if skip_days_off is not None:
                calendar = replace(calendar, idle_skips_days_off=skip_days_off)
            evaluation = evaluate_churn(attempts, protocol, calendar, groups, advance)
        if file is None:
            _observe("survival_risk", metadata(evaluation))
    print_churn_evaluation(console, evaluation)
    if html_file is not None:
        _write(html_file, html_report(evaluation))
    if json_file is not None:
        _write(json_file, json.dumps(evaluation.document(), indent=2) + "\n")


@evaluate_app.command("growth")
def evaluate_growth_(
    file: Annotated[
        Path | None, typer.Argument(help="CSV or Parquet of attempts, as for import; default: the database's.")
    ] = None,
    item_column: Annotated[
        str | None, typer.Option(help="Take the item from this column: topic_id where questions are too many.")
    ] = None,
    horizon: Annotated[list[int] | None, typer.Option(min=1, help="Weeks ahead, repeated; default: 1, 2, 4.")] = None,
    cuts: Annotated[int, typer.Option(min=1, help="Mondays, over the last 40 % of the weeks, to predict from.")] = 3,
    target: Annotated[
        list[float] | None,
        typer.Option(
            help="Score to reach, logits, repeated; default: METRICS_DEFAULT_TARGET. Always: last score + .3."
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=200, help="Draws of the posterior, in each of four chains.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampler and the intervals.")] = 1,
    bootstrap: Annotated[int, typer.Option(min=0, help="Draws of students behind the intervals; 0: none.")] = 500,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all numbers here, too.")] = None,
) -> None:
    """Predict own-week scores, and P(goal), in later weeks that no model has seen, beside naive predictions.

    Items, scores and models are made anew from the answers before each of several Mondays. Shown with 95 % intervals
    over students, for each horizon and method: coverage of predictive intervals, CRPS and RMSE of scores; Brier score,
    skill, calibration slope and ICI of the probability of a score at or above a target.
    """
    from seedtest_assets.evaluation.growth import (
        Protocol,
        answers_of_database,
        answers_of_file,
        evaluate_growth,
    )
    from seedtest_assets.evaluation.growth_summary import metadata, print_growth_evaluation
    from seedtest_assets.resources.database import Database
    from seedtest_assets.resources.glmm import GlmmService
    from seedtest_assets.resources.plumber import IrtService

    protocol = Protocol(cuts=cuts, samples=samples, seed=seed, bootstrap=bootstrap)
    if horizon:
        protocol = replace(protocol, horizons=tuple(sorted(set(horizon))))
    if target:
        protocol = replace(protocol, targets=tuple(sorted(set(target))))
    with _machine():
        with _evaluating() as advance:
            if file is None:
                answers = answers_of_database(Database(), item_column or "item_id")
            else:
                answers, refused = answers_of_file(file, item_column, lambda done: advance("reading", done))
                _say_refused(refused)
            evaluation = evaluate_growth(answers, IrtService(), GlmmService(), protocol, advance)
        if file is None:
            _observe("growth_goal", metadata(evaluation))
        print_growth_evaluation(console, evaluation)
    if json_file is not None:
        _write(json_file, json.dumps(evaluation.document(), indent=2) + "\n")


@evaluate_app.command("anomalies")
def evaluate_anomalies_(
    cohorts: Annotated[int, typer.Option(min=1, help="Simulated cohorts, as many clean as planted.")] = 10,
    students: Annotated[int, typer.Option(min=1, help="Students of a cohort.")] = 240,
    history: Annotated[int, typer.Option(min=4, help="Weeks of look-back.")] = 12,
    threshold: Annotated[
        float | None, typer.Option(help="Absolute score that is flagged; default: PROPHET_ANOMALY_THRESHOLD.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same numbers.")] = 1,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write a row for each number here.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all numbers here, too.")] = None,
) -> None:
    """Plant shifts, spikes and drop-outs in simulated cohorts, and count how many are found, and how late.

    Shown with 95 % intervals over cohorts, for students and for topics, beside naive scores: precision and recall of
    events, delay in weeks, and false alarms per series and year where nothing was planted.
    """
    from seedtest_assets.evaluation.anomalies import Protocol, evaluate_anomalies
    from seedtest_assets.evaluation.anomalies_summary import print_anomaly_evaluation
    from seedtest_assets.settings import settings

    level = settings().prophet_anomaly_threshold if threshold is None else threshold
    protocol = Protocol(seeds=cohorts, students=students, history=history, threshold=level, seed=seed)
    with _evaluating() as advance:
        evaluation = evaluate_anomalies(protocol, advance)
    print_anomaly_evaluation(console, evaluation)
    if csv_file is not None:
        _write(csv_file, evaluation.frame().to_csv(index=False))
    if json_file is not None:
        _write(json_file, json.dumps(evaluation.document(), indent=2) + "\n")


@contextmanager
def _machine(*, services: bool = True) -> Iterator[None]:
    """`local_machine`, migrated; what cannot be started or reached is said in one sentence."""
    from seedtest_assets.failures import PermanentFailure, TransientFailure

    try:
        with local_machine(services=services):
            migrate_schema()
            yield
    except (PostgresError, ServiceError, TransientFailure) as error:
        _give_up(str(error))
    except PermanentFailure as error:
        _give_up(error.description)


def last_sunday() -> date:
    """The last day of the last closed ISO week (UTC)."""
    today = datetime.now(UTC).date()
    return today - timedelta(days=today.isoweekday())


def _simulate(progress: Progress, spec: "CohortSpec", folder: Path) -> None:
    from seedtest_assets.simulate import write_cohort

    task = progress.add_task("simulating", total=spec.students)
    summary = write_cohort(spec, folder, progress=lambda done, _: progress.update(task, completed=done))
    progress.console.print(
        f"{summary.answers:,} answers of {summary.active_students:,} students on {summary.items:,} items, "
        f"{summary.correct / max(summary.answers, 1):.0%} correct, in {folder}"
    )


def _import(
    progress: Progress, file: Path, *, source: str, item_column: str | None = None, timezone: str = "UTC"
) -> None:
    from seedtest_assets.intake.files import UnreadableFile, import_file
    from seedtest_assets.resources.database import Database

    task = progress.add_task("importing", total=1.0)
    try:
        count = import_file(
            Database(),
            file,
            source=source,
            item_column=item_column,
            timezone=timezone,
            progress=lambda done: progress.update(task, completed=done),
        )
    except UnreadableFile as error:
        progress.stop()
        _give_up(str(error))
    _observe("attempt", count.metadata())
    progress.console.print(_count_table(count))


def _answers(file: Path | None, item_column: str | None, progress: Callable[[str, float], None]) -> "pd.DataFrame":
    """Answered questions of a file, or of the database; what a file has that cannot be used is said."""
    from seedtest_assets.evaluation.irt import answers_of_database, answers_of_file
    from seedtest_assets.resources.database import Database

    if file is None:
        return answers_of_database(Database(), item_column or "item_id")
    answers, refused = answers_of_file(file, item_column, lambda done: progress("reading", done))
    _say_refused(refused)
    return answers


def _churn_facts(
    file: Path | None, holidays: Path | None, attributes: Path | None, progress: Callable[[str, float], None]
) -> "tuple[pd.DataFrame, Calendar, pd.DataFrame | None]":
    """Attempts, days off and groups of students: of files, or of the database."""
    from seedtest_assets.assets.records import days_off
    from seedtest_assets.evaluation import churn
    from seedtest_assets.models.landmarks import Calendar
    from seedtest_assets.resources.database import Database
    from seedtest_assets.settings import settings

    if file is None:
        database = Database()
        return churn.attempts_of_database(database), days_off(database), churn.groups_of_database(database)
    calendar = Calendar(idle_skips_days_off=settings().survival_idle_skips_holidays)
    if holidays is not None:
        calendar = replace(calendar, days_off=churn.days_off_of_file(holidays))
    groups = None if attributes is None else churn.groups_of_file(attributes)
    attempts, refused = churn.attempts_of_file(file, lambda done: progress("reading", done))
    _say_refused(refused)
    return attempts, calendar, groups


def _say_refused(refused: "Counter[str]") -> None:
    for reason, number in refused.most_common():
        console.print(f"{number:,} rows left out: {reason}")


def _horizons(text: str) -> tuple[int, ...]:
    """Days, as the option gives them."""
    days = {int(part) for part in text.split(",") if part.strip().isdecimal()}
    if len(days) != text.count(",") + 1 or min(days) < 1:
        raise typer.BadParameter(f"“{text}” are no different whole days; write for example 7,14,28")
    return tuple(sorted(days))


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text)
    except OSError as error:
        _give_up(f"{file} cannot be written: {error.strerror}")


def _observe(asset: str, metadata: dict[str, Any]) -> None:
    """Report on an asset what no run of it has done, where the UI shows it: numbers, no ids."""
    import dagster as dg

    from seedtest_assets.assets.common import asset_key

    with dg.DagsterInstance.get() as instance:
        instance.report_runless_asset_event(dg.AssetObservation(asset_key(asset), metadata=metadata))


def _run(
    progress: Progress, first: date, last: date, *, resume: bool, asked: "Mapping[date, OpConfig] | None" = None
) -> None:
    from seedtest_assets.automation.weekly_runs import run_weeks
    from seedtest_assets.calendar import weeks_between

    try:
        weeks = weeks_between(first, last)
        task = progress.add_task(f"computing {len(weeks)} weeks", total=len(weeks))
        for outcome in run_weeks(weeks, resume=resume, asked=asked):
            progress.update(task, description=f"week of {outcome.week}", completed=weeks.index(outcome.week) + 1)
            if not outcome.success:
                progress.stop()
                console.print(f"The week of {outcome.week} failed. {outcome.reason}", style="red")
                _give_up("Mend the cause, then go on with `seedtest run --resume` (or from the run in the UI).")
        progress.update(task, completed=len(weeks))
    except ValueError as error:
        progress.stop()
        _give_up(str(error))


def _make_reports(week_start: date, config: "ReportConfig", *, again: bool) -> int:
    """Make the students' reports that are asked for, and with everybody's the teacher's; returns how many failed."""
    from seedtest_assets.assets.cohort_report import make_cohort_report
    from seedtest_assets.assets.reports import Batch, make_reports, students_of
    from seedtest_assets.calendar import Week
    from seedtest_assets.failures import PermanentFailure
    from seedtest_assets.resources.artifact_store import ArtifactStore
    from seedtest_assets.resources.database import Database

    database, store, week = Database(), ArtifactStore(), Week.of(week_start)
    users = students_of(database, week, config)
    if not users:
        raise PermanentFailure(
            f"No student has a row in weekly_kpi for the week of {week_start}. `seedtest run` computes weeks; "
            "--week names another."
        )
    with _progress() as progress:
        task = progress.add_task("making reports", total=len(users))

        def tell(batch: Batch) -> None:
            progress.update(task, completed=batch.done)

        batch = make_reports(database, store, week, users, again=again, progress=tell)
        if not config.user_ids:
            make_cohort_report(database, store, week, again=again)
    console.print(f"reports: {batch.made} made, {batch.unchanged} unchanged, {batch.failed} failed; {store.check()}")
    return batch.failed


def _addresses(week_start: date, *, user: UUID | None = None) -> list[str]:
    """Where a student's reports are; without one, the teacher's, and those of a few students in each language."""
    import sqlalchemy as sa

    from seedtest_assets import tables
    from seedtest_assets.resources.artifact_store import ArtifactStore
    from seedtest_assets.resources.database import Database

    database, store = Database(), ArtifactStore()
    artifact, cohort = tables.report_artifact.c, tables.cohort_report_artifact.c
    of_student = sa.select(artifact.storage_key, artifact.format).where(artifact.week_start == week_start)
    if user is not None:
        rows = database.rows(of_student.where(artifact.user_id == user).order_by(artifact.format))
        return [f"{row.format}: {store.link(row.storage_key)}" for row in rows]
    teachers = sa.select(cohort.storage_key, cohort.format).where(cohort.week_start == week_start)
    rows = database.rows(teachers.order_by(cohort.format))
    some = database.rows(
        of_student.where(artifact.format == "html").distinct(artifact.lang).order_by(artifact.lang, artifact.user_id)
    )
    lines = [f"teacher, {row.format}: {store.link(row.storage_key)}" for row in rows]
    return lines + [f"a student: {store.link(row.storage_key)}" for row in some]


def _show(day: date) -> None:
    from seedtest_assets.calendar import monday
    from seedtest_assets.local.summary import print_summary
    from seedtest_assets.resources.database import Database

    print_summary(console, Database(), monday(day))


def _days_of_attempts() -> tuple[date, date] | None:
    """First and last local day with an answer, or None."""
    import sqlalchemy as sa

    from seedtest_assets.calendar import local_day
    from seedtest_assets.resources.database import Database
    from seedtest_assets.settings import settings

    database = Database()
    completed_at = database.attempt.c.completed_at
    (found,) = database.rows(sa.select(sa.func.min(completed_at), sa.func.max(completed_at)))
    if found[0] is None:
        return None
    timezone = settings().seedtest_timezone
    return local_day(found[0], timezone), local_day(found[1], timezone)


def _count_table(count: "Count") -> Table:
    table = Table("rows", "", title=f"{count.read:,} rows read")
    for name, number in (("new", count.new), ("corrected", count.changed), ("known already", count.unchanged)):
        table.add_row(name, f"{number:,}")
    for reason, number in count.rejected.most_common():
        table.add_row(f"[red]refused[/red]: {reason}", f"{number:,}")
    if count.zero_times:
        table.add_row("response time 0, read as not logged", f"{count.zero_times:,}")
    if count.first and count.last:
        table.caption = f"answers from {count.first:%Y-%m-%d} to {count.last:%Y-%m-%d}"
    return table


@contextmanager
def _evaluating() -> Iterator[Callable[[str, float], None]]:
    """Shows how far an evaluation is: told what it does, and the share done. What cannot be judged is said."""
    from seedtest_assets.evaluation.irt import NotEvaluable
    from seedtest_assets.intake.files import UnreadableFile

    with _progress() as progress:
        task = progress.add_task("reading", total=1.0)
        try:
            yield lambda what, done: progress.update(task, description=what, completed=done)
        except (UnreadableFile, NotEvaluable) as error:
            progress.stop()
            _give_up(str(error))


def _progress() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def _give_up(message: str | None) -> NoReturn:
    Console(stderr=True).print(message, style="red", highlight=False)
    raise typer.Exit(1)


for command in (local.up, local.down, local.doctor, local.env):
    app.command()(command)
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(local.services_app, name="services")
app.add_typer(local.db_app, name="db")
