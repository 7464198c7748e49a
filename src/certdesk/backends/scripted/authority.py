"""The scripted CA's own root, issuing certificate and signatures.

The folder holds `issuing.key` (encrypted) and `chain.pem` (issuing certificate, then root). The CA is made
only where neither is, nor the orders, and its root's key is thrown away.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_der_public_key,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from certdesk.backends.own_ca import Authority, ca_builder, exclusive, key_usage, write_new
from certdesk.backends.scripted.orders import ORDERS
from certdesk.domain.errors import BackendRefused, Misconfigured
from certdesk.domain.issuing.certificates import Intent, general_name

_KEY, _CHAIN = "issuing.key", "chain.pem"
_YEARS = 10


def open_or_make(
    folder: Path, passphrase: bytes, *, now: datetime, may_create: Callable[[], bool]
) -> Authority[ec.EllipticCurvePrivateKey]:
    """The CA of this folder, made first in an empty place if `may_create` agrees. Raises Misconfigured."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with exclusive(folder):
            if not any((folder / name).exists() for name in (_KEY, _CHAIN, ORDERS)) and may_create():
                _make(folder, passphrase, now=now)
        issuing, root = x509.load_pem_x509_certificates((folder / _CHAIN).read_bytes())
        key = load_pem_private_key((folder / _KEY).read_bytes(), passphrase)
    except (OSError, ValueError, TypeError) as error:
        advice = "Restore the folder from a backup; a new key could not stand in for the old one."
        raise Misconfigured(f"The scripted CA in {folder} can't be opened: {error}. {advice}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != issuing.public_key():
        raise Misconfigured(f"In {folder}, {_KEY} does not belong to {_CHAIN}. Restore both.")
    return Authority(key=key, issuing=issuing, above=(root,))


def sign_leaf(
    authority: Authority[ec.EllipticCurvePrivateKey], intent: Intent, *, names: tuple[str, ...]
) -> bytes:
    """A certificate as the intent says, for these names; DER. Raises BackendRefused when that can't be."""
    ends = authority.issuing.not_valid_after_utc
    if intent.not_after > ends:
        raise BackendRefused(f"The CA itself ends on {ends:%d %B %Y}, and no certificate may outlive it.")
    try:
        public_key = load_der_public_key(intent.spki_der)
        if not isinstance(public_key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)):
            raise TypeError("only RSA and EC keys are certified")  # noqa: TRY301 - told as the others
        common_name = NameOID.COMMON_NAME.dotted_string
        subject = [
            x509.NameAttribute(x509.ObjectIdentifier(oid), names[0] if oid == common_name else text)
            for oid, text in intent.subject
        ]
        usages = [x509.ObjectIdentifier(oid) for oid in intent.profile.eku]
        issuer = authority.issuing.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(authority.issuing.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(intent.not_before)
            .not_valid_after(intent.not_after)
            .add_extension(x509.SubjectAlternativeName(map(general_name, names)), critical=not subject)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage("digital_signature"), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False
            )
        )
        return builder.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.DER)
    except (ValueError, TypeError) as error:
        raise BackendRefused(f"This can't be put into a certificate: {error}") from error


def _make(folder: Path, passphrase: bytes, *, now: datetime) -> None:
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name, name = _name("Scripted Root (tests and demo)"), _name("Scripted CA (tests and demo)")
    root = ca_builder(root_name, root_key.public_key(), years=_YEARS, path_length=None, now=now)
    # RFC 5280 4.2.1.1: every certificate but a self-signed one says which key has signed it.
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    issuing = ca_builder(name, key.public_key(), years=_YEARS, path_length=0, now=now)
    certificates = (
        issuing.issuer_name(root_name).add_extension(above, critical=False).sign(root_key, hashes.SHA256()),
        root.issuer_name(root_name).sign(root_key, hashes.SHA256()),
    )
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))
    chain = b"".join(ca.public_bytes(Encoding.PEM) for ca in certificates)
    write_new({folder / _KEY: encrypted, folder / _CHAIN: chain})


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
