"""Who needs a teacher's attention: rules that can be read, in the order of their urgency.

A student who meets several of them is named once, where the most urgent one puts the student, with all reasons.

1. risk: an alert is open, or S has reached CHURN_ALERT_THRESHOLD; the highest risk first.
2. ability: the week's own ability is unusually low for the student; the most unusual first.
3. goal: a goal that the student has set is less likely than .3, and is due within eight weeks; the least likely first.
   Not for who has lapsed: coming back comes first.
4. fit: the answers do not fit the model (lz* below -2.58, 20 answers or more); the worst fit first.
5. lapsed: too silent for a risk this week, and not in the week before; the longest silence first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.assets.common import window
from seedtest_assets.assets.records import among
from seedtest_assets.calendar import WEEK, Week
from seedtest_assets.reports.cohort_facts import (
    AbilityReason,
    AttentionFacts,
    FitReason,
    GoalReason,
    LapsedReason,
    Reason,
    RiskReason,
)
from seedtest_assets.reports.facts import Estimate
from seedtest_assets.resources.database import Database
from seedtest_assets.settings import settings

LISTED = 20
UNLIKELY = 0.3
"""Probability below which a goal needs help."""
SOON = timedelta(weeks=8)
MISFIT, FEWEST_ANSWERS = -2.58, 20
"""Person fit that one student in 200 has by chance, and the answers that it needs."""
KEY_SHOWN = 8
"""Last characters of a student's key, for a student without a name: the first of some kinds of keys are a time."""
Found = sa.Row[*tuple[Any, ...]]


@dataclass(frozen=True)
class Attention:
    """Students who need attention.

    Attributes:
        students: the most urgent, at most LISTED.
        total: how many there are.
        by_kind: how many of these for each kind of reason.
    """

    students: list[AttentionFacts]
    total: int
    by_kind: dict[str, int]


def attention(database: Database, week: Week) -> Attention:
    """The students whom at least one of the rules finds in a week."""
    found = {kind: _by_user(database.rows(rule(week))) for kind, (rule, _) in RULES.items()}
    urgent = list(dict.fromkeys(user for users in found.values() for user in users))
    profile = tables.student_profile.c
    named = database.rows(
        sa.select(profile.user_id, profile.display_name).where(among(profile.user_id, urgent[:LISTED]))
    )
    names = {str(row.user_id): row.display_name for row in named}
    students = [
        AttentionFacts(
            names.get(user),
            user[-KEY_SHOWN:],
            [RULES[kind][1](users[user]) for kind, users in found.items() if user in users],
        )
        for user in urgent[:LISTED]
    ]
    return Attention(students, len(urgent), {kind: len(users) for kind, users in found.items()})


def _by_user(rows: Sequence[Found]) -> dict[str, list[Found]]:
    """What a rule has found of each student, in its order."""
    found: dict[str, list[Found]] = {}
    for row in rows:
        found.setdefault(str(row.user_id), []).append(row)
    return found


def _risk(week: Week) -> sa.Select[*tuple[Any, ...]]:
    risk, alert = tables.survival_risk, tables.churn_alert
    now = (
        sa.select(risk)
        .where(window(risk, week), risk.c.horizon_days == settings().metrics_churn_horizon_days)
        .subquery("now")
    )
    is_open = (alert.c.crossed_at <= week.as_of) & (
        alert.c.cleared_at.is_(None) | (alert.c.cleared_at > week.as_of)  # a replayed week sees it as it was
    )
    opened = sa.select(alert).where(is_open).subquery("opened")
    user = sa.func.coalesce(now.c.user_id, opened.c.user_id)
    value = sa.func.coalesce(now.c.risk, opened.c.risk)
    return (
        sa.select(
            user.label("user_id"),
            value.label("risk"),
            sa.func.coalesce(now.c.risk_lower, opened.c.risk_lower).label("lower"),
            sa.func.coalesce(now.c.risk_upper, opened.c.risk_upper).label("upper"),
            now.c.idle_days,
            opened.c.user_id.is_not(None).label("alert"),
        )
        .select_from(now.join(opened, now.c.user_id == opened.c.user_id, full=True))
        .where((now.c.risk >= settings().churn_alert_threshold) | opened.c.user_id.is_not(None))
        .order_by(value.desc(), user)
    )


