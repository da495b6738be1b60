"""The R services as child processes of this machine: one table, one class."""

import os
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from seedtest_assets.local.home import CHECKOUT
from seedtest_assets.local.processes import (
    HOST,
    RecordedProcess,
    any_free_port,
    port_is_free,
    tail,
    write_private,
)

READY_SECONDS = 60.0
STOP_SECONDS = 5.0
SPOOL = "R_SERVICE_SPOOL_DIR"
MODELS = "R_BRMS_MODELS_DIR"
COMPILED = Path(sys.prefix).parent / "growth-models"  # beside the virtual environment: ./run installs both
SECRETS_OF_OTHERS = {"DATABASE_URL", "DAGSTER_DATABASE_URL"}  # a service gets its data by HTTP alone


class ServiceError(RuntimeError):
    """An R service cannot be started; the message says why and what to do."""


@dataclass(frozen=True)
class RService:
    """An R service: its name under r_plumber/ and how its environment variables begin."""

    name: str
    prefix: str

    @property
    def base_url(self) -> str:
        """The variable that holds the service's address."""
        return f"{self.prefix}_BASE_URL"

    @property
    def token(self) -> str:
        """The variable that holds the service's bearer token."""
        return f"{self.prefix}_INTERNAL_TOKEN"


SERVICES = (
    RService("irt", "R_IRT"),
    RService("forecast", "R_FORECAST"),
    RService("glmm", "R_GLMM"),
    RService("growth", "R_BRMS"),
)


@dataclass(frozen=True)
class ServiceStatus:
    """What is known of one service: `pid` None when it does not run, `ready` as /readyz answers."""

    name: str
    url: str | None
    pid: int | None
    ready: bool


class RServices:
    """The R services of one home: processes, tokens and logs.

    Args:
        folder: holds `<name>.json` (process and port), `<name>.token` (both private), `<name>.log`, and spool/, where
            answers wait that are too many for a request.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._spool = folder / "spool"
        self._processes = {service.name: RecordedProcess(folder / f"{service.name}.json") for service in SERVICES}

    def start(self, services: Sequence[RService] = SERVICES) -> dict[str, str]:
        """Start those that are not ready, in place of what may be left of them, and wait until each is.

        Returns:
            The variables with which a client finds the services: addresses, tokens, the shared folder.

        Raises:
            ServiceError: R is missing, or a service died or was not ready within a minute.
        """
        for service in services:
            if not is_ready(self._url(service)):
                self._launch(service)
        variables = {}
        for service in services:
            if service.name == "irt":  # the one that reads it; another machine's IRT service shares another folder
                variables[SPOOL] = str(self._spool)
            variables[service.base_url] = self._wait_until_ready(service)
            variables[service.token] = self._token(service)
        return variables

    def stop(self) -> None:
        """End the services with their workers, also those of which only workers are left."""
        for process in self._processes.values():
            process.stop(grace=STOP_SECONDS)

    def status(self) -> list[ServiceStatus]:
        """One line for each service."""
        known = []
        for service in SERVICES:
            url = self._url(service)
            known.append(ServiceStatus(service.name, url, self._processes[service.name].pid(), is_ready(url)))
        return known

    def log(self, name: str) -> Path:
        """The log of a service, begun anew at each start."""
        return self.folder / f"{name}.log"

    def _url(self, service: RService) -> str | None:
        process = self._processes[service.name]
        return f"http://{HOST}:{process.port()}" if process.alive() else None

    def _token(self, service: RService) -> str:
        file = self.folder / f"{service.name}.token"
        if not file.exists():
            write_private(file, secrets.token_urlsafe(32))
        return file.read_text()

    def _launch(self, service: RService) -> None:
        process = self._processes[service.name]
        process.stop(grace=STOP_SECONDS)  # one that hangs or is about to die, workers that outlived theirs
        rscript = shutil.which("Rscript")
        if rscript is None:
            raise ServiceError("R is missing (no Rscript on the PATH); `./run install` installs it")
        kept = process.port()
        port = kept if kept is not None and port_is_free(kept) else any_free_port()
        inherited = {MODELS: str(COMPILED)} | {
            name: value for name, value in os.environ.items() if name not in SECRETS_OF_OTHERS
        }
        serve = CHECKOUT / "r_plumber" / "common" / "serve.R"
        process.start(
            [rscript, serve, service.name, "--host", HOST, "--port", str(port)],
            port=port,
            log=self.log(service.name),
            cwd=CHECKOUT / "r_plumber",
            environment={**inherited, service.token: self._token(service), SPOOL: str(self._spool)},
        )

    def _wait_until_ready(self, service: RService) -> str:
        deadline = time.monotonic() + READY_SECONDS
        while (url := self._url(service)) is not None and time.monotonic() < deadline:
            if is_ready(url):
                return url
            time.sleep(0.1)
        failure = "died while it started" if url is None else f"is not ready after {READY_SECONDS:.0f} s"
        said = "" if url is None else what_is_missing(url)
        self._processes[service.name].stop(grace=STOP_SECONDS)
        log = self.log(service.name)
        raise ServiceError(
            f"the R service {service.name} {failure}. {said}Its log ({log}) ends with:\n{tail(log)}\n"
            "`./run doctor` shows whether an R package or a compiled model is missing."
        )


def what_is_missing(url: str) -> str:
    """What /readyz says the service waits for, as a sentence with a space after it."""
    try:
        answer = httpx.get(f"{url}/readyz", timeout=10.0, trust_env=False)
    except httpx.TransportError:
        return ""
    return f"It says: {answer.text} "


def is_ready(url: str | None) -> bool:
    """Whether the service at this address answers /readyz with 200."""
    if url is None:
        return False
    try:
        return httpx.get(f"{url}/readyz", timeout=10.0, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
