"""The facts of the teacher's report, from states of the tables made by hand; and the report that is made of them."""

import uuid
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, UUID

from seedtest_assets import tables
from seedtest_assets.assets.cohort_attention import LISTED, attention
from seedtest_assets.assets.cohort_facts import cohort_facts
from seedtest_assets.assets.cohort_report import COHORT, cohort_report_artifact, make_cohort_report
from seedtest_assets.assets.reports import storage_key
from seedtest_assets.calendar import Week
from seedtest_assets.reports.bank_facts import DifFacts, DriftFacts, MisfitFacts
from seedtest_assets.reports.cohort_facts import (
    COHORT_FACTS,
    AbilityReason,
    ActivityFacts,
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
    TopicWeekFacts,
    UnpublishedFacts,
)
from seedtest_assets.reports.facts import Estimate
from seedtest_assets.resources.artifact_store import ArtifactStore
from seedtest_assets.resources.database import run_id
from seedtest_assets.settings import settings

MONDAY = date(2026, 3, 2)
BEFORE = MONDAY - timedelta(weeks=1)
WEEK = Week.of(MONDAY, timezone="UTC", now=datetime(2026, 6, 1, tzinfo=UTC))
DAY = timedelta(days=1)
Z = 1.6448536269514722
DEFAULTS = {
    UUID: uuid.UUID(int=0), sa.Date: MONDAY, sa.DateTime: WEEK.as_of, sa.Text: "x", sa.Double: 0.0, sa.Integer: 0,
    JSONB: {}, sa.Boolean: False,
}  # fmt: skip


def student(number):
    """A key whose last eight characters tell the number."""
    return uuid.UUID(f"00000000-0000-4000-8000-0000{number:08d}")


def close(value, half):
    return Estimate(value, pytest.approx(value - half), pytest.approx(value + half))


@pytest.fixture
def put(database):
    """Insert rows; columns that must be there and are not given get a value that means nothing."""

    def insert(table, *rows):
        def filled(row):
            needed = (c for c in table.c if not c.nullable and c.server_default is None and c.identity is None)
            return {c.name: next(v for kind, v in DEFAULTS.items() if isinstance(c.type, kind)) for c in needed} | row

        with database.transaction() as connection:
            for row in rows:
                connection.execute(table.insert().values(filled(row)))

    return insert


@pytest.fixture
def risk(put):
    def insert(number, risk, horizon=14, **more):
        limits = {"risk_lower": risk / 2, "risk_upper": min(1.0, risk * 1.1), "idle_days": 9}
        put(
            tables.survival_risk,
            {
                "user_id": student(number),
                "horizon_days": horizon,
                "risk": risk,
                **limits,
                "trigger": "schedule",
                **more,
            },
        )

    return insert


@pytest.fixture
def alert(put):
    def insert(number, crossed, cleared=None):
        put(
            tables.churn_alert,
            {"user_id": student(number), "crossed_at": crossed, "cleared_at": cleared, "risk": 0.75, "risk_upper": 0.9},
        )

    return insert


@pytest.fixture
def odd(put):
    """The week's own ability of a student beside what was to be expected, 0."""

    def insert(number, value, flag=True, **more):
        limits = {"value": value, "expected": 0.0, "lower": -0.5, "upper": 0.5, "score": 4 * value, "flag": flag}
        series = {"scope": "user", "scope_id": str(student(number)), "metric": "theta_week"}
        put(tables.anomalies, {**series, **limits, **more})

    return insert


@pytest.fixture
def goal(put):
    def insert(number, p, topic=tables.OVERALL, days=14, kind="learning_goal", **more):
        due = {"target_date": WEEK.as_of_day + timedelta(days=days), "goal": kind}
        row = {"user_id": student(number), "topic_id": topic, "p_goal": p, "p_lower": p / 2, "p_upper": 2 * p}
        put(tables.growth_goal, {**row, **due, "method": "normal", "engine": "lme4", **more})

    return insert


