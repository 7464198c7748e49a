"""Connections to addresses that were judged before, within one deadline for everything. No policy lives here.

A peer that drips a byte now and then resets every ordinary time-out; here each wait gets only what is left
of the whole (V4: 20 s).
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import httpcore2


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """A moment of the monotonic clock after which nothing is waited for."""

    at: float
    monotonic: Callable[[], float] = time.monotonic

    @classmethod
    def after(cls, seconds: float, *, monotonic: Callable[[], float] = time.monotonic) -> "Deadline":
        """The deadline so many seconds from now."""
        return cls(at=monotonic() + seconds, monotonic=monotonic)

    @property
    def left(self) -> float:
        """Seconds that are left; 0 when it has passed."""
        return max(0.0, self.at - self.monotonic())

    def wait(self, wanted: float | None) -> float:
        """How long one step may wait. Raises TimeoutError when nothing is left."""
        left = self.left
        if left <= 0:
            raise TimeoutError("the time for this fetch is over")
        return left if wanted is None else min(left, wanted)


class TlsFailed(httpcore2.ConnectError):
    """The peer was reached and could not agree on TLS."""


def connect(
    addresses: Iterable[str], port: int, *, deadline: Deadline, seconds: float
) -> tuple[socket.socket, str]:
    """A connection to the first address that accepts one, and that address.

    Raises: OSError (TimeoutError among them) when none does.
    """
    failure: OSError = OSError("no address to connect to")
    for address in addresses:
        try:
            sock = socket.create_connection((address, port), timeout=deadline.wait(seconds))
        except OSError as error:
            failure = error
        else:
            return sock, address
    raise failure


@dataclass(slots=True, kw_only=True)
class PinnedBackend(httpcore2.NetworkBackend):
    """Connects to these addresses, whatever the host of the URL is called; that stays in SNI and Host."""

    addresses: tuple[str, ...]
    port: int
    deadline: Deadline
    connect_seconds: float
    connected_to: str = field(default="")

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - resolved and judged before
        port: int,  # noqa: ARG002 - mapped before
        timeout: float | None = None,  # noqa: ARG002 - the deadline rules
        local_address: str | None = None,  # noqa: ARG002 - never asked for
        socket_options: Iterable[object] | None = None,  # noqa: ARG002 - never asked for
    ) -> httpcore2.NetworkStream:
        """The connection, as httpcore wants it."""
        try:
            sock, self.connected_to = connect(
                self.addresses, self.port, deadline=self.deadline, seconds=self.connect_seconds
            )
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        return _Stream(sock, self.deadline)


class _Stream(httpcore2.NetworkStream):
    """A socket, plain or TLS, each of whose waits ends with the deadline."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            self._sock.settimeout(self._deadline.wait(timeout))
            return self._sock.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore2.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore2.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            self._sock.settimeout(self._deadline.wait(timeout))
            self._sock.sendall(buffer)
        except TimeoutError as error:
            raise httpcore2.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore2.WriteError(str(error)) from error

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        try:
            secured = handshake(
                self._sock, ssl_context, server_hostname, seconds=self._deadline.wait(timeout)
            )
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(str(error)) from error
        except (OSError, ValueError) as error:
            raise TlsFailed(str(error)) from error
        return _Stream(secured, self._deadline)

    def close(self) -> None:
        self._sock.close()

    def get_extra_info(self, info: str) -> object:
        """The socket's TLS part, which httpcore asks for ALPN; nothing else is told."""
        if info == "ssl_object" and isinstance(self._sock, ssl.SSLSocket):
            return self._sock
        return None


def handshake(
    sock: socket.socket, context: ssl.SSLContext, server_name: str | None, *, seconds: float
) -> ssl.SSLSocket:
    """The socket after the TLS handshake, which as a whole takes at most `seconds`; closed if it fails.

    Raises: OSError (TimeoutError, ssl.SSLError among them), ValueError for a name that can't be an SNI.
    """
    try:
        sock.settimeout(seconds)
        return context.wrap_socket(sock, server_hostname=server_name)
    except (OSError, ValueError):
        sock.close()
        raise


def unverified_context() -> ssl.SSLContext:
    """TLS 1.2 or newer without looking at the certificate.

    Control of a name is about to be proven, often for the first certificate: nothing can be required of
    the one that is there (RFC 8555 8.3, RFC 8737 3).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
