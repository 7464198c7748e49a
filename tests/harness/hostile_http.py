"""A web server that misbehaves on request: what it does is in the path. Loopback only, one thread a request.

`/to/<status>?<location>` redirects, `/status/<status>?<body>` answers, `/loop` redirects to itself, `/huge`
never ends, `/drip` and `/drip-body` send an octet now and then, `/silent` says nothing, `/garbage` is no
HTTP, `/headers` sends headers without end, `/short` breaks off, all else repeats the path (status 404).
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.harness.acme_certificates import KEY

_PAUSE_SECONDS = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request as it came."""

    path: str
    headers: Message


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, *, over: threading.Event, context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.over, self.context = over, context
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


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        """Quiet."""

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


@dataclass(slots=True, kw_only=True)
class HostileHttp:
    """The server; with a folder, over TLS, and `alpn` certificates are shown for `acme-tls/1` by SNI."""

    folder: Path | None = None
    alpn: dict[str, bytes] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)
    _server: _Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.server_address[1]
        return port

    @property
    def seen(self) -> list[Seen]:
        """The requests so far."""
        assert self._server is not None
        return self._server.seen

    def start(self, *, certificate: bytes = b"") -> None:
        """Listens when this returns. `certificate` (DER, for the harness's key) is the one for plain TLS."""
        context = self._context(certificate) if self.folder is not None else None
        self._server = _Server(over=self._over, context=context)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._over.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _context(self, certificate: bytes) -> ssl.SSLContext:
        plain = self._context_for(certificate, "plain", protocols=["http/1.1"])
        by_name = {
            name: self._context_for(der, name, protocols=["acme-tls/1"]) for name, der in self.alpn.items()
        }

        def choose(
            secured: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext
        ) -> None:
            secured.context = by_name.get(name or "", plain)

        plain.sni_callback = choose
        return plain

    def _context_for(self, der: bytes, name: str, *, protocols: list[str]) -> ssl.SSLContext:
        assert self.folder is not None
        path = self.folder / f"{name}.pem"
        key = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        context.set_alpn_protocols(protocols)
        return context
