"""Own-week topic scores: each answer counts once, and each score is Warm's estimate of its answers."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.special import expit

from seedtest_assets.models.topic_scores import MIXED, topic_scores


@pytest.fixture
def answers() -> pd.DataFrame:
    """Two students, three weeks; in the first week of 'ann' topic x has six answers, y three and z two."""
    rng = np.random.default_rng(3)
    counts = {("ann", -2.5): {"x": 6, "y": 3, "z": 2}, ("ann", -1.5): {"x": 4}, ("bob", -2.5): {"y": 7, "z": 3}}
    rows = [
        (user, topic, week)
        for (user, week), topics in counts.items()
        for topic, count in topics.items()
        for _ in range(count)
    ]
    frame = pd.DataFrame(rows, columns=["user_id", "topic_id", "week"])
    a, b = rng.lognormal(0, 0.3, len(frame)), rng.normal(size=len(frame))
    return frame.assign(a=a, b=b, c=0.0, correct=rng.random(len(frame)) < 0.6)


def warm(answers: pd.DataFrame) -> tuple[float, float]:
    """The root of Warm's equation for the 2PL, and 1 / sqrt(information)."""
    a, b, x = answers["a"].to_numpy(), answers["b"].to_numpy(), answers["correct"].to_numpy(float)

    def equation(theta: float) -> float:
        p = expit(a * (theta - b))
        return float((a * (x - p)).sum() + (a**3 * p * (1 - p) * (1 - 2 * p)).sum() / (2 * (a**2 * p * (1 - p)).sum()))

    theta = brentq(equation, -8, 8, xtol=1e-12)
    p = expit(a * (theta - b))
    return theta, float(1 / np.sqrt((a**2 * p * (1 - p)).sum()))


def test_topics_with_few_answers_are_taken_together_and_every_answer_counts_once(answers):
    scores = topic_scores(answers)
    found = {(row.user_id, row.topic_id, row.week): row.n for row in scores.itertuples()}
    # Four answers in ann's second week, and three of bob's in topic z, are too few for a score.
    assert found == {("ann", MIXED, -2.5): 5, ("ann", "x", -2.5): 6, ("bob", "y", -2.5): 7}


def test_a_score_is_the_root_of_warms_equation(answers):
    scores = topic_scores(answers).set_index(["user_id", "topic_id"])
    of_ann = answers[(answers["user_id"] == "ann") & (answers["week"] == -2.5)]
    for topic, own in (("x", of_ann["topic_id"] == "x"), (MIXED, of_ann["topic_id"] != "x")):
        theta, se = warm(of_ann[own])
        assert scores.loc[("ann", topic), "score"] == pytest.approx(theta, abs=1e-7)
        assert scores.loc[("ann", topic), "se"] == pytest.approx(se, abs=1e-7)


def test_the_order_of_answers_does_not_matter(answers):
    shuffled = answers.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(topic_scores(shuffled), topic_scores(answers), rtol=0, atol=1e-12)


def test_nobody_has_enough_answers():
    nobody = pd.DataFrame(columns=["user_id", "topic_id", "week", "a", "b", "c", "correct"])
    assert topic_scores(nobody).empty
