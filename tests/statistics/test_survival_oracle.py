"""Risks against exact probabilities, out of time; intervals on data drawn from the model.

The large form of the first is benchmarks/churn.
"""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from seedtest_assets.models.calibration_curve import calibration_curve, recalibration
from seedtest_assets.models.landmarks import HORIZONS, training_landmarks
from seedtest_assets.models.survival import fit_risk, predict_risk

from .silence_oracle import FIRST, Silence

CUT = FIRST + 7 * 24
END = FIRST + 7 * 40


@pytest.fixture(scope="module")
def cohort() -> Silence:
    return Silence.draw(12_000, 7 * 40, seed=1, days_off=FIRST + np.array([100, 101, 102, 103, 200, 201, 202]))


@pytest.fixture(scope="module")
def training(cohort: Silence) -> pd.DataFrame:
    """Of the first half of the students."""
    rows = training_landmarks(cohort.records(2), CUT, 120)
    return rows[rows["student"] < 6_000]


@pytest.fixture(scope="module")
def later(cohort: Silence) -> pd.DataFrame:
    """Landmarks after the cut, of the other half, whose outcomes are known at the end."""
    rows = training_landmarks(cohort.records(2), END, 7 * 15)
    return rows[(rows["student"] >= 6_000) & rows["event_28"].notna()].reset_index(drop=True)


@pytest.fixture(scope="module")
def truth(cohort: Silence, later: pd.DataFrame) -> np.ndarray:
    return cohort.true_risk(later, HORIZONS)


def test_the_oracles_probabilities_are_those_of_what_happens(later, truth):
    """A mistake of a day in either would show: by idle days, the outcomes' sum is within its binomial error."""
    for column, horizon in enumerate(HORIZONS):
        p, y = truth[:, column], later[f"event_{horizon}"].to_numpy()
        assert (p[later["due"] > horizon] == 0).all()
        for idle in range(14):
            some = (later["idle"] == idle).to_numpy() & (p > 0)
            error = np.sqrt(np.sum(p[some] * (1 - p[some]))) * 2  # a student's landmarks overlap
            assert abs(np.sum(y[some] - p[some])) < 4 * error + 1e-9, (horizon, idle)


@pytest.mark.parametrize("horizon", HORIZONS)
def test_risks_are_calibrated_out_of_time_and_on_other_students(training, later, truth, horizon):
    risk = predict_risk(later, fit_risk(training)).set_index("horizon").loc[horizon, "risk"].to_numpy()
    student = later["student"].to_numpy()
    for happened in (later[f"event_{horizon}"].to_numpy(), truth[:, HORIZONS.index(horizon)]):
        assert calibration_curve(risk, happened).ici < 0.03
    found = recalibration(risk, later[f"event_{horizon}"].to_numpy() == 1, student)
    assert 0.9 < found.slope < 1.1
    assert abs(found.intercept) < 0.2


def test_the_wrong_follow_up_is_not_calibrated(training, later):
    """What the test above would say of a fit whose outcomes were cut off without being known."""
    wrong = training.assign(event_28=training["event_28"].where(training["day"] + 42 <= CUT, 0.0))
    risk = predict_risk(later, fit_risk(wrong, (28,)))["risk"].to_numpy()
    assert calibration_curve(risk, later["event_28"].to_numpy()).ici > 0.03


def test_the_whole_model_beats_idle_days_alone(training, later, truth):
    model = fit_risk(training)
    whole, recency = predict_risk(later, model), predict_risk(later, model, recency_only=True)
    for column, horizon in ((1, 14), (2, 28)):
        excess = [
            np.mean((one.loc[one["horizon"] == horizon, "risk"].to_numpy() - truth[:, column]) ** 2)
            for one in (whole, recency)
        ]
        assert excess[0] < 0.9 * excess[1], horizon


def test_intervals_cover_the_coefficients_of_the_model_that_drew_the_data(training):
    """Outcomes drawn from a fitted model, on the landmarks as they are: 95 % intervals hold 92 to 98 % of the truth."""
    rows = training[training["student"] < 3_000].drop(columns=[f"event_{horizon}" for horizon in HORIZONS])
    drawn_from = fit_risk(rows.assign(event_14=training["event_14"]), (14,))[0]
    p = predict_risk(rows, [drawn_from])["risk"].to_numpy()
    covered = []
    for seed in range(60):
        happened = np.random.default_rng(seed).random(len(rows)) < p
        found = fit_risk(rows.assign(event_14=happened.astype(float)), (14,))[0]
        z = np.subtract(found["coefficients"], drawn_from["coefficients"]) / np.sqrt(np.diag(found["covariance"]))
        covered.append(np.abs(z) < 1.96)
    assert 0.92 < np.mean(covered) < 0.98
    assert np.min(np.mean(covered, axis=0)) > 0.80


def test_standard_errors_know_that_a_students_landmarks_agree(training):
    """One draw decides all landmarks of a student: without clusters the errors would be too small by sqrt(6)."""
    random = np.random.default_rng(0)
    n, each = 600, 6
    rows = training.iloc[random.integers(0, len(training), n * each)].reset_index(drop=True)
    rows["student"] = np.repeat(np.arange(n), each)
    level = expit(-1 + rows["idle"] / 6)
    spread, alone = [], []
    for _ in range(80):
        agrees = np.repeat(random.random(n), each)
        found = fit_risk(rows.assign(event_28=(agrees < level).astype(float)), (28,))[0]
        spread.append(found["recency"]["coefficients"])
        alone.append(np.sqrt(np.diag(found["recency"]["covariance"])))
    ratio = np.mean(alone, axis=0) / np.std(spread, axis=0, ddof=1)
    assert 0.8 < ratio[0] < 1.2
    assert 0.8 < np.mean(ratio) < 1.2
