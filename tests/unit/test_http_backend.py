"""What the thin clients share and needs no server: the order of a chain, how long a CA is left alone."""

import random
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from certdesk.backends.http.backend import _pause, ordered
from certdesk.backends.own_ca import ca_builder

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _chain() -> list[x509.Certificate]:
    """A certificate, its CA, a root; and a second key of the CA under the same name, which signed nothing."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
    names = [_name(text) for text in ("Root", "Issuing", "www.example.ac.uk")]
    made = []
    for depth, name in enumerate(names[:2]):
        builder = ca_builder(name, keys[depth].public_key(), years=5, path_length=None, now=NOW)
        made.append(builder.issuer_name(names[0]).sign(keys[0], hashes.SHA256()))
    leaf = x509.CertificateBuilder(names[1], names[2], keys[2].public_key(), 7, NOW, NOW + timedelta(days=1))
    made.append(leaf.sign(keys[1], hashes.SHA256()))
    other = ec.generate_private_key(ec.SECP256R1())
    twin = ca_builder(names[1], other.public_key(), years=5, path_length=None, now=NOW)
    return [*reversed(made), twin.issuer_name(names[0]).sign(keys[0], hashes.SHA256())]


def test_a_chain_is_put_in_order_however_it_came() -> None:
    leaf, issuing, root, twin = _chain()
    wanted = tuple(one.public_bytes(Encoding.DER) for one in (leaf, issuing, root))
    for came in random.sample(list(permutations((leaf, issuing, root, twin))), 12):
        assert ordered(list(came)) == wanted


def test_what_is_missing_ends_the_chain() -> None:
    leaf, issuing, root, _twin = _chain()
    assert ordered([root, leaf]) == (leaf.public_bytes(Encoding.DER),)
    assert len(ordered([issuing, leaf])) == 2
    assert ordered([root]) == (root.public_bytes(Encoding.DER),)
    assert ordered([]) == ()


@pytest.mark.parametrize(
    "header, seconds",
    [
        ("7", 7.0),
        ("0", 1.0),
        ("86400", 900.0),
        ("9" * 400, 900.0),
        ("Fri, 27 Nov 2026 12:01:00 GMT", 60.0),
        ("Fri, 27 Nov 2026 11:00:00 GMT", 1.0),
        ("Fri, 27 Nov 2026 12:01:00 -0000", 30.0),
        ("", 30.0),
        ("soon", 30.0),
        ("-5", 30.0),
    ],
)
def test_a_ca_is_left_alone_as_long_as_it_says_within_reason(header: str, seconds: float) -> None:
    assert _pause(header, NOW) == seconds
    assert timedelta(seconds=seconds) <= timedelta(minutes=15)
