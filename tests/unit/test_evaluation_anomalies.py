"""Parts of `seedtest evaluate anomalies`: events by hand, naive scores by a plain loop, simulated truth, sentences."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from seedtest_assets.evaluation import anomalies
from seedtest_assets.evaluation.anomalies import (
    ALARMS_CLEAN,
    DELAY,
    IN_SAMPLE,
    LEFT_OUT,
    METHODS,
    PRECISION,
    RECALL,
    ROBUST,
    Evaluation,
    Finding,
    Protocol,
    evaluate_anomalies,
    in_sample_z,
    left_out_z,
    ratio,
)
from seedtest_assets.evaluation.anomalies_simulated import (
    ABILITY,
    DROP_OUT,
    SHIFT,
    SPIKE,
    STUDENTS,
    USUAL_SE,
    Events,
    Panel,
    panels,
)
from seedtest_assets.evaluation.anomalies_summary import PANELS, print_anomaly_evaluation, verdicts
from seedtest_assets.evaluation.irt import NotEvaluable
from seedtest_assets.models.evaluation import Estimate

NAN = np.nan
SMALL = Protocol(seeds=1, students=16, topics=16, history=6, weeks=2, share=0.5, bootstrap=50)


def events(*rows):
    """Of (kind, size, onset, stop)."""
    kind, size, onset, stop = zip(*rows, strict=True)
    return Events(np.array(kind), np.array(size, float), np.array(onset), np.array(stop), np.ones(len(rows)))


# -- what is counted ------------------------------------------------------------------------------------------------


def test_events_and_false_alarms_are_counted_by_hand():
    """History of 2 weeks, 5 scored (weeks 2 to 6), events to be found within 2 weeks."""
    planted = events(
        (SHIFT, 4, 3, 7), (SHIFT, 4, 3, 7), (SHIFT, 4, 3, 7), (SPIKE, 4, 4, 5), (SPIKE, 4, 4, 5), ("", 0, 2, 2)
    )
    flags = np.array(
        [
            [0, 1, 0, 0, 0],  # found at once
            [0, 0, 1, 1, 0],  # found a week late
            [1, 0, 0, 1, 1],  # too late; and a false alarm before it
            [0, 0, 1, 0, 0],  # found
            [0, 0, 0, 1, 0],  # the week after a spike: a false alarm
            [1, 0, 0, 0, 1],  # no event: two false alarms
        ],
        dtype=bool,
    )
    panel = Panel(STUDENTS, ABILITY, np.zeros((6, 7)), None, planted)
    protocol = replace(SMALL, history=2, weeks=5)
    alarms, shifts, spikes = anomalies._counts(panel, ROBUST, flags, protocol, clean=False)
    assert (alarms["event"], alarms["found"], alarms["of"]) == ("", 4, 3 * 1 + 2 * 4 + 5)
    assert (shifts["event"], shifts["found"], shifts["of"], shifts["delay"]) == (SHIFT, 2, 3, 1)
    assert (spikes["event"], spikes["found"], spikes["of"], spikes["delay"]) == (SPIKE, 1, 2, 0)


def test_numbers_come_from_the_counts_by_hand():
    common = {"level": STUDENTS, "measure": ABILITY, "method": ROBUST}
    none = {"event": "", "size": 0.0, "delay": 0}
    counts = pd.DataFrame(
        [
            {"cohort": 0, **common, "clean": True, **none, "of": 520, "found": 3},
            {"cohort": 0, **common, "clean": False, **none, "of": 104, "found": 2},
            {"cohort": 0, **common, "clean": False, "event": SPIKE, "size": 4.0, "of": 8, "found": 6, "delay": 3},
            {"cohort": 1, **common, "clean": True, **none, "of": 520, "found": 1},
            {"cohort": 1, **common, "clean": False, **none, "of": 104, "found": 0},
            {"cohort": 1, **common, "clean": False, "event": SPIKE, "size": 4.0, "of": 8, "found": 2, "delay": 0},
        ]
    )
    found = Evaluation(SMALL, list(anomalies._findings(counts, replace(SMALL, seeds=2))))
    values = {each.quantity: (each.estimate.value, each.n) for each in found.findings}
    assert values[ALARMS_CLEAN] == (pytest.approx(52 * 4 / 1040), 1040)
    assert values[PRECISION] == (pytest.approx(8 / 10), 10)
    assert values[RECALL] == (pytest.approx(8 / 16), 16)
    assert values[DELAY] == (pytest.approx(3 / 8), 8)


def test_a_ratio_is_of_sums_and_its_interval_keeps_to_what_can_be():
    weights = np.array([[1.0, 2, 0, 1], [1, 0, 2, 1]])
    found = ratio(np.array([1.0, 9.0]), np.array([10.0, 10.0]), weights, highest=1)
    assert found.value == pytest.approx(0.5)
    low, high = np.quantile([0.1, 0.9, 0.5], [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((1 - high, 1 - low))
    assert np.isnan(ratio(np.zeros(2), np.zeros(2), weights).value)
    bounded = ratio(np.array([10.0, 0.0]), np.array([10.0, 1.0]), weights, highest=1)
    assert (bounded.value, bounded.high) == (pytest.approx(10 / 11), 1)


# -- naive scores ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("judge", "out"), [(left_out_z, 1), (in_sample_z, 0)])
def test_naive_scores_are_those_of_a_plain_loop(judge, out):
    values = np.random.default_rng(1).normal(size=(400, 9))
    values[np.random.default_rng(2).random(values.shape) < 0.3] = NAN
    found = judge(values, None, STUDENTS, 1.5)
    for row, flag in zip(values, found, strict=True):
        earlier = row[:-1][~np.isnan(row[:-1])]
        own = earlier if out else np.append(earlier, row[-1])
        with np.errstate(invalid="ignore"):
            enough = len(earlier) >= 4 and not np.isnan(row[-1])
        assert flag == (enough and abs(row[-1] - own.mean()) >= 1.5 * own.std(ddof=1))


def test_a_spike_masks_itself_in_sample():
    """|z| <= (n - 1) / sqrt(n): of eight weeks no spike can reach 2.5 (Shiffler 1988)."""
    values = np.resize([0.1, -0.1], (1, 8)).copy()
    values[0, -1] = 1e6
    assert not in_sample_z(values, None, STUDENTS, 2.5)[0]
    assert left_out_z(values, None, STUDENTS, 2.5)[0]


# -- what is simulated ----------------------------------------------------------------------------------------------


def test_events_are_where_they_say():
    planted = events((SHIFT, 2, 1, 4), (SPIKE, 3, 2, 3), (DROP_OUT, 0.3, 0, 2), ("", 0, 1, 3))
    planted = replace(planted, sign=np.array([-1.0, 1, 1, 1]))
    assert planted.during(4).astype(int).tolist() == [[0, 1, 1, 1], [0, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert planted.moved(4).tolist() == [[0, -2, -2, -2], [0, 0, 3, 0], [0] * 4, [0] * 4]
    assert planted.left(4).tolist() == [[1] * 4, [1] * 4, [0.3, 0.3, 1, 1], [1] * 4]
    assert planted.of(SPIKE).during(4).sum() == 1


def test_panels_have_their_events_and_nothing_else():
    """Means of what events do, over a large cohort, beside series without one."""
    world = replace(SMALL, students=4000, topics=1600, weeks=8, sizes=(6.0,), left=(0.3,)).world(0.6)
    made = {(panel.level, panel.measure): panel for panel in panels(world, np.random.default_rng(1))}
    assert set(made) == set(PANELS)
    for (level, measure), panel in made.items():
        moved = panel.values - np.nanmedian(panel.values, axis=1, keepdims=True)
        kinds = {SHIFT, SPIKE} if measure == ABILITY else {DROP_OUT}
        assert set(np.unique(panel.events.kind)) == kinds | {""}
        for kind in kinds:
            some = panel.events.kind == kind
            assert some.sum() == pytest.approx(0.2 * len(some), abs=1)
            inside = panel.events.during(world.length) & some[:, None]
            change = np.nanmean(moved[inside] * np.broadcast_to(panel.events.sign[:, None], moved.shape)[inside])
            if kind == SPIKE:
                assert change == pytest.approx(6 * (USUAL_SE if level == STUDENTS else 0.1), rel=0.1)
            if kind == DROP_OUT:
                assert np.nanmean(moved[inside]) == pytest.approx(np.log(0.3), abs=0.25)
    clean = panels(replace(world, share=0.0), np.random.default_rng(1))
    assert all((panel.events.kind == "").all() for panel in clean)


def test_nothing_is_left_of_an_ability_without_answers():
    world = replace(SMALL, students=400, left=(0.0,), sizes=()).world(1.0)
    ability, activity, *_ = panels(world, np.random.default_rng(1))
    gone = activity.events.during(world.length)
    assert np.isnan(ability.values[gone]).all()
    assert (activity.values[gone] == 0).all()
    assert np.isnan(ability.values[~gone]).mean() < 0.1


# -- all together ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evaluation():
    return evaluate_anomalies(SMALL)


def test_the_document_is_json_without_nan(evaluation):
    document = evaluation.document()
    assert json.loads(json.dumps(document, allow_nan=False)) == json.loads(json.dumps(document))


def test_the_frame_has_every_number_once(evaluation):
    frame = evaluation.frame()
    names = ["level", "measure", "method", "quantity", "event", "size"]
    assert not frame.duplicated(names).any()
    # Three numbers of each panel and method; recall and delay of six kinds and sizes of moves, and two of drop-outs.
    assert len(frame) == len(METHODS) * (4 * 3 + 2 * 2 * (6 + 2))


def test_everything_is_printed(evaluation):
    console = Console(width=200, record=True)
    print_anomaly_evaluation(console, evaluation)
    text = console.export_text()
    for said in (
        *METHODS,
        "students, drop-out, 30% left",
        "topics, spike, 6 sd",
        "false alarms a year on clean series",
    ):
        assert said in text


@pytest.mark.parametrize("change", [{"history": 3}, {"weeks": 1}, {"within": 0}, {"seeds": 0}], ids=str)
def test_a_protocol_that_leaves_nothing_to_judge_is_refused(change):
    with pytest.raises(NotEvaluable, match="At least 4 weeks of history"):
        evaluate_anomalies(replace(SMALL, **change))


@pytest.mark.parametrize(
    ("alarms", "said"),
    [
        (Estimate(0.4, 0.2, 0.9), "as rare as they should be"),
        (Estimate(0.9, 0.7, 1.1), "not shown to be rare enough"),
        (Estimate(2.0, 1.5, 2.5), "too many"),
        (Estimate(2.0, NAN, NAN), "without an interval"),
    ],
)
@pytest.mark.parametrize(
    ("naive", "compared"),
    [
        (Estimate(0.3, 0.2, 0.4), "higher"),
        (Estimate(0.6, 0.5, 0.7), "no difference is shown"),
        (Estimate(0.9, 0.85, 1), "lower"),
    ],
)
def test_sentences_say_what_the_numbers_do(alarms, said, naive, compared):
    findings = [
        Finding(level=level, measure=measure, method=method, quantity=quantity, n=9, estimate=estimate)
        for level, measure in PANELS
        for method, quantity, estimate in [
            (ROBUST, ALARMS_CLEAN, alarms),
            (ROBUST, PRECISION, Estimate(0.7, 0.6, 0.8)),
            (LEFT_OUT, PRECISION, naive),
            (IN_SAMPLE, PRECISION, Estimate(NAN, NAN, NAN)),
        ]
    ]
    first, second, *_ = verdicts(Evaluation(SMALL, findings))
    assert said in first
    assert compared in second
    assert LEFT_OUT in second
