"""`seedtest evaluate churn`: its numbers by other means, nothing known that is not past, plain about what it cannot."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import mannwhitneyu
from typer.testing import CliRunner

from seedtest_assets import tables
from seedtest_assets.cli import app
from seedtest_assets.evaluation import churn
from seedtest_assets.evaluation.churn import (
    FULL,
    RECENCY,
    Evaluation,
    NotEvaluable,
    Protocol,
    attempts_of_file,
    days_off_of_file,
    evaluate_churn,
    groups_of_file,
)
from seedtest_assets.evaluation.churn_report import html_report
from seedtest_assets.evaluation.churn_summary import metadata, verdicts
from seedtest_assets.intake.files import UnreadableFile, import_file
from seedtest_assets.local.postgres import EmbeddedPostgres
from seedtest_assets.models.calibration_curve import calibration_curve
from seedtest_assets.models.landmarks import Calendar
from seedtest_assets.resources.database import Database
from seedtest_assets.simulate import CohortSpec, write_cohort

from .silence_oracle import FIRST, Silence

STUDENTS, DAYS = 1200, 7 * 32
DAYS_OFF = FIRST + np.array([60, 61, 62, 63, 150, 151])
CALENDAR = Calendar(DAYS_OFF)
CUT = FIRST + 7 * 18
PROTOCOL = Protocol(train_until=date.fromordinal(CUT), folds=3, bootstrap=20, permutations=99, lookback_days=90)
SHORT = replace(PROTOCOL, folds=2, bootstrap=0, lookback_days=42, horizons=(14, 28))
ANSWERS_A_DAY = 3


def student_id(number: int) -> str:
    return f"s{number:05}"


def day_of(attempts: pd.DataFrame) -> np.ndarray:
    return attempts["completed_at"].dt.date.map(date.toordinal).to_numpy()


@pytest.fixture(scope="module")
def cohort() -> Silence:
    return Silence.draw(STUDENTS, DAYS, seed=4, days_off=DAYS_OFF)


@pytest.fixture(scope="module")
def attempts(cohort: Silence) -> pd.DataFrame:
    """Three answers on each active day; their times and marks are noise."""
    random = np.random.default_rng(5)
    student, day = (np.repeat(each, ANSWERS_A_DAY) for each in np.nonzero(cohort.active))
    n = len(student)
    seconds = np.tile(np.arange(ANSWERS_A_DAY) * 60, n // ANSWERS_A_DAY)
    midnight = pd.Timestamp(date.fromordinal(FIRST), tz="UTC")
    completed_at = midnight + pd.to_timedelta(day, "D") + pd.Timedelta(hours=12) + pd.to_timedelta(seconds, "s")
    return pd.DataFrame(
        {
            "id": np.arange(n),
            "student_id": [student_id(number) for number in student],
            "item_id": random.integers(0, 40, n),
            "topic_id": "t",
            "session_id": None,
            "correct": random.random(n) < 0.6,
            "response_time_ms": random.lognormal(9, 0.5, n).round(),
            "hint_used": None,
            "completed_at": completed_at,
            "started_at": completed_at - pd.Timedelta(seconds=20),
        }
    )


@pytest.fixture(scope="module")
def groups() -> pd.DataFrame:
    """Drawn at random: the groups do not differ."""
    drawn = np.random.default_rng(3).choice(["a", "b", "c"], STUDENTS, p=[0.5, 0.3, 0.2])
    ids = [student_id(number) for number in range(STUDENTS)]
    return pd.DataFrame({"student_id": ids, "name": "class", "value": drawn})


@pytest.fixture(scope="module")
def evaluation(attempts: pd.DataFrame, groups: pd.DataFrame) -> Evaluation:
    return evaluate_churn(attempts, PROTOCOL, CALENDAR, groups)


@pytest.fixture(scope="module")
def some(attempts: pd.DataFrame) -> pd.DataFrame:
    """Ten weeks after the cut of 400 students who have come before it: quickly evaluated again."""
    day = day_of(attempts)
    come = np.unique(attempts.loc[day < CUT, "student_id"])[:400]
    return attempts[attempts["student_id"].isin(come) & (day < CUT + 70)].reset_index(drop=True)


# -- the numbers, by other means -----------------------------------------------------------------------------


@pytest.mark.parametrize("model", [FULL, RECENCY])
@pytest.mark.parametrize("days", [7, 14, 28])
def test_numbers_agree_with_direct_formulas(evaluation, days, model):
    rows = evaluation.landmarks(days)
    horizon = next(each for each in evaluation.judged if each.days == days)
    found = horizon.quality[model]
    risk, happened = rows[f"{model}_{days}"].to_numpy(), rows[f"event_{days}"].to_numpy()
    assert (horizon.n, horizon.events) == (len(rows), happened.sum())
    assert horizon.happened.value == pytest.approx(happened.mean())
    assert found.predicted.value == pytest.approx(risk.mean())
    assert found.off.value == pytest.approx(risk.mean() - happened.mean())
    assert found.brier.value == pytest.approx(np.mean((risk - happened) ** 2))
    pairs, in_order = 0, 0.0
    for _, fold in rows.groupby("fold"):
        event = fold[f"event_{days}"] == 1
        one, other = fold.loc[event, f"{model}_{days}"], fold.loc[~event, f"{model}_{days}"]
        in_order += mannwhitneyu(one, other).statistic
        pairs += len(one) * len(other)
    assert found.auc.value == pytest.approx(in_order / pairs)

    def loss(line: np.ndarray) -> float:
        p = expit(line[0] + line[1] * logit(risk))
        return -float(np.mean(happened * np.log(p) + (1 - happened) * np.log(1 - p)))

    line = minimize(loss, [0.0, 1.0], method="BFGS").x
    assert [found.intercept.value, found.slope.value] == pytest.approx(line, abs=1e-3)


def test_skill_and_the_distance_of_the_curve_agree_with_direct_formulas(evaluation):
    rows = evaluation.landmarks(7)
    risk, happened = rows[f"{FULL}_7"].to_numpy(), rows["event_7"].to_numpy()
    horizon = evaluation.judged[0]
    brier = [np.mean((rows[f"{model}_7"] - happened) ** 2) for model in (FULL, RECENCY)]
    assert horizon.skill.value == pytest.approx(1 - brier[0] / brier[1])
    curve = []
    for point in risk:
        distance = np.abs(risk - point)
        width = np.sort(distance)[int(np.ceil(0.75 * len(risk))) - 1]
        weight = np.clip(1 - (distance / width) ** 3, 0, 1) ** 3
        curve.append(np.polynomial.Polynomial.fit(risk, happened, 2, w=np.sqrt(weight))(point))
    ici = np.mean(np.abs(np.clip(curve, 0, 1) - risk))
    assert horizon.quality[FULL].ici.value == pytest.approx(ici, abs=1e-3)


def test_risks_of_other_students_in_later_weeks_are_near_the_exact_probabilities(cohort, evaluation):
    active = np.flatnonzero(cohort.active.any(axis=1))
    for days, farthest in ((14, 0.03), (28, 0.04)):
        rows = evaluation.landmarks(days)
        truth = cohort.true_risk(rows.assign(student=active[rows["student"]]), (days,))[:, 0]
        risk = rows[f"{FULL}_{days}"].to_numpy()
        assert calibration_curve(risk, truth).ici < farthest
        assert np.corrcoef(risk, truth)[0, 1] > 0.8
        best = np.mean((truth - rows[f"event_{days}"]) ** 2)
        horizon = next(each for each in evaluation.judged if each.days == days)
        assert best < horizon.quality[FULL].brier.value


def test_landmarks_where_the_event_is_impossible_are_counted_and_left_out(evaluation):
    rows = evaluation.predictions
    known = rows["event_7"].notna()
    impossible = rows[known & (rows["idle"] < 7)]
    assert evaluation.horizons[0].impossible == len(impossible) > 1000
    assert (impossible[[f"{FULL}_7", f"{RECENCY}_7"]] == 0).all(axis=None)
    assert not impossible["event_7"].any()
    assert evaluation.landmarks(7)["idle"].min() == 7


def test_later_landmarks_are_those_of_students_at_risk_once_a_week(evaluation, attempts):
    rows = evaluation.predictions
    assert rows["day"].min() >= CUT
    assert rows["day"].max() <= day_of(attempts).max() + 1 - 7
    assert not rows.assign(week=(rows["day"] - 1) // 7).duplicated(["student", "week"]).any()
    assert rows["day"].mod(7).value_counts(normalize=True).between(0.1, 0.2).all()
    assert set(rows.groupby("student")["fold"].nunique()) == {1}


# -- nothing known that is not past, and nothing of the students themselves in training ----------------------


def same_landmarks(one: Evaluation, other: Evaluation, until: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    risks = [f"{model}_{days}" for model in (FULL, RECENCY) for days in (14, 28)]
    keys = ["student", "day"]
    found = [each.predictions.set_index(keys)[risks] for each in (one, other)]
    both = found[0].index.intersection(found[1].index)
    both = both[both.get_level_values("day") <= until]
    assert len(both) > 500
    return found[0].loc[both], found[1].loc[both]


@pytest.fixture(scope="module")
def some_evaluated(some: pd.DataFrame) -> Evaluation:
    return evaluate_churn(some, SHORT, CALENDAR)


def dealt(attempts: pd.DataFrame, until: int) -> pd.DataFrame:
    """Answers from a day on dealt out to the students anew."""
    student, later = attempts["student_id"].to_numpy(copy=True), day_of(attempts) >= until
    student[later] = np.random.default_rng(1).permutation(student[later])
    return attempts.assign(student_id=student)


def test_what_comes_after_a_landmark_does_not_change_its_risk(some, some_evaluated):
    """The outcomes change, the risks do not."""
    until = CUT + 7 * 5
    changed = evaluate_churn(dealt(some, until), SHORT, CALENDAR)
    before, after = same_landmarks(some_evaluated, changed, until)
    pd.testing.assert_frame_equal(before, after, check_exact=True)
    events = [each.predictions.set_index(["student", "day"])["event_28"] for each in (some_evaluated, changed)]
    assert (events[0].loc[before.index] != events[1].loc[before.index]).sum() > 20


def test_a_leak_from_the_future_would_be_seen(some, some_evaluated, monkeypatch):
    """The test above with weekly metrics that are dated two weeks too early."""
    records = churn._Facts.records

    def leaky(*arguments):
        found = records(*arguments)
        return replace(found, metrics=found.metrics.assign(as_of_day=found.metrics["as_of_day"] - 14))

    monkeypatch.setattr(churn._Facts, "records", leaky)
    until = CUT + 7 * 5
    one, other = same_landmarks(*(evaluate_churn(each, SHORT, CALENDAR) for each in (some, dealt(some, until))), until)
    assert (one != other).mean(axis=None) > 0.1


def test_the_model_of_a_fold_has_never_seen_its_students(some, some_evaluated):
    """Marks and times of one fold's students, so early that only training looks at them: other folds' models change."""
    fold = some_evaluated.predictions.groupby("student")["fold"].first()
    users = np.unique(some["student_id"])
    of_fold = some["student_id"].isin(users[fold.index[fold == 0]])
    early = day_of(some) < CUT - 7 - 56 - 14
    random = np.random.default_rng(2)
    swapped = some.assign(
        correct=some["correct"] ^ (of_fold & early & (random.random(len(some)) < 0.5)),
        response_time_ms=some["response_time_ms"] * np.where(of_fold & early, random.lognormal(0, 1, len(some)), 1),
    )
    changed = evaluate_churn(swapped, SHORT, CALENDAR)
    before, after = same_landmarks(some_evaluated, changed, CUT + 1000)
    mine = fold.loc[before.index.get_level_values("student")].to_numpy() == 0
    pd.testing.assert_frame_equal(before[mine], after[mine], check_exact=True)
    full = [f"{FULL}_14", f"{FULL}_28"]
    assert (before.loc[~mine, full] != after.loc[~mine, full]).all(axis=None)


def test_the_order_of_the_rows_changes_nothing(some, some_evaluated):
    shuffled = some.sample(frac=1, random_state=1)
    again = evaluate_churn(shuffled, SHORT, CALENDAR)
    assert again.document() == some_evaluated.document()
    pd.testing.assert_frame_equal(again.predictions, some_evaluated.predictions, check_exact=True)


def test_answers_of_a_day_that_is_not_over_are_left_out(some, monkeypatch):
    """At 23:00 UTC the next day has begun in Seoul."""
    monkeypatch.setenv("SEEDTEST_TIMEZONE", "Asia/Seoul")
    day = date.fromordinal(CUT + 59)
    found = evaluate_churn(some, SHORT, CALENDAR, now=datetime(day.year, day.month, day.day, 23, tzinfo=UTC))
    assert found.last == day


# -- days off, groups ----------------------------------------------------------------------------------------


def test_days_off_that_do_not_count_put_events_off(some, some_evaluated):
    off = FIRST + np.arange(7 * 21, 7 * 23)
    skipped = evaluate_churn(some, SHORT, Calendar(off, idle_skips_days_off=True))
    assert skipped.skip_days_off
    assert skipped.days_off == 14
    in_holidays = skipped.predictions["day"].isin(off[7:])
    assert (skipped.predictions.loc[in_holidays, "due"] + skipped.predictions.loc[in_holidays, "idle"] > 14).all()
    assert skipped.horizons[0].events < some_evaluated.horizons[0].events


def test_groups_that_do_not_differ_are_not_said_to(evaluation):
    for horizon in evaluation.judged:
        groups = horizon.groups
        assert [of.group for of in groups] == ["a", "b", "c"]
        assert sum(of.n for of in groups) == horizon.n
        assert sum(of.events for of in groups) == horizon.events
        assert np.isnan([groups[0].abroca, groups[0].p, groups[0].q]).all()
        assert all(of.p > 0.05 and of.q >= of.p for of in groups[1:])
        assert any(said.startswith("No sign that groups are served differently") for said in verdicts(horizon))


def test_a_group_whose_silence_cannot_be_foreseen_is_found(attempts, evaluation):
    """In one group the later activity is that of others: nothing that is known of its students tells what they do."""
    users = np.unique(attempts["student_id"])
    odd = users[::3]
    random = np.random.default_rng(7)
    later = (day_of(attempts) >= CUT) & attempts["student_id"].isin(odd)
    first_days = attempts.loc[later].groupby(["student_id", attempts["completed_at"].dt.date]).ngroup()
    dealt = attempts["student_id"].to_numpy(copy=True)
    dealt[later] = random.choice(odd, first_days.max() + 1)[first_days]
    given = pd.DataFrame({"student_id": users, "name": "odd", "value": np.where(np.isin(users, odd), "odd", "even")})
    protocol = replace(SHORT, horizons=(14,))
    found = evaluate_churn(attempts.assign(student_id=dealt), protocol, CALENDAR, given)
    even, other = found.judged[0].groups
    assert (even.group, other.group) == ("even", "odd")
    assert other.p == pytest.approx(0.01)
    assert other.abroca > 0.05
    assert any(
        said.startswith("Groups are served differently: odd, “odd” and “even”") for said in verdicts(found.judged[0])
    )


# -- what cannot be evaluated --------------------------------------------------------------------------------


def everything(some: pd.DataFrame) -> "pd.Series[bool]":
    return some["id"] >= 0


def most_active(students: int) -> Callable[[pd.DataFrame], "pd.Series[bool]"]:
    return lambda some: some["student_id"].isin(some["student_id"].value_counts().index[:students])


@pytest.mark.parametrize(
    ("protocol", "kept", "said"),
    [
        ({}, most_active(1), "1 students cannot be divided into 2 folds"),
        ({}, most_active(6), "14 days: too few in training: "),
        ({}, lambda some: some["id"] < 0, "There are no answers"),
        ({"train_until": date.fromordinal(CUT + 60)}, everything, "no later weeks"),
        ({"train_until": date.fromordinal(FIRST)}, everything, "nothing to train on"),
        ({"train_until": None}, lambda some: day_of(some) < FIRST + 35, "nothing to train on"),
    ],
    ids=["one student", "few students", "empty", "no later weeks", "no earlier days", "short"],
)
def test_what_cannot_be_evaluated_is_said(some, protocol, kept, said):
    with pytest.raises(NotEvaluable, match=said):
        evaluate_churn(some[kept(some)], replace(SHORT, **protocol), CALENDAR)


def test_a_horizon_with_too_few_events_does_not_stop_the_others(some):
    """Within a day the silence is over only for those idle for 13 days, of whom hardly anybody comes back."""
    found = evaluate_churn(some, replace(SHORT, horizons=(1, 14, 28)), CALENDAR)
    one, *others = found.horizons
    assert one.reason.startswith("too few in training: ")
    assert verdicts(one) == [f"Not judged, {one.reason}."]
    assert [horizon.reason for horizon in others] == [None, None]
    assert f"1 days: not judged, {one.reason}." in html_report(found)
    document = json.loads(json.dumps(found.document(), allow_nan=False))
    assert document["horizons"][0]["happened"] == {"value": None, "low": None, "high": None}
    assert "auc_1" not in metadata(found)


def test_files_of_days_off_and_groups_are_read_or_refused(tmp_path):
    days = tmp_path / "days.csv"
    days.write_text("date,name\n2026-05-05,Children's Day\n2026-01-01,New Year\n2026-05-05,Buddha's Birthday\n")
    assert days_off_of_file(days).tolist() == [date(2026, 1, 1).toordinal(), date(2026, 5, 5).toordinal()]
    pd.DataFrame({"date": [date(2026, 5, 5)]}).to_parquet(tmp_path / "days.parquet")
    assert days_off_of_file(tmp_path / "days.parquet").tolist() == [date(2026, 5, 5).toordinal()]
    students = tmp_path / "students.csv"
    students.write_text("student_id,gender,class\n07,f,A\n8,,B\n")
    found = groups_of_file(students)
    assert sorted(map(tuple, found.to_numpy())) == [("07", "class", "A"), ("07", "gender", "f"), ("8", "class", "B")]
    for name, content, said in (
        ("a.csv", "date\nyesterday\n", "“yesterday” is no date"),
        ("b.csv", "day\n2026-01-01\n", "has no column date. It has: day"),
        ("c.csv", "", "cannot be read"),
        ("d.parquet", "date\n", "cannot be read"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(UnreadableFile, match=said):
            days_off_of_file(tmp_path / name)
    students.write_text("student_id,gender\n1,f\n1,m\n")
    with pytest.raises(UnreadableFile, match="1 rows of students that it has already"):
        groups_of_file(students)
    with pytest.raises(UnreadableFile, match="does not exist"):
        groups_of_file(tmp_path / "none.csv")


# -- the command and its report ------------------------------------------------------------------------------


class Page(HTMLParser):
    """Texts, images and whatever would be loaded from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.images: list[dict[str, str]] = []
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.images += [dict(attrs)] if tag == "img" else []
        self.addresses += [value for name, value in attrs if name in {"src", "href", "srcset", "data", "action"}]

    def handle_data(self, data):
        self.texts.append(data)

    def said(self) -> str:
        return " ".join(" ".join(self.texts).split())


