"""Landmarks: days on which a student is looked at, with what was known before and whether 14 days of silence followed.

A day is numbered as `datetime.date.toordinal` does. Landmark L is the midnight that begins day L: the days before L are
known. A student whose last active day is A has been idle for L - 1 - A whole days; the silence becomes an event at the
midnight that begins day A + 15, when 14 whole days are over. An event within h days falls after L and not
after L + h.

Everything is a position in sorted (student, day) pairs, so no student is visited by Python.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seedtest_assets.models.irt import Bools, Floats, Ints

SILENT_DAYS = 14
HORIZONS = (7, 14, 28)
OBSERVED_DAYS = 28
COVARIATES = ("a_t", "e_t", "r_t", "mean_gap", "session_rate")

Keys = NDArray[np.uint64]


@dataclass(frozen=True)
class Calendar:
    """Days off.

    Attributes:
        days_off: days, ascending, each once.
        idle_skips_days_off: a day off does not count as idle, and the 14 days of an event are days that do.
    """

    days_off: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    idle_skips_days_off: bool = False

    def off(self, begin: Ints, end: Ints) -> Ints:
        """Days off from `begin` to the day before `end`."""
        return np.asarray(np.searchsorted(self.days_off, end) - np.searchsorted(self.days_off, begin))

    def idle(self, active: Ints, landmark: Ints) -> Ints:
        """Days that count as idle after `active` and before `landmark`."""
        silent = landmark - 1 - active
        return silent - self.off(active + 1, landmark) if self.idle_skips_days_off else silent

    def earliest_at_risk(self, landmark: int) -> int:
        """The earliest last active day of a student who is at risk at a landmark."""
        return self._earliest(landmark, SILENT_DAYS - 1)

    def latest_idle(self, landmark: int, days: int) -> int:
        """The latest last active day of a student who has been idle for at least `days` days at a landmark."""
        return self._earliest(landmark, days - 1) - 1

    def _earliest(self, landmark: int, most_idle: int) -> int:
        """The earliest last active day with at most so many idle days at a landmark."""
        reach = most_idle + 2 + len(self.days_off) * self.idle_skips_days_off
        active = np.arange(landmark - reach, landmark)
        return int(active[np.argmax(self.idle(active, np.full(reach, landmark)) <= most_idle)])

    def event(self, active: Ints) -> Ints:
        """The day whose midnight ends the 14th idle day after `active`.

        With o_j the days off from 0 on, o_j - j days before o_j count; the k-th day that counts is therefore
        k + #{j: o_j - j <= k}.
        """
        if not self.idle_skips_days_off:
            return active + SILENT_DAYS + 1
        last = active - np.searchsorted(self.days_off, active, side="right") + SILENT_DAYS
        skipped = np.searchsorted(self.days_off - np.arange(len(self.days_off)), last, side="right")
        return last + skipped + 1


def student_keys(students: Sequence[str]) -> Keys:
    """Numbers that stand for students' ids, the same on every machine; shape (n,)."""
    digests = b"".join(hashlib.blake2b(student.encode(), digest_size=8).digest() for student in students)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def weekday(day: Ints) -> Ints:
    """1 (Monday) to 7."""
    return (day - 1) % 7 + 1


def session_rate(sessions: Floats, as_of_day: Ints, first_day: Ints) -> Floats:
    """Sessions of the last 28 days per day observed: a student of three days has not had 28 to come.

    Args:
        sessions: in the 28 days before as_of_day, shape (n,).
        as_of_day: the day whose midnight ends them, shape (n,).
        first_day: the student's first active day ever, shape (n,).
    """
    return np.asarray(sessions / np.clip(as_of_day - first_day, 1, OBSERVED_DAYS))


def landmark_days(keys: Keys, week: Ints) -> Ints:
    """The day of a week on which a student is looked at, evenly distributed over weekdays.

    The finalizer of SplitMix64 (Steele, Lea & Flood 2014) of the student's key and the week.

    Args:
        keys: of `student_keys`, shape (n,).
        week: number of the ISO week, (Monday - 1) / 7, shape (n,).
    """
    mixed = keys + week.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return np.asarray(7 * week + 1 + (mixed % np.uint64(7)).astype(np.int64))


