"""The list of known compromised keys: read as badkeys reads it, and its age told."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from badkeys.allkeys import block
from badkeys.checks import checkall
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from certdesk.domain.csr.known_keys import NO_LIST, RECORD, KnownKeys, check_known
from certdesk.domain.findings import Verdict

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TITLES = {1: "debianssl", 2: "published"}
NUMBERS = st.integers(1, 2**2048)


def octets(keys: Iterable[tuple[int, int]]) -> bytes:
    """A list of (number of the key, number of its list), as badkeys publishes it."""
    hashed = (
        hashlib.sha256(number.to_bytes((number.bit_length() + 7) // 8)).digest()[:15] + bytes([which])
        for number, which in keys
    )
    return b"".join(sorted(hashed))


@given(st.dictionaries(NUMBERS, st.integers(0, 255), max_size=30), NUMBERS)
def test_every_key_on_it_is_found_and_no_other(listed: dict[int, int], other: int) -> None:
    known = KnownKeys(octets=octets(listed.items()), titles=TITLES, as_of=NOW)
    assert len(known) == len(listed)
    for number, which in listed.items():
        assert known.find(number) == TITLES.get(which, f"list {which}")
    if other not in listed:
        assert known.find(other) is None


@given(st.dictionaries(NUMBERS, st.sampled_from(sorted(TITLES)), min_size=1, max_size=10), NUMBERS)
def test_badkeys_itself_reads_the_same_list_alike(listed: dict[int, int], other: int) -> None:
    """Against the library's own search, over the same octets."""
    data = octets(listed.items())
    known = KnownKeys(octets=data, titles=TITLES, as_of=NOW)
    before = block._bldata, block._blmeta
    block._bldata, block._blmeta = data, {number: {"name": name} for number, name in TITLES.items()}
    try:
        for number in (*listed, other):
            found = checkall(number, checks=["blocklist"])
            assert known.find(number) == (found["blocklist"]["subtest"] if found else None)
    finally:
        block._bldata, block._blmeta = before


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_a_key_is_looked_up_by_its_number(kind: str) -> None:
    if kind == "rsa":
        rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
        spki = rsa_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        number = rsa_key.public_numbers().n
    else:
        ec_key = ec.generate_private_key(ec.SECP256R1()).public_key()
        spki = ec_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        number = ec_key.public_numbers().x
    listed = KnownKeys(octets=octets([(number, 1), (7, 2)]), titles=TITLES, as_of=NOW)
    found = check_known(spki, listed, now=NOW)
    assert (found.code, found.verdict, found.seen) == ("key.known_compromised", Verdict.REFUSE, "debianssl")
    assert "Make a new key" in found.message
    others = KnownKeys(octets=octets([(number + 1, 1), (7, 2)]), titles=TITLES, as_of=NOW)
    assert check_known(spki, others, now=NOW).verdict is Verdict.PASS


def test_a_key_that_is_no_number_is_on_no_list() -> None:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    listed = KnownKeys(octets=octets([(7, 2)]), titles=TITLES, as_of=NOW)
    assert check_known(spki, listed, now=NOW).verdict is Verdict.PASS


@pytest.mark.parametrize(
    "age, told", [(0, "0 days old"), (1, "1 day old"), (400, "400 days old"), (-1, "0 days old")]
)
def test_the_age_of_the_list_is_told(age: int, told: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    as_of = NOW - timedelta(days=age)
    found = check_known(spki, KnownKeys(octets=octets([(7, 2)]), as_of=as_of), now=NOW)
    assert found.seen == f"list of {as_of:%-d %B %Y}, {told}"
    assert "1 known compromised keys" in found.message


def test_without_a_list_nothing_is_passed_and_the_check_says_so() -> None:
    found = check_known(b"", NO_LIST, now=NOW)
    assert (found.code, found.verdict) == ("key.known", Verdict.NOT_CHECKED)
    assert "No list of known compromised keys is loaded" in found.message
    assert len(NO_LIST) == 0
    assert RECORD == 16
