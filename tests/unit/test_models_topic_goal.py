"""Goals in topics: against dense normal distributions, and calibrated on students whose deviations are known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal, norm

from seedtest_assets.models.growth import PARAMETERS, Scores, goal_probability, statistics
from seedtest_assets.models.topic_goal import TopicScores, topic_goal_probability, topic_spread

TYPICAL = dict(zip(PARAMETERS, (0.2, 0.03, 0.8, 0.05, 0.3, 1.3), strict=True))
"""Its kappa is that of other scores, and must not matter here."""


def simulated(seed, students, topics=6, weeks=8, tau=0.3, kappa=1.1, attend=0.5):
    """Scores, true lines (students, 2), and true deviations (students, topics)."""
    random = np.random.default_rng(seed)
    b0, b1, sd0, sd1, correlation, _ = TYPICAL.values()
    off = correlation * sd0 * sd1
    line = random.multivariate_normal([b0, b1], [[sd0**2, off], [off, sd1**2]], students)
    deviation, effect = random.normal(0, tau, (students, topics)), random.normal(0, 0.2, topics)
    there = random.random((students, topics, weeks)) < attend
    there[:, -1] = False  # a topic that nobody has met
    student, topic, weeks_ago = np.nonzero(there)
    week, se = -0.5 - weeks_ago, random.uniform(0.4, 0.9, len(student))
    truth = line[student, 0] + line[student, 1] * week + effect[topic] + deviation[student, topic]
    scores = TopicScores(student, topic, week, random.normal(truth, kappa * se), se, students, effect)
    return scores, line, deviation


def dense(scores, student, tau, kappa):
    """Covariance of a student's scores, level, change and deviations, in this order, and their means."""
    own = scores.student == student
    n, topics = own.sum(), len(scores.effect)
    b0, b1, sd0, sd1, correlation, _ = TYPICAL.values()
    off = correlation * sd0 * sd1
    latent = np.zeros((2 + topics, 2 + topics))
    latent[:2, :2] = [[sd0**2, off], [off, sd1**2]]
    latent[2:, 2:] = tau**2 * np.eye(topics)
    design = np.column_stack([np.ones(n), scores.week[own], np.eye(topics)[scores.topic[own]]])
    return {
        "latent": latent,
        "design": design,
        "residual": scores.score[own] - scores.effect[scores.topic[own]] - design[:, :2] @ [b0, b1],
        "covariance": design @ latent @ design.T + np.diag((kappa * scores.se[own]) ** 2),
    }


@pytest.mark.parametrize(("tau", "kappa"), [(0.3, 1.1), (0.01, 0.7), (1.5, 2.0)])
def test_goals_are_those_of_the_dense_conditional_distribution(tau, kappa):
    scores, _, _ = simulated(1, 4)
    scores = replace(scores, n_students=5)
    student, topic = np.repeat(np.arange(5), 6), np.tile(np.arange(6), 5)  # student 4 has no score, topic 5 none either
    week, target = np.linspace(-3, 9, 30), np.linspace(-1, 1.5, 30)
    found = topic_goal_probability(scores, pd.DataFrame([TYPICAL]), (tau, kappa), student, topic, week, target)
    for row, (who, what) in enumerate(zip(student, topic, strict=True)):
        of = dense(scores, who, tau, kappa)
        gain = of["latent"] @ of["design"].T @ np.linalg.inv(of["covariance"])
        at = np.concatenate([[1, week[row]], np.eye(6)[what]])
        mean = scores.effect[what] + at[:2] @ [TYPICAL["intercept"], TYPICAL["week"]] + at @ gain @ of["residual"]
        sd = np.sqrt(at @ (of["latent"] - gain @ of["design"] @ of["latent"]) @ at)
        np.testing.assert_allclose(found.loc[row, ["mu", "sigma"]].astype(float), [mean, sd], atol=1e-10)
        assert found.loc[row, "p_goal"] == pytest.approx(norm.sf(target[row], mean, sd), abs=1e-10)
    assert found[["p_lower", "p_upper"]].isna().all(axis=None)


def test_the_spread_is_at_the_mode_of_the_dense_posterior():
    scores, _, _ = simulated(2, 40)

    def log_posterior(log_tau, log_kappa):
        prior = norm.logpdf(log_tau, np.log(0.3), 0.7) + norm.logpdf(log_kappa, 0, 0.5)
        parts = [dense(scores, student, np.exp(log_tau), np.exp(log_kappa)) for student in range(40)]
        return prior + sum(multivariate_normal(cov=part["covariance"]).logpdf(part["residual"]) for part in parts)

    mode = np.log(topic_spread(scores, TYPICAL))
    highest = log_posterior(*mode)
    for step in (0.02, -0.02):
        assert log_posterior(mode[0] + step, mode[1]) < highest
        assert log_posterior(mode[0], mode[1] + step) < highest


