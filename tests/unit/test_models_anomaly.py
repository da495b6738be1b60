"""Unusual weeks of students: forecasts against dense distributions, scores by hand, what must not alarm."""

import warnings

import numpy as np
import pytest
from pandas.testing import assert_frame_equal
from scipy import integrate
from scipy.stats import norm, t

from seedtest_assets.models import anomaly_level
from seedtest_assets.models.anomaly import (
    NO_VALUE,
    NO_VARIATION,
    TOO_SHORT,
    UnusableValues,
    cohort_parameters,
    normal_score,
    student_scores,
)
from seedtest_assets.models.anomaly_level import BOUND, BOUNDED_SQUARE, Parameters, one_step

NORMAL = Parameters(scale=1.2, center=0.3, spread=0.7, drift=0.2, scale_df=np.inf, tail_df=np.inf)


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def cohort(students, weeks, seed=1, missing=0.2, noise=None, movement=0.15):
    """Values and standard errors: levels, slopes, movements of the cohort, noise; the last week is never missing."""
    random = np.random.default_rng(seed)
    se = np.exp(random.normal(np.log(0.45), 0.3, (students, weeks)))
    lines = random.normal(0, 0.8, (students, 1)) + random.normal(0.02, 0.02, (students, 1)) * np.arange(weeks)
    noise = random.normal(size=(students, weeks)) if noise is None else noise
    values = lines + random.normal(0, movement, weeks) + se * noise
    lost = random.random((students, weeks)) < missing
    lost[:, -1] = False
    return np.where(lost, np.nan, values), se


def dense(values, se, parameters):
    """Mean and covariance of all values of a student, as the model has them."""
    week = np.arange(1, len(values) + 1)
    levels = parameters.spread**2 + parameters.drift**2 * np.minimum.outer(week, week)
    return np.full(len(values), parameters.center), levels + np.diag((parameters.scale * se) ** 2)


# -- forecasts ------------------------------------------------------------------------------------------------------


def test_the_level_shrinks_as_normal_and_normal_do():
    """Without drift: precision-weighted mean of the center and the student's values, by hand."""
    parameters = Parameters(scale=1.0, center=1.0, spread=2.0, drift=0.0, scale_df=np.inf, tail_df=np.inf)
    values = np.array([[2.0, 3.0, 2.5, 3.5, 5.0]])
    found = student_scores(values, np.ones((1, 5)), parameters=parameters).loc[0]
    expected = (1.0 / 4 + 2.0 + 3.0 + 2.5 + 3.5) / (1 / 4 + 4)
    sd = np.sqrt(1 / (1 / 4 + 4) + 1)
    assert found["expected"] == pytest.approx(expected, abs=1e-12)
    assert found["score"] == pytest.approx((5 - expected) / sd, abs=1e-6)
    assert found["p"] == pytest.approx(2 * norm.sf((5 - expected) / sd), abs=1e-9)
    assert found["upper"] - found["expected"] == pytest.approx(norm.ppf(0.95) * sd, abs=1e-6)
    assert found["expected"] - found["lower"] == pytest.approx(norm.ppf(0.95) * sd, abs=1e-6)


def test_every_forecast_is_the_conditional_normal_distribution(monkeypatch):
    monkeypatch.setattr(anomaly_level, "BOUND", np.inf)
    values, se = cohort(6, 9, missing=0.3)
    found = one_step(values, np.where(np.isnan(values), 1.0, se), NORMAL)
    for student, week in np.ndindex(values.shape):
        before = np.flatnonzero(~np.isnan(values[student, :week]))
        mean, covariance = dense(values[student], se[student], NORMAL)
        gain = covariance[week, before] @ np.linalg.inv(covariance[np.ix_(before, before)])
        if np.isnan(values[student, week]):
            covariance[week, week] += NORMAL.scale**2 * (1 - se[student, week] ** 2)
        variance = covariance[week, week] - gain @ covariance[before, week]
        expected = mean[week] + gain @ (values[student, before] - mean[before])
        assert found.expected[student, week] == pytest.approx(expected, abs=1e-10)
        assert found.sd[student, week] == pytest.approx(np.sqrt(variance), abs=1e-8)
        assert found.standing[student, week] == (len(before) > 0 and not np.isnan(values[student, week]))


