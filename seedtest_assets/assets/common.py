"""What every asset says in the same way: owners, column schema, weeks of the run, rows written."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import dagster as dg
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.calendar import Week
from seedtest_assets.models.reference_scale import OWN, Scale
from seedtest_assets.resources.database import DIALECT, Database, run_id
from seedtest_assets.settings import settings

OWNERS = ["team:learning-analytics"]
FRESH_DAILY = dg.FreshnessPolicy.cron(
    deadline_cron="0 6 * * *", lower_bound_delta=timedelta(hours=5), timezone=settings().seedtest_timezone
)
"""The nightly run of 02:30 has to be done by six o'clock, local time as the schedule's."""
FRESH_WEEKLY = dg.FreshnessPolicy.cron(
    deadline_cron="0 8 * * 1", lower_bound_delta=timedelta(hours=7), timezone=settings().seedtest_timezone
)
"""What is made of the closed week has to be done by Monday, eight o'clock."""
FRESH_TWICE_MONTHLY = dg.FreshnessPolicy.cron(
    deadline_cron="0 9 1,15 * *", lower_bound_delta=timedelta(hours=7), timezone=settings().seedtest_timezone
)
"""The segments of seven o'clock, on the 1st and the 15th, have to be done by nine."""
LAST = {"dagster/priority": "-1"}
"""Tags of a step that leads to no student's numbers: of the steps that could run next, those that do come first."""


def asset_key(name: str) -> dg.AssetKey:
    """The asset key of a table: its name, and before it the tenant's, for all tenants of an instance share its keys."""
    return dg.AssetKey([tables.TENANT, name] if tables.TENANT else name)


def asset_keys(*names: str) -> list[dg.AssetKey]:
    """The asset keys of several tables."""
    return [asset_key(name) for name in names]


def pool(name: str) -> str:
    """A pool: what is in it, one run of a tenant does at a time, and runs of different tenants side by side."""
    return f"{tables.TENANT}_{name}" if tables.TENANT else name


def column_schema(table: sa.Table) -> dict[str, Any]:
    """Asset metadata: the table's name, key and columns, as `tables` defines them."""
    key = [column.name for column in table.primary_key]
    columns = [
        dg.TableColumn(
            name=column.name,
            type=str(column.type.compile(dialect=DIALECT)).lower(),
            description=column.comment,
            constraints=dg.TableColumnConstraints(
                nullable=bool(column.nullable), unique=bool(column.unique) or key == [column.name]
            ),
        )
        for column in table.c
    ]
    constraints = dg.TableConstraints(other=[f"primary key ({', '.join(key)})"])
    return {
        "dagster/table_name": table.fullname,
        "dagster/column_schema": dg.TableSchema(columns=columns, constraints=constraints),
    }


def table_spec(
    table: sa.Table,
    description: str,
    *,
    deps: Sequence[Any],
    group: str,
    code_version: str,
    skippable: bool,
    freshness: dg.FreshnessPolicy = FRESH_DAILY,
    kinds: Collection[str] = ("r", "postgres"),
) -> dg.AssetSpec:
    """One table of several that are made together."""
    return dg.AssetSpec(
        key=asset_key(table.name),
        deps=deps,
        description=description,
        skippable=skippable,
        group_name=group,
        owners=OWNERS,
        kinds=set(kinds),
        code_version=code_version,
        freshness_policy=freshness,
        metadata=column_schema(table),
    )


def weeks(context: dg.AssetExecutionContext) -> list[Week]:
    """The weeks of this run, in order: one, or a range in a single-run backfill."""
    return [Week.of(date.fromisoformat(key)) for key in sorted(context.partition_keys)]


def single_run(written: Sequence[int]) -> dg.MaterializeResult[None]:
    """The result of an asset that may have written several weeks; each partition shows its own number of rows.

    Args:
        written: rows of each of the run's `weeks`, in their order.
    """
    context = dg.AssetExecutionContext.get()
    for week, rows in zip(weeks(context), written, strict=True):
        context.add_asset_metadata({"dagster/partition_row_count": rows}, partition_key=week.key)
    return dg.MaterializeResult()


def window(table: sa.Table, week: Week) -> sa.ColumnElement[bool]:
    """The rows of a table that belong to a week: what its asset replaces and its checks look at."""
    if "week_start" in table.c:
        return table.c.week_start == week.start
    if "date" in table.c:
        return (table.c.date >= week.start) & (table.c.date < week.end)
    (fit,) = table.c.run_id.foreign_keys
    return table.c.run_id == run_id(fit.column.table.name, week.start)


def local_date(instant: sa.ColumnElement[Any], week: Week) -> sa.ColumnElement[Any]:
    """The day that an instant falls on in the zone in which the week's days begin."""
    return sa.cast(sa.func.timezone(week.timezone, instant), sa.Date)


def local_monday(instant: sa.ColumnElement[Any], week: Week) -> sa.ColumnElement[Any]:
    """The Monday of the ISO week that an instant falls in, in the same zone."""
    return sa.cast(sa.func.date_trunc("week", local_date(instant, week)), sa.Date)


@dataclass(frozen=True)
class Bank:
    """A published calibration.

    Attributes:
        run_id: of mirt_fit_meta and its mirt_item_params.
        week_start: the week that calibrated it.
        model: Rasch, 2PL or 3PL.
        latent_mean, latent_sd: distribution of ability in its window.
        quadrature: n, min, max of the nodes on which it was calibrated, on the scale on which it is published.
        linking: how it was brought onto the reference scale (mirt_fit_meta.linking_constants); None = it was not.
    """

    run_id: UUID
    week_start: date
    model: str
    latent_mean: float
    latent_sd: float
    quadrature: dict[str, float]
    linking: dict[str, Any] | None

    @property
    def latent(self) -> dict[str, float]:
        """Mean and sd of ability, as the IRT service takes them."""
        return {"mean": self.latent_mean, "sd": self.latent_sd}


def newest_bank(database: Database, week: Week, *, earlier: bool = False) -> Bank | None:
    """The newest published calibration of this week or before it (strictly before with `earlier`), or None.

    'Current' is a matter of dates, never of a flag: a replayed week finds the bank it found then.
    """
    meta = tables.mirt_fit_meta.c
    found = database.rows(
        sa.select(
            meta.run_id,
            meta.week_start,
            meta.model,
            meta.metrics["latent_mean"].as_float(),
            meta.metrics["latent_sd"].as_float(),
            meta.model_spec["quadrature"],
            meta.linking_constants,
        )
        .where(meta.week_start < week.start if earlier else meta.week_start <= week.start)
        .order_by(meta.week_start.desc())
        .limit(1)
    )
    if not found:
        return None
    bank = Bank(*tuple(found[0]))
    return replace(bank, quadrature=scale_of(bank.linking).quadrature(bank.quadrature))


def scale_of(linking: dict[str, Any] | None) -> Scale:
    """The scale on which a calibration with these linking constants is published."""
    return Scale(linking["A"], linking["B"]) if linking else OWN


def bank_items(bank: Bank | None) -> sa.Select[*tuple[Any, ...]]:
    """item_id, a, b, c of a calibration; no rows without one."""
    items = tables.mirt_item_params.c
    return sa.select(items.item_id, items.a, items.b, items.c).where(items.run_id == (bank.run_id if bank else None))
