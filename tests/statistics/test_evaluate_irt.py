"""`seedtest evaluate irt`: near the oracle on a simulated cohort, indifferent to row order, plain about bad input."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.special import expit
from typer.testing import CliRunner

from seedtest_assets.cli import app
from seedtest_assets.evaluation.irt import (
    AND_OWN_ON_ITEM,
    GLOBAL,
    IRT,
    ITEM,
    ITEM_AND_OWN,
    OWN,
    Evaluation,
    NotEvaluable,
    Protocol,
    answers_of_database,
    answers_of_file,
    evaluate_irt,
)
from seedtest_assets.evaluation.report import verdict
from seedtest_assets.intake.files import import_file
from seedtest_assets.local.postgres import EmbeddedPostgres
from seedtest_assets.models.evaluation import METRICS, Outcomes, empirical_reliability
from seedtest_assets.models.next_answer import Followed, History, ItemBank, follow
from seedtest_assets.resources.database import Database
from seedtest_assets.resources.plumber import IrtService
from seedtest_assets.settings import settings
from seedtest_assets.simulate import CohortSpec, simulate, true_items, true_theta, write_cohort

SPEC = CohortSpec(
    students=300, items=96, weeks=8, end=date(2025, 6, 29), seed=3, topic_sd=0.0, slope_mean=0.0, slope_sd=0.0
)
"""Exactly the unidimensional model: no growth, no deviations by topic."""


@pytest.fixture(scope="module")
def cohort() -> pd.DataFrame:
    """First answers with their true probabilities."""
    batches = list(simulate(SPEC))
    rows = pa.concat_tables([batch.attempts for batch in batches]).to_pandas()
    items = true_items(SPEC).to_pandas().set_index("item_id").loc[rows["item_id"]]
    truth = pa.concat_tables([batch.students for batch in batches])
    theta = true_theta(truth, rows["student_id"], rows["answered_at"].dt.tz_localize(None))
    rows["truth"] = expit(items["a"].to_numpy() * (theta - items["b"].to_numpy()))
    names = {"answered_at": "completed_at", "is_correct": "correct"}
    first = rows[rows["attempt_no"] == 1].rename(columns=names)
    return first[["student_id", "item_id", "correct", "completed_at", "truth"]]


@pytest.fixture(scope="module")
def evaluation(cohort: pd.DataFrame, irt_server: dict[str, str]) -> Evaluation:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in irt_server.items():
            environment.setenv(name, value)
        settings.cache_clear()
        return evaluate_irt(cohort, IrtService(), Protocol(bootstrap=200))


def history(cohort: pd.DataFrame) -> History:
    student, at, item = (
        np.unique(cohort[name], return_inverse=True)[1] for name in ("student_id", "completed_at", "item_id")
    )
    return History(student, at, item, cohort["correct"].to_numpy(bool))


def with_true_items(given: History) -> Followed:
    """The best that earlier answers allow: the true items and latent distribution."""
    items = true_items(SPEC).to_pandas().sort_values("item_id")
    a, b = items["a"].to_numpy(), items["b"].to_numpy()
    return follow(given, ItemBank(a, b, 0 * a, 0.0, SPEC.theta_sd), int(given.student.max()) + 1)


def scored(prediction: np.ndarray, given: History, metric: str) -> float:
    outcomes = Outcomes(given.correct, given.student, np.zeros(len(given), np.int64))
    return METRICS[metric](prediction, outcomes, np.ones((outcomes.n_students, 1)))[0]


def value(evaluation: Evaluation, method: str, metric: str) -> float:
    return evaluation.scores.estimate(method, metric).value


def test_on_its_own_model_irt_comes_near_the_true_probabilities(cohort, evaluation):
    assert evaluation.predicted == evaluation.answers == len(cohort)
    given, truth = history(cohort), cohort["truth"].to_numpy()
    best = with_true_items(given)
    for metric, better, tolerance in (("auc", 1, 0.005), ("log_loss", -1, 0.005), ("brier", -1, 0.003)):
        irt, ideal, oracle = (
            value(evaluation, IRT, metric),
            scored(best.probability, given, metric),
            scored(truth, given, metric),
        )
        assert irt == pytest.approx(ideal, abs=tolerance)
        assert better * irt < better * ideal < better * oracle
    assert value(evaluation, IRT, "ece") < scored(truth, given, "ece") + 0.005
    assert evaluation.reliability == pytest.approx(empirical_reliability(best.theta, best.sd), abs=0.02)


@pytest.mark.parametrize("model", ["Rasch", "3PL"])
def test_another_model_predicts_a_little_worse_than_the_one_the_answers_come_from(
    cohort, evaluation, irt_service, model
):
    other = evaluate_irt(cohort, irt_service, Protocol(model=model, bootstrap=0))
    assert 0 < value(other, IRT, "log_loss") - value(evaluation, IRT, "log_loss") < 0.02
    assert value(other, ITEM, "log_loss") == value(evaluation, ITEM, "log_loss")


def test_after_many_answers_the_true_probabilities_are_nearly_reached(cohort):
    given, truth = history(cohort), cohort["truth"].to_numpy()
    probability = with_true_items(given).probability
    number = cohort.groupby("student_id")["completed_at"].rank().to_numpy()
    off = [np.sqrt(np.mean((probability - truth)[rows] ** 2)) for rows in (number <= 5, number > 60)]
    assert off[0] > 0.15
    assert off[1] < 0.06


def test_a_leak_would_be_seen_it_beats_the_true_probabilities(cohort):
    given, truth = history(cohort), cohort["truth"].to_numpy()
    leaky = History(*(np.tile(column, 2) for column in (given.student, given.at, given.item, given.correct)))
    leaky = replace(leaky, at=np.concatenate([given.at, given.at - 0.5]))
    probability = with_true_items(leaky).probability[: len(given)]
    assert scored(probability, given, "log_loss") < scored(truth, given, "log_loss")
    assert scored(probability, given, "auc") > scored(truth, given, "auc")


def test_on_its_own_model_irt_beats_every_naive_method_and_says_so(evaluation):
    assert evaluation.best_naive == ITEM_AND_OWN
    for metric, better in {"auc": 1, "log_loss": -1, "brier": -1}.items():
        found = evaluation.difference(metric)
        assert better * found.low > 0
        assert better * found.high > 0
    assert verdict(evaluation).startswith("IRT predicts better than “item's + own share”")
    losses = [value(evaluation, method, "log_loss") for method in (ITEM_AND_OWN, ITEM, OWN, GLOBAL)]
    assert losses == sorted(losses)
    assert value(evaluation, GLOBAL, "auc") == 0.5


def test_the_order_of_the_rows_changes_nothing(cohort, evaluation, irt_service):
    shuffled = cohort.sample(frac=1, random_state=1)
    again = evaluate_irt(shuffled, irt_service, Protocol(bootstrap=200)).document()
    expected = evaluation.document()
    for method, metrics in expected["methods"].items():
        for metric, found in metrics.items():
            assert again["methods"][method][metric] == pytest.approx(found, abs=1e-6), (method, metric)


def test_no_method_knows_an_answer_before_it_is_given(cohort, irt_service):
    some = cohort[cohort["student_id"] <= "s0000120"].reset_index(drop=True)
    protocol = Protocol(model="Rasch", attempts="all", bootstrap=0)
    times = some[some["student_id"] == "s0000007"].sort_values("completed_at")
    flipped = times.index[len(times) // 2]
    changed = some.assign(correct=some["correct"] ^ (some.index == flipped))
    keys = ["student", "at"]
    before, after = (
        evaluate_irt(answers, irt_service, protocol).predictions.sort_values(keys, ignore_index=True)
        for answers in (some, changed)
    )
    (row,) = np.flatnonzero(before["correct"] != after["correct"])
    mine = before["student"] == before["student"][row]
    until, later = mine & (before.index <= row), mine & (before.index > row)
    for method in (IRT, GLOBAL, ITEM, OWN, ITEM_AND_OWN, AND_OWN_ON_ITEM):
        np.testing.assert_allclose(after.loc[until, method], before.loc[until, method], rtol=1e-9, err_msg=method)
    assert until.sum() > 10
    assert (after.loc[later, IRT] != before.loc[later, IRT]).all()


def test_where_answers_are_drawn_at_random_irt_claims_no_advantage(cohort, irt_service):
    coin = np.random.default_rng(1).uniform(size=len(cohort)) < 0.6
    found = evaluate_irt(cohort.assign(correct=coin), irt_service, Protocol(model="Rasch", bootstrap=200))
    assert found.difference("log_loss").high > 0
    assert found.scores.estimate(IRT, "auc").low < 0.5
    assert found.reliability < 0.2


def test_all_answers_are_predicted_when_asked_for(cohort, irt_service):
    later = cohort.assign(completed_at=cohort["completed_at"] + pd.Timedelta(days=90))
    twice = pd.concat([cohort, later], ignore_index=True)
    protocol = Protocol(model="Rasch", attempts="all", bootstrap=0)
    found = evaluate_irt(twice, irt_service, protocol)
    assert found.answers == 2 * len(cohort)
    # The same answers again: only a method that remembers a student's answer on the item can know them.
    assert found.best_naive == AND_OWN_ON_ITEM
    assert found.difference("log_loss").value > 0


def test_as_many_folds_as_students_and_no_interval(cohort, irt_service):
    few = cohort[cohort["student_id"].isin(cohort["student_id"].unique()[:12])]
    protocol = Protocol(model="Rasch", folds=12, min_responses=5, bootstrap=0)
    found = evaluate_irt(few, irt_service, protocol)
    assert [fold.students for fold in found.folds] == [1] * 12
    assert 0 < found.reliability < 1
    document = json.loads(json.dumps(found.document(), allow_nan=False))
    assert document["methods"][IRT]["log_loss"]["low"] is None
    assert verdict(found).endswith("without an interval.")


def test_an_item_with_few_answers_is_left_out_of_every_row(cohort, irt_service):
    rare = cohort["item_id"] == "i00001"
    keep = ~rare | (rare.cumsum() <= 20)
    found = evaluate_irt(cohort[keep], irt_service, Protocol(model="Rasch", bootstrap=0))
    assert found.answers == keep.sum()
    assert found.predicted == (keep & ~rare).sum()
    assert [fold.items for fold in found.folds] == [95] * 5


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        (Protocol(folds=301), "students cannot be divided into 301 folds"),
        (Protocol(min_responses=5000), "No item has 5000 answers of training students"),
    ],
)
def test_what_cannot_be_evaluated_is_said(cohort, irt_service, protocol, said):
    with pytest.raises(NotEvaluable, match=said):
        evaluate_irt(cohort, irt_service, protocol)


@pytest.fixture
def seedtest(
    database: Database,
    postgres: EmbeddedPostgres,
    irt_service: IrtService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Calls `seedtest evaluate irt` on the tests' servers; returns exit code and output in one line."""
    monkeypatch.setenv("DAGSTER_DATABASE_URL", postgres.url("dagster"))
    monkeypatch.setenv("SEEDTEST_HOME", str(tmp_path))

    def call(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["evaluate", "irt", *arguments], env={"COLUMNS": "120"})
        return result.exit_code, " ".join(result.output.split())

    return call


