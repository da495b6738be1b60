"""Scoring under fixed items: against loops, closed forms, SciPy's root finder and exact enumeration."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import cumulative_simpson
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import binom

from seedtest_assets.models.irt import (
    NODES,
    Answers,
    information,
    log_likelihood,
    moments,
    normal_log_weights,
    weighted_likelihood,
)

ITEM = st.tuples(st.floats(0.05, 5), st.floats(-6, 6), st.sampled_from([0.0, 0.0, 0.01, 0.2, 0.5]))


@st.composite
def scored(draw, least=0):
    """Answers of three groups on at most six items."""
    items = draw(st.lists(ITEM, min_size=1, max_size=6))
    answer = st.tuples(st.integers(0, 2), st.sampled_from(items), st.booleans())
    rows = draw(st.lists(answer, min_size=least, max_size=40))
    return gathered([(group, *item, x) for group, item, x in rows], 3)


def gathered(rows, n_groups):
    group, a, b, c, x = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    curves = (np.array(values, float) for values in (a, b, c))
    return Answers(np.array(group, np.int64), *curves, np.array(x, bool), n_groups)


def answers_of(answers, group):
    mine = answers.group == group
    return list(zip(answers.a[mine], answers.b[mine], answers.c[mine], answers.correct[mine], strict=True))


def chance(a, b, c, theta):
    return c + (1 - c) / (1 + np.exp(-a * (theta - b)))


def against(a, b, c, theta):
    """1 - P, exact where P is close to 1."""
    return (1 - c) / (1 + np.exp(a * (theta - b)))


def slopes(a, b, c, theta):
    """P' and P''."""
    p = chance(a, b, 0, theta)
    first = (1 - c) * a * p * chance(-a, b, 0, theta)
    return first, first * a * (1 - 2 * p)


def item_information(a, b, c, theta):
    return slopes(a, b, c, theta)[0] ** 2 / (chance(a, b, c, theta) * against(a, b, c, theta))


def warm_score(rows, theta):
    """Warm (1989), eq. 12, term by term."""
    score = i = j = 0
    for *item, x in rows:
        first, second = slopes(*item, theta)
        variance = chance(*item, theta) * against(*item, theta)
        score += (against(*item, theta) if x else -chance(*item, theta)) * first / variance
        i += first**2 / variance
        j += first * second / variance
    return score + j / (2 * i)


def log_likelihood_of(rows, theta):
    return sum(np.log(chance(*item, theta) if x else against(*item, theta)) for *item, x in rows)


@given(scored())
@settings(max_examples=50, deadline=None)
def test_log_likelihood_and_information_equal_a_loop_over_answers(answers):
    for got, curve in (
        (log_likelihood(answers), lambda *one: log_likelihood_of([one], NODES)),
        (information(answers), lambda *one: item_information(*one[:3], NODES)),
    ):
        expected = [sum((curve(*one) for one in answers_of(answers, g)), start=0 * NODES) for g in range(3)]
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_information_is_the_mean_square_of_the_slope_of_the_log_likelihood():
    # Fisher's definition: E (d log L / d theta)^2 over right and wrong, by differences.
    for a, b, c in ((1.2, 0.3, 0.0), (1.7, -0.4, 0.2), (0.8, 1.0, 0.35)):
        got = information(gathered([(0, a, b, c, True)], 1))[0]
        step = 1e-5
        score = [
            (log_likelihood_of([(a, b, c, x)], NODES + step) - log_likelihood_of([(a, b, c, x)], NODES - step))
            / (2 * step)
            for x in (True, False)
        ]
        p = chance(a, b, c, NODES)
        np.testing.assert_allclose(got, p * score[0] ** 2 + (1 - p) * score[1] ** 2, rtol=1e-6, atol=1e-9)


