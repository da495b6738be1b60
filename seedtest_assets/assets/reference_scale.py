"""The reference scale: its anchors, set once by rule, and the link of a week's calibration to them."""

from typing import Any

import pandas as pd
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.calendar import Week
from seedtest_assets.models.anchors import choose_anchors
from seedtest_assets.resources.database import Database, run_id
from seedtest_assets.resources.plumber import Calibration, Fit, Linking
from seedtest_assets.settings import settings

FIXED = "fixed"
"""The MIRT_LINK_METHOD that calibrates with the anchors held at their reference values."""


def anchors_in_force(database: Database, week: Week) -> pd.DataFrame:
    """item_id and parameters of the anchors that a week is linked to: of its model, valid at its as_of."""
    anchor = tables.item_anchor.c
    names = [anchor[name] for name in ("item_id", "valid_from", "a", "b", "c", "se_a", "se_b", "cov_ab")]
    return database.frame(
        sa.select(*names)
        .where(
            anchor.model == settings().mirt_model,
            anchor.valid_from <= week.as_of,
            sa.or_(anchor.valid_to.is_(None), anchor.valid_to > week.as_of),
        )
        .order_by(anchor.item_id)
    )


def is_set(database: Database) -> bool:
    """Whether there is a reference scale, be it for other weeks or another model: by itself it is set only once."""
    (found,) = database.rows(sa.select(sa.exists(sa.select(tables.item_anchor.c.item_id)).label("any")))
    return bool(found.any)


def seeded(database: Database, week: Week, calibration: Calibration, fit: Fit) -> pd.DataFrame:
    """Rows of item_anchor that this calibration sets the reference scale with; none when too few items qualify."""
    items = calibration.items.merge(fit.items[["item_id", "fit_p", "rmsd", "flag"]], on="item_id", how="left").merge(
        database.frame(_topics(database, week)), on="item_id", how="left"
    )
    chosen = choose_anchors(
        items,
        min_responses=settings().mirt_anchor_min_responses,
        most=settings().mirt_anchor_max,
        least=settings().mirt_anchor_min,
    )
    rows = items.loc[items["item_id"].isin(chosen), ["item_id", "a", "b", "c", "se_a", "se_b", "cov_ab"]]
    return rows.assign(
        valid_from=pd.Timestamp(week.as_of),
        model=calibration.fit_meta["model"],
        bank=str(run_id(tables.mirt_fit_meta.name, week.start)),
    )


def _topics(database: Database, week: Week) -> sa.Select[*tuple[Any, ...]]:
    """The topic under which each item was mostly answered; of equals the first in the alphabet."""
    a = database.attempt.c
    return (
        sa.select(a.item_id, sa.func.mode().within_group(a.topic_id).label("topic_id"))
        .where(a.completed_at >= week.days_before(settings().mirt_lookback_days), a.completed_at < week.as_of)
        .group_by(a.item_id)
    )


def constants_of(linking: Linking, method: str) -> dict[str, Any]:
    """linking_constants: those of the method in use, and beside them those of all methods and the dropped anchors."""
    methods = _records(linking.constants)
    (chosen,) = (each for each in methods if each["method"] == method)
    dropped = _records(linking.dropped.astype({"item_id": str}))
    return {**chosen, "n_anchors": linking.n_anchors, "dropped": dropped, "methods": methods}


def constants_of_fixed(calibration: Calibration, min_responses: int) -> dict[str, Any]:
    """linking_constants of a calibration whose anchors were held fixed: it is on the reference scale as it comes.

    As for any other link, anchors count that have enough answers.
    """
    counted = calibration.items["is_anchor"] & (calibration.items["n_responses"] >= min_responses)
    return {"method": FIXED, "A": 1.0, "B": 0.0, "n_anchors": int(counted.sum()), "dropped": []}


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Its rows as JSON has them: what is missing is null."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]
