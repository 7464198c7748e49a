"""What somebody has to publish to prove a domain, word by word: where, what kind, what value. Pure text.

The places are those where the validation methods look.
"""

from dataclasses import dataclass

from certdesk.dcv import dns
from certdesk.dcv.http.file import file_url
from certdesk.dcv.persist import record
from certdesk.domain.errors import InvariantViolated
from certdesk.domain.evidence import Method
from certdesk.domain.identifiers import url_host


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
