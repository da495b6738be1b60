"""What students aim at: learning_goal as of a week, and the default for those who have set nothing."""

from datetime import timedelta
from typing import Any

import dagster as dg
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from seedtest_assets import tables
from seedtest_assets.assets.common import OWNERS, asset_key, column_schema
from seedtest_assets.calendar import WEEK, Week
from seedtest_assets.resources.database import Database
from seedtest_assets.settings import settings

SET, DEFAULT = "learning_goal", "default"
"""Where a goal comes from."""

learning_goal = dg.AssetSpec(
    key=asset_key("learning_goal"),
    description="What a student aims at, overall or in a topic, and by when. Filled by the application; a student "
    "without an overall goal is given METRICS_DEFAULT_TARGET.",
    group_name="intake",
    owners=OWNERS,
    kinds={"postgres"},
    metadata=column_schema(tables.learning_goal),
)


def read_goals(database: Database, week: Week, users: "pd.Index[str]") -> pd.DataFrame:
    """One overall goal for each student, and one for each topic in which the student has set one.

    Of several goals that were set before as_of and are not over, the one of the first priority counts, of these the
    newest. A goal without a date, as the default, is METRICS_DEFAULT_GOAL_WEEKS ahead.

    Args:
        database: where they are.
        week: whose as_of decides which goals are known, and which are over.
        users: the students.

    Returns:
        Columns user_id, topic_id (`tables.OVERALL` for the overall goal), target_theta, target_date, goal
        (learning_goal or default), weeks (from as_of to the end of target_date), sorted by the first two.
    """
    chosen = database.frame(_chosen(week))
    chosen["user_id"] = chosen["user_id"].astype(str)
    chosen = chosen[chosen["user_id"].isin(users)].assign(goal=SET)
    without = users.difference(pd.Index(chosen.loc[chosen["topic_id"] == tables.OVERALL, "user_id"]))
    default = pd.DataFrame(
        {
            "user_id": without,
            "topic_id": tables.OVERALL,
            "target_theta": settings().metrics_default_target,
            "target_date": None,
            "goal": DEFAULT,
        }
    )
    goals = pd.concat([chosen, default]) if len(chosen) else default
    last_day = week.as_of_day + timedelta(weeks=settings().metrics_default_goal_weeks, days=-1)
    dates = [last_day if pd.isna(day) else day for day in goals["target_date"]]
    ahead = [(day + timedelta(days=1) - week.as_of_day) / WEEK for day in dates]
    return goals.assign(target_date=dates, weeks=ahead).sort_values(["user_id", "topic_id"], ignore_index=True)


def _chosen(week: Week) -> sa.Select[*tuple[Any, ...]]:
    goal = tables.learning_goal.c
    topic = sa.func.coalesce(goal.topic_id, tables.OVERALL)
    return (
        sa.select(goal.user_id, topic.label("topic_id"), goal.target_theta, goal.target_date)
        .ext(distinct_on(goal.user_id, topic))
        .where(goal.valid_from < week.as_of, sa.func.coalesce(goal.target_date >= week.as_of_day, sa.true()))
        .order_by(goal.user_id, topic, goal.priority, goal.valid_from.desc(), goal.id.desc())
    )
