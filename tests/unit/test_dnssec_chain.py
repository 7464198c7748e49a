"""Trust anchors, what counts as supported, and what a hostile zone may cost: without a network."""

import base64
import time

import dns.dnssec
import dns.message
import dns.name
import dns.rdata
import dns.rrset
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from dns.dnssectypes import Algorithm, DSDigest
from dns.rdatatype import RdataType
from dns.rdtypes.ANY.DNSKEY import DNSKEY
from dns.rdtypes.ANY.RRSIG import RRSIG

from certdesk.dcv.dnssec.anchors import IANA_ROOT, TrustAnchors
from certdesk.dcv.dnssec.chain import InsecureZone, SecureZone, Walk
from certdesk.dcv.dnssec.signatures import Bogus, Budget, SignedSet, expanded_from, usable, verify

_NOW = 1_800_000_000
_ZONE = dns.name.from_text("example.")
_DIGEST = "AB" * 32


def _key_pair() -> tuple[ec.EllipticCurvePrivateKey, DNSKEY]:
    private = ec.generate_private_key(ec.SECP256R1())
    return private, dns.dnssec.make_dnskey(private.public_key(), Algorithm.ECDSAP256SHA256, flags=257)


def _signed(rrset: dns.rrset.RRset, private: ec.EllipticCurvePrivateKey, key: DNSKEY) -> RRSIG:
    return dns.dnssec.sign(rrset, private, _ZONE, key, inception=_NOW - 60, expiration=_NOW + 60)


def _walk(keys: dns.rrset.RRset | None, signature: RRSIG | None, *anchors: str) -> Walk:
    """A walk in a world that has these keys, and nothing else."""

    def ask(name: dns.name.Name, rdtype: RdataType) -> dns.message.Message:
        response = dns.message.make_response(dns.message.make_query(name, rdtype))
        if keys is not None and (name, rdtype) == (_ZONE, RdataType.DNSKEY):
            response.answer = [keys]
            if signature is not None:
                response.answer.append(dns.rrset.from_rdata(_ZONE, 60, signature))
        return response

    return Walk(ask=ask, anchors=TrustAnchors.parse(anchors), at=_NOW)


def test_the_root_is_anchored_at_the_keys_of_iana() -> None:
    anchors = TrustAnchors.parse(IANA_ROOT)
    assert [ds.key_tag for ds in anchors.by_zone[dns.name.root]] == [20326, 38696]
    assert anchors.above(dns.name.from_text("www.example.ac.uk.")) == dns.name.root


def test_the_closest_anchor_counts() -> None:
    anchors = TrustAnchors.parse([*IANA_ROOT, f"Example. IN DS 1 13 2 {_DIGEST}"])
    assert anchors.above(dns.name.from_text("www.example.")) == _ZONE
    assert anchors.above(dns.name.from_text("wexample.")) == dns.name.root
    only = TrustAnchors.parse([f"example. DS 1 13 2 {_DIGEST}"])
    assert only.above(dns.name.from_text("org.")) is None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "example.",
        f"example. DNSKEY 1 13 2 {_DIGEST}",
        "example. DS 1 13 2 ABCD",  # too short for SHA-256
        "example. DS 1 13",
        f"example. DS 1 200 2 {_DIGEST}",  # no algorithm of ours
        f"example. DS 1 5 2 {_DIGEST}",  # RSA with SHA-1
        f"example. DS 1 13 1 {'AB' * 20}",  # SHA-1
        f"{'x' * 64}. DS 1 13 2 {_DIGEST}",
    ],
)
def test_what_can_anchor_nothing_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"DS record|trust anchor|can't be validated"):
        TrustAnchors.parse([line])


def test_no_anchor_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="no trust anchor"):
        TrustAnchors.parse([])


def test_a_zone_is_secure_by_a_key_that_its_anchor_names() -> None:
    private, key = _key_pair()
    keys = dns.rrset.from_rdata(_ZONE, 60, key)
    ds = dns.dnssec.make_ds(_ZONE, key, DSDigest.SHA384).to_text()
    trust = _walk(keys, _signed(keys, private, key), f"example. DS {ds}").zone_of(_ZONE)
    assert trust == SecureZone(_ZONE, (key,))


def test_keys_that_another_one_signed_or_nobody_did_are_bogus() -> None:
    (private, key), (_, named) = _key_pair(), _key_pair()
    keys = dns.rrset.from_rdata(_ZONE, 60, key, named)
    anchor = f"example. DS {dns.dnssec.make_ds(_ZONE, named, DSDigest.SHA256).to_text()}"
    for signature in (_signed(keys, private, key), None):
        with pytest.raises(Bogus, match="not signed"):
            _walk(keys, signature, anchor).zone_of(_ZONE)
    with pytest.raises(Bogus, match="no DNSKEY"):
        _walk(None, None, anchor).zone_of(_ZONE)


def test_a_delegation_by_sha1_or_by_what_is_unknown_is_insecure() -> None:
    """RFC 4035 5.2 and RFC 9905: nobody is asked for keys that could not be checked."""
    private, key = _key_pair()
    keys = dns.rrset.from_rdata(_ZONE, 60, key)
    ds = dns.dnssec.make_ds(_ZONE, key, DSDigest.SHA256).to_text()
    child = dns.name.from_text("child.example.")
    lines = (f"1 5 2 {_DIGEST}", f"1 7 2 {_DIGEST}", f"1 13 1 {'AB' * 20}", f"1 200 2 {_DIGEST}", "1 13 9 AB")
    delegated = dns.rrset.from_text(child, 60, "IN", "DS", *lines)
    answers = {(_ZONE, RdataType.DNSKEY): keys, (child, RdataType.DS): delegated}

    def ask(name: dns.name.Name, rdtype: RdataType) -> dns.message.Message:
        response = dns.message.make_response(dns.message.make_query(name, rdtype))
        rrset = answers[name, rdtype]
        response.answer = [rrset, dns.rrset.from_rdata(name, 60, _signed(rrset, private, key))]
        return response

    walk = Walk(ask=ask, anchors=TrustAnchors.parse([f"example. DS {ds}"]), at=_NOW)
    assert walk.zone_of(dns.name.from_text("www.child.example.")) == InsecureZone(child)


