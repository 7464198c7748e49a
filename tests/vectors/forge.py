"""Builds requests that no tool makes, piece by piece, and the throw-away keys for them. Test data only.

Every key here comes from a seed in this file, so that anybody has it: never use one for anything.
"""

import base64
import hashlib
import random
from collections.abc import Callable, Iterable

import gmpy2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pyasn1.codec.der.encoder import encode  # type: ignore[import-untyped]  # pyasn1 ships no types
from pyasn1.type import tag, univ  # type: ignore[import-untyped]  # as above

EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
WINDOWS_EXTENSION_REQUEST = "1.3.6.1.4.1.311.2.1.14"
SUBJECT_ALT_NAME = "2.5.29.17"
SHA256_RSA = "1.2.840.113549.1.1.11"
SHA256_ECDSA = "1.2.840.10045.4.3.2"

Signer = Callable[[bytes], bytes]


def sequence(*parts: bytes) -> bytes:
    """DER SEQUENCE of what is DER already."""
    made = univ.Sequence()
    for index, part in enumerate(parts):
        made.setComponentByPosition(index, univ.Any(part))
    return bytes(encode(made))


def set_of(*parts: bytes) -> bytes:
    """DER SET OF."""
    made = univ.SetOf(componentType=univ.Any())
    made.extend([univ.Any(part) for part in parts])
    return bytes(encode(made))


def oid(dotted: str) -> bytes:
    """DER OBJECT IDENTIFIER."""
    return bytes(encode(univ.ObjectIdentifier(dotted)))


def integer(value: int) -> bytes:
    """DER INTEGER."""
    return bytes(encode(univ.Integer(value)))


def octets(value: bytes) -> bytes:
    """DER OCTET STRING."""
    return bytes(encode(univ.OctetString(value)))


def bits(value: bytes) -> bytes:
    """DER BIT STRING of whole bytes."""
    return bytes(encode(univ.BitString.fromOctetString(value)))


def tagged(number: int, value: bytes) -> bytes:
    """A primitive, context-specific value, as in GeneralName."""
    kind = tag.Tag(tag.tagClassContext, tag.tagFormatSimple, number)
    return bytes(encode(univ.OctetString(value).subtype(implicitTag=kind)))


def null() -> bytes:
    """DER NULL."""
    return bytes(encode(univ.Null("")))


def name(*attributes: tuple[str, bytes]) -> bytes:
    """A Name from dotted OID and UTF-8 bytes, which are not looked at."""
    return sequence(*(set_of(sequence(oid(dotted), utf8(value))) for dotted, value in attributes))


def utf8(value: bytes) -> bytes:
    """A UTF8String: pyasn1 would not make one of bytes that are not UTF-8, so only the tag is changed."""
    return b"\x0c" + octets(value)[1:]


def san(*dns: bytes) -> bytes:
    """A SAN extension with dNSNames of any bytes."""
    return extension(SUBJECT_ALT_NAME, sequence(*(tagged(2, value) for value in dns)))


def extension(dotted: str, value: bytes) -> bytes:
    """One Extension, not critical."""
    return sequence(oid(dotted), octets(value))


def asks_for(*extensions: bytes, attribute: str = EXTENSION_REQUEST) -> bytes:
    """An extensionRequest attribute."""
    return sequence(oid(attribute), set_of(sequence(*extensions)))


def spki(algorithm: str, parameters: bytes, key: bytes) -> bytes:
    """A SubjectPublicKeyInfo."""
    return sequence(sequence(oid(algorithm), parameters), bits(key))


def rsa_spki(modulus: int, exponent: int = 65537) -> bytes:
    """An RSA SubjectPublicKeyInfo of any numbers."""
    return spki("1.2.840.113549.1.1.1", null(), sequence(integer(modulus), integer(exponent)))


def request(
    *,
    public_key: bytes,
    sign: Signer,
    algorithm: bytes,
    subject: bytes = sequence(),
    attributes: Iterable[bytes] = (),
    version: int = 0,
) -> bytes:
    """A PKCS#10 request, DER."""
    kind = tag.Tag(tag.tagClassContext, tag.tagFormatConstructed, 0)
    asked = univ.SetOf(componentType=univ.Any()).subtype(implicitTag=kind)
    asked.extend([univ.Any(attribute) for attribute in attributes])
    info = sequence(integer(version), subject, public_key, bytes(encode(asked)))
    return sequence(info, algorithm, bits(sign(info)))


def seed(text: str) -> int:
    """A number from a text, always the same."""
    return int.from_bytes(hashlib.sha512(text.encode()).digest(), "big")


def ec_key(
    text: str = "certdesk vectors", curve: ec.EllipticCurve | None = None
) -> ec.EllipticCurvePrivateKey:
    """An EC key that everybody can compute."""
    return ec.derive_private_key(seed(text) % 2**190 + 1, curve or ec.SECP256R1())


