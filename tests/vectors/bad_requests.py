"""Requests that can be read and must be refused: name, expected code, why, bytes."""

import ipaddress
from collections.abc import Iterator
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from tests.vectors import forge


class Vector(NamedTuple):
    """One bad upload."""

    file: str
    stage: str
    code: str
    why: str
    upload: bytes


def _refuse(file: str, code: str, why: str, der: bytes) -> Vector:
    upload = der if file.endswith(".der") else forge.pem(der)
    return Vector(file, "refuse", code, why, upload)


def refused() -> Iterator[Vector]:
    """All of them."""
    yield from _signatures()
    yield from _rsa_keys()
    yield from _other_keys()
    yield from _names()
    yield from _name_lists()
    yield from _subjects()


_WEAK_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),  # weak on purpose: it must be refused
    "md5": hashes.MD5(),
}


def _signatures() -> Iterator[Vector]:
    der = bytearray(forge.rsa_request(forge.seeded_rsa(2048)))
    der[-5] ^= 1
    yield _refuse("signature-flipped.csr", "csr.signature", "one bit of the signature is wrong", bytes(der))
    der = bytearray(forge.rsa_request(forge.seeded_rsa(2048)))
    at = der.index(b"www.example")
    der[at] = ord("x")
    yield _refuse("name-changed.der", "csr.signature", "a name was changed after signing", bytes(der))
    stranger = forge.request(
        public_key=forge.der_of(forge.ec_key().public_key()),
        sign=forge.ec_signer(forge.ec_key("somebody else")),
        algorithm=forge.ec_algorithm(),
        attributes=[forge.asks_for(forge.san(b"www.example.ac.uk"))],
    )
    yield _refuse("signature-of-another-key.csr", "csr.signature", "signed with another key", stranger)
    crossed = forge.request(
        public_key=forge.der_of(forge.ec_key().public_key()),
        sign=forge.rsa_signer(forge.seeded_rsa(2048)),
        algorithm=forge.rsa_algorithm(),
        attributes=[forge.asks_for(forge.san(b"www.example.ac.uk"))],
    )
    yield _refuse("signature-rsa-on-ec-key.csr", "csr.signature", "RSA signature, EC key", crossed)
    for word, oid in (("sha1", "1.2.840.113549.1.1.5"), ("md5", "1.2.840.113549.1.1.4")):
        made = forge.rsa_request(forge.seeded_rsa(2048), algorithm=oid, with_hash=_WEAK_HASHES[word])
        yield _refuse(
            f"signature-rsa-{word}.csr", "csr.signature_algorithm", f"signed with RSA and {word}", made
        )
    key = forge.ec_key()
    for word, oid, used in (
        ("sha1", "1.2.840.10045.4.1", _WEAK_HASHES["sha1"]),
        ("sha224", "1.2.840.10045.4.3.1", hashes.SHA224()),
    ):
        made = forge.request(
            public_key=forge.der_of(key.public_key()),
            sign=forge.ec_signer(key, used),
            algorithm=forge.ec_algorithm(oid),
            attributes=[forge.asks_for(forge.san(b"www.example.ac.uk"))],
        )
        yield _refuse(f"signature-ecdsa-{word}.csr", "csr.signature_algorithm", f"ECDSA with {word}", made)
    unknown = forge.unsigned_request(forge.der_of(key.public_key()), algorithm=forge.ec_algorithm("1.2.3.4"))
    yield _refuse(
        "signature-unknown.csr", "csr.signature_algorithm", "an algorithm that nobody knows", unknown
    )


