"""The calibration through HTTP recovers a simulated cohort's truth as well as its standard errors say.

The small form of benchmarks/irt_recovery, by the same code.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seedtest_assets.assets.irt import WEAK_PRIORS

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "irt_recovery" / "measure.py"
SMALL = {"students": 400, "weeks": 8, "items": 96, "topics": 12}


@pytest.fixture(scope="module")
def measure():
    spec = importlib.util.spec_from_file_location("irt_recovery", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def mean_of(measure, irt, seeds, model="2PL", priors=None, **changed):
    runs = [
        measure.recovery(irt, measure.cohort(seed, **SMALL | changed), model=model, priors=priors) for seed in seeds
    ]
    return pd.DataFrame(runs).mean()


def assert_calibrated(got, names, intervals):
    """RMS z is 1 and 95 % intervals hold 95 %, within three standard errors over so many intervals."""
    for name in names:
        assert got[f"{name} z"] == pytest.approx(1, abs=3 / np.sqrt(2 * intervals) + 0.05), name
        assert got[f"{name} cover"] == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / intervals)), name


def test_a_and_b_of_a_2pl_are_as_uncertain_as_their_standard_errors_say(measure, irt_service):
    got = mean_of(measure, irt_service, range(1, 5), **measure.STATIC)
    assert got["items"] == 96
    assert_calibrated(got, ["a", "b"], 4 * 96)
    assert got["a rmse"] == pytest.approx(got["a se"], rel=0.15)
    assert got["a ratio"] == pytest.approx(1, abs=0.06)


def test_theta_is_as_uncertain_as_its_posterior_sd_says(measure, irt_service):
    got = mean_of(measure, irt_service, range(5, 7), **measure.STATIC)
    assert got["theta cover"] == pytest.approx(0.95, abs=0.025)
    assert got["theta rmse"] == pytest.approx(got["theta se"], rel=0.08)
    assert got["theta r"] > 0.95


def test_b_of_a_rasch_model_is_as_uncertain_as_its_standard_errors_say(measure, irt_service):
    got = mean_of(measure, irt_service, range(7, 10), model="Rasch", a_log_sd=0.0, **measure.STATIC)
    assert_calibrated(got, ["b"], 3 * 96)


def test_the_pipelines_priors_move_neither_unit_nor_intervals(measure, irt_service):
    got = mean_of(measure, irt_service, range(10, 13), priors=WEAK_PRIORS, **measure.STATIC)
    assert got["a ratio"] == pytest.approx(1, abs=0.05)
    assert_calibrated(got, ["a", "b", "theta"], 3 * 96)
    for name in ("a", "b", "theta"):
        assert got[f"{name} rmse"] == pytest.approx(got[f"{name} se"], rel=0.15), name
