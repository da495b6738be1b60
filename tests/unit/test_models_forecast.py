"""Forecasts of panels, the rolling backtest and the choice between engines."""

import numpy as np
import pytest

from seedtest_assets.models.forecast import (
    FAST,
    MIN_WEEKS,
    SEASONAL_FROM,
    Forecast,
    autoets,
    backtest,
    best,
    forecast_series,
    judge,
    naive,
    seasonal_naive,
    widening,
)

Z_90 = 1.6448536269514722


def noise(series: int, weeks: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(series, weeks))


def walks(series: int, weeks: int, seed: int = 0) -> np.ndarray:
    return noise(series, weeks, seed).cumsum(axis=1)


def test_naive_is_the_last_value_with_the_spread_of_the_weekly_changes():
    panel = walks(3, 12)
    said = naive(panel, 4)
    changes = np.diff(panel, axis=1)
    spread = np.sqrt((changes**2).sum(axis=1) / changes.shape[1])
    for step in range(4):
        assert said.expected[:, step] == pytest.approx(panel[:, -1])
        half = Z_90 * spread * np.sqrt(step + 1)
        assert said.upper[:, step] == pytest.approx(panel[:, -1] + half)
        assert said.lower[:, step] == pytest.approx(panel[:, -1] - half)


def test_seasonal_naive_is_last_year_and_says_nothing_before_two_years():
    panel = noise(2, SEASONAL_FROM)
    assert seasonal_naive(panel, 3).expected == pytest.approx(panel[:, -52:-49])
    assert np.isnan(seasonal_naive(panel[:, 1:], 3).expected).all()


def test_exponential_smoothing_finds_the_level_of_noise_and_the_slope_of_a_line():
    level = autoets(5 + noise(50, 60), 1).expected[:, 0]
    assert np.abs(level - 5).mean() < 0.3  # the last value alone is off by .8
    line = 2 + 0.5 * np.arange(30.0)[None]
    assert autoets(line, 4).expected[0] == pytest.approx(2 + 0.5 * np.arange(30, 34), abs=1e-3)


@pytest.mark.parametrize("engine", FAST.values())
def test_what_cannot_be_forecast_is_left_open(engine):
    panel = np.full((4, 12), np.nan)
    panel[1, -1] = 1.0
    panel[2] = 7.0
    panel[3, -MIN_WEEKS:] = [1.0, 2.0, 1.0, 2.0]
    said = engine(panel, 2)
    for limits in (said.expected, said.lower, said.upper):
        assert np.isnan(limits[:2]).all()
        assert not np.isinf(limits).any()
    assert engine is seasonal_naive or said.expected[2] == pytest.approx(7.0)


def test_a_missing_week_stands_at_the_value_before_it():
    panel = np.array([[0.0, 1.0, 2.0, np.nan, 3.0, np.nan]])
    assert naive(panel, 1).expected[0, 0] == 3.0


def test_the_backtest_sees_nothing_after_its_origin():
    panel = walks(5, 14)
    changed = panel.copy()
    changed[:, -2:] += 100
    before, after = (backtest(each, FAST, 3, 12).query("origin >= 2") for each in (panel, changed))
    assert before["expected"].to_numpy() == pytest.approx(after["expected"].to_numpy())
    assert (after.query("origin == 2 and step == 1")["observed"] > 50).all()


def test_mase_and_coverage_by_hand():
    # Weekly changes before the origin: 1, 1, 2, mean 4/3. Naive says 4, observed 6: 2 / (4/3).
    tested = backtest(np.array([[0.0, 1.0, 2.0, 4.0, 6.0]]), {"naive": naive}, 1, 12)
    assert len(tested) == 1
    assert tested["scale"].item() == pytest.approx(4 / 3)
    judged = judge(tested)
    assert judged["mase"]["naive"] == pytest.approx(1.5)
    half = Z_90 * np.sqrt((1 + 1 + 4) / 3)
    assert judged["coverage"]["naive"] == float(half >= 2)


def test_engines_are_compared_on_what_all_of_them_predict():
    def picky(panel, horizon):
        said = naive(panel, horizon)
        said.expected[0] = np.nan
        return said

    judged = judge(backtest(walks(3, 12), {"naive": naive, "picky": picky}, 2, 12))
    assert judged["n"]["naive"] == judged["n"]["picky"]
    assert judged["mase"]["naive"] == judged["mase"]["picky"]


