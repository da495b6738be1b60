"""Published risks and what happened, by hand and for probabilities that are true."""

import numpy as np
import pandas as pd
import pytest

from seedtest_assets.models.track_record import FEWEST, track_record


def risks(risk, event, *, recency=None, horizon=14, student=None):
    n = len(risk)
    return pd.DataFrame(
        {
            "student": np.arange(n) if student is None else student,
            "horizon": horizon,
            "risk": risk,
            "risk_recency": np.full(n, np.nan) if recency is None else recency,
            "event": np.asarray(event, dtype=float),
        }
    )


def test_a_few_risks_by_hand():
    found = track_record(
        risks([0.0, 0.5, 0.2, 0.8], [0, 1, 0, 1], recency=[0.0, 0.4, np.nan, 0.5], student=[0, 1, 1, 2])
    )
    record = found["14"]
    assert (record["n"], record["events"], record["students"]) == (3, 2, 2)
    assert record["predicted"] == pytest.approx(0.5)
    assert record["happened"] == pytest.approx(2 / 3)
    assert record["brier"] == pytest.approx((0.25 + 0.04 + 0.04) / 3)
    assert record["brier_recency"] == pytest.approx((0.36 + 0.25) / 2)
    assert record["skill"] == pytest.approx(1 - (0.25 + 0.04) / (0.36 + 0.25))
    assert record["slope"] is record["ici"] is None
    assert record["bins"]["n"] == [1, 1, 1]


def test_true_probabilities_have_a_slope_of_one_and_distorted_ones_have_not():
    random = np.random.default_rng(3)
    p = random.beta(1, 4, 8_000)
    event = random.random(8_000) < p
    true = track_record(risks(p, event))["14"]
    assert abs(true["slope"] - 1) < 3 * true["slope_se"] < 0.15
    assert true["ici"] < 0.02
    logit = np.log(p / (1 - p))
    extreme = track_record(risks(1 / (1 + np.exp(-2 * logit)), event, recency=p))["14"]
    assert extreme["slope"] == pytest.approx(true["slope"] / 2, abs=1e-6)
    assert extreme["skill"] < 0


def test_too_few_events_say_nothing_of_the_slope():
    risk = np.linspace(0.1, 0.9, 2 * FEWEST)
    event = np.arange(2 * FEWEST) % 2 == 0
    assert track_record(risks(risk, event))["14"]["slope"] is not None
    event[0] = False
    assert track_record(risks(risk, event))["14"]["slope"] is None


def test_horizons_are_apart_and_nothing_published_is_no_record():
    both = pd.concat([risks([0.3], [1], horizon=7), risks([0.4, 0.5], [0, 0], horizon=28)])
    assert {name: record["n"] for name, record in track_record(both).items()} == {"7": 1, "28": 2}
    assert track_record(risks([], [])) == {}
