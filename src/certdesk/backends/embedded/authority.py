"""The embedded CA's two tiers: made once, opened at start. Nothing here issues to anybody (BR 7.1.2).

The issuing folder holds `issuing.key`, `issuing.crt` and `root.crt`; the root folder, which may be taken
away afterwards, `root.key` and `root.crt`. Below a root of somebody else's there is no root folder, and
`root.crt` is what stands above, up to that root. A CA is made only where none of these files is, and no key
is ever overwritten: under a new one of the same name, nobody could verify or revoke what the old has signed.
"""

import stat
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certdesk.backends.embedded.config import EmbeddedConfig
from certdesk.backends.embedded.keys import KeyInMemory, PrivateKey, PublicKey, Signer, kind_of
from certdesk.backends.embedded.token import TokenKey
from certdesk.backends.own_ca import Authority, ca_builder, exclusive, write_new
from certdesk.domain.errors import Misconfigured
from certdesk.domain.issuing.certificates import UNREADABLE

ISSUING_KEY = "issuing.key"
ISSUING_CERTIFICATE = "issuing.crt"
ROOT_KEY = "root.key"
ROOT_CERTIFICATE = "root.crt"

_ISSUING_FILES = (ISSUING_KEY, ISSUING_CERTIFICATE, ROOT_CERTIFICATE)

#: Of TLS: what a CA's certificate does not allow, clients don't accept of those below it.
USAGES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
_ROOT_YEARS = 20
ISSUING_YEARS = 10


def create_authority(
    config: EmbeddedConfig, now: datetime, *, may_create: Callable[[], bool]
) -> Authority[Signer]:
    """The CA of this configuration, made first in an empty place, if `may_create` agrees when asked then.

    `may_create` says that nothing was issued and no CRL was published before.
    Raises: Misconfigured when a file is missing or what is there can't be used.
    """
    if config.root_directory is None:
        return open_authority(config)
    make_folder(config.directory)
    with exclusive(config.directory):
        issuing = [config.directory / name for name in _ISSUING_FILES]
        if missing := [path for path in issuing if not path.exists()]:
            # The root folder is looked at only now: whoever has a complete CA may have taken it away.
            root = [config.root_directory / name for name in (ROOT_KEY, ROOT_CERTIFICATE)]
            empty, unused = not any(path.exists() for path in issuing + root), may_create()
            if not (empty and unused):
                otherwise = (
                    "This database has issued nothing yet: if there is no backup, for instance because the "
                    f"first start was interrupted, remove {config.directory} and {config.root_directory} and "
                    "start again."
                    if unused
                    else "A new CA could not revoke the certificates that were issued before, so none is "
                    "made."
                )
                raise Misconfigured(
                    f"The embedded CA is not complete. Missing: {', '.join(map(str, missing))}. Restore this "
                    f"from a backup, with mode 600, and start again. {otherwise}"
                )
            _make(config, config.root_directory, now)
    return open_authority(config)


def open_authority(config: EmbeddedConfig) -> Authority[Signer]:
    """The CA that stands in the issuing folder; the root folder is not looked at.

    Raises: Misconfigured for missing or unreadable files, loose permissions or a wrong passphrase.
    """
    folder = config.directory
    if config.root_directory is None and not (folder / ISSUING_CERTIFICATE).exists():
        raise Misconfigured(
            f"The CA “{config.slug}” has no certificate yet. Run “certdesk ca csr {config.slug}”, have its "
            f"root sign that, and run “certdesk ca install {config.slug}”."
        )
    _refuse_loose(folder)
    issuing, *more = load_certificates(folder / ISSUING_CERTIFICATE)
    above = (*more, *load_certificates(folder / ROOT_CERTIFICATE))
    key: Signer
    if config.token is not None:
        key = TokenKey(config.token, public_key_of(issuing))
    else:
        own = open_key(folder / ISSUING_KEY, config.passphrase)
        if own.public_key() != issuing.public_key():
            told = f"In {folder}, {ISSUING_KEY} does not belong to {ISSUING_CERTIFICATE}. Restore both."
            raise Misconfigured(told)
        key = KeyInMemory(own, kind_of(own.public_key()))
    for lower, upper in pairwise((issuing, *above)):
        try:
            lower.verify_directly_issued_by(upper)
        except (InvalidSignature, *UNREADABLE) as error:
            told = (
                f"In {folder}, {ISSUING_CERTIFICATE} was not issued by {ROOT_CERTIFICATE}. Restore both from "
                "a backup or, where an installation was cut short, run “certdesk ca install "
                f"{config.slug}” again."
            )
            raise Misconfigured(told) from error
    return Authority(key=key, issuing=issuing, above=above)