def _rsa_keys() -> Iterator[Vector]:
    for size in (512, 1024, 2047, 2050, 8192):
        key = forge.seeded_rsa(size)
        yield _refuse(f"key-rsa-{size}.csr", "key.size", f"RSA with {size} bits", forge.rsa_request(key))
    huge = (1 << 65535) | forge.seed("huge") << 1 | 1
    yield _refuse(
        "key-rsa-65536.der",
        "key.size",
        "65,536 bits: must cost nothing",
        forge.unsigned_request(forge.rsa_spki(huge)),
    )
    p, q = forge.prime("certdesk e p", 1024), forge.prime("certdesk e q", 1024)
    for exponent in (1, 3, 65539, 2**64 + 13, 2**4000 + 1):
        made = forge.unsigned_request(forge.rsa_spki(p * q, exponent))
        label = exponent if exponent < 2**32 else f"of-{exponent.bit_length()}-bits"
        yield _refuse(f"key-rsa-exponent-{label}.csr", "key.exponent", "an exponent that is not 65537", made)
    yield _refuse("key-fermat.csr", "key.weak.fermat", "close primes", forge.rsa_request(forge.fermat_rsa()))
    yield _refuse("key-roca.csr", "key.weak.roca", "CVE-2017-15361", forge.rsa_request(forge.roca_rsa()))
    for factor, start in ((2, 2046), (10007, 2034), (65537, 2032)):
        modulus = factor * forge.prime("factor", start)
        modulus <<= 2048 - modulus.bit_length() if factor == 2 else 0
        yield _refuse(
            f"key-factor-{factor}.csr",
            "key.weak.small_factor",
            f"the modulus is a multiple of {factor}",
            forge.unsigned_request(forge.rsa_spki(modulus)),
        )

    cube = forge.next_prime((11 << 679) + forge.prime("cube", 679)) ** 3
    for word, modulus in (("prime", forge.prime("modulus", 2048)), ("cube", cube)):
        made = forge.unsigned_request(forge.rsa_spki(modulus))
        yield _refuse(f"key-modulus-{word}.csr", "key.weak.one_prime", f"the modulus is a {word}", made)


def _other_keys() -> Iterator[Vector]:
    for curve in (ec.SECP224R1(), ec.SECP256K1(), ec.BrainpoolP256R1()):
        made = forge.ec_request(forge.san(b"www.example.ac.uk"), curve=curve)
        yield _refuse(f"key-{curve.name}.csr", "key.curve", f"the curve {curve.name}", made)
    curve_oid = forge.oid("1.2.840.10045.3.1.7")
    point = b"\x04" + b"\x11" * 64
    off = forge.unsigned_request(
        forge.spki("1.2.840.10045.2.1", curve_oid, point), algorithm=forge.ec_algorithm()
    )
    yield _refuse("key-off-the-curve.csr", "key.invalid", "the point is not on P-256", off)
    yield _refuse("key-explicit-curve.csr", "key.curve", "explicit parameters of P-256", _explicit_curve())
    builder = _builder("www.example.ac.uk")
    for word, key in (
        ("ed25519", ed25519.Ed25519PrivateKey.from_private_bytes(b"\x42" * 32)),
        ("ed448", ed448.Ed448PrivateKey.from_private_bytes(b"\x42" * 57)),
    ):
        made = builder.sign(key, None).public_bytes(Encoding.DER)
        yield _refuse(f"key-{word}.csr", "key.type", f"{word} key", made)
    pss = forge.seeded_rsa(2048).public_key().public_numbers()
    parameters = forge.sequence(forge.integer(pss.n), forge.integer(pss.e))
    made = forge.unsigned_request(forge.spki("1.2.840.113549.1.1.10", forge.sequence(), parameters))
    yield _refuse("key-rsa-pss.csr", "key.type", "a key for RSA-PSS alone, which loads as RSA", made)
    made = forge.unsigned_request(
        forge.spki(
            "1.2.840.10040.4.1",
            forge.sequence(forge.integer(forge.prime("dsa p", 2048)), forge.integer(3), forge.integer(2)),
            forge.integer(4),
        ),
        algorithm=forge.ec_algorithm("2.16.840.1.101.3.4.3.2"),
    )
    yield _refuse("key-dsa.csr", "key.type", "DSA", made)


