"""Are unusual weeks found, and usual ones left alone? Smaller forms of benchmarks/anomaly_*."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from seedtest_assets.cli import app
from seedtest_assets.evaluation.anomalies import (
    ALARMS_CLEAN,
    LEFT_OUT,
    PRECISION,
    RECALL,
    Evaluation,
    Protocol,
    evaluate_anomalies,
)
from seedtest_assets.evaluation.anomalies_simulated import ABILITY, DROP_OUT, STUDENTS, TOPICS
from seedtest_assets.evaluation.anomalies_summary import PANELS
from seedtest_assets.models.anomaly import MOST_FALSE, student_scores

pytestmark = pytest.mark.slow
PROTOCOL = Protocol(seeds=4, weeks=6, bootstrap=200)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate_anomalies(PROTOCOL)


@pytest.mark.parametrize(("level", "measure"), PANELS)
def test_clean_series_alarm_less_than_once_a_year(evaluation, level, measure):
    found = evaluation.find(level, measure, ALARMS_CLEAN)[0].estimate
    assert found.high < 1
    assert evaluation.find(level, measure, ALARMS_CLEAN, LEFT_OUT)[0].estimate.value > 1.5


@pytest.mark.parametrize("level", [STUDENTS, TOPICS])
def test_larger_events_are_found_more_often(evaluation, level):
    """In benchmarks/anomaly_evaluation: .8 or more at six sds; four of twelve events fewer have a chance of .02."""
    recall = {(each.event, each.size): each.estimate.value for each in evaluation.find(level, ABILITY, RECALL)}
    for event in ("shift", "spike"):
        assert recall[event, 2] < recall[event, 6]
        assert recall[event, 6] > 0.5
    drops = evaluation.find(level, "activity", RECALL)
    assert {each.event for each in drops} == {DROP_OUT}
    assert [each.estimate.value for each in drops if each.size == 0] == [1.0]


@pytest.mark.parametrize(("level", "measure"), PANELS)
def test_flags_are_more_often_right_than_naive_ones(evaluation, level, measure):
    ours, naive = (
        evaluation.find(level, measure, PRECISION, method)[0].estimate for method in ("robust", "leave-one-out z")
    )
    assert ours.low > naive.high


def test_the_same_protocol_gives_the_same_numbers():
    small = replace(PROTOCOL, seeds=1, students=40, topics=16, weeks=3)
    document = evaluate_anomalies(small).document()
    assert evaluate_anomalies(small).document() == document
    assert evaluate_anomalies(replace(small, seed=2)).document() != document


def test_at_most_a_tenth_of_null_weeks_has_a_flag():
    """2,000 students without an event: the false discovery rate is the share of weeks with any flag; 40 weeks."""
    flagged = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        se = np.exp(random.normal(np.log(0.45), 0.3, (2000, 13)))
        values = random.normal(0, 0.8, (2000, 1)) + se * random.normal(size=se.shape)
        flagged += student_scores(values, se)["flag"].any()
    assert flagged <= 40 * MOST_FALSE + 2 * np.sqrt(40 * MOST_FALSE * (1 - MOST_FALSE))


def test_the_command_prints_and_writes_what_was_found(tmp_path):
    files = ["--json", str(tmp_path / "found.json"), "--csv", str(tmp_path / "found.csv")]
    result = CliRunner().invoke(app, ["evaluate", "anomalies", "--cohorts", "2", "--students", "60", *files])
    assert result.exit_code == 0, result.output
    assert "false alarms a year on clean series" in result.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["protocol"]["seeds"], found["protocol"]["threshold"]) == (2, 2.5)
    assert len(pd.read_csv(tmp_path / "found.csv")) == len(found["findings"]) > 100


def test_the_command_refuses_what_leaves_nothing_to_judge():
    assert CliRunner().invoke(app, ["evaluate", "anomalies", "--history", "2"]).exit_code == 2
