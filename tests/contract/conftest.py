"""What goes over the wire, for the contract tests."""

import httpx
import pytest


@pytest.fixture
def exchanged(monkeypatch):
    """Every request of the client and the answer it got."""
    seen = []
    send = httpx.Client.send

    def listen(self, request, **options):
        response = send(self, request, **options)
        response.read()
        seen.append((request, response))
        return response

    monkeypatch.setattr(httpx.Client, "send", listen)
    return seen