@pytest.fixture
def fit(put):
    def insert(number, lz, n=20):
        put(tables.mirt_ability, {"user_id": student(number), "lz_star": lz, "n_responses": n})

    return insert


@pytest.fixture
def state(put):
    """A student's churn_state in the week before and in this one, and the idle days of this one."""

    def insert(number, before, now, idle=14):
        user = {"user_id": student(number)}
        put(tables.weekly_kpi, {**user, "week_start": BEFORE, "churn_state": before}, {**user, "churn_state": now})
        put(tables.weekly_metrics, {**user, "idle_days": idle})

    return insert


# -- who needs attention -------------------------------------------------------------------------------------


def found(database, week=WEEK):
    return [(int(each.key), each.reasons) for each in attention(database, week).students]


def test_each_rule_finds_its_student_and_the_most_urgent_rule_comes_first(database, risk, alert, odd, goal, fit, state):
    state(1, "at_risk", "lapsed", idle=15)
    fit(2, -3.1, 40)
    goal(3, 0.2, topic="algebra")
    odd(4, -1.2)
    risk(5, 0.9)
    assert found(database) == [
        (5, [RiskReason(Estimate(0.9, 0.45, pytest.approx(0.99)), 9, alert=False)]),
        (4, [AbilityReason(-1.2, Estimate(0.0, -0.5, 0.5))]),
        (3, [GoalReason("algebra", WEEK.as_of_day + timedelta(days=14), Estimate(0.2, 0.1, 0.4), 0)]),
        (2, [FitReason(-3.1, 40)]),
        (1, [LapsedReason(15)]),
    ]


def test_a_student_with_several_reasons_is_named_once_with_all_of_them(database, risk, odd, goal, fit, state):
    risk(1, 0.71)
    risk(2, 0.95)
    state(3, "at_risk", "lapsed")
    goal(3, 0.1)
    fit(2, -4.0)
    goal(2, 0.1)
    goal(2, 0.05, topic="algebra")
    odd(2, -2.0)
    needed = attention(database, WEEK)
    assert [(int(each.key), [r.kind for r in each.reasons]) for each in needed.students] == [
        (2, ["risk", "ability", "goal", "fit"]),
        (1, ["risk"]),
        (3, ["lapsed"]),
    ]
    assert (needed.total, needed.by_kind) == (3, {"risk": 2, "ability": 1, "goal": 1, "fit": 1, "lapsed": 1})
    (named,) = (reason for reason in needed.students[0].reasons if reason.kind == "goal")
    assert (named.topic, named.probability.value, named.more) == ("algebra", 0.05, 1)


def test_within_a_rule_the_worst_comes_first_and_ties_are_ordered_by_key(database, risk, fit, goal, state):
    for number, value in ((1, 0.8), (2, 0.9), (3, 0.8)):
        risk(number, value)
    for number, p in ((4, 0.2), (5, 0.1)):
        goal(number, p)
    for number, lz in ((6, -2.6), (7, -3.0)):
        fit(number, lz)
    for number, idle in ((8, 14), (9, 16)):
        state(number, "at_risk", "lapsed", idle)
    assert [number for number, _ in found(database)] == [2, 1, 3, 5, 4, 7, 6, 9, 8]


def test_who_is_just_outside_of_a_rule_is_not_found(database, risk, alert, odd, goal, fit, state):
    risk(1, 0.6999)
    risk(2, 0.9, horizon=28)
    risk(3, 0.9, week_start=BEFORE)
    odd(4, -1.0, flag=False)
    odd(5, 1.0)
    odd(6, -1.0, metric="attempts")
    goal(7, 0.3)
    goal(8, 0.1, kind="default")
    goal(9, 0.1, days=57)
    fit(10, -2.58)
    fit(11, -3.0, n=19)
    state(12, "lapsed", "lapsed")
    state(13, "at_risk", "at_risk")
    goal(12, 0.1)
    assert found(database) == []
    risk(1, 0.7, horizon=7)
    goal(9, 0.1, topic="algebra", days=56)
    assert [number for number, _ in found(database)] == [9]


