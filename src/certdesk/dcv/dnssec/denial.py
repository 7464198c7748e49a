"""What NSEC and NSEC3 records prove to be absent (RFC 4035 5.4, RFC 5155 section 8, RFC 6840 section 4).

Pure: the records given here are verified already, and of one zone. A proof is `SECURE`, `INSECURE` where the
zone itself says that it does not vouch (opt-out), or `NONE`.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import dns.name
import dns.rdatatype
import dns.rrset
from dns.dnssectypes import NSEC3Hash
from dns.rdatatype import RdataType
from dns.rdtypes.ANY.NSEC import NSEC
from dns.rdtypes.ANY.NSEC3 import NSEC3, OPTOUT

from certdesk.dcv.dnssec.signatures import Budget

#: Above this, what the zone denies is insecure, once its signature has been verified (RFC 9276 3.2 lets
#: validators). A second limit, from which to refuse, is not needed: nothing is hashed above the first, and
#: only the zone itself can have signed such records, so that nobody else can take its security away by them.
MAX_ITERATIONS = 100

_LABEL_SHIFT, _BITS = 8, 8


class Proof(StrEnum):
    """What the zone's records say about an absence."""

    SECURE = "secure"
    INSECURE = "insecure"  # by opt-out, or by a hash that costs too much
    NONE = "none"


class Denials(Protocol):
    """The denials of one zone within one response."""

    def no_name(self, name: dns.name.Name) -> Proof:
        """That the name does not exist, nor a wildcard for it (NXDOMAIN)."""

    def no_data(self, name: dns.name.Name, rdtype: RdataType) -> Proof:
        """That the name, or the wildcard for it, has no record of the type (NODATA)."""

    def no_closer(self, name: dns.name.Name, encloser: dns.name.Name) -> Proof:
        """That nothing exists between a wildcard's parent and the name: the wildcard stands for it."""

    def no_ds(self, name: dns.name.Name) -> bool:
        """That the name is delegated, or may be by opt-out, without DS: what is below is insecure."""


def has_type(record: NSEC | NSEC3, rdtype: int) -> bool:
    """Whether a type stands in the bitmap (RFC 4034 4.1.2)."""
    window, offset = rdtype >> _LABEL_SHIFT, rdtype & 0xFF
    bitmap: bytes = next((bits for number, bits in record.windows if number == window), b"")
    octet = offset // _BITS
    return octet < len(bitmap) and bool(bitmap[octet] & (0x80 >> (offset % _BITS)))


def _is_delegation(record: NSEC | NSEC3) -> bool:
    """Whether the record is the parent's at a zone cut."""
    return has_type(record, RdataType.NS) and not has_type(record, RdataType.SOA)


def _silent_below(record: NSEC | NSEC3) -> bool:
    """Whether names below are another's: never deny those by it (RFC 6840 4.1)."""
    return _is_delegation(record) or has_type(record, RdataType.DNAME)


def _lacks(record: NSEC | NSEC3, rdtype: RdataType, *, root: bool) -> bool:
    """Whether a name's record proves that it has no such type; parent and child speak each for their own."""
    if has_type(record, rdtype) or has_type(record, RdataType.CNAME):
        return False
    if rdtype == RdataType.DS:
        return root or not has_type(record, RdataType.SOA)
    return not _is_delegation(record)


def _no_ds_here(record: NSEC | NSEC3) -> bool:
    return _is_delegation(record) and not has_type(record, RdataType.DS)


def _wildcard(encloser: dns.name.Name) -> dns.name.Name:
    return dns.name.Name((b"*", *encloser.labels))


def _yes(*, proven: bool) -> Proof:
    return Proof.SECURE if proven else Proof.NONE


@dataclass(frozen=True, slots=True)
class NsecDenials:
    """By names in canonical order."""

    zone: dns.name.Name
    records: tuple[tuple[dns.name.Name, NSEC], ...]

    def no_name(self, name: dns.name.Name) -> Proof:
        encloser = self._encloser(name)
        return _yes(proven=encloser is not None and self._covering(_wildcard(encloser)) is not None)

    def no_data(self, name: dns.name.Name, rdtype: RdataType) -> Proof:
        root = name == dns.name.root
        if (record := self._at(name)) is not None:
            return _yes(proven=_lacks(record, rdtype, root=root))
        if self._is_empty(name):
            return Proof.SECURE
        encloser = self._encloser(name)
        record = None if encloser is None else self._at(_wildcard(encloser))
        return _yes(proven=record is not None and _lacks(record, rdtype, root=root))

    def no_closer(self, name: dns.name.Name, encloser: dns.name.Name) -> Proof:
        return _yes(proven=self._encloser(name) == encloser)

    def no_ds(self, name: dns.name.Name) -> bool:
        record = self._at(name)
        return record is not None and _no_ds_here(record)

    def _at(self, name: dns.name.Name) -> NSEC | None:
        return next((record for owner, record in self.records if owner == name), None)

    def _covering(self, name: dns.name.Name) -> tuple[dns.name.Name, dns.name.Name] | None:
        """Owner and next name of the record that denies the name; the last one's next name is the apex."""
        for owner, record in self.records:
            after = record.next
            between = owner < name and (name < after or after == self.zone)
            if not between or (name.is_subdomain(owner) and _silent_below(record)):
                continue
            return owner, after
        return None

    def _is_empty(self, name: dns.name.Name) -> bool:
        """Whether the name has no records and others have below it."""
        found = self._covering(name)
        return found is not None and found[1].is_subdomain(name)

    def _encloser(self, name: dns.name.Name) -> dns.name.Name | None:
        """The longest ancestor that exists, where the name itself is denied (RFC 4592 3.3.1)."""
        found = self._covering(name)
        if found is None or found[1].is_subdomain(name):
            return None
        shared = (name.fullcompare(end)[2] for end in found)
        return name.split(max(shared))[1]


