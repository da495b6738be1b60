"""Warnings about the item bank: items that do not fit, drift or favour a group, a bank that does not serve students.

They stop nothing: a flagged item stays in the bank until a person takes it out.
"""

from datetime import date

import dagster as dg
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.assets.common import asset_key, window
from seedtest_assets.calendar import WEEKS, Week
from seedtest_assets.failures import STEP_RETRIES
from seedtest_assets.resources.database import Database

MOST_MISFITTING = 0.10
"""Share of the items that may be flagged for fit: some always are, by chance."""
LEAST_INFORMATION = 0.10
"""Of one answer, mean over the items. A standard error of half a logit needs four units: forty such answers."""
MOST_EXPOSURE = 0.50
"""Share of the students that may meet one item in the look-back window: what everybody has met is soon known."""
NAMED = 10


def _flagged_rows(
    table: sa.Table, name: str, description: str, *, advice: str, tolerated: float = 0.0
) -> dg.AssetChecksDefinition:
    """The check that no more than a tolerated share of a table's rows of the week is flagged.

    Args:
        table: with item_id and flag, of an asset of the same name.
        name: of the check.
        description: what it means.
        advice: what to do about the items named.
        tolerated: share of the rows.
    """
    flagged = table.c.flag if isinstance(table.c.flag.type, sa.Boolean) else table.c.flag.is_not(None)

    @dg.asset_check(
        asset=asset_key(table.name), name=name, partitions_def=WEEKS, retry_policy=STEP_RETRIES, description=description
    )
    def check(context: dg.AssetCheckExecutionContext, database: Database) -> dg.AssetCheckResult:
        week = Week.of(date.fromisoformat(context.partition_key))
        item = sa.select(table.c.item_id, flagged.label("flag")).where(window(table, week)).order_by(table.c.item_id)
        rows = database.rows(item)
        found = sorted({row.item_id for row in rows if row.flag})
        passed = len(found) <= tolerated * len({row.item_id for row in rows})
        named = ", ".join(map(str, found[:NAMED])) + (" …" if len(found) > NAMED else "")
        return dg.AssetCheckResult(
            passed=passed,
            severity=dg.AssetCheckSeverity.WARN,
            description=None if passed else f"{len(found)} items: {named}. {advice}",
            metadata={"rows": len(rows), "flagged_items": len(found)},
        )

    return check


@dg.asset_check(
    asset=asset_key(tables.bank_health.name),
    name="bank_serves_students",
    partitions_def=WEEKS,
    retry_policy=STEP_RETRIES,
    description=f"One answer carries at least {LEAST_INFORMATION} units of information, mean over the items, for the "
    f"weakest and the strongest tenth of the students, and no item is met by more than {MOST_EXPOSURE:.0%} of them.",
)
def bank_serves_students(context: dg.AssetCheckExecutionContext, database: Database) -> dg.AssetCheckResult:
    """The thresholds on the week's row of bank_health."""
    week, health = Week.of(date.fromisoformat(context.partition_key)), tables.bank_health.c
    (found,) = database.rows(
        sa.select(health.information_p10, health.information_p90, health.max_exposure).where(
            window(tables.bank_health, week)
        )
    )
    low, high, exposure = found
    complaints = []
    if low is not None and low < LEAST_INFORMATION:
        complaints.append(f"an answer of the weakest tenth carries {low:.2f} units of information: add easy items")
    if high is not None and high < LEAST_INFORMATION:
        complaints.append(f"an answer of the strongest tenth carries {high:.2f} units of information: add hard items")
    if exposure is not None and exposure > MOST_EXPOSURE:
        complaints.append(f"an item was met by {exposure:.0%} of the students: spread the answers over more items")
    return dg.AssetCheckResult(
        passed=not complaints,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(complaints) or None,
        metadata={name: value for name, value in found._mapping.items() if value is not None},
    )


ITEM_BANK = [
    _flagged_rows(
        tables.mirt_item_params,
        "items_fit",
        f"At most {MOST_MISFITTING:.0%} of the items have answers that do not follow their curve.",
        advice="Look at their keys and texts; many at once speak for another MIRT_MODEL.",
        tolerated=MOST_MISFITTING,
    ),
    _flagged_rows(
        tables.item_drift,
        "no_item_drift",
        "No anchor has moved from its reference parameters, significantly and by as much as matters.",
        advice="Changed, leaked or newly taught? Retire an anchor that has moved for good: docs/operations.md.",
    ),
    _flagged_rows(
        tables.item_dif,
        "no_dif",
        "No item is harder for a group than for equally able other students, significantly and by as much as matters.",
        advice="Let people who know the group read them; take out what is unfair.",
    ),
    bank_serves_students,
]