def test_an_alert_counts_in_the_weeks_in_which_it_was_open(database, risk, alert):
    risk(1, 0.4)
    alert(1, WEEK.as_of - DAY)
    alert(2, WEEK.as_of - 9 * DAY, cleared=WEEK.as_of)
    alert(3, WEEK.as_of - 9 * DAY, cleared=WEEK.as_of + DAY)
    alert(4, WEEK.as_of + DAY)
    assert found(database) == [
        (3, [RiskReason(Estimate(0.75, 0.0, 0.9), None, alert=True)]),
        (1, [RiskReason(Estimate(0.4, 0.2, pytest.approx(0.44)), 9, alert=True)]),
    ]


def test_the_most_urgent_are_listed_and_the_others_counted(database, risk):
    for number in range(1, LISTED + 6):
        risk(number, 0.7 + number / 100)
    needed = attention(database, WEEK)
    assert [int(each.key) for each in needed.students] == list(range(LISTED + 5, 5, -1))
    assert (needed.total, needed.by_kind["risk"]) == (LISTED + 5, LISTED + 5)


def test_the_threshold_and_the_horizon_are_the_settings(database, risk, monkeypatch):
    monkeypatch.setenv("CHURN_ALERT_THRESHOLD", "0.5")
    monkeypatch.setenv("METRICS_CHURN_HORIZON_DAYS", "28")
    settings.cache_clear()
    risk(1, 0.9)
    risk(2, 0.5, horizon=28)
    assert [number for number, _ in found(database)] == [2]


def test_students_are_called_as_they_wish(database, risk, put):
    for number in (1, 2, 3):
        risk(number, 0.9)
    put(
        tables.student_profile,
        {"user_id": student(1), "display_name": "Ana"},
        {"user_id": student(2), "display_name": None},
    )
    told = [(each.name, each.key) for each in attention(database, WEEK).students]
    assert told == [("Ana", "00000001"), (None, "00000002"), (None, "00000003")]


# -- the rest ------------------------------------------------------------------------------------------------


def test_of_an_empty_week_nothing_is_known(database):
    facts = cohort_facts(database, WEEK)
    nothing = ActivityFacts(0, 0, 0)
    assert (facts.now, facts.before, facts.own_week, facts.ability, facts.answers) == (nothing, nothing, *[None] * 3)
    assert (facts.risk, facts.bank, facts.segmentation, facts.risk_record, facts.growth) == (None,) * 5
    assert not any((facts.unusual, facts.attention, facts.topics, facts.segment_names, facts.unpublished))
    assert (facts.week_start, facts.as_of, facts.lang) == (MONDAY, MONDAY + timedelta(weeks=1), "en")


def answers(number, topic, day, attempts, correct, theta=None, sd=None):
    return {
        **{"user_id": student(number), "topic_id": topic, "date": day, "attempts": attempts, "correct": correct},
        **{"theta_mean": theta, "theta_sd": sd},
    }


def test_a_week_is_counted_beside_the_one_before_and_by_topic(database, put):
    put(
        tables.features_topic_daily,
        answers(1, "algebra", MONDAY, 3, 1, theta=-9 / 10, sd=0.1),
        answers(1, "algebra", MONDAY + 6 * DAY, 2, 2, theta=0.2, sd=0.3),
        answers(2, "algebra", MONDAY, 4, 1, theta=0.4, sd=0.4),
        answers(3, "algebra", MONDAY, 1, 0),
        answers(2, tables.NO_TOPIC, MONDAY, 9, 9),
        answers(1, "algebra", MONDAY - DAY, 7, 5, theta=2.0, sd=0.1),
        answers(1, "algebra", MONDAY + 7 * DAY, 50, 50, theta=2.0, sd=0.1),
    )
    facts = cohort_facts(database, WEEK)
    assert (facts.now, facts.before) == (ActivityFacts(3, 19, 13), ActivityFacts(1, 7, 5))
    mean = replace(close(0.3, Z * 0.25), n=2)  # the last of each student: sqrt(.3 ** 2 + .4 ** 2) / 2
    assert facts.topics == [
        TopicWeekFacts("algebra", ActivityFacts(3, 10, 4), replace(mean, value=pytest.approx(0.3))),
        TopicWeekFacts("", ActivityFacts(1, 9, 9), None),
    ]
    assert facts.n_topics == 2