def prime(text: str, size: int) -> int:
    """A prime that everybody can compute, with its two top bits set."""
    start = random.Random(text).getrandbits(size) | (3 << (size - 2)) | 1  # noqa: S311 - public on purpose
    return next_prime(start)


def next_prime(start: int) -> int:
    """The first prime above a number."""
    return int(gmpy2.next_prime(start))


def rsa_key(p: int, q: int, exponent: int = 65537) -> rsa.RSAPrivateKey:
    """An RSA key of any two primes."""
    d = int(gmpy2.invert(exponent, (p - 1) * (q - 1)))
    numbers = rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, p),
        dmq1=rsa.rsa_crt_dmq1(d, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=rsa.RSAPublicNumbers(exponent, p * q),
    )
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def seeded_rsa(size: int, text: str = "certdesk vectors") -> rsa.RSAPrivateKey:
    """A sound RSA key that everybody can compute."""
    return rsa_key(prime(text + " p", size // 2), prime(text + " q", size - size // 2))


def fermat_rsa() -> rsa.RSAPrivateKey:
    """Two primes so close together that Fermat's method finds them at once."""
    p = prime("fermat", 1024)
    return rsa_key(p, next_prime(p + 2**400))


def roca_rsa() -> rsa.RSAPrivateKey:
    """Primes of the form k * M + (65537 ** a mod M), as the flawed chips made them (CVE-2017-15361)."""
    return rsa_key(_roca_prime("roca p"), _roca_prime("roca q"))


def _roca_prime(text: str) -> int:
    primorial = int(gmpy2.primorial(701))
    generator = random.Random(text)  # noqa: S311 - public on purpose
    while True:
        power = pow(65537, generator.getrandbits(256), primorial)
        k = ((3 << 1022) | generator.getrandbits(1022)) // primorial
        candidate = k * primorial + power
        if candidate.bit_length() == 1024 and gmpy2.is_prime(candidate):
            return candidate


def rsa_signer(key: rsa.RSAPrivateKey, algorithm: hashes.HashAlgorithm | None = None) -> Signer:
    """Signs with PKCS#1 v1.5."""
    return lambda data: key.sign(data, padding.PKCS1v15(), algorithm or hashes.SHA256())


def ec_signer(key: ec.EllipticCurvePrivateKey, algorithm: hashes.HashAlgorithm | None = None) -> Signer:
    """Signs with ECDSA, the same way each time (RFC 6979)."""
    chosen = ec.ECDSA(algorithm or hashes.SHA256(), deterministic_signing=True)
    return lambda data: key.sign(data, chosen)


def rsa_algorithm(dotted: str = SHA256_RSA) -> bytes:
    """An AlgorithmIdentifier with NULL parameters."""
    return sequence(oid(dotted), null())


def ec_algorithm(dotted: str = SHA256_ECDSA) -> bytes:
    """An AlgorithmIdentifier without parameters."""
    return sequence(oid(dotted))


def der_of(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    """A key's SubjectPublicKeyInfo."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def ec_request(
    *extensions: bytes,
    subject: bytes = sequence(),
    attributes: Iterable[bytes] = (),
    version: int = 0,
    curve: ec.EllipticCurve | None = None,
) -> bytes:
    """A properly signed EC request around unusual extensions, subject or attributes."""
    key = ec_key(curve=curve)
    asked = [asks_for(*extensions)] if extensions else []
    return request(
        public_key=der_of(key.public_key()),
        sign=ec_signer(key),
        algorithm=ec_algorithm(),
        subject=subject,
        attributes=[*asked, *attributes],
        version=version,
    )


def rsa_request(
    key: rsa.RSAPrivateKey,
    *,
    dns: bytes = b"www.example.ac.uk",
    algorithm: str = SHA256_RSA,
    with_hash: hashes.HashAlgorithm | None = None,
) -> bytes:
    """A properly signed RSA request with one name."""
    return request(
        public_key=der_of(key.public_key()),
        sign=rsa_signer(key, with_hash),
        algorithm=rsa_algorithm(algorithm),
        attributes=[asks_for(san(dns))],
    )


def unsigned_request(public_key: bytes, *, algorithm: bytes | None = None) -> bytes:
    """A request with a key that nobody can sign with: its signature is noise."""
    return request(
        public_key=public_key,
        sign=lambda _: b"\x5a" * 256,
        algorithm=algorithm or rsa_algorithm(),
        attributes=[asks_for(san(b"www.example.ac.uk"))],
    )


def pem(der: bytes, *, label: str = "CERTIFICATE REQUEST", line_end: bytes = b"\n") -> bytes:
    """PEM with any label and line end."""
    body = base64.b64encode(der)
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    return line_end.join(
        [f"-----BEGIN {label}-----".encode(), *lines, f"-----END {label}-----".encode(), b""]
    )


def good_der() -> bytes:
    """A request with nothing wrong."""
    return ec_request(san(b"www.example.ac.uk"))