def test_draws_are_averaged():
    scores, _, _ = simulated(3, 5)
    draws = pd.DataFrame([TYPICAL, TYPICAL | {"week": 0.1, "sd_intercept": 0.5}])
    goal = np.array([2]), np.array([1]), np.array([6.0]), np.array([0.4])
    both = topic_goal_probability(scores, draws, (0.3, 1.1), *goal)
    each = pd.concat([topic_goal_probability(scores, draws.iloc[[row]], (0.3, 1.1), *goal) for row in (0, 1)])
    assert both["p_goal"].item() == pytest.approx(each["p_goal"].mean())
    assert both["mu"].item() == pytest.approx(each["mu"].mean())
    assert both["sigma"].item() ** 2 == pytest.approx((each["sigma"] ** 2).mean() + each["mu"].var(ddof=0))
    np.testing.assert_allclose(both[["p_lower", "p_upper"]].iloc[0], np.quantile(each["p_goal"], [0.05, 0.95]))


def test_one_topic_without_deviations_is_the_line_itself():
    scores, _, _ = simulated(4, 30, topics=2)
    of_line = Scores(scores.student, scores.week, scores.score - scores.effect[scores.topic], scores.se, 30)
    everyone, week, target = np.arange(30), np.full(30, 4.0), np.full(30, 0.5)
    draws = pd.DataFrame([TYPICAL | {"kappa": 1.1}])
    line = goal_probability(statistics(of_line), draws, everyone, week, target - scores.effect[0])
    found = topic_goal_probability(scores, draws, (1e-9, 1.1), everyone, np.zeros(30, int), week, target)
    np.testing.assert_allclose(found["p_goal"], line["p_goal"], atol=1e-9)
    np.testing.assert_allclose(found["mu"], line["mu"] + scores.effect[0], atol=1e-9)


def test_a_topic_without_scores_is_the_line_widened():
    scores, _, _ = simulated(5, 30)
    goal = np.zeros(1, int), np.array([5]), np.array([3.0]), np.array([0.0])
    narrow, wide = (
        topic_goal_probability(scores, pd.DataFrame([TYPICAL]), (tau, 1.1), *goal)["sigma"].item() for tau in (0.1, 1.0)
    )
    assert wide > 1.0 > narrow > 0.1


@pytest.mark.parametrize(("tau", "kappa"), [(0.15, 0.8), (0.3, 1.1), (0.6, 1.5)])
def test_the_spread_is_recovered(tau, kappa):
    found = np.array([topic_spread(simulated(seed, 300, tau=tau, kappa=kappa)[0], TYPICAL) for seed in range(4)])
    error = np.maximum(found.std(axis=0) / 2, 0.01)
    assert (np.abs(found.mean(axis=0) - [tau, kappa]) < 3 * error).all()


def test_without_a_score_the_spread_is_its_priors():
    nothing = TopicScores(*(np.empty(0, int),) * 2, *(np.empty(0),) * 3, 3, np.zeros(2))
    np.testing.assert_allclose(topic_spread(nothing, TYPICAL), [0.3, 1.0], rtol=1e-3)


@pytest.mark.parametrize("attend", [0.15, 0.6])
def test_intervals_hold_and_probabilities_come_true(attend):
    scores, line, deviation = simulated(6, 2400, attend=attend)
    student, topic = np.arange(2400), np.arange(2400) % 6  # one topic each: what is judged is independent
    week, target = np.full(2400, 6.0), np.random.default_rng(1).normal(0.5, 0.5, 2400)
    truth = line @ [1, 6.0] + scores.effect[topic] + deviation[student, topic]
    spread = topic_spread(scores, TYPICAL)
    found = topic_goal_probability(scores, pd.DataFrame([TYPICAL]), spread, student, topic, week, target)
    met = topic < 5
    for some in (met, ~met):
        held = np.abs(found["mu"] - truth)[some] < norm.ppf(0.95) * found["sigma"][some]
        assert held.mean() == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / some.sum()))
    p, reached = found["p_goal"].to_numpy(), truth >= target
    for low in np.arange(0, 1, 0.2):
        some = (p >= low) & (p < low + 0.2)
        assert abs(np.sum((reached - p)[some])) < 4 * np.sqrt(np.sum((p * (1 - p))[some]))


def test_to_leave_out_the_deviations_would_be_too_sure():
    # The way that is known to fail, on the same data: its intervals are too narrow, ours are not.
    scores, line, deviation = simulated(7, 2000, tau=0.6)
    goal = np.arange(2000), np.zeros(2000, int), np.zeros(2000), np.zeros(2000)
    truth = line[:, 0] + scores.effect[0] + deviation[:, 0]
    held = []
    for spread in ((1e-9, 1.1), topic_spread(scores, TYPICAL)):
        found = topic_goal_probability(scores, pd.DataFrame([TYPICAL]), spread, *goal)
        held.append(np.mean(np.abs(found["mu"] - truth) < norm.ppf(0.95) * found["sigma"]))
    assert held[0] < 0.8
    assert held[1] == pytest.approx(0.9, abs=0.025)


@pytest.mark.parametrize("topic", [-1, 6])
def test_an_unknown_topic_is_refused(topic):
    scores, _, _ = simulated(8, 5)
    unknown = replace(scores, topic=np.where(np.arange(len(scores.topic)) == 0, topic, scores.topic))
    with pytest.raises(ValueError, match=r"every topic must be in 0\.\.5"):
        topic_spread(unknown, TYPICAL)
