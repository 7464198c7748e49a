"""Keys and CSRs made on this machine, and what a certificate in a file says. A private key is never sent.

The only client module that loads cryptography at once: commands import it when they need it.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import idna
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from certdesk.cli.client.exits import Exit, Failure
from certdesk.domain.acme import renewal

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_CURVES: dict[str, ec.EllipticCurve] = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1()}
MAX_COMMON_NAME = 64  # ub-common-name (RFC 5280 appendix A)
_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\r?\n?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """What a server's certificate says; `spki` is its public key, DER."""

    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    serial: str
    sha256: str
    spki: bytes


def make_key(kind: str) -> bytes:
    """A new private key, PEM (PKCS#8), of one of `live.KEY_TYPES`."""
    key: PrivateKey
    if kind in _CURVES:
        key = ec.generate_private_key(_CURVES[kind])
    else:
        key = rsa.generate_private_key(public_exponent=65537, key_size=int(kind.removeprefix("rsa")))
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def make_csr(key_pem: bytes, names: tuple[str, ...]) -> bytes:
    """A CSR for these names, PEM; the first one is its common name where that is short enough."""
    common = [names[0]] if len(names[0]) <= MAX_COMMON_NAME else []
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common])
    sans = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    signed = builder.add_extension(sans, critical=not common).sign(_load_key(key_pem), hashes.SHA256())
    return signed.public_bytes(Encoding.PEM)


def ascii_name(name: str) -> str:
    """A host name as it stands in certificates: lower case, A-labels. Raises Failure for anything else."""
    star = "*." if name.startswith("*.") else ""
    try:
        return star + idna.encode(name.removeprefix("*.").lower(), uts46=True).decode()
    except idna.IDNAError as error:
        raise Failure(f"“{name}” is not the name of a host: {error}", code=Exit.USAGE) from None


def read_leaf(content: bytes) -> Leaf:
    """The first certificate of a file, PEM or DER. Raises ValueError."""
    certificate = _load(content)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        dns = tuple(names.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        dns = ()
    return Leaf(
        names=dns,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        serial=f"{certificate.serial_number:x}",
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        spki=certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    )


def renewal_identifier(content: bytes) -> str:
    """What ARI knows a certificate by (RFC 9773 4.1); empty where it names no issuer's key."""
    return renewal.renewal_identifier(_load(content))


def belongs(leaf: Leaf, key_pem: bytes) -> bool:
    """Whether the certificate is for this key."""
    public = _load_key(key_pem).public_key()
    return leaf.spki == public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def split_chain(fullchain: bytes) -> tuple[bytes, bytes]:
    """The leaf and what is above it, from a PEM file that holds both. Raises ValueError without a leaf."""
    blocks = _BLOCK.findall(fullchain)
    if not blocks:
        raise ValueError("there is no certificate in it")
    return blocks[0], b"".join(blocks[1:])


def _load(content: bytes) -> x509.Certificate:
    if b"-----BEGIN" in content:
        return x509.load_pem_x509_certificate(split_chain(content)[0])
    return x509.load_der_x509_certificate(content)


def _load_key(key_pem: bytes) -> PrivateKey:
    key = load_pem_private_key(key_pem, None)
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise Failure("The key is neither EC nor RSA.")
    return key
