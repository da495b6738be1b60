"""Unusual points of series: the formula by hand, siblings, spikes that must not hide, false alarms on clean series."""

import warnings

import numpy as np
import pytest
from pandas.testing import assert_frame_equal
from scipy.stats import norm, t

from seedtest_assets.models.anomaly import NO_VALUE, NO_VARIATION, UnusableValues
from seedtest_assets.models.anomaly_level import BOUNDED_SQUARE
from seedtest_assets.models.anomaly_series import (
    EFFICIENCY,
    LEAST_ERRORS,
    NO_FORECAST,
    TAIL_DF,
    TOO_FEW,
    level_forecasts,
    robust_scale,
    series_scores,
)

NAN = np.nan


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def series(number, weeks, seed=1, heavy=False):
    """Level, trend and AR(1) noise of sd 1."""
    random = np.random.default_rng(seed)
    shape = (number, weeks)
    noise = random.standard_t(5, shape) / np.sqrt(5 / 3) if heavy else random.normal(size=shape)
    for week in range(1, weeks):
        noise[:, week] = 0.3 * noise[:, week - 1] + np.sqrt(1 - 0.3**2) * noise[:, week]
    return random.normal(0, 3, (number, 1)) + random.normal(0.05, 0.05, (number, 1)) * np.arange(weeks) + noise


def scored(values, family=None):
    return series_scores(values[:, -1], *level_forecasts(values), family)


def test_the_score_is_the_formula_by_hand():
    """Median |error| is 1, so the error of 9 counts as 2 x 1.4826."""
    found = series_scores(np.array([7.0]), np.array([4.0]), np.array([[1.0, -9.0, 0.5, NAN, -1.0, 1.0]])).loc[0]
    scale = np.sqrt((1 + (2 / norm.ppf(0.75)) ** 2 + 0.25 + 1 + 1) / BOUNDED_SQUARE / 5)
    df = 1 / (1 / (0.75 * 5) + 1 / 10)
    assert found["p"] == pytest.approx(2 * t.sf(3 / scale, df), rel=1e-9)
    assert found["score"] == pytest.approx(norm.isf(t.sf(3 / scale, df)), abs=1e-8)
    assert found["lower"] == pytest.approx(4 - t.ppf(0.95, df) * scale)
    assert found["upper"] == pytest.approx(4 + t.ppf(0.95, df) * scale)
    assert found["errors"] == 5
    assert not found["flag"]
    assert found["reason"] is None


def test_the_scale_is_consistent_and_bounded():
    errors = np.random.default_rng(1).normal(0, 3, (1, 200_000))
    assert robust_scale(errors)[0] == pytest.approx(3, rel=0.01)
    few = np.array([[1.0, -1.0, 1.0, -1.0, 1e9]])
    assert robust_scale(few)[0] < 2


@pytest.mark.parametrize("n", [3, 5, 8, 15, 25])
def test_degrees_of_freedom_are_those_of_the_scale(n):
    """By simulation: 2 mean^2 / variance of the squared scale, within a quarter."""
    squares = robust_scale(np.random.default_rng(n).normal(size=(50_000, n))) ** 2
    assert 2 * squares.mean() ** 2 / squares.var() == pytest.approx(EFFICIENCY * n, rel=0.25)


def test_siblings_share_their_scale_as_far_as_they_are_alike():
    """Scales drawn from the model's own prior: with siblings the true scale is met better; alike ones become equal."""
    random = np.random.default_rng(3)
    true = np.sqrt(6 / random.chisquare(6, 300))
    errors, family = true[:, None] * random.normal(size=(300, 5)), np.zeros(300, dtype=int)
    newest, expected = np.zeros(300), np.zeros(300)
    alone = series_scores(newest, expected, errors)
    together = series_scores(newest, expected, errors, family)

    def scale(found, df):
        return found["upper"] / t.ppf(0.95, 1 / (1 / df + 1 / TAIL_DF))

    off = [np.std(np.log(scale(found, df) / true)) for found, df in ((alone, 3.75), (together, 9.75))]
    assert off[1] < 0.8 * off[0]
    alike = series_scores(newest, expected, random.normal(size=(300, 5)), family)
    assert alike["upper"].std() < 0.3 * series_scores(newest, expected, errors)["upper"].std()
    assert alike["upper"].mean() < 0.9 * alone["upper"].mean()


def test_families_are_apart_and_small_ones_are_not_moderated():
    errors = np.random.default_rng(2).normal(size=(9, 6))
    errors[4:] *= 100
    family = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2])
    newest, expected = np.ones(9), np.zeros(9)
    found = series_scores(newest, expected, errors, family)
    first = series_scores(newest[:4], expected[:4], errors[:4], family[:4])
    assert_frame_equal(found.iloc[:4], first)
    assert_frame_equal(found.iloc[7:], series_scores(newest, expected, errors).iloc[7:])