def test_the_report_is_one_file_with_words_for_every_picture(evaluation):
    text = html_report(evaluation)
    page = Page(text)
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert len(page.images) == 3 + 3  # calibration and ROC at each horizon
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.addresses)
    assert all(len(image["alt"]) > 60 for image in page.images)
    assert "url(" not in text
    assert "http" not in text.replace("http-equiv", "")
    said = page.said()
    for horizon in evaluation.judged:
        found = horizon.quality[FULL]
        for number in (found.auc, found.slope, found.ici, found.brier):
            assert f"{number.value:.3f}".removeprefix("0") in said
        assert all(sentence in said for sentence in verdicts(horizon))
    assert html_report(evaluation) == text


def test_names_of_groups_are_text_wherever_they_are_shown(evaluation):
    bad = "<script>alert(1)</script> $x_{$ [red]"
    named = {"a": "a", "b": bad, "c": "c"}
    horizons = [
        replace(each, groups=[replace(of, attribute=bad, group=named[of.group], q=0.01 * of.p) for of in each.groups])
        for each in evaluation.horizons
    ]
    group = evaluation.group.replace({"b": bad}).rename(columns={"class": bad})
    page = Page(html_report(replace(evaluation, horizons=horizons, group=group, attributes=[bad])))
    assert "script" not in page.tags
    assert f"Groups are served differently: {bad}, “{bad}” and “a”" in page.said()