def test_an_unknown_scale_gives_the_conditional_t_distribution(monkeypatch):
    """Of changes, which know no level: t with scale_df; given d of them, df and scale of Kotz & Nadarajah (2004)."""
    monkeypatch.setattr(anomaly_level, "BOUND", np.inf)
    monkeypatch.setattr(anomaly_level, "BOUNDED_SQUARE", 1.0)
    parameters = Parameters(scale=0.9, center=0.0, spread=1e4, drift=0.3, scale_df=6.0, tail_df=np.inf)
    values, se = cohort(3, 7, missing=0)
    found = one_step(values, se, parameters)
    change = np.diff(np.eye(7), axis=0)
    for student, own in enumerate(values):
        covariance = change @ dense(own, se[student], parameters)[1] @ change.T
        within, across = covariance[:-1, :-1], covariance[-1, :-1]
        changes = np.diff(own)
        gain = across @ np.linalg.inv(within)
        distance = changes[:-1] @ np.linalg.solve(within, changes[:-1])
        squared = (6 + distance) / (6 + 5) * (covariance[-1, -1] - gain @ across)
        assert found.df[student, -1] == pytest.approx(11)
        assert found.expected[student, -1] == pytest.approx(own[-2] + gain @ changes[:-1], abs=1e-5)
        assert found.sd[student, -1] == pytest.approx(np.sqrt(squared), rel=1e-5)


def test_the_bounded_square_has_mean_one():
    mean = integrate.quad(lambda z: min(z**2, BOUND**2) * norm.pdf(z), -12, 12, points=[-BOUND, BOUND])[0]
    assert pytest.approx(mean, abs=1e-9) == BOUNDED_SQUARE


@pytest.mark.parametrize("df", [1.5, 7.0, 30.0, 1e9])
def test_scores_are_normal_quantiles_of_t_probabilities(df):
    x = np.array([-6.0, -2.5, -0.1, 0.0, 0.1, 2.5, 6.0])
    score, p = normal_score(x, np.full(7, df))
    np.testing.assert_allclose(score, np.sign(x) * norm.isf(t.sf(np.abs(x), df)), atol=1e-8)
    np.testing.assert_allclose(p, 2 * t.sf(np.abs(x), df), atol=1e-12)


def test_scores_are_finite_however_far_the_value_is():
    score, p = normal_score(np.array([-1e300, -40.0, 40.0, 1e300]), np.full(4, 1e9))
    assert np.isfinite(score).all()
    assert (p > 0).all()
    np.testing.assert_allclose(score, -score[::-1])
    assert score[2] > 37


def test_what_students_have_in_common_is_recovered():
    random = np.random.default_rng(4)
    se = np.full((500, 20), 0.4)
    levels = random.normal(1.5, 0.9, (500, 1)) + np.cumsum(random.normal(0, 0.1, (500, 20)), axis=1)
    found = cohort_parameters(levels + 1.3 * se * random.normal(size=se.shape), se)
    assert found.scale == pytest.approx(1.3, rel=0.05)
    assert found.drift == pytest.approx(0.1, rel=0.25)
    assert found.center == pytest.approx(1.5, abs=0.15)
    assert found.spread == pytest.approx(np.sqrt(0.9**2 + 10 * 0.1**2), rel=0.15)
    assert min(found.scale_df, found.tail_df) > 20


def test_students_of_unequal_noise_and_heavy_tails_are_told_from_equal_and_normal_ones():
    random = np.random.default_rng(5)
    noise = random.normal(size=(500, 20))
    sds = np.sqrt(4 / random.chisquare(4, (500, 1)))
    found = cohort_parameters(*cohort(500, 20, noise=noise * sds))
    assert found.scale_df == pytest.approx(4, rel=0.5)
    found = cohort_parameters(*cohort(500, 20, noise=random.standard_t(5, (500, 20))))
    assert found.tail_df < 12


