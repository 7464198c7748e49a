"""One HTTP exchange with a CA, within a time and a size. What an answer means is for others to say.

No redirects, no proxies, nothing from the environment. No header or body stands in an error.
"""

import json
import ssl
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpcore2
import httpx2

from certdesk.domain.errors import BackendError, Misconfigured, OutcomeUnknown, Unavailable

#: Octets of an answer, unless more are expected.
MAX_ANSWER = 1 << 20
_MAX_TOLD = 300
#: An idle connection is not used again after this: the server may be closing it.
_KEPT_SECONDS = 5.0
#: The monotonic time at which the exchange that this thread is in has to be over.
_UNTIL: ContextVar[float] = ContextVar("until")
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. Names of headers are in small letters."""

    status: int
    content: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_good(self) -> bool:
        return httpx2.codes.is_success(self.status)

    @property
    def data(self) -> object:
        """The JSON in it; an empty object for an empty body, None where there is something else."""
        try:
            return json.loads(self.content) if self.content.strip() else {}
        except (ValueError, RecursionError):
            return None

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")


class _Stream(httpcore2.NetworkStream):
    """A connection on which nothing is awaited after the exchange's end.

    A peer that drips a byte now and then begins each ordinary time-out anew, that of the headers too.
    """

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = _UNTIL.get() - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("it takes too long")
        return self._stream.read(max_bytes, left if timeout is None else min(left, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


class _Network(httpcore2.SyncBackend):
    def connect_tcp(self, *args: Any, **options: Any) -> httpcore2.NetworkStream:
        return _Stream(super().connect_tcp(*args, **options))


class _Transport(httpx2.HTTPTransport):
    def __init__(self, tls: ssl.SSLContext, *, connections: int) -> None:
        super().__init__(verify=tls, trust_env=False)
        self._pool.close()
        self._pool = httpcore2.ConnectionPool(
            ssl_context=tls,
            max_connections=connections,
            keepalive_expiry=_KEPT_SECONDS,
            network_backend=_Network(),
        )


class Exchanges:
    """Exchanges with one server. Safe to share between threads.

    With `auth` each has a connection of its own: some ways to sign in are for a connection (RFC 4559).
    """

    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        ca_file: Path | None,
        connect_seconds: float,
        auth: httpx2.Auth | None = None,
    ) -> None:
        """Raises Misconfigured when the file of CAs can't be used."""
        self._name, self._base_url, self._auth = name, base_url, auth
        self._connect_seconds = connect_seconds
        try:
            self._tls = ssl.create_default_context(cafile=ca_file)  # without one: those of the host
        except (OSError, ssl.SSLError) as error:
            told = f"Back end {name}: ca_file {ca_file} can't be used: {error}."
            raise Misconfigured(told) from error
        self._client = self._new_client(connections=100)
        weakref.finalize(self, self._client.close)  # back ends are dropped, never closed

    def exchange(
        self,
        method: str,
        path: str,
        *,
        until: float,
        acting: bool,
        headers: Mapping[str, str],
        most: int = MAX_ANSWER,
        **content: Any,
    ) -> Reply:
        """Whatever the server answers, of any status, before the monotonic time `until`.

        `content` is httpx2's: params, json, data, files. `acting` says that the server may change something.

        Raises: Unavailable when nothing reached it, or nothing was to change; OutcomeUnknown when its answer
        is lost.
        """
        left = until - time.monotonic()
        if left <= 0:
            raise Unavailable(f"{self._name} took too long to answer.")
        timeout = httpx2.Timeout(left, connect=min(left, self._connect_seconds))
        raw = bytearray()
        _UNTIL.set(until)
        try:
            with (
                self._usable_client() as client,
                client.stream(
                    method,
                    path,
                    headers={"Accept-Encoding": "identity", **headers},
                    timeout=timeout,
                    **content,
                ) as response,
            ):
                for chunk in response.iter_raw():
                    raw += chunk
                    if len(raw) > most or time.monotonic() > until:
                        raise self.lost("its answer is too long or too slow", acting=acting)
                return Reply(response.status_code, bytes(raw), dict(response.headers))
        except _NOT_SENT as error:
            raise Unavailable(f"{self._name} can't be reached: {_reason(error)}.") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as error:
            raise self.lost(f"its answer did not come: {_reason(error)}", acting=acting) from error

    def lost(self, why: str, *, acting: bool) -> BackendError:
        """The error for an answer from which nothing follows."""
        return (OutcomeUnknown if acting else Unavailable)(f"{self._name}: {why}.")

    @contextmanager
    def _usable_client(self) -> Iterator[httpx2.Client]:
        if self._auth is None:
            yield self._client
            return
        with self._new_client(connections=1) as client:
            yield client

    def _new_client(self, *, connections: int) -> httpx2.Client:
        return httpx2.Client(
            base_url=self._base_url,
            transport=_Transport(self._tls, connections=connections),
            auth=self._auth,
            trust_env=False,
            follow_redirects=False,
        )


def read_secret(path: Path, *, name: str, what: str, in_header: bool = True) -> str:
    """The one line in a file, read anew each time. Raises Misconfigured, without what is in it.

    What goes into a header is visible ASCII.
    """
    try:
        found = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise Misconfigured(f"{name}: {path} can't be read: {reason}.") from None
    if not found or not found.isprintable() or (in_header and (not found.isascii() or " " in found)):
        kind = ", in ASCII and without blanks" if in_header else ", in one line"
        raise Misconfigured(f"{name}: {path} has to hold {what} alone{kind}.")
    return found


def _reason(error: Exception) -> str:
    """Why, without addresses or headers: an error's text may be empty."""
    return str(error)[:_MAX_TOLD].rstrip(".") or type(error).__name__