def test_metadata_has_the_main_numbers_and_no_student(evaluation):
    found = metadata(evaluation)
    assert found["slope_14"] == evaluation.judged[1].quality[FULL].slope.value
    assert found["skill_28"] == evaluation.judged[2].skill.value
    assert len(found["evaluation"].records) == 6
    assert "s00" not in str(found)
    assert "s00" not in json.dumps(evaluation.document())
    said = Page(html_report(evaluation)).said()
    assert not any(student_id(number) in said for number in range(STUDENTS))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(CohortSpec(students=120, items=60, weeks=20, end=date(2025, 6, 29), seed=2), folder)
    return folder / "attempts.parquet"


OPTIONS = ("--folds", "2", "--bootstrap", "20", "--permutations", "19", "--horizons", "14,28")


def seedtest(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["evaluate", "churn", *map(str, arguments)], env={"COLUMNS": "140"})
    return result.exit_code, " ".join(result.output.split())


def test_the_command_evaluates_a_file_without_a_database(simulated, tmp_path, monkeypatch):
    monkeypatch.setenv("SEEDTEST_HOME", str(tmp_path / "home"))
    ids = attempts_of_file(simulated)[0]["student_id"].unique()
    pd.DataFrame({"student_id": ids, "[b]side": np.where(np.arange(len(ids)) % 2, "x", "y")}).to_csv(
        tmp_path / "groups.csv", index=False
    )
    (tmp_path / "off.csv").write_text("date\n2025-05-05\n2025-05-06\n")
    report, numbers = tmp_path / "report.html", tmp_path / "numbers.json"
    files = ("--attributes", tmp_path / "groups.csv", "--holidays", tmp_path / "off.csv", "--skip-days-off")
    code, output = seedtest(simulated, *OPTIONS, *files, "--html", report, "--json", numbers)
    assert code == 0, output
    assert not (tmp_path / "home").exists()
    found = json.loads(numbers.read_text())
    assert (found["days_off"], found["skip_days_off"], found["attributes"]) == (2, True, ["[b]side"])
    assert [horizon["days"] for horizon in found["horizons"]] == [14, 28]
    for horizon in found["horizons"]:
        quality = horizon["quality"][FULL]
        assert f"{quality['auc']['value']:.3f}".removeprefix("0") in output
        assert f"{horizon['n']:,} landmarks" in output
        assert {of["group"] for of in horizon["groups"]} == {"x", "y"}
        assert quality["auc"]["low"] < quality["auc"]["value"] < quality["auc"]["high"]
    assert "14 days, [b]side: x" in output
    assert len(Page(report.read_text()).images) == 4


