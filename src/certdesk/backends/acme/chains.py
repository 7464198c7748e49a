"""Certificate chains as the CA serves them (RFC 8555 7.4.2): choosing one, and keeping the last."""

import contextlib
import itertools
import logging
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from certdesk.domain.issuing.certificates import UNREADABLE

log = logging.getLogger(__name__)

_CHAIN = "chain.pem"


def read_chain(pem: bytes) -> tuple[bytes, ...]:
    """Certificates in PEM as DER, in their order. Raises ValueError for anything else."""
    return tuple(one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(pem))


class Chains:
    """`preferred` is a common name, or a SHA-256 in hexadecimal digits, of a certificate above the leaf."""

    def __init__(self, folder: Path, *, preferred: str) -> None:
        self._path, self._preferred = folder / _CHAIN, preferred
        self._digest = preferred.replace(":", "").lower()

    def prefers(self, chain: tuple[bytes, ...]) -> bool:
        """Whether it is the one to choose: it leads to the preferred CA, or any one will do."""
        if not self._preferred:
            return True
        for one in map(x509.load_der_x509_certificate, chain[1:]):
            names = [*_common_names(one.subject), *_common_names(one.issuer)]
            if self._preferred in names or one.fingerprint(hashes.SHA256()).hex() == self._digest:
                return True
        return False

    def keep(self, chain: tuple[bytes, ...]) -> None:
        """Keeps what is above the leaf, if it is above it. A disk that is full stops no certificate."""
        if not self.prefers(chain):
            log.warning("The CA offers no chain to “%s”; its own choice is used.", self._preferred)
        try:
            certificates = [x509.load_der_x509_certificate(one) for one in chain]
            for lower, upper in itertools.pairwise(certificates):
                lower.verify_directly_issued_by(upper)
        except (*UNREADABLE, InvalidSignature):
            return  # whoever compares the certificate with the intent says so
        if len(chain) == 1 or chain[1:] == self.last():
            return
        pem = b"".join(one.public_bytes(Encoding.PEM) for one in certificates[1:])
        try:
            with tempfile.NamedTemporaryFile(dir=self._path.parent, prefix=".chain-", delete=False) as file:
                file.write(pem)
            Path(file.name).replace(self._path)
        except OSError as error:
            log.warning("The CA's chain can't be kept in %s: %s", self._path, error)

    def last(self) -> tuple[bytes, ...]:
        """What was kept; empty before the first certificate."""
        with contextlib.suppress(OSError, ValueError):
            return read_chain(self._path.read_bytes())
        return ()


def _common_names(name: x509.Name) -> list[str]:
    return [str(one.value) for one in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