@dataclass(frozen=True, slots=True)
class Nsec3Denials:
    """By hashed names. Only one set of parameters is looked at: a zone's denials share it (RFC 5155 8.2)."""

    zone: dns.name.Name
    records: tuple[tuple[bytes, NSEC3], ...]
    budget: Budget
    _hashes: dict[dns.name.Name, bytes] = field(default_factory=dict)

    @property
    def _dear(self) -> bool:
        return bool(self.records) and self.records[0][1].iterations > MAX_ITERATIONS

    def no_name(self, name: dns.name.Name) -> Proof:
        if self._dear:
            return Proof.INSECURE
        encloser = self._encloser(name)
        if encloser is None or self._covering(_wildcard(encloser)) is None:
            return Proof.NONE
        return self.no_closer(name, encloser)

    def no_data(self, name: dns.name.Name, rdtype: RdataType) -> Proof:
        if self._dear:
            return Proof.INSECURE
        root = name == dns.name.root
        if (record := self._at(name)) is not None:
            return _yes(proven=_lacks(record, rdtype, root=root))
        encloser = self._encloser(name)
        if encloser is None:
            return Proof.NONE
        closer = self.no_closer(name, encloser)
        if rdtype == RdataType.DS and closer is Proof.INSECURE:
            return closer
        record = self._at(_wildcard(encloser))
        return closer if record is not None and _lacks(record, rdtype, root=root) else Proof.NONE

    def no_closer(self, name: dns.name.Name, encloser: dns.name.Name) -> Proof:
        if self._dear:
            return Proof.INSECURE
        record = self._covering(name.split(len(encloser) + 1)[1])
        if record is None:
            return Proof.NONE
        return Proof.INSECURE if record.flags & OPTOUT else Proof.SECURE  # RFC 5155 9.2

    def no_ds(self, name: dns.name.Name) -> bool:
        if self._dear:
            return True
        if (record := self._at(name)) is not None:
            return _no_ds_here(record)
        encloser = self._encloser(name)
        return encloser is not None and self.no_closer(name, encloser) is Proof.INSECURE

    def _encloser(self, name: dns.name.Name) -> dns.name.Name | None:
        """The closest ancestor that exists and could have such descendants (RFC 5155 8.3)."""
        for depth in range(len(name) - 1, len(self.zone) - 1, -1):
            ancestor = name.split(depth)[1]
            record = self._at(ancestor)
            if record is not None:
                return None if _silent_below(record) else ancestor
        return None

    def _at(self, name: dns.name.Name) -> NSEC3 | None:
        hashed = self._hash(name)
        return next((record for owner, record in self.records if owner == hashed), None)

    def _covering(self, name: dns.name.Name) -> NSEC3 | None:
        hashed = self._hash(name)
        for owner, record in self.records:
            after = record.next
            if owner < hashed < after or (after <= owner and (hashed > owner or hashed < after)):
                return record
        return None

    def _hash(self, name: dns.name.Name) -> bytes:
        """RFC 5155 section 5; counted, for depth and iterations are a stranger's to choose."""
        if name not in self._hashes and self.records:
            first = self.records[0][1]
            self.budget.spend(hashes=first.iterations + 1)
            digest = name.canonicalize().to_wire() or b""
            for _ in range(first.iterations + 1):
                digest = hashlib.sha1(digest + first.salt, usedforsecurity=False).digest()
            self._hashes[name] = digest
        return self._hashes.get(name, b"")


def read_denials(
    zone: dns.name.Name, rrsets: Sequence[dns.rrset.RRset], *, budget: Budget
) -> tuple[Denials, ...]:
    """The verified denials of a zone: those by NSEC, those by NSEC3."""
    plain = tuple((rrset.name, one) for rrset in rrsets for one in rrset if isinstance(one, NSEC))
    hashed = tuple(
        (owner, one)
        for rrset in rrsets
        for one in rrset
        if isinstance(one, NSEC3) and _understood(one) and (owner := _hash_in(rrset.name, zone))
    )
    return (NsecDenials(zone, plain), Nsec3Denials(zone, _alike(hashed), budget))


def _understood(record: NSEC3) -> bool:
    """RFC 5155 8.1, 8.2: other hashes and flags are ignored."""
    return bool(record.algorithm == NSEC3Hash.SHA1 and record.flags & ~OPTOUT == 0)


def _hash_in(owner: dns.name.Name, zone: dns.name.Name) -> bytes:
    """The hash that an NSEC3 record's owner name is; empty when it is none of this zone."""
    if len(owner) != len(zone) + 1 or not owner.is_subdomain(zone):
        return b""
    try:
        return base64.b32hexdecode(owner.labels[0].upper())
    except ValueError:
        return b""


def _alike(records: tuple[tuple[bytes, NSEC3], ...]) -> tuple[tuple[bytes, NSEC3], ...]:
    parameters = {(one.iterations, one.salt) for _, one in records[:1]}
    return tuple((owner, one) for owner, one in records if (one.iterations, one.salt) in parameters)
