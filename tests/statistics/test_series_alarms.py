"""False alarms and planted spikes in series as the pipeline judges them: by the engines that forecast them."""

import numpy as np
import pandas as pd
import pytest

from seedtest_assets.assets.forecast import series_anomalies
from seedtest_assets.assets.series import Panel
from seedtest_assets.models.forecast import FAST, ORIGINS, forecast_series

pytestmark = pytest.mark.slow
WINDOW = 12
WEEKS = WINDOW + ORIGINS


def noise(random: np.random.Generator, series: int, *, carry: float, heavy: bool) -> np.ndarray:
    """Lines of different slopes with autoregressive noise of sd about 1, normal or with the tails of t5."""
    shape = (series, WEEKS + 20)
    shocks = random.standard_t(5, shape) / np.sqrt(5 / 3) if heavy else random.normal(size=shape)
    values = np.zeros(shape)
    for week in range(1, shape[1]):
        values[:, week] = carry * values[:, week - 1] + shocks[:, week]
    return values[:, 20:] + np.linspace(0, 2, WEEKS) * random.normal(size=(series, 1))


def judged(values: np.ndarray) -> pd.DataFrame:
    """Rows of anomalies of topics' series that end with the week to be judged."""
    key = pd.DataFrame({"scope": "topic", "scope_id": [f"t{i:03}" for i in range(len(values))], "metric": "theta_week"})
    panel = Panel(key, [], values)
    group = np.full(len(values), "topic theta_week", dtype=object)
    return series_anomalies(panel, forecast_series(values, group, FAST, 1, WINDOW))


@pytest.mark.parametrize(("carry", "heavy"), [(0.0, False), (0.3, False), (0.0, True)])
@pytest.mark.parametrize(("family", "draws"), [(12, 30), (1, 150)])
def test_a_clean_series_alarms_at_most_once_a_year(family, draws, carry, heavy):
    random = np.random.default_rng(11)
    found = pd.concat([judged(noise(random, family, carry=carry, heavy=heavy)) for _ in range(draws)])
    assert found["score"].notna().mean() > 0.95
    a_year = 52 * found["flag"].eq(True).mean()
    # One a year would be 1/52 a week: of 360 weeks 6.9, and more than 12 with a chance of .02; of 150 2.9, more than 6.
    assert a_year <= (52 * 12 / 360 if family > 1 else 52 * 6 / 150)


@pytest.mark.parametrize(("size", "least"), [(4, 0.3), (6, 0.7), (10, 0.95)])
def test_a_spike_among_siblings_is_found_and_says_which_way(size, least):
    random = np.random.default_rng(12)
    hits = []
    for draw in range(40):
        values = noise(random, 12, carry=0.3, heavy=False)
        values[0, -1] += size if draw % 2 else -size
        row = judged(values).iloc[0]
        hits.append(bool(row["flag"]) and (row["score"] > 0) == bool(draw % 2))
    assert np.mean(hits) >= least
