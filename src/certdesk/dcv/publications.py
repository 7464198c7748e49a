"""What somebody has to publish for a method, word by word: where, what kind, what value. Pure text.

Validators look in the same places, which are named here once.
"""

from dataclasses import dataclass

from certdesk.domain.errors import InvariantViolated
from certdesk.domain.evidence import Method

#: BR 3.2.2.4.7: at the ADN, or below a label that begins with an underscore.
DNS_LABEL = "_certdesk-challenge"
#: BR 3.2.2.4.18.
FILE_FOLDER = "/.well-known/pki-validation"
#: BR 3.2.2.4.22, draft-ietf-acme-dns-persist.
PERSIST_LABEL = "_validation-persist"


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsRecord:
    """A record to add to a zone; `line` is it in a zone file."""

    name: str
    kind: str
    value: str

    @property
    def line(self) -> str:
        """The record as BIND, Knot and NSD read it."""
        return (
            f"{self.name}. 300 IN {self.kind} {self.value if self.kind == 'CNAME' else _quoted(self.value)}"
        )


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
            return DnsRecord(name=f"{DNS_LABEL}.{adn}", kind="TXT", value=value)
        case Method.DNS_CNAME:
            return DnsRecord(name=f"{DNS_LABEL}.{adn}", kind="CNAME", value=f"{value}.{issuer}.")
        case Method.HTTP_FILE:
            path = f"{FILE_FOLDER}/{token}.txt"
            return WebFile(url=f"http://{adn}{path}", path=path, content=value)
        case _:
            raise InvariantViolated(f"nothing is published for {method}")


def persistent_record(*, adn: str, issuer: str, account_uri: str, wildcard: bool) -> DnsRecord:
    """The record that stays in place and names our CA and the organisation's account (BR 3.2.2.4.22)."""
    policy = "; policy=wildcard" if wildcard else ""
    return DnsRecord(
        name=f"{PERSIST_LABEL}.{adn}", kind="TXT", value=f"{issuer}; accounturi={account_uri}{policy}"
    )


def _quoted(text: str) -> str:
    """Character-strings of at most 255 octets (RFC 1035 3.3.14)."""
    parts = [text[i : i + 255] for i in range(0, len(text), 255)]
    return " ".join('"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"' for part in parts)
