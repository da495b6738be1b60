"""What the client sends and what the real IRT service answers, held to the service's own OpenAPI document."""

import json

import numpy as np
import pandas as pd
import pytest
from openapi_schema_validator import OAS30Validator

from seedtest_assets.assets.irt import WEAK_PRIORS
from seedtest_assets.resources import plumber
from seedtest_assets.resources.plumber import Unprocessable
from seedtest_assets.settings import settings
from tests.contract.openapi import Request, Response, client, contract_of, document_of, hold_to


@pytest.fixture(scope="module")
def http(irt_server):
    with client(irt_server, "R_IRT") as http:
        yield http


@pytest.fixture(scope="module")
def document(http):
    return document_of(http)


@pytest.fixture(scope="module")
def contract(http):
    return contract_of(http)


@pytest.fixture(scope="module")
def answers():
    generator = np.random.default_rng(7)
    students, items = 120, 8
    p = 1 / (1 + np.exp(-(generator.normal(size=(students, 1)) - np.linspace(-1.5, 1.5, items))))
    student, item = np.indices((students, items))
    return pd.DataFrame(
        {
            "student_id": [f"00000000-0000-0000-0000-{number:012d}" for number in student.ravel()],
            "item_id": item.ravel() + 2**60,
            "correct": (generator.random((students, items)) < p).ravel(),
        }
    )


ITEMS = pd.DataFrame(
    {"item_id": np.arange(8) + 2**60, "a": 1.0, "b": np.linspace(-1.5, 1.5, 8), "c": 0.0}
    | {"se_a": 0.1, "se_b": 0.1, "cov_ab": 0.0}
)
SCALE = {"mean": 0.0, "sd": 1.0}, {"n": 61, "min": -6, "max": 6}


def test_calibrate_and_its_answer_are_as_the_contract_says(contract, exchanged, irt_service, answers):
    found = irt_service.calibrate(answers, model="2PL", priors=WEAK_PRIORS, min_responses=30)
    hold_to(contract, exchanged)
    assert found.items["item_id"].tolist() == sorted(answers["item_id"].unique())
    assert set(found.abilities["student_id"]) == set(answers["student_id"])


def test_a_job_that_is_polled_is_as_the_contract_says(contract, exchanged, irt_service, answers, monkeypatch):
    monkeypatch.setattr(plumber, "WAIT_SECONDS", 0)
    monkeypatch.setattr(plumber, "POLL_SECONDS", 0.01)
    irt_service.calibrate(answers, model="Rasch", priors=None, min_responses=31)
    assert [request.method for request, _ in exchanged][:2] == ["POST", "GET"]
    assert exchanged[0][1].status_code == 202
    hold_to(contract, exchanged)


def test_score_and_its_answer_are_as_the_contract_says(contract, exchanged, irt_service, answers):
    found = irt_service.score(answers, ITEMS, *SCALE)
    hold_to(contract, exchanged)
    assert set(found["student_id"]) == set(answers["student_id"])


def test_a_calibration_with_anchors_and_its_answer_are_as_the_contract_says(contract, exchanged, irt_service, answers):
    anchors = ITEMS.head(4)
    found = irt_service.calibrate(answers, model="2PL", priors=WEAK_PRIORS, min_responses=30, anchors=anchors)
    hold_to(contract, exchanged)
    fixed = found.items[found.items["is_anchor"]]
    names = ["item_id", "a", "b", "c"]
    pd.testing.assert_frame_equal(fixed[names], anchors[names], check_dtype=False)


@pytest.mark.parametrize("model", ["2PL", "Rasch"])
def test_link_and_its_answer_are_as_the_contract_says(contract, exchanged, irt_service, model):
    slope = 1.0 if model == "Rasch" else 1.25
    new = ITEMS.assign(a=ITEMS["a"] * slope, b=(ITEMS["b"] - 0.3) / slope)
    found = irt_service.link(new, ITEMS.assign(se_a=None), model=model, method="robust", min_anchors=3)
    hold_to(contract, exchanged)
    assert found.n_anchors == len(ITEMS)
    for constants in found.constants.to_dict("records"):
        assert constants["A"] == pytest.approx(slope, abs=1e-4)
        assert constants["B"] == pytest.approx(0.3, abs=1e-4)
    assert found.dropped.empty


def test_drift_and_its_answer_are_as_the_contract_says(contract, exchanged, irt_service):
    moved = ITEMS.assign(b=ITEMS["b"] + 1.0 * (ITEMS["item_id"] == ITEMS["item_id"][2]))
    found = irt_service.drift(moved, ITEMS, model="2PL")
    hold_to(contract, exchanged)
    assert found.loc[found["flag"], "item_id"].tolist() == [ITEMS["item_id"][2]]
    assert found["d_b"].max() == pytest.approx(1.0, abs=0.05)


def test_fit_and_its_answer_are_as_the_contract_says(contract, exchanged, irt_service, answers):
    found = irt_service.fit(answers, ITEMS, *SCALE)
    hold_to(contract, exchanged)
    assert found.items["item_id"].tolist() == ITEMS["item_id"].tolist()
    assert set(found.students["student_id"]) == set(answers["student_id"])


def test_dif_and_its_answer_are_as_the_contract_says(contract, exchanged, irt_service, answers):
    students = pd.Series(answers["student_id"].unique())
    groups = pd.DataFrame({"student_id": students, "group": np.where(students.index < 50, "few", "many")})
    found = irt_service.dif(answers, ITEMS, groups, reference="many")
    hold_to(contract, exchanged)
    assert found["item_id"].tolist() == ITEMS["item_id"].tolist()
    assert set(found["focal"]) == {"few"}