def test_the_command_evaluates_a_file_and_the_database_and_writes_all_numbers(seedtest, database, tmp_path):
    folder = tmp_path / "cohort"
    write_cohort(CohortSpec(students=60, items=24, weeks=4, end=date(2025, 6, 29)), folder)
    file, numbers = folder / "attempts.parquet", tmp_path / "numbers.json"
    options = ("--folds", "3", "--bootstrap", "20", "--min-responses", "10")
    code, output = seedtest(str(file), *options, "--json", str(numbers))
    assert code == 0, output
    found = json.loads(numbers.read_text())
    assert f"{found['predicted']:,} answers of {found['students']:,} students on {found['items']:,} items" in output
    assert set(found["methods"]) == {IRT, GLOBAL, ITEM, OWN, ITEM_AND_OWN}
    for metrics in found["methods"].values():
        assert set(metrics) == set(METRICS)
        assert all(each["low"] <= each["high"] for each in metrics.values())

    import_file(database, file)
    assert seedtest(*options, "--json", str(numbers))[0] == 0
    of_database = json.loads(numbers.read_text())
    assert of_database["answers"] == found["answers"]
    difference = of_database["methods"][IRT]["auc"]["value"] - found["methods"][IRT]["auc"]["value"]
    assert abs(difference) < 0.02  # ids differ, and with them the folds