def test_the_command_evaluates_the_database_and_reports_on_the_asset(
    simulated, database: Database, postgres: EmbeddedPostgres, tmp_path, monkeypatch
):
    monkeypatch.setenv("DAGSTER_DATABASE_URL", postgres.url("dagster"))
    monkeypatch.setenv("SEEDTEST_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    import_file(database, simulated)
    users = database.frame(sa.select(tables.attempt.c.student_id).distinct())["student_id"]
    with database.transaction() as connection:
        rows = [{"user_id": user, "name": "side", "value": "xy"[number % 2]} for number, user in enumerate(users)]
        connection.execute(tables.student_attribute.insert(), rows)
        connection.execute(tables.holiday.insert(), [{"date": date(2025, 5, 5), "name": "a"}])
    numbers = tmp_path / "numbers.json"
    code, output = seedtest(*OPTIONS, "--json", numbers)
    assert code == 0, output
    found = json.loads(numbers.read_text())
    assert (found["days_off"], found["skip_days_off"], found["attributes"]) == (1, False, ["side"])
    assert found["answers"] == len(attempts_of_file(simulated)[0])
    assert os.environ["DAGSTER_HOME"] == str(tmp_path)
    with dg.DagsterInstance.get() as instance:
        observed = instance.fetch_observations(dg.AssetKey("survival_risk"), limit=1).records[0].asset_observation
    assert observed.metadata["auc_14"].value == found["horizons"][0]["quality"][FULL]["auc"]["value"]
    assert len(observed.metadata["evaluation"].value.records) == 4
    assert not any(user in str(observed.metadata) for user in users)


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        (None, (), "does not exist"),
        ("who,what\na,b\n", (), "has no column student_id"),
        ("student_id,item_id,answered_at,is_correct\n", (), "There are no answers"),
        ("student_id,item_id,answered_at,is_correct\ns,i,2026-01-05T10:00:00Z,true\n", (), "nothing to train on"),
        ("student_id,item_id,answered_at,is_correct\n", ("--holidays", "none.csv"), "none.csv does not exist"),
        ("student_id,item_id,answered_at,is_correct\n", ("--horizons", "7,7"), "no different whole days"),
        ("student_id,item_id,answered_at,is_correct\n", ("--horizons", "week"), "no different whole days"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(tmp_path, content, arguments, said):
    file = tmp_path / "answers.csv"
    if content is not None:
        file.write_text(content)
    code, output = seedtest(file, *arguments)
    assert code != 0
    assert said in output
    assert "Traceback" not in output


def test_files_beside_the_database_are_refused():
    code, output = seedtest("--holidays", "days.csv")
    assert code == 1
    assert "belong to a FILE" in output
