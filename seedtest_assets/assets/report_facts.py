"""What the tables know of each student's week, as the facts of a report."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, cast
from uuid import UUID

import numpy as np
import pandas as pd

from seedtest_assets import tables
from seedtest_assets.assets.report_rows import RECENT_DAYS, Bank, Row, StudentRows, read_bank, read_students, records
from seedtest_assets.assets.weekly_kpi import INTERVAL_90
from seedtest_assets.calendar import WEEK, Week, local_day, monday
from seedtest_assets.models.recommendation import practice, review, right_of_hundred, strength
from seedtest_assets.reports.facts import (
    Estimate,
    GoalFacts,
    QuestionFacts,
    ScaleFacts,
    SegmentFacts,
    StudentFacts,
    TopicFacts,
    UnusualFacts,
    WeekFacts,
)
from seedtest_assets.resources.database import Database
from seedtest_assets.settings import settings

STUDENTS_AT_ONCE = 500
REVIEWS = 5
"""Reviews that are listed."""
NEXT_TOPICS = 3
RESTED_DAYS = 14
"""Days without practice after which a topic comes up again."""


@dataclass(frozen=True)
class NoFacts:
    """A student whose rows do not make a report.

    Attributes:
        user_id: the student.
        reason: what is wrong, without anything of the student's.
    """

    user_id: UUID
    reason: str


def student_facts(database: Database, week: Week, users: Sequence[str]) -> Iterator[StudentFacts | NoFacts]:
    """The facts of these students' week, in their order; those without a row in weekly_kpi are left out."""
    bank = read_bank(database, week)
    for first in range(0, len(users), STUDENTS_AT_ONCE):
        chunk = users[first : first + STUDENTS_AT_ONCE]
        known = read_students(database, week, chunk)
        for user in chunk:
            if user in known.kpi:
                yield _facts_or_reason(week, user, known, bank)


def _facts_or_reason(week: Week, user: str, known: StudentRows, bank: Bank) -> StudentFacts | NoFacts:
    """Rows that do not fit together are one student's trouble, and nobody else's."""
    try:
        return _facts(week, user, known, bank)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return NoFacts(UUID(user), f"the rows of the week do not fit together ({type(error).__name__})")


def _facts(week: Week, user: str, known: StudentRows, bank: Bank) -> StudentFacts:
    kpi, profile = known.kpi[user], known.profile.get(user, {})
    metrics = known.metrics.get(user, pd.DataFrame())
    topics = known.topics.get(user, pd.DataFrame())
    weeks = _weeks(week, metrics)
    latest = records(metrics.tail(1))
    now = latest[0] if latest and latest[0]["week_start"] == week.start else {}
    ability = weeks[-1].ability
    as_of = local_day((now or kpi)["as_of"], week.timezone)
    topics = topics[topics["date"] < as_of] if len(topics) else topics
    goals = _goals(known.goals.get(user, pd.DataFrame()))
    topic_facts = _topics(as_of, topics, weeks)
    following = _next_topics(as_of, topic_facts, goals)
    answers = known.answers.get(user, pd.DataFrame(columns=["item_id", "topic", "day", "correct"]))
    answers = answers[answers["day"] < as_of]
    today = as_of.toordinal()
    due = review(_with_ordinals(answers), today, today + WEEK.days - 1)
    own_week = topics[topics["date"] >= week.start] if len(topics) else topics
    provenance = kpi["provenance"]
    return StudentFacts(
        user_id=UUID(user),
        name=_maybe(profile.get("display_name")),
        lang=_maybe(profile.get("report_lang")) or settings().report_lang,
        week_start=week.start,
        as_of=as_of,
        lookback_days=settings().mirt_lookback_days,
        weeks=weeks,
        answered=int(own_week["attempts"].sum()) if len(own_week) else 0,
        correct=int(own_week["correct"].sum()) if len(own_week) else 0,
        active_days=int(now.get("active_days", 0)),
        sessions=int(now.get("sessions", 0)),
        idle_days=int(now.get("idle_days", 0)),
        mean_gap_days=_maybe(now.get("mean_gap_days")),
        session_minutes=None if _maybe(now.get("dwell_s")) is None else now["dwell_s"] / 60,
        lapsed=kpi["churn_state"] == "lapsed",
        risk=_maybe(kpi["s_churn"]),
        improvement=_indicator(kpi, "i_t", provenance),
        improvement_method=provenance.get("i_t", {}).get("method"),
        efficiency=_indicator(kpi, "e_t", provenance),
        recovery=_indicator(kpi, "r_t", provenance),
        engagement=_indicator(kpi, "a_t", provenance),
        slope=_indicator(kpi, "growth_slope", provenance),
        forecast=_indicator(kpi, "forecast_theta", provenance),
        unusual=_unusual(provenance.get("anomaly_score"), flag=kpi["anomaly_flag"]),
        goals=goals,
        topics=topic_facts,
        next_topics=following,
        practice=_practice(ability, bank, answers, following),
        review=[
            QuestionFacts(_name(bank, row["item_id"]), row["topic"], None, _date(row["missed"]), _date(row["due"]))
            for row in records(due.head(REVIEWS))
        ],
        reviews_due=len(due),
        segment=_segment(known.segment.get(user, {})),
        scale=_scale(bank, ability),
    )


