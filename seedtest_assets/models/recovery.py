"""R_t: of what a student once got wrong and met again, the share that is right now."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import betaln

from seedtest_assets.models.irt import Bools, Floats, Ints


@dataclass(frozen=True)
class Recovery:
    """Per student.

    Attributes:
        value: shrunk share of earlier errors now right; NaN when none was met again, shape (n_students,).
        n: earlier errors met again, shape (n_students,).
        right: of these, right at the last meeting, shape (n_students,).
    """

    value: Floats
    n: Ints
    right: Ints


def recovery(student: Ints, item: Ints, topic: Ints, correct: Bools, recent: Bools, n_students: int) -> Recovery:
    """Recovery from two windows of answers, given in the order in which they were made.

    An item answered wrong in the earlier window counts by its last answer in the later one. One that was not met
    again counts through its topic, if the topic was: once per topic, by the last answer there. Shares are
    shrunk to the cohort's beta distribution (`shrunk_share`).

    Args:
        student: index of each answer's student, in time order within student, shape (n,).
        item: item of each answer, shape (n,).
        topic: topic of each answer, negative for none, shape (n,).
        correct: shape (n,).
        recent: in the later window, shape (n,).
        n_students: number of students.
    """
    answers = pd.DataFrame({"student": student, "item": item, "topic": topic, "correct": correct})
    later = answers[recent]
    wrong = answers[~recent & ~correct].drop_duplicates(["student", "item"])
    last = {
        key: later.drop_duplicates(["student", key], keep="last")[["student", key, "correct"]]
        for key in ("item", "topic")
    }
    by_item = wrong[["student", "item", "topic"]].merge(last["item"], on=["student", "item"], how="left")
    not_met = by_item[by_item["correct"].isna() & (by_item["topic"] >= 0)]
    by_topic = not_met[["student", "topic"]].drop_duplicates().merge(last["topic"], on=["student", "topic"])
    met = pd.concat([by_item.loc[by_item["correct"].notna(), ["student", "correct"]], by_topic[["student", "correct"]]])
    who = met["student"].to_numpy(dtype=np.int64)
    now_right = met["correct"].to_numpy(dtype=bool)
    n = np.bincount(who, minlength=n_students).astype(np.int64)
    right = np.bincount(who[now_right], minlength=n_students).astype(np.int64)
    return Recovery(shrunk_share(right, n), n, right)


def shrunk_share(right: Ints, n: Ints) -> Floats:
    """Posterior means of beta-binomial shares; NaN where n = 0.

    The beta distribution of shares over students, Beta(m k, (1 - m) k), is at the mode of (logit m, log k)'s marginal
    posterior under weak priors, m ~ Beta(2, 2) and log k ~ N(log 4, 1), that keep it finite for small cohorts.
    """
    x, size = right[n > 0], n[n > 0]
    if len(size) == 0:
        return np.full(len(n), np.nan)

    def loss(parameters: Floats) -> float:
        m = 1 / (1 + np.exp(-parameters[0]))
        k = np.exp(parameters[1])
        alpha, beta = m * k, (1 - m) * k
        fit = np.sum(betaln(x + alpha, size - x + beta) - betaln(alpha, beta))
        prior = 2 * np.log(m) + 2 * np.log1p(-m) - 0.5 * (parameters[1] - np.log(4.0)) ** 2
        return -float(fit + prior)

    bounds = ((-6.0, 6.0), (np.log(0.1), np.log(1000.0)))
    logit_m, log_k = minimize(loss, np.array([0.0, np.log(4.0)]), method="L-BFGS-B", bounds=bounds).x
    m, k = 1 / (1 + np.exp(-logit_m)), np.exp(log_k)
    with np.errstate(invalid="ignore"):
        return np.where(n > 0, (right + m * k) / (n + k), np.nan)
