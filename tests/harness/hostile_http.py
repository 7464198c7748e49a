"""A web server that misbehaves on request: what it does is in the path. Loopback only, one thread a request.

`/to/<status>?<location>` redirects, `/status/<status>?<body>` answers, `/loop` redirects to itself, `/huge`
never ends, `/drip` and `/drip-body` send an octet now and then, `/silent` says nothing, `/garbage` is no
HTTP, `/headers` sends headers without end, `/short` breaks off, all else repeats the path (status 404).
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.harness.acme_certificates import KEY
from tests.harness.served import Quiet

_PAUSE_SECONDS = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request as it came."""

    path: str
    headers: Message


class HostileHttp(ThreadingHTTPServer):
    """The server, over TLS where there is a context; `seen` are the requests so far."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.over, self.context = threading.Event(), context
        self.seen: list[Seen] = []

    def finish_request(self, request: object, client_address: object) -> None:
        """TLS per connection, in its own thread, so that a bad handshake stops nobody else."""
        assert isinstance(request, socket.socket)
        with contextlib.suppress(OSError):
            if self.context is None:
                super().finish_request(request, client_address)
                return
            with self.context.wrap_socket(request, server_side=True) as secured:
                super().finish_request(secured, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what the tests are about."""

    def shutdown(self) -> None:
        """End what never ends as well."""
        self.over.set()
        super().shutdown()


class _Handler(Quiet, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HostileHttp

    def do_GET(self) -> None:
        self.server.seen.append(Seen(path=self.path, headers=self.headers))
        self.close_connection = True
        word = self.path.partition("?")[0].strip("/").partition("/")[0]
        action: Callable[[], None] = getattr(self, f"_{word.replace('-', '_')}", self._echo)
        with contextlib.suppress(OSError):
            action()

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _to(self) -> None:
        path, _, location = self.path.partition("?")
        self._answer(
            int(path.split("/")[2]), b"elsewhere", Location=unquote(location), Set_Cookie="session=stolen"
        )

    def _status(self) -> None:
        path, _, body = self.path.partition("?")
        self._answer(int(path.split("/")[2]), unquote(body).encode())

    def _loop(self) -> None:
        self._answer(302, b"", Location=self.path)

    def _gzip(self) -> None:
        self._answer(200, b"\x1f\x8b not really", Content_Encoding="gzip")

    def _two_locations(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/status/200?one")
        self.send_header("Location", "/status/200?two")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _echo(self) -> None:
        self._answer(404, f"There is no {self.path} here".encode())

    def _huge(self) -> None:
        self.send_response(200)
        self.end_headers()
        while not self.server.over.is_set():
            self.wfile.write(b"x" * 65536)

    def _headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not self.server.over.is_set():
            self.wfile.write(b"X-More: " + b"x" * 1000 + b"\r\n")

    def _drip(self) -> None:
        self._drop_by_drop(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"y" * 1_000_000)

    def _drip_body(self) -> None:
        self.send_response(200)
        self.end_headers()
        self._drop_by_drop(b"z" * 1_000_000)

    def _drop_by_drop(self, content: bytes) -> None:
        for octet in content:
            if self.server.over.wait(_PAUSE_SECONDS):
                return
            self.wfile.write(bytes([octet]))
            self.wfile.flush()

    def _silent(self) -> None:
        self.server.over.wait(30)

    def _garbage(self) -> None:
        self.wfile.write(b"220 mail.example.ac.uk ESMTP\r\n")

    def _short(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"too little")


def hostile_tls(folder: Path, *, plain: bytes, alpn: Mapping[str, bytes]) -> ssl.SSLContext:
    """A context that shows `alpn` certificates for `acme-tls/1` by SNI, and otherwise `plain`.

    All are DER, for the harness's key.
    """

    def context_for(der: bytes, name: str, protocol: str) -> ssl.SSLContext:
        path = folder / f"{name}.pem"
        key = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        context.set_alpn_protocols([protocol])
        return context

    usual = context_for(plain, "plain", "http/1.1")
    by_name = {name: context_for(der, name, "acme-tls/1") for name, der in alpn.items()}

    def choose(secured: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext) -> None:
        secured.context = by_name.get(name or "", usual)

    usual.sni_callback = choose
    return usual
