"""The public half of a private key that somebody pasted: proven for every kind, or not told."""

import base64
import hashlib
import math

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from certdesk.domain.csr.private_keys import holds_private_key, private_key_in_der, public_halves


def pasted(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("kind", ["rsa", "ec", "ed25519", "ed448"])
def test_the_half_of_each_kind_that_has_one(kind: str) -> None:
    key: PrivateKeyTypes
    match kind:
        case "rsa":
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case "ec":
            key = ec.generate_private_key(ec.SECP256R1())
        case "ed25519":
            key = ed25519.Ed25519PrivateKey.generate()
        case _:
            key = ed448.Ed448PrivateKey.generate()
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert public_halves(pasted(key)) == (hashlib.sha256(spki).hexdigest(),)


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    return bytes([tag, size] if size < 0x80 else [tag, 0x82, *size.to_bytes(2, "big")]) + content


_Made = type[mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey]
KINDS: dict[str, tuple[_Made, int, int]] = {
    "ML-DSA-44": (mldsa.MLDSA44PrivateKey, 17, 2560),
    "ML-DSA-65": (mldsa.MLDSA65PrivateKey, 18, 4032),
    "ML-DSA-87": (mldsa.MLDSA87PrivateKey, 19, 4896),
}


@pytest.mark.parametrize("form", ["seed", "both", "expanded", "cut"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_half_of_an_ml_dsa_key_follows_from_its_seed(kind: str, form: str) -> None:
    """The forms of RFC 9881 6; OpenSSL writes both, and pyca loads the first alone."""
    made, number, size = KINDS[kind]
    key = made.generate()
    seed, expanded = key.private_bytes_raw(), _tlv(0x04, bytes(size))
    inner = {
        "seed": _tlv(0x80, seed),
        "both": _tlv(0x30, _tlv(0x04, seed) + expanded),
        "expanded": expanded,
        "cut": _tlv(0x80, seed[:31]),
    }[form]
    algorithm = bytes.fromhex("300b06096086480165030403") + bytes([number])
    der = _tlv(0x30, b"\x02\x01\0" + algorithm + _tlv(0x04, inner))
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    proven = (hashlib.sha256(spki).hexdigest(),) if form in ("seed", "both") else ()
    assert private_key_in_der(der) == proven  # a private key in any case, and nothing is blocked on a claim
    pem = b"-----BEGIN PRIVATE KEY-----\n" + base64.encodebytes(der) + b"-----END PRIVATE KEY-----\n"
    assert holds_private_key(pem)
    assert public_halves(pem) == proven
    if form == "seed":
        assert der == key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def test_a_kind_that_nobody_certifies_is_not_told() -> None:
    assert public_halves(pasted(x25519.X25519PrivateKey.generate())) == ()


def test_nothing_is_computed_with_numbers_of_any_length() -> None:
    usual = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_numbers()
    order = math.lcm(usual.p - 1, usual.q - 1)
    e = next(number for number in range(2**1000 + 1, 2**1001, 2) if math.gcd(number, order) == 1)
    d = pow(e, -1, order)
    long = rsa.RSAPrivateNumbers(
        p=usual.p,
        q=usual.q,
        d=d,
        dmp1=d % (usual.p - 1),
        dmq1=d % (usual.q - 1),
        iqmp=usual.iqmp,
        public_numbers=rsa.RSAPublicNumbers(e=e, n=usual.p * usual.q),
    )
    assert public_halves(pasted(long.private_key(unsafe_skip_rsa_key_validation=True))) == ()
