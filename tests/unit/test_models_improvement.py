"""I_t: against brute-force integration of its model, and calibrated on students whose movement is known."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, log_expit
from scipy.stats import binom, norm

from seedtest_assets.models.improvement import (
    HYPERPRIOR_MEAN,
    HYPERPRIOR_SD,
    improvement,
    proportion_log_likelihood,
)
from seedtest_assets.models.irt import NODES, Answers, log_likelihood, moments, normal_log_weights


@dataclass(frozen=True)
class Cohort:
    """Answers of n students to k items in each window, and their true movement.

    Attributes:
        a, b, correct: shape (2, n, k).
        delta: shape (n,).
    """

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    correct: NDArray[np.bool_]
    delta: NDArray[np.float64]

    def windows(self):
        n, k = self.correct.shape[1:]
        student = np.repeat(np.arange(n), k)
        return [
            log_likelihood(Answers(student, a.ravel(), b.ravel(), np.zeros(a.size), x.ravel(), n))
            for a, b, x in zip(self.a, self.b, self.correct, strict=True)
        ]


def cohort(random, n, k, m=0.1, tau=0.3, mu=0.2, sd=0.9):
    before, delta = random.normal(mu, sd, n), random.normal(m, tau, n)
    theta = np.stack([before, before + delta])[:, :, None]
    item = random.integers(0, 200, (2, n, k))  # of a bank of 200
    a, b = random.lognormal(0, 0.3, 200)[item], random.normal(0, 1, 200)[item]
    return Cohort(a, b, random.random((2, n, k)) < expit(a * (theta - b)), delta)


def covered(result, delta, level=0.9):
    return np.abs(result.mean - delta) < norm.ppf((1 + level) / 2) * result.sd


class BruteForce:
    """The model by plain numerical integration on a fine grid over (theta_prev, delta), exact 2PL likelihoods."""

    def __init__(self, students: Cohort) -> None:
        self.theta, self.delta = np.linspace(-7, 7, 281), np.linspace(-3.5, 3.5, 281)
        n = len(students.delta)

        def window(w, theta):
            return np.stack(
                [
                    sum(
                        log_expit((1 if x else -1) * a * (theta - b))
                        for a, b, x in zip(students.a[w, i], students.b[w, i], students.correct[w, i], strict=True)
                    )
                    for i in range(n)
                ]
            )

        log_lik = window(0, self.theta[:, None]) + window(1, self.theta[:, None] + self.delta)
        self.likelihood = np.exp(log_lik - log_lik.max(axis=(1, 2), keepdims=True))

    def weights(self, x):
        mu, log_sd, m, log_tau = x
        return norm.pdf(self.theta, mu, np.exp(log_sd))[:, None] * norm.pdf(self.delta, m, np.exp(log_tau))

    def log_posterior_of(self, x):
        evidence = np.sum(self.likelihood * self.weights(x), axis=(1, 2))
        return np.log(evidence).sum() + norm.logpdf(x, HYPERPRIOR_MEAN, HYPERPRIOR_SD).sum()

    def posterior(self, x):
        weight = self.likelihood * self.weights(x)
        weight /= weight.sum(axis=(1, 2), keepdims=True)
        mean = np.sum(weight * self.delta, axis=(1, 2))
        return mean, np.sqrt(np.sum(weight * self.delta**2, axis=(1, 2)) - mean**2)


def gradient(function, x, step=1e-3):
    return np.stack([(function(x + e) - function(x - e)) / (2 * step) for e in step * np.eye(4)])


@pytest.mark.parametrize(("n", "k"), [(1, 6), (4, 8), (12, 30)])
def test_posterior_and_hyperparameters_equal_brute_force_integration(n, k):
    students = cohort(np.random.default_rng(n), n, k)
    result = improvement(*students.windows())
    truth = BruteForce(students)
    x = np.array([result.latent_mean, np.log(result.latent_sd), result.drift_mean, np.log(result.drift_sd)])

    mean, sd = truth.posterior(x)
    np.testing.assert_allclose(result.mean, np.clip(mean, -1, 1), atol=1e-3)

    hessian = gradient(lambda y: gradient(truth.log_posterior_of, y), x)
    uncertainty = np.linalg.inv(-hessian)
    newton_step = uncertainty @ gradient(truth.log_posterior_of, x)
    assert np.max(np.abs(newton_step)) < 0.01, "the reported hyperparameters are not the mode"

    sensitivity = gradient(lambda y: truth.posterior(y)[0], x)
    carried = np.einsum("in,ij,jn->n", sensitivity, uncertainty, sensitivity)
    np.testing.assert_allclose(result.sd, np.sqrt(sd**2 + carried), rtol=0.01)
    assert np.all(result.sd > sd)


@pytest.mark.parametrize(("m", "tau"), [(0.1, 0.3), (-0.2, 0.6)])
def test_hyperparameters_are_recovered(m, tau):
    n, k = 2000, 30
    result = improvement(*cohort(np.random.default_rng(5), n, k, m=m, tau=tau).windows())
    noise = 0.45  # sampling variance of a difference of two thetas from 30 answers each, rounded up
    se_m = np.sqrt((tau**2 + noise) / n)
    se_tau = (tau**2 + noise) * np.sqrt(2 / n) / (2 * tau)
    assert result.drift_mean == pytest.approx(m, abs=3 * se_m)
    assert result.drift_sd == pytest.approx(tau, abs=3 * se_tau)
    assert result.latent_mean == pytest.approx(0.2, abs=0.1)
    assert result.latent_sd == pytest.approx(0.9, abs=0.1)


def test_students_who_all_move_alike_are_said_to():
    students = cohort(np.random.default_rng(6), 2000, 60, m=0.25, tau=0.0)
    result = improvement(*students.windows())
    assert result.drift_sd < 0.12
    np.testing.assert_allclose(result.mean, 0.25, atol=0.12)
    assert np.mean(covered(result, students.delta)) > 0.9


@pytest.mark.parametrize("answers", [8, 30, 100])
def test_improvement_is_calibrated(answers):
    estimate, sd, delta = [], [], []
    for seed in range(4):
        students = cohort(np.random.default_rng(seed), 2000, answers, tau=0.5)
        result = improvement(*students.windows())
        estimate.append(result.mean)
        sd.append(result.sd)
        delta.append(students.delta)
    x, s, d = (np.concatenate(part) for part in (estimate, sd, delta))
    inside = np.abs(x) < 0.999  # clamped estimates are not meant to be calibrated
    slope, offset = np.polyfit(x[inside], d[inside], 1)
    assert slope == pytest.approx(1, abs=0.12)  # tau^2 is known to a quarter from 8 answers, which costs .05
    assert offset == pytest.approx(0, abs=0.03)
    for level in (0.5, 0.9, 0.95):
        share = np.mean(np.abs(x - d)[inside] < norm.ppf((1 + level) / 2) * s[inside])
        assert share == pytest.approx(level, abs=0.03)


def test_a_difference_of_two_shrunken_scores_would_be_far_too_small():
    students = cohort(np.random.default_rng(7), 4000, 12, m=0.5, tau=0.4, mu=0.0, sd=1.0)
    windows = students.windows()
    eap = [moments(window + normal_log_weights(0.0, 1.0))[0] for window in windows]
    result = improvement(*windows)
    assert np.mean(eap[1] - eap[0]) < 0.8 * 0.5
    assert np.mean(result.mean) == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize(("students", "cohorts"), [(1, 250), (3, 80), (10, 30), (30, 20)])
@pytest.mark.parametrize("answers", [8, 30])
def test_small_classes_get_honest_intervals(students, cohorts, answers):
    random = np.random.default_rng(8)
    share = []
    for _ in range(cohorts):
        group = cohort(random, students, answers)
        share.append(np.mean(covered(improvement(*group.windows()), group.delta)))
    assert np.mean(share) > 0.85


@pytest.mark.parametrize("n", [1, 7, 700])
def test_the_order_of_students_does_not_matter(n):
    random = np.random.default_rng(9)
    before, after = cohort(random, n, 10).windows()
    order = random.permutation(n)
    straight, permuted = improvement(before, after), improvement(before[order], after[order])
    np.testing.assert_allclose(permuted.mean, straight.mean[order], atol=1e-6)
    np.testing.assert_allclose(permuted.sd, straight.sd[order], atol=1e-6)


def test_large_movements_are_clamped():
    students = cohort(np.random.default_rng(10), 300, 60, m=0.0, tau=1.2)
    result = improvement(*students.windows())
    assert result.mean.max() == 1.0
    assert result.mean.min() == -1.0
    assert np.mean(np.abs(students.delta[result.mean == 1.0]) > 0.5) > 0.9


def test_nobody_gives_nothing():
    nobody = np.empty((0, 61))
    result = improvement(nobody, nobody)
    assert len(result.mean) == len(result.sd) == 0
    assert np.isnan(result.drift_sd)


def test_windows_of_different_students_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        improvement(np.zeros((3, 61)), np.zeros((4, 61)))


@pytest.mark.parametrize("pattern", ["right-right", "wrong-wrong", "wrong-right"])
@pytest.mark.parametrize("n", [1, 50])
def test_windows_all_right_or_all_wrong_give_finite_numbers(pattern, n):
    windows = [
        proportion_log_likelihood(np.full(n, 5 if word == "right" else 0), np.full(n, 5)) for word in pattern.split("-")
    ]
    result = improvement(*windows)
    assert np.isfinite(result.mean).all()
    assert (result.sd > 0).all()
    assert np.all(np.abs(result.mean) <= 1)
    if pattern == "wrong-right":
        assert np.all(result.mean > 0.3)


def test_the_accuracy_fallback_is_the_binomial_likelihood_of_a_logit():
    correct, answers = np.array([0, 3, 5, 200]), np.array([5, 8, 5, 400])
    expected = binom.logpmf(correct[:, None], answers[:, None], expit(NODES))
    got = proportion_log_likelihood(correct, answers)
    np.testing.assert_allclose(got - got[:, :1], expected - expected[:, :1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("answers", [8, 40])
def test_the_accuracy_fallback_is_calibrated_on_proportions(answers):
    random = np.random.default_rng(11)
    before, delta = random.normal(0.5, 0.8, 4000), random.normal(0.1, 0.4, 4000)
    windows = [
        proportion_log_likelihood(random.binomial(answers, expit(logit)), np.full(4000, answers))
        for logit in (before, before + delta)
    ]
    result = improvement(*windows)
    assert np.mean(covered(result, delta)) == pytest.approx(0.9, abs=0.03)
    assert np.polyfit(result.mean, delta, 1)[0] == pytest.approx(1, abs=0.25)
