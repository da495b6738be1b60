"""Parts of `seedtest evaluate growth` that need no service: scores, cuts, the random walk, what the numbers say."""

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from seedtest_assets.evaluation import growth
from seedtest_assets.evaluation.churn_quality import UNKNOWN, Quality
from seedtest_assets.evaluation.growth import (
    COHORT,
    COVERED,
    LAST,
    NORMAL,
    POSTERIOR,
    Goal,
    Horizon,
    NotEvaluable,
    Protocol,
    ScoreQuality,
    own_week_scores,
    weekly_change,
)
from seedtest_assets.evaluation.growth_summary import verdicts
from seedtest_assets.models.evaluation import Estimate
from seedtest_assets.models.irt import Answers, weighted_likelihood

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def answered(days: list[str], student: str = "s", item: str = "i") -> pd.DataFrame:
    at = pd.to_datetime(pd.Series(days, dtype="str"), utc=True).astype("datetime64[us, UTC]")
    columns = {"student_id": student, "item_id": item, "topic_id": None, "correct": True, "completed_at": at}
    return pd.DataFrame(columns, index=range(len(days)))


def facts(first: str, weeks: int) -> growth._Facts:
    at = pd.date_range(first, periods=weeks, freq="7D", tz="UTC")
    return growth._Facts.of(answered([str(day) for day in at]), NOW)


# -- weeks and cuts ------------------------------------------------------------------------------------------


def test_weeks_are_local_and_begin_on_monday(monkeypatch):
    """Sunday 16:00 UTC is Monday in Seoul, where a week is over fifteen hours before it is in UTC."""
    monkeypatch.setenv("SEEDTEST_TIMEZONE", "Asia/Seoul")
    answers = answered(["2025-06-01T14:00Z", "2025-06-01T16:00Z", "2025-06-08T14:00Z", "2025-06-08T16:00Z"])
    found = growth._Facts.of(answers, datetime(2025, 6, 8, 15, 30, tzinfo=UTC))
    assert [growth._monday(week) for week in found.answers["week"]] == [
        date(2025, 5, 26),
        date(2025, 6, 2),
        date(2025, 6, 2),
    ]
    assert found.end - found.first == 2
    earlier = growth._Facts.of(answers, datetime(2025, 6, 8, 14, 30, tzinfo=UTC))
    assert len(earlier.answers) == 1


def test_cuts_are_spread_over_the_last_weeks_and_leave_the_longest_horizon():
    of = facts("2025-01-06", 26)
    cuts = growth._cuts(of, Protocol(cuts=3))
    assert [cut - of.first for cut in cuts] == [16, 19, 22]
    assert [cut - of.first for cut in growth._cuts(of, Protocol(cuts=1, horizons=(1,)))] == [25]
    # As many Mondays as there are, and none before there are two weeks to learn from.
    assert [cut - of.first for cut in growth._cuts(of, Protocol(cuts=50, horizons=(20,)))] == [6]
    assert [cut - of.first for cut in growth._cuts(facts("2025-01-06", 6), Protocol(cuts=9, horizons=(1,)))] == [4, 5]


@pytest.mark.parametrize("weeks", [1, 5])
def test_too_few_weeks_are_said(weeks):
    with pytest.raises(NotEvaluable, match=f"{weeks} weeks.*2 to learn from and 4 to judge are needed"):
        growth._cuts(facts("2025-01-06", weeks), Protocol())


def test_no_answers_of_a_week_that_is_over_are_said():
    with pytest.raises(NotEvaluable, match="no answers of a week that is over"):
        growth._Facts.of(answered(["2025-12-30T12:00Z"]), NOW)
    with pytest.raises(NotEvaluable, match="no answers to evaluate"):
        growth._Facts.of(answered([]), NOW)


def test_first_answers_are_the_first_ever():
    answers = answered(["2025-06-03T12:00Z", "2025-06-02T12:00Z", "2025-06-04T12:00Z"])
    found = growth._Facts.of(answers, NOW).answers
    assert found["again"].tolist() == [False, True, True]


# -- scores --------------------------------------------------------------------------------------------------


def _one_group(of: pd.DataFrame) -> Answers:
    a, b, c = (of[name].to_numpy() for name in ("a", "b", "c"))
    return Answers(np.zeros(len(of), dtype=np.int64), a, b, c, of["correct"].to_numpy(), 1)


def test_scores_are_those_of_a_week_alone_dated_to_its_middle():
    random = np.random.default_rng(1)
    bank = pd.DataFrame(
        {"item_id": range(40), "a": random.lognormal(0, 0.3, 40), "b": random.normal(0, 1, 40), "c": 0.0}
    )
    n = 400
    answers = pd.DataFrame(
        {
            "student": random.integers(0, 5, n),
            "item_id": random.integers(0, 45, n),
            "topic_id": random.choice(["x", "y"], n),
            "correct": random.random(n) < 0.6,
            "week": random.choice([7, 8, 10], n, p=[0.5, 0.45, 0.05]),
        }
    )
    found = own_week_scores(answers, bank, cut=9).set_index(["student", "week"])
    known = answers[answers["item_id"] < 40]
    counts = known.groupby(["student", "week"]).size()
    assert len(found) == (counts >= 5).sum() < len(counts)
    for (student, week), of in known.groupby(["student", "week"]):
        if len(of) < 5:
            continue
        a, b, c = bank.set_index("item_id").loc[of["item_id"], ["a", "b", "c"]].to_numpy().T
        direct = weighted_likelihood(_one_group(of.assign(a=a, b=b, c=c)))
        row = found.loc[(student, week - 9 + 0.5)]
        assert row["score"] == pytest.approx(direct.theta[0], abs=1e-8)
        mine = known[known["student"] == student].merge(bank, on="item_id")
        ability = weighted_likelihood(_one_group(mine)).theta[0]
        p = expit(a * (ability - b))
        assert row["se"] == pytest.approx(1 / np.sqrt((a**2 * p * (1 - p)).sum()), abs=1e-8)


