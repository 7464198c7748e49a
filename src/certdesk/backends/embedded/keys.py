"""The issuing key: of what kind it is, and how it signs. Where it lies is another matter (`token` or a file).

Bytes to be signed are encoded with a throw-away key of the same kind: the issuing key meets bytes alone.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, padding, rsa

from certdesk.domain.errors import Misconfigured

PrivateKey = (
    ec.EllipticCurvePrivateKey
    | rsa.RSAPrivateKey
    | mldsa.MLDSA44PrivateKey
    | mldsa.MLDSA65PrivateKey
    | mldsa.MLDSA87PrivateKey
)
PublicKey = (
    ec.EllipticCurvePublicKey
    | rsa.RSAPublicKey
    | mldsa.MLDSA44PublicKey
    | mldsa.MLDSA65PublicKey
    | mldsa.MLDSA87PublicKey
)
#: Public keys that may stand in a certificate.
CERTIFIED = (
    rsa.RSAPublicKey,
    ec.EllipticCurvePublicKey,
    mldsa.MLDSA44PublicKey,
    mldsa.MLDSA65PublicKey,
    mldsa.MLDSA87PublicKey,
)
_RSA_LEAST = 2048


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kind:
    """What keys of one kind have in common. `identifier` is their signatures' AlgorithmIdentifier, DER.

    `hash` is what is hashed with before signing; None where the algorithm does so itself.
    `is_repeatable` says whether the same bytes and the same key, in a file, give the same signature.
    """

    name: str
    hash: hashes.SHA256 | hashes.SHA384 | None
    identifier: bytes
    is_repeatable: bool = True

    @property
    def bits(self) -> int:
        """Of an RSA key."""
        return int(self.name.rpartition("-")[2])

    @property
    def deterministic(self) -> bool | None:
        """What the library's builders want to be told of ECDSA (RFC 6979); None of other algorithms."""
        return True if self.name in _CURVES else None

    def made(self) -> PrivateKey:
        """A new key of this kind."""
        if self.name in _CURVES:
            return ec.generate_private_key(_CURVES[self.name])
        if self.name in _POST_QUANTUM:
            return _POST_QUANTUM[self.name].generate()
        return rsa.generate_private_key(public_exponent=65537, key_size=self.bits)


_CURVES: Mapping[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}
_POST_QUANTUM: Mapping[
    str, type[mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey]
] = {
    "ML-DSA-44": mldsa.MLDSA44PrivateKey,
    "ML-DSA-65": mldsa.MLDSA65PrivateKey,
    "ML-DSA-87": mldsa.MLDSA87PrivateKey,
}
_PUBLIC = {
    "ML-DSA-44": mldsa.MLDSA44PublicKey,
    "ML-DSA-65": mldsa.MLDSA65PublicKey,
    "ML-DSA-87": mldsa.MLDSA87PublicKey,
}
_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")
#: RFC 5758 3.2 (ECDSA), RFC 4055 5 (RSA), RFC 9881 2 (ML-DSA).
KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(name="P-256", hash=hashes.SHA256(), identifier=bytes.fromhex("300a06082a8648ce3d040302")),
        Kind(name="P-384", hash=hashes.SHA384(), identifier=bytes.fromhex("300a06082a8648ce3d040303")),
        Kind(name="RSA-3072", hash=hashes.SHA256(), identifier=_RSA),
        Kind(name="RSA-4096", hash=hashes.SHA256(), identifier=_RSA),
        *(
            Kind(
                name=name,
                hash=None,
                identifier=bytes.fromhex(f"300b06096086480165030403{last}"),
                is_repeatable=False,
            )
            for name, last in (("ML-DSA-44", "11"), ("ML-DSA-65", "12"), ("ML-DSA-87", "13"))
        ),
    )
}


class Signer(Protocol):
    """An issuing key that signs, wherever it lies."""

    @property
    def kind(self) -> Kind:
        """Of what kind it is."""

    @property
    def is_repeatable(self) -> bool:
        """Whether it signs the same bytes alike each time."""

    def sign(self, content: bytes) -> bytes:
        """The signature as it stands in a certificate. Raises Unavailable where the key can't be reached."""


@dataclass(frozen=True, slots=True)
class KeyInMemory:
    """A key that was read from its file, once: reading it for each signature would cost more than signing."""

    key: PrivateKey = field(repr=False)
    kind: Kind

    @property
    def is_repeatable(self) -> bool:
        return self.kind.is_repeatable

    def sign(self, content: bytes) -> bytes:
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            assert self.kind.hash is not None  # noqa: S101 - for the type checker
            return self.key.sign(content, ec.ECDSA(self.kind.hash, deterministic_signing=True))
        if isinstance(self.key, rsa.RSAPrivateKey):
            assert self.kind.hash is not None  # noqa: S101 - as above
            return self.key.sign(content, padding.PKCS1v15(), self.kind.hash)
        return self.key.sign(content)


def kind_of(key: object) -> Kind:
    """The kind of a public key. Raises Misconfigured for a key with which no CA signs here."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        for name, curve in _CURVES.items():
            if key.curve.name == curve.name:
                return KINDS[name]
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _RSA_LEAST:
        return KINDS["RSA-3072"]  # what signs is alike for every size
    for name, public in _PUBLIC.items():
        if isinstance(key, public):
            return KINDS[name]
    raise Misconfigured(f"The issuing key is of a kind that is not used here. Kinds: {', '.join(KINDS)}.")


def verify(key: PublicKey, signature: bytes, content: bytes, kind: Kind) -> None:
    """Raises InvalidSignature unless the key of this kind has signed the content."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        assert kind.hash is not None  # noqa: S101 - for the type checker
        key.verify(signature, content, ec.ECDSA(kind.hash))
    elif isinstance(key, rsa.RSAPublicKey):
        assert kind.hash is not None  # noqa: S101 - as above
        key.verify(signature, content, padding.PKCS1v15(), kind.hash)
    else:
        key.verify(signature, content)


@functools.cache
def throw_away(kind: Kind) -> PrivateKey:
    """A key of this process that certifies nothing anywhere."""
    return kind.made()
