"""Typed clients of the R services. They are strangers: tokens, time-outs, jobs that may be lost.

The contract is the same for all of them (r_plumber/common): a fit is POSTed with an Idempotency-Key and answered
202 with the job's place; the job is polled until it succeeded or failed. What fails is sorted once,
here, into transient and permanent.
"""

import hashlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dagster as dg
import httpx
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from seedtest_assets.failures import PermanentFailure, TransientFailure, is_transient
from seedtest_assets.resources.spool import spooled
from seedtest_assets.settings import settings

WAIT_SECONDS = 10
"""How long the first request waits for its job to finish, seconds."""
POLL_SECONDS = 0.5
MOST_IN_A_BODY = 2_000_000
"""Answers sent in the request itself; more wait in files, if a folder for them is configured."""

Progress = Callable[[dict[str, Any]], None]


class Unprocessable(PermanentFailure):
    """The statistics cannot be done on these data (status 422): too few rows, a constant item.

    Attributes:
        problem: the service's problem+json document.
    """

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem.get("detail") or problem.get("title", "unprocessable"), _errors(problem))
        self.problem = problem


@dataclass(frozen=True)
class Service:
    """Where a service is and how to speak to it.

    Attributes:
        name: for messages, e.g. 'IRT'.
        variable: the environment variable that holds the base URL.
        base_url: e.g. http://127.0.0.1:8001.
        token: bearer token, or None for a service bound to loopback without one.
        timeout: longest wait for one job, seconds.
    """

    name: str
    variable: str
    base_url: str
    token: str | None
    timeout: float

    def run_job(
        self, path: str, body: bytes, content_type: str, options: dict[str, Any], progress: Progress
    ) -> dict[str, Any]:
        """Run one job to its end and return its result.

        The idempotency key is made from the request itself, so that a retried step meets its own job again.

        Raises:
            Unprocessable: when the job ended with status 422.
            TransientFailure: connection, time-out, 408, 429, 5xx, or the job is unknown (another replica, restart).
            PermanentFailure: any other refusal: a broken contract or a wrong token.
        """
        params = {"options": json.dumps(options, sort_keys=True)} if options else {}
        key = hashlib.sha256(f"{path}?{params}\n".encode())
        key.update(body)
        headers = {"Prefer": f"wait={WAIT_SECONDS}"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        deadline = time.monotonic() + self.timeout
        limits = httpx.Timeout(WAIT_SECONDS + 20, connect=5)
        with httpx.Client(base_url=self.base_url, headers=headers, timeout=limits) as client:
            job = self._ask(
                client.build_request(
                    "POST",
                    path,
                    params=params,
                    content=body,
                    headers={"Content-Type": content_type, "Idempotency-Key": key.hexdigest()},
                ),
                client,
            )
            while job["state"] in {"queued", "running"}:
                if time.monotonic() > deadline:
                    raise TransientFailure(f"the {self.name} service did not finish {path} within {self.timeout:.0f} s")
                progress(job)
                time.sleep(POLL_SECONDS)
                job = self._ask(client.build_request("GET", f"/jobs/{job['id']}"), client)
        if job["state"] == "succeeded":
            result: dict[str, Any] = job["result"]
            return result
        raise self._refusal(job["problem"])

    def _ask(self, request: httpx.Request, client: httpx.Client) -> dict[str, Any]:
        try:
            response = client.send(request)
        except httpx.TransportError as error:
            raise TransientFailure(
                f"the {self.name} service does not answer at {self.base_url} ({type(error).__name__}). Start it "
                f"(`seedtest services start`) or set {self.variable}; then resume the run "
                "(`seedtest run --resume`, or re-execute from failure in the UI)."
            ) from error
        if response.is_success and (job := _document(response, "application/json")) is not None:
            return job
        if response.status_code == httpx.codes.NOT_FOUND and request.method == "GET":
            raise TransientFailure(f"the {self.name} service lost our job (restarted, or another replica)")
        raise self._refusal(_problem(response))

    def _refusal(self, problem: dict[str, Any]) -> Exception:
        status = int(problem.get("status", 500))
        said = f"{status} {problem.get('title', '')}: {problem.get('detail', '')}"
        if status == httpx.codes.UNPROCESSABLE_ENTITY:
            return Unprocessable(problem)
        if is_transient(status):
            return TransientFailure(f"the {self.name} service answered {said}")
        return PermanentFailure(f"the {self.name} service refused the request: {said}", _errors(problem))


def configured(name: str) -> Service:
    """The service whose settings are r_<name>_base_url, r_<name>_internal_token and r_<name>_timeout_secs.

    Raises:
        PermanentFailure: when it has no address.
    """
    prefix = f"r_{name.lower()}"
    base_url, token, timeout = (
        getattr(settings(), f"{prefix}_{part}") for part in ("base_url", "internal_token", "timeout_secs")
    )
    variable = f"{prefix}_base_url".upper()
    if base_url is None:
        raise PermanentFailure(
            f"No {name} service is configured. Set {variable} and {f'{prefix}_internal_token'.upper()}, or start the "
            "commands through ./run, which starts the services as child processes."
        )
    return Service(name, variable, base_url, token.get_secret_value() if token else None, timeout)


def csv(frame: pd.DataFrame) -> bytes:
    """A frame as the services read it: a header, nothing for what is not known."""
    buffer = io.BytesIO()
    pa.csv.write_csv(pa.Table.from_pandas(frame, preserve_index=False), buffer)
    return buffer.getvalue()


def _problem(response: httpx.Response) -> dict[str, Any]:
    said = {"status": response.status_code, "title": response.reason_phrase, "detail": response.text[:500]}
    return _document(response, "application/problem+json") or said


def _document(response: httpx.Response, media_type: str) -> dict[str, Any] | None:
    """The JSON document of this type, or None: what answers may be a gateway, or a login page."""
    if response.headers.get("content-type", "").partition(";")[0].strip() != media_type:
        return None
    try:
        document: dict[str, Any] = response.json()
    except ValueError:
        return None
    return document


def _errors(problem: dict[str, Any]) -> dict[str, dg.MetadataValue]:
    return {"errors": dg.MetadataValue.json(problem["errors"])} if problem.get("errors") else {}


@dataclass(frozen=True)
class Calibration:
    """A calibration as /irt/calibrate returns it.

    Attributes:
        fit_meta: model, model_spec, linking_constants, metrics (see data contract, mirt_fit_meta).
        items: item_id (int), a, b, c, se_a, se_b, se_c, cov_ab, n_responses, is_anchor.
        abilities: student_id (uuid text), theta, se, n_responses.
    """

    fit_meta: dict[str, Any]
    items: pd.DataFrame
    abilities: pd.DataFrame


@dataclass(frozen=True)
class Linking:
    """What brings new parameters onto those of a reference, theta_reference = A theta + B, as /irt/link returns it.

    Attributes:
        n_anchors: items in common.
        constants: method, A, B, se_A, se_B, linking_error, n_anchors; a row per method.
        dropped: item_id (int), reason, difference_a, difference_b; anchors to which the robust method gave no weight.
    """

    n_anchors: int
    constants: pd.DataFrame
    dropped: pd.DataFrame


@dataclass(frozen=True)
class Fit:
    """How well answers fit the model, as /irt/fit returns it.

    Attributes:
        items: item_id (int), infit, outfit, fit_stat, fit_df, fit_p, rmsd, flag.
        students: student_id (uuid text), lz_star.
    """

    items: pd.DataFrame
    students: pd.DataFrame


class IrtService(dg.ConfigurableResource[None]):
    """r_plumber/irt. Items are frames with item_id, a, b, c, and answers frames with student_id, item_id, correct.

    `repeated` is "refuse", or "keep" where students may answer an item more than once.
    Every method raises Unprocessable, with the service's reason, when the statistics cannot be done on these data.
    """

    def _post(self, path: str, fields: dict[str, Any], progress: Progress = lambda job: None) -> dict[str, Any]:
        return configured("IRT").run_job(path, json.dumps(fields).encode(), "application/json", {}, progress)

    def calibrate(
        self,
        answers: pd.DataFrame,
        *,
        model: str,
        priors: dict[str, Any] | None,
        min_responses: int,
        anchors: pd.DataFrame | None = None,
        repeated: str = "refuse",
        standard_errors: str = "auto",
        progress: Progress = lambda job: None,
    ) -> Calibration:
        """Calibrate items on answers, with the parameters of `anchors` held fixed if there are any."""
        options: dict[str, Any] = {
            "model": model,
            "priors": priors,
            "min_responses": min_responses,
            "standard_errors": standard_errors,
            "repeated": repeated,
        }
        if anchors is not None:
            options["anchors"] = _columns(anchors, PARAMETERS)
        root = settings().r_service_spool_dir
        if len(answers) > MOST_IN_A_BODY and root is not None:
            with spooled(_sent(answers), root) as spool:
                result = self._post("/irt/calibrate", {"responses": {"spool": spool}} | options, progress)
        elif anchors is not None:
            result = self._post("/irt/calibrate", {"responses": _answers(answers)} | options, progress)
        else:
            result = configured("IRT").run_job("/irt/calibrate", csv(_sent(answers)), "text/csv", options, progress)
        return Calibration(result["fit_meta"], _by_item(result["item_params"]), pd.DataFrame(result["abilities"]))

    def score(
        self,
        answers: pd.DataFrame,
        items: pd.DataFrame,
        latent: dict[str, float],
        quadrature: dict[str, float],
        repeated: str = "refuse",
    ) -> pd.DataFrame:
        """EAP ability (student_id, theta, se, n_responses) under fixed item parameters."""
        fields = {"latent": latent, "quadrature": quadrature, "repeated": repeated, "method": "EAP"}
        result = self._post("/irt/score", _answered(answers, items) | fields)
        return pd.DataFrame(result["abilities"])

    def link(self, new: pd.DataFrame, reference: pd.DataFrame, *, model: str, method: str, min_anchors: int) -> Linking:
        """Link new item parameters to those of a reference by every method; `method` is the one that will be used."""
        fields = {"model": model, "method": method, "min_anchors": min_anchors}
        result = self._post("/irt/link", _linked(new, reference) | fields)
        return Linking(result["n_anchors"], pd.DataFrame(result["constants"]), _by_item(result["dropped"]))

    def drift(self, new: pd.DataFrame, reference: pd.DataFrame, *, model: str) -> pd.DataFrame:
        """How far each common item has moved after the robust link, by item_id: d_a, d_b, …, flag, severity."""
        result = self._post("/irt/drift", _linked(new, reference) | {"model": model})
        return _by_item(result["items"])

    def fit(
        self,
        answers: pd.DataFrame,
        items: pd.DataFrame,
        latent: dict[str, float],
        quadrature: dict[str, float],
    ) -> Fit:
        """Item and person fit of the answers under fixed item parameters."""
        fields = {"latent": latent, "quadrature": quadrature}
        result = self._post("/irt/fit", _answered(answers, items) | fields)
        return Fit(_by_item(result["items"]), pd.DataFrame(result["students"]))

    def dif(
        self,
        answers: pd.DataFrame,
        items: pd.DataFrame,
        groups: pd.DataFrame,
        *,
        reference: str,
    ) -> pd.DataFrame:
        """Differential item functioning of each item between `reference` and every other group (student_id, group)."""
        columns = {name: groups[name].astype(str).tolist() for name in ("student_id", "group")}
        fields = {"groups": columns, "reference": reference}
        result = self._post("/irt/dif", _answered(answers, items) | fields)
        return _by_item(result["items"])


PARAMETERS = ["a", "b", "c"]
UNCERTAINTY = ["se_a", "se_b", "cov_ab"]


def _sent(answers: pd.DataFrame) -> pd.DataFrame:
    return answers[["student_id", "item_id", "correct"]].assign(correct=answers["correct"].astype(int))


def _answered(answers: pd.DataFrame, items: pd.DataFrame) -> dict[str, Any]:
    return {"responses": _answers(answers), "items": _columns(items, PARAMETERS)}


def _linked(new: pd.DataFrame, reference: pd.DataFrame) -> dict[str, Any]:
    names = [*PARAMETERS, *UNCERTAINTY]
    return {"new": _columns(new, names), "reference": _columns(reference, names)}


def _answers(answers: pd.DataFrame) -> dict[str, list[Any]]:
    return {
        "student_id": answers["student_id"].astype(str).tolist(),
        "item_id": answers["item_id"].astype(str).tolist(),
        "correct": answers["correct"].astype(int).tolist(),
    }


def _columns(items: pd.DataFrame, names: list[str]) -> dict[str, list[Any]]:
    """item_id and these numbers; what is not known is null."""
    numbers = items[names].astype(float).astype(object).where(items[names].notna(), None)
    return {"item_id": items["item_id"].astype(str).tolist(), **{name: numbers[name].tolist() for name in names}}


def _by_item(columns: dict[str, list[Any]]) -> pd.DataFrame:
    """A frame whose item_id are the numbers that were sent as text, in ascending order."""
    return pd.DataFrame(columns).astype({"item_id": "int64"}).sort_values("item_id", ignore_index=True)
