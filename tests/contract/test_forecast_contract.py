"""What the client sends and what the real forecast service answers, held to the service's own OpenAPI document."""

import numpy as np
import pandas as pd
import pytest

from seedtest_assets.models.landmarks import COVARIATES, HORIZONS, at_risk, return_gaps, training_landmarks
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
