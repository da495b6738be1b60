"""What the client sends and what the real forecast service answers, held to the service's own OpenAPI document."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from seedtest_assets.calendar import monday
from seedtest_assets.failures import PermanentFailure
from seedtest_assets.models.landmarks import COVARIATES, HORIZONS, at_risk, return_gaps, training_landmarks
from seedtest_assets.models.public_holidays import holiday_frame
from seedtest_assets.models.return_hazard import fit_cox
from seedtest_assets.models.survival import fit_risk, predict_risk
from seedtest_assets.resources.forecast import ForecastService
from seedtest_assets.resources.plumber import Unprocessable
from seedtest_assets.settings import settings
from tests.contract.openapi import Request, Response, client, contract_of, hold_to
from tests.statistics.silence_oracle import FIRST, Silence

CUT = FIRST + 112


@pytest.fixture(scope="module")
def http(irt_server):
    with client(irt_server, "R_FORECAST") as http:
        yield http


@pytest.fixture(scope="module")
def contract(http):
    return contract_of(http)


@pytest.fixture
def service(irt_server, monkeypatch):
    for name, value in irt_server.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    return ForecastService()


@pytest.fixture(scope="module")
def records():
    return Silence.draw(250, 126, seed=4, days_off=FIRST + np.arange(60, 66)).records(5)


@pytest.fixture(scope="module")
def landmarks(records):
    return training_landmarks(records, CUT, 90)


def test_a_fit_is_as_the_contract_says_and_as_python_fits(contract, exchanged, service, records, landmarks):
    gaps = return_gaps(records, CUT, 90)
    found = service.fit_survival(landmarks, gaps)
    hold_to(contract, exchanged)
    assert found.engine == "plumber"
    for mine, theirs in zip(fit_risk(landmarks), found.risk_model, strict=True):
        assert (mine["status"], mine["terms"]) == (theirs["status"], theirs["terms"]) == ("fitted", mine["terms"])
        np.testing.assert_allclose(mine["coefficients"], theirs["coefficients"], atol=1e-6)
        np.testing.assert_allclose(mine["covariance"], theirs["covariance"], atol=1e-6)
    np.testing.assert_allclose(fit_cox(gaps)["hr"], found.cox["hr"], atol=1e-6)


def test_what_the_service_predicts_is_what_the_pipeline_predicts(contract, http, records, landmarks):
    model = fit_risk(landmarks)
    rows = at_risk(records, CUT)
    columns = ["idle", "due", "weekday", *COVARIATES, *(f"holidays_{horizon}" for horizon in HORIZONS)]
    known = rows[columns].astype(object).where(rows[columns].notna(), None)
    body = {"student_id": rows["student"].astype(str).tolist()} | {name: known[name].tolist() for name in columns}
    response = http.post("/survival/predict", json={"rows": body, "risk_model": model}, headers={"Prefer": "wait=30"})
    contract.validate_request(Request(response.request))
    contract.validate_response(Request(response.request), Response(response))
    theirs, mine = pd.DataFrame(response.json()["result"]["risks"]), predict_risk(rows, model)
    assert theirs["student_id"].tolist() == mine["student"].astype(str).tolist()
    for name in ("risk", "risk_lower", "risk_upper"):
        np.testing.assert_allclose(theirs[name], mine[name], atol=1e-6)


def test_days_off_that_do_not_count_change_both_alike(service):
    cohort = Silence.draw(250, 126, seed=4, days_off=FIRST + np.arange(60, 66))
    records = cohort.records(5)
    object.__setattr__(records.calendar, "idle_skips_days_off", True)
    landmarks = training_landmarks(records, CUT, 90)
    assert (landmarks["due"] > 14 - landmarks["idle"]).any()
    found = service.fit_survival(landmarks, return_gaps(records, CUT, 90))
    for mine, theirs in zip(fit_risk(landmarks), found.risk_model, strict=True):
        assert mine["n"] == theirs["n"]
        np.testing.assert_allclose(mine["coefficients"], theirs["coefficients"], atol=1e-6)


def test_an_impossible_landmark_is_refused_with_field_and_row(contract, exchanged, service, records, landmarks):
    impossible = landmarks.assign(idle=landmarks["idle"].where(landmarks.index != 3, 14))
    with pytest.raises(Unprocessable) as caught:
        service.fit_survival(impossible, return_gaps(records, CUT, 90))
    hold_to(contract, exchanged)
    (error, *_) = caught.value.problem["errors"]
    assert (error["field"], error["row"]) == ("landmarks.idle", 4)


def test_no_key_of_a_student_leaves_the_pipeline(exchanged, service, records, landmarks):
    service.fit_survival(landmarks, return_gaps(records, CUT, 90))
    sent = [request.content.decode() for request, _ in exchanged if request.method == "POST"]
    assert len(sent) == 2
    for body in sent:
        header, first, *_ = body.replace('"', "").splitlines()
        assert first.split(",")[header.split(",").index("student_id")].isdigit()


@pytest.fixture(scope="module")
def weekly():
    """A line of 70 weeks with noise and a fall in the weeks of Chuseok, a constant, and one that is not known."""
    random = np.random.default_rng(2)
    ds = pd.date_range("2024-06-03", periods=70, freq="7D")
    off = ds.isin(pd.to_datetime(["2024-09-16", "2025-10-06"]))
    line = 5 + 0.1 * np.arange(70) - 3 * off + 0.2 * random.standard_normal(70)
    parts = {"line": line, "constant": np.full(70, 3.0), "unknown": np.full(70, np.nan)}
    return pd.concat([pd.DataFrame({"series": name, "ds": ds, "y": y}) for name, y in parts.items()])


PROPHET = {"horizon": 3, "interval_width": 0.9, "seed": 11}


def test_a_forecast_is_as_the_contract_says_and_finds_what_was_put_in(contract, exchanged, service, weekly):
    korean = holiday_frame("KR", date(2024, 6, 3), date(2025, 12, 31))
    chuseok = korean[korean["holiday"] == "Chuseok"]
    chuseok = chuseok.assign(ds=chuseok["ds"].map(monday))  # 2024's was a Tuesday
    found = service.fit_prophet(weekly, **PROPHET, holidays=chuseok)
    hold_to(contract, exchanged)
    assert found.engine.startswith("prophet ")
    told = found.series.set_index("series")
    assert told["status"].to_dict() == {"constant": "ok", "line": "ok", "unknown": "refused"}
    assert told["reason"].dropna().to_dict() == {"constant": "constant", "unknown": "all missing"}
    assert told.loc["unknown", ["k", "m", "sigma_obs"]].isna().all()
    assert (told["n"] + told["n_missing"]).eq(70).all()
    line, constant = (found.forecast[found.forecast["series"] == name] for name in ("line", "constant"))
    assert line["ds"].tolist() == list(pd.date_range("2025-10-06", periods=3, freq="7D"))
    truth = 5 + 0.1 * np.arange(70, 73) - 3 * np.array([1, 0, 0])
    np.testing.assert_allclose(line["yhat"], truth, atol=0.4)
    assert (line["lower"] < line["yhat"]).all()
    assert (line["yhat"] < line["upper"]).all()
    np.testing.assert_allclose(constant[["yhat", "lower", "upper"]], 3.0)
    fitted = found.fitted[found.fitted["series"] == "line"].reset_index(drop=True)
    np.testing.assert_allclose((weekly["y"].iloc[:70].to_numpy() - fitted["yhat"]).std(), 0.2, atol=0.05)
    bends = found.changepoints[found.changepoints["series"] == "line"]
    assert bends["slope_change"].sum() * 7 == pytest.approx(0, abs=0.02)
    alone = service.fit_prophet(weekly.iloc[:70].sample(frac=1, random_state=1), **PROPHET, holidays=chuseok)
    pd.testing.assert_frame_equal(alone.forecast, line.reset_index(drop=True))


def test_nothing_that_can_be_fitted_is_empty_frames(contract, exchanged, service, weekly):
    found = service.fit_prophet(weekly[weekly["series"] == "unknown"], **PROPHET, holidays=None)
    hold_to(contract, exchanged)
    for frame in (found.changepoints, found.fitted, found.forecast):
        assert frame.empty
        assert frame["ds"].dtype.kind == "M"


def test_what_the_service_forecasts_again_from_the_models_is_the_same(contract, http, weekly):
    points = {"series": ["line"] * 70, "ds": weekly["ds"].iloc[:70].dt.strftime("%Y-%m-%d").tolist()}
    points["y"] = weekly["y"].iloc[:70].tolist()
    wait = {"Prefer": "wait=30"}
    fit = http.post("/prophet/fit", json={"points": points} | PROPHET, headers=wait).json()["result"]
    body = {"models": fit["models"], "settings": fit["settings"]}
    response = http.post("/prophet/predict", json=body, headers=wait)
    contract.validate_request(Request(response.request))
    contract.validate_response(Request(response.request), Response(response))
    again = response.json()["result"]["forecast"]
    assert again["ds"] == fit["forecast"]["ds"]
    for name in ("yhat", "lower", "upper"):
        np.testing.assert_allclose(again[name], fit["forecast"][name], rtol=1e-10)


def test_series_that_cannot_be_read_and_settings_that_cannot_be_are_named(contract, exchanged, service, weekly):
    with pytest.raises(PermanentFailure, match=r"points\.ds is given twice"):
        service.fit_prophet(pd.concat([weekly, weekly.iloc[:1]]), **PROPHET, holidays=None)
    with pytest.raises(Unprocessable, match="interval_width must be between 0 and 1"):
        service.fit_prophet(weekly, **PROPHET | {"interval_width": 1.0}, holidays=None)
    twice = pd.DataFrame({"holiday": "exam", "ds": ["2025-01-01"] * 2})
    with pytest.raises(PermanentFailure, match=r"holidays\.ds is given twice"):
        service.fit_prophet(weekly, **PROPHET, holidays=twice)
    contract.validate_request(Request(exchanged[0][0]))
    for request, response in exchanged:
        contract.validate_response(Request(request), Response(response))
