"""One RRset and its signatures under the keys of one zone (RFC 4035 5.3), and what a look-up may cost.

Does not know how keys came to be trusted (`chain`), nor what absent records mean (`denial`).
"""

import itertools
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cryptography.exceptions
import dns.dnssec
import dns.exception
import dns.name
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rrset
from dns.dnssectypes import Algorithm, DSDigest
from dns.rdtypes.ANY.DNSKEY import DNSKEY
from dns.rdtypes.ANY.DS import DS
from dns.rdtypes.ANY.RRSIG import RRSIG
from dns.rdtypes.dnskeybase import Flag

#: SHA-1 is left out: who operates a validator has to treat algorithms 5 and 7 as unsupported, so that what
#: they alone sign is insecure (RFC 9905 section 2). dnspython would still verify them.
ALGORITHMS = frozenset(
    {
        Algorithm.RSASHA256,
        Algorithm.RSASHA512,
        Algorithm.ECDSAP256SHA256,
        Algorithm.ECDSAP384SHA384,
        Algorithm.ED25519,
        Algorithm.ED448,
    }
)
DIGESTS = frozenset({DSDigest.SHA256, DSDigest.SHA384})

#: No zone has as many; each costs its tag for every signature.
MAX_KEYS = 32

#: A key of 4096 bits with an exponent of usual size; larger ones only cost time (RFC 3110, RFC 5702 2).
_MAX_KEY_OCTETS = 520
_DNSSEC_PROTOCOL = 3


class Bogus(Exception):
    """Something that has to be signed is not, or is not signed rightly. The text is for people."""


@dataclass(slots=True)
class Budget:
    """What one look-up may still cost, whatever hostile zones put into it; `Bogus` when it is spent.

    `tries`: signatures and digests against keys (CVE-2023-50387). `hashes`: rounds of SHA-1 for NSEC3
    (CVE-2023-50868), some 10 ms. `queries`: for DS and DNSKEY. An honest name in the fourth zone from the
    root takes about a dozen tries, a handful of rounds and seven queries.
    """

    tries: int = 128
    hashes: int = 20_000
    queries: int = 64

    def spend(self, *, tries: int = 0, hashes: int = 0, queries: int = 0) -> None:
        """Raises Bogus when more is asked for than is left."""
        self.tries -= tries
        self.hashes -= hashes
        self.queries -= queries
        if min(self.tries, self.hashes, self.queries) < 0:
            raise Bogus("validating this answer would cost too much")


#: Tries for one RRset. A zone within a roll-over has two or three signatures, and key tags seldom collide.
_TRIES_PER_RRSET = 8

#: NXDOMAIN by NSEC3 takes three sets; an answer by way of some wildcards a few more.
_SETS_LOOKED_AT = 24


@dataclass(frozen=True, slots=True)
class SignedSet:
    """An RRset and all signatures that came with it, unverified."""

    rrset: dns.rrset.RRset
    signatures: tuple[RRSIG, ...]

    @property
    def signer(self) -> dns.name.Name | None:
        """The deepest zone that a signature names and that the set could be in. A claim, and no more."""
        return deepest(
            signature.signer
            for signature in self.signatures
            if self.rrset.name.is_subdomain(signature.signer)
        )


def deepest(names: Iterable[dns.name.Name]) -> dns.name.Name | None:
    """The name with most labels; None for none."""
    return max(names, key=len, default=None)


def find(
    section: Sequence[dns.rrset.RRset], name: dns.name.Name, rdtype: dns.rdatatype.RdataType
) -> SignedSet | None:
    """The RRset of a name and type within a section, with its signatures."""
    found = next((rrset for rrset in _of_type(section, rdtype) if rrset.name == name), None)
    return None if found is None else SignedSet(found, tuple(_signatures(section, found)))


def signed_sets(section: Sequence[dns.rrset.RRset], rdtype: dns.rdatatype.RdataType) -> list[SignedSet]:
    """The RRsets of a type within a section: the first few, which is more than any proof needs."""
    first = itertools.islice(_of_type(section, rdtype), _SETS_LOOKED_AT)
    return [SignedSet(rrset, tuple(_signatures(section, rrset))) for rrset in first]