@given(scored(), scored(), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_log_likelihood_adds_up_over_answers_in_any_order(one, other, random):
    rows = [
        (int(g), *item, bool(x))
        for part in (one, other)
        for g, *item, x in zip(part.group, part.a, part.b, part.c, part.correct, strict=True)
    ]
    random.shuffle(rows)
    together = log_likelihood(gathered(rows, 3))
    np.testing.assert_allclose(together, log_likelihood(one) + log_likelihood(other), rtol=1e-9, atol=1e-9)


def test_information_is_the_curvature_of_the_log_likelihood_of_right_answers():
    # The 2PL's log-likelihood has the same second derivative whatever the answers.
    answers = gathered([(0, 1.2, 0.3, 0.0, True), (0, 0.7, -1.0, 0.0, True), (0, 1.9, 0.8, 0.0, False)], 1)
    step = NODES[1] - NODES[0]
    second = np.diff(log_likelihood(answers)[0], 2) / step**2
    np.testing.assert_allclose(-second, information(answers)[0, 1:-1], rtol=0.03, atol=1e-3)


@given(scored(least=1))
@settings(max_examples=60, deadline=None)
def test_warms_estimate_is_a_root_of_warms_equation_and_no_other_theta_is_better(answers):
    estimates = weighted_likelihood(answers)
    for group, (theta, se) in enumerate(zip(estimates.theta, estimates.se, strict=True)):
        rows = answers_of(answers, group)
        if not rows:
            assert math.isnan(theta)
            assert math.isnan(se)
            continue
        assert abs(theta) <= 10
        if abs(theta) < 9.99:
            root = brentq(lambda t: warm_score(rows, t), theta - 1e-4, theta + 1e-4, xtol=1e-12)  # noqa: B023
            assert theta == pytest.approx(root, abs=1e-7)
        # Warm's function is the integral of his equation. A mode between two nodes can be missed by the height it gains
        # within a tenth of a logit, no more.
        grid = np.append(np.linspace(-6, 6, 2401), theta)
        order = np.argsort(grid)
        height = cumulative_simpson(warm_score(rows, grid[order]), x=grid[order], initial=0)
        at_nodes = height[np.isin(np.round(grid[order], 6), np.round(NODES, 6))]
        if abs(theta) <= 6:
            assert height[order.argsort()[-1]] >= at_nodes.max() - 2e-3
        assert se == pytest.approx(sum(item_information(*item, theta) for *item, _ in rows) ** -0.5)


@pytest.mark.parametrize("a", [1.0, 0.6, 1.8])
@pytest.mark.parametrize("b", [0.0, -2.3])
@pytest.mark.parametrize("n", [1, 5, 40])
def test_warms_estimate_on_equal_items_is_the_logit_of_half_an_answer_more(a, b, n):
    # All items alike: n P - x = (1 - 2 P) / 2, so that P = (x + 1/2) / (n + 1).
    right = range(n + 1)
    rows = [(x, a, b, 0.0, k < x) for x in right for k in range(n)]
    estimates = weighted_likelihood(gathered(rows, n + 1))
    p = (np.array(right) + 0.5) / (n + 1)
    np.testing.assert_allclose(estimates.theta, b + logit(p) / a, atol=1e-8)
    np.testing.assert_allclose(estimates.se, 1 / (a * np.sqrt(n * p * (1 - p))), rtol=1e-7)


def test_warms_estimate_is_symmetric_in_right_and_wrong():
    random = np.random.default_rng(1)
    group, a, b = np.repeat(np.arange(50), 7), random.lognormal(0, 0.5, 350), random.normal(0, 1.5, 350)
    x = random.random(350) < 0.5
    theta = weighted_likelihood(Answers(group, a, b, 0 * a, x, 50)).theta
    mirrored = weighted_likelihood(Answers(group, a, -b, 0 * a, ~x, 50)).theta
    np.testing.assert_allclose(theta, -mirrored, atol=1e-7)


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("c", [0.0, 0.2])
def test_warms_estimate_is_finite_when_all_answers_are_alike(right, c):
    random = np.random.default_rng(2)
    group = np.repeat(np.arange(100), 5)
    a, b = random.lognormal(0, 0.5, 500), random.normal(0, 1, 500)
    answers = Answers(group, a, b, np.full(500, c), np.full(500, right), 100)
    estimates = weighted_likelihood(answers)
    assert np.all(np.abs(estimates.theta) < 10)
    assert np.all(np.isfinite(estimates.se))
    assert np.all((estimates.theta > 0) == right)


def test_of_two_maxima_warms_estimate_is_the_higher():
    # One steep item near 5, two near -5: the function has a maximum at each, and two answers outweigh one.
    answers = gathered([(0, 3.0, 5.0, 0.0, False), (0, 3.0, -5.0, 0.0, True), (0, 3.0, -5.2, 0.0, True)], 1)
    rows = answers_of(answers, 0)
    grid = np.linspace(-10, 10, 20001)
    information_there = sum(item_information(*item, grid) for *item, _ in rows)
    best = grid[np.argmax(log_likelihood_of(rows, grid) + np.log(information_there) / 2)]
    assert weighted_likelihood(answers).theta[0] == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize("theta", [-0.5, 0.5, 1.2])
def test_warms_estimate_under_guessing_has_no_bias_of_order_one_in_n(theta):
    # Exact: three curves, sixteen items each. J is not I' where c > 0: the maximum of log L + log(I) / 2 keeps a bias.
    curves, n = [(1.4, -0.6, 0.2), (1.0, 0.3, 0.25), (1.8, 1.0, 0.15)], 16
    right = np.array(list(itertools.product(range(n + 1), repeat=len(curves))))
    chances = [chance(*item, theta) for item in curves]
    weight = np.prod([binom.pmf(right[:, k], n, p) for k, p in enumerate(chances)], axis=0)
    a, b, c = np.tile(np.repeat(curves, n, axis=0), (len(right), 1)).T
    answered = np.arange(n) < right[:, :, None]
    group = np.repeat(np.arange(len(right)), n * len(curves))
    warm = weighted_likelihood(Answers(group, a, b, c, answered.ravel(), len(right))).theta
    grid = np.linspace(-6, 6, 1201)
    log_likelihoods = sum(
        np.outer(right[:, k], np.log(chance(*item, grid))) + np.outer(n - right[:, k], np.log(against(*item, grid)))
        for k, item in enumerate(curves)
    )
    of_jeffreys = log_likelihoods + np.log(sum(item_information(*item, grid) for item in curves)) / 2
    bias = weight @ warm - theta
    assert abs(bias) < 0.02
    assert abs(bias) < abs(weight @ grid[of_jeffreys.argmax(axis=1)] - theta)


@pytest.mark.parametrize("theta", [-1.5, 0.0, 0.7, 1.5])
def test_warms_estimate_is_less_biased_than_maximum_likelihood(theta):
    # Exact: every pattern on ten items, weighted with its probability.
    random = np.random.default_rng(3)
    a, b = random.lognormal(0, 0.3, 10), random.normal(0, 1, 10)
    patterns = np.array(list(itertools.product([False, True], repeat=10)))
    p = expit(a * (theta - b))
    weight = np.prod(np.where(patterns, p, 1 - p), axis=1)
    group, of_all = np.repeat(np.arange(1024), 10), (np.tile(values, 1024) for values in (a, b, 0 * a))
    warm = weighted_likelihood(Answers(group, *of_all, patterns.ravel(), 1024)).theta

    def maximum_likelihood(pattern):
        if pattern.all() or not pattern.any():
            return 4.0 if pattern.all() else -4.0  # infinite, cut off as is usual
        return brentq(lambda t: np.sum(a * (pattern - expit(a * (t - b)))), -20, 20)

    ml = np.array([maximum_likelihood(pattern) for pattern in patterns])
    bias, ml_bias = weight @ warm - theta, weight @ ml - theta
    assert abs(bias) < 0.03
    assert abs(bias) < abs(ml_bias) or abs(ml_bias) < 0.01
    assert weight @ (warm - theta) ** 2 < weight @ (ml - theta) ** 2


def test_extreme_items_leave_estimates_finite():
    a, b = np.array([8.0, 8.0, 0.01, 30.0, 8.0]), np.array([-9.0, 9.0, 0.0, 0.5, 40.0])
    answers = Answers(np.zeros(5, np.int64), a, b, np.array([0, 0.2, 0, 0.3, 0.9]), np.array([1, 0, 1, 1, 0]) > 0, 1)
    assert np.isfinite(log_likelihood(answers)).all()
    estimates = weighted_likelihood(answers)
    assert abs(estimates.theta[0]) <= 10
    assert np.isfinite(estimates.se[0])


@pytest.mark.parametrize("n_groups", [0, 3])
def test_no_answers_give_no_estimate_and_a_flat_likelihood(n_groups):
    nothing = gathered([], n_groups)
    assert log_likelihood(nothing).tolist() == [[0.0] * 61] * n_groups
    assert np.isnan(weighted_likelihood(nothing).theta).tolist() == [True] * n_groups


def test_moments_are_those_of_a_normal_posterior():
    mean, sd = np.array([-1.0, 0.3, 2.0]), np.array([0.3, 1.0, 0.6])
    log_posterior = -0.5 * ((NODES - mean[:, None]) / sd[:, None]) ** 2 - 1e4  # any constant may be added
    got_mean, got_sd = moments(log_posterior)
    np.testing.assert_allclose(got_mean, mean, atol=1e-6)
    np.testing.assert_allclose(got_sd, sd, atol=1e-4)


def test_normal_weights_are_a_distribution_with_that_mean_and_sd():
    weights = np.exp(normal_log_weights(0.4, 0.8))
    assert weights.sum() == pytest.approx(1)
    assert weights @ NODES == pytest.approx(0.4, abs=1e-6)
    assert weights @ (NODES - 0.4) ** 2 == pytest.approx(0.64, abs=1e-6)
