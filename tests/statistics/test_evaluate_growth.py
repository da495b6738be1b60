"""`seedtest evaluate growth`: near the truth where it is known, no later answer used, plain about limits."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from seedtest_assets.cli import app
from seedtest_assets.evaluation import growth
from seedtest_assets.evaluation.growth import (
    COHORT,
    COVERED,
    LAST,
    NAIVE,
    NORMAL,
    POSTERIOR,
    Evaluation,
    NotEvaluable,
    Protocol,
    answers_of_database,
    answers_of_file,
    evaluate_growth,
)
from seedtest_assets.evaluation.growth_summary import metadata, verdicts
from seedtest_assets.intake.files import import_file
from seedtest_assets.local.postgres import EmbeddedPostgres
from seedtest_assets.models.calibration_curve import recalibration
from seedtest_assets.resources.database import Database
from seedtest_assets.resources.glmm import GlmmService
from seedtest_assets.resources.plumber import IrtService
from seedtest_assets.settings import settings
from seedtest_assets.simulate import CohortSpec, simulate, true_theta, write_cohort

pytestmark = pytest.mark.slow  # PyMC is imported, and its model compiled

SPEC = CohortSpec(students=300, items=240, weeks=24, end=date(2025, 6, 29), seed=5, topic_sd=0.0)
"""Exactly the model's straight lines: no deviations by topic."""

PROTOCOL = Protocol(bootstrap=100, targets=(0.0, 0.5), samples=500)
SHORT = Protocol(bootstrap=0, horizons=(1, 3), samples=250, cuts=2, lookback_days=200)
FLIPPED = pd.Timestamp("2025-06-09", tz="UTC")
"""The second cut of SHORT."""


@pytest.fixture(scope="module")
def cohort() -> tuple[pd.DataFrame, pa.Table]:
    batches = list(simulate(SPEC))
    rows = pa.concat_tables([batch.attempts for batch in batches]).to_pandas()
    names = {"answered_at": "completed_at", "is_correct": "correct"}
    truth = pa.concat_tables([batch.students for batch in batches])
    return rows.rename(columns=names)[growth.ANSWER_COLUMNS], truth


@pytest.fixture(scope="module")
def answers(cohort: tuple[pd.DataFrame, pa.Table]) -> pd.DataFrame:
    return cohort[0]


@pytest.fixture(scope="module")
def services(irt_server: dict[str, str]):
    """Clients whose variables are set while the module's tests run."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in irt_server.items():
            environment.setenv(name, value)
        settings.cache_clear()
        yield IrtService(), GlmmService()


Evaluate = Callable[..., Evaluation]


@pytest.fixture(scope="module")
def evaluated(services: tuple[IrtService, GlmmService]) -> Evaluate:
    return lambda answers, protocol, **given: evaluate_growth(answers, *services, protocol, **given)


@pytest.fixture(scope="module")
def evaluation(answers: pd.DataFrame, evaluated: Evaluate) -> Evaluation:
    return evaluated(answers, PROTOCOL)


@pytest.fixture(scope="module")
def some(answers: pd.DataFrame) -> pd.DataFrame:
    """80 students in their last 14 weeks: quickly evaluated again."""
    late = answers["completed_at"] >= pd.Timestamp("2025-03-24", tz="UTC")
    return answers[late & (answers["student_id"] <= "s0000080")].reset_index(drop=True)


@pytest.fixture(scope="module")
def few_items(some: pd.DataFrame) -> pd.DataFrame:
    """The same with four topics' items taken as one: enough answers on each of them."""
    number = some["item_id"].str[1:].astype(int)
    return some.assign(item_id=(number % 40).astype(str))


@pytest.fixture(scope="module")
def few_evaluated(few_items: pd.DataFrame, evaluated: Evaluate) -> Evaluation:
    return evaluated(few_items, SHORT)


def of_method(evaluation: Evaluation, method: str, weeks: int | None = None) -> pd.DataFrame:
    rows = evaluation.predictions
    chosen = (rows["method"] == method) & (True if weeks is None else rows["weeks"] == weeks)
    return rows[chosen].reset_index(drop=True)


def clustered_error(value: np.ndarray, student: np.ndarray) -> float:
    """Standard error of a mean, scores of a student being dependent."""
    return float(np.sqrt(np.sum(np.bincount(student, weights=value - value.mean()) ** 2)) / len(value))


# -- near the truth on the model's own data ------------------------------------------------------------------


