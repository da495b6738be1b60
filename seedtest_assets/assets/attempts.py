"""The facts: answered questions. Not ours to materialise; imports and the intake job report on them."""

import dagster as dg

from seedtest_assets import tables
from seedtest_assets.assets.common import OWNERS, asset_key, column_schema

attempt = dg.AssetSpec(
    key=asset_key("attempt"),
    description=(
        "One row per answered question: who, which question, right or wrong, when. Filled by `seedtest import`, by the "
        "simulator, or from the application's exam_results by the intake job; what cannot be taken in "
        "is in attempt_reject with its reason."
    ),
    group_name="intake",
    owners=OWNERS,
    kinds={"postgres"},
    metadata=column_schema(tables.attempt) | {"dagster/table_name": tables.attempt_relation().fullname},
)
