"""Facts of reports for the tests: one student of whom everything is known, one of whom nothing is."""

import uuid
from dataclasses import replace
from datetime import date, timedelta

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

WEEK = date(2026, 3, 2)
AS_OF = WEEK + timedelta(weeks=1)
HOSTILE = (
    "<script>alert(1)</script>",
    "$(rm -rf ~) `id`",
    '#import "x": *',
    r"\input{/etc/passwd} \end{document}",
    "{{< include /etc/passwd >}}",
    "`{python} 1+1`",
    "``` {=html}",
    "::: {.x}",
    "]{.value} ![a](b)",
    "a | b | c",
    "# $x^2$ @cite [^1]",
    "line\nbreak\r\n\n# next",
    "\u202egnp.exe",
    "--- \x00 \x1b[31m",
    "'; drop table students; --",
)


def about(value, half=0.4, n=None):
    return Estimate(value, value - half, value + half, n)


def weeks(count=8):
    return [
        WeekFacts(
            WEEK - timedelta(weeks=count - 1 - number),
            attempts=15 + 7 * (count - 1 - number) % 23,
            ability=about(-0.3 + 0.11 * number, 0.6 - 0.03 * number, 20 + number),
            own_week=about(-0.2 + 0.1 * number, 0.7, 12) if number % 3 else None,
            linked=True,
        )
        for number in range(count)
    ]


FULL = StudentFacts(
    user_id=uuid.UUID(int=1),
    name="Kim Min-jun",
    lang="en",
    week_start=WEEK,
    as_of=AS_OF,
    lookback_days=60,
    weeks=weeks(),
    answered=15,
    correct=9,
    active_days=4,
    sessions=11,
    idle_days=1,
    mean_gap_days=2.3,
    session_minutes=14.2,
    lapsed=False,
    risk=0.12,
    improvement=about(0.21, 0.3),
    improvement_method="theta",
    efficiency=Estimate(0.08, n=61),
    recovery=Estimate(0.55, n=12),
    engagement=Estimate(0.62, n=11),
    slope=Estimate(0.09, 0.03, 0.15),
    forecast=about(0.6, 0.9, 8),
    unusual=UnusualFacts(1.5, about(0.4, 0.8), flag=True),
    goals=[
        GoalFacts(None, 0.8, AS_OF + timedelta(weeks=6), True, Estimate(0.74, 0.55, 0.9, 8), about(0.95, 0.5)),
        GoalFacts("Fractions", 0.5, AS_OF + timedelta(weeks=8), True, Estimate(0.31, 0.1, 0.6, 5), about(0.3, 0.5)),
    ],
    topics=[
        TopicFacts("Geometry", 21, 17, WEEK + timedelta(days=5), about(1.2, 0.3, None), 1),
        TopicFacts("Fractions", 14, 5, WEEK + timedelta(days=3), about(-0.4, 0.3, None), -1),
        TopicFacts("Equations", 9, 6, WEEK + timedelta(days=2), about(0.5, 0.5, None), 0),
        TopicFacts("", 3, 1, WEEK, None, 0),
    ],
    next_topics=["Fractions"],
    practice=[QuestionFacts("frac-017", "Fractions", 0.68), QuestionFacts("geo-204", "Geometry", 0.74)],
    review=[
        QuestionFacts("frac-003", "Fractions", None, WEEK - timedelta(days=4), WEEK - timedelta(days=2)),
        QuestionFacts("eq-110", "Equations", None, WEEK + timedelta(days=2), WEEK + timedelta(days=4)),
    ],
    reviews_due=7,
    segment=SegmentFacts("frequent_accurate", "frequent, accurate", "자주, 정확하게", 0.87, WEEK),
    scale=ScaleFacts("2PL", WEEK, 240, 31, Estimate(63.2, 52, 74)),
)
"""Everything is known."""

EMPTY = StudentFacts(
    user_id=uuid.UUID(int=2),
    name=None,
    lang="en",
    week_start=WEEK,
    as_of=AS_OF,
    lookback_days=60,
    weeks=[WeekFacts(WEEK, 0, None, None)],
    answered=0,
    correct=0,
    active_days=0,
    sessions=0,
    idle_days=0,
    mean_gap_days=None,
    session_minutes=None,
    lapsed=False,
    risk=None,
    improvement=None,
    improvement_method=None,
    efficiency=None,
    recovery=None,
    engagement=None,
    slope=None,
    forecast=None,
    unusual=None,
    goals=[],
    topics=[],
    next_topics=[],
    practice=[],
    review=[],
    reviews_due=0,
    segment=None,
    scale=None,
)
"""Every number is NULL."""

ONE_ANSWER = replace(
    EMPTY,
    user_id=uuid.UUID(int=3),
    weeks=[WeekFacts(WEEK, 1, None, None)],
    answered=1,
    correct=1,
    active_days=1,
    sessions=1,
    idle_days=3,
    topics=[TopicFacts("Geometry", 1, 1, WEEK + timedelta(days=3), None, 0)],
)
"""A newcomer."""

AWAY = replace(
    FULL,
    user_id=uuid.UUID(int=4),
    weeks=[*weeks()[:-1], WeekFacts(WEEK, 0, about(0.4), None, linked=True)],
    answered=0,
    correct=0,
    active_days=0,
    idle_days=30,
    lapsed=True,
    risk=None,
    unusual=None,
)
"""Silent for a month."""

MANY_TOPICS = replace(
    FULL,
    user_id=uuid.UUID(int=5),
    topics=[
        TopicFacts(f"Topic {number:03d}", 500 - number, 250, WEEK, about(number / 500, 0.3), 0) for number in range(500)
    ],
)
"""500 topics."""

STRANGE = replace(
    FULL,
    user_id=uuid.UUID(int=6),
    name=HOSTILE[0],
    topics=[TopicFacts(text, 5, 2, WEEK, about(0.1 * n), 0) for n, text in enumerate(HOSTILE[:12])],
    next_topics=list(HOSTILE[:3]),
    goals=[GoalFacts(HOSTILE[9], 0.5, AS_OF, True, Estimate(0.5, 0.3, 0.7, 3), about(0.5))],
    practice=[QuestionFacts(HOSTILE[4], HOSTILE[8], 0.7)],
    review=[QuestionFacts(HOSTILE[5], HOSTILE[11], None, WEEK, WEEK)],
)
"""Names that are code somewhere."""

SAMPLES = {
    "full": FULL,
    "empty": EMPTY,
    "one_answer": ONE_ANSWER,
    "away": AWAY,
    "many_topics": MANY_TOPICS,
    "strange": STRANGE,
}
