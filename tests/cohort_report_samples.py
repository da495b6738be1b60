"""Facts of the teacher's report for the tests: a week of which everything is known, and one of which nothing is."""

from dataclasses import replace
from datetime import date, timedelta

from seedtest_assets.reports.bank_facts import BankFacts, DifFacts, DriftFacts, HealthFacts, MisfitFacts
from seedtest_assets.reports.cohort_facts import (
    AbilityReason,
    ActivityFacts,
    AttentionFacts,
    CohortFacts,
    FitReason,
    GoalReason,
    GrowthFacts,
    LapsedReason,
    MoveFacts,
    RiskFacts,
    RiskReason,
    RiskRecordFacts,
    SegmentationFacts,
    SegmentSizeFacts,
    SeriesFacts,
    TopicWeekFacts,
    UnpublishedFacts,
    UnusualSeriesFacts,
)
from seedtest_assets.reports.facts import Estimate

WEEK = date(2026, 3, 2)


def about(value, half=0.4, n=None):
    return Estimate(value, value - half, value + half, n)


def series(values, engine="prophet"):
    weeks = [WEEK - timedelta(weeks=len(values) - 1 - place) for place in range(len(values))]
    coming = [WEEK + timedelta(weeks=place) for place in (1, 2)]
    return SeriesFacts(weeks, values, coming, [about(values[-1] + 0.1), about(values[-1] + 0.2, 0.6)], engine)


EMPTY = CohortFacts(
    lang="en",
    week_start=WEEK,
    as_of=WEEK + timedelta(weeks=1),
    horizon_days=14,
    threshold=0.7,
    lookback_days=60,
    now=ActivityFacts(0, 0, 0),
    before=ActivityFacts(0, 0, 0),
    own_week=None,
    ability=None,
    answers=None,
    unusual=[],
    n_unusual=0,
    n_judged=0,
    attention=[],
    n_attention=0,
    attention_by_kind={},
    risk=None,
    bank=None,
    topics=[],
    n_topics=0,
    segmentation=None,
    segment_names={},
    risk_record=None,
    growth=None,
    unpublished=[],
)
RISK = RiskReason(Estimate(0.83, 0.61, 0.94), 9, alert=True)
GOAL = GoalReason("Fractions", date(2026, 4, 5), Estimate(0.12, 0.03, 0.3), 2)
FULL = replace(
    EMPTY,
    now=ActivityFacts(58, 1445, 737),
    before=ActivityFacts(63, 1518, 805),
    own_week=about(0.06, 0.21, 43),
    ability=series([-0.1, 0.26, 0.06]),
    answers=series([1700.0, 1518.0, 1445.0], "naive"),
    unusual=[
        UnusualSeriesFacts("cohort", "", "accuracy", 0.51, Estimate(0.6, 0.55, 0.65)),
        UnusualSeriesFacts("topic", "Fractions", "attempts", 40.0, Estimate(90.0, 70.0, 115.0)),
        UnusualSeriesFacts("segment", "seg-a", "theta_week", -0.8, about(0.1)),
    ],
    n_unusual=14,
    n_judged=35,
    attention=[
        AttentionFacts("Kim Min-jun", "0000aaaa", [RISK, GOAL]),
        AttentionFacts(None, "0000bbbb", [AbilityReason(-1.31, about(0.2, 0.9))]),
        AttentionFacts("Ana", "0000cccc", [replace(GOAL, topic=None, more=0, probability=Estimate(0.2))]),
        AttentionFacts("Ana", "0000dddd", [FitReason(-3.3, 54)]),
        AttentionFacts("Eve", "0000eeee", [LapsedReason(14)]),
        AttentionFacts("Ben", "0000ffff", [LapsedReason(None)]),
    ],
    n_attention=28,
    attention_by_kind={"risk": 5, "ability": 1, "goal": 17, "fit": 1, "lapsed": 6},
    risk=RiskFacts([46, 9, 3, 0, 3, 3, 1, 0, 3, 2], 17),
    bank=BankFacts(
        "2PL",
        WEEK,
        108,
        31,
        HealthFacts(360, 0.04, 0.49, 334.6, [0.19, 0.25, None], 0.9, [-1.0, 0.0, 1.0], [3, 40, 60, 5], [1, 30, 50, 7]),
        [MisfitFacts("q-17", "underfit", 120, 1.4, 1.9, 0.113)],
        13,
        [DriftFacts("q-3", "large", about(0.71, 0.2), None)],
        1,
        31,
        [DifFacts("q-5", "school", "north", "south", "C", about(-1.8, 0.5))],
        1,
        200,
    ),
    topics=[
        TopicWeekFacts("Fractions", ActivityFacts(20, 153, 90), about(0.07, 0.11, 18)),
        TopicWeekFacts("", ActivityFacts(2, 5, 5), None),
    ],
    n_topics=4,
    segmentation=SegmentationFacts(
        WEEK - timedelta(weeks=1), "segments", None, 90, [SegmentSizeFacts("seg-a", 60), SegmentSizeFacts("seg-b", 30)],
        70, [MoveFacts("seg-a", "seg-b", 6), MoveFacts(None, "seg-a", 3)], 5,
    ),
    segment_names={"seg-a": "Steady workers", "seg-b": "Weekend sprinters"},
    risk_record=RiskRecordFacts(WEEK, 0.101, -0.02, about(0.79, 0.16), 555, 80),
    growth=GrowthFacts("normal", "lme4", "R-hat is 1.04", False, 116),
    unpublished=[UnpublishedFacts("growth", "R-hat is 1.04"), UnpublishedFacts("churn", None)],
)  # fmt: skip
