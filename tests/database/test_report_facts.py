"""What the tables know of a student's week, in a report's facts: hand-made rows with known answers."""

import json
import uuid
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from scipy.special import expit

from seedtest_assets.assets.report_facts import NoFacts, student_facts
from seedtest_assets.assets.weekly_kpi import INTERVAL_90
from seedtest_assets.calendar import Week
from seedtest_assets.models.recommendation import Questions, right_of_hundred
from seedtest_assets.reports.facts import Estimate, GoalFacts, SegmentFacts, UnusualFacts

MONDAY = date(2026, 3, 2)
LATER = datetime(2026, 6, 1, tzinfo=UTC)
ANN, BOB = (str(uuid.UUID(int=n)) for n in (1, 2))
BANK, OTHER = (str(uuid.UUID(int=n)) for n in (70, 71))


@pytest.fixture
def week():
    return Week.of(MONDAY, now=LATER)


@pytest.fixture
def insert(write):
    """Insert a row; documents become JSON."""

    def row(table, **values):
        names = ", ".join(values)
        marks = ", ".join(
            f"CAST(:{name} AS jsonb)" if isinstance(values[name], dict | list) else f":{name}" for name in values
        )
        known = {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in values.items()}
        write(f"INSERT INTO {table} ({names}) VALUES ({marks})", known)

    return row


@pytest.fixture
def kpi(insert):
    def row(user, monday=MONDAY, provenance=None, **values):
        insert(
            "analytics.weekly_kpi",
            user_id=user,
            week_start=monday,
            as_of=datetime(2026, 3, 9, tzinfo=UTC),
            provenance=provenance or {},
            run_id=OTHER,
            **values,
        )

    return row


@pytest.fixture
def metrics(insert):
    def row(user, monday, **values):
        counts = {"sessions": 4, "active_days": 2, "attempts": 10, "idle_days": 1}
        known = {"user_id": user, "week_start": monday, "as_of": datetime(2026, 3, 9, tzinfo=UTC), "run_id": OTHER}
        insert("analytics.weekly_metrics", **known | counts | values)

    return row


@pytest.fixture
def answer(insert):
    number = iter(range(10_000))

    def row(user, item, day, correct, topic="algebra", hour=12):
        insert(
            "intake.attempt",
            source="test",
            source_id=str(next(number)),
            student_id=user,
            item_id=item,
            correct=correct,
            completed_at=datetime(day.year, day.month, day.day, hour, tzinfo=UTC),
            attempt_no=1,
            topic_id=topic,
        )

    return row


@pytest.fixture
def bank(insert):
    """Two questions calibrated in this week, linked by seven anchors."""
    insert(
        "analytics.mirt_fit_meta",
        run_id=BANK,
        week_start=MONDAY,
        as_of=datetime(2026, 3, 9, tzinfo=UTC),
        model="2PL",
        model_spec={"quadrature": {"n": 41, "min": -6, "max": 6}},
        linking_constants={"A": 1.0, "B": 0.0, "n_anchors": 7},
        metrics={"latent_mean": 0.0, "latent_sd": 1.0},
        dagster_run_id="-",
    )
    for item, b in ((1, -0.8), (2, 0.6)):
        shown = {"a": 1.0, "b": b, "c": 0.0, "n_responses": 90, "is_anchor": True}
        insert("analytics.mirt_item_params", run_id=BANK, item_id=item, **shown)
    insert("intake.item_key", item_id=1, text="first question")


def only(database, week, *users):
    (found,) = student_facts(database, week, list(users or (ANN,)))
    return found


def test_a_student_with_nothing_but_a_row_has_nothing_but_unknowns(database, week, kpi):
    kpi(ANN)
    facts = only(database, week)
    assert (facts.name, facts.lang, facts.correct, facts.lapsed, facts.scale) == (None, "en", 0, False, None)
    known = (facts.improvement, facts.slope, facts.forecast, facts.unusual, facts.segment, facts.mean_gap_days)
    assert known == (None,) * 6
    assert (facts.goals, facts.topics, facts.practice, facts.review, facts.reviews_due) == ([], [], [], [], 0)
    assert [(w.week_start, w.attempts, w.ability) for w in facts.weeks] == [(MONDAY, 0, None)]
    assert (facts.week_start, facts.as_of) == (MONDAY, MONDAY + timedelta(weeks=1))


