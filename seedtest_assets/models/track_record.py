"""How risks that were published came true: the out-of-time judgement that needs no second fit.

A risk of exactly 0 is logic and has no part in it: what is judged are risks of events that could happen.
"""

from typing import Any

import numpy as np
import pandas as pd

from seedtest_assets.models.calibration_curve import calibration_bins, calibration_curve, recalibration
from seedtest_assets.models.irt import Bools, Floats, Ints

FEWEST = 50
"""Events, and risks without one, below which a slope's standard error is as wide as what is tolerated."""


def track_record(risks: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """By horizon, as JSON: what was predicted and what happened.

    Args:
        risks: published risks whose horizon is over: columns student, horizon (days), risk, risk_recency (by idle days
            alone; NaN where unknown) and event (1 or 0).

    Returns:
        For each horizon, as text: n, events, students, predicted and happened (means), brier, brier_recency and skill
        (1 - brier / brier_recency) on the risks that have one; intercept, slope and slope_se of the recalibration, and
        ici, all None with fewer than FEWEST events or risks without one; bins: columns prediction, happened, n.
    """
    return {str(horizon): _record(rows) for horizon, rows in risks[risks["risk"] > 0].groupby("horizon")}


def _record(rows: pd.DataFrame) -> dict[str, Any]:
    risk, recency, event = (rows[name].to_numpy(dtype=float) for name in ("risk", "risk_recency", "event"))
    beside = ~np.isnan(recency)
    brier, baseline = (_brier(of[beside], event[beside]) for of in (risk, recency))
    students = np.unique(rows["student"].to_numpy(), return_inverse=True)[1]
    return {
        "n": len(rows),
        "events": int(event.sum()),
        "students": int(students.max()) + 1,
        "predicted": float(risk.mean()),
        "happened": float(event.mean()),
        "brier": _brier(risk, event),
        "brier_recency": baseline,
        "skill": 1 - brier / baseline if baseline and brier is not None else None,
        **_calibration(risk, event == 1, students),
    }


def _calibration(risk: Floats, event: Bools, student: Ints) -> dict[str, Any]:
    bins = {name: values.tolist() for name, values in calibration_bins(risk, event).items()}
    if min(event.sum(), (~event).sum()) < FEWEST:
        return {**dict.fromkeys(("intercept", "slope", "slope_se", "ici")), "bins": bins}
    line = recalibration(risk, event, student)
    ici = calibration_curve(risk, event).ici
    numbers = {"intercept": line.intercept, "slope": line.slope, "slope_se": line.slope_se, "ici": ici}
    return {name: None if np.isnan(value) else value for name, value in numbers.items()} | {"bins": bins}


def _brier(risk: Floats, event: Floats) -> float | None:
    return float(np.mean((risk - event) ** 2)) if len(risk) else None
