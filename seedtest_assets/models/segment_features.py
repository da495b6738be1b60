"""What students are grouped by: one row per student from up to twelve weeks of metrics."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd

from seedtest_assets.models.irt import Floats

Transform = Literal["none", "log", "sqrt"]

MIN_WEEKS = 4
"""Weeks with metrics that a student needs."""

TRANSFORMS: dict[str, Transform] = {
    "frequency": "none",
    "irregularity": "none",
    "gap_days": "log",
    "session_minutes": "log",
    "answers_per_day": "log",
    "response_s": "log",
    "hint_rate": "sqrt",
    "accuracy": "none",
    "improvement": "none",
    "improvement_spread": "none",
    "efficiency": "none",
    "efficiency_spread": "none",
    "recovery": "none",
    "recovery_spread": "none",
}
"""Each feature, and the scale on which it is less skewed: "log" is log(1 + x)."""

_FORWARD: dict[Transform, Callable[[Floats], Floats]] = {"none": np.asarray, "log": np.log1p, "sqrt": np.sqrt}
_BACK: dict[Transform, Callable[[Floats], Floats]] = {"none": np.asarray, "log": np.expm1, "sqrt": np.square}

MIN_SPREAD_WEEKS = 3
"""Known weeks that a spread needs."""

MAX_MISSING = 0.5
DUPLICATE = 0.95
"""Rank correlation from which a feature says what another one has said."""


def segment_features(weeks: pd.DataFrame, least_weeks: int = MIN_WEEKS) -> pd.DataFrame:
    """Features in natural units, by student who has at least `least_weeks` rows.

    frequency: mean of active_days, per week; irregularity: its standard deviation over the weeks; gap_days: mean days
    between active days; session_minutes: mean dwell; answers_per_day: per active day; response_s: mean of the weeks'
    median seconds to an answer; hint_rate and accuracy: means of shares; improvement, efficiency, recovery: means of
    i_t, e_t, r_t, and their standard deviations over the weeks. Engagement a_t and sessions are left out: they are made
    of, or say, the same as frequency, gaps, hints and dwell.

    Args:
        weeks: a row per student and week; columns user_id, active_days, attempts, mean_gap_days, hint_rate, dwell_s,
            i_t, e_t, r_t, and, if known, rt_median_s and accuracy. The order of the rows does not matter.
        least_weeks: MIN_WEEKS for students that segments are made from; 1 for whoever is assigned to one.

    Returns:
        Columns of TRANSFORMS, index user_id, sorted. What is not known is NaN.
    """
    weeks = weeks.astype({"user_id": str})  # categories would come in an order of their own
    counts = weeks.groupby("user_id")["user_id"].transform("size")
    # sums of floats depend on the order of their terms, so the rows get one
    rows = weeks[counts >= least_weeks].sort_values(["user_id", "week_start"]).set_index("user_id")
    optional = rows.reindex(columns=["rt_median_s", "accuracy"]).astype(float)
    known = rows[["active_days", "attempts", "mean_gap_days", "hint_rate", "dwell_s", "i_t", "e_t", "r_t"]].astype(
        float
    )
    by_user = pd.concat([known, optional], axis=1).groupby(level=0)
    mean, total = by_user.mean(), by_user.sum()
    spread = by_user.std().where(by_user.count() >= MIN_SPREAD_WEEKS)
    found = {
        "frequency": mean["active_days"],
        "irregularity": spread["active_days"],
        "gap_days": mean["mean_gap_days"],
        "session_minutes": mean["dwell_s"] / 60,
        "answers_per_day": total["attempts"] / total["active_days"].where(total["active_days"] > 0),
        "response_s": mean["rt_median_s"],
        "hint_rate": mean["hint_rate"],
        "accuracy": mean["accuracy"],
        "improvement": mean["i_t"],
        "improvement_spread": spread["i_t"],
        "efficiency": mean["e_t"],
        "efficiency_spread": spread["e_t"],
        "recovery": mean["r_t"],
        "recovery_spread": spread["r_t"],
    }
    return pd.DataFrame(found, columns=list(TRANSFORMS))


def left_out(features: pd.DataFrame) -> dict[str, str]:
    """Features that cannot group students, with the reason: missing for more than half, constant, or a duplicate.

    Of two that are the same but for a monotone transformation the later is the duplicate.
    """
    reasons: dict[str, str] = {}
    for name, values in features.items():
        if values.isna().mean() > MAX_MISSING:
            reasons[str(name)] = "missing for more than half of the students"
        elif values.nunique() < 2:
            reasons[str(name)] = "constant"
    kept: list[str] = []
    same = features.drop(columns=list(reasons)).corr(method="spearman").abs()
    for name in same.columns:
        earlier = same.index[(same[name] >= DUPLICATE) & same.index.isin(kept)]
        if len(earlier):
            reasons[name] = f"says what {earlier[0]} says"
        else:
            kept.append(name)
    return reasons


def transformed(values: Floats, transform: Transform) -> Floats:
    """Natural units on the scale of a transform."""
    return _FORWARD[transform](values)


def natural(values: Floats, transform: Transform) -> Floats:
    """The inverse of `transformed`."""
    return _BACK[transform](values)