def test_predictive_intervals_hold_what_they_say(evaluation):
    """Within three standard errors, which are small enough for intervals that are a tenth too narrow to be seen."""
    rows = of_method(evaluation, POSTERIOR)
    assert len(rows) > 1200
    for of in COVERED:
        held = rows["score"].between(rows[f"low_{of}"], rows[f"high_{of}"]).to_numpy(float)
        error = clustered_error(held, rows["student"].to_numpy())
        assert error < 0.016
        assert abs(held.mean() - of / 100) < 3 * error, of


def test_the_trend_of_lme4_predicts_nearly_as_well_as_the_posterior(evaluation):
    """With a cohort of hundreds the six parameters are nearly known."""
    assert evaluation.methods == [POSTERIOR, NORMAL, LAST, COHORT]
    for fit in evaluation.fits:
        of = [fit.parameters[method] for method in (POSTERIOR, NORMAL)]
        assert of[1]["kappa"] == pytest.approx(of[0]["kappa"], abs=0.02)
        assert 0.9 < of[0]["kappa"] < 1.15
        assert of[0]["week"] == pytest.approx(SPEC.slope_mean, abs=0.01)
        assert of[1]["week"] == pytest.approx(SPEC.slope_mean, abs=0.01)
    for horizon in evaluation.judged:
        posterior, normal, *naive = (horizon.scores[method].crps.value for method in evaluation.methods)
        assert normal == pytest.approx(posterior, rel=0.05)
        assert normal < min(naive)


def test_the_posterior_predicts_better_than_every_naive_method_and_says_so(evaluation):
    for horizon in evaluation.judged:
        assert all(horizon.gain[method].high < 0 for method in NAIVE)
        rmse = [horizon.scores[method].rmse.value for method in (POSTERIOR, LAST, COHORT)]
        assert rmse == sorted(rmse)
        assert any(said.startswith("Scores are predicted better than by “last value”") for said in verdicts(horizon))


def test_predicted_means_are_near_the_true_abilities(evaluation, cohort):
    """Nearer than the student's last score, and than the very score that was predicted."""
    answers, truth = cohort
    users = np.unique(answers["student_id"])
    for weeks in (1, 2, 4):
        rows = of_method(evaluation, POSTERIOR, weeks)
        middle = pd.to_datetime(rows["cut"]) + pd.to_timedelta(7 * weeks - 3.5, "D")
        theta = true_theta(truth, users[rows["student"]], middle)
        # Of each cut's scale only the order and the spacing are known.
        last = of_method(evaluation, LAST, weeks)["mean"]
        near = [np.corrcoef(theta, each)[0, 1] for each in (rows["mean"], rows["score"], last)]
        assert near[0] > 0.9
        assert near[0] > max(near[1:]) + 0.02


def test_probabilities_of_reaching_a_target_come_true(evaluation):
    for method in (POSTERIOR, NORMAL):
        rows = of_method(evaluation, method)
        for k in range(3):
            found = recalibration(rows[f"p_{k}"].to_numpy(), rows[f"event_{k}"].to_numpy(), rows["student"].to_numpy())
            assert found.slope_se < 0.15
            assert abs(found.slope - 1) < 3 * found.slope_se, (method, k)
            off = rows[f"p_{k}"].to_numpy() - rows[f"event_{k}"]
            assert abs(off.mean()) < 3 * clustered_error(off.to_numpy(), rows["student"].to_numpy()) < 0.07
    for horizon in evaluation.judged:
        for goal in horizon.goals:
            assert goal.skill[POSTERIOR].low > 0.1
            assert goal.quality[POSTERIOR].brier.value < min(goal.quality[name].brier.value for name in NAIVE)


def test_numbers_agree_with_direct_formulas(evaluation):
    for horizon in evaluation.judged:
        for method, found in horizon.scores.items():
            rows = of_method(evaluation, method, horizon.weeks)
            assert (horizon.n, horizon.students) == (len(rows), rows["student"].nunique())
            inside = (rows["score"] >= rows["low_80"]) & (rows["score"] <= rows["high_80"])
            assert found.coverage[80].value == pytest.approx(inside.mean())
            assert found.width.value == pytest.approx((rows["high_90"] - rows["low_90"]).mean())
            assert found.rmse.value == pytest.approx(np.sqrt(((rows["score"] - rows["mean"]) ** 2).mean()))
            assert found.crps.value == pytest.approx(rows["crps"].mean())
            goal = horizon.goals[1]
            event = rows["score"] >= 0.5
            assert goal.events == event.sum()
            brier = ((rows["p_1"] - event) ** 2).mean()
            assert goal.quality[method].brier.value == pytest.approx(brier)
            skill = 1 - brier / ((rows["rate_1"] - event) ** 2).mean()
            assert goal.skill[method].value == pytest.approx(skill)
        posterior, last = (of_method(evaluation, method, horizon.weeks)["crps"] for method in (POSTERIOR, LAST))
        assert horizon.gain[LAST].value == pytest.approx((posterior - last).mean())


