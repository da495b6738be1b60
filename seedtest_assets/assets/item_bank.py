"""How the item bank holds up, week by week: item_drift, item_dif, bank_health. Nothing else is computed from them."""

from dataclasses import asdict
from itertools import pairwise
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import sqlalchemy as sa
from dagster import AssetExecutionContext

from seedtest_assets import tables
from seedtest_assets.assets import plots
from seedtest_assets.assets.attempts import attempt
from seedtest_assets.assets.common import (
    FRESH_DAILY,
    LAST,
    OWNERS,
    Bank,
    asset_key,
    asset_keys,
    bank_items,
    column_schema,
    newest_bank,
    pool,
    weeks,
    window,
)
from seedtest_assets.assets.irt import answered_once, calibration_answers
from seedtest_assets.assets.reference_scale import FIXED, anchors_in_force
from seedtest_assets.calendar import WEEKS, Week
from seedtest_assets.failures import STEP_RETRIES, PermanentFailure
from seedtest_assets.models.bank_health import BAND_EDGES, CalibratedItems
from seedtest_assets.models.bank_health import bank_health as health_of
from seedtest_assets.resources.database import Database, Rows, run_id
from seedtest_assets.resources.plumber import IrtService, Unprocessable
from seedtest_assets.settings import settings

BAND_NAMES = [
    f"below {BAND_EDGES[0]:g}",
    *(f"{low:g} to {high:g}" for low, high in pairwise(BAND_EDGES)),
    f"{BAND_EDGES[-1]:g} and above",
]


@dg.asset(
    key=asset_key("item_drift"),
    deps=[asset_key("mirt_item_params")],
    partitions_def=WEEKS,
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    retry_policy=STEP_RETRIES,
    pool=pool("r_irt"),
    op_tags=LAST,
    group_name="irt",
    owners=OWNERS,
    kinds={"r", "postgres"},
    code_version="1",
    freshness_policy=FRESH_DAILY,
    metadata=column_schema(tables.item_drift),
)
def item_drift(context: AssetExecutionContext, database: Database, irt: IrtService) -> dg.MaterializeResult[None]:
    """How far each anchor of the reference scale has moved in this week's calibration, and whether that matters.

    Compared after the robust link, which the anchors that moved do not bend. No rows for a calibration that is on its
    own scale, or that held the anchors fixed: there `mirt_item_params.flag` says which of them no longer fit.
    """
    (week,) = weeks(context)
    bank, table = _own_bank(database, week), tables.item_drift
    moved, why = pd.DataFrame(), _not_comparable(bank)
    anchors = anchors_in_force(database, week)
    if why is None:
        try:
            items = database.frame(_parameters(week))
            moved = irt.drift(items, anchors, model=bank.model).rename(columns={"z_b": "z"})
        except Unprocessable as error:
            why = error.description
    rows = moved.reindex(columns=[column.name for column in table.c if column.name not in {"run_id", "computed_at"}])
    written = database.replace(Rows(table, _of_week(rows, week), window(table, week)), week_start=week.start)
    metadata: dict[str, Any] = {"dagster/partition_row_count": written[table.name]}
    if why is not None:
        return dg.MaterializeResult(metadata=metadata | {"no_rows_because": why})
    shown = rows.merge(anchors[["item_id", "b"]], on="item_id")
    worst = shown.sort_values(["d_square", "item_id"], ascending=[False, True])
    return dg.MaterializeResult(
        metadata=metadata
        | {
            "flagged": int(rows["flag"].sum()),
            "most_moved": plots.table(worst[["item_id", "b", "d_a", "d_b", "se_d_b", "z", "p", "severity"]]),
            "drift_plot": plots.drift(shown),
        }
    )


def _own_bank(database: Database, week: Week) -> Bank:
    """The week's own calibration, of which this module speaks.

    Raises:
        PermanentFailure: when none was published. The main job skips these assets then.
    """
    bank = newest_bank(database, week)
    if bank is None or bank.week_start != week.start:
        raise PermanentFailure(
            f"The week of {week.start} has no calibration of its own to judge; {tables.fit_attempt.fullname} says why. "
            "Materialise mirt for it first."
        )
    return bank


def _not_comparable(bank: Bank) -> str | None:
    if bank.linking is None:
        return "the calibration is on its own scale"
    if bank.linking["method"] == FIXED:
        return "the anchors were held fixed: those that no longer fit are flagged in mirt_item_params"
    return None


def _parameters(week: Week) -> sa.Select[*tuple[Any, ...]]:
    """Item parameters of the week's own calibration with their standard errors."""
    item = tables.mirt_item_params.c
    return sa.select(item.item_id, item.a, item.b, item.c, item.se_a, item.se_b, item.cov_ab).where(
        window(tables.mirt_item_params, week)
    )


def _of_week(rows: pd.DataFrame, week: Week) -> pd.DataFrame:
    return rows.assign(run_id=str(run_id(tables.mirt_fit_meta.name, week.start)))


