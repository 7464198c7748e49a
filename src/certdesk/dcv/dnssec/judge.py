"""Whether a response is secure (RFC 4035 section 5): each alias, the records at their end, or their absence.

The response code is no more signed than the header is; it has to be what the records prove.
"""

from collections.abc import Iterable

import dns.message
import dns.name
import dns.rcode
from dns.rdatatype import RdataType
from dns.rdtypes.ANY.CNAME import CNAME
from dns.rdtypes.ANY.DNAME import DNAME

from certdesk.dcv.dnssec.chain import InsecureZone, SecureZone, Walk
from certdesk.dcv.dnssec.denial import Proof
from certdesk.dcv.dnssec.signatures import (
    Bogus,
    SignedSet,
    deepest,
    describe,
    expanded_from,
    find,
    signed_sets,
)


def is_secure(response: dns.message.Message, name: dns.name.Name, rdtype: RdataType, *, walk: Walk) -> bool:
    """Whether every link of the answer is signed up to an anchor. False: some link is proven to be unsigned.

    A chain of aliases that the response leaves unfinished is judged as far as it goes.

    Raises: Bogus, and what the walk's `ask` raises.
    """
    owner, secure, seen = name, True, set[dns.name.Name]()
    while owner not in seen:
        seen.add(owner)
        # An alias comes first, as it does for whoever reads the response: what is not read is not judged.
        alias = None if rdtype == RdataType.CNAME else find(response.answer, owner, RdataType.CNAME)
        if alias is None:
            break
        secure = _alias(alias, response, walk) and secure
        owner = alias.rrset[0].target
    else:
        return secure  # a circle, which is its own fault
    if (found := find(response.answer, owner, rdtype)) is not None:
        return _present(found, response, walk) and secure
    if len(seen) > 1 and _unfinished(response):
        return secure
    return _absent(response, owner, rdtype, walk) and secure


def _unfinished(response: dns.message.Message) -> bool:
    """Whether the response stops at an alias without a word on its target."""
    soa = any(rrset.rdtype == RdataType.SOA for rrset in response.authority)
    return response.rcode() == dns.rcode.NOERROR and not soa


def _present(signed: SignedSet, response: dns.message.Message, walk: Walk) -> bool:
    """Whether records are signed; the same for a wildcard's, which must be the closest there is."""
    secure = _signed(signed, response, walk)
    if secure and response.rcode() != dns.rcode.NOERROR:
        raise Bogus(f"{describe(signed.rrset)} is there, though the response says otherwise")
    return secure


def _signed(signed: SignedSet, response: dns.message.Message, walk: Walk) -> bool:
    zone = walk.zone_of(signed.signer or signed.rrset.name)
    if isinstance(zone, InsecureZone):
        return False
    signature = walk.verify(signed, zone)
    encloser = expanded_from(signed.rrset, signature)
    if encloser is None:
        return True
    proof = _best(denials.no_closer(signed.rrset.name, encloser) for denials in walk.denials(response, zone))
    if proof is Proof.NONE:
        raise Bogus(
            f"{describe(signed.rrset)} is a wildcard's, and nothing proves that no closer name exists"
        )
    return proof is Proof.SECURE


def _alias(alias: SignedSet, response: dns.message.Message, walk: Walk) -> bool:
    """Whether a CNAME is signed, or follows from a DNAME that is (RFC 6672 5.3.1)."""
    above = [
        one
        for one in signed_sets(response.answer, RdataType.DNAME)
        if one.rrset.name != alias.rrset.name and alias.rrset.name.is_subdomain(one.rrset.name)
    ]
    if alias.signatures or not above:
        return _signed(alias, response, walk)
    source = max(above, key=lambda one: len(one.rrset.name))
    secure = _signed(source, response, walk)
    if secure and not _follows(alias, source):
        raise Bogus(f"{describe(alias.rrset)} does not follow from the DNAME above it")
    return secure


def _follows(alias: SignedSet, source: SignedSet) -> bool:
    made, rule = alias.rrset[0], source.rrset[0]
    if not isinstance(made, CNAME) or not isinstance(rule, DNAME):
        return False
    prefix = alias.rrset.name.relativize(source.rrset.name)
    return bool(prefix.derelativize(rule.target) == made.target)


def _absent(response: dns.message.Message, name: dns.name.Name, rdtype: RdataType, walk: Walk) -> bool:
    """Whether the absence that the response claims is proven."""
    signers = (
        one.signer
        for kind in (RdataType.NSEC, RdataType.NSEC3)
        for one in signed_sets(response.authority, kind)
    )
    claimed = deepest(signer for signer in signers if signer is not None and name.is_subdomain(signer))
    zone = walk.zone_of(claimed or name)
    if isinstance(zone, SecureZone):
        proof = _proof(response, name, rdtype, walk, zone)
        if proof is not Proof.NONE:
            return proof is Proof.SECURE
        zone = walk.zone_of(name)  # the denials may have been for an alias on the way here
    if isinstance(zone, InsecureZone):
        return False
    kind = dns.rcode.to_text(response.rcode())
    raise Bogus(f"nothing proves the absence ({kind}) of {name.to_text()} {rdtype.name}")


def _proof(
    response: dns.message.Message, name: dns.name.Name, rdtype: RdataType, walk: Walk, zone: SecureZone
) -> Proof:
    found = walk.denials(response, zone)
    if response.rcode() == dns.rcode.NXDOMAIN:
        return _best(denials.no_name(name) for denials in found)
    return _best(denials.no_data(name, rdtype) for denials in found)


def _best(proofs: Iterable[Proof]) -> Proof:
    found = set(proofs)
    return next(
        proof for proof in (Proof.SECURE, Proof.INSECURE, Proof.NONE) if proof in found | {Proof.NONE}
    )
