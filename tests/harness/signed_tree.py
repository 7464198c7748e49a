"""A tree of zones from the root down, signed rightly or wrongly on purpose: the chain of trust to walk.

Children first: each zone's DS record goes into its parent. Denials by NSEC are dnspython's; those by NSEC3
are made here, and that unbound believes them is what shows that they are right.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import dns.dnssec
import dns.name
import dns.rdata
import dns.rdataset
import dns.rrset
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from dns.dnssec import PrivateKey
from dns.dnssectypes import Algorithm, DSDigest
from dns.rdatatype import RdataType
from dns.rdtypes.ANY.DNSKEY import DNSKEY
from dns.rdtypes.ANY.NSEC3 import OPTOUT

from tests.harness.nameserver import Zone

_DAY = 86400
_KSK = 257
_SOA = "@ IN SOA ns.{0} hostmaster.{0} 1 3600 600 86400 60\n@ IN NS ns.{0}\nns IN A 127.0.0.1\n"
_MAKE_KEY: dict[Algorithm, Callable[[], PrivateKey]] = {
    Algorithm.RSASHA256: partial(rsa.generate_private_key, 65537, 2048),
    Algorithm.RSASHA512: partial(rsa.generate_private_key, 65537, 2048),
    Algorithm.ECDSAP256SHA256: partial(ec.generate_private_key, ec.SECP256R1()),
    Algorithm.ECDSAP384SHA384: partial(ec.generate_private_key, ec.SECP384R1()),
    Algorithm.ED25519: ed25519.Ed25519PrivateKey.generate,
    Algorithm.ED448: ed448.Ed448PrivateKey.generate,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashed:
    """Denials by NSEC3: further iterations, and whether insecure delegations are left out."""

    iterations: int = 0
    opt_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeZone:
    """A zone below the root: its lines, and what is right or wrong with its signatures.

    `valid_days` are counted from now. `ds` replaces the DS record in the parent, in presentation form; `-`
    leaves it out. `forged` lines replace signed ones, `hidden` names lose their records, after signing.
    """

    name: str
    lines: str = ""
    signed: bool = True
    algorithm: Algorithm = Algorithm.ECDSAP256SHA256
    hashed: Hashed | None = None
    valid_days: tuple[float, float] = (-1, 2)
    ds: str = ""
    forged: str = ""
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Key:
    private: PrivateKey
    public: DNSKEY


def sign_tree(zones: tuple[TreeZone, ...]) -> tuple[Zone, ...]:
    """The zones and the root above them as name servers load them; the root's has the trust anchor."""
    made: list[Zone] = []
    delegations: dict[dns.name.Name, str] = {}
    everything = (TreeZone(name=""), *zones)
    for zone in sorted(everything, key=lambda one: -len(_absolute(one.name))):
        apex = _absolute(zone.name)
        below = "".join(text for child, text in delegations.items() if _parent(child, everything) == apex)
        text, ds = _sign(zone, below)
        delegations[apex] = f"{apex} IN NS ns.{apex}\nns.{apex} IN A 127.0.0.1\n" + (
            f"{apex} IN DS {zone.ds or ds}\n" if (zone.ds or ds) not in ("", "-") else ""
        )
        made.append(Zone(name=zone.name, ready=text, anchor="" if zone.name else f". DS {ds}"))
    return tuple(reversed(made))


def _absolute(name: str) -> dns.name.Name:
    return dns.name.from_text(name, dns.name.root)


def _parent(child: dns.name.Name, zones: tuple[TreeZone, ...]) -> dns.name.Name:
    names = [_absolute(zone.name) for zone in zones]
    return max((name for name in names if child.is_subdomain(name) and child != name), key=len)


