"""Public keys: facts from the raw bytes, and every rule that a key can break (BR 6.1.1.3)."""

import hashlib
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from certdesk.domain.csr.csr import key_of
from certdesk.domain.csr.keys import check_key, describe_key, key_facts
from certdesk.domain.errors import BadKey
from certdesk.domain.findings import Verdict
from tests.vectors import forge

_P, _Q = forge.prime("test p", 1024), forge.prime("test q", 1024)
#: Primes by their size. They were found once: looking for the largest takes seconds.
PRIMES = {size: (3 << size - 2) + above for size, above in ((2040, 1001), (2048, 439), (4096, 3389))}


def codes(spki: bytes) -> list[str]:
    return [check.code for check in check_key(key_facts(spki))]


def test_the_facts_of_an_rsa_key() -> None:
    spki = forge.rsa_spki(_P * _Q)
    key = key_facts(spki)
    assert (key.algorithm, key.size, key.curve, key.exponent) == ("RSA", 2048, "", 65537)
    assert (key.spki_der, key.spki_sha256) == (spki, hashlib.sha256(spki).hexdigest())
    assert describe_key(key) == "RSA 2048"


@pytest.mark.parametrize(
    "curve, name, size",
    [(ec.SECP256R1(), "P-256", 256), (ec.SECP384R1(), "P-384", 384), (ec.SECP521R1(), "P-521", 521)],
)
def test_the_facts_of_an_ec_key_and_that_it_passes(curve: ec.EllipticCurve, name: str, size: int) -> None:
    key = key_facts(forge.der_of(forge.ec_key(curve=curve).public_key()))
    assert (key.algorithm, key.size, key.curve, key.exponent) == ("EC", size, name, None)
    found = check_key(key)
    assert [(check.code, check.verdict) for check in found] == [("key.strength", Verdict.PASS)]


@pytest.mark.parametrize("size", [2048, 3072, 4096, 2056])
def test_sound_rsa_keys_pass(size: int) -> None:
    assert codes(forge.der_of(forge.seeded_rsa(size).public_key())) == ["key.strength"]


@pytest.mark.parametrize(
    "modulus, exponent, expected",
    [
        (1 << 1023 | 1, 65537, ["key.size"]),
        (1 << 2046 | 1, 65537, ["key.size"]),
        (1 << 2048 | 1, 65537, ["key.size"]),
        (1 << 4103 | 1, 65537, ["key.size"]),
        (1 << 65535 | 1, 65537, ["key.size"]),
        (_P * _Q, 3, ["key.exponent"]),
        (_P * _Q, 65536, ["key.exponent"]),
        (1 << 1023 | 1, 3, ["key.size", "key.exponent"]),
        (PRIMES[2040] << 8, 65537, ["key.weak.small_factor"]),
        (_P * _P, 65537, ["key.weak.fermat"]),
        (PRIMES[2048], 65537, ["key.weak.one_prime"]),
        (PRIMES[4096], 65537, ["key.weak.one_prime"]),
        (forge.next_prime((11 << 679) + forge.prime("cube", 679)) ** 3, 65537, ["key.weak.one_prime"]),
        (_P * _Q, 1, ["key.exponent"]),
    ],
    ids=lambda value: f"{value.bit_length()}-bits" if isinstance(value, int) else "-".join(value),
)
def test_rsa_keys_that_are_refused(modulus: int, exponent: int, expected: list[str]) -> None:
    assert codes(forge.rsa_spki(modulus, exponent)) == expected


def test_close_primes_and_roca_primes_are_found() -> None:
    assert codes(forge.der_of(forge.fermat_rsa().public_key())) == ["key.weak.fermat"]
    assert codes(forge.der_of(forge.roca_rsa().public_key())) == ["key.weak.roca"]


def test_a_huge_modulus_costs_next_to_nothing() -> None:
    spki = forge.rsa_spki((1 << 400_000) | 1)
    start = time.process_time()
    assert codes(spki) == ["key.size"]
    assert time.process_time() - start < 0.1


def test_a_huge_exponent_is_refused_and_never_passed_on_as_a_number() -> None:
    key = key_facts(forge.rsa_spki(_P * _Q, 1 << 20_000 | 1))
    assert key.exponent is None
    assert [check.code for check in check_key(key)] == ["key.exponent"]


