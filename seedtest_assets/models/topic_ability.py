"""Ability in a topic: the student's general ability plus a deviation of that topic's own.

theta_topic = theta + u, theta ~ latent, u ~ N(0, tau^2) independent over topics (a testlet model with fixed item
parameters; Bradlow, Wainer & Wang 1999). A topic's prior is what the *other* topics say about theta,
widened by tau^2, so that no answer counts twice.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from seedtest_assets.models.irt import NODES, Floats, Ints, moments

TAU_BOUNDS = (0.05, 1.5)
TINY = np.finfo(float).tiny  # keeps a likelihood of zero a number: its logarithm is subtracted later


@dataclass(frozen=True)
class TopicAbility:
    """Posterior of theta + u.

    Attributes:
        mean: posterior mean per row, logits, shape (rows,).
        sd: posterior standard deviation, shape (rows,).
    """

    mean: Floats
    sd: Floats


def topic_ability(log_likelihood: Floats, student: Ints, prior: Floats, tau: float) -> TopicAbility:
    """Posterior moments of topic ability for rows of (student, topic).

    Args:
        log_likelihood: of the topic's answers given topic ability, at NODES, shape (rows, 61).
        student: index of the row's student, shape (rows,).
        prior: log weights of general ability at NODES (`normal_log_weights`), shape (61,).
        tau: standard deviation of topic deviations, logits (`topic_sd`).
    """
    spread = _kernel(tau)
    about_theta, total = _about_theta(log_likelihood, student, spread)
    others = total[student] - about_theta + prior
    scale = others.max(axis=1, keepdims=True)
    topic_prior = np.exp(others - scale) @ spread
    log_posterior = np.log(np.maximum(topic_prior, TINY)) + log_likelihood
    return TopicAbility(*moments(log_posterior))


def topic_sd(log_likelihood: Floats, student: Ints, prior: Floats) -> float:
    """Tau at the mode of its marginal posterior, within 0.05 and 1.5 logits. Arguments as in `topic_ability`.

    The prior, log tau ~ N(log 0.3, 0.7^2), decides for a handful of students, whose likelihood alone is often largest
    at a bound, and gives way to thirty.
    """

    def loss(log_tau: float) -> float:
        _, total = _about_theta(log_likelihood, student, _kernel(float(np.exp(log_tau))))
        return float(0.5 * ((log_tau - np.log(0.3)) / 0.7) ** 2 - logsumexp(total + prior, axis=1).sum())

    bounds = (np.log(TAU_BOUNDS[0]), np.log(TAU_BOUNDS[1]))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-2}).x))


def _kernel(tau: float) -> Floats:
    """P(theta + u = node r | theta = node q), shape (61, 61), rows summing to one."""
    log_density = -0.5 * ((NODES[None, :] - NODES[:, None]) / tau) ** 2
    return np.asarray(np.exp(log_density - logsumexp(log_density, axis=1, keepdims=True)))


def _about_theta(log_likelihood: Floats, student: Ints, spread: Floats) -> tuple[Floats, Floats]:
    """Log P(topic's answers | theta) with u summed out, per row; and its sum over each student's topics.

    Students are numbered 0..n - 1 without gaps.
    """
    scale = log_likelihood.max(axis=1, keepdims=True)
    likelihood = np.exp(log_likelihood - scale) @ spread.T
    about_theta = np.log(np.maximum(likelihood, TINY)) + scale
    total = np.zeros((int(student.max(initial=-1)) + 1, len(NODES)))
    np.add.at(total, student, about_theta)
    return about_theta, total