def test_the_weeks_own_ability_is_a_mean_with_its_error(database, put):
    put(
        tables.weekly_metrics,
        {"user_id": student(1), "theta_week": 1.0, "theta_week_se": 0.3},
        {"user_id": student(2), "theta_week": 0.0, "theta_week_se": 0.4},
        {"user_id": student(3)},
        {"user_id": student(1), "week_start": BEFORE, "theta_week": 9.0, "theta_week_se": 0.3},
    )
    assert cohort_facts(database, WEEK).own_week == replace(close(0.5, Z * 0.25), n=2)


def test_series_and_what_was_unusual_in_them(database, put, odd):
    document = {
        "history": {"week_start": [str(BEFORE), str(MONDAY)], "value": [None, 0.5]},
        "forecast": {
            **{"week_start": [str(WEEK.end), str(WEEK.end + 7 * DAY)], "expected": [0.6, None]},
            **{"lower": [0.1, None], "upper": [1.1, None], "widened": 1.0},
        },
        "engine": "prophet",
    }
    for week_start in (BEFORE, MONDAY):
        put(
            tables.prophet_fit_meta,
            {"week_start": week_start, "scope": "cohort", "scope_id": "all", "metric": "theta_week", **document},
        )
    odd(1, -2.0)
    odd(2, 0.5, scope="topic", scope_id="algebra")
    odd(3, -0.7, scope="cohort", scope_id="all")
    odd(4, 0.1, scope="segment", scope_id="seg-a", flag=False)
    odd(5, 0.9, scope="topic", scope_id="geometry", flag=None, score=None)
    facts = cohort_facts(database, WEEK)
    assert (facts.ability.weeks, facts.ability.values) == ([MONDAY], [0.5])
    assert (facts.ability.coming, facts.ability.ahead) == ([WEEK.end], [Estimate(0.6, 0.1, 1.1)])
    assert (facts.ability.engine, facts.answers) == ("prophet", None)
    assert [(each.scope, each.name, each.value) for each in facts.unusual] == [
        ("cohort", "", -0.7),
        ("topic", "algebra", 0.5),
    ]
    assert (facts.n_unusual, facts.n_judged) == (2, 3)


def test_risks_are_counted_in_bands(database, risk, put):
    for number, value in enumerate((0.0, 0.05, 0.1, 0.65, 0.95, 1.0), start=1):
        risk(number, value)
    risk(9, 0.5, horizon=7)
    put(tables.weekly_kpi, {"user_id": student(7), "churn_state": "lapsed"})
    assert cohort_facts(database, WEEK).risk == RiskFacts([2, 1, 0, 0, 0, 0, 1, 0, 0, 2], 1)


BANK = run_id("mirt_fit_meta", BEFORE)