def test_items_without_overlap_cannot_be_linked(contract, exchanged, irt_service):
    with pytest.raises(Unprocessable):
        irt_service.link(
            ITEMS.assign(item_id=ITEMS["item_id"] + 100), ITEMS, model="2PL", method="robust", min_anchors=3
        )
    hold_to(contract, exchanged)


def test_data_that_cannot_be_calibrated_is_a_job_with_a_422_problem(contract, exchanged, irt_service, answers):
    with pytest.raises(Unprocessable) as caught:
        irt_service.calibrate(answers.assign(correct=True), model="2PL", priors=None, min_responses=1)
    assert caught.value.problem["status"] == 422
    hold_to(contract, exchanged)
    assert exchanged[-1][1].json()["state"] == "failed"


def test_the_client_knows_every_state_and_every_required_field(document):
    schemas = document["components"]["schemas"]
    assert schemas["Job"]["properties"]["state"]["enum"] == ["queued", "running", "succeeded", "failed"]
    metrics = schemas["CalibrationResult"]["properties"]["fit_meta"]["properties"]["metrics"]["required"]
    assert {"converged", "iterations", "stopped_by", "latent_mean", "latent_sd"} <= set(metrics)


CSV = "student_id,item_id,correct\ns1,i1,1\ns1,i2,0\ns2,i1,0\ns2,i2,1\n"
JSON = {"responses": {"student_id": ["s1", "s2"], "item_id": ["i1", "i1"], "correct": [0, 1]}}
CASES = {
    "a body that is not JSON": (400, "POST", "/irt/calibrate", {"content": b"{", "type": "application/json"}),
    "options that are not JSON": (
        400,
        "POST",
        "/irt/calibrate?options=x",
        {"content": CSV.encode(), "type": "text/csv"},
    ),
    "no token": (401, "POST", "/irt/score", {"json": JSON, "token": None}),
    "another token": (401, "GET", "/jobs/0", {"token": "Bearer other"}),
    "an unknown job": (404, "GET", f"/jobs/{'0' * 32}", {}),
    "an unknown path": (404, "GET", "/irt/nothing", {}),
    "another method": (405, "GET", "/irt/calibrate", {}),
    "another media type": (415, "POST", "/irt/calibrate", {"content": b"x", "type": "application/xml"}),
}


def request_of(http, method, path, content=None, json=None, type=None, token="as it is", key=None):
    headers = {}
    if type:
        headers["Content-Type"] = type
    if key:
        headers["Idempotency-Key"] = key
    request = http.build_request(method, path, content=content, json=json, headers=headers)
    if token is None:
        del request.headers["Authorization"]
    elif token != "as it is":
        request.headers["Authorization"] = token
    return request


def hold_problem(document, contract, response, status):
    """A problem document; where the contract has this status for the operation, as it is described there."""
    assert response.status_code == status
    assert response.headers["Content-Type"].startswith("application/problem+json")
    assert response.json()["status"] == status
    OAS30Validator(document["components"]["schemas"]["Problem"]).validate(response.json())
    path = "/jobs/{id}" if response.request.url.path.startswith("/jobs/") else response.request.url.path
    operation = document["paths"].get(path, {}).get(response.request.method.lower(), {})
    if str(status) in operation.get("responses", {}):
        contract.validate_response(Request(response.request), Response(response))
    else:
        assert status in {404, 405}  # no such operation


@pytest.mark.parametrize(("status", "method", "path", "parts"), CASES.values(), ids=CASES)
def test_a_refusal_is_a_problem_document_as_the_contract_says(document, contract, http, status, method, path, parts):
    response = http.send(request_of(http, method, path, **parts))
    hold_problem(document, contract, response, status)


def test_a_key_used_for_another_request_is_a_conflict(document, contract, http, answers):
    parts = {"content": plumber.csv(plumber._sent(answers)), "type": "text/csv", "key": "mine"}
    first = http.send(request_of(http, "POST", "/irt/calibrate", **parts))
    again = http.send(request_of(http, "POST", "/irt/calibrate", **parts))
    assert (first.status_code, again.json()["id"]) == (202, first.json()["id"])
    other = http.send(request_of(http, "POST", "/irt/calibrate?options={}", **parts))
    hold_problem(document, contract, other, 409)


def test_a_json_request_is_as_good_as_csv(contract, http, answers):
    columns = {
        "student_id": answers["student_id"].tolist(),
        "item_id": answers["item_id"].astype(str).tolist(),
        "correct": answers["correct"].astype(int).tolist(),
    }
    options = {"model": "2PL", "priors": WEAK_PRIORS, "min_responses": 30, "standard_errors": "auto"}
    prefer = {"Prefer": "wait=30"}
    as_json = http.post("/irt/calibrate", json={"responses": columns, **options}, headers=prefer)
    as_csv = http.post(
        "/irt/calibrate",
        params={"options": json.dumps(options)},
        content=plumber.csv(plumber._sent(answers)),
        headers=prefer | {"Content-Type": "text/csv"},
    )
    for response in (as_json, as_csv):
        contract.validate_request(Request(response.request))
        contract.validate_response(Request(response.request), Response(response))
    assert as_json.json()["result"] == as_csv.json()["result"]


def test_answers_in_files_give_the_calibration_of_the_same_answers_in_a_request(irt_service, answers, monkeypatch):
    options = {"model": "2PL", "priors": None, "min_responses": 5}
    sent = irt_service.calibrate(answers, **options)
    monkeypatch.setattr(plumber, "MOST_IN_A_BODY", 0)
    in_files = irt_service.calibrate(answers, **options)
    pd.testing.assert_frame_equal(in_files.items, sent.items, rtol=1e-6)
    assert not list(settings().r_service_spool_dir.iterdir())
