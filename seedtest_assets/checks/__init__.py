"""Asset checks: which tables are checked, and for what."""

import dagster as dg

from seedtest_assets import tables
from seedtest_assets.checks.freshness import latest_closed_week_has_rows
from seedtest_assets.checks.integrity import keys_and_ranges
from seedtest_assets.checks.item_bank import ITEM_BANK as ITEM_BANK

WEEKLY = (
    tables.mirt_ability,
    tables.features_topic_daily,
    tables.weekly_metrics,
    tables.weekly_kpi,
)
"""Tables that have rows for every week with answers."""

BLOCKING = [
    # A week without a calibration skips mirt_item_params and what hangs on it: what needs a bank hangs on mirt_ability.
    keys_and_ranges(tables.mirt_item_params, asset=tables.mirt_ability, name="item_parameters_in_range"),
    *(
        keys_and_ranges(table)
        for table in (
            *WEEKLY,
            tables.survival_risk,
            tables.growth_glmm_effect,
            tables.growth_goal,
            tables.anomalies,
            tables.theta_forecast,
            tables.user_segment,
        )
    ),
]
LATEST: list[dg.AssetChecksDefinition] = [latest_closed_week_has_rows(table) for table in WEEKLY]
