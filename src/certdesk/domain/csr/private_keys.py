"""Private keys that people send by mistake: told from other things, and whose public half they are.

A public key is blocked for everybody because of what is found here, so a file that only names it is not
enough: the private half has to be proven. Nothing of a private key leaves this module.
Sources: RFC 5958, RFC 8017 appendix A.1.2, RFC 5915, RFC 9881 6.
"""

import base64
import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Annotated

import gmpy2
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_ssh_private_key,
)
from cryptography.hazmat.primitives.serialization.ssh import SSHPrivateKeyTypes

from certdesk.domain.csr.keys import MAX_EXPONENT_BITS, MAX_RSA_BITS, PARSE_ERRORS
from certdesk.domain.errors import BadCsr

#: No private key for an acceptable public key is longer than this; longer ones are not worth loading.
_MAX_PRIVATE_KEY = 8_192
#: Kinds of key that a certificate might hold, here or elsewhere, and that are cheap to load.
_BLOCKABLE = frozenset({"1.2.840.113549.1.1.1", "1.2.840.10045.2.1", "1.3.101.112", "1.3.101.113"})
#: Of these the seed alone says all; OpenSSL writes it with what follows from it, which pyca does not load.
_SEEDED: Mapping[str, type[mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey]] = {
    "2.16.840.1.101.3.4.3.17": mldsa.MLDSA44PrivateKey,
    "2.16.840.1.101.3.4.3.18": mldsa.MLDSA65PrivateKey,
    "2.16.840.1.101.3.4.3.19": mldsa.MLDSA87PrivateKey,
}
_SEED = re.compile(
    rb"(?:\x80\x20|\x30\x82..\x04\x20)(.{32})", re.DOTALL
)  # RFC 9881 6: alone, or first of two
_PLAIN_KEYS = frozenset({b"PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY"})
#: How many keys of one upload are looked at: proving one of RSA with 4096 bits takes some 15 ms.
_MOST_KEYS = 8

_BEGIN = b"-----BEGIN "
_PRIVATE_KEY = re.compile(rb"(?:BEGIN|END) [A-Z0-9 ]{0,40}PRIVATE KEY|PuTTY-User-Key-File-")
#: The beginning of a key and some of what it holds: a text may speak of the first line alone.
_KEY_IN_TEXT = re.compile(r"PRIVATE KEY-----.{0,200}?[A-Za-z0-9+/]{40}|Private-Lines: ", re.DOTALL)
_WHITESPACE = re.compile(rb"\s+")
_PROVEN = (
    "This is a private key, and it must never leave your server. We kept nothing of it, but it was sent over "
    "the network, so it counts as compromised and we issue no certificate for it. Stop using it, make a new "
    "key with a new CSR, and send the CSR alone."
)
_UNPROVEN = (
    "This looks like a private key, and a private key must never leave your server. We kept nothing of it. "
    "If it is in use anywhere, it is compromised now: make a new key with a new CSR, and send the CSR alone."
)


@asn1.sequence
class _PrivateKeyInfo:
    """RFC 5958 2, as far as it tells a private key from other things."""

    version: int
    algorithm: list[asn1.TLV]
    private_key: bytes
    attributes: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(0)]
    public_key: Annotated[asn1.BitString | None, asn1.Implicit(1)]


class PrivateKeyPasted(BadCsr):
    """A private key was sent by mistake: `spki_sha256` names the public keys that it was proven to belong to.

    It holds hashes of public keys only, in hex. A key that can't be read (encrypted, damaged) or whose
    numbers are forged proves nothing and gives none: a public key is never blocked on a claim.
    """

    code = "csr.private_key"

    def __init__(self, *, spki_sha256: tuple[str, ...] = ()) -> None:
        super().__init__(_PROVEN if spki_sha256 else _UNPROVEN)
        self.spki_sha256 = spki_sha256


def holds_private_key(data: bytes) -> bool:
    """Whether there is a private key in PEM or PuTTY's format in here, or a part of one."""
    return _PRIVATE_KEY.search(data) is not None


def quotes_private_key(text: str) -> bool:
    """Whether a note or the like has a private key in it, and not only the name of one."""
    return _KEY_IN_TEXT.search(text) is not None


