"""Calibration and fairness statistics: by hand, and on predictions whose truth is known."""

import numpy as np
import pytest
from scipy.special import expit, logit

from seedtest_assets.models.abroca import abroca
from seedtest_assets.models.calibration_curve import (
    brier_skill,
    calibration_bins,
    calibration_curve,
    recalibration,
)
from seedtest_assets.models.evaluation import Outcomes


def drawn(n, seed, intercept=0.0, slope=1.0):
    """Predictions, and outcomes whose logit is intercept + slope * logit of the prediction."""
    random = np.random.default_rng(seed)
    prediction = expit(random.normal(-1, 1.5, n))
    truth = expit(intercept + slope * logit(prediction))
    return prediction, random.random(n) < truth, truth


@pytest.mark.parametrize(("intercept", "slope"), [(0.0, 1.0), (0.4, 0.6), (-0.3, 1.5)])
def test_recalibration_finds_what_is_wrong_with_the_predictions(intercept, slope):
    prediction, happened, _ = drawn(100_000, 0, intercept, slope)
    found = recalibration(prediction, happened, np.arange(len(prediction)))
    assert abs(found.intercept - intercept) < 4 * found.intercept_se
    assert abs(found.slope - slope) < 4 * found.slope_se
    assert found.slope_se < 0.02


def test_standard_errors_of_the_slope_cover_when_students_repeat():
    covered = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        student = np.repeat(np.arange(150), 8)
        own = np.repeat(random.normal(0, 1, 150), 8)
        prediction = expit(own)
        happened = np.repeat(random.random(150), 8) < prediction  # a student's rows agree
        found = recalibration(prediction, happened, student)
        covered += abs(found.slope - 1) < 1.96 * found.slope_se
    assert 0.90 <= covered / 200 <= 0.98


def test_certain_predictions_are_left_to_logic():
    prediction, happened, _ = drawn(1000, 1)
    more = np.concatenate([prediction, [0, 0, 1]]), np.concatenate([happened, [True, False, False]])
    student = np.arange(len(more[0]))
    assert recalibration(*more, student) == recalibration(prediction, happened, student[:1000])
    assert calibration_curve(*more).ici == calibration_curve(prediction, happened).ici
    assert calibration_bins(*more).equals(calibration_bins(prediction, happened))


@pytest.mark.parametrize(
    ("prediction", "happened"),
    [([0.2, 0.3, 0.6], [0, 0, 0]), ([0.2, 0.3, 0.6], [0, 0, 1]), ([0.3, 0.3, 0.3], [0, 1, 0]), ([0, 0, 1], [0, 1, 1])],
    ids=["nothing happened", "separated", "one prediction", "none between"],
)
def test_without_a_slope_there_is_none(prediction, happened):
    found = recalibration(np.array(prediction, float), np.array(happened, bool), np.arange(3))
    assert np.isnan([found.intercept, found.slope, found.slope_se]).all()


def test_the_curve_reproduces_a_quadratic_truth():
    prediction = np.random.default_rng(0).random(5000)
    truth = 0.1 + 0.3 * prediction + 0.5 * prediction**2
    curve = calibration_curve(prediction, truth)
    np.testing.assert_allclose(curve.happened, 0.1 + 0.3 * curve.prediction + 0.5 * curve.prediction**2, atol=1e-4)
    assert curve.ici == pytest.approx(np.mean(np.abs(truth - prediction)), abs=1e-4)


def test_the_index_tells_true_probabilities_from_shifted_ones():
    prediction, happened, truth = drawn(50_000, 2)
    assert calibration_curve(prediction, happened).ici < 0.006
    assert calibration_curve(truth, truth).ici == pytest.approx(0, abs=1e-9)
    shifted, _, right = drawn(50_000, 3, intercept=0.5)
    expected = np.mean(np.abs(right - shifted))
    assert calibration_curve(shifted, np.random.default_rng(0).random(50_000) < right).ici == pytest.approx(
        expected, abs=0.01
    )


def test_few_distinct_predictions_have_a_curve():
    random = np.random.default_rng(4)
    for levels in ([0.3], [0.2, 0.6], [0.1, 0.2, 0.3, 0.7]):
        prediction = np.repeat(levels, 2000)
        happened = random.random(len(prediction)) < prediction
        curve = calibration_curve(prediction, happened)
        shares = happened.reshape(len(levels), -1).mean(axis=1)
        np.testing.assert_allclose(curve.happened, shares, atol=0.03)
    assert np.isnan(calibration_curve(np.array([0.0, 1.0]), np.array([False, True])).ici)


