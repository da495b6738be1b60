"""Second engines: the forecast service's R, R's survival and loess, lifelines, all on the same data."""

import json
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter

from seedtest_assets.local.home import CHECKOUT
from seedtest_assets.models.calibration_curve import calibration_curve
from seedtest_assets.models.landmarks import COVARIATES, HORIZONS, return_gaps, training_landmarks
from seedtest_assets.models.return_hazard import Times, concordance, cox, fit_cox, scores
from seedtest_assets.models.survival import fit_risk, predict_risk

from .silence_oracle import FIRST, Silence

SCRIPT = Path(__file__).with_name("survival_second_engine.R")
PAIR = ["a_t", "e_t"]


@pytest.fixture(scope="module")
def cohort() -> Silence:
    return Silence.draw(800, 140, seed=5, days_off=FIRST + np.arange(100, 110))


@pytest.fixture(scope="module")
def landmarks(cohort: Silence) -> pd.DataFrame:
    return training_landmarks(cohort.records(6), FIRST + 135, 90)


@pytest.fixture(scope="module")
def school_days(cohort: Silence) -> pd.DataFrame:
    """Landmarks where days off do not count as idle: the event is due later than 14 - idle days after some."""
    records = cohort.records(6)
    calendar = replace(records.calendar, idle_skips_days_off=True)
    return training_landmarks(replace(records, calendar=calendar), FIRST + 135, 90)


@pytest.fixture(scope="module")
def gaps(cohort: Silence) -> pd.DataFrame:
    """Many ties, some gaps that began before they came into view, some that have not ended, some NaN."""
    return return_gaps(cohort.records(6), FIRST + 135, 60)


@pytest.fixture(scope="module")
def calibration() -> pd.DataFrame:
    random = np.random.default_rng(7)
    prediction = random.beta(1, 3, 600)
    return pd.DataFrame({"prediction": prediction, "happened": (random.random(600) < prediction**1.3).astype(int)})


@pytest.fixture(scope="module")
def other(
    landmarks: pd.DataFrame,
    school_days: pd.DataFrame,
    gaps: pd.DataFrame,
    calibration: pd.DataFrame,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Any]]:
    """What R says of the same tables, by file."""
    folder = tmp_path_factory.mktemp("engines")
    name = {"student": "student_id"}
    landmarks.rename(columns=name).to_csv(folder / "landmarks.csv", index=False)
    school_days.rename(columns=name).to_csv(folder / "school_days.csv", index=False)
    known = gaps.assign(**{column: gaps[column].fillna(gaps[column].median()) for column in PAIR})
    known.rename(columns=name).to_csv(folder / "gaps.csv", index=False)
    calibration.to_csv(folder / "calibration.csv", index=False)
    subprocess.run(["Rscript", SCRIPT, CHECKOUT, folder], check=True, capture_output=True)
    yield {file.stem: json.loads(file.read_text()) for file in folder.glob("*.json")}


@pytest.fixture(params=["landmarks", "school_days"])
def both(request: pytest.FixtureRequest, other: dict[str, Any]) -> tuple[pd.DataFrame, dict[str, Any], pd.DataFrame]:
    """Landmarks, what R fits to them, and what it predicts for them."""
    theirs = other[request.param]
    return request.getfixturevalue(request.param), theirs["fit"], pd.DataFrame(theirs["predictions"]["risks"])


def test_both_engines_fit_the_same_risk_model(both):
    rows, fit, _ = both
    for mine, theirs in zip(fit_risk(rows), fit["risk_model"], strict=True):
        assert set(mine) == set(theirs)
        for same in ("horizon", "n", "n_students", "events", "status", "idle_levels", "weekdays", "terms", "dropped"):
            assert mine[same] == theirs[same], same
        assert set(mine["covariates"]) == set(theirs["covariates"])
        for name, scale in mine["covariates"].items():
            assert scale == pytest.approx(theirs["covariates"][name])
        for one, another in ((mine, theirs), (mine["recency"], theirs["recency"])):
            assert one["terms"] == another["terms"]
            np.testing.assert_allclose(one["coefficients"], another["coefficients"], atol=1e-7)
            np.testing.assert_allclose(one["covariance"], another["covariance"], rtol=1e-6, atol=1e-9)
    assert any(model["holidays"] for model in fit["risk_model"])


