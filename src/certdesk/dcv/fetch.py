"""The one way to fetch from the outside (A11): resolve, refuse private ranges, pin, re-check redirects.

No cookies, no credentials, no proxies, nothing from the environment. What a response proves is for the
method to say. Sources: BR 3.2.2.4.18 to .20, RFC 8555 8.3, RFC 8737 3.
"""

import ipaddress
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol

import h11
import httpx2

from certdesk.dcv.addresses import AddressPolicy
from certdesk.dcv.connect import Connection, Deadline, connect, unverified_context
from certdesk.dcv.resolver import Resolver
from certdesk.domain.names.identifiers import is_ip_address


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A response: status, body cut at the limit, the address it came from, and the redirects followed."""

    status: int
    body: bytes
    truncated: bool
    address: str
    redirects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFetched:
    """Why there is no response: a stable code such as `fetch.private_address`, and a detail.

    `address` is the one that was refused or failed, for the evidence: a person is told no internal address.
    `retry` says that the same fetch may succeed later by itself.
    """

    code: str
    detail: str
    redirects: tuple[str, ...] = ()
    address: str = ""
    retry: bool = False


class Fetcher(Protocol):
    """Fetches by GET over HTTP(S), ports 80 and 443 alone, at most 10 redirects and 4 KB in 20 s (V4)."""

    def get(self, url: str, *, ip_address: str = "") -> Fetched | NotFetched:
        """What is there. Never raises for what the peer or the network does.

        `ip_address` is the one address that the first URL may have for its host: the one whose own control
        is to be shown (RFC 8738). No redirect leads to an address.
        """

    def connect_tls_alpn(self, host: str) -> bytes | NotFetched:
        """The certificate (DER) that port 443 shows for ALPN `acme-tls/1` and SNI `host` (RFC 8737).

        The SNI of an IP address is its name in the reverse zones (RFC 8738 6).
        """


#: Of the BR's Authorized Ports the two that speak HTTP(S).
HTTP, HTTPS = 80, 443
ALPN_ACME = "acme-tls/1"
#: The redirects that BR 3.2.2.4.18 and .19 allow; any other status is the answer.
_FOLLOWED = frozenset({301, 302, 307, 308})
_DEFAULT_PORTS = {"http": HTTP, "https": HTTPS}


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchConfig:
    """The limits (V4), the networks allowed besides the global ones, and where the two ports really are.

    `ports` maps 80 and 443 to the ports to connect to; laboratories and unprivileged tests change it.
    """

    addresses: AddressPolicy = field(default_factory=AddressPolicy)
    ports: Mapping[int, int] = field(default_factory=lambda: MappingProxyType({HTTP: HTTP, HTTPS: HTTPS}))
    total_seconds: float = 20.0
    connect_seconds: float = 5.0
    max_redirects: int = 10
    max_body: int = 4096
    user_agent: str = "Certdesk domain validation"


#: One URL, taken apart once, with its host and port: what is judged is what is connected to.
_Target = tuple[httpx2.URL, str, int]


class SafeFetcher:
    """The Fetcher for everybody. Safe to share among threads: each call has connections of its own."""

    def __init__(
        self, config: FetchConfig, resolver: Resolver, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config
        self._resolver = resolver
        self._monotonic = monotonic

    def get(self, url: str, *, ip_address: str = "") -> Fetched | NotFetched:
        """What is there, after the redirects that lead to it; each is judged like the first URL."""
        deadline = self._deadline()
        redirects: tuple[str, ...] = ()
        base: httpx2.URL | None = None
        while True:
            target = _target(base, url, ip_address="" if redirects else ip_address)
            if isinstance(target, NotFetched):
                return replace(target, redirects=redirects)
            (at, host, port), context = target, None
            if at.scheme == "https":
                context = unverified_context()
                context.set_alpn_protocols(["http/1.1"])
            connection = self._connected(host, port, context, host, deadline)
            if isinstance(connection, NotFetched):
                return replace(connection, redirects=redirects)
            with connection:
                response, location = self._response(at, host, connection)
            if not location:
                return replace(response, redirects=redirects)
            if len(redirects) == self._config.max_redirects:
                told = f"There are more than {self._config.max_redirects} redirects one after the other."
                return NotFetched(code="fetch.redirects", detail=told, redirects=redirects)
            base, url = at, location
            redirects += (_shown(url),)

    def connect_tls_alpn(self, host: str) -> bytes | NotFetched:
        """The certificate that answers an RFC 8737 validation: one connection, nothing sent over it."""
        context = unverified_context()
        context.set_alpn_protocols([ALPN_ACME])
        name = ipaddress.ip_address(host).reverse_pointer if is_ip_address(host) else host
        connection = self._connected(host, HTTPS, context, name, self._deadline())
        if isinstance(connection, NotFetched):
            return connection
        with connection:
            chosen, shown = connection.protocol, connection.certificate
        if chosen != ALPN_ACME or not shown:
            told = f"Port {HTTPS} does not speak the protocol {ALPN_ACME} for this name (RFC 8737)."
            return NotFetched(code="fetch.alpn", detail=told, address=connection.address)
        return shown

    def _deadline(self) -> Deadline:
        return Deadline.after(self._config.total_seconds, monotonic=self._monotonic)

    def _addresses(self, host: str, deadline: Deadline) -> tuple[str, ...] | NotFetched:
        """All addresses of the name, if all may be contacted: one that may not makes the name suspect.

        An address is its own only one, and may be contacted or not like any other.
        """
        if is_ip_address(host):
            return (host,) if self._config.addresses.permits(host) else _not_public(host, host)
        found: list[str] = []
        for kind in ("AAAA", "A"):
            answer = self._resolver.lookup(host, kind)
            if not answer.status.answered:
                fault = answer.status.value
                told = f"The address of {host} can't be looked up ({fault})."
                return NotFetched(code=f"fetch.dns.{fault}", detail=told, retry=answer.status.passing)
            found += answer.values
        if not found:
            told = f"{host} has no address in the DNS (neither A nor AAAA)."
            return NotFetched(code="fetch.no_address", detail=told, retry=True)
        for address in found:
            if not self._config.addresses.permits(address):
                return _not_public(f"{host} points to an address that", address)
        return tuple(found) if deadline.left > 0 else _timed_out()

    def _connected(
        self, host: str, port: int, context: ssl.SSLContext | None, server_name: str, deadline: Deadline
    ) -> Connection | NotFetched:
        """A connection to one of the name's addresses, after the TLS handshake where there is a context."""
        addresses = self._addresses(host, deadline)
        if isinstance(addresses, NotFetched):
            return addresses
        try:
            connection = connect(
                addresses, self._config.ports[port], deadline=deadline, seconds=self._config.connect_seconds
            )
        except OSError as error:
            last = _timed_out(addresses[-1])
            if not deadline.left:
                return last
            if isinstance(error, TimeoutError):
                return replace(last, code="fetch.connect_timeout")
            told = f"No connection to port {port}. Is the server up, and open to us in its firewall?"
            return replace(last, code="fetch.connect", detail=told)
        try:
            if context is not None:
                connection.start_tls(context, server_name)
        except TimeoutError:
            return _timed_out(connection.address)
        except (OSError, ValueError) as error:
            told = f"The server and we could not agree on TLS ({type(error).__name__})."
            return NotFetched(code="fetch.tls", detail=told, address=connection.address)
        return connection

    def _response(
        self, url: httpx2.URL, host: str, connection: Connection
    ) -> tuple[Fetched | NotFetched, str]:
        """One request's response, cut at the limit, and where it points to if it is to be followed."""
        http = h11.Connection(h11.CLIENT)
        headers = [
            (b"Host", url.netloc),
            (b"User-Agent", self._config.user_agent.encode("ascii")),
            (b"Accept", b"*/*"),
            (b"Accept-Encoding", b"identity"),
            (b"Connection", b"close"),
        ]
        head, body = None, b""
        try:
            request = http.send(h11.Request(method="GET", target=url.raw_path, headers=headers))
            connection.send((request or b"") + (http.send(h11.EndOfMessage()) or b""))
            while len(body) <= self._config.max_body:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    http.receive_data(connection.receive())
                elif isinstance(event, h11.Response):
                    head = event
                elif isinstance(event, h11.Data):
                    body += event.data
                elif not isinstance(event, h11.InformationalResponse):
                    break
        except TimeoutError:
            return _timed_out(connection.address), ""
        except (OSError, h11.ProtocolError) as error:
            return _no_http(error, host, connection.address), ""
        if head is None:
            return _no_http(EOFError(), host, connection.address), ""
        locations = [value for name, value in head.headers if name == b"location"]
        follows = head.status_code in _FOLLOWED and len(locations) == 1
        response = Fetched(
            status=head.status_code,
            body=body[: self._config.max_body],
            truncated=len(body) > self._config.max_body,
            address=connection.address,
        )
        return response, locations[0].decode("latin-1") if follows else ""


