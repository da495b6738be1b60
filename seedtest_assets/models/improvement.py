"""I_t: how much a student's ability has moved between two windows of answers.

Both windows are scored under the same item parameters. With theta_prev ~ N(mu, sd^2) and
delta = theta_recent - theta_prev ~ N(m, tau^2), a student's improvement is the posterior mean of delta, with its
posterior sd. A difference of two EAP scores instead would be shrunk twice.

The hyperparameters x = (mu, log sd, m, log tau) are the mode of their marginal posterior over students. Their
priors are weak: they matter in a class of ten, where the maximum of the likelihood alone puts tau at zero or
anywhere, and give way to a few hundred students. The posterior sd of delta carries the hyperparameters'
uncertainty to first order (Kass & Steffey 1989), without which a small class's intervals are far too narrow.
"""

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize
from scipy.special import log_expit

from seedtest_assets.models.irt import NODES, Floats, Ints

MOVES: Floats = np.linspace(-3.0, 3.0, 101)
"""Quadrature nodes of delta, logits."""

HYPERPRIOR_MEAN: Floats = np.array([0.0, 0.0, 0.0, np.log(0.3)])
HYPERPRIOR_SD: Floats = np.array([1.0, 0.5, 0.5, 0.7])
"""Normal priors of mu, log sd, m and log tau."""

HYPERPARAMETER_STUDENTS = 2000
STUDENTS_AT_ONCE = 500


@dataclass(frozen=True)
class Improvement:
    """Posterior of each student's movement.

    Attributes:
        mean: posterior mean of delta, logits, clamped to [-1, 1], shape (n,).
        sd: posterior standard deviation of delta, shape (n,).
        latent_mean, latent_sd: distribution of ability in the earlier window (mu, sd).
        drift_mean, drift_sd: distribution of delta over students (m, tau).
    """

    mean: Floats
    sd: Floats
    latent_mean: float
    latent_sd: float
    drift_mean: float
    drift_sd: float


