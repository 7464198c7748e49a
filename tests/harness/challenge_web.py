"""A web server on the loopback address that shows http-01's key authorizations, and nothing else."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from certdesk.dcv.http import acme_url
from tests.harness.served import Quiet


class _Handler(Quiet, BaseHTTPRequestHandler):
    server: "ChallengeWeb"

    def do_GET(self) -> None:
        self.server.hosts.append(self.headers["Host"])
        content = self.server.files.get(self.path)
        self.send_response(404 if content is None else 200)
        self.end_headers()
        self.wfile.write((content or "").encode())


class ChallengeWeb(ThreadingHTTPServer):
    """`hosts` are the Host headers that came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, str] = {}
        self.hosts: list[str] = []

    def show(self, key_authorization: str) -> None:
        """Put the file of this key authorization in its place."""
        token = key_authorization.partition(".")[0]
        self.files[acme_url("", token).removeprefix("http://")] = key_authorization
