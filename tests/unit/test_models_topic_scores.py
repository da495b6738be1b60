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


def warm(answers: pd.DataFrame) -> float:
    """The root of Warm's equation for the 2PL."""
    a, b, x = answers["a"].to_numpy(), answers["b"].to_numpy(), answers["correct"].to_numpy(float)

    def equation(theta: float) -> float:
        p = expit(a * (theta - b))
        return float((a * (x - p)).sum() + (a**3 * p * (1 - p) * (1 - 2 * p)).sum() / (2 * (a**2 * p * (1 - p)).sum()))

    return brentq(equation, -8, 8, xtol=1e-12)


def error(answers: pd.DataFrame, theta: float) -> float:
    """1 / sqrt(information) at theta."""
    a, p = answers["a"], expit(answers["a"] * (theta - answers["b"]))
    return float(1 / np.sqrt((a**2 * p * (1 - p)).sum()))


def test_topics_with_few_answers_are_taken_together_and_every_answer_counts_once(answers):
    scores = topic_scores(answers)
    found = {(row.user_id, row.topic_id, row.week): row.n for row in scores.itertuples()}
    # Four answers in ann's second week, and three of bob's in topic z, are too few for a score.
    assert found == {("ann", MIXED, -2.5): 5, ("ann", "x", -2.5): 6, ("bob", "y", -2.5): 7}


def test_a_score_is_the_root_of_warms_equation_and_its_error_that_at_the_students_ability(answers):
    scores = topic_scores(answers).set_index(["user_id", "topic_id"])
    of_ann = answers[answers["user_id"] == "ann"]
    now = of_ann["week"] == -2.5
    for topic, own in (("x", now & (of_ann["topic_id"] == "x")), (MIXED, now & (of_ann["topic_id"] != "x"))):
        assert scores.loc[("ann", topic), "score"] == pytest.approx(warm(of_ann[own]), abs=1e-7)
        assert scores.loc[("ann", topic), "se"] == pytest.approx(error(of_ann[own], warm(of_ann)), abs=1e-7)


def test_a_standard_error_does_not_know_how_the_score_came_out(answers):
    """Turning a right answer of one week into a wrong one moves its score, and hardly any of the errors."""
    more = pd.concat([answers] * 20)  # weeks are small among the answers that ability is known from
    more["week"] = np.repeat(np.arange(20), len(answers))
    other = more.assign(correct=more["correct"] ^ ((more["week"] == 3) & (more["user_id"] == "bob")))
    before, after = (topic_scores(each).set_index(["user_id", "topic_id", "week"]) for each in (more, other))
    changed = ("bob", "y", 3)
    assert abs(before.loc[changed, "score"] - after.loc[changed, "score"]) > 0.5
    assert before.loc[changed, "se"] == pytest.approx(after.loc[changed, "se"], rel=0.05)


def test_the_order_of_answers_does_not_matter(answers):
    shuffled = answers.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(topic_scores(shuffled), topic_scores(answers), check_exact=True)


def test_nobody_has_enough_answers():
    nobody = pd.DataFrame(columns=["user_id", "topic_id", "week", "a", "b", "c", "correct"])
    assert topic_scores(nobody).empty