def test_both_engines_predict_the_same_from_each_others_parameters(both):
    rows, fit, theirs = both
    for mine in (predict_risk(rows, fit["risk_model"]), predict_risk(rows, fit_risk(rows))):
        assert (mine["horizon"].to_numpy() == theirs["horizon"]).all()
        assert (mine["student"].to_numpy() == theirs["student_id"]).all()
        for name in ("risk", "risk_lower", "risk_upper"):
            np.testing.assert_allclose(mine[name], theirs[name], atol=1e-7)


def test_the_days_that_a_silence_needs_are_not_always_14_less_the_idle_days(school_days):
    """Or the agreement above would say nothing of them: at each horizon they change which rows count."""
    for horizon in HORIZONS[:2]:
        assert ((school_days["due"] <= horizon) != (14 - school_days["idle"] <= horizon)).any()


def test_both_engines_fit_the_same_hazard_of_coming_back(gaps, other):
    known = gaps.assign(**{column: gaps[column].fillna(gaps[column].median()) for column in PAIR})
    mine, theirs = fit_cox(known), other["landmarks"]["fit"]["cox"]
    assert set(mine) == set(theirs)
    for same in ("status", "n", "n_students", "events", "names", "dropped"):
        assert mine[same] == theirs[same], same
    for name in ("coef", "hr", "se", "concordance"):
        np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-7)
    np.testing.assert_allclose(mine["p"], theirs["p"], rtol=1e-5)
    assert mine["ph_test"]["name"] == theirs["ph_test"]["name"]
    np.testing.assert_allclose(mine["ph_test"]["chisq"], theirs["ph_test"]["chisq"], rtol=1e-6)
    np.testing.assert_allclose(mine["ph_test"]["p"], theirs["ph_test"]["p"], rtol=1e-5)


def pair_of(gaps):
    """Two covariates as they are, with the gaps' times."""
    x = gaps[PAIR].fillna(gaps[PAIR].median()).to_numpy()
    times = Times.of(*(gaps[name].to_numpy() for name in ("start", "stop")), gaps["returned"].to_numpy() == 1)
    return x, times, np.unique(gaps["student"], return_inverse=True)[1]


def test_the_cox_model_is_that_of_r_survival(gaps, other):
    assert gaps["start"].gt(0).any()
    assert gaps["returned"].eq(0).any()
    x, times, student = pair_of(gaps)
    fit = cox(x, times, student)
    np.testing.assert_allclose(fit.coefficients, other["cox"]["coef"], rtol=1e-8)
    np.testing.assert_allclose(fit.se, other["cox"]["se"], rtol=1e-8)
    np.testing.assert_allclose(fit.proportionality, other["cox"]["zph"], rtol=1e-6)
    # R centres first, and so takes some equal covariates for different in the last digit.
    assert concordance(scores(x, fit.coefficients), times) == pytest.approx(other["cox"]["concordance"], abs=2e-6)


def lifelines(x, student, some, **options):
    table = some.assign(**dict(zip(PAIR, x.T, strict=True)), student=student)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of pandas, about what lifelines does
        return CoxPHFitter().fit(table, "stop", "returned", cluster_col="student", robust=True, **options)


def test_the_coefficients_are_those_of_lifelines(gaps):
    x, times, student = pair_of(gaps)
    other = lifelines(x, student, gaps[["start", "stop", "returned"]], entry_col="start")
    np.testing.assert_allclose(cox(x, times, student).coefficients, other.params_[PAIR], atol=1e-6)