# -- what a score may not depend on ---------------------------------------------------------------------------------


@pytest.mark.parametrize("students", [5, 700])
@pytest.mark.parametrize("known", [True, False])
def test_the_order_of_students_does_not_matter(students, known):
    values, se = cohort(students, 9)
    order = np.random.default_rng(1).permutation(students)
    found = student_scores(values, se if known else None)
    permuted = student_scores(values[order], se[order] if known else None)
    assert_frame_equal(permuted, found.loc[order].reset_index(drop=True), check_exact=True)


@pytest.mark.parametrize("students", [3, 60])
def test_units_and_origin_do_not_matter(students):
    values, se = cohort(students, 10)
    for errors, scaled in ((None, None), (se, 8 * se)):
        found, other = student_scores(values, errors), student_scores(100 + 8 * values, scaled)
        np.testing.assert_allclose(other["score"], found["score"], atol=1e-5)
        np.testing.assert_allclose(other["expected"], 100 + 8 * found["expected"], atol=1e-4)
        np.testing.assert_allclose(other["upper"], 100 + 8 * found["upper"], atol=1e-4)


@pytest.mark.parametrize("students", [1, 5, 60])
def test_a_week_has_no_part_in_its_own_forecast(students):
    """Of a cohort's movement, a median, one student cannot take more than the gap to the next order statistic."""
    values, se = cohort(students, 8)
    before = student_scores(values, se)
    values[0, -1] += 50
    after = student_scores(values, se)
    off = np.abs(after["expected"] - before["expected"]).max()
    assert off == 0 if students < 10 else off < 0.1
    assert after.loc[0, "score"] > 4
    assert after.loc[0, "flag"]


def test_missing_weeks_are_left_out_and_widen_the_interval():
    values, se = cohort(40, 12, missing=0)
    full = student_scores(values, se, parameters=NORMAL)
    values[0, 8:11] = np.nan
    found = student_scores(values, se, parameters=NORMAL)
    assert found.loc[0, "weeks"] == 8
    assert found.loc[0, "upper"] - found.loc[0, "lower"] > full.loc[0, "upper"] - full.loc[0, "lower"]


# -- what alarms, and what does not ---------------------------------------------------------------------------------


def test_a_week_that_is_hard_for_all_is_nobodys_anomaly():
    values, se = cohort(50, 12)
    usual = student_scores(values, se)
    values[:, -1] -= 2
    values[7, -1] -= 4
    found = student_scores(values, se)
    assert list(found.index[found["flag"]]) == [7]
    np.testing.assert_allclose(found["expected"], usual["expected"] - 2, atol=0.05)


def test_few_students_have_no_cohort_to_compare_with():
    values, se = cohort(4, 12)
    values[:, -1] -= 5
    assert student_scores(values, se)["flag"].all()


@pytest.mark.parametrize("weeks", [6, 12, 26])
def test_a_student_who_improves_steadily_does_not_alarm(weeks):
    """.1 logits a week, four sds of slopes above the cohort's mean."""
    values, se = cohort(60, weeks, movement=0)
    values[0] = 0.1 * np.arange(weeks)
    assert 0 < student_scores(values, se).loc[0, "score"] < 1.5


@pytest.mark.parametrize("students", [1, 30])
@pytest.mark.parametrize(
    ("weeks", "early"), [(6, None), (6, 1), (6, -2), (7, 0), (8, -2), (10, 4), (12, None), (12, -2)]
)
def test_a_spike_is_seen_and_an_earlier_one_does_not_hide_it(students, weeks, early):
    values, se = cohort(students, weeks, missing=0)
    values[0], se[0] = np.resize([0.1, -0.2, 0.3, -0.1, 0.2], weeks), 0.45
    if early is not None:
        values[0, early] += 5
    values[0, -1] = 5.0
    found = student_scores(values, se).loc[0]
    assert found["flag"]
    assert found["score"] > 2.5