@pytest.fixture
def bank(put):
    """A calibration of the week before, with twelve questions."""
    spec = {"quadrature": {"n": 61, "min": -6, "max": 6}}
    latent = {"latent_mean": 0.0, "latent_sd": 1.0}
    for run, week_start in ((BANK, BEFORE), (uuid.UUID(int=9), WEEK.end)):
        meta = {"run_id": run, "week_start": week_start, "model": "2PL", "model_spec": spec, "metrics": latent}
        put(tables.mirt_fit_meta, {**meta, "linking_constants": {"A": 1.0, "B": 0.0, "n_anchors": 31}})
    items = [{"run_id": BANK, "item_id": n, "rmsd": n / 100, "infit": 1.5, "n_responses": 99} for n in range(12)]
    put(tables.mirt_item_params, *({**item, "flag": "misfit" if item["item_id"] else None} for item in items))
    put(tables.item_key, {"item_id": 11, "text": "q-eleven"})


def test_the_newest_bank_its_health_and_the_worst_of_its_items(database, bank, put):
    bands = {"band_edges": [0.0], "items_by_band": [5, 7], "students_by_band": [3, 2]}
    health = {"run_id": BANK, "n_known": 20, "never_used_share": 0.1, "information_p50": 0.2, "details": bands}
    put(tables.bank_health, health)
    put(
        tables.item_drift,
        {"run_id": BANK, "item_id": 1, "d_b": 0.4, "se_d_b": 0.1, "flag": True, "severity": "moderate"},
        {"run_id": BANK, "item_id": 2, "d_b": -0.3, "se_d_b": 0.2, "d_a": 0.9, "flag": True, "severity": "large"},
        {"run_id": BANK, "item_id": 3, "d_b": 0.0, "flag": False, "severity": "none"},
    )
    groups = {"run_id": BANK, "attribute": "school", "focal": "north", "reference": "south"}
    put(
        tables.item_dif,
        {**groups, "item_id": 1, "mh_d_dif": -1.2, "mh_se": 0.3, "ets_class": "B", "flag": True},
        {**groups, "item_id": 2, "mh_d_dif": 1.9, "mh_se": 0.3, "ets_class": "C", "flag": True},
        {**groups, "item_id": 3, "flag": False},
    )
    found = cohort_facts(database, WEEK).bank
    assert (found.model, found.calibrated, found.n_items, found.anchors) == ("2PL", BEFORE, 12, 31)
    assert (found.health.n_known, found.health.never_used_share, found.health.max_exposure) == (20, 0.1, None)
    assert (found.health.information, found.health.items, found.health.students) == ([None, 0.2, None], [5, 7], [3, 2])
    assert found.misfits[0] == MisfitFacts("q-eleven", "misfit", 99, 1.5, None, 0.11)
    assert [misfit.question for misfit in found.misfits[1:]] == [str(n) for n in range(10, 1, -1)]
    assert found.n_misfits == 11
    assert found.drifted == [
        DriftFacts("2", "large", close(-0.3, Z * 0.2), Estimate(0.9)),
        DriftFacts("1", "moderate", close(0.4, Z * 0.1), None),
    ]
    assert (found.n_drifted, found.n_anchors_compared) == (2, 3)
    assert found.dif == [
        DifFacts("2", "school", "north", "south", "C", close(1.9, Z * 0.3)),
        DifFacts("1", "school", "north", "south", "B", close(-1.2, Z * 0.3)),
    ]
    assert (found.n_dif, found.n_dif_compared) == (2, 3)


