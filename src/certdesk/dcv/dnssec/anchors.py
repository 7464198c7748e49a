"""Trust anchors: DS records that are believed because the configuration or IANA says so (RFC 4033)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from dns.rdtypes.ANY.DS import DS

from certdesk.dcv.dnssec.signatures import supported_ds

#: The root's keys KSK-2017 and KSK-2024, as IANA publishes them (data.iana.org/root-anchors, RFC 9718).
IANA_ROOT = (
    ". DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D",
    ". DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16",
)


@dataclass(frozen=True, slots=True)
class TrustAnchors:
    """Where chains of trust begin: DS records by zone."""

    by_zone: Mapping[dns.name.Name, tuple[DS, ...]]

    @classmethod
    def parse(cls, lines: Iterable[str]) -> "TrustAnchors":
        """From DS records as zone files have them, without TTL: `example.org. DS 12345 13 2 ABCD…`.

        Raises: ValueError for what is no DS record, or has an algorithm or digest that is not supported.
        """
        found: dict[dns.name.Name, tuple[DS, ...]] = {}
        for line in lines:
            zone, anchor = _parse(line)
            found[zone] = (*found.get(zone, ()), anchor)
        if not found:
            raise ValueError("there is no trust anchor")
        return cls(found)

    def above(self, name: dns.name.Name) -> dns.name.Name | None:
        """The closest zone with an anchor that the name is in, itself included."""
        return max((zone for zone in self.by_zone if name.is_subdomain(zone)), key=len, default=None)


def _parse(line: str) -> tuple[dns.name.Name, DS]:
    owner, _, rest = line.strip().partition(" ")
    kind, _, value = rest.strip().removeprefix("IN ").strip().partition(" ")
    if kind.upper() != "DS":
        raise ValueError(f"{line[:80]!r} is no DS record")
    try:
        zone = dns.name.from_text(owner, dns.name.root)
        anchor = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.DS, value)
    except (dns.exception.DNSException, ValueError) as error:
        raise ValueError(f"{line[:80]!r} is no trust anchor ({error})") from error
    if not isinstance(anchor, DS) or not supported_ds(anchor):
        raise ValueError(f"{line[:80]!r} has an algorithm or digest that can't be validated")
    return zone, anchor
