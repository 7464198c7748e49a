"""Which addresses may be contacted on behalf of an applicant. Pure; no look-up lives here.

Certdesk stands inside networks that its applicants can't reach, so that it must not be sent there: only
globally reachable unicast addresses are (IANA special-purpose registries, RFC 6890), and an address that
carries another one inside is judged by that one too. Networks that an operator names are allowed besides.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
NetworkRange = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Global by registry, or by this Python's copy of it, and still not a host that anybody serves from.
_NEVER = tuple(
    ipaddress.ip_network(block)
    for block in (
        "192.0.0.0/24",  # protocol assignments, the anycast ones among them (RFC 6890)
        "192.31.196.0/24",  # AS112 (RFC 7535)
        "192.52.193.0/24",  # AMT (RFC 7450)
        "192.88.99.0/24",  # 6to4 relay anycast (RFC 7526)
        "192.175.48.0/24",  # AS112 (RFC 7534)
        "::/8",  # unspecified, loopback, IPv4-compatible, mapped and translated (RFC 4291, 6052)
        "100::/8",  # discard (RFC 6666) and the rest of the block
        "2001::/23",  # protocol assignments: Teredo, ORCHID, … (RFC 2928)
        "2001:db8::/32",  # documentation (RFC 3849)
        "2002::/16",  # 6to4 (RFC 3056)
        "3fff::/20",  # documentation (RFC 9637)
        "5f00::/16",  # segment routing (RFC 9602)
        "fec0::/10",  # site-local (RFC 3879)
    )
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressPolicy:
    """Global unicast addresses, and the networks that the operator allows besides."""

    allowed_networks: tuple[NetworkRange, ...] = ()

    @classmethod
    def allowing(cls, networks: Iterable[str]) -> "AddressPolicy":
        """The policy with further networks such as `10.20.0.0/16`. Raises ValueError for what is none."""
        return cls(allowed_networks=tuple(ipaddress.ip_network(network) for network in networks))

    def permits(self, address: str) -> bool:
        """Whether this address may be contacted; False for what is no address."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.scope_id is not None:
            return False
        if not any(parsed in network for network in self.allowed_networks):
            if parsed.is_multicast or parsed.is_reserved or not parsed.is_global:
                return False
            if any(parsed in network for network in _NEVER):
                return False
        inner = carried_address(address)
        return not inner or self.permits(inner)


def carried_address(address: str) -> str:
    """The IPv4 address inside a mapped, 6to4, Teredo or NAT64 address; else empty."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if not isinstance(parsed, ipaddress.IPv6Address):
        return ""
    inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
    if inner is None and parsed in _NAT64:
        inner = ipaddress.IPv4Address(int(parsed) & 0xFFFF_FFFF)
    return str(inner) if inner is not None else ""
