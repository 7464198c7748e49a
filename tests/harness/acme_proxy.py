"""A proxy in front of an ACME server, over TLS, that loses, spoils or replaces answers as a test says.

ACME servers make their addresses from the Host header, which is passed on: so every request comes this way.
"""

import base64
import contextlib
import http.client
import json
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.harness.acme_front import throw_away_tls
from tests.harness.served import Quiet, answering


@dataclass(slots=True, kw_only=True)
class Answer:
    """What the server said, or what the test says instead."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


#: Gets what the server said, makes something else of it; None: the connection ends without an answer.
Meddle = Callable[[Answer], Answer | None]


class AcmeProxy(ThreadingHTTPServer):
    """`seen` are the paths that were asked for with POST and a good nonce, `sent` what came with each."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, upstream: int, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        folder.mkdir(parents=True, exist_ok=True)
        context, self.ca = throw_away_tls(folder)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.upstream = upstream
        self.seen: list[str] = []
        self.sent: list[dict[str, Any]] = []
        self._plans: list[tuple[str, Meddle, bool]] = []

    @property
    def directory(self) -> str:
        return f"https://127.0.0.1:{self.server_address[1]}/dir"

    def meddle(self, fragment: str, *meddles: Meddle) -> None:
        """With the next answers to requests whose path has this in it, one after the other."""
        self._plans += [(fragment, one, True) for one in meddles]

    def instead(self, fragment: str, *meddles: Meddle) -> None:
        """As `meddle`, but the requests are not passed on."""
        self._plans += [(fragment, one, False) for one in meddles]

    def passes_on(self, path: str) -> bool:
        return next((passed_on for fragment, _meddle, passed_on in self._plans if fragment in path), True)

    def meddled(self, path: str, answer: Answer) -> Answer | None:
        for plan in self._plans:
            fragment, meddle, _passed_on = plan
            if fragment in path:
                self._plans.remove(plan)
                return meddle(answer)
        return answer

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what the tests are about."""


def lost(_answer: Answer) -> None:
    """The answer is lost on its way."""


def garbage(_answer: Answer) -> Answer:
    """Bytes that are no JSON."""
    return Answer(body=b"\x00\xff<html>", headers={"Content-Type": "text/html"})


def empty_object(answer: Answer) -> Answer:
    """JSON that lacks everything."""
    return Answer(body=b"{}", headers={**answer.headers, "Content-Type": "application/json"})


def endless(_answer: Answer) -> Answer:
    """More than anybody wants to read."""
    return Answer(body=b" " * (1 << 22), headers={"Content-Type": "application/json"})


def server_error(_answer: Answer) -> Answer:
    """The server breaks, with a page instead of a problem."""
    return Answer(status=500, body=b"<h1>Oops</h1>", headers={"Content-Type": "text/html"})


def problem(kind: str, detail: str, *, status: int = 400, **headers: str) -> Meddle:
    """A problem document of this type."""
    body = f'{{"type": "urn:ietf:params:acme:error:{kind}", "detail": "{detail}"}}'.encode()
    told = {"Content-Type": "application/problem+json"}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _answer: Answer(status=status, body=body, headers=told)


class _Handler(Quiet, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: AcmeProxy

    def _serve(self) -> None:
        self.close_connection = True
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer: Answer | None = self._passed_on(body) if self.server.passes_on(self.path) else Answer()
        # A nonce that is refused is no answer yet: the client comes again.
        if answer is not None and b":badNonce" not in answer.body:
            if self.command == "POST":
                self.server.seen.append(self.path)
                self.server.sent.append(_payload(body))
            answer = self.server.meddled(self.path, answer)
        if answer is None:
            return
        with contextlib.suppress(OSError):
            self.send_response(answer.status)
            for name, value in {
                **answer.headers,
                "Content-Length": str(len(answer.body)),
                "Connection": "close",
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

    def _passed_on(self, body: bytes) -> Answer:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        upstream = http.client.HTTPSConnection("127.0.0.1", self.server.upstream, timeout=30, context=context)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        try:
            upstream.request(self.command, self.path, body=body or None, headers=headers)
            said = upstream.getresponse()
            kept = {"content-type", "location", "replay-nonce", "retry-after"}
            told = {name: value for name, value in said.getheaders() if name.lower() in kept}
            if links := said.headers.get_all("Link"):
                told["Link"] = ", ".join(links)
            return Answer(status=said.status, headers=told, body=said.read())
        finally:
            upstream.close()

    do_GET = do_POST = do_HEAD = _serve  # noqa: N815 - http.server's names


def _payload(body: bytes) -> dict[str, Any]:
    """What a JWS says; nothing for POST-as-GET."""
    payload = str(json.loads(body)["payload"])
    told: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "==")) if payload else {}
    return told


@contextlib.contextmanager
def acme_proxy(upstream: int, folder: Path) -> Iterator[AcmeProxy]:
    """A proxy to the ACME server at this port that runs until the block ends."""
    with answering(AcmeProxy(upstream, folder)) as running:
        yield running