def test_keys_of_other_kinds_are_refused_by_their_name() -> None:
    ed25519 = forge.sequence(forge.sequence(forge.oid("1.3.101.112")), forge.bits(b"\x11" * 32))
    found = check_key(key_facts(ed25519))
    assert [check.code for check in found] == ["key.type"]
    assert "Ed25519" in found[0].message
    assert "P-256" in found[0].message
    unknown = forge.sequence(forge.sequence(forge.oid("1.2.3.4")), forge.bits(b"\0"))
    assert "1.2.3.4" in check_key(key_facts(unknown))[0].message


def test_a_pss_key_is_not_taken_for_an_rsa_key() -> None:
    numbers = forge.sequence(forge.integer(_P * _Q), forge.integer(65537))
    spki = forge.spki("1.2.840.113549.1.1.10", forge.sequence(), numbers)
    assert key_facts(spki).algorithm == "RSA-PSS"
    assert codes(spki) == ["key.type"]


def test_unknown_curves_and_points_off_the_curve_are_refused() -> None:
    point = b"\x04" + b"\x11" * 64
    assert codes(forge.spki("1.2.840.10045.2.1", forge.oid("1.3.132.0.10"), point)) == ["key.curve"]
    assert codes(forge.spki("1.2.840.10045.2.1", forge.oid("1.2.3.4"), point)) == ["key.curve"]
    assert codes(forge.spki("1.2.840.10045.2.1", forge.oid("1.2.840.10045.3.1.7"), point)) == ["key.invalid"]
    infinity = forge.spki("1.2.840.10045.2.1", forge.oid("1.2.840.10045.3.1.7"), b"\0")
    assert codes(infinity) == ["key.invalid"]


_EC, _P_256, _RSA = "1.2.840.10045.2.1", forge.oid("1.2.840.10045.3.1.7"), "1.2.840.113549.1.1.1"
_POINT = forge.ec_key().public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
_NUMBERS = forge.sequence(forge.integer(_P * _Q), forge.integer(65537))


@pytest.mark.parametrize(
    "spelled, plain",
    [
        (
            forge.spki(_EC, _P_256, bytes([2 + _POINT[-1] % 2]) + _POINT[1:33]),
            forge.spki(_EC, _P_256, _POINT),
        ),
        (forge.spki(_EC, _P_256, bytes([6 + _POINT[-1] % 2]) + _POINT[1:]), forge.spki(_EC, _P_256, _POINT)),
        (forge.spki(_EC, _P_256 + forge.null(), _POINT), forge.spki(_EC, _P_256, _POINT)),
        (forge.spki(_RSA, b"", _NUMBERS), forge.rsa_spki(_P * _Q)),
        (forge.spki(_RSA, forge.oid("1.2.3"), _NUMBERS), forge.rsa_spki(_P * _Q)),
        (forge.spki(_RSA, forge.null() + forge.null(), _NUMBERS), forge.rsa_spki(_P * _Q)),
    ],
    ids=["compressed", "hybrid", "ec parameter twice", "rsa without null", "rsa oid", "rsa null twice"],
)
def test_no_other_spelling_of_a_key_passes_for_another_key(spelled: bytes, plain: bytes) -> None:
    """Blocks, limits and re-use go by the bytes of the key: one key has one spelling (BR 7.1.3.1)."""
    assert codes(plain) == ["key.strength"]
    assert codes(spelled) in (["key.encoding"], ["key.invalid"])


@pytest.mark.parametrize("form", [2, 6])
def test_a_block_is_of_the_key_however_its_evidence_spells_it(form: int) -> None:
    key = forge.ec_key()
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    other = bytes([form + point[-1] % 2]) + (point[1:33] if form == 2 else point[1:])
    spelled = forge.spki(_EC, _P_256, other)
    algorithm = forge.ec_algorithm()
    csr = forge.request(public_key=spelled, sign=forge.ec_signer(key), algorithm=algorithm)
    assert key_of(csr) == hashlib.sha256(forge.der_of(key.public_key())).hexdigest()


@given(st.binary(max_size=200))
def test_noise_is_a_bad_key_and_nothing_else(noise: bytes) -> None:
    for spki in (noise, forge.spki("1.2.840.113549.1.1.1", forge.null(), noise)):
        with pytest.raises(BadKey):
            key_facts(spki)


@given(st.binary(max_size=140))
def test_noise_as_a_point_is_refused(noise: bytes) -> None:
    assert codes(forge.spki("1.2.840.10045.2.1", forge.oid("1.2.840.10045.3.1.7"), noise)) == ["key.invalid"]
