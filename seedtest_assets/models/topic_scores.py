"""Own-week scores per topic: what a trend is fitted to.

A score of a window of many weeks lags behind and shares answers with its neighbours; a score of one week's answers
alone does neither, and its standard error is known.
"""

import numpy as np
import pandas as pd

from seedtest_assets.models.irt import Answers, weighted_likelihood
from seedtest_assets.models.weekly import MIN_ANSWERS

MIXED = "(mixed)"
"""In place of a topic: the week's topics that have too few answers each, taken together."""


def topic_scores(answers: pd.DataFrame) -> pd.DataFrame:
    """Warm's estimate from each student's answers in a topic in a week, with its standard error.

    Topics with fewer than five answers in a student's week are taken together, so that every answer counts once, and a
    student who practises many topics a little is not left out.

    Args:
        answers: columns user_id, topic_id, week (of the answer, any number), a, b, c (of the bank), correct.

    Returns:
        Columns user_id, topic_id, week, score (logits), se, n (answers), sorted by the first three; a row
        where there are five answers or more.
    """
    key = ["user_id", "topic_id", "week"]
    known = answers.assign(user_id=answers["user_id"].astype(str), topic_id=answers["topic_id"].astype(str))
    few = known.groupby(key)["correct"].transform("size") < MIN_ANSWERS
    known["topic_id"] = known["topic_id"].mask(few, MIXED)
    groups = known.groupby(key)
    rows = groups.size().rename("n").reset_index()
    a, b, c = (known[name].to_numpy(dtype=float) for name in ("a", "b", "c"))
    group = groups.ngroup().to_numpy().astype(np.int64)
    found = weighted_likelihood(Answers(group, a, b, c, known["correct"].to_numpy(dtype=bool), len(rows)))
    scored = rows.assign(score=found.theta, se=found.se)
    return scored.loc[scored["n"] >= MIN_ANSWERS, [*key, "score", "se", "n"]].reset_index(drop=True)
