"""All weekly numbers of all students from 56 days of answers: the windows, and which model sees which answers."""

import numpy as np
import pandas as pd

from seedtest_assets.models.efficiency import efficiency
from seedtest_assets.models.engagement import WINDOW_DAYS, engagement
from seedtest_assets.models.improvement import improvement, proportion_log_likelihood
from seedtest_assets.models.irt import Answers, Bools, Floats, Ints, log_likelihood, weighted_likelihood
from seedtest_assets.models.recovery import recovery

IMPROVEMENT_DAYS = 14
LOOKBACK_DAYS = 2 * WINDOW_DAYS
MIN_ANSWERS = 5
"""Answers that I_t needs in each of its windows, and theta_week in the week."""


def weekly_numbers(answers: pd.DataFrame, *, use_theta: bool) -> pd.DataFrame:
    """One row per student: i_t, e_t, r_t, a_t, their parts and the own-week theta.

    Windows are whole local days that end at as_of: the last 28 days against the 28 before for E_t and R_t, 14
    against 14 for I_t, the last 28 for A_t. The order of the rows given does not matter.

    Args:
        answers: columns id, student_id, item_id, topic_id, correct, response_time_ms, hint_used, completed_at,
            started_at, session_id, days_ago (1 = the day before as_of, at most 56), in_week (in the ISO
            week itself), a, b, c (of the bank; NaN for uncalibrated items).
        use_theta: I_t from ability where the answers allow it; otherwise from proportions correct.

    Returns:
        Columns user_id and those of weekly_metrics that come from these answers, sorted by user_id. What is
        not known is missing.
    """
    answers = answers.sort_values(["student_id", "completed_at", "id"], kind="stable", ignore_index=True)
    users, student = np.unique(answers["student_id"].astype(str), return_inverse=True)
    student = student.astype(np.int64)
    n = len(users)
    days_ago = answers["days_ago"].to_numpy(np.int64)
    last_28 = days_ago <= WINDOW_DAYS
    correct = answers["correct"].to_numpy(bool)
    item = answers["item_id"].to_numpy(np.int64)
    topic = answers["topic_id"].astype("category").cat.codes.to_numpy().astype(np.int64)
    seconds = _seconds(answers["completed_at"])
    time_ms = answers["response_time_ms"].to_numpy(dtype=float, na_value=np.nan)
    time_ms = np.where(time_ms > 0, time_ms, np.nan)  # 0 is how some applications say 'not logged'
    shown = (answers["completed_at"] - answers["started_at"]).dt.total_seconds().to_numpy(dtype=float)

    moved = _improvement(answers, student, days_ago, n, use_theta=use_theta)
    timed = correct & ~np.isnan(time_ms)
    faster = efficiency(student[timed], item[timed], np.log(time_ms[timed]), last_28[timed], n)
    recovered = recovery(student, item, topic, correct, last_28, n)
    engaged = engagement(
        student,
        seconds,
        -days_ago,
        answers["session_id"],
        np.where(np.isnan(time_ms), shown, time_ms / 1000),
        answers["hint_used"].to_numpy(dtype=float, na_value=np.nan),
        -WINDOW_DAYS,
        n,
    )
    own = answers["in_week"].to_numpy(bool)
    scored = _scored(answers, student, own, n)
    theta = weighted_likelihood(scored)
    enough = scored.counts >= MIN_ANSWERS
    last_seen = np.full(n, LOOKBACK_DAYS + 1)
    np.minimum.at(last_seen, student, days_ago)
    return moved.assign(
        user_id=users,
        e_t=faster.value,
        e_t_n=faster.n,
        r_t=recovered.value,
        r_t_n=recovered.n,
        a_t=engaged.a_t,
        sessions=engaged.sessions,
        mean_gap_days=engaged.mean_gap_days,
        idle_days=last_seen - 1,
        hint_rate=engaged.hint_rate,
        dwell_s=engaged.dwell_s,
        theta_week=np.where(enough, theta.theta, np.nan),
        theta_week_se=np.where(enough, theta.se, np.nan),
        theta_week_n=scored.counts,
    )


def _improvement(answers: pd.DataFrame, student: Ints, days_ago: Ints, n: int, *, use_theta: bool) -> pd.DataFrame:
    """i_t, i_t_se, i_t_method: by theta where both windows allow it, else by accuracy, else missing."""
    recent = days_ago <= IMPROVEMENT_DAYS
    before = ~recent & (days_ago <= 2 * IMPROVEMENT_DAYS)
    result = pd.DataFrame({"i_t": np.nan, "i_t_se": np.nan, "i_t_method": None}, index=range(n))

    def fill(chosen: Bools, previous: Floats, later: Floats, method: str) -> None:
        if chosen.any():
            posterior = improvement(previous[chosen], later[chosen])
            result.loc[chosen, "i_t"] = posterior.mean
            result.loc[chosen, "i_t_se"] = posterior.sd
            result.loc[chosen, "i_t_method"] = method

    scored = [_scored(answers, student, window, n) for window in (before, recent)]
    by_theta = np.all([window.counts >= MIN_ANSWERS for window in scored], axis=0) & use_theta
    fill(by_theta, log_likelihood(scored[0]), log_likelihood(scored[1]), "theta")

    correct = answers["correct"].to_numpy(bool)
    counts = [np.bincount(student[window], minlength=n).astype(np.int64) for window in (before, recent)]
    right = [np.bincount(student[window & correct], minlength=n).astype(np.int64) for window in (before, recent)]
    by_accuracy = np.all([count >= MIN_ANSWERS for count in counts], axis=0) & ~by_theta
    previous, later = (proportion_log_likelihood(x, m) for x, m in zip(right, counts, strict=True))
    fill(by_accuracy, previous, later, "accuracy")
    return result


def _scored(answers: pd.DataFrame, student: Ints, window: Bools, n: int) -> Answers:
    """A window's answers on calibrated items, by student."""
    a, b, c = (answers[name].to_numpy(dtype=float) for name in ("a", "b", "c"))
    chosen = window & ~np.isnan(a)
    return Answers(student[chosen], a[chosen], b[chosen], c[chosen], answers["correct"].to_numpy(bool)[chosen], n)


def _seconds(instants: "pd.Series[pd.Timestamp]") -> Floats:
    return np.asarray((instants - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy(dtype=float))
