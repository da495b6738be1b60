"""Own-week scores: what a trend is fitted to, of a week as a whole or of its topics.

A score of a window of many weeks lags behind and shares answers with its neighbours; a score of one week's answers
alone does neither, and its standard error is known.
"""

import numpy as np
import pandas as pd

from seedtest_assets.models.irt import Answers, item_information, weighted_likelihood
from seedtest_assets.models.weekly import MIN_ANSWERS

MIXED = "(mixed)"
"""In place of a topic: the week's topics that have too few answers each, taken together."""


def topic_scores(answers: pd.DataFrame) -> pd.DataFrame:
    """Warm's estimate from each student's answers in a topic in a week, with its standard error.

    Topics with fewer than five answers in a student's week are taken together, so that every answer counts once, and a
    student who practises many topics a little is not left out.

    The standard error is 1 / sqrt(information) at the student's ability over all the answers given, not at the score
    itself: that would weigh a score by its own error, since far from the items' difficulties there is less
    information, and lines fitted to such scores are drawn to the middle (benchmarks/growth_evaluation).

    Args:
        answers: columns user_id, topic_id, week (of the answer, any number), a, b, c (of the bank), correct.

    Returns:
        Columns user_id, topic_id, week, score (logits), se, n (answers), sorted by the first three; a row
        where there are five answers or more.
    """
    key = ["user_id", "topic_id", "week"]
    known = answers.assign(user_id=answers["user_id"].astype(str), topic_id=answers["topic_id"].astype(str))
    known = known.sort_values([*key, "a", "b", "c", "correct"])  # sums are the same to the last digit
    few = known.groupby(key)["correct"].transform("size") < MIN_ANSWERS
    known["topic_id"] = known["topic_id"].mask(few, MIXED)
    groups, students = known.groupby(key), known.groupby("user_id")
    rows = groups.size().rename("n").reset_index()
    a, b, c = (known[name].to_numpy(dtype=float) for name in ("a", "b", "c"))
    correct = known["correct"].to_numpy(dtype=bool)
    group, student = (of.ngroup().to_numpy().astype(np.int64) for of in (groups, students))
    own = Answers(group, a, b, c, correct, len(rows))
    ability = weighted_likelihood(Answers(student, a, b, c, correct, students.ngroups)).theta
    information = own.sums(item_information(a, c, a * (ability[student] - b)))
    scored = rows.assign(score=weighted_likelihood(own).theta, se=1 / np.sqrt(information))
    return scored.loc[scored["n"] >= MIN_ANSWERS, [*key, "score", "se", "n"]].reset_index(drop=True)