def test_students_come_in_the_order_asked_for_and_those_without_a_row_are_left_out(database, week, kpi):
    kpi(ANN)
    kpi(BOB)
    stranger = str(uuid.UUID(int=3))
    assert [str(f.user_id) for f in student_facts(database, week, [BOB, stranger, ANN])] == [BOB, ANN]


def test_name_and_language_are_those_of_the_profile(database, week, kpi, insert, monkeypatch):
    insert("intake.student_profile", user_id=ANN, display_name="안나", report_lang="ko")
    insert("intake.student_profile", user_id=BOB, display_name=None, report_lang=None)
    kpi(ANN)
    kpi(BOB)
    found = student_facts(database, week, [ANN, BOB])
    assert [(facts.name, facts.lang) for facts in found] == [("안나", "ko"), (None, "en")]


def test_indicators_have_the_intervals_of_their_origin(database, week, kpi):
    kpi(
        ANN,
        i_t=0.2,
        e_t=0.1,
        growth_slope=0.05,
        s_churn=0.4,
        churn_state="at_risk",
        anomaly_score=-3.0,
        anomaly_flag=True,
        forecast_theta=0.3,
        provenance={
            "i_t": {"lower": -0.1, "upper": 0.5, "method": "theta"},
            "e_t": {"n": 31},
            "growth_slope": {"lower": 0.01, "upper": 0.09},
            "anomaly_score": {"value": -2.0, "expected": 0.1, "lower": -0.7, "upper": 0.9},
            "forecast_theta": {"lower": -0.5, "upper": 1.1, "n": 9},
        },
    )
    facts = only(database, week)
    assert (facts.improvement, facts.improvement_method) == (Estimate(0.2, -0.1, 0.5), "theta")
    assert facts.efficiency == Estimate(0.1, n=31)
    assert facts.slope == Estimate(0.05, 0.01, 0.09)
    assert facts.forecast == Estimate(0.3, -0.5, 1.1, 9)
    assert facts.unusual == UnusualFacts(-2.0, Estimate(0.1, -0.7, 0.9), flag=True)
    assert (facts.risk, facts.recovery) == (0.4, None)


def test_weeks_have_no_gaps_and_end_with_this_one(database, week, kpi, metrics, insert):
    kpi(ANN)
    for weeks_ago, theta in ((13, 9.0), (3, 0.1), (0, 0.4)):
        metrics(ANN, MONDAY - timedelta(weeks=weeks_ago), theta=theta, theta_se=0.2, theta_week=0.9, theta_week_n=5)
    insert(
        "analytics.mirt_ability",
        user_id=ANN,
        week_start=MONDAY,
        as_of=datetime(2026, 3, 9, tzinfo=UTC),
        theta=0.4,
        se=0.2,
        n_responses=55,
        method="EAP",
        model="2PL",
        bank_run_id=BANK,
        run_id=OTHER,
    )
    facts = only(database, week)
    assert [w.week_start for w in facts.weeks] == [MONDAY - timedelta(weeks=n) for n in (3, 2, 1, 0)]
    assert [w.attempts for w in facts.weeks] == [10, 0, 0, 10]
    half = INTERVAL_90 * 0.2
    assert facts.weeks[-1].ability == Estimate(0.4, 0.4 - half, 0.4 + half, 55)
    assert facts.weeks[-1].own_week == Estimate(0.9, n=5)
    assert facts.weeks[1].ability is None
    assert [known.linked for known in facts.weeks] == [False, None, None, False]
    assert (facts.sessions, facts.active_days, facts.idle_days) == (4, 2, 1)


def test_goals_say_their_method_by_their_limits_and_the_overall_one_is_first(database, week, kpi, insert):
    kpi(ANN)
    known = {"user_id": ANN, "week_start": MONDAY, "as_of": datetime(2026, 3, 9, tzinfo=UTC), "run_id": OTHER}
    day = date(2026, 5, 1)
    common = {"target_theta": 0.5, "target_date": day, "p_goal": 0.6, "mu": 0.7, "sigma": 0.1, "n_scores": 8}
    insert(
        "analytics.growth_goal",
        **known | common,
        topic_id="algebra",
        goal="learning_goal",
        method="posterior",
        engine="pymc",
        p_lower=0.4,
        p_upper=0.8,
        fit_run_id=OTHER,
    )
    insert(
        "analytics.growth_goal",
        **known | common,
        topic_id="(overall)",
        goal="default",
        method="normal",
        engine="lme4",
        fit_run_id=OTHER,
    )
    half = INTERVAL_90 * 0.1
    expected = Estimate(0.7, 0.7 - half, 0.7 + half)
    normal = GoalFacts(None, 0.5, day, False, Estimate(0.6, n=8), expected)
    assert only(database, week).goals == [
        normal,
        replace(normal, topic="algebra", own=True, probability=Estimate(0.6, 0.4, 0.8, 8)),
    ]


