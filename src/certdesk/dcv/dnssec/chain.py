"""The chain of trust: from an anchor down, DS and DNSKEY at each zone cut (RFC 4035 section 5.2).

A cut is taken for insecure only on the parent's signed word. Where nothing is proven, the zone above goes on,
and what is unsigned below it is bogus.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import dns.message
import dns.name
from dns.rdatatype import RdataType
from dns.rdtypes.ANY.DNSKEY import DNSKEY
from dns.rdtypes.ANY.DS import DS
from dns.rdtypes.ANY.RRSIG import RRSIG

from certdesk.dcv.dnssec.anchors import TrustAnchors
from certdesk.dcv.dnssec.denial import Denials, read_denials
from certdesk.dcv.dnssec.signatures import (
    MAX_KEYS,
    Bogus,
    Budget,
    SignedSet,
    find,
    named_by,
    signed_sets,
    supported_ds,
    usable,
    verify,
)

#: Asks for a name and type with DO and CD set. Raises what it likes when nobody answers: it is passed on.
Ask = Callable[[dns.name.Name, RdataType], dns.message.Message]

_DENYING = (RdataType.NSEC, RdataType.NSEC3)


@dataclass(frozen=True, slots=True)
class SecureZone:
    """A zone whose keys are trusted."""

    name: dns.name.Name
    keys: tuple[DNSKEY, ...]


@dataclass(frozen=True, slots=True)
class InsecureZone:
    """A part of the tree that is proven not to be signed, or that no anchor is above (indeterminate)."""

    name: dns.name.Name


ZoneTrust = SecureZone | InsecureZone


class Walk:
    """The zones that one look-up has come through. Not for another look-up: it keeps no TTLs."""

    def __init__(self, *, ask: Ask, anchors: TrustAnchors, at: float, budget: Budget | None = None) -> None:
        self._ask_network = ask
        self._anchors = anchors
        self._at = at
        self.budget = budget or Budget()
        self._known: dict[dns.name.Name, ZoneTrust] = {}

    def zone_of(self, name: dns.name.Name) -> ZoneTrust:
        """The zone that the name is in. A name that is a zone's apex belongs to that zone.

        Raises: Bogus when a link does not hold.
        """
        start = self._anchors.above(name)
        if start is None:
            return InsecureZone(dns.name.root)
        if start not in self._known:
            self._known[start] = self._with_keys(start, self._anchors.by_zone[start])
        zone = self._known[start]
        for depth in range(len(start) + 1, len(name) + 1):
            if isinstance(zone, InsecureZone):
                break
            below = name.split(depth)[1]
            if below not in self._known:
                self._known[below] = self._step(zone, below)
            zone = self._known[below]
        return zone

    def verify(self, signed: SignedSet, zone: SecureZone) -> RRSIG:
        """The signature that holds. Raises Bogus."""
        return verify(signed, zone=zone.name, keys=zone.keys, at=self._at, budget=self.budget)

    def denials(self, response: dns.message.Message, zone: SecureZone) -> tuple[Denials, ...]:
        """What the zone denies in this response; records that it did not sign are no part of it."""
        found = [one for rdtype in _DENYING for one in signed_sets(response.authority, rdtype)]
        kept = [one.rrset for one in found if one.signer == zone.name and self._holds(one, zone)]
        return read_denials(zone.name, kept, budget=self.budget)

    def _holds(self, signed: SignedSet, zone: SecureZone) -> bool:
        try:
            self.verify(signed, zone)
        except Bogus:
            return False
        return True

    def _ask(self, name: dns.name.Name, rdtype: RdataType) -> dns.message.Message:
        self.budget.spend(queries=1)
        return self._ask_network(name, rdtype)

    def _step(self, zone: SecureZone, name: dns.name.Name) -> ZoneTrust:
        """One label down: a secure zone, an insecure one, or no cut at all."""
        response = self._ask(name, RdataType.DS)
        delegated = find(response.answer, name, RdataType.DS)
        if delegated is not None:
            self.verify(delegated, zone)
            return self._with_keys(name, (one for one in delegated.rrset if isinstance(one, DS)))
        if any(denials.no_ds(name) for denials in self.denials(response, zone)):
            return InsecureZone(name)
        return zone

    def _with_keys(self, name: dns.name.Name, delegation: Iterable[DS]) -> ZoneTrust:
        """The zone with its keys, when one that the delegation names has signed them all."""
        entries = [ds for ds in delegation if supported_ds(ds)]
        if not entries:
            return InsecureZone(name)  # signed by what nobody here can check: RFC 4035 5.2
        found = find(self._ask(name, RdataType.DNSKEY).answer, name, RdataType.DNSKEY)
        if found is None:
            raise Bogus(f"{name.to_text()} has no DNSKEY, though its parent has a DS record")
        keys = tuple(key for key in found.rrset if isinstance(key, DNSKEY) and usable(key))
        if len(keys) > MAX_KEYS:
            raise Bogus(f"{name.to_text()} has {len(keys)} keys, which is more than anybody needs")
        named = named_by(entries, keys, zone=name, budget=self.budget)
        if not named:
            raise Bogus(f"{name.to_text()} has no key that its parent's DS record names")
        verify(found, zone=name, keys=named, at=self._at, budget=self.budget)
        return SecureZone(name, keys)