def test_a_bank_that_was_not_judged_has_no_health(database, bank):
    found = cohort_facts(database, WEEK).bank
    assert (found.health, found.drifted, found.n_anchors_compared, found.n_dif_compared) == (None, [], 0, 0)


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_segments_their_names_and_moves(database, put, monkeypatch, lang):
    monkeypatch.setenv("REPORT_LANG", lang)
    settings.cache_clear()
    first, second = (run_id("segment_meta", week) for week in (BEFORE - timedelta(weeks=1), BEFORE))
    old = {"en": "Old", "ko": "옛"}
    gone, kept, new = (
        {"key": key, **{each: f"{old[each]} {key}" for each in old}} for key in ("seg-a", "seg-b", "seg-c")
    )
    put(
        tables.segment_meta,
        {"run_id": first, "week_start": BEFORE - timedelta(weeks=1), "k": 2, "labels": [gone, kept]},
        {"run_id": second, "week_start": BEFORE, "k": 2, "status": "segments", "labels": [kept, new], "n_students": 5},
        {"run_id": run_id("segment_meta", WEEK.end), "week_start": WEEK.end, "k": 2, "labels": []},
    )
    put(
        tables.user_segment,
        *({"user_id": student(n), "week_start": BEFORE, "segment": "seg-b" if n < 4 else "seg-c"} for n in range(1, 6)),
    )
    none = tables.NO_SEGMENT
    moves = [("seg-b", "seg-b", 2), ("seg-a", "seg-b", 1), (none, "seg-c", 2), (tables.UNSEGMENTED, none, 7)]
    put(
        tables.segment_transition,
        *({"run_id": second, "from_segment": was, "to_segment": now, "n": n} for was, now, n in moves),
        {"run_id": first, "from_segment": "seg-a", "to_segment": "seg-b", "n": 99},
    )
    facts = cohort_facts(database, WEEK)
    assert facts.segmentation == SegmentationFacts(
        made=BEFORE,
        status="segments",
        reason=None,
        n_students=5,
        sizes=[SegmentSizeFacts("seg-b", 3), SegmentSizeFacts("seg-c", 2)],
        stayed=2,
        moves=[MoveFacts(None, "seg-c", 2), MoveFacts("seg-a", "seg-b", 1)],
        n_moves=2,
    )
    assert facts.segment_names == {key: f"{old[lang]} {key}" for key in ("seg-a", "seg-b", "seg-c")}


def test_without_stable_segments_the_reason_is_told(database, put):
    label = {"key": tables.UNSEGMENTED, "en": "No stable segments", "ko": "안정된 구분 없음"}
    why = {"status": "no stable segments", "reason": "the gap statistic does not prefer more than one"}
    put(tables.segment_meta, {"run_id": run_id("segment_meta", MONDAY), "k": 1, "labels": [label], **why})
    put(tables.user_segment, {"user_id": student(1), "segment": tables.UNSEGMENTED})
    facts = cohort_facts(database, WEEK)
    assert (facts.segmentation.status, facts.segmentation.reason) == (why["status"], why["reason"])
    assert (facts.segmentation.sizes, facts.segmentation.moves, facts.segment_names) == ([], [], {})


def test_how_good_the_predictions_were(database, put, goal):
    record = {"14": {"n": 555, "events": 80, "slope": 0.8, "slope_se": 0.1}, "7": {"n": 1, "events": 1, "slope": 9}}
    for week_start, brier in ((BEFORE, 0.1), (WEEK.end, 0.9)):
        run = {"run_id": run_id("survival_fit_meta", week_start), "week_start": week_start}
        put(tables.survival_fit_meta, {**run, "brier": brier, "skill_over_recency": -0.02, "calibration": record})
    goal(1, 0.9, fit_run_id=run_id("growth_glmm_meta", MONDAY))
    goal(2, 0.9, fit_run_id=run_id("growth_glmm_meta", MONDAY))
    goal(3, 0.9, method="posterior", engine="pymc", fit_run_id=run_id("growth_brms_meta", BEFORE))
    tries = [("growth", -2, False, "slow"), ("growth", -1, True, None), ("churn", -1, False, "no events")]
    put(
        tables.fit_attempt,
        *({"asset": a, "tried_at": WEEK.as_of + d * DAY, "published": ok, "reason": why} for a, d, ok, why in tries),
        {"asset": "mirt", "tried_at": WEEK.as_of, "week_start": BEFORE, "published": False, "reason": "old"},
    )
    facts = cohort_facts(database, WEEK)
    assert facts.risk_record == RiskRecordFacts(BEFORE, 0.1, -0.02, close(0.8, Z * 0.1), 555, 80)
    assert facts.growth == GrowthFacts("normal", "lme4", None, True, 3)
    assert facts.unpublished == [UnpublishedFacts("churn", "no events")]


