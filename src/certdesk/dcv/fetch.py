"""The one way to fetch from the outside (A11): resolve, refuse private ranges, pin, re-check redirects."""

from dataclasses import dataclass
from typing import Protocol


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
    """Why there is no response: a stable code such as `fetch.private_address`, and a detail."""

    code: str
    detail: str
    redirects: tuple[str, ...] = ()


class Fetcher(Protocol):
    """Fetches by GET over HTTP(S), ports 80 and 443 alone, at most 10 redirects and 4 KB in 20 s (V4)."""

    def get(self, url: str) -> Fetched | NotFetched:
        """What is there. Never raises for what the peer or the network does."""

    def connect_tls_alpn(self, host: str) -> bytes | NotFetched:
        """The certificate (DER) that port 443 shows for ALPN `acme-tls/1` and SNI `host` (RFC 8737)."""