def test_intervals_and_probabilities_of_a_prediction_agree(evaluation):
    """Intervals lie within each other, and a target beyond an end of the 90 % one is reached as rarely as that says."""
    rows = of_method(evaluation, POSTERIOR)
    inside = {of: rows[f"high_{of}"] - rows[f"low_{of}"] for of in COVERED}
    assert (inside[50] < inside[80]).all()
    assert (inside[80] < inside[90]).all()
    # An event is as probable as the quantiles say: P(score >= high_90) is 5 %.
    above = rows["p_0"][rows["high_90"] < 0]
    below = rows["p_0"][rows["low_90"] > 0]
    assert above.max() < 0.05
    assert below.min() > 0.95


def test_the_last_score_and_the_cohort_are_predicted_as_described(few_evaluated):
    """Direct normal formulas, from scores that the predictions themselves do not hold."""
    for fit in few_evaluated.fits:
        rows = of_method(few_evaluated, COHORT, 1)
        rows = rows[rows["cut"] == fit.cut]
        mean, sd = (fit.parameters[COHORT][name] for name in ("mean", "sd"))
        assert rows["mean"].to_numpy() == pytest.approx(mean)
        assert rows["high_90"].to_numpy() == pytest.approx(mean + 1.6448536 * sd)
        last = of_method(few_evaluated, LAST)
        last = last[last["cut"] == fit.cut]
        half = (last["high_90"] - last["low_90"]) / 2 / 1.6448536
        assert (half >= last["se"]).all()
        # The personal target lies .3 above the last score, which is the mean: P is the upper tail.
        above = last["p_1"]
        assert above.between(0.2, 0.5).all()


# -- nothing known that is not past --------------------------------------------------------------------------


def predicted(evaluation: Evaluation) -> pd.DataFrame:
    """Predictions but for what the later week's own standard error, known afterwards, has a part in."""
    return evaluation.predictions[["cut", "weeks", "student", "method", "mean"]]


def flipped(answers: pd.DataFrame) -> pd.DataFrame:
    """Answers from the second cut on drawn anew."""
    coin = np.random.default_rng(3).random(len(answers)) < 0.5
    return answers.assign(correct=answers["correct"].where(answers["completed_at"] < FLIPPED, coin))


def test_what_comes_after_a_cut_changes_no_prediction(few_items, few_evaluated, evaluated):
    assert pd.Timestamp(few_evaluated.fits[1].cut, tz="UTC") == FLIPPED
    changed = evaluated(flipped(few_items), SHORT)
    assert changed.fits == few_evaluated.fits
    pd.testing.assert_frame_equal(predicted(changed), predicted(few_evaluated), check_exact=True)
    second = few_evaluated.predictions["cut"] == few_evaluated.fits[1].cut
    assert (changed.predictions["score"] != few_evaluated.predictions["score"])[second].mean() > 0.9


@pytest.mark.parametrize("leaking", ["_calibrated", "own_week_scores"])
def test_a_leak_from_the_future_would_be_seen(few_items, few_evaluated, evaluated, monkeypatch, leaking):
    """The test above, where the calibration, or the scores, are made from answers of a week too many."""
    facts = growth._Facts.of(flipped(few_items), datetime.now(UTC))
    week_after = facts.between(facts.end - 3, facts.end - 2)
    honest = getattr(growth, leaking)

    def leaky(before: pd.DataFrame, *others: object) -> pd.DataFrame:
        training = before["week"].max() == facts.end - 4
        return honest(pd.concat([before, week_after]) if training else before, *others)

    monkeypatch.setattr(growth, leaking, leaky)
    changed = evaluated(flipped(few_items), replace(SHORT, cuts=1))
    assert changed.fits[0] != few_evaluated.fits[1]
    assert changed.fits[0].parameters[POSTERIOR] != few_evaluated.fits[1].parameters[POSTERIOR]