class _Pairs:
    """Sorted (student, day) pairs, each once; positions in them."""

    def __init__(self, student: Ints, day: Ints) -> None:
        self._first = int(day.min(initial=0))
        self._span = int(day.max(initial=0)) - self._first + 2
        pairs, self.order = np.unique(self._pair(student, day), return_index=True)
        self._pairs: Ints = pairs
        self.student, self.day = student[self.order], day[self.order]

    def __len__(self) -> int:
        return len(self.day)

    def _pair(self, student: Ints, day: Ints) -> Ints:
        """A number that sorts by student, then day; days beyond the known ones count as next to them."""
        return student * self._span + np.clip(day - self._first, -1, self._span - 2) + 1

    def up_to(self, student: Ints, day: Ints) -> Ints:
        """Number of pairs that are not after (student, day)."""
        return np.searchsorted(self._pairs, self._pair(student, day), side="right")

    def newest(self, student: Ints, day: Ints) -> tuple[Ints, Bools]:
        """Position of the student's last pair up to `day`, and whether there is one."""
        at = self.up_to(student, day) - 1
        return np.maximum(at, 0), (at >= 0) & (self.student[at] == student)


@dataclass(frozen=True)
class Records:
    """What is known of students, who are numbered 0..n - 1.

    Attributes:
        activity: columns student, day: the days with an answer, in any order.
        metrics: columns student, as_of_day and COVARIATES: weekly metrics of closed weeks, made from facts before
            as_of_day's midnight; NaN where a number is not known. At most one row per student and as_of_day.
        keys: of `student_keys`, shape (n,).
        calendar: days off.
    """

    activity: pd.DataFrame
    metrics: pd.DataFrame
    keys: Keys
    calendar: Calendar