def _of_type(
    section: Sequence[dns.rrset.RRset], rdtype: dns.rdatatype.RdataType
) -> Iterator[dns.rrset.RRset]:
    return (one for one in section if one.rdtype == rdtype and one.rdclass == dns.rdataclass.IN)


def _signatures(section: Sequence[dns.rrset.RRset], covered: dns.rrset.RRset) -> Iterable[RRSIG]:
    for rrset in section:
        if rrset.name == covered.name and rrset.rdtype == dns.rdatatype.RRSIG:
            yield from (one for one in rrset if isinstance(one, RRSIG) and one.type_covered == covered.rdtype)


def supported_ds(ds: DS) -> bool:
    """Whether a chain can go on by this record; a zone without such a one is insecure (RFC 4035 5.2)."""
    return ds.algorithm in ALGORITHMS and ds.digest_type in DIGESTS


def usable(key: DNSKEY) -> bool:
    """Whether the key is a zone's (RFC 4034 2.1), not revoked (RFC 5011 2.1), its algorithm supported."""
    return (
        bool(key.flags & Flag.ZONE)
        and not key.flags & Flag.REVOKE
        and key.protocol == _DNSSEC_PROTOCOL
        and key.algorithm in ALGORITHMS
        and len(key.key) <= _MAX_KEY_OCTETS
    )


def named_by(
    delegation: Iterable[DS], keys: Sequence[DNSKEY], *, zone: dns.name.Name, budget: Budget
) -> list[DNSKEY]:
    """The zone's keys that DS records are of. Raises Bogus when too many have one tag."""
    by_tag = _by_tag(keys)
    found = []
    for ds in delegation:
        for key in by_tag.get((ds.algorithm, ds.key_tag), ()):
            budget.spend(tries=1)
            if dns.dnssec.make_ds(zone, key, ds.digest_type, validating=True).digest == ds.digest:
                found.append(key)
    return found


def _by_tag(keys: Iterable[DNSKEY]) -> dict[tuple[int, int], list[DNSKEY]]:
    found: dict[tuple[int, int], list[DNSKEY]] = {}
    for key in keys:
        found.setdefault((key.algorithm, dns.dnssec.key_id(key)), []).append(key)
    return found


def verify(
    signed: SignedSet, *, zone: dns.name.Name, keys: Iterable[DNSKEY], at: float, budget: Budget
) -> RRSIG:
    """The signature that holds at `at` (seconds since the epoch) under one of the zone's usable keys.

    Raises: Bogus when there is none, with the reason of the last that was tried.
    """
    rrset, by_tag = signed.rrset, _by_tag(keys)
    pairs = (
        (signature, key)
        for signature in signed.signatures
        if signature.signer == zone and rrset.name.is_subdomain(zone)
        for key in by_tag.get((signature.algorithm, signature.key_tag), ())
    )
    why = "it is not signed by its zone"
    for signature, key in itertools.islice(pairs, _TRIES_PER_RRSET):
        budget.spend(tries=1)
        try:
            _verify_one(rrset, signature, key, at)
        except Bogus as error:
            why = str(error)
        else:
            return signature
    raise Bogus(f"{describe(rrset)}: {why}")


def _verify_one(rrset: dns.rrset.RRset, signature: RRSIG, key: DNSKEY, at: float) -> None:
    only = dns.rdataset.from_rdata(0, key)
    try:
        dns.dnssec.validate_rrsig(rrset, signature, {signature.signer: only}, None, at)
    except (
        dns.exception.DNSException,
        cryptography.exceptions.UnsupportedAlgorithm,
        # Whatever a key's octets, which anybody may write, do to the readers of their format.
        ValueError,
        IndexError,
        struct.error,
    ) as error:
        raise Bogus(f"the signature does not hold ({error})") from error


def describe(rrset: dns.rrset.RRset) -> str:
    """Name and type, for people."""
    return f"{rrset.name.to_text()} {dns.rdatatype.to_text(rrset.rdtype)}"


def expanded_from(rrset: dns.rrset.RRset, signature: RRSIG) -> dns.name.Name | None:
    """The parent of the wildcard that the set was made from (RFC 4035 5.3.4); None for a name of its own."""
    name = rrset.name
    own = len(name) - 1 - (1 if name.is_wild() else 0)
    if signature.labels >= own:
        return None
    return name.split(signature.labels + 1)[1]
