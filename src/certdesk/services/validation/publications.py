"""What somebody has to publish to prove a domain, word by word: where, what kind, what value. Pure text.

The places are those where the validation methods look. Random values are shown again and never stored: they
are derived from a nonce, bound to what they are for. The key is the service's secret key; a former one still
derives what it derived, and the digest in the store says which key it was.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass

from django.conf import settings

from certdesk.dcv import dns
from certdesk.dcv.http.file import file_url
from certdesk.dcv.persist import record
from certdesk.domain.errors import InvariantViolated
from certdesk.domain.names.identifiers import url_host
from certdesk.domain.validation.evidence import Method

NONCE_BYTES = 32
_PURPOSE = "certdesk.validation"


def new_nonce() -> str:
    """256 random bits, in hex."""
    return secrets.token_hex(NONCE_BYTES)


def new_value(*, nonce: str, domain_id: int, adn: str, method: Method) -> str:
    """The value for a new challenge: 256 bits as 52 small letters and digits, as a DNS label can hold."""
    return _derive(settings.SECRET_KEY, "value", nonce, str(domain_id), adn, method.value)


def value_again(*, nonce: str, digest: str, domain_id: int, adn: str, method: Method) -> str:
    """The value that was made before, found by its SHA-256.

    Raises InvariantViolated when no key of ours makes it any more.
    """
    for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        value = _derive(key, "value", nonce, str(domain_id), adn, method.value)
        if hmac.compare_digest(digest_of(value), digest):
            return value
    raise InvariantViolated("the key that a challenge was derived with is gone")


def public_token(nonce: str) -> str:
    """A file's name for a challenge. It tells nothing of the value, which may not stand in the request for
    the file (BR 3.2.2.4.18).
    """
    return hashlib.sha256(f"{_PURPOSE}.token\n{nonce}".encode()).hexdigest()[:32]


def digest_of(value: str) -> str:
    """What the store keeps of a value: SHA-256, hex."""
    return hashlib.sha256(value.encode()).hexdigest()


def _derive(key: str, *parts: str) -> str:
    message = "\n".join((_PURPOSE, *parts)).encode()
    raw = hmac.new(key.encode(), message, hashlib.sha256).digest()
    return base64.b32encode(raw).decode().rstrip("=").lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsRecord:
    """A record to add to a zone; `line` is it in a zone file."""

    name: str
    kind: str
    value: str

    @property
    def line(self) -> str:
        """The record as BIND, Knot and NSD read it."""
        value = self.value
        if self.kind != "CNAME":  # character-strings of at most 255 octets (RFC 1035 3.3.14)
            parts = [value[i : i + 255] for i in range(0, len(value), 255)]
            value = " ".join('"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"' for part in parts)
        return f"{self.name}. 300 IN {self.kind} {value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebFile:
    """A file to put onto a web server: plain text, exactly this content."""

    url: str
    path: str
    content: str


Publication = DnsRecord | WebFile


def publication(*, method: Method, adn: str, value: str, token: str, issuer: str) -> Publication:
    """What proves control of the ADN by a random value. Raises InvariantViolated for another method."""
    match method:
        case Method.DNS_TXT:
            return DnsRecord(name=f"{dns.LABEL}.{adn}", kind="TXT", value=value)
        case Method.DNS_CNAME:
            target = cname_target(value=value, issuer=issuer)
            return DnsRecord(name=f"{dns.LABEL}.{adn}", kind="CNAME", value=f"{target}.")
        case Method.HTTP_FILE:
            url = file_url(adn, token)
            return WebFile(url=url, path=url.removeprefix(f"http://{url_host(adn)}"), content=value)
        case _:
            raise InvariantViolated(f"nothing is published for {method}")


def expected_value(*, method: Method, value: str, issuer: str) -> str:
    """What a validator has to find: the value itself, or the name that a CNAME leads to."""
    return cname_target(value=value, issuer=issuer) if method is Method.DNS_CNAME else value


def cname_target(*, value: str, issuer: str) -> str:
    """The name that a CNAME has to lead to; it need not exist."""
    return f"{value}.{issuer}"


def persistent_record(*, adn: str, issuer: str, account_uri: str, wildcard: bool) -> DnsRecord:
    """The record that stays in place and names our CA and the organisation's account (BR 3.2.2.4.22)."""
    value = record.record_value(issuer=issuer, account_uri=account_uri, wildcard=wildcard)
    return DnsRecord(name=f"{record.LABEL}.{adn}", kind="TXT", value=value)