def _sign(zone: TreeZone, delegations: str) -> tuple[str, str]:
    """The zone file, and the DS record for its parent; empty for an unsigned zone."""
    apex = _absolute(zone.name)
    parsed = _parse(apex, _SOA.format("" if apex == dns.name.root else apex) + zone.lines + delegations)
    if not zone.signed:
        return parsed.to_text(relativize=False), ""
    private = _MAKE_KEY[zone.algorithm]()
    key = _Key(private, dns.dnssec.make_dnskey(private.public_key(), zone.algorithm, flags=_KSK))
    begin, end = (int(time.time() + days * _DAY) for days in zone.valid_days)
    if zone.hashed is None:
        keys = [(key.private, key.public)]
        dns.dnssec.sign_zone(parsed, keys=keys, inception=begin, expiration=end, dnskey_ttl=60)
    else:
        _sign_hashed(parsed, key, zone.hashed, begin, end)
    if zone.forged:
        for name, rdataset in _parse(apex, zone.forged, whole=False).iterate_rdatasets():
            parsed.replace_rdataset(name, rdataset)
    for hidden in zone.hidden:
        parsed.delete_rdataset(dns.name.from_text(hidden, apex), RdataType.TXT)
    return parsed.to_text(relativize=False), dns.dnssec.make_ds(apex, key.public, DSDigest.SHA256).to_text()


def _parse(apex: dns.name.Name, lines: str, *, whole: bool = True) -> dns.zone.Zone:
    return dns.zone.from_text("$TTL 60\n" + lines, origin=apex, relativize=False, check_origin=whole)


def _sign_hashed(zone: dns.zone.Zone, key: _Key, hashed: Hashed, begin: int, end: int) -> None:
    """RFC 5155 section 7.1, without salt."""
    assert zone.origin is not None
    apex = zone.origin
    zone.find_rdataset(apex, RdataType.DNSKEY, create=True).add(key.public, 60)
    parameters = dns.rdata.from_text("IN", "NSEC3PARAM", f"1 0 {hashed.iterations} -")
    zone.find_rdataset(apex, RdataType.NSEC3PARAM, create=True).add(parameters, 60)
    bitmaps: dict[dns.name.Name, set[RdataType]] = {}
    for name, types, own in _authoritative(zone):
        signed = types if own else types & {RdataType.DS}
        if not own and not signed and hashed.opt_out:
            continue
        bitmaps[name] = types | ({RdataType.RRSIG} if signed else set())
        for rdtype in signed:
            _add_signature(zone, name, zone.find_rdataset(name, rdtype), key, begin, end)
        for depth in range(len(apex), len(name)):  # names that only lead to others
            bitmaps.setdefault(name.split(depth)[1], set())
    flags = OPTOUT if hashed.opt_out else 0
    labels = sorted((dns.dnssec.nsec3_hash(name, b"", hashed.iterations, 1), name) for name in bitmaps)
    for (label, name), (after, _) in zip(labels, labels[1:] + labels[:1], strict=True):
        bitmap = " ".join(one.name for one in sorted(bitmaps[name]))
        record = dns.rdata.from_text("IN", "NSEC3", f"1 {flags} {hashed.iterations} - {after} {bitmap}")
        owner = dns.name.from_text(label, apex)
        rdataset = dns.rdataset.from_rdata(60, record)
        zone.replace_rdataset(owner, rdataset)
        _add_signature(zone, owner, rdataset, key, begin, end)


def _authoritative(zone: dns.zone.Zone) -> Iterator[tuple[dns.name.Name, set[RdataType], bool]]:
    """Each name with its types, and whether they are the zone's own rather than a delegation; no glue."""
    cut: dns.name.Name | None = None
    for name in sorted(zone.nodes):
        if cut is not None and name.is_subdomain(cut) and name != cut:
            continue
        types = {rdataset.rdtype for rdataset in zone.nodes[name]}
        own = RdataType.NS not in types or name == zone.origin
        cut = None if own else name
        yield name, types if own else types & {RdataType.NS, RdataType.DS}, own


def _add_signature(
    zone: dns.zone.Zone, name: dns.name.Name, covered: dns.rdataset.Rdataset, key: _Key, begin: int, end: int
) -> None:
    assert zone.origin is not None
    rrset = dns.rrset.from_rdata_list(name, 60, list(covered))
    signature = dns.dnssec.sign(
        rrset,
        key.private,
        zone.origin,
        key.public,
        inception=begin,
        expiration=end,
    )
    zone.find_rdataset(name, RdataType.RRSIG, covered.rdtype, create=True).add(signature, 60)
