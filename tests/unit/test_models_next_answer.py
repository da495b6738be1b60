"""Predictions from earlier answers: against integration and plain loops, and blind to what comes later."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, logit
from scipy.stats import norm

from seedtest_assets.models import next_answer
from seedtest_assets.models.next_answer import (
    History,
    ItemBank,
    Shares,
    earlier_sums,
    follow,
    item_shares,
    logistic_combination,
)


def bank(seed=0, items=12, guessing=0.0, mean=0.3, sd=0.9):
    random = np.random.default_rng(seed)
    c = np.full(items, guessing)
    return ItemBank(random.lognormal(0, 0.3, items), random.normal(0, 1, items), c, mean, sd)


def history(seed=0, students=9, answers=80, items=12, instants=1000):
    random = np.random.default_rng(seed)
    return History(
        random.integers(0, students, answers),
        random.integers(0, instants, answers),
        random.integers(0, items, answers),
        random.uniform(size=answers) < 0.6,
    )


def with_answer(given, row, correct):
    changed = given.correct.copy()
    changed[row] = correct
    return History(given.student, given.at, given.item, changed)


@pytest.mark.parametrize("instants", [4, 1000])
@pytest.mark.parametrize("columns", [(), (3,)])
def test_earlier_sums_by_a_plain_loop(instants, columns):
    given = history(1, instants=instants)
    values = np.random.default_rng(2).normal(size=(len(given), *columns))
    expected = np.zeros_like(values)
    for row in range(len(given)):
        for other in range(len(given)):
            if given.student[other] == given.student[row] and given.at[other] < given.at[row]:
                expected[row] += values[other]
    np.testing.assert_allclose(earlier_sums(given.student, given.at, values), expected, atol=1e-12)


@pytest.mark.parametrize("guessing", [0.0, 0.2])
def test_predictions_multiply_to_the_marginal_likelihood(guessing):
    # P(x1) P(x2 | x1) ... = P(x1, x2, ...), the integral of the likelihood over the latent distribution.
    items = bank(guessing=guessing)
    given = history(3, students=5, answers=60)
    followed = follow(given, items, 5)
    happened = np.where(given.correct, followed.probability, 1 - followed.probability)
    for student in range(5):
        rows = given.student == student

        def likelihood(theta, rows=rows):
            p = guessing + (1 - guessing) * expit(items.a[given.item[rows]] * (theta - items.b[given.item[rows]]))
            x = given.correct[rows]
            return np.prod(np.where(x, p, 1 - p)) * norm.pdf(theta, items.latent_mean, items.latent_sd)

        marginal = quad(likelihood, -6, 6, epsabs=0, epsrel=1e-9, points=[-1, 0, 1])[0]
        assert np.log(happened[rows]).sum() == pytest.approx(np.log(marginal), abs=1e-4)
        mean = quad(lambda t: t * likelihood(t), -6, 6, epsabs=0, epsrel=1e-9, points=[-1, 0, 1])[0] / marginal
        assert followed.theta[student] == pytest.approx(mean, abs=1e-4)


def test_the_first_answer_is_predicted_by_the_latent_distribution():
    items = bank()
    given = History(np.array([0]), np.array([5]), np.array([2]), np.array([True]))
    expected = quad(lambda t: expit(items.a[2] * (t - items.b[2])) * norm.pdf(t, 0.3, 0.9), -6, 6)[0]
    assert follow(given, items, 1).probability[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("instants", [6, 1000])
def test_a_prediction_knows_neither_its_answer_nor_later_ones_nor_those_of_its_instant(instants):
    items, given = bank(), history(4, instants=instants)
    before = follow(given, items, 9).probability
    for row in range(len(given)):
        after = follow(with_answer(given, row, not given.correct[row]), items, 9).probability
        later = (given.student == given.student[row]) & (given.at > given.at[row])
        np.testing.assert_allclose(after[~later], before[~later], atol=1e-11)
        assert np.all((after[later] < before[later]) == given.correct[row])


def test_predictions_do_not_depend_on_the_order_of_rows_or_the_size_of_blocks(monkeypatch):
    items, given = bank(), history(5, students=20, answers=400, instants=30)
    expected = follow(given, items, 20)
    shuffled = np.random.default_rng(0).permutation(len(given))
    monkeypatch.setattr(next_answer, "ANSWERS_AT_ONCE", 50)
    found = follow(given.take(shuffled), items, 20)
    np.testing.assert_allclose(found.probability, expected.probability[shuffled], atol=1e-11)
    np.testing.assert_allclose(found.theta, expected.theta, atol=1e-11)
    np.testing.assert_allclose(found.sd, expected.sd, atol=1e-11)


def test_shares_so_far_start_at_the_given_value_and_know_only_earlier_answers():
    given = History(np.zeros(4, np.int64), np.array([3, 1, 2, 2]), np.zeros(4, np.int64), np.array([1, 1, 0, 1], bool))
    share = Shares.before(given.student, given).smoothed(np.full(4, 0.5), 2.0)
    assert share.tolist() == [(2 + 1) / (3 + 2), 0.5, (1 + 1) / (1 + 2), (1 + 1) / (1 + 2)]


def test_the_best_strength_is_that_of_the_students_beta_distribution():
    # With shares ~ beta(3, 2) the predictive share after n answers is (right + 3) / (n + 5).
    random = np.random.default_rng(6)
    students, answers = 4000, 15
    student, at = np.repeat(np.arange(students), answers), np.tile(np.arange(answers), students)
    right = random.uniform(size=len(student)) < random.beta(3, 2, students)[student]
    shares = Shares.before(student, History(student, at, np.zeros_like(student), right))
    start, train = np.full(len(student), 0.6), student < 3000
    assert shares.best_strength(start, right, train) == pytest.approx(5, rel=0.1)
    assert shares.best_strength(start, right ^ ~train, train) == shares.best_strength(start, right, train)


def test_item_shares_count_training_answers_only():
    given = History(np.arange(5), np.arange(5), np.array([0, 0, 1, 0, 1]), np.array([1, 0, 1, 1, 1], bool))
    train = np.array([1, 1, 1, 0, 0], bool)
    assert item_shares(given, train, 3).tolist() == [1.5 / 3, 1.5 / 2, 0.5]


def test_the_logistic_combination_solves_its_score_equations_and_finds_the_truth():
    random = np.random.default_rng(7)
    shares = [random.uniform(0.05, 0.95, 50_000), random.uniform(0.05, 0.95, 50_000)]
    truth = expit(0.3 + 0.9 * logit(shares[0]) - 0.4 * logit(shares[1]))
    right, train = random.uniform(size=50_000) < truth, np.arange(50_000) < 30_000
    found = logistic_combination(shares, right, train)
    for predictor in (np.ones(50_000), *map(logit, shares)):
        assert np.mean((predictor * (right - found))[train]) == pytest.approx(0, abs=1e-7)
    assert np.abs(found - truth).max() < 0.02
    np.testing.assert_array_equal(logistic_combination(shares, right ^ ~train, train), found)
