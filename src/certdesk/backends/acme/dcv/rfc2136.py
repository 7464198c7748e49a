"""Records added and removed by dynamic update (RFC 2136), signed with TSIG (RFC 8945)."""

import base64
from dataclasses import dataclass, field
from pathlib import Path

import dns.exception
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.update

from certdesk.backends.acme.dcv.lookup import Address, Lookup
from certdesk.backends.acme.reading import secret_file
from certdesk.domain.errors import Misconfigured, Unavailable

_NOT_ITS_ZONE = "The server doesn't have this zone. Send updates to the primary server of the zone."
#: What a server means with its answer, and what to do about it.
_REFUSALS = {
    dns.rcode.REFUSED: "The server refuses the update: bind says so when the key may not change this name or "
    "type, and when the zone takes no updates. Grant the key the TXT records of this name.",
    dns.rcode.NOTAUTH: _NOT_ITS_ZONE,
    dns.rcode.NOTZONE: "The name doesn't lie in the zone. Leave zone out, or add a CNAME that leads into it.",
    dns.rcode.NOTIMP: "The server doesn't take dynamic updates.",
}
_BAD_KEY = (
    "The server doesn't accept the key: its name or algorithm is another one there, or (that is how knot "
    "says it) the key may not change this name or type."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rfc2136:
    """Updates at one server. Without `zone` the zone is looked up. `key_file` holds the secret, base64."""

    server: Address
    key_name: str
    key_file: Path = field(repr=False)
    key_algorithm: str = "hmac-sha256"
    zone: str = ""
    ttl: int = 60
    lookup: Lookup = field(default_factory=Lookup, repr=False)

    def __post_init__(self) -> None:
        """Raises Misconfigured for an unknown TSIG algorithm, and for a key or zone that is no name."""
        try:
            algorithm = dns.name.from_text(self.key_algorithm)
            for name in (self.key_name, self.zone):
                dns.name.from_text(name)
        except dns.exception.DNSException as error:
            raise Misconfigured(f"{self.title}: a name in its settings is none: {error}") from error
        if algorithm not in dns.tsig.mac_sizes:
            known = ", ".join(sorted(one.to_text(omit_final_dot=True) for one in dns.tsig.mac_sizes))
            raise Misconfigured(f"There is no TSIG algorithm {self.key_algorithm}. Use one of: {known}.")

    @property
    def title(self) -> str:
        host, port = self.server
        return f"RFC 2136 at {host} port {port}"

    def add(self, name: dns.name.Name, value: str) -> None:
        update = self._update(name)
        update.add(name, self.ttl, dns.rdatatype.TXT, f'"{value}"')
        self._send(update, name)

    def remove(self, name: dns.name.Name, value: str) -> None:
        update = self._update(name)
        update.delete(name, dns.rdatatype.TXT, f'"{value}"')
        self._send(update, name)

    def _update(self, name: dns.name.Name) -> dns.update.UpdateMessage:
        zone = dns.name.from_text(self.zone) if self.zone else self.lookup.zone(name)
        if not name.is_subdomain(zone):
            told = f"{name.to_text(omit_final_dot=True)} doesn't lie in the zone {self.zone}."
            raise Misconfigured(f"{told} Add a CNAME there that leads to a name in the zone.")
        secret = secret_file(self.key_file, what=f"The TSIG key {self.key_name}")
        try:
            base64.b64decode(secret, validate=True)  # dnspython skips what is none
            key = dns.tsig.Key(dns.name.from_text(self.key_name), secret, self.key_algorithm)
        except ValueError as error:
            raise Misconfigured(f"The TSIG key in {self.key_file} is not base64: {error}") from error
        return dns.update.UpdateMessage(zone, keyring=key)

    def _send(self, update: dns.update.UpdateMessage, name: dns.name.Name) -> None:
        host, port = self.server
        where = f"{self.title} can't change {name.to_text(omit_final_dot=True)}"
        try:
            answer = dns.query.tcp(update, host, timeout=self.lookup.seconds, port=port)
        except dns.tsig.PeerBadKey as error:
            raise Misconfigured(f"{where}. {_BAD_KEY}") from error
        except dns.tsig.PeerBadSignature as error:
            raise Misconfigured(f"{where}. The server has another secret for this key.") from error
        except dns.tsig.PeerBadTime as error:
            raise Misconfigured(f"{where}. Its clock and ours differ by more than five minutes.") from error
        except dns.exception.FormError as error:  # knot does so for a zone that it doesn't have
            raise Misconfigured(f"{where}. Its answer is not signed with the key. {_NOT_ITS_ZONE}") from error
        except (dns.exception.DNSException, OSError, EOFError) as error:
            told = str(error) or type(error).__name__
            raise Unavailable(f"{where}: no answer ({told}).") from error
        rcode = answer.rcode()
        if rcode in _REFUSALS:
            raise Misconfigured(f"{where} ({dns.rcode.to_text(rcode)}). {_REFUSALS[rcode]}")
        if rcode != dns.rcode.NOERROR:
            raise Unavailable(f"{where}: it answers {dns.rcode.to_text(rcode)}.")
