"""Connections to addresses that were judged before, within one deadline for everything. No policy lives here.

A peer that drips a byte now and then resets every ordinary time-out; here each wait gets only what is left
of the whole (V4: 20 s).
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

_CHUNK = 65536


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


@dataclass(slots=True, kw_only=True)
class Connection:
    """A connection to one address, each of whose waits ends with the deadline. Closed when it is left.

    Raises OSError (TimeoutError, ssl.SSLError among them) for what the peer or the network does.
    """

    sock: socket.socket
    address: str
    deadline: Deadline
    protocol: str | None = None  # that ALPN has chosen
    certificate: bytes | None = None  # that the peer has shown, DER

    def start_tls(self, context: ssl.SSLContext, server_name: str) -> None:
        """Shakes hands, which as a whole takes no longer than is left; closes the connection if that fails.

        Raises: ValueError for a name that can't be an SNI.
        """
        try:
            self.sock.settimeout(self.deadline.wait(None))
            secured = context.wrap_socket(self.sock, server_hostname=server_name)
        except (OSError, ValueError):
            self.sock.close()
            raise
        self.sock, self.protocol = secured, secured.selected_alpn_protocol()
        self.certificate = secured.getpeercert(binary_form=True)

    def send(self, data: bytes) -> None:
        self.sock.settimeout(self.deadline.wait(None))
        self.sock.sendall(data)

    def receive(self) -> bytes:
        """What has come; empty when nothing more will."""
        self.sock.settimeout(self.deadline.wait(None))
        return self.sock.recv(_CHUNK)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.sock.close()


def connect(addresses: Iterable[str], port: int, *, deadline: Deadline, seconds: float) -> Connection:
    """A connection to the first address that accepts one within so many seconds.

    Raises: OSError (TimeoutError among them) when none does.
    """
    failure: OSError = OSError("no address to connect to")
    for address in addresses:
        # Judged addresses are numbers, which need no resolver.
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.settimeout(deadline.wait(seconds))
            sock.connect((address, port))
        except OSError as error:
            sock.close()
            failure = error
        else:
            return Connection(sock=sock, address=address, deadline=deadline)
    raise failure


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
