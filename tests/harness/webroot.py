"""A web server of the tests' own for clients that prove names by a file and have no server themselves."""

import contextlib
import functools
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.harness.served import Quiet, answering


class _Files(Quiet, SimpleHTTPRequestHandler):
    """What was fetched is in the portal's evidence."""


@contextlib.contextmanager
def webroot(folder: Path, *, port: int) -> Iterator[Path]:
    """Serve this folder on the loopback; the folder in it where proofs by http-01 belong (RFC 8555 8.3)."""
    challenges = folder / ".well-known" / "acme-challenge"
    challenges.mkdir(parents=True)
    handler = functools.partial(_Files, directory=str(folder))
    with answering(ThreadingHTTPServer(("127.0.0.1", port), handler)):
        yield challenges
