"""Landmarks and gaps by loops over students and days: slow, obvious, written from the definitions alone."""

import math

from seedtest_assets.models.landmarks import COVARIATES

SILENT = 14


def landmark_of_week(key, week):
    """SplitMix64 in whole numbers."""
    mixed = (int(key) + week * 0x9E3779B97F4A7C15) % 2**64
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
    mixed ^= mixed >> 31
    return 7 * week + 1 + mixed % 7


def counts_as_idle(day, calendar):
    return not (calendar.idle_skips_days_off and day in calendar.days_off.tolist())


def silence_ends(active, calendar):
    """The midnight that ends the 14th idle day after `active`."""
    day, silent = active, 0
    while silent < SILENT:
        day += 1
        silent += counts_as_idle(day, calendar)
    return day + 1


def events(days, cut, calendar):
    """All silences of 14 days that are over at the cut."""
    found = []
    for position, active in enumerate(days):
        event = silence_ends(active, calendar)
        back = days[position + 1] if position + 1 < len(days) else cut
        if event <= back:
            found.append(event)
    return found


def covariates(metrics, student, day):
    known = metrics[(metrics["student"] == student) & (metrics["as_of_day"] <= day)]
    if known.empty:
        return dict.fromkeys(COVARIATES, math.nan)
    return known.sort_values("as_of_day").iloc[-1][list(COVARIATES)].to_dict()


def active_days(records, student, cut):
    return sorted({int(d) for s, d in records.activity.to_numpy() if s == student and d < cut})


def state(records, student, days, day, horizons):
    """Everything known of a student at a landmark, or None when not at risk."""
    before = [active for active in days if active < day]
    if not before:
        return None
    calendar = records.calendar
    idle = sum(counts_as_idle(silent, calendar) for silent in range(before[-1] + 1, day))
    if idle >= SILENT:
        return None
    due = silence_ends(before[-1], calendar) - day
    row = {"student": student, "day": day, "active": before[-1], "idle": idle, "due": due, "weekday": (day - 1) % 7 + 1}
    row |= covariates(records.metrics, student, day)
    for horizon in horizons:
        window = min(horizon, due) if horizon <= SILENT else horizon
        row[f"holidays_{horizon}"] = sum(off in range(day, day + window) for off in calendar.days_off.tolist())
    return row


def training_landmarks(records, cut, lookback, horizons):
    """Rows as dicts, by student and day."""
    rows = []
    for student, key in enumerate(records.keys):
        days = active_days(records, student, cut)
        happened = events(days, cut, records.calendar)
        for week in range((cut - lookback) // 7 - 2, cut // 7 + 2):
            day = landmark_of_week(key, week)
            row = state(records, student, days, day, horizons)
            if row is None or not cut - lookback <= day <= cut - min(horizons):
                continue
            for horizon in horizons:
                known = day + horizon <= cut
                within = any(day < event <= day + horizon for event in happened)
                row[f"event_{horizon}"] = float(within) if known else math.nan
            rows.append(row)
    return rows


def at_risk(records, as_of, horizons):
    """Rows as dicts, by student."""
    students = range(len(records.keys))
    rows = [state(records, student, active_days(records, student, as_of), as_of, horizons) for student in students]
    return [row for row in rows if row is not None]


def return_gaps(records, cut, lookback):
    """Rows as dicts, by student and day: each day after an active day is looked at by itself."""
    rows = []
    for student in range(len(records.keys)):
        days = active_days(records, student, cut)
        for active in days:
            seen = []
            for day in range(active + 1, cut):
                if day >= cut - lookback:
                    seen.append(day)
                if day in days:
                    break
            if seen:
                rows.append(
                    {
                        "student": student,
                        "start": seen[0] - 1 - active,
                        "stop": seen[-1] - active,
                        "returned": int(seen[-1] in days),
                        **covariates(records.metrics, student, active + 1),
                    }
                )
    return rows