def _risk_reason(found: Sequence[Found]) -> RiskReason:
    row = found[0]
    return RiskReason(Estimate(row.risk, row.lower, row.upper), row.idle_days, row.alert)


def _ability(week: Week) -> sa.Select[*tuple[Any, ...]]:
    a = tables.anomalies
    return (
        sa.select(a.c.scope_id.label("user_id"), a.c.value, a.c.expected, a.c.lower, a.c.upper)
        .where(window(a, week), a.c.scope == "user", a.c.metric == "theta_week", a.c.flag, a.c.value < a.c.expected)
        .order_by(a.c.score, a.c.scope_id)
    )


def _ability_reason(found: Sequence[Found]) -> AbilityReason:
    row = found[0]
    return AbilityReason(row.value, Estimate(row.expected, row.lower, row.upper))


def _goal(week: Week) -> sa.Select[*tuple[Any, ...]]:
    goal, kpi = tables.growth_goal, tables.weekly_kpi
    lapsed = sa.exists().where(window(kpi, week), kpi.c.user_id == goal.c.user_id, kpi.c.churn_state == "lapsed")
    return (
        sa.select(
            goal.c.user_id,
            sa.func.nullif(goal.c.topic_id, tables.OVERALL).label("topic"),
            goal.c.target_date,
            goal.c.p_goal,
            goal.c.p_lower,
            goal.c.p_upper,
        )
        .where(
            window(goal, week),
            goal.c.goal == "learning_goal",
            goal.c.p_goal < UNLIKELY,
            goal.c.target_date.between(week.as_of_day, week.as_of_day + SOON),
            ~lapsed,
        )
        .order_by(goal.c.p_goal, goal.c.user_id, goal.c.topic_id)
    )


def _goal_reason(found: Sequence[Found]) -> GoalReason:
    row = found[0]
    return GoalReason(row.topic, row.target_date, Estimate(row.p_goal, row.p_lower, row.p_upper), len(found) - 1)


def _fit(week: Week) -> sa.Select[*tuple[Any, ...]]:
    ability = tables.mirt_ability
    return (
        sa.select(ability.c.user_id, ability.c.lz_star, ability.c.n_responses)
        .where(window(ability, week), ability.c.lz_star < MISFIT, ability.c.n_responses >= FEWEST_ANSWERS)
        .order_by(ability.c.lz_star, ability.c.user_id)
    )


def _fit_reason(found: Sequence[Found]) -> FitReason:
    return FitReason(found[0].lz_star, found[0].n_responses)


def _lapsed(week: Week) -> sa.Select[*tuple[Any, ...]]:
    now, m = tables.weekly_kpi, tables.weekly_metrics
    before = now.alias("before")
    return (
        sa.select(now.c.user_id, m.c.idle_days)
        .join(before, (before.c.user_id == now.c.user_id) & (before.c.week_start == week.start - WEEK))
        .outerjoin(m, (m.c.user_id == now.c.user_id) & (m.c.week_start == now.c.week_start))
        .where(window(now, week), now.c.churn_state == "lapsed", before.c.churn_state == "at_risk")
        .order_by(m.c.idle_days.desc().nulls_last(), now.c.user_id)
    )


def _lapsed_reason(found: Sequence[Found]) -> LapsedReason:
    return LapsedReason(found[0].idle_days)


RULES: dict[str, tuple[Callable[[Week], sa.Select[*tuple[Any, ...]]], Callable[[Sequence[Found]], Reason]]] = {
    "risk": (_risk, _risk_reason),
    "ability": (_ability, _ability_reason),
    "goal": (_goal, _goal_reason),
    "fit": (_fit, _fit_reason),
    "lapsed": (_lapsed, _lapsed_reason),
}
"""Of each kind of reason, the most urgent first: whom it finds, in order, and what is said of what it found."""
