"""Requests and responses held to a service's own OpenAPI document."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from openapi_core import Config, OpenAPI
from openapi_core.datatypes import RequestParameters
from werkzeug.datastructures import Headers, ImmutableMultiDict


class Request:
    """An httpx request as openapi-core reads it."""

    def __init__(self, request: httpx.Request) -> None:
        url = request.url
        self.host_url = f"{url.scheme}://{url.host}:{url.port}"
        self.path = url.path
        self.method = request.method.lower()
        self.content_type = request.headers.get("Content-Type", "")
        self.body = request.content
        self.parameters = RequestParameters(
            query=ImmutableMultiDict(url.params.multi_items()), header=Headers(request.headers.multi_items())
        )


class Response:
    """An httpx response as openapi-core reads it."""

    def __init__(self, response: httpx.Response) -> None:
        self.status_code = response.status_code
        self.content_type = response.headers.get("Content-Type", "")
        self.headers = Headers(response.headers.multi_items())
        self.data = response.content


@contextmanager
def client(variables: dict[str, str], prefix: str) -> Iterator[httpx.Client]:
    """A client of a running service, with its token."""
    token = {"Authorization": f"Bearer {variables[f'{prefix}_INTERNAL_TOKEN']}"}
    with httpx.Client(base_url=variables[f"{prefix}_BASE_URL"], headers=token, timeout=60) as http:
        yield http


def document_of(http: httpx.Client) -> dict:
    return http.get("/openapi.json").raise_for_status().json()


def contract_of(http: httpx.Client) -> OpenAPI:
    media_types = {"text/csv": bytes.decode, "application/problem+json": json.loads}
    served = document_of(http) | {"servers": [{"url": str(http.base_url)}]}
    return OpenAPI.from_dict(served, config=Config(extra_media_type_deserializers=media_types))


def hold_to(contract: OpenAPI, exchanged: list[tuple[httpx.Request, httpx.Response]]) -> None:
    assert exchanged
    for request, response in exchanged:
        contract.validate_request(Request(request))
        contract.validate_response(Request(request), Response(response))
