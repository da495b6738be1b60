"""Dagster's webserver and daemon, as `seedtest up` serves them, for the duration of a `with` block."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from seedtest_assets.local.webserver import Webserver


@dataclass(frozen=True)
class Served:
    """A running webserver, at an address."""

    url: str

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data that a GraphQL query gives."""
        answer = httpx.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60)
        document: dict[str, Any] = answer.raise_for_status().json()
        assert "errors" not in document, document["errors"]
        return document["data"]


@contextmanager
def served(home: Path) -> Iterator[Served]:
    webserver = Webserver(home)
    ready: list[str] = []
    answers = threading.Event()

    def serve() -> None:
        try:
            webserver.serve(ready=lambda url: (ready.append(url), answers.set()))
        finally:
            answers.set()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert answers.wait(150)
        assert ready, "Dagster did not start"
        yield Served(ready[0])
    finally:
        webserver.stop()
        thread.join()