def test_robust_errors_and_concordance_are_those_of_lifelines(gaps):
    """Its robust errors know neither ties nor late entry: they are compared where there are none."""
    whole = gaps[gaps["start"] == 0]
    apart = whole.assign(stop=whole["stop"] - np.random.default_rng(0).permutation(len(whole)) / len(whole))
    x, times, student = pair_of(apart)
    other = lifelines(x, student, apart[["stop", "returned"]])
    fit = cox(x, times, student)
    np.testing.assert_allclose(fit.coefficients, other.params_[PAIR], atol=1e-6)
    np.testing.assert_allclose(fit.se, other.standard_errors_[PAIR], rtol=1e-5)
    assert concordance(scores(x, fit.coefficients), times) == pytest.approx(other.concordance_index_, abs=2e-6)


def test_concordance_counts_pairs():
    for seed in range(20):
        random = np.random.default_rng(seed)
        start, score = random.integers(0, 4, 60), random.integers(0, 5, 60).astype(float)
        stop, event = start + random.integers(1, 6, 60), random.random(60) < 0.6
        concordant = pairs = 0.0
        for i in np.flatnonzero(event):
            for j in range(60):
                if start[j] < stop[i] <= stop[j] and not (event[j] and stop[j] == stop[i]):
                    pairs += 1
                    concordant += 0.5 * (score[i] >= score[j]) + 0.5 * (score[i] > score[j])
        assert concordance(score, Times.of(start, stop, event)) == pytest.approx(concordant / pairs)


def test_the_curve_is_loess(calibration, other):
    curve = calibration_curve(calibration["prediction"].to_numpy(), calibration["happened"].to_numpy() == 1)
    order = np.argsort(calibration["prediction"].to_numpy())
    theirs = np.clip(np.array(other["loess"]["happened"])[order], 0, 1)
    np.testing.assert_allclose(curve.happened, theirs, atol=2e-3)
    ici = np.mean(np.abs(theirs - calibration["prediction"].to_numpy()[order]))
    assert curve.ici == pytest.approx(ici, abs=2e-4)


def test_the_gaps_of_a_proportional_world_pass_the_test_of_proportionality_and_others_do_not():
    random = np.random.default_rng(8)
    n = 20_000
    x = random.normal(size=n)
    names = dict.fromkeys(COVARIATES, 0.0)
    for late, passes in ((0.5, True), (-0.5, False)):
        early_stop = random.geometric(-np.expm1(-0.2 * np.exp(0.5 * x)))
        later = 3 + random.geometric(-np.expm1(-0.2 * np.exp(late * x)))
        stop = np.where(early_stop <= 3, early_stop, later)
        gaps = pd.DataFrame(names, index=range(n)).assign(
            a_t=x, student=np.arange(n), start=0, stop=np.minimum(stop, 20), returned=(stop <= 20).astype(int)
        )
        fit = fit_cox(gaps)
        assert (fit["ph_test"]["p"][-1] > 1e-3) == passes
        assert fit["dropped"] == [name for name in COVARIATES if name != "a_t"]


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"returned": 0}, "too few events"),
        ({"student": 0}, "too few events"),
        (dict.fromkeys(COVARIATES, 1.0), "no covariate"),
    ],
)
def test_gaps_that_carry_too_little_give_no_model(gaps, changed, status):
    found = fit_cox(gaps.assign(**changed))
    assert found["status"] == status
    assert found["coef"] is None


def test_a_hazard_without_a_maximum_is_reported():
    n = 40
    gaps = pd.DataFrame(dict.fromkeys(COVARIATES, 0.0), index=range(n)).assign(
        student=range(n),
        start=0,
        stop=np.arange(n) + 1,
        returned=(np.arange(n) < 20).astype(int),
        a_t=np.arange(n) < 20,
    )
    assert fit_cox(gaps)["status"] == "not converged"
