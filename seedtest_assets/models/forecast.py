"""Forecasts of weekly series, and which engine makes them: judged by a rolling backtest, beside naive ones.

A panel is an array of shape (series, weeks), NaN where nothing is known of a week. An engine is a function that takes
a panel and a horizon and predicts the weeks after it; prophet's is a call to a service, the others are here.
statsforecast takes seconds to import: it is where it is used.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seedtest_assets.models.irt import Floats

if TYPE_CHECKING:
    from statsforecast.models import AutoETS, Naive, SeasonalNaive

Strings = NDArray[np.object_]

YEAR = 52
SEASONAL_FROM = 2 * YEAR
"""Weeks from which a yearly pattern can be told from chance: two of each week."""
LEVEL = 90
"""Per cent of what is to come that lies within the limits."""
MIN_WEEKS = 4
"""Known weeks without which a series is not forecast."""
ETS_MIN_WEEKS = 9
"""Weeks without which exponential smoothing has too few degrees of freedom for its error."""
ORIGINS = 6
"""Weeks that the backtest predicts from, the last before the panel's end."""
LEAST_ORIGINS = 4
"""Weeks without which an engine is not compared with those that have them: its errors would be too few to judge by."""
LEAST_ERRORS = 10
"""Forecasts without which a quantile of their errors is not to be had."""
JUDGED = 12
"""Series of a group, at most, on which the engines are compared: an engine wins for a kind of series, not for one."""


@dataclass(frozen=True)
class Forecast:
    """What an engine says of the weeks after a panel; all of shape (series, horizon), NaN where it says nothing.

    Attributes:
        expected: mean, or median.
        lower, upper: limits of a 90 % interval.
    """

    expected: Floats
    lower: Floats
    upper: Floats


Engine = Callable[[Floats, int], Forecast]
TESTED: dict[str, Any] = {
    "engine": object,
    **dict.fromkeys(("series", "origin", "step"), "int64"),
    **dict.fromkeys(("observed", "expected", "lower", "upper", "scale"), "float64"),
}
"""Columns of a `backtest`, and their types."""


def naive(panel: Floats, horizon: int) -> Forecast:
    """The last known value; variance grows by that of the weekly changes."""
    from statsforecast.models import Naive

    return _each(lambda weeks: Naive(), panel, horizon)


def seasonal_naive(panel: Floats, horizon: int) -> Forecast:
    """The value of the same week a year ago; nothing for a series of less than two years."""
    from statsforecast.models import SeasonalNaive

    return _each(lambda weeks: SeasonalNaive(YEAR) if weeks >= SEASONAL_FROM else None, panel, horizon)


def autoets(panel: Floats, horizon: int) -> Forecast:
    """Exponential smoothing with additive errors, its form chosen by AICc (Hyndman et al. 2008), by statsforecast."""
    from statsforecast.models import AutoETS

    def model(weeks: int) -> AutoETS | None:
        return AutoETS(YEAR if weeks >= SEASONAL_FROM else 1, model="AZZ") if weeks >= ETS_MIN_WEEKS else None

    return _each(model, panel, horizon)


FAST: Mapping[str, Engine] = {"naive": naive, "seasonal_naive": seasonal_naive, "autoets": autoets}
"""Engines of this process, the simplest first."""


def _each(model_of: "Callable[[int], Naive | SeasonalNaive | AutoETS | None]", panel: Floats, horizon: int) -> Forecast:
    found = np.full((3, len(panel), horizon), np.nan)
    for i, row in enumerate(panel):
        values = _without_gaps(row)
        model = model_of(len(values)) if np.isfinite(row).sum() >= MIN_WEEKS else None
        if model is not None:
            said = model.forecast(values, horizon, level=[LEVEL])
            found[:, i] = said["mean"], said[f"lo-{LEVEL}"], said[f"hi-{LEVEL}"]
    return Forecast(*found)


def _without_gaps(row: Floats) -> Floats:
    """A series from its first known week on, later unknown weeks at the value before them."""
    known = pd.Series(row).ffill().dropna()
    return np.asarray(known, dtype=np.float64)


def backtest(panel: Floats, engines: Mapping[str, Engine], horizon: int, window: int) -> pd.DataFrame:
    """Predict the panel's last weeks, each from a window of weeks before an origin, as the weeks to come are predicted.

    Args:
        panel: shape (series, weeks); with window + ORIGINS weeks every origin has a whole window.
        engines: by name.
        horizon: weeks ahead.
        window: weeks that a forecast is made from; at the panel's begin there may be fewer.

    Returns:
        A row for each engine, series, origin and step that is known and predicted: engine, series (position in the
        panel), origin (weeks before the panel's end), step (1 = the next week), observed, expected, lower, upper, and
        scale: mean absolute weekly change in the window, the error of the naive forecast there.
    """
    weeks = panel.shape[1]
    parts = [pd.DataFrame(columns=list(TESTED)).astype(TESTED)]
    for origin in range(1, min(ORIGINS, weeks - MIN_WEEKS) + 1):
        before, after = windowed(panel[:, : weeks - origin], window), panel[:, weeks - origin :]
        steps = min(horizon, origin)
        scale = np.array([_naive_error(row) for row in before])
        for name, engine in engines.items():
            said = engine(before, steps)
            series, step = np.nonzero(np.isfinite(after[:, :steps]) & np.isfinite(said.expected))
            tested = {
                "engine": name,
                "series": series,
                "origin": origin,
                "step": step + 1,
                "observed": after[series, step],
                "expected": said.expected[series, step],
                "lower": said.lower[series, step],
                "upper": said.upper[series, step],
                "scale": scale[series],
            }
            parts.append(pd.DataFrame(tested).astype(TESTED))
    return pd.concat(parts, ignore_index=True)