def _explicit_curve() -> bytes:
    """P-256 by its numbers (SEC 2, 2.4.2): pyca loads it as if it were named."""
    p = 2**256 - 2**224 + 2**192 + 2**96 - 1
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    generator = ec.derive_private_key(1, ec.SECP256R1()).public_key().public_numbers()
    base = b"\x04" + generator.x.to_bytes(32, "big") + generator.y.to_bytes(32, "big")
    parameters = forge.sequence(
        forge.integer(1),
        forge.sequence(forge.oid("1.2.840.10045.1.1"), forge.integer(p)),
        forge.sequence(forge.octets((p - 3).to_bytes(32, "big")), forge.octets(b.to_bytes(32, "big"))),
        forge.octets(base),
        forge.integer(order),
        forge.integer(1),
    )
    key = forge.ec_key()
    numbers = key.public_key().public_numbers()
    point = b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    return forge.request(
        public_key=forge.spki("1.2.840.10045.2.1", parameters, point),
        sign=forge.ec_signer(key),
        algorithm=forge.ec_algorithm(),
        attributes=[forge.asks_for(forge.san(b"www.example.ac.uk"))],
    )


_BAD_NAMES: tuple[tuple[str, bytes, str], ...] = (
    ("nul", b"www.example.ac.uk\0.evil.example", "names.character"),
    ("space", b"www example.ac.uk", "names.character"),
    ("leading-space", b" www.example.ac.uk", "names.character"),
    ("newline", b"www.example.ac.uk\nmail.example.ac.uk", "names.character"),
    ("comma", b"a.example.ac.uk,b.example.ac.uk", "names.character"),
    ("underscore", b"my_server.example.ac.uk", "names.character"),
    ("url", b"https://www.example.ac.uk/", "names.character"),
    ("port", b"www.example.ac.uk:443", "names.character"),
    ("e-mail", b"admin@example.ac.uk", "names.character"),
    ("markup", b"<script>alert(1)</script>.example.ac.uk", "names.character"),
    ("u-label", "bücher.example.ac.uk".encode(), "names.unicode"),
    ("kelvin-sign", "\u212a.example.ac.uk".encode(), "names.unicode"),
    ("bidi-control", "www\u202e.example.ac.uk".encode(), "names.unicode"),
    ("ideographic-dot", "www\u3002example.ac.uk".encode(), "names.unicode"),
    ("bad-a-label", b"xn--a.example.ac.uk", "names.idna"),
    ("a-label-of-ascii", b"xn--www-.example.ac.uk", "names.label"),
    ("reserved-hyphens", b"ab--cd.example.ac.uk", "names.idna"),
    ("leading-hyphen", b"-www.example.ac.uk", "names.label"),
    ("trailing-hyphen", b"www-.example.ac.uk", "names.label"),
    ("two-dots", b"www..example.ac.uk", "names.label"),
    ("leading-dot", b".example.ac.uk", "names.label"),
    ("trailing-dot", b"www.example.ac.uk.", "names.trailing_dot"),
    ("label-of-64", b"a" * 64 + b".example.ac.uk", "names.label_too_long"),
    ("name-of-254", b"a." * 120 + b"example.ac.uk.", "names.too_long"),
    ("empty", b"", "names.empty"),
    ("wildcard-over-suffix", b"*.ac.uk", "names.wildcard_public_suffix"),
    ("wildcard-over-tld", b"*.uk", "names.not_fqdn"),
    ("wildcard-alone", b"*", "names.wildcard"),
    ("wildcard-partial", b"www*.example.ac.uk", "names.wildcard"),
    ("wildcard-inside", b"www.*.example.ac.uk", "names.wildcard"),
    ("wildcard-twice", b"*.*.example.ac.uk", "names.wildcard"),
    ("public-suffix", b"ac.uk", "names.public_suffix"),
    ("single-label", b"intranet", "names.not_fqdn"),
    ("localhost", b"localhost", "names.not_fqdn"),
    ("local", b"printer.local", "names.internal"),
    ("internal", b"db.example.internal", "names.internal"),
    ("test", b"www.example.test", "names.internal"),
    ("home-arpa", b"nas.home.arpa", "names.internal"),
    ("unknown-tld", b"www.example.notatld", "names.internal"),
    ("onion", b"a" * 56 + b".onion", "names.onion"),
    ("reverse", b"1.2.0.192.in-addr.arpa", "names.reverse_zone"),
    ("reverse-6", b"8.b.d.0.1.0.0.2.ip6.arpa", "names.reverse_zone"),
    ("ip-as-dns", b"192.0.2.1", "names.ip_address"),
    ("ip6-as-dns", b"2001:db8::1", "names.ip_address"),
)


