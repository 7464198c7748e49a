"""What every CA of our own needs: certificates of CAs, and files that are never overwritten. No CA's ways."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Generic, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


def key_usage(*wanted: str) -> x509.KeyUsage:
    """These key usages by their names in pyca, and no others (RFC 5280 4.2.1.3)."""
    return x509.KeyUsage(**{usage: usage in wanted for usage in _USAGES})


def ca_builder(
    name: x509.Name, key: CertificatePublicKeyTypes, *, years: int, path_length: int | None, now: datetime
) -> x509.CertificateBuilder:
    """A CA certificate without its issuer. It signs certificates, CRLs and (BR 7.1.2.10.7) OCSP answers."""
    begins = now.astimezone(UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # A day is spared at the start: leaves are back-dated and must lie within their issuer's time.
        .not_valid_before(begins - timedelta(days=1))
        .not_valid_after(begins + timedelta(days=365 * years))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(key_usage("digital_signature", "key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


K = TypeVar("K")


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority(Generic[K]):
    """The opened CA: its key, its certificate, and what stands above, up to the root."""

    key: K = field(repr=False)
    issuing: x509.Certificate
    above: tuple[x509.Certificate, ...]

    @property
    def chain(self) -> tuple[bytes, ...]:
        """Issuing certificate and those above, DER."""
        return tuple(ca.public_bytes(Encoding.DER) for ca in (self.issuing, *self.above))


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """One process makes the CA, others wait; the kernel drops the lock of one that dies. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_new(contents: Mapping[Path, bytes]) -> None:
    """Writes files of mode 0600 that must not be there yet; all of them are on the disk before one is named.

    A hard link, unlike a rename, never replaces a file. Raises OSError.
    """
    staged = {path: path.with_name(f".{path.name}.new") for path in contents}
    for path, temporary in staged.items():
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(contents[path])
            file.flush()
            os.fsync(file.fileno())
    for path, temporary in staged.items():
        path.hardlink_to(temporary)
    for path, temporary in staged.items():
        temporary.unlink()
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