def training_landmarks(
    records: Records, cut: int, lookback_days: int, horizons: tuple[int, ...] = HORIZONS
) -> pd.DataFrame:
    """Landmarks with outcomes: one per student and week, on a random weekday, while the student is at risk.

    From the day after the student's first active day and `lookback_days` before the cut on, up to the last day whose
    outcome at the shortest horizon is known. Facts from the cut's midnight on are not used.

    Returns:
        Columns of `at_risk`, and event_<h> for each horizon: 1 when the student becomes silent for 14 days within
        h days (a student who does so, returns and does so again is looked at after the return too), 0 when not,
        NaN when it is not known at the cut.
    """
    activity, metrics = _before(records, cut)
    calendar = records.calendar
    last_of_student = np.flatnonzero(np.diff(activity.student, append=-1))
    may_be_at_risk = calendar.event(activity.day[last_of_student]) > cut - lookback_days
    students = activity.student[last_of_student[may_be_at_risk]]
    weeks = np.arange((cut - lookback_days - 1) // 7, (cut - min(horizons) - 1) // 7 + 1)
    student, week = np.repeat(students, len(weeks)), np.tile(weeks, len(students))
    day = landmark_days(records.keys[student], week)
    inside = (day >= cut - lookback_days) & (day <= cut - min(horizons))
    rows = _at_risk(activity, metrics, calendar, student[inside], day[inside], horizons)
    return rows.assign(**_outcomes(activity, calendar, rows, cut, horizons))


def at_risk(records: Records, as_of: int, horizons: tuple[int, ...] = HORIZONS) -> pd.DataFrame:
    """All students who are at risk at `as_of`: active before, idle for fewer than 14 days.

    Returns:
        Columns student; day, the landmark; active, the last active day; idle; due, days until the event if the silence
        goes on (14 - idle, and more where days off do not count); weekday, 1 (Monday) to 7; COVARIATES, of the
        newest metrics with as_of_day <= day, NaN where unknown; holidays_<h>: days off from `day` on in the h
        days, or fewer when h <= 14 and the silence is over earlier. Sorted by student and day.
    """
    activity, metrics = _before(records, as_of)
    student = np.unique(activity.student)
    return _at_risk(activity, metrics, records.calendar, student, np.full(len(student), as_of), horizons)


def outcomes(records: Records, landmarks: pd.DataFrame, cut: int, horizons: tuple[int, ...] = HORIZONS) -> pd.DataFrame:
    """Whether students became silent after landmarks that were looked at earlier.

    Args:
        records: active days of these students from before the first landmark on.
        landmarks: columns student and day.
        cut: facts from its midnight on are not used.
        horizons: days.

    Returns:
        event_<h> for each horizon, as of `training_landmarks`, a row for each landmark.
    """
    activity, _ = _before(records, cut)
    return pd.DataFrame(_outcomes(activity, records.calendar, landmarks, cut, horizons))


def return_gaps(records: Records, cut: int, lookback_days: int) -> pd.DataFrame:
    """Times from an active day to the next, for the hazard of coming back.

    Time is counted in days since the active day: 1 is the day after. A gap that begins before the look-back is
    seen only from its first day on, and one that has not ended at the cut is censored.

    Returns:
        Columns student; start, days that the gap was old when it came into view (0 for most); stop, its length at
        the next active day or when last seen; returned, 1 or 0; COVARIATES, as known when the gap began.
    """
    activity, metrics = _before(records, cut)
    follows = np.diff(activity.student, append=-1) == 0
    until = np.append(activity.day[1:], cut)
    stop = np.where(follows, until, cut - 1) - activity.day
    start = np.maximum(cut - lookback_days - 1 - activity.day, 0)
    seen = stop > start
    student, day = activity.student[seen], activity.day[seen]
    return pd.DataFrame(
        {
            "student": student,
            "start": start[seen],
            "stop": stop[seen],
            "returned": follows[seen].astype(np.int64),
            **_covariates(metrics, student, day + 1),
        }
    )


@dataclass(frozen=True)
class _Metrics:
    """Weekly metrics in the order of their pairs."""

    pairs: _Pairs
    values: Floats


def _before(records: Records, cut: int) -> tuple[_Pairs, _Metrics]:
    """Nothing from the cut on goes any further."""
    student, day = (records.activity[name].to_numpy(np.int64) for name in ("student", "day"))
    made = records.metrics[records.metrics["as_of_day"] <= cut]
    pairs = _Pairs(*(made[name].to_numpy(np.int64) for name in ("student", "as_of_day")))
    values = made[list(COVARIATES)].to_numpy(dtype=float)[pairs.order]
    return _Pairs(student[day < cut], day[day < cut]), _Metrics(pairs, values)


def _at_risk(
    activity: _Pairs, metrics: _Metrics, calendar: Calendar, student: Ints, day: Ints, horizons: tuple[int, ...]
) -> pd.DataFrame:
    """The given landmarks at which the student is at risk, see `at_risk`."""
    at, known = activity.newest(student, day - 1)
    student, day, active = student[known], day[known], activity.day[at[known]]
    idle = calendar.idle(active, day)
    risky = idle < SILENT_DAYS
    student, day, active, idle = student[risky], day[risky], active[risky], idle[risky]
    due = calendar.event(active) - day
    windows = {h: np.minimum(h, due) if h <= SILENT_DAYS else np.full(len(day), h) for h in horizons}
    return pd.DataFrame(
        {
            "student": student,
            "day": day,
            "active": active,
            "idle": idle,
            "due": due,
            "weekday": weekday(day),
            **_covariates(metrics, student, day),
            **{f"holidays_{h}": calendar.off(day, day + window) for h, window in windows.items()},
        }
    )


def _covariates(metrics: _Metrics, student: Ints, day: Ints) -> dict[str, Floats]:
    if len(metrics.pairs) == 0:
        return {name: np.full(len(day), np.nan) for name in COVARIATES}
    at, known = metrics.pairs.newest(student, day)
    values = np.where(known[:, None], metrics.values[at], np.nan)
    return dict(zip(COVARIATES, values.T, strict=True))


def _outcomes(
    activity: _Pairs, calendar: Calendar, rows: pd.DataFrame, cut: int, horizons: tuple[int, ...]
) -> dict[str, Floats]:
    """event_<h> of landmarks, from all silences that have become events at the cut."""
    event = calendar.event(activity.day)
    follows = np.diff(activity.student, append=-1) == 0
    back = np.where(follows, np.append(activity.day[1:], cut), cut)
    happened = back >= event
    events = _Pairs(activity.student[happened], event[happened])
    student, day = rows["student"].to_numpy(), rows["day"].to_numpy()
    outcomes = {}
    for horizon in horizons:
        within = events.up_to(student, day + horizon) > events.up_to(student, day)
        outcomes[f"event_{horizon}"] = np.where(day + horizon <= cut, within.astype(float), np.nan)
    return outcomes
