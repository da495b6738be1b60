"""Dagster's webserver and daemon on this machine, as `dagster dev` runs them."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from seedtest_assets.local.home import CHECKOUT
from seedtest_assets.local.processes import HOST, RecordedProcess, port_is_free, tail

PORTS = range(3000, 3100)
READY_SECONDS = 120.0
STOP_SECONDS = 10.0


class WebserverError(RuntimeError):
    """Dagster cannot be served; the message says why and what to do."""


class Webserver:
    """The webserver, the daemon and their code servers: one `dagster dev`, and all that it starts.

    Args:
        folder: the home; holds `dagster/up.json` (process and port) and `log/dagster.log`.
    """

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log" / "dagster.log"
        self._process = RecordedProcess(folder / "dagster" / "up.json")

    def url(self) -> str | None:
        """The address while it runs."""
        return f"http://{HOST}:{self._process.port()}" if self._process.alive() else None

    def serve(self, *, ready: Callable[[str], None], port: int | None = None) -> None:
        """Serve until interrupted or stopped by another command; nothing that it started outlives it.

        Args:
            ready: called with the address as soon as it answers.
            port: a loopback port; None takes 3000, or the next that is free.

        Raises:
            WebserverError: it runs already, the port is taken, or Dagster died.
        """
        if running := self.url():
            raise WebserverError(f"Dagster is served already at {running}")
        chosen = port or next(filter(port_is_free, PORTS))
        if not port_is_free(chosen):
            raise WebserverError(f"port {chosen} is taken; choose another with --port")
        try:
            self._process.start(
                [
                    *(sys.executable, "-m", "dagster", "dev", "--host", HOST, "--port", str(chosen)),
                    *("--workspace", CHECKOUT / "workspace.yaml"),
                ],
                port=chosen,
                log=self.log,
                cwd=CHECKOUT,
                environment=os.environ,
            )
            self._wait_until_it_answers()
            ready(f"http://{HOST}:{chosen}")
            while self._process.alive():
                time.sleep(0.5)
            if not self._process.was_stopped():
                raise WebserverError(f"Dagster died. Its log ({self.log}) ends with:\n{tail(self.log)}")
        finally:
            self.stop()

    def stop(self) -> None:
        """End whatever of it runs, whoever started it."""
        self._process.stop(grace=STOP_SECONDS)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not _answers(self.url()):
            if self.url() is None or time.monotonic() > deadline:
                raise WebserverError(f"Dagster did not start. Its log ({self.log}) ends with:\n{tail(self.log)}")
            time.sleep(0.2)


def _answers(url: str | None) -> bool:
    if url is None:
        return False
    try:
        return httpx.get(f"{url}/server_info", timeout=5.0, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