@dg.asset(
    key=asset_key("item_dif"),
    deps=[attempt, asset_key("mirt_item_params")],
    partitions_def=WEEKS,
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    retry_policy=STEP_RETRIES,
    pool=pool("r_irt"),
    op_tags=LAST,
    group_name="irt",
    owners=OWNERS,
    kinds={"r", "postgres"},
    code_version="1",
    freshness_policy=FRESH_DAILY,
    metadata=column_schema(tables.item_dif),
)
def item_dif(context: AssetExecutionContext, database: Database, irt: IrtService) -> dg.MaterializeResult[None]:
    """Items that are harder for one group of students than for equally able others, for each attribute of students.

    Groups come from intake.student_attribute; each is compared with the attribute's largest. Without attributes there
    are no rows; attributes that cannot be compared are named in the metadata with the reason.
    """
    (week,) = weeks(context)
    bank, table = _own_bank(database, week), tables.item_dif
    items, answers = (
        database.frame(bank_items(bank)),
        answered_once(database.frame(calibration_answers(database, week))),
    )
    found: list[pd.DataFrame] = []
    not_compared: dict[str, str | None] = {}
    for attribute, groups in database.frame(_groups(database, week)).groupby("attribute", observed=True):
        sizes = groups["group"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
        if len(sizes) < 2:
            not_compared[str(attribute)] = "one group only"
            continue
        try:
            compared = irt.dif(answers, items, groups, reference=sizes.index[0])
        except Unprocessable as error:
            not_compared[str(attribute)] = error.description
            continue
        found.append(compared.assign(attribute=attribute, reference=sizes.index[0]))
    columns = [column.name for column in table.c if column.name not in {"run_id", "computed_at"}]
    rows = (pd.concat(found) if found else pd.DataFrame()).reindex(columns=columns)
    written = database.replace(Rows(table, _of_week(rows, week), window(table, week)), week_start=week.start)
    metadata: dict[str, Any] = {"dagster/partition_row_count": written[table.name], "not_compared": not_compared}
    if not found:
        return dg.MaterializeResult(metadata=metadata)
    worst = rows.assign(size=rows["mh_d_dif"].abs()).sort_values(
        ["flag", "size", "item_id"], ascending=[False, False, True]
    )
    names = ["item_id", "attribute", "focal", "mh_d_dif", "mh_se", "mh_q", "ets_class", "lr_effect", "lr_q", "flag"]
    return dg.MaterializeResult(
        metadata=metadata
        | {
            "flagged": int(rows["flag"].sum()),
            "most_different": plots.table(worst[names]),
            "forest_plot": plots.dif_forest(worst),
        }
    )


def _groups(database: Database, week: Week) -> sa.Select[*tuple[Any, ...]]:
    """attribute, student_id, group of the students with answers in the look-back window."""
    a, known = database.attempt.c, tables.student_attribute.c
    active = sa.select(a.student_id).where(_in_window(database, week))
    return (
        sa.select(known.name.label("attribute"), known.user_id.label("student_id"), known.value.label("group"))
        .where(known.user_id.in_(active))
        .order_by(known.name, known.user_id)
    )


def _in_window(database: Database, week: Week) -> sa.ColumnElement[bool]:
    completed_at = database.attempt.c.completed_at
    return (completed_at >= week.days_before(settings().mirt_lookback_days)) & (completed_at < week.as_of)


@dg.asset(
    key=asset_key("bank_health"),
    deps=[attempt, *asset_keys("mirt_item_params", "mirt_ability")],
    partitions_def=WEEKS,
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    retry_policy=STEP_RETRIES,
    op_tags=LAST,
    group_name="irt",
    owners=OWNERS,
    kinds={"python", "postgres"},
    code_version="1",
    freshness_policy=FRESH_DAILY,
    metadata=column_schema(tables.bank_health),
)
def bank_health(context: AssetExecutionContext, database: Database) -> dg.MaterializeResult[None]:
    """How the item bank is used, and how well it measures where its students are: one row a week.

    Exposure, effective size and the share of items never used come from all answers of the look-back window;
    information from the week's calibrated items at the quantiles of the week's abilities.
    """
    (week,) = weeks(context)
    table, ability = tables.bank_health, tables.mirt_ability
    items = database.frame(bank_items(_own_bank(database, week)))
    a, b, c = (items[name].to_numpy(dtype=float) for name in ("a", "b", "c"))
    scores = database.frame(sa.select(ability.c.theta, ability.c.se).where(window(ability, week)))
    used = database.frame(_use_of_items(database, week))
    theta = scores["theta"].to_numpy(dtype=float)
    health = health_of(
        CalibratedItems(a, b, c),
        theta,
        scores["se"].to_numpy(dtype=float),
        used["answers"].to_numpy(dtype=np.int64),
        used["students"].to_numpy(dtype=np.int64),
        *_counts(database, week),
    )
    row = _of_week(pd.DataFrame([asdict(health)]), week)
    written = database.replace(Rows(table, row, window(table, week)), week_start=week.start)
    numbers = {name: value for name, value in asdict(health).items() if isinstance(value, int | float)}
    bands = {
        "logits": BAND_NAMES,
        "items": health.details["items_by_band"],
        "students": health.details["students_by_band"],
    }
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": written[table.name],
            **numbers,
            "bands": plots.table(pd.DataFrame(bands)),
            "test_information": plots.test_information(a, b, c, theta),
        }
    )


def _use_of_items(database: Database, week: Week) -> sa.Select[*tuple[Any, ...]]:
    """Answers and students of each item in the look-back window."""
    a = database.attempt.c
    return (
        sa.select(a.item_id, sa.func.count().label("answers"), sa.func.count(a.student_id.distinct()).label("students"))
        .where(_in_window(database, week))
        .group_by(a.item_id)
        .order_by(a.item_id)
    )


def _counts(database: Database, week: Week) -> tuple[int, int]:
    """Students with an answer in the window, and items ever answered before as_of."""
    a = database.attempt.c
    students = sa.select(sa.func.count(a.student_id.distinct())).where(_in_window(database, week))
    known = sa.select(sa.func.count(a.item_id.distinct())).where(a.completed_at < week.as_of)
    (found,) = database.rows(sa.select(students.scalar_subquery(), known.scalar_subquery()))
    return found[0], found[1]
