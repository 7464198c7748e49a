"""The public half of a private key that somebody pasted: proven for every kind, or not told."""

import hashlib
import math

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from certdesk.domain.csr.private_keys import public_halves


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
