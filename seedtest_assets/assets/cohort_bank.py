"""The item bank's health, as facts of the teacher's report: the newest calibration, and which items need a look."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.assets.common import newest_bank
from seedtest_assets.assets.weekly_kpi import INTERVAL_90
from seedtest_assets.calendar import Week
from seedtest_assets.reports.bank_facts import BankFacts, DifFacts, DriftFacts, HealthFacts, MisfitFacts
from seedtest_assets.reports.facts import Estimate
from seedtest_assets.resources.database import Database

ROWS = 10
"""Items of a kind that are listed."""


def bank_facts(database: Database, week: Week) -> BankFacts | None:
    """The newest calibration of the week or before; None without one."""
    bank = newest_bank(database, week)
    if bank is None:
        return None
    item, drift, dif = tables.mirt_item_params, tables.item_drift, tables.item_dif
    misfits, n_misfits, n_items = _worst(
        database, item, bank.run_id, item.c.flag.is_not(None), item.c.rmsd.desc().nulls_last()
    )
    drifted, n_drifted, n_compared = _worst(
        database,
        drift,
        bank.run_id,
        drift.c.flag,
        drift.c.severity != "large",
        sa.func.abs(drift.c.d_b).desc().nulls_last(),
    )
    different, n_dif, n_dif_compared = _worst(
        database,
        dif,
        bank.run_id,
        dif.c.flag,
        dif.c.ets_class.desc().nulls_last(),
        sa.func.abs(dif.c.mh_d_dif).desc().nulls_last(),
        dif.c.attribute,
        dif.c.focal,
    )
    return BankFacts(
        model=bank.model,
        calibrated=bank.week_start,
        n_items=n_items,
        anchors=bank.linking["n_anchors"] if bank.linking else None,
        health=_health(database, bank.run_id),
        misfits=[
            MisfitFacts(row.question, row.flag, row.n_responses, row.infit, row.outfit, row.rmsd) for row in misfits
        ],
        n_misfits=n_misfits,
        drifted=[
            DriftFacts(row.question, row.severity, _estimate(row.d_b, row.se_d_b), _estimate(row.d_a, row.se_d_a))
            for row in drifted
        ],
        n_drifted=n_drifted,
        n_anchors_compared=n_compared,
        dif=[
            DifFacts(
                row.question,
                row.attribute,
                row.focal,
                row.reference,
                row.ets_class,
                _estimate(row.mh_d_dif, row.mh_se),
            )
            for row in different
        ],
        n_dif=n_dif,
        n_dif_compared=n_dif_compared,
    )


def _worst(
    database: Database, table: sa.Table, run: UUID, flagged: sa.ColumnElement[bool], *order: sa.ColumnElement[Any]
) -> tuple[Sequence[sa.Row[*tuple[Any, ...]]], int, int]:
    """Rows of a calibration that are flagged, the worst first; how many are, and how many rows there are."""
    key = tables.item_key
    name = sa.func.coalesce(key.c.text, sa.cast(table.c.item_id, sa.Text)).label("question")
    of_run = table.c.run_id == run
    rows = database.rows(
        sa.select(table, name)
        .outerjoin_from(table, key, key.c.item_id == table.c.item_id)
        .where(of_run, flagged)
        .order_by(*order, table.c.item_id)
        .limit(ROWS)
    )
    ((n_flagged, n_rows),) = database.rows(
        sa.select(sa.func.count().filter(flagged), sa.func.count()).select_from(table).where(of_run)
    )
    return rows, n_flagged, n_rows


def _health(database: Database, run: UUID) -> HealthFacts | None:
    health = tables.bank_health.c
    found = database.rows(sa.select(tables.bank_health).where(health.run_id == run))
    if not found:
        return None
    row = found[0]
    return HealthFacts(
        n_known=row.n_known,
        never_used_share=row.never_used_share,
        max_exposure=row.max_exposure,
        effective_size=row.effective_size,
        information=[row.information_p10, row.information_p50, row.information_p90],
        share_well_measured=row.share_well_measured,
        band_edges=row.details["band_edges"],
        items=row.details["items_by_band"],
        students=row.details["students_by_band"],
    )


def _estimate(value: float | None, se: float | None) -> Estimate | None:
    if value is None or se is None:
        return None if value is None else Estimate(value)
    return Estimate(value, value - INTERVAL_90 * se, value + INTERVAL_90 * se)