def test_the_order_of_series_and_of_errors_and_the_units_do_not_matter():
    values, family = series(40, 9), np.repeat([0, 1], 20)
    found = scored(values, family)
    order = np.random.default_rng(1).permutation(40)
    permuted = scored(values[order], family[order])
    assert_frame_equal(permuted, found.loc[order].reset_index(drop=True), atol=1e-4, rtol=1e-4)
    expected, errors = level_forecasts(values)
    assert_frame_equal(series_scores(values[:, -1], expected, errors[:, ::-1]), scored(values))
    np.testing.assert_allclose(scored(5 + 3 * values)["score"], scored(values)["score"], atol=1e-8)


@pytest.mark.parametrize("weeks", range(6, 13))
def test_a_spike_cannot_mask_itself(weeks):
    """Ten sds: found in most series, more often with siblings; and the forecast does not know it."""
    values = series(800, weeks)
    before = level_forecasts(values)
    values[:, -1] += 10
    after = level_forecasts(values)
    np.testing.assert_array_equal(before[0], after[0])
    np.testing.assert_array_equal(before[1], after[1])
    assert scored(values)["flag"].mean() > 0.7
    assert scored(values, np.arange(800) // 100)["flag"].mean() > 0.97


@pytest.mark.parametrize("weeks", range(6, 13))
@pytest.mark.parametrize("early", [0, 1, -4, -3, -2])
def test_an_earlier_spike_does_not_hide_a_new_one(weeks, early):
    """One of thirty sds, of five errors at most; and the week after it is no alarm."""
    values = np.resize([0.3, -1.1, 0.8, -0.4, 1.2, -0.7, 0.1], (1, weeks))
    values[0, early] += 30
    assert not scored(values)["flag"][0]
    values[0, -1] = 30.0
    assert scored(values)["flag"][0]


@pytest.mark.parametrize("weeks", [6, 8, 12, 26])
@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("siblings", [False, True])
def test_clean_series_alarm_at_most_once_a_year(weeks, heavy, siblings):
    """2,000 series; the standard error of a rate of 1 is .16."""
    values = series(2000, weeks, seed=weeks, heavy=heavy)
    family = np.arange(2000) // 200 if siblings else None
    assert 52 * scored(values, family)["flag"].mean() < 1 + 2 * 0.16


def test_a_level_starts_again_after_four_weeks_and_a_pause_is_forgotten():
    """The median of the newest three weeks beyond the bound, 8.2, is the next forecast, by hand."""
    values = np.resize([0.5, -0.5, 0.2, -0.3], (1, 15)).copy()
    values[0, 10:14] = [9.3, 8.4, 8.2, 7.9]
    assert level_forecasts(values[:, :14])[0][0] < 3
    assert level_forecasts(values)[0][0] == pytest.approx(8.2)
    values[0, 13] = 0.1
    assert level_forecasts(values)[0][0] < 2.5


def test_what_cannot_be_scored_says_why():
    errors = np.array([[1.0, 2, 1], [1, 2, 1], [1, 2, NAN], [0, 0, 0], [0, 0, 3]])
    observed, expected = np.array([NAN, 1, 1, 1, 1]), np.array([1.0, NAN, 0, 0, 0])
    found = series_scores(observed, expected, errors)
    assert list(found["reason"]) == [NO_VALUE, NO_FORECAST, TOO_FEW, NO_VARIATION, None]
    assert found[["score", "expected", "lower", "upper", "p"]].iloc[:4].isna().all(axis=None)
    assert not found["flag"].any()
    moderated = series_scores(observed, expected, errors, np.zeros(5, dtype=int))
    assert list(moderated["reason"]) == [NO_VALUE, NO_FORECAST, TOO_FEW, None, None]
    assert np.isfinite(moderated["score"][3])


def test_series_without_values_have_no_forecast():
    values = np.array([[NAN, NAN, NAN, NAN, 1.0], [NAN, 2, NAN, NAN, 5], [2, 2, 2, 2, 7]])
    expected, errors = level_forecasts(values)
    np.testing.assert_array_equal(expected, [NAN, 2, 2])
    assert list(np.isfinite(errors).sum(axis=1)) == [0, 0, 3]
    assert list(scored(values)["reason"]) == [NO_FORECAST, TOO_FEW, NO_VARIATION]
    assert LEAST_ERRORS == 3


@pytest.mark.parametrize(
    ("observed", "expected", "errors", "advice"),
    [
        (np.zeros(2), np.zeros(2), np.zeros(3), "a row for each series"),
        (np.zeros(2), np.zeros(1), np.zeros((2, 3)), "a row for each series"),
        (np.array([np.inf]), np.zeros(1), np.ones((1, 3)), "finite"),
    ],
)
def test_unusable_numbers_are_refused(observed, expected, errors, advice):
    with pytest.raises(UnusableValues, match=advice):
        series_scores(observed, expected, errors)
