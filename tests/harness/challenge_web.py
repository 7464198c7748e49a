"""A web server on the loopback address that shows http-01's key authorizations, and nothing else."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from certdesk.dcv.http import acme_url


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, str] = {}
        self.hosts: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.hosts.append(self.headers["Host"])
        content = self.server.files.get(self.path)
        self.send_response(404 if content is None else 200)
        self.end_headers()
        self.wfile.write((content or "").encode())

    def log_message(self, *_args: object) -> None:
        """Keep silent."""


class ChallengeWeb:
    """Listens from its `with` on; `hosts` are the Host headers that came."""

    def __init__(self) -> None:
        self._server = _Server()

    @property
    def port(self) -> int:
        port: int = self._server.server_address[1]
        return port

    @property
    def hosts(self) -> list[str]:
        return self._server.hosts

    def show(self, key_authorization: str) -> None:
        """Put the file of this key authorization in its place."""
        token = key_authorization.partition(".")[0]
        self._server.files[acme_url("", token).removeprefix("http://")] = key_authorization

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