def test_the_order_of_the_rows_changes_nothing(few_items, few_evaluated, evaluated):
    again = evaluated(few_items.sample(frac=1, random_state=1), SHORT)
    assert again.document() == few_evaluated.document()
    pd.testing.assert_frame_equal(again.predictions, few_evaluated.predictions, check_exact=True)


def test_all_methods_are_judged_by_the_same_scores(few_evaluated):
    of = [of_method(few_evaluated, method)[["cut", "weeks", "student", "score"]] for method in few_evaluated.methods]
    assert set(of[0]["weeks"]) == {1, 3}
    for other in of[1:]:
        pd.testing.assert_frame_equal(of[0], other)


# -- what cannot be evaluated, and what is left out ----------------------------------------------------------


def test_without_lme4_its_row_is_left_out_and_said(few_items, evaluated, few_evaluated, monkeypatch):
    monkeypatch.delenv("R_GLMM_BASE_URL")
    found = evaluated(few_items, replace(SHORT, cuts=1))
    assert found.methods == [POSTERIOR, LAST, COHORT]
    assert found.fits[0].normal_missing == "no glmm service is configured (R_GLMM_BASE_URL)"
    assert found.fits[0].parameters[POSTERIOR] == few_evaluated.fits[1].parameters[POSTERIOR]


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (lambda some: some["student_id"] == "", "There are no answers to evaluate"),
        (lambda some: some["completed_at"] < pd.Timestamp("2025-04-14", tz="UTC"), "2 to learn from and 3 to judge"),
        (lambda some: some["student_id"] <= "s0000008", "Fewer than 3 items have 30 answers in the 200 days before"),
    ],
    ids=["empty", "three weeks", "few students"],
)
def test_what_cannot_be_evaluated_is_said(few_items, evaluated, kept, said):
    with pytest.raises(NotEvaluable, match=said):
        evaluated(few_items[kept(few_items)], SHORT)


def test_one_active_student_among_many_who_have_left_is_too_few(few_items, evaluated):
    """The items can be calibrated on the first weeks; later two students are there, or one with a single answer."""
    early = few_items["completed_at"] < pd.Timestamp("2025-05-05", tz="UTC")
    for later in (few_items["student_id"] <= "s0000002", few_items["completed_at"] == few_items["completed_at"].max()):
        with pytest.raises(NotEvaluable, match=r"1 weeks: scores of \d students \(10 needed\)"):
            evaluated(few_items[early | later], SHORT)


def test_students_who_never_have_five_answers_in_a_week_are_too_few(few_items, evaluated):
    week = few_items["completed_at"].dt.tz_localize(None).dt.to_period("W")
    some = few_items[few_items.groupby(["student_id", week]).cumcount() < 4]
    with pytest.raises(NotEvaluable, match="Only 0 students have an own-week score in the 12 weeks before 2025-"):
        evaluated(some, SHORT)


def test_a_target_that_nobody_reaches_does_not_stop_the_others(few_items, evaluated):
    found = evaluated(few_items, replace(SHORT, cuts=1, targets=(0.0, 9.0)))
    for horizon in found.judged:
        assert horizon.goals[1].reason.startswith("0 scores at or above the target")
        assert horizon.goals[0].reason is None
    document = json.loads(json.dumps(found.document(), allow_nan=False))
    assert document["horizons"][0]["goals"][1]["happened"] == {"value": None, "low": None, "high": None}
    assert document["horizons"][0]["scores"][POSTERIOR]["crps"]["low"] is None


def test_metadata_has_the_main_numbers_and_no_student(few_evaluated):
    found = metadata(few_evaluated)
    assert found["crps_3"] == few_evaluated.judged[1].scores[POSTERIOR].crps.value
    assert len(found["evaluation"].records) == 2 * len(few_evaluated.methods)
    assert "s00000" not in str(found) + json.dumps(few_evaluated.document())


# -- the command ---------------------------------------------------------------------------------------------