def windowed(panel: Floats, window: int) -> Floats:
    """The panel with nothing known but its last weeks; its columns keep their dates."""
    kept = panel.copy()
    kept[:, : max(panel.shape[1] - window, 0)] = np.nan
    return kept


def _naive_error(row: Floats) -> float:
    values = _without_gaps(row)
    return float(np.abs(np.diff(values)).mean()) if len(values) > 1 else np.nan


def judge(tested: pd.DataFrame) -> pd.DataFrame:
    """How good each engine was in a `backtest`, on what all of them have predicted.

    An engine that could predict from fewer than LEAST_ORIGINS weeks, where others could from as many, has no part.

    Returns:
        Indexed by engine: mase (mean absolute scaled error, Hyndman and Koehler 2006: 1 = as good as naive forecasts
        in the past; series that never changed are left out), coverage (share of observations within the 90 % limits)
        and n (predictions).
    """
    origins = tested.groupby("engine")["origin"].nunique()
    able = origins.index[origins >= min(LEAST_ORIGINS, origins.max())] if len(origins) else origins.index
    of_able = tested[tested["engine"].isin(able)]
    by_all = of_able.groupby(["series", "origin", "step"])["engine"].transform("size") == len(able)
    common = of_able[by_all]
    error = (common["observed"] - common["expected"]).abs() / common["scale"].where(common["scale"] > 0)
    within = common["observed"].between(common["lower"], common["upper"])
    return pd.DataFrame(
        {
            "mase": error.groupby(common["engine"]).mean(),
            "coverage": within.groupby(common["engine"]).mean(),
            "n": common.groupby("engine").size(),
        }
    )


def best(judged: pd.DataFrame) -> str | None:
    """The engine with the smallest MASE, or None where none was tested."""
    known = judged["mase"].dropna()
    return str(known.idxmin()) if len(known) else None


def widening(tested: pd.DataFrame) -> float:
    """How many times as wide an engine's limits have to be to hold what they say, at least once.

    Engines take their parameters as known, and a dozen weeks as enough to know a series' kind: their 90 % limits hold
    far less. The factor is the quantile, with the finite-sample rank of conformal prediction (Lei et al. 2018), of the
    errors in a `backtest`, each as a share of the distance to the limit on its side.

    Args:
        tested: of one engine; with fewer than LEAST_ERRORS forecasts nothing is known, and the factor is 1.
    """
    error = tested["observed"] - tested["expected"]
    limit = np.where(error > 0, tested["upper"] - tested["expected"], tested["expected"] - tested["lower"])
    share: Floats = np.sort((error.abs() / limit)[limit > 0].to_numpy(dtype=float))
    if len(share) < LEAST_ERRORS:
        return 1.0
    rank = min(math.ceil(LEVEL / 100 * (len(share) + 1)), len(share))
    return max(1.0, float(share[rank - 1]))


@dataclass(frozen=True)
class Forecasts:
    """What is forecast of a panel, by which engine, and how good it was.

    Attributes:
        engine: of each series, shape (series,).
        ahead: the weeks after the panel, limits widened.
        widened: how many times, by engine.
        one_step: `backtest` of each series' own engine, one week ahead.
        judged: `judge` of all engines, by group.
    """

    engine: Strings
    ahead: Forecast
    widened: dict[str, float]
    one_step: pd.DataFrame
    judged: dict[str, pd.DataFrame]


def forecast_series(
    panel: Floats, group: Strings, engines: Mapping[str, Engine], horizon: int, window: int, asked: str | None = None
) -> Forecasts:
    """Forecast each series by the engine that is best for its group, or by the one that is asked for.

    Args:
        panel: shape (series, weeks); see `backtest`.
        group: what kind of series each is, shape (series,); engines are compared within it.
        engines: by name, the simplest first; the first can forecast whatever has MIN_WEEKS.
        horizon: weeks ahead.
        window: weeks that a forecast is made from.
        asked: the engine to take; where it says nothing of a whole group, the best of the others is taken.
    """
    kinds = {str(kind): np.flatnonzero(group == kind) for kind in np.unique(group)}
    compared = {kind: of[np.unique(np.linspace(0, len(of) - 1, JUDGED).astype(int))] for kind, of in kinds.items()}
    some = np.concatenate([np.empty(0, int), *compared.values()])
    tested = backtest(panel[some], engines, horizon, window)
    judged = {kind: judge(tested[np.isin(some[tested["series"]], of)]) for kind, of in compared.items()}
    engine = np.full(len(panel), next(iter(engines)), dtype=object)
    for kind, of in kinds.items():
        engine[of] = asked if asked in judged[kind].index else best(judged[kind]) or engine[of]
    ahead, one_step, factors = np.full((3, len(panel), horizon), np.nan), [], {}
    for name in np.unique(engine.astype(str)):
        rows = np.flatnonzero(engine == name)
        said = engines[name](windowed(panel[rows], window), horizon)
        factor = widening(tested[(tested["engine"] == name) & (engine[some[tested["series"]]] == name)])
        low, high = (said.expected + factor * (of - said.expected) for of in (said.lower, said.upper))
        ahead[:, rows], factors[name] = (said.expected, low, high), factor
        own = backtest(panel[rows], {name: engines[name]}, 1, window)
        one_step.append(own.assign(series=rows[own["series"]]))
    return Forecasts(engine, Forecast(*ahead), factors, pd.concat(one_step or [tested], ignore_index=True), judged)