def test_bins_hold_equally_many_and_equal_predictions_stay_together():
    prediction = np.array([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
    found = calibration_bins(prediction, np.array([0, 1, 0, 1, 1, 0], bool), bins=3)
    assert found["n"].tolist() == [2, 1, 3]
    np.testing.assert_allclose(found["prediction"], [0.15, 0.3, 0.4])
    np.testing.assert_allclose(found["happened"], [0.5, 0, 2 / 3])


def test_skill_is_the_share_of_the_baselines_error_that_is_gone():
    happened = np.array([True, False, True, False])
    outcomes = Outcomes(happened, np.arange(4), np.zeros(4, np.int64))
    weights = np.ones((4, 1))
    half = np.full(4, 0.5)
    assert brier_skill(happened.astype(float), half, outcomes, weights) == pytest.approx(1)
    assert brier_skill(half, half, outcomes, weights) == pytest.approx(0)
    assert brier_skill(np.array([0.7, 0.3, 0.7, 0.3]), half, outcomes, weights) == pytest.approx(1 - 0.09 / 0.25)


def of_groups(scores, happened, groups, permutations=0, students=None):
    student = np.arange(len(scores)) if students is None else students
    return abroca(
        np.array(scores, float),
        np.array(happened, bool),
        student,
        np.array(groups, bool),
        permutations,
        np.random.default_rng(0),
    )


def test_areas_by_hand():
    # Perfect in one group (its curve is 1 everywhere), the reverse in the other (0), and no better than chance.
    assert of_groups([1, 0, 1, 0], [1, 0, 0, 1], [1, 1, 0, 0]).value == 1
    assert of_groups([1, 0, 5, 5], [1, 0, 0, 1], [1, 1, 0, 0]).value == pytest.approx(0.5)
    assert of_groups([1, 0, 9, 8], [1, 0, 1, 0], [1, 1, 0, 0]).value == 0
    # One curve is .5 everywhere between the ends; the other, the diagonal, crosses it in the middle.
    assert of_groups([3, 2, 1, 5, 5], [1, 0, 1, 1, 0], [1, 1, 1, 0, 0]).value == pytest.approx(0.25)
    # One curve is .5 up to a false positive rate of .5, then 1; the other, the diagonal, is touched by it.
    one, other = ([4, 3, 2, 1], [1, 0, 1, 0]), ([5, 5], [1, 0])
    area = 0.125 + 0.125  # two triangles, of 1/2 by 1/2 each
    assert of_groups(one[0] + other[0], one[1] + other[1], [1] * 4 + [0] * 2).value == pytest.approx(area)


def test_the_area_agrees_with_a_fine_grid():
    random = np.random.default_rng(5)
    score, group = np.round(random.normal(size=3000), 2), random.random(3000) < 0.4
    happened = random.random(3000) < expit(score * np.where(group, 2, 0.5))
    grid = (np.arange(200_000) + 0.5) / 200_000
    heights = []
    for side in (True, False):
        s, y = score[group == side], happened[group == side]
        thresholds = np.unique(s)[::-1]
        false = [np.mean(s[~y] >= threshold) for threshold in thresholds]
        true = [np.mean(s[y] >= threshold) for threshold in thresholds]
        heights.append(np.interp(grid, [0, *false], [0, *true]))
    expected = np.mean(np.abs(heights[0] - heights[1]))
    found = of_groups(score, happened, group, permutations=200)
    assert found.value == pytest.approx(expected, abs=1e-4)
    assert found.p == pytest.approx(1 / 201)


def test_the_permutation_test_keeps_its_level_when_students_repeat():
    rejected = 0
    for seed in range(120):
        random = np.random.default_rng(seed)
        student = np.repeat(np.arange(80), 5)
        quality = np.repeat(random.normal(0, 1, 80), 5)  # a student's scores are good or bad together
        happened = random.random(400) < 0.5
        score = quality * (2 * happened - 1) + random.normal(size=400)
        found = abroca(score, happened, student, random.random(80) < 0.5, 99, random)
        rejected += found.p <= 0.1
    assert rejected / 120 <= 0.19  # .1 + 3.3 standard errors; rows taken for students reject far more often


def test_a_group_without_an_outcome_has_no_area():
    found = of_groups([1, 0, 1, 0], [1, 1, 0, 1], [1, 1, 0, 0], permutations=10)
    assert np.isnan([found.value, found.p]).all()