# -- the report ----------------------------------------------------------------------------------------------


@pytest.fixture
def eventful(bank, put, risk, odd, goal, fit, state):
    """A week with something of everything."""
    risk(1, 0.9)
    odd(2, -1.0)
    goal(3, 0.1)
    fit(4, -3.0)
    state(5, "at_risk", "lapsed")
    put(tables.student_profile, {"user_id": student(1), "display_name": "Ana <b>Kim</b>"})
    put(tables.features_topic_daily, *(answers(n, "algebra", MONDAY, 3, 1, n / 7, 0.1 * n) for n in range(1, 6)))


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("REPORT_FOLDER", str(tmp_path / "reports"))
    monkeypatch.setenv("REPORT_RENDERER", "bundled")
    settings.cache_clear()
    return ArtifactStore()


def test_a_rerun_with_other_runs_and_another_order_gives_the_same_facts(database, eventful, write):
    def said():
        return COHORT_FACTS.dump_json(cohort_facts(database, WEEK))

    before = said()
    for table in ("survival_risk", "anomalies", "growth_goal", "mirt_ability", "weekly_kpi", "features_topic_daily"):
        name = f"analytics.{table}"
        write(f"UPDATE {name} SET run_id = gen_random_uuid(), computed_at = now()")
        write(f"CREATE TEMPORARY TABLE again ON COMMIT DROP AS SELECT * FROM {name} ORDER BY random(); "
              f"DELETE FROM {name}; INSERT INTO {name} SELECT * FROM again")  # fmt: skip
    assert said() == before
    write("UPDATE analytics.survival_risk SET risk = 0.91")
    assert said() != before


def test_the_report_is_rendered_when_something_changed_and_not_otherwise(database, eventful, store, read, write):
    assert make_cohort_report(database, store, WEEK)
    assert not make_cohort_report(database, store, WEEK)
    query = "SELECT format, storage_key, sha256, input_hash, lang FROM analytics.cohort_report_artifact ORDER BY 1"
    (html, pdf) = first = read(query)
    assert (html[:2], pdf[:2]) == (
        ("html", f"reports/cohort/{MONDAY}/report.html"),
        ("pdf", f"reports/cohort/{MONDAY}/report.pdf"),
    )
    page = store.get(storage_key(COHORT, WEEK, "html")).decode()
    assert "Ana &lt;b&gt;Kim&lt;/b&gt;" in page
    assert "<b>Kim" not in page
    assert store.get(storage_key(COHORT, WEEK, "pdf")).startswith(b"%PDF")
    assert make_cohort_report(database, store, WEEK, again=True)
    assert read(query) == first
    write("UPDATE analytics.survival_risk SET risk = 0.91")
    assert make_cohort_report(database, store, WEEK)
    assert {row[3] for row in read(query)}.isdisjoint(row[3] for row in first)


def test_the_asset_links_to_the_report_and_tells_no_student(database, eventful, store, instance, capfd):
    result = dg.materialize(
        [cohort_report_artifact],
        partition_key=WEEK.key,
        resources={"database": database, "artifact_store": store},
        instance=instance,
    )
    (asset,) = result.asset_materializations_for_node("cohort_report_artifact")
    told = {name: value.value for name, value in asset.metadata.items()}
    assert (told["dagster/partition_row_count"], told["rendered"]) == (2, True)
    for wanted in ("html", "pdf"):
        assert told[wanted].startswith("file://")
        assert told[wanted].endswith(f"/reports/cohort/{MONDAY}/report.{wanted}")
    (run,) = instance.get_runs()
    logged = "".join(entry.to_json() for entry in instance.all_logs(run.run_id)) + "".join(capfd.readouterr())
    assert not [name for name in ("Ana", *(str(student(n))[:8] for n in range(1, 6))) if name in logged]
