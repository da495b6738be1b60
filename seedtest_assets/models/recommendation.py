"""What to practise next: rules that can be read, not a model.

- **New questions** whose expected probability of a correct answer is near .7: hard enough to teach, easy enough not to
  discourage (Eggen & Verschoor 2006 give items of that difficulty at a small loss of precision).
- **Review** of what was missed in the last four weeks, at growing intervals: two days after the miss, then 7 and 14
  days after the first and the second day of correct answers that follow it (expanding retrieval, Landauer & Bjork
  1978). The third such day ends it. What is older than that comes back as a new question.
- **Strong and weak topics** are those whose ability differs from the student's own overall ability of the same time
  with a probability of .9; the rest cannot be told apart yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import bdtr, expit, ndtr

from seedtest_assets.models.irt import Bools, Floats, Ints

AIM = 0.7
"""Probability of a correct answer that practice aims at."""
NEAR = 0.15
"""How far from it a question may be."""
QUESTIONS = 3
"""New questions that are recommended."""
PER_TOPIC = 2
"""Most of them in one topic, unless only one is worth practising."""
INTERVALS = np.array([2, 7, 14])
"""Days until the next review, by the days of correct answers since the last miss."""
HUNDRED = 100
DEVIATES, WEIGHTS = np.polynomial.hermite_e.hermegauss(21)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
REMEMBERED = 28
"""Days after which a miss is no longer reviewed."""
SURE = 0.9
"""Probability from which a topic is called strong or weak."""


@dataclass(frozen=True)
class Questions:
    """A bank of calibrated questions, as arrays of equal length.

    Attributes:
        item_id: their keys.
        topic: topic of each; empty = none.
        a, b, c: parameters, logits.
    """

    item_id: Ints
    topic: "np.ndarray[tuple[int], np.dtype[np.object_]]"
    a: Floats
    b: Floats
    c: Floats


def expected_correct(theta: float, se: float, questions: Questions) -> Floats:
    """Probability of a correct answer to each question, over the uncertainty of ability.

    The logistic curve averaged over a normal ability, by MacKay (1992): the slope is divided by
    sqrt(1 + pi a^2 se^2 / 8). Off by less than .01 for a * se up to 1.9.

    Args:
        theta: ability, logits.
        se: its standard error.
        questions: the questions.
    """
    a = questions.a / np.sqrt(1 + np.pi * (questions.a * se) ** 2 / 8)
    correct: Floats = questions.c + (1 - questions.c) * expit(a * (theta - questions.b))
    return correct


def right_of_hundred(theta: float, se: float, questions: Questions) -> tuple[float, int, int]:
    """How many of 100 questions, drawn at random from the bank, the student would now get right.

    Given ability each answer is right with the bank's mean probability (its characteristic curve), so that the number
    is binomial; over the uncertainty of ability it is a mixture of binomials, taken at the nodes of Gauss and Hermite.

    Args:
        theta: ability, logits.
        se: its standard error.
        questions: the bank.

    Returns:
        The expected number, and its 5 % and 95 % quantiles: what would happen, luck with the questions included.
    """
    logit = questions.a * (theta + se * DEVIATES[:, None] - questions.b)
    share = (questions.c + (1 - questions.c) * expit(logit)).mean(axis=1)
    below = WEIGHTS @ bdtr(np.arange(HUNDRED + 1), HUNDRED, share[:, None])
    lower, upper = np.searchsorted(below, (0.05, 0.95))
    return float(HUNDRED * WEIGHTS @ share), int(lower), int(upper)


def practice(theta: float, se: float, questions: Questions, seen: Bools, topics: Sequence[str]) -> pd.DataFrame:
    """New questions near the aim, of the given topics first.

    Args:
        theta: ability, logits.
        se: its standard error.
        questions: the bank.
        seen: which of them the student has met before.
        topics: topics to practise, the most urgent first; others follow.

    Returns:
        At most QUESTIONS rows: item_id, topic, probability; of PER_TOPIC at most in one topic where others have any.
    """
    probability = expected_correct(theta, se, questions)
    urgency = {topic: rank for rank, topic in enumerate(topics)}
    worth = pd.DataFrame(
        {
            "item_id": questions.item_id,
            "topic": questions.topic,
            "probability": probability,
            "off": np.abs(probability - AIM),
            "urgency": [urgency.get(topic, len(urgency)) for topic in questions.topic],
        }
    )[~seen & (np.abs(probability - AIM) <= NEAR)].sort_values(["urgency", "off", "item_id"])
    beyond = worth.groupby("topic").cumcount() >= PER_TOPIC
    chosen = pd.concat([worth[~beyond], worth[beyond]]).head(QUESTIONS)
    return chosen[["item_id", "topic", "probability"]].reset_index(drop=True)


def review(answers: pd.DataFrame, today: int, until: int) -> pd.DataFrame:
    """What was missed and is due again.

    Args:
        answers: of one student: item_id, topic, day (ordinal) and correct, in the order they were given.
        today: day (ordinal) from which misses are looked back on.
        until: last day (ordinal) on which something may be due.

    Returns:
        item_id, topic, missed (day of the last miss), due (day), the longest due first.
    """
    misses = answers[~answers["correct"] & (answers["day"] >= today - REMEMBERED)]
    since = answers.merge(misses.groupby("item_id")["day"].max().rename("missed"), on="item_id")
    since = since[since["day"] >= since["missed"]]
    rights = since[since["correct"] & (since["day"] > since["missed"])].groupby("item_id")["day"].nunique()
    state = since.groupby("item_id").agg(topic=("topic", "last"), missed=("missed", "first"), last=("day", "max"))
    step = rights.reindex(state.index, fill_value=0)
    going_on = state[step < len(INTERVALS)]
    due = going_on.assign(due=going_on["last"] + INTERVALS[step[going_on.index].to_numpy()]).reset_index()
    return due.loc[due["due"] <= until, ["item_id", "topic", "missed", "due"]].sort_values(
        ["due", "missed", "item_id"], ignore_index=True
    )


def strength(topic: Floats, topic_sd: Floats, overall: Floats, overall_se: Floats) -> Ints:
    """1 for each topic that is probably above the student's ability as a whole, -1 below, 0 not to be told apart.

    The two rest on the same answers in part, so that their difference is known better than this takes it to be.

    Args:
        topic: ability in each topic, logits.
        topic_sd: its posterior standard deviation.
        overall: ability as a whole at the time that each topic was measured; NaN = not known.
        overall_se: its standard error.
    """
    above = ndtr((topic - overall) / np.hypot(topic_sd, overall_se))
    return (above >= SURE).astype(np.int64) - (above <= 1 - SURE)