def _target(base: httpx2.URL | None, url: str, *, ip_address: str) -> _Target | NotFetched:
    """The URL, if it may be fetched: http or https, ports 80 and 443, a name, no credentials.

    No address either, but for the one that is given.
    """
    try:
        parsed = httpx2.URL(url) if base is None else base.join(url)
        host = parsed.raw_host.decode("ascii").removesuffix(".")
    except (httpx2.InvalidURL, ValueError):
        return NotFetched(code="fetch.url", detail=f"This is not a URL that can be fetched: {_shown(url)}")
    port = parsed.port or _DEFAULT_PORTS.get(parsed.scheme, 0)
    if parsed.scheme not in _DEFAULT_PORTS or not host:
        return NotFetched(code="fetch.scheme", detail=f"Only http and https are followed, not {_shown(url)}")
    if port not in (HTTP, HTTPS):
        told = f"Only ports {HTTP} and {HTTPS} are contacted, not {port}."
        return NotFetched(code="fetch.port", detail=told)
    if parsed.userinfo:
        return NotFetched(code="fetch.credentials", detail="A URL with a user name in it is not followed.")
    if is_ip_address(host.strip("[]")) and host != ip_address:
        told = "A URL with an IP address instead of a name is not followed."
        return NotFetched(code="fetch.ip_literal", detail=told)
    return parsed, host, port


def _not_public(what: str, address: str) -> NotFetched:
    told = f"{what} is not on the public Internet."
    return NotFetched(code="fetch.private_address", detail=told, address=address)


def _shown(url: str) -> str:
    """A peer's URL for people and evidence: printable, cut short."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in url)[:500]


def _timed_out(address: str = "") -> NotFetched:
    return NotFetched(
        code="fetch.timeout", detail="The server did not answer in time.", address=address, retry=True
    )


def _no_http(error: Exception, host: str, address: str) -> NotFetched:
    told = f"What {host} answers is not HTTP, or ends too early ({type(error).__name__})."
    return NotFetched(code="fetch.protocol", detail=told, address=address, retry=True)
