"""The probability of reaching a goal in a topic: the student's line plus a deviation of that topic's own.

theta_ik(t) = line_i(t) + v_k + d_ik, d_ik ~ N(0, tau^2) constant in time; score ~ N(theta_ik(week), (kappa se)^2).
The line is that of `models.growth`, with its parameters; effects v of the topics are known. Everything is normal, so
d and the line are integrated out exactly: with W the weights of a student's scores in a topic, w their sum and
D = tau^2 / (1 + tau^2 w), the scores say of the line what scores with weights W - D W 1 1'W say (Woodbury).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from seedtest_assets.models.growth import (
    Scores,
    Statistics,
    combination_probability,
    log_likelihood,
    statistics,
)
from seedtest_assets.models.irt import Floats, Ints

LOG_TAU = (np.log(0.3), 0.7)
LOG_KAPPA = (0.0, 0.5)
"""Mean and sd of normal priors: they decide for a handful of scores, and give way to hundreds."""


@dataclass(frozen=True)
class TopicScores:
    """Scores of students in topics and weeks.

    Attributes:
        student: index of the student of each score, in 0..n_students - 1, shape (n,).
        topic: index of the topic of each score, shape (n,).
        week: weeks after as_of; in the past negative, shape (n,).
        score: logits, shape (n,).
        se: its standard error, > 0, shape (n,).
        n_students: number of students; one may be without a score.
        effect: of each topic, added to every student's line, logits, shape (n_topics,).
    """

    student: Ints
    topic: Ints
    week: Floats
    score: Floats
    se: Floats
    n_students: int
    effect: Floats

    def pairs(self, kappa: float) -> Statistics:
        """Of each (student, topic), students first, less the topic's effect, with errors times kappa.

        Raises:
            ValueError: a topic is not one of those with an effect, or as `growth.statistics` says.
        """
        n_topics = len(self.effect)
        if ((self.topic < 0) | (self.topic >= n_topics)).any():
            raise ValueError(f"every topic must be in 0..{n_topics - 1}")
        pair = self.student * n_topics + self.topic
        score, se = self.score - self.effect[self.topic], kappa * self.se
        return statistics(Scores(pair, self.week, score, se, self.n_students * n_topics))


def topic_spread(scores: TopicScores, parameters: Mapping[str, float]) -> tuple[float, float]:
    """Tau and kappa at the mode of their marginal posterior, given the parameters of the students' lines.

    Args:
        scores: of students in topics.
        parameters: a value for each of `growth.PARAMETERS`; its kappa, that of the scores over all topics, is not used.
    """
    n_topics = len(scores.effect)

    def loss(at: Floats) -> float:
        tau, kappa = np.exp(at)
        of_lines = _about_lines(scores.pairs(kappa), tau, n_topics)
        prior = sum(((value - mean) / sd) ** 2 for value, (mean, sd) in zip(at, (LOG_TAU, LOG_KAPPA), strict=True))
        return float(0.5 * prior - log_likelihood(of_lines, {**parameters, "kappa": 1.0}).sum())

    start = np.array([LOG_TAU[0], LOG_KAPPA[0]])
    found = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-6})
    tau, kappa = np.exp(found.x)
    return float(tau), float(kappa)


def topic_goal_probability(
    scores: TopicScores,
    draws: pd.DataFrame,
    spread: tuple[float, float],
    student: Ints,
    topic: Ints,
    week: Floats,
    target: Floats,
) -> pd.DataFrame:
    """Probability that a student's ability in a topic is at or above the target in the goal's week.

    It is that of line and deviation given the student's scores in all topics; of a topic without a score of the
    student the deviation is N(0, tau^2).

    Args:
        scores: of students in topics.
        draws: of the posterior of the lines' parameters, columns `growth.PARAMETERS`.
        spread: tau and kappa of `topic_spread`.
        student: index of each goal's student, shape (goals,).
        topic: index of each goal's topic, shape (goals,).
        week: of each goal, weeks after as_of, shape (goals,).
        target: level to reach, logits, shape (goals,).

    Returns:
        Columns of `growth.goal_probability`, a row for each goal.
    """
    tau, kappa = spread
    n_topics = len(scores.effect)
    pairs = scores.pairs(kappa)
    of_lines = _about_lines(pairs, tau, n_topics)
    of_goal = pairs.of(student * n_topics + topic)
    # Given the line, d is normal with variance D and mean D (wy - w level - wt change).
    variance = tau**2 / (1 + tau**2 * of_goal.w)
    weights = np.stack([1 - variance * of_goal.w, week - variance * of_goal.wt])
    known = scores.effect[topic] + variance * of_goal.wy
    found = combination_probability(of_lines, draws.assign(kappa=1.0), student, weights, variance, target - known)
    return found.assign(mu=found["mu"] + known)


def _about_lines(pairs: Statistics, tau: float, n_topics: int) -> Statistics:
    """What the scores of all topics say of each student's line, deviations integrated out."""
    shared = 1 + tau**2 * pairs.w
    taken = tau**2 / shared
    of_pairs = (
        pairs.n,
        pairs.w / shared,
        pairs.wt / shared,
        pairs.wtt - taken * pairs.wt**2,
        pairs.wy / shared,
        pairs.wty - taken * pairs.wt * pairs.wy,
        pairs.wyy - taken * pairs.wy**2,
        pairs.log_se + 0.5 * np.log(shared),
    )
    return Statistics(*(values.reshape(-1, n_topics).sum(axis=1) for values in of_pairs))