def _weeks(week: Week, metrics: pd.DataFrame) -> list[WeekFacts]:
    """The history without gaps: from the student's first week in it to this one."""
    rows = {row["week_start"]: row for row in records(metrics)}
    first = min(rows, default=week.start)
    starts = [first + n * WEEK for n in range((week.start - first) // WEEK + 1)]
    return [_week(start, rows.get(start, {})) for start in starts]


def _week(start: date, row: dict[str, Any]) -> WeekFacts:
    return WeekFacts(
        start,
        int(row.get("attempts", 0)),
        _normal(row.get("theta"), row.get("theta_se"), row.get("theta_n")),
        _normal(row.get("theta_week"), row.get("theta_week_se"), row.get("theta_week_n")),
        None if _maybe(row.get("theta")) is None else bool(row["linked"]),
    )


def _normal(value: Any, se: Any, n: Any = None) -> Estimate | None:
    if _maybe(value) is None:
        return None
    if _maybe(se) is None:
        return Estimate(value, n=_count(n))
    return Estimate(value, value - INTERVAL_90 * se, value + INTERVAL_90 * se, _count(n))


def _se(ability: Estimate) -> float:
    """The standard error behind an interval."""
    return 0.0 if ability.upper is None else (ability.upper - ability.value) / INTERVAL_90


def _indicator(kpi: Row, name: str, provenance: Row) -> Estimate | None:
    if _maybe(kpi[name]) is None:
        return None
    origin = provenance.get(name, {})
    return Estimate(float(kpi[name]), origin.get("lower"), origin.get("upper"), origin.get("n"))


def _unusual(origin: Row | None, *, flag: Any) -> UnusualFacts | None:
    if origin is None or _maybe(flag) is None:
        return None
    return UnusualFacts(
        origin["value"], Estimate(origin["expected"], origin.get("lower"), origin.get("upper")), bool(flag)
    )


def _goals(rows: pd.DataFrame) -> list[GoalFacts]:
    goals = [
        GoalFacts(
            topic=None if row["topic_id"] == tables.OVERALL else row["topic_id"],
            target=row["target_theta"],
            day=row["target_date"],
            own=row["goal"] == "learning_goal",
            probability=Estimate(row["p_goal"], _maybe(row["p_lower"]), _maybe(row["p_upper"]), int(row["n_scores"])),
            expected=cast(Estimate, _normal(row["mu"], row["sigma"])),
        )
        for row in records(rows)
    ]
    return sorted(goals, key=lambda goal: (goal.topic is not None, goal.day, goal.topic or ""))


def _topics(as_of: date, days: pd.DataFrame, weeks: list[WeekFacts]) -> list[TopicFacts]:
    """Counts of the last weeks, and the newest ability in each topic beside that as a whole in the same week."""
    if days.empty:
        return []
    recent = days[days["date"] >= as_of - timedelta(days=RECENT_DAYS)]
    counts = {
        row["topic_id"]: row for row in records(recent.groupby("topic_id")[["attempts", "correct"]].sum().reset_index())
    }
    last = {row["topic_id"]: row["date"] for row in records(days.groupby("topic_id").tail(1))}
    measured = records(days[days["theta_mean"].notna()].groupby("topic_id").tail(1))
    ability = {row["topic_id"]: _normal(row["theta_mean"], row["theta_sd"]) for row in measured}
    sides = dict(zip(ability, _sides(measured, weeks), strict=True))
    facts = [
        TopicFacts(
            topic="" if topic == tables.NO_TOPIC else topic,
            attempts=int(counts.get(topic, {}).get("attempts", 0)),
            correct=int(counts.get(topic, {}).get("correct", 0)),
            last_day=day,
            ability=ability.get(topic),
            strength=sides.get(topic, 0),
        )
        for topic, day in last.items()
    ]
    return sorted(facts, key=lambda fact: (-fact.attempts, fact.topic))


def _sides(measured: list[Row], weeks: list[WeekFacts]) -> list[int]:
    """Which side of ability as a whole each topic is on, as both were known in the week it was last practised in."""
    overall = {known.week_start: known.ability for known in weeks}
    then = [overall.get(monday(row["date"])) for row in measured]
    sides: list[int] = strength(
        np.array([row["theta_mean"] for row in measured]),
        np.array([row["theta_sd"] for row in measured]),
        np.array([known.value if known else np.nan for known in then]),
        np.array([_se(known) if known else np.nan for known in then]),
    ).tolist()
    return sides


def _next_topics(as_of: date, topics: list[TopicFacts], goals: list[GoalFacts]) -> list[str]:
    """Goals that are least likely to be reached, then weak topics, then those not practised for two weeks."""
    rested = as_of - timedelta(days=RESTED_DAYS)
    of_goals = [
        goal.topic
        for goal in sorted(goals, key=lambda goal: goal.probability.value)
        if goal.topic and goal.probability.value < 0.9
    ]
    weak = sorted(
        (fact for fact in topics if fact.strength < 0 and fact.ability),
        key=lambda fact: cast(Estimate, fact.ability).value,
    )
    old = sorted((fact for fact in topics if fact.last_day < rested), key=lambda fact: (fact.last_day, fact.topic))
    names = [*of_goals, *(fact.topic for fact in weak), *(fact.topic for fact in old)]
    return [name for name in dict.fromkeys(names) if name][:NEXT_TOPICS]


def _practice(ability: Estimate | None, bank: Bank, answers: pd.DataFrame, topics: list[str]) -> list[QuestionFacts]:
    if ability is None:
        return []
    known = np.concatenate([answers["item_id"].to_numpy(np.int64), bank.unsound])
    seen = np.isin(bank.questions.item_id, known)
    chosen = practice(ability.value, _se(ability), bank.questions, seen, topics)
    return [QuestionFacts(_name(bank, row["item_id"]), row["topic"], row["probability"]) for row in records(chosen)]


def _scale(bank: Bank, ability: Estimate | None) -> ScaleFacts | None:
    if bank.scale is None or ability is None:
        return bank.scale
    expected, lower, upper = right_of_hundred(ability.value, _se(ability), bank.questions)
    return replace(bank.scale, right_of_hundred=Estimate(expected, lower, upper))


def _segment(row: Row) -> SegmentFacts | None:
    if not row or row["segment"] == tables.UNSEGMENTED:
        return None
    label, label_ko = row["segment_label"], row["segment_label_ko"]
    return SegmentFacts(row["segment"], label, label_ko, _maybe(row["probability"]), row["as_of"].date())


def _with_ordinals(answers: pd.DataFrame) -> pd.DataFrame:
    return answers.assign(
        day=[day.toordinal() for day in answers["day"]], correct=answers["correct"].astype(bool)
    ).astype({"day": np.int64})


def _name(bank: Bank, item_id: int) -> str:
    return bank.names.get(item_id, str(item_id))


def _date(ordinal: int) -> date:
    return date.fromordinal(int(ordinal))


def _count(n: Any) -> int | None:
    return None if _maybe(n) is None else int(n)


def _maybe(value: Any) -> Any:
    """None for what SQL calls NULL, however pandas shows it."""
    return None if value is None or pd.isna(value) else value