def public_halves(data: bytes) -> tuple[str, ...]:
    """Hashes of the public keys that the PEM private keys in here are proven to belong to."""
    found: list[str] = []
    blocks = (block.partition(b"-----") for block in data.split(_BEGIN)[1:])
    keys = [(label, rest) for label, _, rest in blocks if label.endswith(b"PRIVATE KEY")]
    for label, rest in keys[:_MOST_KEYS]:
        body, end, _ = rest.partition(b"-----END ")
        try:
            if label == b"OPENSSH PRIVATE KEY" and end and len(body) <= 2 * _MAX_PRIVATE_KEY:
                lines = _WHITESPACE.sub(b"\n", body)
                pem = b"-----BEGIN OPENSSH PRIVATE KEY-----" + lines + b"-----END OPENSSH PRIVATE KEY-----\n"
                found += _public_hash(load_ssh_private_key(pem, None, unsafe_skip_rsa_key_validation=True))
            elif label in _PLAIN_KEYS and end:
                der = base64.b64decode(_WHITESPACE.sub(b"", body), validate=True)
                found += private_key_in_der(der) or ()
        except PARSE_ERRORS:
            continue  # Encrypted or damaged: nothing to block, and it is refused all the same.
    return tuple(dict.fromkeys(found))


def private_key_in_der(der: bytes) -> tuple[str, ...] | None:
    """The public half of a DER private key; empty if it is locked, forged or of no use here, None if it is
    no key.

    Loading a DSA or DH key computes its public half, which takes seconds for one that is made for that: the
    algorithm is looked at first. Loading an RSA key tests its primes, which may take as long: it is left out,
    and `_is_pair` proves the key instead.
    """
    algorithm, seed = "", None  # of an unencrypted PKCS#8 key
    try:
        found = asn1.decode_der(_PrivateKeyInfo, der)
        oid: x509.ObjectIdentifier = found.algorithm[0].parse(x509.ObjectIdentifier)
        algorithm, seed = oid.dotted_string, _SEED.match(found.private_key)
    except PARSE_ERRORS:
        pass
    if algorithm in _SEEDED and seed is not None:
        return _public_hash(_SEEDED[algorithm].from_seed_bytes(seed[1]))
    if algorithm and (algorithm not in _BLOCKABLE or len(der) > _MAX_PRIVATE_KEY):
        return ()
    if len(der) > _MAX_PRIVATE_KEY:
        return None
    try:
        return _public_hash(load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True))
    except TypeError:
        return ()  # pyca's word for "this one needs a password"
    except PARSE_ERRORS:
        return () if algorithm else None


def _public_hash(key: PrivateKeyTypes | SSHPrivateKeyTypes) -> tuple[str, ...]:
    if not _is_pair(key):
        return ()
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return (hashlib.sha256(spki).hexdigest(),)


def _is_pair(key: PrivateKeyTypes | SSHPrivateKeyTypes) -> bool:
    """Whether the private half really is that of the public one, which in a file stands beside it."""
    match key:
        case rsa.RSAPrivateKey():
            # The primes make the modulus, and what the public exponent encrypts, the private one decrypts.
            numbers = key.private_numbers()
            n, e, d = numbers.public_numbers.n, numbers.public_numbers.e, numbers.d
            if n.bit_length() > MAX_RSA_BITS or e.bit_length() > MAX_EXPONENT_BITS:
                return False  # None that we certify; with a stranger's numbers nothing of any length is done.
            if min(numbers.p, numbers.q) <= 1 or numbers.p * numbers.q != n or not 1 < d < n:
                return False
            message = secrets.randbelow(n)
            return bool(gmpy2.powmod(gmpy2.powmod(message, e, n), d, n) == message)
        case ec.EllipticCurvePrivateKey():
            private = key.private_numbers().private_value
            return ec.derive_private_key(private, key.curve).public_key() == key.public_key()
        case ed25519.Ed25519PrivateKey() | ed448.Ed448PrivateKey():
            return True  # The public half was computed from the private one (RFC 8032 5.1.5).
        case mldsa.MLDSA44PrivateKey() | mldsa.MLDSA65PrivateKey() | mldsa.MLDSA87PrivateKey():
            return True  # As above, from its seed.
        case _:
            return False
