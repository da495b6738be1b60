"""A_t: how engaged a student is, and the sessions, gaps, hints and minutes it is made of."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from seedtest_assets.models.irt import Floats, Ints

SESSION_GAP_SECONDS = 30 * 60
WINDOW_DAYS = 28
WEIGHTS = {"sessions": 0.35, "gap": 0.25, "hints": 0.20, "dwell": 0.20}


@dataclass(frozen=True)
class Engagement:
    """Per student, over the 28 days that end at as_of; all of shape (n_students,).

    Attributes:
        a_t: weighted mean of the known parts, in [0, 1].
        sessions: number of sessions.
        mean_gap_days: mean days between neighbouring active days, over gaps that end in the window; NaN if none.
        hint_rate: share of answers with a hint; NaN when not logged.
        dwell_s: mean seconds at work per session; NaN without sessions.
    """

    a_t: Floats
    sessions: Ints
    mean_gap_days: Floats
    hint_rate: Floats
    dwell_s: Floats


def engagement(
    student: Ints,
    completed: Floats,
    day: Ints,
    session: "pd.Series[str]",
    time_on_answer: Floats,
    hint: Floats,
    first_day: int,
    n_students: int,
) -> Engagement:
    """Engagement from answers in time order within student; answers before the window only open gaps and sessions.

    A_t = .35 min(sessions / 28, 1) + .25 / mean gap + .20 (1 - min(hints / 3, 1)) + .20 min(dwell / 900, 1), with hints
    the hinted answers per session and dwell the seconds at work per session. A part that is not logged is left out
    and the weights are re-normalised. Time at work is the time since the session's previous answer, at most 30
    minutes; for a session's first answer the time on that answer.

    Args:
        student: index of each answer's student, shape (n,).
        completed: seconds since any origin, shape (n,).
        day: local day number, shape (n,).
        session: session id, or missing: then a gap of 30 minutes starts a new one, shape (n,).
        time_on_answer: seconds from question to answer, NaN if unknown, shape (n,).
        hint: 1 hint used, 0 not, NaN not logged, shape (n,).
        first_day: first day of the window.
        n_students: number of students.
    """
    answers = pd.DataFrame(
        {
            "student": student,
            "completed": completed,
            "day": day,
            "session": _session_code(student, completed, session),
            "hint": hint,
        }
    )
    since_previous = answers.groupby("session")["completed"].diff().to_numpy()
    at_work = np.where(np.isnan(since_previous), time_on_answer, since_previous)
    answers["at_work"] = np.clip(at_work, 0, SESSION_GAP_SECONDS)
    window = answers[answers["day"] >= first_day]

    def per_student(series: "pd.Series[Any]") -> Floats:
        return np.asarray(series.reindex(range(n_students)).to_numpy(dtype=float))

    by_student = window.groupby("student")
    sessions = np.nan_to_num(per_student(by_student["session"].nunique())).astype(np.int64)
    hint_rate = per_student(by_student["hint"].mean())
    hints = per_student(by_student["hint"].sum(min_count=1))
    work = per_student(by_student["at_work"].sum(min_count=1))
    gap = per_student(_gaps(answers, first_day))
    with np.errstate(invalid="ignore", divide="ignore"):
        dwell = work / sessions
        parts = {
            "sessions": np.minimum(sessions / WINDOW_DAYS, 1),
            "gap": 1 / gap,
            "hints": 1 - np.minimum(hints / sessions / 3, 1),
            "dwell": np.minimum(dwell / 900, 1),
        }
    score = sum(WEIGHTS[name] * np.nan_to_num(part) for name, part in parts.items())
    known = sum(WEIGHTS[name] * ~np.isnan(part) for name, part in parts.items())
    return Engagement(np.asarray(score / known), sessions, gap, hint_rate, dwell)


def _session_code(student: Ints, completed: Floats, session: "pd.Series[str]") -> Ints:
    """A number per session: the logged id within the student, else runs without a 30-minute gap."""
    unlogged = session.isna().to_numpy()
    new_student = np.diff(student, prepend=-1) != 0
    pause = np.diff(completed, prepend=-np.inf) > SESSION_GAP_SECONDS
    after_logged = np.concatenate([[True], ~unlogged[:-1]])[: len(unlogged)]
    run = np.cumsum(new_student | pause | after_logged)
    keys = pd.DataFrame({"student": student, "session": session.to_numpy(), "run": np.where(unlogged, run, 0)})
    return np.asarray(keys.groupby(["student", "session", "run"], dropna=False, sort=False).ngroup(), np.int64)


def _gaps(answers: pd.DataFrame, first_day: int) -> "pd.Series[float]":
    """Mean gap between active days by student, over gaps whose later day is in the window."""
    days = answers[["student", "day"]].drop_duplicates()
    gap = days.groupby("student")["day"].diff()
    ends_in_window = days["day"] >= first_day
    return gap[ends_in_window].groupby(days["student"]).mean()
