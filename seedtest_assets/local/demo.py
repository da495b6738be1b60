"""The demo's cohort: simulated once, kept with its truth, and compared with what the pipeline found."""

import hashlib
import json
import uuid
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.automation.weekly_runs import OpConfig
from seedtest_assets.calendar import Week, local_midnight, monday, weeks_between
from seedtest_assets.local.home import home
from seedtest_assets.resources.database import Database, Rows, run_id
from seedtest_assets.settings import settings
from seedtest_assets.simulate import CohortSpec, true_theta

SOURCE = "demo"
"""Source of the demo's attempts."""


def folder() -> Path:
    """Where the cohort and its truth are kept."""
    return home() / "demo"


def is_kept(spec: CohortSpec) -> bool:
    """Whether this very cohort has been simulated before."""
    written = folder() / "spec.json"
    return written.is_file() and json.loads(written.read_text()) == json.loads(json.dumps(asdict(spec), default=str))


def forget_attempts(database: Database) -> None:
    """Remove the attempts of an earlier demo, and the anchors among its items: another cohort has the same names."""
    attempt, anchor = tables.attempt.c, tables.item_anchor.c
    items = sa.select(attempt.item_id).where(attempt.source == SOURCE)
    with database.transaction() as connection:
        connection.execute(sa.delete(tables.item_anchor).where(anchor.item_id.in_(items)))
        connection.execute(sa.delete(tables.attempt).where(tables.attempt.c.source == SOURCE))


def set_goals(database: Database, spec: CohortSpec) -> None:
    """Goals of some students: of every third one overall, of every fifth one in the topic practised most."""
    answer, goal = tables.attempt.c, tables.learning_goal
    practised = database.frame(
        sa.select(answer.student_id.label("user_id"), answer.topic_id, sa.func.count().label("answers"))
        .where(answer.source == SOURCE)
        .group_by(answer.student_id, answer.topic_id)
    )
    practised["user_id"] = practised["user_id"].astype(str)
    most = practised.sort_values(["user_id", "answers", "topic_id"], ascending=[True, False, True])
    favourite = most.drop_duplicates("user_id", ignore_index=True)
    overall, topical = favourite.iloc[::3].assign(topic_id=None), favourite.iloc[::5]
    goals = pd.concat(
        [
            overall.assign(target_theta=0.5, target_date=spec.end + timedelta(weeks=6)),
            topical.assign(target_theta=0.3, target_date=spec.end + timedelta(weeks=8)),
        ]
    )
    rows = goals.drop(columns="answers").assign(valid_from=local_midnight(spec.start, spec.timezone))
    students = sa.select(answer.student_id).where(answer.source == SOURCE)
    database.replace(Rows(goal, rows, goal.c.user_id.in_(students)), week_start=monday(spec.start))


def set_profiles(database: Database, spec: CohortSpec) -> None:
    """Names and languages for the reports: every second student reads Korean, the rest read English."""
    answer, profile = tables.attempt.c, tables.student_profile
    students = sa.select(answer.student_id).where(answer.source == SOURCE)
    keys = database.frame(sa.select(answer.student_id.label("user_id")).where(answer.source == SOURCE).distinct())
    keys = keys.assign(user_id=keys["user_id"].astype(str)).sort_values("user_id", ignore_index=True)
    korean = keys.index % 2 == 1
    named = keys.assign(
        display_name=[f"{'학생' if ko else 'Student'} {number}" for number, ko in enumerate(korean, 1)],
        report_lang=np.where(korean, "ko", "en"),
    )
    database.replace(Rows(profile, named, profile.c.user_id.in_(students)), week_start=monday(spec.start))


def asked(spec: CohortSpec) -> dict[date, OpConfig]:
    """What is asked of each week: all of the last one, the cheap forecasts of the others.

    The Bayesian fit and prophet's backtest of one week: of 26 they would take most of an hour.
    """
    last = monday(spec.end)
    weeks: dict[date, OpConfig] = {
        week: {"forecast": {"engine": "statsforecast"}} for week in weeks_between(spec.start, spec.end)
    }
    return weeks | {last: {"growth": {"bayesian": True}}}


def recovery_of_truth(database: Database, spec: CohortSpec) -> str:
    """One sentence: how what was found in the cohort's last week correlates with what was simulated.

    Ability is an average over its window, so it is set beside the true ability at the window's middle.
    """
    week = Week.of(monday(spec.end))
    middle = week.as_of - timedelta(days=settings().mirt_lookback_days / 2)
    students = pq.read_table(folder() / "truth_students.parquet")
    names = students["student_id"].to_pylist()
    truth = true_theta(students, names, np.full(len(names), np.datetime64(middle.replace(tzinfo=None))))
    theta_of = {
        uuid.UUID(hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()): t
        for name, t in zip(names, truth, strict=True)
    }
    ability, item, key = tables.mirt_ability.c, tables.mirt_item_params.c, tables.item_key.c
    found = database.rows(sa.select(ability.user_id, ability.theta).where(ability.week_start == week.start))
    items = pq.read_table(folder() / "truth_items.parquet")
    b_of = dict(zip(items["item_id"].to_pylist(), items["b"].to_pylist(), strict=True))
    bank = database.rows(
        sa.select(key.text, item.b)
        .join_from(tables.mirt_item_params, tables.item_key, item.item_id == key.item_id)
        .where(item.run_id == run_id(tables.mirt_fit_meta.name, week.start))
    )
    parts = []
    for what, pairs in (
        ("ability", [(row.theta, theta_of[row.user_id]) for row in found if row.user_id in theta_of]),
        ("difficulty", [(row.b, b_of[row.text]) for row in bank if row.text in b_of]),
    ):
        if len(pairs) > 2:
            parts.append(f"{what} r = {np.corrcoef(np.array(pairs).T)[0, 1]:.2f} ({len(pairs)})")
    return "Found against simulated, last week: " + ", ".join(parts) if parts else "Too few answers to compare yet."
