"""Numbers of an evaluation from risks and outcomes alone: intervals, groups, corrections."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import kstest

from seedtest_assets.evaluation.churn_quality import (
    FEWEST,
    Judged,
    by_group,
    judged_of,
    quality,
    skill,
    too_few,
    with_q,
)

NAMES = ["a", "b"]


def drawn(students: int, each: int, seed: int, draws: int = 0) -> Judged:
    """True risks; a student's landmarks share a level, and one draw decides what happens at all of them."""
    random = np.random.default_rng(seed)
    student = np.repeat(np.arange(students), each)
    risk = expit(-1 + np.repeat(random.normal(0, 1, students), each) + random.normal(0, 0.3, students * each))
    happened = np.repeat(random.random(students), each) < risk
    rows = pd.DataFrame({"student": student * 3, "fold": student % 2})
    return judged_of(rows, risk, happened, draws, random)


def grouped(judged: Judged, seed: int) -> "pd.Series[str]":
    return pd.Series(np.random.default_rng(seed).choice(NAMES, judged.outcomes.n_students))


def test_intervals_are_those_of_students_not_of_landmarks():
    """Against the cluster-robust error of a mean, a formula."""
    judged = drawn(400, 8, 0, draws=400)
    found = quality(judged)
    for estimate, value in (
        (found.brier, (judged.risk - judged.outcomes.correct) ** 2),
        (found.off, judged.risk - judged.outcomes.correct),
        (found.predicted, judged.risk),
    ):
        assert estimate.value == pytest.approx(value.mean())
        of_student = np.bincount(judged.outcomes.student, weights=value - value.mean())
        robust = np.sqrt(np.sum(of_student**2)) / len(value)
        assert (estimate.high - estimate.low) / (2 * 1.96) == pytest.approx(robust, rel=0.15)
        assert value.std() / np.sqrt(len(value)) < 0.6 * robust
    assert found.off.low < 0 < found.off.high
    assert found.slope.low < 1 < found.slope.high
    assert found.ici.low < 0.02


def test_too_bold_risks_are_seen_as_such():
    judged = drawn(4_000, 4, 1)
    bold = Judged(expit(2 * logit(judged.risk)), judged.outcomes, judged.weights)
    assert quality(bold).slope.high < 0.6
    assert quality(bold).ici.value > 0.03
    assert skill(bold, judged.risk).value < 0 < skill(judged, bold.risk).value


def test_a_part_of_the_students_is_judged_as_if_it_were_alone():
    judged = drawn(60, 3, 2)
    member = np.random.default_rng(0).random(60) < 0.5
    rows = member[judged.outcomes.student]
    part = judged.only(member)
    np.testing.assert_array_equal(part.risk, judged.risk[rows])
    np.testing.assert_array_equal(part.outcomes.correct, judged.outcomes.correct[rows])
    np.testing.assert_array_equal(np.flatnonzero(member)[part.outcomes.student], judged.outcomes.student[rows])
    assert part.outcomes.n_students == len(part.weights) == member.sum()


def test_a_group_with_noise_in_its_risks_is_found():
    judged = drawn(600, 4, 3)
    group = grouped(judged, 0)
    noise = np.random.default_rng(1).normal(0, 2, len(judged.risk)) * (group == "b").to_numpy()[judged.outcomes.student]
    noisy = Judged(expit(logit(judged.risk) + noise), judged.outcomes, judged.weights)
    one, other = by_group(noisy, "side", group, NAMES, 199, np.random.default_rng(2))
    assert other.p == pytest.approx(1 / 200)
    assert other.auc.value < one.auc.value - 0.05
    assert other.slope.high < one.slope.low
    assert np.isnan([one.abroca, one.p]).all()


def test_without_a_difference_p_is_uniform():
    p = [
        by_group(judged, "side", grouped(judged, seed), NAMES, 39, np.random.default_rng(seed))[1].p
        for seed in range(60)
        for judged in [drawn(120, 3, 100 + seed)]
    ]
    assert kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.05) < 0.15


def test_students_of_no_known_group_are_in_none():
    judged = drawn(300, 3, 4)
    group = grouped(judged, 0).where(np.arange(300) % 3 > 0)
    found = by_group(judged, "side", group, NAMES, 9, np.random.default_rng(0))
    assert [of.students for of in found] == [int((group == name).sum()) for name in NAMES]
    assert sum(of.n for of in found) == 3 * group.notna().sum()


def test_small_groups_are_counted_and_not_judged():
    judged = drawn(300, 3, 5)
    group = pd.Series(np.where(np.arange(300) < FEWEST - 1, "few", "many"))
    many, few, nobody = by_group(judged, "side", group, ["many", "few", "nobody"], 9, np.random.default_rng(0))
    assert many.too_few is None
    assert "9 students (10 needed)" in few.too_few
    assert "0 students" in nobody.too_few
    assert np.isnan([few.auc.value, few.abroca, few.p]).all()


@pytest.mark.parametrize(
    ("events", "others", "students", "enough"),
    [(9, 99, 99, False), (99, 9, 99, False), (99, 99, 9, False), (10, 10, 10, True)],
)
def test_ten_of_everything_are_needed(events, others, students, enough):
    happened = np.repeat([True, False], [events, others])
    assert (too_few(happened, np.arange(events + others) % students) is None) == enough


def test_q_corrects_for_all_comparisons():
    judged = drawn(300, 3, 6)
    group = grouped(judged, 1)
    found = by_group(judged, "side", group, NAMES, 9, np.random.default_rng(0))
    three = [
        found[0],
        *(type(of)(**(vars(of) | {"p": p})) for of, p in zip([found[1]] * 3, (0.01, 0.03, 0.5), strict=True)),
    ]
    # Benjamini and Hochberg: p times the number of comparisons over its rank
    assert [of.q for of in with_q(three)][1:] == pytest.approx([0.03, 0.045, 0.5])
    assert np.isnan(with_q(three)[0].q)
    assert with_q([]) == []
