"""What to practise next: by rules, each with its counterexample."""

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import binom, norm

from seedtest_assets.models.recommendation import (
    AIM,
    NEAR,
    PER_TOPIC,
    QUESTIONS,
    Questions,
    expected_correct,
    practice,
    review,
    right_of_hundred,
    strength,
)

TODAY = 740_000


def bank(b, topics=None, a=1.0, c=0.0):
    n = len(b)
    topic = np.array(topics if topics is not None else ["t"] * n, dtype=object)
    return Questions(np.arange(n), topic, np.full(n, a), np.asarray(b, float), np.full(n, c))


@pytest.mark.parametrize("se", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("a", [0.4, 1.0, 2.0])
@pytest.mark.parametrize("c", [0.0, 0.25])
def test_expected_correct_is_the_curve_averaged_over_a_normal_ability(a, c, se):
    for theta in (-1.5, 0.0, 0.7, 2.0):
        got = expected_correct(theta, se, bank([0.3], a=a, c=c))[0]
        exact = c + (1 - c) * expit(a * (theta - 0.3))
        if se:
            exact = quad(lambda t, at=theta: (c + (1 - c) * expit(a * (t - 0.3))) * norm.pdf(t, at, se), -12, 12)[0]
        assert got == pytest.approx(exact, abs=0.01 if se else 1e-12)


def test_of_a_hundred_at_a_known_ability_is_binomial():
    expected, lower, upper = right_of_hundred(0.0, 0.0, bank([-1.0, 0.0, 1.0], c=0.2))
    share = 0.2 + 0.8 * 0.5
    assert expected == pytest.approx(100 * share)
    assert [lower, upper] == list(binom.ppf([0.05, 0.95], 100, share))


@pytest.mark.parametrize(("theta", "se"), [(0.3, 0.2), (-1.0, 0.5), (2.0, 0.9)])
def test_of_a_hundred_holds_what_is_seen_in_nine_of_ten_cases(theta, se):
    rng = np.random.default_rng(7)
    questions = bank(rng.normal(0.0, 1.0, 300), a=1.2)
    expected, lower, upper = right_of_hundred(theta, se, questions)
    ability = rng.normal(theta, se, 4000)
    drawn = rng.integers(300, size=(4000, 100))
    right = (rng.random(drawn.shape) < expit(1.2 * (ability[:, None] - questions.b[drawn]))).sum(axis=1)
    assert expected == pytest.approx(right.mean(), abs=4 * right.std() / np.sqrt(4000))
    below, above = (right < lower).mean(), (right > upper).mean()
    assert max(below, above) < 0.065
    assert 0.88 < 1 - below - above < 0.94


def test_practice_is_new_near_the_aim_and_of_the_urgent_topics_first():
    easy = -np.log(AIM / (1 - AIM))  # the difficulty at which P is the aim, for theta = 0 and certainty
    questions = bank([easy, easy + 0.1, easy + 0.2, easy + 0.05, 3.0, easy], ["a", "a", "a", "b", "b", "a"])
    seen = np.array([False] * 5 + [True])
    chosen = practice(0.0, 0.0, questions, seen, ["b", "a"])
    assert chosen["item_id"].tolist() == [3, 0, 1]
    assert chosen["topic"].tolist() == ["b", "a", "a"]
    assert (np.abs(chosen["probability"] - AIM) <= NEAR).all()


def test_one_topic_gives_at_most_its_share_unless_it_is_alone():
    easy = -np.log(AIM / (1 - AIM))
    alone = practice(0.0, 0.0, bank([easy] * 5), np.zeros(5, bool), ["t"])
    assert len(alone) == QUESTIONS
    shared = practice(0.0, 0.0, bank([easy] * 4 + [easy + 0.5], ["a"] * 4 + ["b"]), np.zeros(5, bool), ["a"])
    assert shared["topic"].tolist() == ["a"] * PER_TOPIC + ["b"]


def test_nothing_near_the_aim_is_nothing():
    assert practice(0.0, 0.3, bank([4.0, -4.0]), np.zeros(2, bool), []).empty
    assert practice(0.0, 0.3, bank([]), np.zeros(0, bool), []).empty


def answers(*rows):
    return pd.DataFrame(
        [(item, "t", TODAY + day, right) for item, day, right in rows], columns=["item_id", "topic", "day", "correct"]
    )


def due(*rows, until=6):
    found = review(answers(*rows), TODAY, TODAY + until)
    return dict(zip(found["item_id"], found["due"] - TODAY, strict=True))


def test_a_miss_is_due_after_two_days_and_after_a_week_and_two_once_it_was_right():
    assert due((1, -3, False)) == {1: -1}
    assert due((1, -9, False), (1, -5, True)) == {1: 2}
    assert due((1, -20, False), (1, -15, True), (1, -9, True)) == {1: 5}


def test_the_third_day_of_correct_answers_ends_it_and_a_new_miss_begins_anew():
    thrice = ((1, -20, False), (1, -18, True), (1, -12, True), (1, -1, True))
    assert due(*thrice, until=60) == {}
    assert due(*thrice, (1, -1, False)) == {1: 1}


def test_twice_right_on_one_day_counts_once_and_so_does_right_on_the_day_of_the_miss():
    assert due((1, -9, False), (1, -5, True), (1, -5, True)) == {1: 2}
    assert due((1, -3, False), (1, -3, True)) == {1: -1}


def test_what_is_not_due_yet_was_never_missed_or_is_long_ago_is_left_out():
    assert due((1, 0, False), until=1) == {}
    assert due((1, -3, True)) == {}
    assert due((1, -29, False)) == {}
    assert due((1, -28, False)) == {1: -26}
    assert review(answers(), TODAY, TODAY + 6).empty


def test_the_longest_due_comes_first():
    rows = ((1, -3, False), (2, -8, False), (3, -5, False))
    assert list(due(*rows)) == [2, 3, 1]


def test_strong_and_weak_are_probabilities_of_nine_in_ten():
    z = norm.ppf(0.9)
    shift = np.array([z + 0.01, z - 0.01, 0.0, -z + 0.01, -z - 0.01]) * np.hypot(0.3, 0.4)
    n = len(shift)
    got = strength(0.5 + shift, np.full(n, 0.3), np.full(n, 0.5), np.full(n, 0.4))
    assert got.tolist() == [1, 0, 0, 0, -1]
    assert strength(np.array([2.0]), np.array([0.1]), np.array([np.nan]), np.array([np.nan])).tolist() == [0]