@pytest.fixture
def practised(insert):
    def row(user, topic, day, attempts, correct, theta=None, sd=None):
        insert(
            "analytics.features_topic_daily",
            user_id=user,
            topic_id=topic,
            date=day,
            attempts=attempts,
            correct=correct,
            accuracy=correct / attempts,
            theta_mean=theta,
            theta_sd=sd,
            last_seen_at=datetime(day.year, day.month, day.day, 12, tzinfo=UTC),
            run_id=OTHER,
        )

    return row


def test_topics_are_counted_over_four_weeks_and_compared_with_ability_of_their_own_week(
    database, week, kpi, metrics, practised
):
    kpi(ANN)
    metrics(ANN, MONDAY - timedelta(weeks=4), theta=-1.0, theta_se=0.1)
    metrics(ANN, MONDAY, theta=1.0, theta_se=0.1)
    practised(ANN, "algebra", MONDAY - timedelta(days=40), 5, 5, 3.0, 0.1)
    practised(ANN, "algebra", MONDAY - timedelta(days=1), 6, 3, None, None)
    practised(ANN, "algebra", MONDAY + timedelta(days=1), 4, 4, 1.5, 0.1)
    practised(ANN, "geometry", MONDAY - timedelta(days=25), 8, 2, -0.5, 0.1)
    practised(ANN, "(none)", MONDAY, 1, 0, 0.5, 0.1)
    practised(BOB, "algebra", MONDAY, 50, 50, 5.0, 0.1)
    facts = only(database, week)
    half = INTERVAL_90 * 0.1
    found = {topic.topic: topic for topic in facts.topics}
    assert [topic.topic for topic in facts.topics] == ["algebra", "", "geometry"]
    assert (found["algebra"].attempts, found["algebra"].correct, found["algebra"].strength) == (10, 7, 1)
    assert found["algebra"].ability == Estimate(1.5, 1.5 - half, 1.5 + half)
    # In its own week the student's ability was -1: half a logit above it then, far below today's.
    assert (found["geometry"].strength, found["geometry"].attempts) == (1, 0)
    assert found[""].strength == -1
    assert (facts.answered, facts.correct) == (5, 4)
    assert facts.next_topics == ["geometry"]  # not practised for two weeks; the nameless one cannot be


def test_of_goals_not_sure_to_be_reached_the_least_likely_is_practised_first(
    database, week, kpi, metrics, practised, insert
):
    kpi(ANN)
    metrics(ANN, MONDAY, theta=1.0, theta_se=0.1)
    practised(ANN, "weak", MONDAY, 5, 1, -1.0, 0.1)
    for topic, p in (("likely", 0.8), ("unlikely", 0.2), ("sure", 0.95)):
        insert(
            "analytics.growth_goal",
            user_id=ANN,
            week_start=MONDAY,
            as_of=datetime(2026, 3, 9, tzinfo=UTC),
            topic_id=topic,
            target_theta=0.5,
            target_date=date(2026, 5, 1),
            goal="learning_goal",
            p_goal=p,
            mu=0.7,
            sigma=0.1,
            n_scores=8,
            method="normal",
            engine="lme4",
            fit_run_id=OTHER,
            run_id=OTHER,
        )
    assert only(database, week).next_topics == ["unlikely", "likely", "weak"]