@pytest.mark.parametrize("sd", [0.0, 0.1, 0.4])
def test_the_change_of_a_random_walk_is_found(sd):
    """Weeks left out at random, errors of different size: 3,000 students, twelve weeks."""
    random = np.random.default_rng(2)
    students, weeks = 3000, 12
    walk = np.cumsum(random.normal(0, sd, (students, weeks)), axis=1) + random.normal(0, 1, (students, 1))
    se = random.uniform(0.2, 0.8, walk.shape)
    student, week = np.nonzero(random.random(walk.shape) < 0.6)
    score = (walk + se * random.normal(0, 1, walk.shape))[student, week]
    scores = pd.DataFrame({"student": student, "week": week - 12.5, "score": score, "se": se[student, week]})
    # Of 17,000 pairs the moment estimate of sd^2 has a standard error below .004.
    assert weekly_change(scores) ** 2 == pytest.approx(sd**2, abs=0.012)
    assert weekly_change(scores.drop_duplicates("student")) == 0.0


# -- what the numbers say ------------------------------------------------------------------------------------


def horizon_with(
    coverage: Estimate, gain: Estimate, slope: Estimate = UNKNOWN, off: Estimate = UNKNOWN, skill: Estimate = UNKNOWN
) -> Horizon:
    one = Estimate(0.5, 0.4, 0.6)
    scores = ScoreQuality(dict.fromkeys(COVERED, coverage), one, one, one)
    worse = replace(scores, crps=Estimate(0.7, 0.6, 0.8))
    of = Quality(predicted=one, off=off, auc=one, brier=one, intercept=one, slope=slope, ici=one)
    goals = [
        Goal(target="0", events=50, happened=one, quality={POSTERIOR: of}, skill={POSTERIOR: skill}),
        Goal(target="9", events=0, reason="0 scores at or above the target, 99 below it (10 needed)"),
    ]
    return Horizon(
        weeks=2,
        n=99,
        students=60,
        scores={POSTERIOR: scores, NORMAL: scores, LAST: scores, COHORT: worse},
        gain={NORMAL: gain, LAST: gain, COHORT: Estimate(-9, -9, -9)},
        goals=goals,
    )


@pytest.mark.parametrize(
    ("coverage", "said"),
    [
        ((0.90, 0.885, 0.915), "As wide as they should be"),
        ((0.85, 0.82, 0.87), "Too narrow"),
        ((0.95, 0.93, 0.97), "Too wide"),
        ((0.91, 0.85, 0.96), "Not shown to be as wide as they should be"),
    ],
)
def test_the_width_of_intervals_is_judged_by_what_they_hold(coverage, said):
    found = verdicts(horizon_with(Estimate(*coverage), UNKNOWN))
    assert found[0].startswith(f"{said}: 90 % intervals of the posterior hold ")


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        ((-0.1, -0.2, -0.05), "Scores are predicted better than by “{}”"),
        ((0.1, 0.05, 0.2), "Scores are predicted worse than by “{}”"),
        ((0.1, -0.05, 0.2), "Scores are predicted no better or worse than by “{}”"),
        ((0.1, np.nan, np.nan), "Scores against “{}”"),
    ],
)
def test_the_posterior_is_compared_with_lme4_and_the_best_naive_method(gain, said):
    found = verdicts(horizon_with(UNKNOWN, Estimate(*gain)))
    assert found[1].startswith(said.format(NORMAL))
    assert found[2].startswith(said.format(LAST))
    assert "the best naive method" in found[2]


@pytest.mark.parametrize(
    ("slope", "off", "said"),
    [
        ((1.0, 0.9, 1.1), (0.0, -0.02, 0.02), "Probabilities come true"),
        ((0.5, 0.4, 0.6), (0.0, -0.02, 0.02), "Probabilities are too bold"),
        ((1.6, 1.4, 1.8), (0.0, -0.02, 0.02), "Probabilities are too timid"),
        ((1.0, 0.9, 1.1), (0.1, 0.05, 0.15), "That probabilities come true is not shown"),
        ((np.nan, np.nan, np.nan), (0.0, 0.0, 0.0), "Whether probabilities come true cannot be told"),
    ],
)
def test_probabilities_are_judged_by_slope_and_mean(slope, off, said):
    found = verdicts(horizon_with(UNKNOWN, UNKNOWN, Estimate(*slope), Estimate(*off), Estimate(0.2, 0.1, 0.3)))
    assert found[3].startswith(f"{said}, target 0: ")
    assert found[4] == "Better than the cohort's rate, target 0: skill +20.0 % [+10.0, +30.0]."
    assert found[5] == "Probabilities, target 9: not judged, 0 scores at or above the target, 99 below it (10 needed)."