def improvement(previous: Floats, recent: Floats) -> Improvement:
    """Empirical-Bayes movement between two windows (model: see the module).

    The hyperparameters are estimated on at most 2,000 students, evenly spaced in the rows given; the posteriors
    are computed for all.

    Args:
        previous: log-likelihood of the earlier window at NODES, shape (n, 61).
        recent: log-likelihood of the later window at NODES, shape (n, 61).

    Raises:
        ValueError: when the two shapes differ.
        ArithmeticError: when the mode of the hyperparameters is not found.
    """
    if previous.shape != recent.shape:
        raise ValueError(f"windows differ in shape: {previous.shape} and {recent.shape}")
    n = len(previous)
    if n == 0:
        return Improvement(np.empty(0), np.empty(0), np.nan, np.nan, np.nan, np.nan)
    every = -(-n // HYPERPARAMETER_STUDENTS)
    x, uncertainty = _hyperparameters(_likelihood(previous[::every], recent[::every]))
    mean, sd = np.empty(n), np.empty(n)
    for start in range(0, n, STUDENTS_AT_ONCE):
        rows = slice(start, start + STUDENTS_AT_ONCE)
        mean[rows], sd[rows] = _movement(_likelihood(previous[rows], recent[rows]), x, uncertainty)
    latent_mean, latent_log_sd, drift_mean, drift_log_sd = (float(value) for value in x)
    return Improvement(
        np.clip(mean, -1.0, 1.0), sd, latent_mean, np.exp(latent_log_sd), drift_mean, np.exp(drift_log_sd)
    )


def proportion_log_likelihood(correct: Ints, answers: Ints) -> Floats:
    """The accuracy fallback: binomial log-likelihood of the logit of a proportion at NODES, shape (n, 61)."""
    right, wrong = correct[:, None], (answers - correct)[:, None]
    return np.asarray(right * log_expit(NODES) + wrong * log_expit(-NODES))


@cache
def _shift() -> Floats:
    """Matrix that reads a function at theta + delta, every NODES and MOVES, off its values at NODES; (61, 101 * 61).

    A cubic spline, which is linear in the values; beyond the outermost nodes the function is taken as constant.
    """
    moved = np.clip(MOVES[:, None] + NODES, NODES[0], NODES[-1])
    return np.ascontiguousarray(CubicSpline(NODES, np.eye(len(NODES)))(moved.ravel()).T)


def _likelihood(previous: Floats, recent: Floats) -> Floats:
    """P(answers | theta_prev, delta) up to a factor per student, at MOVES x NODES, shape (n, 101, 61)."""
    table = (recent @ _shift()).reshape(len(recent), len(MOVES), len(NODES))
    table += previous[:, None, :]
    table -= table.max(axis=(1, 2), keepdims=True)
    return np.asarray(np.exp(table, out=table))


@dataclass(frozen=True)
class _Expectations:
    """Of s = (u, u^2, v, v^2), u = (theta_prev - mu) / sd and v = (delta - m) / tau, for each student.

    Attributes:
        log_evidence: log P(answers | x), up to the likelihood's factor, shape (n,).
        mean: of s, shape (n, 4).
        covariance: of s, shape (n, 4, 4).
    """

    log_evidence: Floats
    mean: Floats
    covariance: Floats


def _expectations(likelihood: Floats, x: Floats) -> _Expectations:
    """Under the posterior given x; under the prior when the likelihood is 1 everywhere."""
    u, v = _weighted_powers(NODES, x[0], np.exp(x[1])), _weighted_powers(MOVES, x[2], np.exp(x[3]))
    moments = np.einsum("nkj,kl->njl", likelihood @ u, v)  # of u^j v^l
    evidence = moments[:, 0, 0]
    moments = moments / evidence[:, None, None]
    j, k = np.array([1, 2, 0, 0]), np.array([0, 0, 1, 2])
    mean = moments[:, j, k]
    product = moments[:, j[:, None] + j, k[:, None] + k]
    return _Expectations(np.log(evidence), mean, product - mean[:, :, None] * mean[:, None, :])


def _weighted_powers(nodes: Floats, mean: float, sd: float) -> Floats:
    """Normal weights that sum to one, times the 0th to 4th powers of the standardised nodes; shape (nodes, 5)."""
    z = (nodes - mean) / sd
    log_density = -0.5 * z**2
    weight = np.exp(log_density - log_density.max())
    return np.asarray((weight / weight.sum())[:, None] * np.vander(z, 5, increasing=True))


def _scale(x: Floats) -> Floats:
    """The complete-data score of x is scale * (s - E s), s as in `_Expectations`."""
    return np.array([np.exp(-x[1]), 1.0, np.exp(-x[3]), 1.0])


def _hyperparameters(likelihood: Floats) -> tuple[Floats, Floats]:
    """Mode of x and the inverse of the observed information there, shapes (4,) and (4, 4).

    Score and information are the complete data's, averaged over the posterior (Louis 1982).
    """
    n = len(likelihood)
    nothing_known = np.ones((1, *likelihood.shape[1:]))

    @lru_cache(maxsize=2)
    def loss(*parameters: float) -> tuple[float, Floats, Floats]:
        """Mean over students of -log posterior density of x, with gradient and Hessian."""
        x = np.array(parameters)
        scale, offset = _scale(x), (x - HYPERPRIOR_MEAN) / HYPERPRIOR_SD
        posterior, prior = _expectations(likelihood, x), _expectations(nothing_known, x)
        excess = np.sum(posterior.mean - prior.mean, axis=0)
        slope = scale * excess - offset / HYPERPRIOR_SD
        bend = scale[:, None] * np.sum(posterior.covariance - prior.covariance, axis=0) * scale
        for location, spread in ((0, 1), (2, 3)):
            bend[spread, spread] -= 2 * excess[spread]
            bend[location, spread] -= 2 * excess[location] * scale[location]
            bend[spread, location] = bend[location, spread]
        bend -= np.diag(HYPERPRIOR_SD**-2)
        return -float(posterior.log_evidence.sum() - offset @ offset / 2) / n, -slope / n, -bend / n

    def value(x: Floats) -> float:
        return loss(*x)[0]

    def gradient(x: Floats) -> Floats:
        return loss(*x)[1]

    def hessian(x: Floats) -> Floats:
        return loss(*x)[2]

    best = minimize(value, HYPERPRIOR_MEAN, jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-6})
    if not best.success:
        raise ArithmeticError(f"the distribution of movements over {n} students was not found: {best.message}")
    return best.x, np.asarray(np.linalg.inv(n * hessian(best.x)), np.float64)


def _movement(likelihood: Floats, x: Floats, uncertainty: Floats) -> tuple[Floats, Floats]:
    """Posterior mean and sd of delta; its derivative by x is its covariance with the complete data's score."""
    posterior, tau = _expectations(likelihood, x), np.exp(x[3])
    sensitivity = tau * posterior.covariance[:, 2] * _scale(x)
    variance = tau**2 * posterior.covariance[:, 2, 2]
    carried = np.einsum("ni,ij,nj->n", sensitivity, uncertainty, sensitivity)
    return np.asarray(x[2] + tau * posterior.mean[:, 2]), np.sqrt(variance + carried)
