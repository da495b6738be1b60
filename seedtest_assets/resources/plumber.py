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
from seedtest_assets.settings import settings

WAIT_SECONDS = 10
"""How long the first request waits for its job to finish, seconds."""
POLL_SECONDS = 0.5

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
        items: item_id (int), a, b, c, se_a, se_b, n_responses.
        abilities: student_id (uuid text), theta, se, n_responses.
    """

    fit_meta: dict[str, Any]
    items: pd.DataFrame
    abilities: pd.DataFrame


class IrtService(dg.ConfigurableResource[None]):
    """r_plumber/irt."""

    def _service(self) -> Service:
        base_url, token = settings().r_irt_base_url, settings().r_irt_internal_token
        if base_url is None:
            raise PermanentFailure(
                "No IRT service is configured. Set R_IRT_BASE_URL and R_IRT_INTERNAL_TOKEN, or start the commands "
                "through ./run, which starts the services as child processes."
            )
        secret = token.get_secret_value() if token else None
        return Service("IRT", "R_IRT_BASE_URL", base_url, secret, settings().r_irt_timeout_secs)

    def calibrate(
        self,
        answers: pd.DataFrame,
        *,
        model: str,
        priors: dict[str, Any] | None,
        min_responses: int,
        standard_errors: str = "auto",
        progress: Progress = lambda job: None,
    ) -> Calibration:
        """Calibrate items on answers (student_id, item_id, correct; one answer per student and item).

        Raises:
            Unprocessable: when no item can be calibrated, with the service's reason.
        """
        result = self._service().run_job(
            "/irt/calibrate",
            _answers_csv(answers),
            "text/csv",
            {
                "model": model,
                "priors": priors,
                "min_responses": min_responses,
                "standard_errors": standard_errors,
            },
            progress,
        )
        items = pd.DataFrame(result["item_params"]).astype({"item_id": "int64"})
        return Calibration(result["fit_meta"], items, pd.DataFrame(result["abilities"]))

    def score(
        self,
        answers: pd.DataFrame,
        items: pd.DataFrame,
        latent: dict[str, float],
        progress: Progress = lambda job: None,
    ) -> pd.DataFrame:
        """EAP ability (student_id, theta, se, n_responses) under fixed item parameters (item_id, a, b).

        Raises:
            Unprocessable: when none of the answers is on one of the items.
        """
        parameters = {
            "item_id": items["item_id"].astype(str).tolist(),
            "a": items["a"].tolist(),
            "b": items["b"].tolist(),
        }
        columns = {
            "student_id": answers["student_id"].astype(str).tolist(),
            "item_id": answers["item_id"].astype(str).tolist(),
            "correct": answers["correct"].astype(int).tolist(),
        }
        body = json.dumps({"responses": columns, "items": parameters, "latent": latent, "method": "EAP"})
        result = self._service().run_job("/irt/score", body.encode(), "application/json", {}, progress)
        return pd.DataFrame(result["abilities"])


def _answers_csv(answers: pd.DataFrame) -> bytes:
    columns = answers[["student_id", "item_id", "correct"]].assign(correct=answers["correct"].astype(int))
    buffer = io.BytesIO()
    pa.csv.write_csv(pa.Table.from_pandas(columns, preserve_index=False), buffer)
    return buffer.getvalue()
