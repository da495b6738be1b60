"""Metrics against their definitions by brute force and SciPy, and intervals that hold the truth as they say."""

import itertools

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import mannwhitneyu

from seedtest_assets.models import evaluation
from seedtest_assets.models.evaluation import (
    ECE_BINS,
    METRICS,
    Outcomes,
    auc,
    calibration_error,
    empirical_reliability,
    score_predictions,
)


def sample(seed, students=12, answers=150, folds=3, ties=True):
    """Predictions that say something about the outcomes, with ties; every student has an answer."""
    random = np.random.default_rng(seed)
    student = np.concatenate([np.arange(students), random.integers(0, students, answers - students)])
    truth = random.uniform(0.05, 0.95, answers)
    prediction = np.round(truth, 1) if ties else expit(np.log(truth / (1 - truth)) + random.normal(0, 0.5, answers))
    return np.clip(prediction, 0.02, 0.98), Outcomes(random.uniform(size=answers) < truth, student, student % folds)


def once(outcomes):
    return np.ones((outcomes.n_students, 1))


def repeated(prediction, outcomes, count):
    """The answers of each student as often as drawn: what a replicate means."""
    rows = np.repeat(np.arange(len(prediction)), count[outcomes.student])
    return prediction[rows], outcomes.correct[rows], outcomes.fold[rows]


def pairs_in_order(prediction, correct, fold):
    score = pairs = 0
    for i, j in itertools.product(np.flatnonzero(correct), np.flatnonzero(~correct)):
        if fold[i] == fold[j]:
            pairs += 1
            score += (prediction[i] > prediction[j]) + 0.5 * (prediction[i] == prediction[j])
    return score / pairs