@pytest.mark.parametrize("at,holds", [(-61, False), (-60, True), (0, True), (60, True), (61, False)])
def test_a_signature_holds_from_its_inception_to_its_expiration(at: int, holds: bool) -> None:  # noqa: FBT001 - a column
    private, key = _key_pair()
    rrset = dns.rrset.from_text("www.example.", 60, "IN", "A", "192.0.2.1")
    signed = SignedSet(rrset, (_signed(rrset, private, key),))
    if holds:
        assert verify(signed, zone=_ZONE, keys=[key], at=_NOW + at, budget=Budget()) == signed.signatures[0]
    else:
        with pytest.raises(Bogus, match=r"not yet valid|expired"):
            verify(signed, zone=_ZONE, keys=[key], at=_NOW + at, budget=Budget())


def _key_of(flags: int, algorithm: int, octets: bytes, *, protocol: int = 3) -> DNSKEY:
    text = f"{flags} {protocol} {algorithm} {base64.b64encode(octets).decode()}"
    key = dns.rdata.from_text("IN", "DNSKEY", text)
    assert isinstance(key, DNSKEY)
    return key


def _with_tag(tag: int, number: int) -> DNSKEY:
    """A key that is none, with a tag that was chosen (CVE-2023-50387): tags are sums of 16 bits each."""
    body = number.to_bytes(2) + bytes(60)
    rest = (tag - dns.dnssec.key_id(_key_of(256, 13, body + bytes(2)))) % 0xFFFF
    candidates = (_key_of(256, 13, body + last.to_bytes(2)) for last in (rest, rest + 1))
    return next(key for key in candidates if dns.dnssec.key_id(key) == tag)


def _changed(signature: RRSIG, /, **changes: object) -> RRSIG:
    changed = signature.replace(**changes)
    assert isinstance(changed, RRSIG)
    return changed


def test_keys_of_one_tag_are_tried_a_few_times_and_no_more() -> None:
    private, key = _key_pair()
    rrset = dns.rrset.from_text("www.example.", 60, "IN", "A", "192.0.2.1")
    right = _signed(rrset, private, key)
    wrong = [_changed(right, signature=bytes([number]) * 64) for number in range(30)]
    keys = [_with_tag(dns.dnssec.key_id(key), number) for number in range(12)]
    budget = Budget()
    begun = time.monotonic()
    with pytest.raises(Bogus, match="does not hold"):
        verify(SignedSet(rrset, (*wrong, right)), zone=_ZONE, keys=[*keys, key], at=_NOW, budget=budget)
    assert Budget().tries - budget.tries == 8
    assert time.monotonic() - begun < 1


def test_a_zone_of_very_many_keys_is_bogus() -> None:
    many = [_key_of(256, 13, number.to_bytes(2) * 32) for number in range(33)]
    keys = dns.rrset.from_rdata(_ZONE, 60, *many)
    with pytest.raises(Bogus, match="33 keys"):
        _walk(keys, None, f"example. DS 1 13 2 {_DIGEST}").zone_of(_ZONE)


@pytest.mark.parametrize(
    "key,expected",
    [
        (_key_of(257, 13, bytes(64)), True),
        (_key_of(256, 15, bytes(32)), True),
        (_key_of(1, 13, bytes(64)), False),  # no key of a zone
        (_key_of(385, 13, bytes(64)), False),  # revoked
        (_key_of(257, 13, bytes(64), protocol=2), False),
        (_key_of(257, 5, bytes(64)), False),  # RSA with SHA-1
        (_key_of(257, 8, bytes(8192)), False),  # a modulus of 65,536 bits
    ],
)
def test_keys_that_may_be_used(key: DNSKEY, expected: bool) -> None:  # noqa: FBT001 - a column
    assert usable(key) is expected


@pytest.mark.parametrize("octets", [b"", b"\x00", b"\x03", b"\x00\xff\xff", b"\x01\x03", b"\xff" * 100])
def test_octets_that_are_no_key_are_bogus_and_no_crash(octets: bytes) -> None:
    private, key = _key_pair()
    rrset = dns.rrset.from_text("www.example.", 60, "IN", "A", "192.0.2.1")
    for algorithm in (8, 10, 13, 14, 15, 16):
        broken = key.replace(algorithm=algorithm, key=octets)
        assert isinstance(broken, DNSKEY)
        tag = dns.dnssec.key_id(broken)
        signature = _changed(_signed(rrset, private, key), algorithm=algorithm, key_tag=tag)
        with pytest.raises(Bogus):
            verify(SignedSet(rrset, (signature,)), zone=_ZONE, keys=[broken], at=_NOW, budget=Budget())


def test_labels_tell_a_wildcard_from_a_name_of_its_own() -> None:
    private, key = _key_pair()
    for owner, labels, expected in (
        ("www.example.", 2, None),
        ("*.example.", 1, None),
        ("a.b.example.", 1, "example."),
        ("a.b.example.", 2, "b.example."),
    ):
        rrset = dns.rrset.from_text(owner, 60, "IN", "A", "192.0.2.1")
        signature = _changed(_signed(rrset, private, key), labels=labels)
        found = expanded_from(rrset, signature)
        assert found == (None if expected is None else dns.name.from_text(expected))