def _names() -> Iterator[Vector]:
    for word, value, code in _BAD_NAMES:
        made = forge.ec_request(forge.san(b"www.example.ac.uk", value))
        yield _refuse(f"name-{word}.csr", code, f"the second of two names: {word}", made)
    types: tuple[tuple[str, x509.GeneralName], ...] = (
        ("ip", x509.IPAddress(ipaddress.ip_address("192.0.2.1"))),
        ("ip6", x509.IPAddress(ipaddress.ip_address("2001:db8::1"))),
        ("e-mail", x509.RFC822Name("admin@example.ac.uk")),
        ("uri", x509.UniformResourceIdentifier("https://www.example.ac.uk/")),
        ("directory", x509.DirectoryName(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")]))),
        ("registered-id", x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))),
        ("upn", x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x01x")),
    )
    for word, general_name in types:
        alt_names = x509.SubjectAlternativeName([x509.DNSName("www.example.ac.uk"), general_name])
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        signed = builder.add_extension(alt_names, critical=False).sign(
            forge.ec_key(), hashes.SHA256(), ecdsa_deterministic=True
        )
        made = signed.public_bytes(Encoding.DER)
        yield _refuse(f"san-{word}.csr", "names.san_type", f"SAN type {word}", made)


def _name_lists() -> Iterator[Vector]:
    yield _refuse("names-none.csr", "names.none", "neither CN nor SAN", forge.ec_request())
    organisation = forge.name(("2.5.4.10", b"Example University"))
    yield _refuse("names-only-o.csr", "names.none", "O alone", forge.ec_request(subject=organisation))
    for count in (101, 3000):
        names = [f"h{number}.example.ac.uk".encode() for number in range(count)]
        if count > 1000:
            names = [f"h{number}.ac.uk".encode() for number in range(count)]
        yield _refuse(
            f"names-{count}.der", "names.too_many", f"{count} names", forge.ec_request(forge.san(*names))
        )


_BAD_SUBJECTS: tuple[tuple[str, tuple[tuple[str, bytes], ...], str], ...] = (
    ("cn-person", (("2.5.4.3", b"Jo Bloggs"),), "names.cn_not_a_name"),
    ("cn-organisation", (("2.5.4.3", b"Example University"),), "names.cn_not_a_name"),
    ("cn-empty", (("2.5.4.3", b""),), "names.cn_not_a_name"),
    ("cn-second", (("2.5.4.3", b"www.example.ac.uk"), ("2.5.4.3", b"The web server")), "names.cn_not_a_name"),
    ("cn-nul", (("2.5.4.3", b"www.example.ac.uk\0.evil.example"),), "subject.control"),
    ("cn-local", (("2.5.4.3", b"server"),), "names.not_fqdn"),
    ("cn-internal", (("2.5.4.3", b"server.lan"),), "names.internal"),
    ("cn-ip", (("2.5.4.3", b"192.0.2.1"),), "names.ip_address"),
    ("cn-underscore", (("2.5.4.3", b"my_server.example.ac.uk"),), "names.character"),
    ("cn-u-label", (("2.5.4.3", "bücher.example.ac.uk".encode()),), "names.unicode"),
    ("o-newline", (("2.5.4.10", b"Example\nUniversity"),), "subject.control"),
    ("o-bidi", (("2.5.4.10", "Example \u202eytisrevinU".encode()),), "subject.control"),
    ("ou-escape", (("2.5.4.11", b"\x1b[31mred"),), "subject.control"),
)


def _subjects() -> Iterator[Vector]:
    for word, attributes, code in _BAD_SUBJECTS:
        made = forge.ec_request(forge.san(b"www.example.ac.uk"), subject=forge.name(*attributes))
        yield _refuse(f"subject-{word}.csr", code, f"subject: {word}", made)


def _builder(*names: str) -> x509.CertificateSigningRequestBuilder:
    alt_names = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(alt_names, critical=False)
    )
