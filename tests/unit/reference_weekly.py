"""The weekly numbers by loops over students and answers: slow, obvious, written from the definitions alone.

An answer is a dict with the columns of `weekly_numbers`; None stands for missing.
"""

import math
from itertools import pairwise
from statistics import fmean, median

import numpy as np
from scipy.integrate import cumulative_simpson
from scipy.optimize import brentq

SESSION_GAP_S = 30 * 60


def by_student(answers):
    """Each student's answers in time order, ties by id."""
    students = {}
    for answer in sorted(answers, key=lambda one: (one["completed_at"], one["id"])):
        students.setdefault(answer["student_id"], []).append(answer)
    return students


def efficiency(answers):
    """{student: (E_t, n)}: 1 - exp(change of mean log time on correct answers, centred on the item's median)."""
    timed = [one for one in answers if one["correct"] and one["response_time_ms"]]
    of_item = {}
    for one in timed:
        of_item.setdefault(one["item_id"], []).append(math.log(one["response_time_ms"]))
    result = {}
    for student in by_student(answers):
        windows = {True: [], False: []}
        for one in timed:
            if one["student_id"] == student:
                centred = math.log(one["response_time_ms"]) - median(of_item[one["item_id"]])
                windows[one["days_ago"] <= 28].append(centred)
        n = len(windows[True]) + len(windows[False])
        value = None
        if min(len(windows[True]), len(windows[False])) >= 5:
            value = max(-1, min(1, 1 - math.exp(fmean(windows[True]) - fmean(windows[False]))))
        result[student] = (value, n)
    return result


def recovery(answers):
    """{student: (met again, right now)}: earlier errors by item's, else by topic's last later answer."""
    result = {}
    for student, mine in by_student(answers).items():
        met = right = 0
        topics_left = []
        seen = set()
        for error in mine:
            if error["days_ago"] <= 28 or error["correct"] or error["item_id"] in seen:
                continue
            seen.add(error["item_id"])
            again = [one for one in mine if one["days_ago"] <= 28 and one["item_id"] == error["item_id"]]
            if again:
                met += 1
                right += again[-1]["correct"]
            elif error["topic_id"] is not None and error["topic_id"] not in topics_left:
                topics_left.append(error["topic_id"])
        for topic in topics_left:
            again = [one for one in mine if one["days_ago"] <= 28 and one["topic_id"] == topic]
            if again:
                met += 1
                right += again[-1]["correct"]
        result[student] = (met, right)
    return result


def sessions(mine):
    """A student's answers in sessions: by logged id; unlogged ones in runs without a 30-minute pause."""
    logged, runs, previous = {}, [], None
    for one in mine:
        if one["session_id"] is not None:
            logged.setdefault(one["session_id"], []).append(one)
        elif (
            previous is not None
            and previous["session_id"] is None
            and (one["completed_at"] - previous["completed_at"]).total_seconds() <= SESSION_GAP_S
        ):
            runs[-1].append(one)
        else:
            runs.append([one])
        previous = one
    return [*logged.values(), *runs]


def time_on_answer(one):
    if one["response_time_ms"]:
        return one["response_time_ms"] / 1000
    if one["started_at"] is not None:
        return (one["completed_at"] - one["started_at"]).total_seconds()
    return None


def engagement(answers):
    """{student: dict(a_t, sessions, mean_gap_days, hint_rate, dwell_s)} over the last 28 days."""
    result = {}
    for student, mine in by_student(answers).items():
        count, work = 0, []
        for session in sessions(mine):
            previous = None
            inside = False
            for one in session:
                if previous is None:
                    spent = time_on_answer(one)
                else:
                    spent = (one["completed_at"] - previous["completed_at"]).total_seconds()
                previous = one
                if one["days_ago"] <= 28:
                    inside = True
                    if spent is not None:
                        work.append(min(max(spent, 0), SESSION_GAP_S))
            count += inside
        days = sorted({one["days_ago"] for one in mine}, reverse=True)
        gaps = [before - after for before, after in pairwise(days) if after <= 28]
        hints = [one["hint_used"] for one in mine if one["days_ago"] <= 28 and one["hint_used"] is not None]
        parts = [(0.35, min(count / 28, 1))]
        if gaps:
            parts.append((0.25, 1 / fmean(gaps)))
        if hints:
            parts.append((0.20, 1 - min(sum(hints) / count / 3, 1)))
        if work:
            parts.append((0.20, min(sum(work) / count / 900, 1)))
        result[student] = {
            "a_t": sum(weight * value for weight, value in parts) / sum(weight for weight, _ in parts),
            "sessions": count,
            "mean_gap_days": fmean(gaps) if gaps else None,
            "hint_rate": fmean(hints) if hints else None,
            "dwell_s": sum(work) / count if work else None,
        }
    return result


def chance(one, theta):
    return one["c"] + (1 - one["c"]) / (1 + np.exp(-one["a"] * (theta - one["b"])))


def slopes(one, theta):
    """P' and P'' of the three-parameter logistic model."""
    a, c = one["a"], one["c"]
    logistic = 1 / (1 + np.exp(-a * (theta - one["b"])))
    first = (1 - c) * a * logistic * (1 - logistic)
    return first, a * first * (1 - 2 * logistic)


def information(rows, theta):
    return sum(slopes(one, theta)[0] ** 2 / (chance(one, theta) * (1 - chance(one, theta))) for one in rows)


def warm_score(rows, theta):
    """Warm (1989), eq. 12: the score plus J / (2 I), term by term."""
    score = bias = 0.0
    for one in rows:
        p, (first, second) = chance(one, theta), slopes(one, theta)
        score = score + (one["correct"] - p) * first / (p * (1 - p))
        bias = bias + first * second / (p * (1 - p))
    return score + bias / (2 * information(rows, theta))


def own_week_theta(answers):
    """{student: (theta, se, n)}: the root of Warm's equation at which its integral is highest, from the week alone."""
    result = {}
    for student, mine in by_student(answers).items():
        own = [one for one in mine if one["in_week"] and one["a"] is not None]
        if len(own) < 5:
            result[student] = (None, None, len(own))
            continue
        grid = np.linspace(-8, 8, 641)
        start = grid[np.argmax(cumulative_simpson(warm_score(own, grid), x=grid, initial=0))]
        theta = brentq(lambda at, own=own: warm_score(own, at), start - 0.03, start + 0.03, xtol=1e-10)
        result[student] = (theta, information(own, theta) ** -0.5, len(own))
    return result


def improvement_windows(answers, calibrated):
    """{student: (earlier answers, later answers)} of 14 days each; on calibrated items only where asked."""
    result = {}
    for student, mine in by_student(answers).items():
        usable = [one for one in mine if one["a"] is not None or not calibrated]
        result[student] = (
            [one for one in usable if 15 <= one["days_ago"] <= 28],
            [one for one in usable if one["days_ago"] <= 14],
        )
    return result
