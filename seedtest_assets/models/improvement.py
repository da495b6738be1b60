"""I_t: how much a student's ability has moved between two windows of answers.

Both windows are scored under the same item parameters. With theta_prev ~ N(mu, sd^2) and
delta = theta_recent - theta_prev ~ N(m, tau^2), the four hyperparameters are the maximum of the marginal likelihood
over students, and a student's improvement is the posterior mean of delta, with its posterior sd.
A difference of two EAP scores instead would be shrunk twice.
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize
from scipy.special import logsumexp

from seedtest_assets.models.irt import NODES, Floats, Ints, normal_log_weights

QUADRATURE = np.polynomial.hermite_e.hermegauss(15)
HYPERPARAMETER_STUDENTS = 2000
CHUNK = 4000
BOUNDS = ((-4.0, 4.0), (np.log(0.1), np.log(4.0)), (-2.0, 2.0), (np.log(0.02), np.log(2.0)))


@dataclass(frozen=True)
class Improvement:
    """Posterior of each student's movement.

    Attributes:
        mean: posterior mean of delta, logits, clamped to [-1, 1], shape (n,).
        sd: posterior standard deviation of delta, shape (n,).
        latent_mean, latent_sd: distribution of ability in the earlier window.
        drift_mean, drift_sd: distribution of delta over students.
    """

    mean: Floats
    sd: Floats
    latent_mean: float
    latent_sd: float
    drift_mean: float
    drift_sd: float


def improvement(previous: Floats, recent: Floats) -> Improvement:
    """Empirical-Bayes movement between two windows (model: see the module).

    The hyperparameters are estimated on at most 2,000 students, evenly spaced in the rows given; the
    posteriors are computed for all.

    Args:
        previous: log-likelihood of the earlier window at NODES, shape (n, 61).
        recent: log-likelihood of the later window at NODES, shape (n, 61).

    Raises:
        ValueError: when the two shapes differ.
    """
    if previous.shape != recent.shape:
        raise ValueError(f"windows differ in shape: {previous.shape} and {recent.shape}")
    n = len(previous)
    if n == 0:
        return Improvement(np.empty(0), np.empty(0), np.nan, np.nan, np.nan, np.nan)
    shift = CubicSpline(NODES, np.eye(len(NODES)))
    every = max(1, -(-n // HYPERPARAMETER_STUDENTS))
    sample_previous, sample_recent = previous[::every], recent[::every]

    def loss(x: Floats) -> float:
        joint, _ = _log_joint(x, sample_previous, sample_recent, shift)
        return -float(np.mean(logsumexp(joint, axis=1)))

    best = minimize(loss, x0=np.array([0.0, 0.0, 0.0, np.log(0.3)]), bounds=BOUNDS, method="L-BFGS-B").x
    means, sds = np.empty(n), np.empty(n)
    for start in range(0, n, CHUNK):
        rows = slice(start, start + CHUNK)
        joint, delta = _log_joint(best, previous[rows], recent[rows], shift)
        weights = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
        means[rows] = weights @ delta
        sds[rows] = np.sqrt(np.maximum(weights @ delta**2 - means[rows] ** 2, 0.0))
    mu, log_sd, drift, log_tau = best
    return Improvement(
        np.clip(means, -1.0, 1.0), sds, float(mu), float(np.exp(log_sd)), float(drift), float(np.exp(log_tau))
    )


def proportion_log_likelihood(correct: Ints, answers: Ints) -> Floats:
    """The accuracy fallback: normal log-likelihood of the logit of a proportion at NODES, shape (n, 61).

    logit((x + 1/2) / (n + 1)) with variance 1 / (x + 1/2) + 1 / (n - x + 1/2) (Gart & Zweifel 1967).
    """
    right, wrong = correct + 0.5, answers - correct + 0.5
    logit = np.log(right / wrong)
    variance = 1 / right + 1 / wrong
    return np.asarray(-0.5 * (NODES[None, :] - logit[:, None]) ** 2 / variance[:, None])


def _log_joint(x: Floats, previous: Floats, recent: Floats, shift: CubicSpline) -> tuple[Floats, Floats]:
    """Log p(answers, delta_k) for each student and drift node, theta_prev summed out; and the drift nodes.

    delta_k = m + tau z_k at Gauss-Hermite nodes z_k. The later window's log-likelihood at theta + delta_k lies
    between the nodes and is read off a cubic spline, which is linear in it: one matrix per k.
    """
    mu, log_sd, drift, log_tau = x
    z, weight = QUADRATURE
    delta = drift + np.exp(log_tau) * z
    start = previous + normal_log_weights(mu, float(np.exp(log_sd)))
    joint = np.empty((len(previous), len(delta)))
    for k, step in enumerate(delta):
        moved = recent @ shift(np.clip(NODES + step, NODES[0], NODES[-1])).T
        joint[:, k] = logsumexp(start + moved, axis=1)
    return joint + np.log(weight / weight.sum()), delta
