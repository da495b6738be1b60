"""The risk model: design and fit by other means, exact zeros, limits, and clear outcomes on too little data."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit

from seedtest_assets.models.landmarks import COVARIATES, HORIZONS
from seedtest_assets.models.survival import FEWEST, IDLE_PRIOR_SD, PRIOR_SD, fit_logistic, fit_risk, predict_risk


def landmarks(n_students=200, each=5, seed=0, **columns):
    """Landmarks whose outcomes depend on idle days, a_t and the student."""
    random = np.random.default_rng(seed)
    n = n_students * each
    student = np.repeat(np.arange(n_students), each)
    rows = pd.DataFrame({"student": student, "idle": random.integers(0, 14, n), "weekday": random.integers(1, 8, n)})
    for name in COVARIATES:
        rows[name] = random.normal(size=n)
    rows.loc[random.random(n) < 0.2, "r_t"] = np.nan
    for horizon in HORIZONS:
        rows[f"holidays_{horizon}"] = random.poisson(horizon / 7, n)
    rows = rows.assign(**columns)
    rows["due"] = 14 - rows["idle"]
    own = random.normal(0, 0.5, n_students)[student]
    latent = -2 + rows["idle"] / 5 - 0.7 * rows["a_t"].fillna(0) + own + random.logistic(size=n)
    for horizon in HORIZONS:
        rows[f"event_{horizon}"] = ((latent > -np.log(horizon / 14)) & (rows["due"] <= horizon)).astype(float)
    return rows


def by_hand(rows, horizon):
    """The design as the contract words it: names and columns."""
    columns = {"intercept": np.ones(len(rows))}
    for level in sorted(rows["idle"].unique())[1:]:
        columns[f"idle_{level}"] = (rows["idle"] == level).astype(float)
    for name in COVARIATES:
        z = (rows[name].fillna(rows[name].median()) - rows[name].mean()) / rows[name].std(ddof=0)
        columns[name] = z
        if rows[name].isna().any():
            columns[f"{name}_missing"] = rows[name].isna().astype(float)
        columns[f"{name}_idle"] = z * (rows["idle"] - 7) / 7
    for day in range(2, 8):
        columns[f"weekday_{day}"] = (rows["weekday"] == day).astype(float)
    off = rows[f"holidays_{horizon}"]
    columns["holidays"] = (off - off.mean()) / off.std(ddof=0)
    return list(columns), np.column_stack(list(columns.values()))


@pytest.mark.parametrize("horizon", HORIZONS)
def test_the_fit_is_the_posterior_mode_of_the_worded_design(horizon):
    rows = landmarks()
    model = fit_risk(rows, (horizon,))[0]
    used = rows[rows["due"] <= horizon]
    terms, x = by_hand(used, horizon)
    assert model["terms"] == terms
    precision = np.array([0] + [(IDLE_PRIOR_SD if term[:5] == "idle_" else PRIOR_SD) ** -2 for term in terms[1:]])
    y = used[f"event_{horizon}"].to_numpy()
    assert (model["n"], model["events"], model["n_students"]) == (len(y), y.sum(), used["student"].nunique())

    def loss(b):
        logit = x @ b
        gradient = x.T @ (expit(logit) - y) + precision * b
        return np.sum(np.logaddexp(0, logit) - y * logit) + precision @ b**2 / 2, gradient

    best = minimize(loss, np.zeros(len(terms)), jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 5000})
    np.testing.assert_allclose(model["coefficients"], best.x, atol=1e-7)

    p = expit(x @ best.x)
    bread = np.linalg.inv((x.T * (p * (1 - p))) @ x + np.diag(precision))
    scores = pd.DataFrame(x * (y - p)[:, None]).groupby(used["student"].to_numpy()).sum().to_numpy()
    g = len(scores)
    meat = scores.T @ scores * g / (g - 1) + np.diag(precision)
    np.testing.assert_allclose(model["covariance"], bread @ meat @ bread, atol=1e-8)


def test_a_risk_is_predicted_from_the_json_alone():
    rows = landmarks()
    model = json.loads(json.dumps(fit_risk(rows)))
    found = predict_risk(rows, model)
    at_14 = found[found["horizon"] == 14]
    _, x = by_hand(rows, 14)
    b, v = (np.array(model[1][name]) for name in ("coefficients", "covariance"))
    logit, se = x @ b, np.sqrt(np.sum((x @ v) * x, axis=1))
    raised = found[found["horizon"] == 7]
    for name, z in (("risk", 0), ("risk_lower", -1.6448536269514722), ("risk_upper", 1.6448536269514722)):
        np.testing.assert_allclose(at_14[name], np.maximum(expit(logit + z * se), raised[name]), rtol=1e-9)
    assert (at_14["rank"].to_numpy() == at_14["risk"].rank(ascending=False, method="min")).all()


MODEL = fit_risk(landmarks())


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from(["full", "recency"]))
def test_risks_are_exactly_zero_where_the_silence_does_not_fit_and_rise_with_the_horizon(seed, name):
    found = predict_risk(landmarks(10, 3, seed=seed), MODEL, recency_only=name == "recency")
    assert set(found["model"]) == {name}
    due = np.tile(landmarks(10, 3, seed=seed)["due"], len(HORIZONS))
    impossible = due > found["horizon"]
    limits = found[["risk_lower", "risk", "risk_upper"]].to_numpy()
    assert (limits[impossible] == 0).all()
    assert ((limits[~impossible] > 0) & (limits[~impossible] < 1)).all()
    assert (np.diff(limits, axis=1) >= 0).all()
    assert (np.diff(limits.reshape(len(HORIZONS), -1, 3), axis=0) >= 0).all()


def test_order_and_labels_of_the_rows_do_not_matter():
    rows = landmarks()
    shuffled = rows.sample(frac=1, random_state=0).assign(student=lambda some: 10_000 - 7 * some["student"])
    for one, other in zip(fit_risk(rows), fit_risk(shuffled), strict=True):
        np.testing.assert_allclose(one["coefficients"], other["coefficients"], atol=1e-10)
        np.testing.assert_allclose(one["covariance"], other["covariance"], atol=1e-10)


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"event_14": 0.0}, "too few events"),
        ({"event_14": 1.0}, "too few events"),
        ({"event_14": np.nan}, "too few events"),
        ({"student": 0}, "too few events"),
    ],
    ids=["nobody fell silent", "all did", "nothing is known yet", "one student"],
)
def test_data_that_carry_too_little_give_no_coefficients_and_no_risk(changed, status):
    rows = landmarks().assign(**changed)
    model = fit_risk(rows, (14,))
    assert model[0]["status"] == status
    assert model[0]["coefficients"] is None
    assert model[0]["recency"] is None
    json.dumps(model)
    found = predict_risk(rows, model)
    assert set(found["model"]) == {"none"}
    assert found["risk"].isna().all()


def test_the_least_number_of_events_is_enough_and_one_fewer_is_not():
    rows = landmarks()
    for events, status in ((FEWEST, "fitted"), (FEWEST - 1, "too few events")):
        rows["event_14"] = (np.arange(len(rows)) < events).astype(float)
        assert fit_risk(rows, (14,))[0]["status"] == status


def test_without_a_whole_model_idle_days_alone_are_used_and_named():
    rows = landmarks()
    model = fit_risk(rows)
    for one in model:
        one["coefficients"] = one["covariance"] = None
    expected = predict_risk(rows, fit_risk(rows), recency_only=True)
    pd.testing.assert_frame_equal(predict_risk(rows, model), expected)
    assert set(expected["model"]) == {"recency"}


def test_the_model_of_idle_days_alone_gives_each_level_its_share():
    rows = landmarks(4000)
    found = predict_risk(rows, fit_risk(rows, (14,)), recency_only=True)
    shares = rows.groupby("idle")["event_14"].transform("mean")
    np.testing.assert_allclose(found["risk"], shares, atol=0.01)


@pytest.mark.parametrize(
    ("changed", "dropped"),
    [
        ({"a_t": 0.3}, ["a_t"]),
        ({"a_t": np.nan, "holidays_28": 0}, ["a_t", "holidays"]),
        ({"idle": 7}, [f"{name}_idle" for name in COVARIATES]),
        ({"weekday": 4}, ["weekday_4"]),
        ({"weekday": 1}, []),
    ],
)
def test_what_is_constant_is_left_out_and_said(changed, dropped):
    rows = landmarks(**changed)
    model = fit_risk(rows, (28,))[0]
    assert model["dropped"] == dropped
    assert model["status"] == "fitted"
    assert not set(dropped) & set(model["terms"])
    assert predict_risk(rows, [model])["risk"].between(0, 1).all()


def test_separated_data_keep_finite_coefficients():
    rows = landmarks()
    rows["event_28"] = (rows["a_t"] > 0).astype(float)
    model = fit_risk(rows, (28,))[0]
    assert model["status"] == "fitted"
    assert np.abs(model["coefficients"]).max() < 25
    assert np.isfinite(model["covariance"]).all()


def test_an_idle_level_not_seen_in_training_is_the_nearest_seen():
    rows = landmarks()
    model = fit_risk(rows[rows["idle"].isin([2, 6, 9])], (28,))
    one = rows.iloc[[0] * 14].assign(idle=range(14), due=range(14, 0, -1))
    risk = predict_risk(one, model)["risk"].to_numpy()
    seen = dict(zip((2, 6, 9), risk[[2, 6, 9]], strict=True))
    nearest = [2, 2, 2, 2, 2, 6, 6, 6, 9, 9, 9, 9, 9, 9]
    np.testing.assert_array_equal(risk, [seen[level] for level in nearest])


def test_equal_risks_share_the_smaller_rank():
    rows = landmarks()
    found = predict_risk(pd.concat([rows.iloc[[0, 0, 1]]]), fit_risk(rows, (28,)))
    assert sorted(found["rank"]) in ([1, 1, 3], [1, 2, 2])


def test_without_a_prior_separation_is_reported():
    x = np.stack([np.ones(40), np.linspace(-1, 1, 40)])
    assert not fit_logistic(x, (x[1] > 0).astype(float), np.arange(40), np.full(2, np.inf)).converged
