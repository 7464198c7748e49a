"""A web server of the tests' own for clients that prove names by a file and have no server themselves."""

import contextlib
import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        """Write nothing: what was fetched is in the portal's evidence."""


@contextlib.contextmanager
def webroot(folder: Path, *, port: int) -> Iterator[Path]:
    """Serve this folder on the loopback; the folder in it where proofs by http-01 belong (RFC 8555 8.3)."""
    challenges = folder / ".well-known" / "acme-challenge"
    challenges.mkdir(parents=True)
    server = ThreadingHTTPServer(("127.0.0.1", port), functools.partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield challenges
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
