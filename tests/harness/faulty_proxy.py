"""A proxy on the loopback address that passes requests on to a real server, and loses or spoils answers."""

import contextlib
import http.client
import threading
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.harness.served import Quiet


class Fault(StrEnum):
    """What goes wrong with one request."""

    LOST_ANSWER = "lost answer"  # passed on, and the connection ends without an answer
    SILENCE = "silence"  # passed on, and no answer comes while the client waits
    DROPPED = "dropped"  # not passed on, and the connection ends: to the client the same as a lost answer
    HELD = "held"  # passed on only once `release` is set: a server that takes its time
    GARBAGE = "garbage"  # passed on, and the answer is 200 with bytes that are no JSON
    NO_CERTIFICATE = "no certificate"  # passed on, and the answer is JSON without what was asked for
    HUGE = "huge"  # passed on, and the answer has no end
    ERROR_AFTER = "500 after"  # passed on, and the answer is a server's error
    REDIRECT = "redirect"  # not passed on: as a standby node
    BUSY = "busy"  # not passed on: 429


@dataclass(slots=True)
class Plan:
    """What comes for requests whose path has this in it, one after the other; None is no fault."""

    fragment: str
    faults: list[Fault | None] = field(default_factory=list)


class FaultyProxy(ThreadingHTTPServer):
    """Has `plans` for what goes wrong; `seen` are the requests that came, `passed` those that went on.

    With `as_vault` OpenBao's lists look as Vault documents them: without details, and not by pages.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, upstream_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream_port = upstream_port
        self.plans: list[Plan] = []
        self.as_vault = False
        self.seen: list[str] = []
        self.passed: list[str] = []
        self.release, self.over = threading.Event(), threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def spoil(self, fragment: str, *faults: Fault | None) -> None:
        """The next requests whose path has this in it go wrong so, one after the other."""
        self.plans.append(Plan(fragment, list(faults)))

    def fault_for(self, path: str) -> Fault | None:
        for plan in self.plans:
            if plan.fragment in path and plan.faults:
                return plan.faults.pop(0)
        return None

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what the tests are about."""

    def shutdown(self) -> None:
        """End what waits as well."""
        self.over.set()
        self.release.set()
        super().shutdown()


class _Handler(Quiet, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def _serve(self) -> None:
        self.close_connection = True
        line = f"{self.command} {self.path}"
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append(line)
        fault = self.server.fault_for(self.path)
        if self.server.as_vault:
            self.path = self.path.partition("?")[0]
        with contextlib.suppress(OSError):
            if self.server.as_vault and self.path.endswith("/certs/detailed"):
                self._answer(404, b'{"errors": []}')
                return
            if fault is Fault.DROPPED:
                return
            if fault is Fault.REDIRECT:
                self._answer(307, b"", Location="http://127.0.0.1:1/")
                return
            if fault is Fault.BUSY:
                self._answer(429, b'{"errors": ["request path is rate limited"]}')
                return
            if fault is Fault.HELD:
                self.server.release.wait(timeout=60)
            status, content = self._passed_on(line, body)
            if fault is Fault.LOST_ANSWER or (fault is Fault.SILENCE and self.server.over.wait(timeout=60)):
                return
            if fault is Fault.HUGE:
                self._answer(200, b" " * (1 << 22))
            elif fault is Fault.GARBAGE:
                self._answer(200, b"\x00\xff<html>")
            elif fault is Fault.NO_CERTIFICATE:
                self._answer(200, b'{"data": {"certificate": "-----BEGIN", "ca_chain": null}}')
            elif fault is Fault.ERROR_AFTER:
                self._answer(500, b'{"errors": ["internal error"]}')
            else:
                self._answer(status, content)

    def _passed_on(self, line: str, body: bytes) -> tuple[int, bytes]:
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream_port, timeout=30)
        dropped = {"host", "connection", "content-length"}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
        try:
            upstream.request(self.command, self.path, body=body or None, headers=headers)
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        self.server.passed.append(line)
        return answer.status, content

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_LIST = do_DELETE = _serve  # noqa: N815 - http.server's names