def test_a_forecast_is_made_from_its_window_alone():
    panel = walks(3, 18)
    longer = np.hstack([100 * walks(3, 9, seed=5), panel])
    group = np.full(3, "all", dtype=object)
    short, long = (forecast_series(each, group, FAST, 2, 12) for each in (panel, longer))
    assert short.ahead.upper == pytest.approx(long.ahead.upper)
    assert short.one_step["expected"].to_numpy() == pytest.approx(long.one_step["expected"].to_numpy())


def test_an_engine_with_too_few_errors_to_be_judged_by_is_not_compared():
    judged = judge(backtest(noise(20, 11), FAST, 1, 12))  # exponential smoothing needs nine weeks: two origins
    assert set(judged.index) == {"naive"}
    assert judged["n"]["naive"] == 20 * 6


def test_limits_are_widened_until_they_hold_what_they_say():
    def narrow(panel, horizon):
        said = naive(panel, horizon)
        return Forecast(said.expected, *(said.expected + (of - said.expected) / 3 for of in (said.lower, said.upper)))

    panel = walks(300, 30)
    tested = backtest(panel[:, :-1], {"narrow": narrow}, 1, 12)
    assert judge(tested)["coverage"]["narrow"] < 0.5
    assert widening(tested) > 2.5
    said = forecast_series(panel[:, :-1], np.full(300, "all", dtype=object), {"narrow": narrow}, 1, 12)
    held = (said.ahead.lower[:, 0] <= panel[:, -1]) & (panel[:, -1] <= said.ahead.upper[:, 0])
    assert held.mean() == pytest.approx(0.90, abs=0.04)


def test_limits_are_never_narrowed_and_few_errors_say_nothing():
    tested = backtest(walks(30, 30), {"naive": naive}, 1, 12)
    wide = tested.assign(lower=tested["lower"] - 100, upper=tested["upper"] + 100)
    assert widening(wide) == 1.0
    assert widening(tested.assign(observed=tested["observed"] + 100).head(9)) == 1.0
    by_hand = tested.head(19).assign(expected=0.0, lower=-1.0, upper=2.0, observed=-np.arange(1, 20.0))
    assert widening(by_hand) == 18.0  # rank .9 * 20 = 18 of nineteen


def test_naive_intervals_hold_nine_walks_of_ten():
    judged = judge(backtest(walks(300, 104), {"naive": naive}, 1, 104))
    assert 0.88 < judged["coverage"]["naive"] < 0.92


def test_each_kind_of_series_gets_the_engine_that_is_best_for_it():
    panel = np.vstack([noise(20, 26), walks(20, 26, seed=1)])
    group = np.repeat(np.array(["noise", "walk"], dtype=object), 20)
    said = forecast_series(panel, group, FAST, 4, 20)
    assert set(said.engine[:20]) == {"autoets"} == {best(said.judged["noise"])}
    assert set(said.engine[20:]) == {best(said.judged["walk"])} == {"naive"}
    steps = said.one_step
    assert (steps["engine"].to_numpy() == said.engine[steps["series"].to_numpy(dtype=int)]).all()
    assert set(steps["step"]) == {1}


def test_the_order_of_the_series_does_not_matter():
    panel, group = walks(12, 20), np.repeat(np.array(["a", "b"], dtype=object), 6)
    said = forecast_series(panel, group, FAST, 2, 14)
    order = np.random.default_rng(3).permutation(12)
    other = forecast_series(panel[order], group[order], FAST, 2, 14)
    assert (other.engine == said.engine[order]).all()
    assert other.ahead.expected == pytest.approx(said.ahead.expected[order])


def test_an_engine_that_is_asked_for_is_taken_where_it_speaks():
    group = np.full(4, "all", dtype=object)
    assert set(forecast_series(walks(4, 20), group, FAST, 1, 14, asked="autoets").engine) == {"autoets"}
    assert set(forecast_series(walks(4, 7), group, FAST, 1, 14, asked="autoets").engine) == {"naive"}


def test_too_few_weeks_and_no_series():
    group = np.full(2, "all", dtype=object)
    short = forecast_series(walks(2, MIN_WEEKS - 1), group, FAST, 3, 12)
    assert np.isnan(short.ahead.expected).all()
    assert not len(short.one_step)
    none = forecast_series(np.empty((0, 12)), group[:0], FAST, 3, 12)
    assert none.ahead.expected.shape == (0, 3)


def test_a_costly_engine_is_compared_on_some_series_of_a_group_only():
    asked = []

    def costly(panel, horizon):
        asked.append(len(panel))
        nothing = np.full((len(panel), horizon), np.nan)
        return Forecast(nothing, nothing, nothing)

    panel = walks(200, 12)
    forecast_series(panel, np.full(200, "all", dtype=object), {**FAST, "costly": costly}, 1, 12)
    assert max(asked) == 12
