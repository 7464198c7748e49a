"""Lint per shape says what full lint says, whatever is done to a certificate; and it knows who reads what."""

import hashlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from pkilint.document import PDUNode
from pkilint.validation import Validator

from certdesk.domain.issuing import lint, lint_shapes
from certdesk.domain.issuing.lint import blocking, lint_certificate
from certdesk.domain.issuing.lint_shapes import PROVEN_WITH, How, ShapeLint

SEQUENCE, SET, OCTETS, BITS, INTEGER, UTF8, PRINTABLE, IA5 = 0x30, 0x31, 0x04, 0x03, 0x02, 0x0C, 0x13, 0x16
UTC, GENERALIZED, DNS, IP, URI, EMAIL = 0x17, 0x18, 0x82, 0x87, 0x86, 0x81
C, L, O, CN, OU = (b"\x55\x04" + bytes((n,)) for n in (6, 7, 10, 3, 11))  # noqa: E741 - the field's name for it
MAIL = bytes.fromhex("2a864886f70d010901")
RSA = bytes.fromhex("300d06092a864886f70d0101010500")
ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")


def tlv(tag: int, *content: bytes) -> bytes:
    """A DER element."""
    inner = b"".join(content)
    if len(inner) < 0x80:
        return bytes((tag, len(inner))) + inner
    length = len(inner).to_bytes((len(inner).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + inner


Key = tuple[bytes, bytes]  # algorithm and bits, the octet that says how many are unused before them


def ec_key(curve: ec.EllipticCurve) -> Key:
    """A fresh key on a curve."""
    public = ec.generate_private_key(curve).public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return spki[2 if spki[1] < 0x80 else 3 : len(spki) - len(tlv(BITS, b"\0", point))], b"\0" + point


def rsa_key(modulus: int, exponent: int = 65537) -> Key:
    """A key of these numbers, whether or not it is any good."""
    return RSA, b"\0" + tlv(SEQUENCE, *(tlv(INTEGER, number(one)) for one in (modulus, exponent)))


def number(value: int) -> bytes:
    """The content of an INTEGER."""
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


@dataclass(frozen=True, kw_only=True)
class Extension:
    """An extension's OID (its content), how its criticality is encoded, and its value."""

    oid: bytes
    value: bytes
    critical: bytes = b""

    def encoded(self) -> bytes:
        return tlv(SEQUENCE, tlv(0x06, self.oid), self.critical, tlv(OCTETS, self.value))


CRITICAL, NOT_CRITICAL = tlv(0x01, b"\xff"), tlv(0x01, b"\0")
SAN, SKI, AKI, BASIC, USAGE, EKU, CRLDP, POLICIES, CONSTRAINTS = (
    b"\x55\x1d" + bytes((n,)) for n in (17, 14, 35, 19, 15, 37, 31, 32, 30)
)
AIA = bytes.fromhex("2b06010505070101")


def crl_at(url: bytes) -> bytes:
    return tlv(SEQUENCE, tlv(SEQUENCE, tlv(0xA0, tlv(0xA0, tlv(URI, url)))))


def issuer_at(url: bytes) -> bytes:
    return tlv(SEQUENCE, tlv(SEQUENCE, tlv(0x06, bytes.fromhex("2b06010505073002")), tlv(URI, url)))


MODULUS = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key().public_numbers().n
KEYS = (ec_key(ec.SECP256R1()), ec_key(ec.SECP256R1()), ec_key(ec.SECP384R1()), rsa_key(MODULUS))


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """A certificate in parts, each of which may be anything; `encoded` only joins them."""

    serial: bytes = b"\x40" + bytes(14) + b"\x01"
    validity: tuple[tuple[int, bytes], ...] = ((UTC, b"261123120000Z"), (UTC, b"270221115959Z"))
    subject: tuple[tuple[tuple[bytes, int, bytes], ...], ...] = (
        ((C, PRINTABLE, b"GB"),),
        ((O, UTF8, b"Example University"),),
        ((CN, UTF8, b"www.example.org"),),
    )
    key: Key = KEYS[0]
    identifier: bytes | None = None  # what the key identifier says, if not the truth
    names: tuple[tuple[int, bytes], ...] = ((DNS, b"www.example.org"), (DNS, b"example.org"))
    extensions: tuple[Extension, ...] = (
        Extension(oid=BASIC, critical=CRITICAL, value=tlv(SEQUENCE)),
        Extension(oid=USAGE, critical=CRITICAL, value=bytes.fromhex("03020780")),
        Extension(oid=EKU, value=tlv(SEQUENCE, tlv(0x06, bytes.fromhex("2b06010505070301")))),
        Extension(oid=SAN, value=b""),  # its value and the key identifier's are filled in
        Extension(oid=AKI, value=tlv(SEQUENCE, tlv(0x80, b"\1" * 20))),
        Extension(oid=SKI, value=b""),
        Extension(oid=AIA, value=issuer_at(b"http://ca.example.org/a.cer")),
        Extension(oid=CRLDP, value=crl_at(b"http://ca.example.org/a.crl")),
    )
    algorithm: bytes = ECDSA_SHA256
    version: bytes = tlv(0xA0, tlv(INTEGER, b"\2"))
    after: bytes = b""
    patch: tuple[int, int] | None = None  # an octet of the whole, and what it becomes

    def encoded(self) -> bytes:
        truth = hashlib.sha1(self.key[1][1:], usedforsecurity=False).digest()
        values = {
            SAN: tlv(SEQUENCE, *(tlv(tag, value) for tag, value in self.names)),
            SKI: tlv(OCTETS, truth if self.identifier is None else self.identifier),
        }
        extensions = [
            replace(one, value=values.get(one.oid, b"")).encoded() if not one.value else one.encoded()
            for one in self.extensions
        ]
        name = [
            tlv(SET, *(tlv(SEQUENCE, tlv(0x06, oid), tlv(tag, value)) for oid, tag, value in rdn))
            for rdn in self.subject
        ]
        issuer = tlv(SEQUENCE, tlv(SET, tlv(SEQUENCE, tlv(0x06, CN), tlv(UTF8, b"Some CA"))))
        tbs = tlv(
            SEQUENCE,
            self.version,
            tlv(INTEGER, self.serial),
            self.algorithm,
            issuer,
            tlv(SEQUENCE, *(tlv(tag, value) for tag, value in self.validity)),
            tlv(SEQUENCE, *name),
            tlv(SEQUENCE, self.key[0], tlv(BITS, self.key[1])),
            tlv(0xA3, tlv(SEQUENCE, *extensions)),
        )
        whole = tlv(SEQUENCE, tbs, ECDSA_SHA256, tlv(BITS, b"\0" + b"\x30\x06\x02\x01\x01\x02\x01\x01"))
        if self.patch is not None:
            at = self.patch[0] % len(whole)
            whole = whole[:at] + bytes((self.patch[1],)) + whole[at + 1 :]
        return whole + self.after


# What is done to a certificate: each is a strategy of functions from leaf to leaf.

Change = Callable[[Leaf], Leaf]


def part(field: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Change]:
    """Another value for one part."""
    return st.builds(lambda value: lambda leaf: replace(leaf, **{field: value}), values)


def named(*names: bytes) -> Change:
    """Other DNS names, and the first of them as the common name."""
    return lambda leaf: replace(common(names[0])(leaf), names=tuple((DNS, name) for name in names))


def further(tag: int, value: bytes) -> Change:
    """One name more."""
    return lambda leaf: replace(leaf, names=(*leaf.names, (tag, value)))


def with_extension(oid: bytes, **changes: bytes) -> Change:
    return lambda leaf: replace(
        leaf, extensions=tuple(replace(e, **changes) if e.oid == oid else e for e in leaf.extensions)
    )


def common(value: bytes, tag: int = UTF8) -> Change:
    return lambda leaf: replace(
        leaf,
        subject=tuple(
            tuple((o, tag, value) if o == CN else (o, t, v) for o, t, v in r) for r in leaf.subject
        ),
    )


LONG = b"a" * 40 + b"." + b"b" * 40 + b".org"
LABELS = st.one_of(
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True),
    st.sampled_from("* w* -a a- a_b A 127 com local arpa in-addr ip6 onion example &amp; ab--cd".split()),  # noqa: SIM905 - many short ones
    st.sampled_from(["", "a b", "xn--", "xn--mnchen-3ya", "xn--\x7f", "a" * 63, "a" * 64, "\xe9", "\0"]),
)
ENDS = st.one_of(
    st.sampled_from(["", "org", "ac.uk", "local", "test", "com.", "xn--p1ai", "internal", "github.io"]),
    st.sampled_from(["in-addr.arpa", "IN-ADDR.ARPA", "ip6.arpa", "onion", "a" * 56 + ".onion"]),
)
HOSTS = st.builds(
    lambda labels, end: ".".join([*labels, end]).encode("latin-1"), st.lists(LABELS, max_size=4), ENDS
) | st.just(LONG)
ADDRESSES = st.one_of(
    st.binary(min_size=4, max_size=4),
    st.binary(min_size=16, max_size=16),
    st.binary(max_size=18),
    st.sampled_from([b"\x0a\0\0\1", b"\x08\x08\x08\x08", b"\xc0\0\2\1"]),
)
NAMES = st.one_of(
    st.tuples(st.just(DNS), HOSTS),
    st.tuples(st.just(IP), ADDRESSES),
    st.tuples(st.sampled_from([URI, EMAIL, 0x88, 0xA0, 0xA4, 0x80]), st.binary(max_size=12)),
    st.tuples(st.just(EMAIL), st.just(b"a@example.org")),
)
DATES = st.one_of(
    st.tuples(st.just(UTC), st.from_regex(rb"[0-9]{12}Z", fullmatch=True)),
    st.tuples(
        st.just(UTC), st.sampled_from([b"2611231200Z", b"261123120000+0100", b"270230000000Z", b"", b"49"])
    ),
    st.tuples(
        st.just(GENERALIZED), st.sampled_from([b"20270101000000Z", b"20500101000000Z", b"99991231235959Z"])
    ),
    st.tuples(
        st.just(UTC),
        st.sampled_from([b"261123000000Z", b"261123235959Z", b"260314235959Z", b"260315000000Z"]),
    ),
    st.tuples(
        st.just(UTC),
        st.sampled_from([b"261129235959Z", b"261130000000Z", b"261130115959Z", b"270301115959Z"]),
    ),
)
TEXTS = st.one_of(
    st.binary(max_size=70), st.sampled_from([b"www.example.org", b"WWW.example.org", b"&amp;", b"-"])
)
ATTRIBUTES = st.tuples(
    st.sampled_from([C, L, O, CN, OU, MAIL]),
    st.sampled_from([UTF8, PRINTABLE, IA5, 0x1E, 0x05, OCTETS]),
    TEXTS,
)
KEY_BITS = st.one_of(
    st.sampled_from([key[1] for key in KEYS]),
    st.binary(max_size=70),
    st.builds(lambda at: KEYS[0][1][:at] + b"\x55" + KEYS[0][1][at + 1 :], st.integers(0, 64)),
    st.builds(
        lambda n, e: rsa_key(n, e)[1],
        st.sampled_from([MODULUS, MODULUS >> 1, MODULUS >> 8, 3 * 5 * MODULUS, MODULUS << 8, 1]),
        st.sampled_from([65537, 3, 1, 2, 65536, 1 << 257, -3]),
    ),
)
ALGORITHMS = st.sampled_from(
    [key[0] for key in KEYS]
    + [tlv(SEQUENCE, RSA[2:13]), tlv(SEQUENCE, RSA[2:13], tlv(OCTETS)), tlv(SEQUENCE)]
)
URLS = st.one_of(
    st.sampled_from([b"http://ca.example.org/x", b"https://ca.example.org/x", b"ldap://ca.example.org", b""]),
    st.sampled_from([b"http://host.local/x", b"http://127.0.0.1:8000/x", b"http://a b/", b"nonsense"]),
    st.just(b"http://" + b"a" * 300 + b".org/"),
)
OV_POLICY = tlv(SEQUENCE, tlv(SEQUENCE, tlv(0x06, bytes.fromhex("67810c010202"))))
EXTRA = st.sampled_from(
    [
        Extension(oid=CONSTRAINTS, value=tlv(SEQUENCE, tlv(0xA0, tlv(SEQUENCE, tlv(DNS, b"example.org"))))),
        Extension(oid=POLICIES, value=OV_POLICY),
        Extension(oid=POLICIES, value=tlv(SEQUENCE, tlv(SEQUENCE, tlv(0x06, bytes.fromhex("551d2000"))))),
        Extension(oid=SAN, value=tlv(SEQUENCE, tlv(DNS, b"other.example.org"))),
        Extension(oid=SKI, value=tlv(OCTETS, b"\2" * 20)),
        Extension(oid=bytes.fromhex("2b0601040182373c01"), value=b"\5\0", critical=CRITICAL),
        Extension(oid=bytes.fromhex("2b06010401d679020403"), value=b"\5\0", critical=CRITICAL),
        Extension(oid=BASIC, value=tlv(SEQUENCE, tlv(0x01, b"\xff")), critical=CRITICAL),
    ]
)
POSITIONS = st.integers(0, 7)
CHANGES: st.SearchStrategy[Change] = st.one_of(
    part("serial", st.binary(max_size=22)),
    part("serial", st.sampled_from([b"\0", b"\1", b"\xff", b"\0\1", b"\0\x80"])),
    part("serial", st.sampled_from([b"\x7f" + b"\xff" * 19, b"\0" + b"\xff" * 20])),
    st.builds(lambda v: lambda leaf: replace(leaf, validity=(v, leaf.validity[1])), DATES),
    st.builds(lambda v: lambda leaf: replace(leaf, validity=(leaf.validity[0], v)), DATES),
    st.just(lambda leaf: replace(leaf, validity=leaf.validity[::-1])),
    st.builds(lambda names: named(*names), st.lists(HOSTS, min_size=1, max_size=4)),
    part("names", st.lists(NAMES, max_size=4).map(tuple)),
    st.builds(lambda name: further(*name), NAMES),
    st.builds(common, TEXTS, st.sampled_from([UTF8, PRINTABLE, IA5, 0x1E])),
    st.builds(lambda a: lambda leaf: replace(leaf, subject=(*leaf.subject, (a,))), ATTRIBUTES),
    st.builds(lambda a: lambda leaf: replace(leaf, subject=((a, *(leaf.subject or ((),))[0]),)), ATTRIBUTES),
    st.just(lambda leaf: replace(leaf, subject=leaf.subject[::-1])),
    part("subject", st.just(())),
    part("key", st.sampled_from(KEYS)),
    st.builds(lambda bits: lambda leaf: replace(leaf, key=(leaf.key[0], bits)), KEY_BITS),
    st.builds(lambda algorithm: lambda leaf: replace(leaf, key=(algorithm, leaf.key[1])), ALGORITHMS),
    part("identifier", st.binary(max_size=21)),
    st.builds(
        lambda at: lambda leaf: replace(leaf, extensions=leaf.extensions[:at] + leaf.extensions[at + 1 :]),
        POSITIONS,
    ),
    st.builds(
        lambda at: lambda leaf: replace(leaf, extensions=leaf.extensions + leaf.extensions[at : at + 1]),
        POSITIONS,
    ),
    st.just(lambda leaf: replace(leaf, extensions=leaf.extensions[::-1])),
    st.builds(lambda one: lambda leaf: replace(leaf, extensions=(*leaf.extensions, one)), EXTRA),
    st.builds(
        lambda at, critical: (
            lambda leaf: replace(
                leaf,
                extensions=tuple(
                    replace(e, critical=critical) if n == at else e for n, e in enumerate(leaf.extensions)
                ),
            )
        ),
        POSITIONS,
        st.sampled_from([b"", CRITICAL, NOT_CRITICAL, tlv(0x01, b"\1")]),
    ),
    st.builds(lambda url: with_extension(AIA, value=issuer_at(url)), URLS),
    st.builds(lambda url: with_extension(CRLDP, value=crl_at(url)), URLS),
    st.builds(
        lambda bits: with_extension(USAGE, value=bits),
        st.sampled_from([b"\3\2\5\xa0", b"\3\2\3\x08", b"\3\1\0"]),
    ),
    st.builds(lambda value: with_extension(AKI, value=value), st.sampled_from([tlv(SEQUENCE), b"\5\0"])),
    part("version", st.sampled_from([b"", tlv(0xA0, b"\2\1\1"), tlv(0xA0, b"\2\1\0")])),
    part("algorithm", st.sampled_from([RSA, ECDSA_SHA256[:-1] + b"\3"])),
    part("after", st.binary(min_size=1, max_size=2)),
    part("patch", st.tuples(st.integers(0, 900), st.integers(0, 255))),
)

OV, DV = Leaf(), Leaf(subject=(((CN, UTF8, b"www.example.org"),),))
NAMELESS = Leaf(
    subject=(),
    extensions=tuple(replace(e, critical=CRITICAL) if e.oid == SAN else e for e in Leaf().extensions),
)
OF_ADDRESSES = replace(
    OV, names=((IP, b"\x08\x08\x08\x08"), (IP, b"\x26" + bytes(14) + b"\1")), subject=OV.subject[:2]
)
BASES = {
    "organisation": OV,
    "common name alone": DV,
    "no subject": NAMELESS,
    "addresses": OF_ADDRESSES,
    "RSA": replace(OV, key=KEYS[3]),
    "P-384": replace(OV, key=KEYS[2]),
    "seven days": replace(OV, validity=(OV.validity[0], (UTC, b"261130115959Z"))),
    "three years": replace(OV, validity=(OV.validity[0], (UTC, b"291122120000Z"))),
    "before the rules of March 2026": replace(
        OV, validity=((UTC, b"260314120000Z"), (UTC, b"260601115959Z"))
    ),
    "reverse zone, while it was allowed": named(b"1.2.0.192.in-addr.arpa")(
        replace(OV, validity=((UTC, b"260314120000Z"), (UTC, b"260601115959Z")))
    ),
}


def new_primed() -> ShapeLint:
    """One that knows the shapes of all the good certificates."""
    shapes = ShapeLint()
    for leaf in BASES.values():
        assert shapes.objections(leaf.encoded()) == ()
    return shapes


@pytest.fixture(scope="module")
def primed() -> ShapeLint:
    """The same for every test that leaves it as it finds it."""
    return new_primed()


@pytest.mark.parametrize("leaf", BASES.values(), ids=BASES)
def test_the_second_of_a_shape_is_not_linted_in_full(leaf: Leaf) -> None:
    shapes = ShapeLint()
    for one in (leaf, replace(leaf, serial=b"\x7f" * 20)):
        assert shapes.objections(one.encoded()) == ()
    assert shapes.counts == {How.NEW_SHAPE: 1, How.BY_SHAPE: 1}


@pytest.mark.parametrize(
    "change",
    [
        named(b"other.example.org"),
        named(b"*.example.org"),
        named(*(b"h%d.example.ac.uk" % n for n in range(100))),
        lambda leaf: replace(leaf, key=KEYS[1]),
        lambda leaf: replace(leaf, validity=((UTC, b"261123000000Z"), (UTC, b"270220235959Z"))),
    ],
)
def test_what_differs_within_a_shape(change: Change) -> None:
    shapes = new_primed()
    before = shapes.counts[How.BY_SHAPE]
    der = change(OV).encoded()
    assert shapes.objections(der) == blocking(lint_certificate(der)) == ()
    assert shapes.counts[How.BY_SHAPE] == before + 1


STOPPED: dict[str, Change] = {
    "serial number zero": lambda leaf: replace(leaf, serial=b"\0"),
    "negative serial number": lambda leaf: replace(leaf, serial=b"\x80" + bytes(15)),
    "21 octets of a serial number": lambda leaf: replace(leaf, serial=b"\1" + bytes(20)),
    "ends before it begins": lambda leaf: replace(leaf, validity=leaf.validity[::-1]),
    "ends a second too early": lambda leaf: replace(
        leaf, validity=(leaf.validity[0], (UTC, b"261123115959Z"))
    ),
    "common name not among the names": common(b"mail.example.org"),
    "common name in other letters": common(b"WWW.example.org"),
    "common name too long": named(LONG),
    "no names": lambda leaf: replace(leaf, names=()),
    "a name of another kind": further(EMAIL, b"a@example.org"),
    "a bad label": further(DNS, b"a_b.example.org"),
    "a reserved label": further(DNS, b"ab--cd.example.org"),
    "an inner wildcard": further(DNS, b"www.*.example.org"),
    "an internal name": further(DNS, b"server.local"),
    "a reverse zone": further(DNS, b"1.2.0.192.in-addr.arpa"),
    "an address of five octets": further(IP, b"12345"),
    "an RSA key of 2047 bits": lambda leaf: replace(leaf, key=rsa_key(MODULUS >> 1)),
    "an even exponent": lambda leaf: replace(leaf, key=rsa_key(MODULUS, 65536)),
    "something after the names": with_extension(
        SAN, value=tlv(SEQUENCE, tlv(DNS, b"www.example.org")) + b"\0"
    ),
}


@pytest.mark.parametrize("base", ["organisation", "RSA"])
@pytest.mark.parametrize("change", STOPPED.values(), ids=STOPPED)
def test_what_full_lint_stops_is_stopped_for_a_known_shape(
    change: Change, base: str, primed: ShapeLint
) -> None:
    der = change(BASES[base]).encoded()
    assert primed.objections(der) == blocking(lint_certificate(der)) != ()


@pytest.mark.parametrize(
    "begin,end", [(b"260314235959Z", b"270416235959Z"), (b"260315000000Z", b"270108235959Z")]
)
def test_the_length_and_the_day_of_a_rule_count(
    monkeypatch: pytest.MonkeyPatch, begin: bytes, end: bytes
) -> None:
    """Of public CAs: 398 days until 14 March 2026, and 200 from then on (BR 6.3.2)."""
    monkeypatch.setattr(lint, "EXEMPTIONS", ())
    allowed = replace(
        OV,
        subject=(OV.subject[0], ((L, UTF8, b"Exeter"),), *OV.subject[1:]),
        extensions=(*OV.extensions, Extension(oid=POLICIES, value=OV_POLICY)),
        validity=((UTC, b"260314235959Z"), (UTC, b"270107235958Z")),  # 300 days, the day before
    )
    shapes, der = ShapeLint(), replace(allowed, validity=((UTC, begin), (UTC, end))).encoded()
    assert shapes.objections(allowed.encoded()) == ()
    assert shapes.objections(der) == blocking(lint_certificate(der)) != ()


@pytest.mark.parametrize("identifier", [b"\1" * 20, b"", hashlib.sha1(b"", usedforsecurity=False).digest()])
def test_another_key_identifier_is_linted_in_full(identifier: bytes) -> None:
    shapes = new_primed()
    shapes.counts.clear()
    shapes.objections(replace(OV, identifier=identifier).encoded())
    assert shapes.counts == {How.FELL_BACK: 1}


@given(st.sampled_from(sorted(BASES)), st.lists(CHANGES, min_size=1, max_size=3))
def test_whatever_is_done_to_a_certificate_both_verdicts_agree(
    primed: ShapeLint, base: str, changes: list[Change]
) -> None:
    leaf = BASES[base]
    for change in changes:
        leaf = change(leaf)
    der = leaf.encoded()
    full = blocking(lint_certificate(der))
    assert primed.objections(der) == full
    assert primed.objections(der) == full  # by shape now, where it has one and is clean


# Who reads what: pkilint's validators, watched while they lint.

_TBS = "certificate.tbsCertificate"
#: Where in the certificates above stands what differs within a shape.
DIFFERS = {
    "serial": f"{_TBS}.serialNumber",
    "validity": f"{_TBS}.validity",
    "key": f"{_TBS}.subjectPublicKeyInfo.subjectPublicKey",
    "names": f"{_TBS}.extensions.3.extnValue",
    "identifier": f"{_TBS}.extensions.5.extnValue",
    "common name": f"{_TBS}.subject.rdnSequence.2.0.value",
}
#: What is judged with pkilint's own validators each time, so that it does not matter what they read there.
ALONE = (f"{_TBS}.subjectPublicKeyInfo", f"{DIFFERS['names']}.subjectAltName")
#: Whoever else reads what differs, and why a shape has the same verdict all the same.
READERS = {
    "CertificateSerialNumberValidator": {"serial"},  # from 1 to 2^159 - 1: checked
    # Two UTCTimes in strict DER: checked.
    "UtcTimeCorrectSyntaxValidator": {"validity"},
    "TimeCorrectEncodingValidator": {"validity"},
    # Whole days, by the day of the beginning: part of the shape.
    "CertificateSaneValidityPeriodValidator": {"validity"},
    "SubscriberValidityPeriodValidator": {"validity"},
    "SubscriberRevocationInformationPresenceValidator": {"validity"},
    # One of the names, which are judged, and no longer than 64: checked.
    "SubscriberCommonNameValidator": {"common name", "names"},
    "NameDecodingValidator": {"common name"},
    "HTMLEntitiesValidator": {"common name"},
    "SignificantAttributeValueValidator": {"common name"},
    # Decoded in full each time (names), or compared octet by octet (identifier).
    "ExtensionsDecodingValidator": {"names", "identifier"},
    "SubjectKeyIdentifierValidator": {"identifier", "key"},
}


def test_no_other_validator_reads_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    read: dict[str, set[str]] = defaultdict(set)
    asked: list[PDUNode] = []
    validate = Validator.validate_wrapper

    def watched(self: Validator, node: PDUNode) -> object:
        asked.append(node)
        try:
            return validate(self, node)
        finally:
            asked.pop()
            for path in seen:
                read[type(self).__name__] |= {
                    what for what, at in DIFFERS.items() if f"{path}.".startswith(f"{at}.")
                }
            seen.clear()

    seen: set[str] = set()

    def pdu(node: PDUNode) -> object:
        if asked and not f"{asked[-1].path}.".startswith(tuple(f"{alone}." for alone in ALONE)):
            seen.add(node.path)
        return node.__dict__["pdu"]

    def keep(node: PDUNode, value: object) -> None:
        node.__dict__["pdu"] = value

    monkeypatch.setattr(Validator, "validate_wrapper", watched)
    monkeypatch.setattr(PDUNode, "pdu", property(pdu, keep), raising=False)
    for leaf in BASES.values():
        lint_certificate(leaf.encoded())
    assert {name: what for name, what in read.items() if what} == READERS


def test_the_proof_is_for_the_version_that_is_installed() -> None:
    """After an upgrade: run the tests above with many examples, compare READERS, and raise PROVEN_WITH."""
    assert version("pkilint") == PROVEN_WITH


def test_another_version_lints_everything_in_full() -> None:
    shapes = ShapeLint(pkilint="0.14.0")
    assert shapes.objections(OV.encoded()) == shapes.objections(OV.encoded()) == ()
    assert shapes.counts == {How.FELL_BACK: 2}


def test_too_many_shapes_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint_shapes, "MOST_SHAPES", 1)
    shapes = ShapeLint()
    for leaf in (OV, DV, OV):
        assert shapes.objections(leaf.encoded()) == ()
    assert shapes.counts == {How.NEW_SHAPE: 3}
