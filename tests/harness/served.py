"""Servers on the loopback address that the tests run in a thread, and what a TLS server there serves."""

import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from typing import TypeVar

_SECONDS = 5
_Server = TypeVar("_Server", bound=socketserver.BaseServer)


class Quiet:
    """A part of handlers that log nothing."""

    def log_message(self, *_told: object) -> None:
        """Keep silent."""


@contextlib.contextmanager
def answering(server: _Server) -> Iterator[_Server]:
    """Have it answer until the block ends."""
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def served_certificate(port: int, name: str) -> bytes:
    """DER of what is served for a name, whoever issued it; empty while there is none, or no server."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=name) as tls,
        ):
            return tls.getpeercert(binary_form=True) or b""
    except OSError:
        return b""