def test_a_file_and_the_database_hold_the_same_answers(database, tmp_path):
    file = tmp_path / "answers.csv"
    file.write_text(
        "student_id,item_id,topic_id,answered_at,is_correct\n"
        "s,2,a,2026-01-05T10:00:00Z,true\n"
        "s,1,a,2026-01-05T09:00:00Z,no\n"
        "s,1,a,2026-01-05T09:00:00Z,no\n"
        "s,3,,2026-01-05T11:00:00Z,yes\n"
        "s,4,b,2026-01-05T11:00:00Z,perhaps\n"
    )
    answers, refused = answers_of_file(file, None)
    assert refused == {"duplicate of an earlier row": 1, "correct is missing or not true/false": 1}
    import_file(database, file)
    columns = ["correct", "completed_at"]
    of_database = answers_of_database(database, "item_id")
    pd.testing.assert_frame_equal(answers[columns].reset_index(drop=True), of_database[columns], check_dtype=False)
    assert of_database["item_id"].astype(str).tolist() == answers["item_id"].tolist() == ["2", "1", "3"]
    assert answers_of_file(file, "topic_id")[0]["item_id"].tolist() == ["a", "a"]
    assert answers_of_database(database, "topic_id")["item_id"].tolist() == ["a", "a"]


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        (None, (), "does not exist"),
        ("who,what\na,b\n", (), "has no column student_id"),
        ("student_id,item_id,answered_at,is_correct\n", (), "There are no answers to evaluate."),
        (
            "student_id,item_id,answered_at,is_correct\ns,i,2026-01-05T10:00:00Z,true\n",
            (),
            "1 students cannot be divided into 5 folds",
        ),
        ("student_id,item_id,answered_at,is_correct\n", ("--item-column", "kc"), "has no column kc"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(seedtest, tmp_path, content, arguments, said):
    file = tmp_path / "answers.csv"
    if content is not None:
        file.write_text(content)
    code, output = seedtest(str(file), *arguments)
    assert code == 1
    assert said in output
    assert "Traceback" not in output


def test_an_empty_database_and_a_column_it_has_not_are_said(seedtest):
    assert "There are no answers to evaluate." in seedtest()[1]
    assert "have no column kc" in seedtest("--item-column", "kc")[1]


def test_statistics_practice_is_predicted_far_better_than_by_chance(shared_data, irt_service):
    answers, refused = answers_of_file(shared_data / "memphis_stats" / "attempts.parquet", None)
    assert not refused
    found = evaluate_irt(answers, irt_service, Protocol(bootstrap=100))
    assert found.students == 478
    assert 0.99 < found.predicted / found.answers < 1
    irt, item = found.scores.estimate(IRT, "auc"), found.scores.estimate(ITEM, "auc")
    assert irt.low > item.high
    assert 0.77 < irt.value < 0.80