@pytest.fixture
def seedtest(
    database: Database,
    postgres: EmbeddedPostgres,
    irt_server: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Calls `seedtest evaluate growth` on the tests' servers; returns exit code and output in one line."""
    monkeypatch.setenv("DAGSTER_DATABASE_URL", postgres.url("dagster"))
    monkeypatch.setenv("SEEDTEST_HOME", str(tmp_path))
    for name, value in irt_server.items():
        monkeypatch.setenv(name, value)

    def call(*arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["evaluate", "growth", *map(str, arguments)], env={"COLUMNS": "140"})
        return result.exit_code, " ".join(result.output.split())

    return call


OPTIONS = ("--cuts", 1, "--horizon", 2, "--horizon", 1, "--samples", 250, "--bootstrap", 20, "--target", -0.5)


def test_the_command_evaluates_a_file_and_the_database_and_writes_all_numbers(seedtest, database, tmp_path):
    folder = tmp_path / "cohort"
    write_cohort(CohortSpec(students=60, items=24, weeks=10, end=date(2025, 6, 29), seed=2), folder)
    file, numbers = folder / "attempts.parquet", tmp_path / "numbers.json"
    code, output = seedtest(file, *OPTIONS, "--json", numbers)
    assert code == 0, output
    found = json.loads(numbers.read_text())
    assert [horizon["weeks"] for horizon in found["horizons"]] == [1, 2]
    assert [goal["target"] for goal in found["horizons"][0]["goals"]] == ["-0.5", "last score + 0.3"]
    assert f"{found['horizons'][0]['n']:,} scores of {found['horizons'][0]['students']:,} students" in output
    assert "90 % intervals of the posterior hold" in output
    assert "Not the latent ability, which is never observed" in output

    import_file(database, file)
    assert seedtest(*OPTIONS, "--json", numbers)[0] == 0
    of_database = json.loads(numbers.read_text())
    assert of_database["answers"] == found["answers"]
    assert of_database["horizons"][0]["n"] == found["horizons"][0]["n"]


def test_a_file_and_the_database_hold_the_same_answers(database, tmp_path):
    file = tmp_path / "answers.csv"
    file.write_text(
        "student_id,item_id,topic_id,answered_at,is_correct\n"
        "s,2,a,2026-01-05T10:00:00Z,true\n"
        "s,1,,2026-01-05T09:00:00Z,no\n"
        "s,3,b,2026-01-05T11:00:00Z,perhaps\n"
    )
    answers, refused = answers_of_file(file, None)
    assert refused == {"correct is missing or not true/false": 1}
    import_file(database, file)
    of_database = answers_of_database(database, "item_id").sort_values("completed_at", ascending=False)
    columns = ["topic_id", "correct", "completed_at"]
    pd.testing.assert_frame_equal(
        answers[columns].reset_index(drop=True), of_database[columns].reset_index(drop=True), check_dtype=False
    )
    assert of_database["item_id"].astype(str).tolist() == answers["item_id"].tolist() == ["2", "1"]
    by_topic = answers_of_file(file, "topic_id")[0]
    assert by_topic["item_id"].tolist() == by_topic["topic_id"].tolist() == ["a"]
    assert answers_of_database(database, "topic_id")["item_id"].tolist() == ["a"]
    with pytest.raises(NotEvaluable, match="have no column kc"):
        answers_of_database(database, "kc")


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        (None, (), "does not exist"),
        ("who,what\na,b\n", (), "has no column student_id"),
        ("student_id,item_id,answered_at,is_correct\n", (), "There are no answers to evaluate."),
        ("student_id,item_id,answered_at,is_correct\ns,i,2025-01-06T10:00:00Z,true\n", (), "1 weeks, 2025-01-06"),
        ("student_id,item_id,answered_at,is_correct\n", ("--item-column", "kc"), "has no column kc"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(seedtest, tmp_path, content, arguments, said):
    file = tmp_path / "answers.csv"
    if content is not None:
        file.write_text(content)
    code, output = seedtest(file, *arguments)
    assert code == 1
    assert said in output
    assert "Traceback" not in output


def test_a_real_school_year_is_predicted_better_than_by_the_last_score(shared_data, evaluated, monkeypatch):
    monkeypatch.setenv("MIRT_LOOKBACK_DAYS", "365")
    monkeypatch.setenv("SEEDTEST_TIMEZONE", "America/New_York")
    settings.cache_clear()
    answers, refused = answers_of_file(shared_data / "algebra_2005" / "attempts.parquet", "topic_id")
    assert not refused
    found = evaluated(answers, Protocol(cuts=3, horizons=(1, 4), bootstrap=100, samples=500))
    assert found.students == 114
    for horizon in found.judged:
        assert horizon.n > 80
        assert horizon.gain[LAST].value < -0.05
        assert 0.8 < horizon.scores[POSTERIOR].coverage[90].value < 0.98