def test_practice_is_of_what_was_not_answered_and_reviews_are_of_what_was_missed(
    database, week, kpi, metrics, answer, bank
):
    kpi(ANN)
    kpi(BOB)
    for user in (ANN, BOB):
        metrics(user, MONDAY, theta=0.05, theta_se=0.0)
    answer(ANN, 1, MONDAY + timedelta(days=2), correct=False)
    answer(BOB, 2, MONDAY + timedelta(days=2), correct=True)
    answer(BOB, 1, week.end, correct=True)  # of the next week: nobody knows it yet
    ann, bob = student_facts(database, week, [ANN, BOB])
    assert ann.practice == []  # the other one is too hard: P is .37
    assert [(q.question, q.topic, q.missed, q.due) for q in ann.review] == [
        ("first question", "algebra", MONDAY + timedelta(days=2), MONDAY + timedelta(days=4))
    ]
    assert ann.reviews_due == 1
    assert [known.linked for known in ann.weeks] == [False]  # no row of mirt_ability names the calibration
    (question,) = bob.practice
    assert (question.question, question.topic) == ("first question", "algebra")
    assert question.probability == pytest.approx(expit(0.85))
    assert bob.review == []


def test_the_scale_is_that_of_the_newest_calibration(database, week, kpi, metrics, bank):
    kpi(ANN)
    metrics(ANN, MONDAY, theta=0.0, theta_se=0.5)
    questions = (np.array([1, 2]), np.array(["", ""], object), np.ones(2), np.array([-0.8, 0.6]), np.zeros(2))
    scale = only(database, week).scale
    assert (scale.model, scale.calibrated, scale.n_items, scale.anchors) == ("2PL", MONDAY, 2, 7)
    expected, lower, upper = right_of_hundred(0.0, 0.5, Questions(*questions))
    assert scale.right_of_hundred == Estimate(pytest.approx(expected), lower, upper)


def test_questions_that_misfit_or_drift_are_not_recommended(database, week, kpi, metrics, bank, write):
    kpi(ANN)
    metrics(ANN, MONDAY, theta=0.05, theta_se=0.0)
    assert [question.question for question in only(database, week).practice] == ["first question"]
    write("UPDATE analytics.mirt_item_params SET flag = 'misfit' WHERE item_id = 1")
    assert only(database, week).practice == []
    write("UPDATE analytics.mirt_item_params SET flag = NULL")
    write(f"INSERT INTO analytics.item_drift (run_id, item_id, flag, severity) VALUES ('{BANK}', 1, true, 'large')")
    assert only(database, week).practice == []


def test_facts_end_where_the_weeks_own_do(database, week, kpi, metrics, answer, practised):
    """The night after Sunday has not run, or failed: the rows are of Saturday's."""
    kpi(ANN)
    metrics(ANN, MONDAY, as_of=datetime(2026, 3, 8, tzinfo=UTC))
    practised(ANN, "algebra", MONDAY + timedelta(days=5), 3, 1)
    practised(ANN, "algebra", MONDAY + timedelta(days=6), 4, 4)
    answer(ANN, 1, MONDAY + timedelta(days=5), correct=False)
    answer(ANN, 2, MONDAY + timedelta(days=6), correct=False)
    facts = only(database, week)
    assert facts.as_of == MONDAY + timedelta(days=6)
    assert (facts.answered, facts.correct) == (3, 1)
    assert [question.question for question in facts.review] == ["1"]


@pytest.mark.parametrize(("segment", "found"), [("early", "early"), ("unsegmented", None)])
def test_the_segment_is_the_newest_and_none_is_none(database, week, kpi, insert, segment, found):
    kpi(ANN)
    for monday, key in ((MONDAY - timedelta(weeks=2), "old"), (MONDAY - timedelta(weeks=1), segment)):
        insert(
            "analytics.user_segment",
            user_id=ANN,
            week_start=monday,
            as_of=datetime(2026, 3, 1, tzinfo=UTC),
            segment=key,
            segment_label=f"{key} birds",
            segment_label_ko="이른 새",
            probability=0.8,
            fitted=True,
            features_snapshot={},
            fit_run_id=OTHER,
            run_id=OTHER,
        )
    expected = SegmentFacts("early", "early birds", "이른 새", 0.8, date(2026, 3, 1))
    assert only(database, week).segment == (expected if found else None)


def test_rows_that_do_not_fit_together_are_one_students_trouble(database, week, kpi):
    kpi(ANN, anomaly_score=1.0, anomaly_flag=False, provenance={"anomaly_score": {"expected": 0.0}})
    kpi(BOB)
    ann, bob = student_facts(database, week, [ANN, BOB])
    assert ann == NoFacts(uuid.UUID(ANN), "the rows of the week do not fit together (KeyError)")
    assert str(bob.user_id) == BOB