def test_flags_need_the_score_and_the_false_discovery_rate():
    """Benjamini & Hochberg's q by hand; the sixth-smallest p of 100 has a score above 2.5 and no flag."""
    values = np.zeros((100, 6))
    values[:5, -1], values[5, -1] = 8.0, 2.6
    parameters = Parameters(scale=1.0, center=None, spread=0.0, drift=0.0, scale_df=np.inf, tail_df=np.inf)
    found = student_scores(values, np.full((100, 6), 0.9), parameters=parameters)
    p = found["p"].to_numpy()
    order = np.argsort(p)
    by_hand = np.minimum.accumulate((p[order] * 100 / np.arange(1, 101))[::-1])[::-1]
    np.testing.assert_allclose(found["q"].to_numpy()[order], by_hand)
    assert found["score"][5] > 2.5
    assert list(found.index[found["flag"]]) == [0, 1, 2, 3, 4]


# -- nothing to score -----------------------------------------------------------------------------------------------


def test_what_cannot_be_scored_says_why():
    values = np.array(
        [
            [1.0, 2, 1, 2, np.nan],
            [np.nan, 2, 1, 2, 1],
            [np.nan, np.nan, np.nan, np.nan, 1],
            [np.nan] * 5,
            [1, 2, 1, 2, 1],
        ]
    )
    found = student_scores(values)
    assert list(found["reason"]) == [NO_VALUE, TOO_SHORT, TOO_SHORT, NO_VALUE, None]
    assert list(found["weeks"]) == [4, 3, 0, 0, 4]
    numbers = found[["score", "expected", "lower", "upper", "p", "q"]]
    assert numbers.iloc[:4].isna().all(axis=None)
    assert np.isfinite(numbers.iloc[4].to_numpy()).all()
    assert not found["flag"].any()


@pytest.mark.parametrize("newest", [3.0, 4.0])
@pytest.mark.parametrize("students", [1, 20])
def test_a_history_that_never_varies_has_no_score(newest, students):
    values = np.full((students, 8), 3.0)
    values[0, -1] = newest
    found = student_scores(values)
    assert set(found["reason"]) == {NO_VARIATION}
    assert found["score"].isna().all()


def test_known_errors_score_a_student_who_never_varied():
    values = np.full((1, 8), 3.0)
    values[0, -1] = 6.0
    found = student_scores(values, np.full((1, 8), 0.4)).loc[0]
    assert 2.5 < found["score"] < 37


def test_one_constant_student_among_others_is_scored_with_the_cohorts_scale():
    values, _ = cohort(80, 10)
    values[0] = 1.0
    found = student_scores(values)
    assert np.isfinite(found.loc[0, "score"])
    assert found.loc[0, "upper"] - found.loc[0, "lower"] > 0.3


def test_nobody_and_a_first_week_are_no_error():
    assert len(student_scores(np.empty((0, 5)))) == 0
    assert student_scores(np.array([[1.0], [2.0]]))["reason"].tolist() == [TOO_SHORT] * 2
    assert cohort_parameters(np.full((4, 6), np.nan)) is None


@pytest.mark.parametrize(
    ("values", "se", "advice"),
    [
        (np.zeros(4), None, "must be a matrix"),
        (np.zeros((2, 0)), None, "at least one week"),
        (np.array([[0.0, np.inf]]), None, "finite number"),
        (np.zeros((2, 3)), np.ones((3, 2)), "shape of values"),
        (np.zeros((1, 2)), np.array([[1.0, 0.0]]), "greater than 0"),
        (np.zeros((1, 2)), np.array([[1.0, np.nan]]), "greater than 0"),
    ],
)
def test_unusable_values_are_refused(values, se, advice):
    with pytest.raises(UnusableValues, match=advice):
        student_scores(values, se)