DEFINITIONS = {
    "auc": pairs_in_order,
    "log_loss": lambda p, x, _: np.mean([-np.log(q if right else 1 - q) for q, right in zip(p, x, strict=True)]),
    "brier": lambda p, x, _: np.mean([(q - right) ** 2 for q, right in zip(p, x, strict=True)]),
    "accuracy": lambda p, x, _: np.mean([(q >= 0.5) == right for q, right in zip(p, x, strict=True)]),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("metric", DEFINITIONS)
def test_a_replicate_is_the_metric_of_the_drawn_students_answers(metric, seed):
    prediction, outcomes = sample(seed)
    counts = np.random.default_rng(seed).integers(0, 4, (outcomes.n_students, evaluation.REPLICATES_AT_ONCE + 2))
    got = METRICS[metric](prediction, outcomes, counts.astype(float))
    expected = [DEFINITIONS[metric](*repeated(prediction, outcomes, count)) for count in counts.T]
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize("ties", [True, False])
def test_auc_of_one_fold_is_the_mann_whitney_statistic(ties):
    prediction, outcomes = sample(1, folds=1, ties=ties)
    right = outcomes.correct
    u = mannwhitneyu(prediction[right], prediction[~right]).statistic
    assert auc(prediction, outcomes, once(outcomes))[0] == pytest.approx(u / (right.sum() * (~right).sum()))


def test_training_shares_that_differ_between_folds_rank_nothing():
    _, outcomes = sample(2)
    other_folds = np.array([outcomes.correct[outcomes.fold != fold].mean() for fold in range(3)])
    assert len(set(other_folds)) == 3
    assert auc(other_folds[outcomes.fold], outcomes, once(outcomes))[0] == 0.5


def test_without_a_pair_auc_is_unknown():
    outcomes = Outcomes(np.ones(4, bool), np.arange(4), np.zeros(4, np.int64))
    assert np.isnan(auc(np.full(4, 0.5), outcomes, once(outcomes)))[0]


def test_calibration_error_by_hand():
    # Bins of equal mass: 15 values, 4 answers each, of which 0 to 4 are right.
    value = np.repeat(np.linspace(0.1, 0.9, ECE_BINS), 4)
    right = np.array([i % 4 < i // 4 % 5 for i in range(len(value))])
    outcomes = Outcomes(right, np.arange(len(value)), np.zeros(len(value), np.int64))
    gaps = [abs(p - k % 5 / 4) for k, p in enumerate(np.linspace(0.1, 0.9, ECE_BINS))]
    assert calibration_error(value, outcomes, once(outcomes))[0] == pytest.approx(np.mean(gaps))


def test_calibration_error_of_a_constant_is_its_distance_from_the_share_correct():
    _, outcomes = sample(3)
    constant = np.full(len(outcomes.correct), 0.9)
    expected = abs(0.9 - outcomes.correct.mean())
    assert calibration_error(constant, outcomes, once(outcomes))[0] == pytest.approx(expected)


def test_calibration_error_of_true_probabilities_is_what_chance_leaves():
    n, p = 6000, 0.3
    found = []
    for seed in range(200):
        random = np.random.default_rng(seed)
        prediction = p + random.uniform(-1e-6, 1e-6, n)
        outcomes = Outcomes(random.uniform(size=n) < p, np.arange(n), np.zeros(n, np.int64))
        found.append(calibration_error(prediction, outcomes, once(outcomes))[0])
    assert np.mean(found) == pytest.approx(np.sqrt(2 * ECE_BINS * p * (1 - p) / (np.pi * n)), rel=0.03)


@pytest.mark.parametrize("metric", METRICS)
def test_the_order_of_the_answers_does_not_matter(metric):
    prediction, outcomes = sample(5)
    shuffled = np.random.default_rng(0).permutation(len(prediction))
    again = Outcomes(outcomes.correct[shuffled], outcomes.student[shuffled], outcomes.fold[shuffled])
    weights = np.random.default_rng(1).integers(0, 3, (outcomes.n_students, 5)).astype(float)
    expected = METRICS[metric](prediction, outcomes, weights)
    np.testing.assert_allclose(METRICS[metric](prediction[shuffled], again, weights), expected, rtol=1e-12)


def test_certainty_that_was_wrong_costs_a_finite_log_loss():
    outcomes = Outcomes(np.array([True, False]), np.array([0, 1]), np.zeros(2, np.int64))
    loss = METRICS["log_loss"](np.array([0.0, 1.0]), outcomes, once(outcomes))[0]
    assert 30 < loss < 40


def test_intervals_over_students_hold_the_truth_where_those_over_answers_do_not():
    students, answers, truth = 60, 20, -0.5 * np.log(0.6) - 0.5 * np.log(0.4)
    covered = covered_if_independent = 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        student = np.repeat(np.arange(students), answers)
        right = random.uniform(size=len(student)) < random.beta(2, 2, students)[student]
        outcomes = Outcomes(right, student, np.zeros(len(student), np.int64))
        scores = score_predictions({"constant": np.full(len(student), 0.6)}, outcomes, 200, random)
        found = scores.estimate("constant", "log_loss")
        covered += found.low <= truth <= found.high
        losses = np.where(right, -np.log(0.6), -np.log(0.4))
        covered_if_independent += abs(losses.mean() - truth) < 1.96 * losses.std() / np.sqrt(len(losses))
    assert 0.90 <= covered / 300 <= 0.98
    assert covered_if_independent / 300 < 0.75


def test_differences_are_paired():
    prediction, outcomes = sample(6, students=40, answers=2000)
    nearly = np.clip(prediction + 1e-3, 0, 1)
    scores = score_predictions(
        {"one": prediction, "same": prediction, "nearly": nearly}, outcomes, 100, np.random.default_rng(0)
    )
    for metric in METRICS:
        same = scores.difference("one", "same", metric)
        assert (same.value, same.low, same.high) == (0, 0, 0)
    alone, difference = scores.estimate("one", "brier"), scores.difference("one", "nearly", "brier")
    assert difference.high - difference.low < 0.02 * (alone.high - alone.low)


def test_the_first_column_is_the_sample_and_without_replicates_there_are_no_bounds():
    prediction, outcomes = sample(7)
    scores = score_predictions({"one": prediction}, outcomes, 0, np.random.default_rng(0))
    for name, metric in METRICS.items():
        found = scores.estimate("one", name)
        assert found.value == metric(prediction, outcomes, once(outcomes))[0]
        assert np.isnan([found.low, found.high]).all()


def test_reliability_is_the_squared_correlation_with_true_ability():
    random = np.random.default_rng(8)
    error = 0.6
    theta = random.normal(0, 1, 200_000)
    observed = theta + random.normal(0, error, len(theta))
    shrunk = observed / (1 + error**2)
    sd = np.full(len(theta), np.sqrt(error**2 / (1 + error**2)))
    assert empirical_reliability(shrunk, sd) == pytest.approx(np.corrcoef(theta, shrunk)[0, 1] ** 2, abs=0.005)
