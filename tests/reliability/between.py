"""A server that stands between a client and a service, and can answer in its place."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

HOP = {"host", "connection", "accept-encoding", "transfer-encoding", "content-encoding", "content-length", "server"}


@dataclass(frozen=True)
class Answer:
    """What is answered in the service's place."""

    status: int
    body: bytes = b""
    content_type: str = "application/problem+json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Between:
    """`seen` in order; `instead` answers a request, or lets it through to the service with None."""

    instead: Callable[[Seen], Answer | None]
    service: str = ""
    seen: list[Seen] = field(default_factory=list)
    url: str = ""

    def answer(self, request: Seen) -> Answer:
        self.seen.append(request)
        if (own := self.instead(request)) is not None:
            return own
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
        with httpx.Client(timeout=60, trust_env=False) as client:
            real = client.request(request.method, self.service + request.path, headers=headers, content=request.body)
        kept = {name: value for name, value in real.headers.items() if name not in HOP | {"content-type", "date"}}
        return Answer(real.status_code, real.content, real.headers.get("content-type", ""), kept)

    @contextmanager
    def listening(self) -> Iterator["Between"]:
        """On a loopback port until the block ends."""
        between = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                try:
                    answer = between.answer(Seen(self.command, self.path, dict(self.headers), body))
                except httpx.TransportError:
                    self.close_connection = True  # as the service did
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", answer.content_type)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