def open_key(path: Path, passphrase: bytes) -> PrivateKey:
    """An issuing key in its file. Raises Misconfigured."""
    content = _read(path)
    _refuse_loose(path)
    try:
        key = load_pem_private_key(content, passphrase)
    except (ValueError, TypeError) as error:
        advice = "Check the passphrase, or restore the file from a backup."
        raise Misconfigured(f"{path} can't be opened with the passphrase that is set. {advice}") from error
    kind_of(key.public_key())
    return cast("PrivateKey", key)


def public_key_of(issuing: x509.Certificate) -> PublicKey:
    """The key of a CA's certificate. Raises Misconfigured for one with which no CA signs here."""
    try:
        key = issuing.public_key()
    except UNREADABLE as error:
        raise Misconfigured(f"The key in the CA's certificate can't be read: {error}") from None
    kind_of(key)
    return cast("PublicKey", key)


# Making


def _make(config: EmbeddedConfig, root_directory: Path, now: datetime) -> None:
    make_folder(root_directory)
    root_key, key = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP256R1())

    # Both tiers say which key signed them: the root's.
    root_name = ca_name(config, "Root CA")
    identifier = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    above = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    root = (
        ca_builder(root_name, root_key.public_key(), years=_ROOT_YEARS, path_length=None, now=now)
        .issuer_name(root_name)
        .add_extension(above, critical=False)
        .sign(root_key, hashes.SHA384())
    )
    name = ca_name(config, "Issuing CA")
    issuing = (
        ca_builder(name, key.public_key(), years=ISSUING_YEARS, path_length=0, now=now)
        .issuer_name(root_name)
        .add_extension(above, critical=False)
        .add_extension(x509.ExtendedKeyUsage(USAGES), critical=False)
        .sign(root_key, hashes.SHA384())
    )
    root_pem = root.public_bytes(Encoding.PEM)
    try:
        write_new(
            {
                root_directory / ROOT_KEY: encrypted(root_key, config.passphrase),
                root_directory / ROOT_CERTIFICATE: root_pem,
                config.directory / ISSUING_KEY: encrypted(key, config.passphrase),
                config.directory / ROOT_CERTIFICATE: root_pem,
                config.directory / ISSUING_CERTIFICATE: issuing.public_bytes(Encoding.PEM),
            }
        )
    except OSError as error:
        told = f"The embedded CA can't write {error.filename2 or error.filename}: {error.strerror}."
        raise Misconfigured(told) from error


def ca_name(config: EmbeddedConfig, tier: str) -> x509.Name:
    """The name of one of its tiers. Raises Misconfigured."""
    try:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, config.name),
                x509.NameAttribute(NameOID.COMMON_NAME, f"{config.name} {tier}"),
            ]
        )
    except ValueError as error:
        told = f"The embedded CA's name “{config.name}” can't stand in a certificate: {error}"
        raise Misconfigured(told) from error


# Files


def make_folder(folder: Path) -> None:
    """Makes a folder for nobody else. Raises Misconfigured."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        told = f"The embedded CA's folder {folder} can't be made private: {error.strerror}."
        raise Misconfigured(told) from error


def encrypted(key: PrivateKey, passphrase: bytes) -> bytes:
    """The content of a key's file."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))


def _refuse_loose(path: Path) -> None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        told = f"The embedded CA misses {path}: {error.strerror}. Restore it from a backup."
        raise Misconfigured(told) from error
    if mode & 0o077:
        wanted = "700" if path.is_dir() else "600"
        raise Misconfigured(f"Others can read {path} (mode {mode:o}). Run: chmod {wanted} {path}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        told = f"The embedded CA can't read {path}: {error.strerror}. Restore it from a backup."
        raise Misconfigured(told) from error


def load_certificates(path: Path) -> list[x509.Certificate]:
    """The certificates of a file, one at least. Raises Misconfigured."""
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except UNREADABLE as error:
        raise Misconfigured(f"{path} is not a certificate in PEM form. Restore it from a backup.") from error
