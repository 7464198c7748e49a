"""Revoking a certificate by the account that got it (RFC 8555 7.6)."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus

from acme import messages
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from josepy.b64 import b64encode

from certdesk.backends.acme.account import account_status
from certdesk.backends.acme.connection import Connection, Payload
from certdesk.backends.acme.problems import Doing, answered, plain, translated
from certdesk.domain.errors import BackendRefused, OutcomeUnknown
from certdesk.domain.issuing.certificates import UNREADABLE

#: RFC 5280 5.3.1. `removeFromCRL` is none for a revocation.
_REASONS: Mapping[str, int] = {
    "unspecified": 0,
    "keyCompromise": 1,
    "cACompromise": 2,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "certificateHold": 6,
    "privilegeWithdrawn": 9,
    "aACompromise": 10,
}


def revoke(
    connection: Connection,
    certificate_der: bytes,
    *,
    reason: str,
    title: str,
    issuers: Callable[[], Iterable[bytes]],
) -> None:
    """Revokes with the connection's account; a CA that does not take the reason is asked without one.

    `issuers` are the certificates of those that have issued for us. Raises as `AcmeBackend.revoke`.
    """
    try:
        with translated(title, Doing.ACTING):
            url, asked = connection.directory["revokeCert"], {"certificate": base64url(certificate_der)}
            try:
                try:
                    connection.post(url, Payload({**asked, "reason": _REASONS[reason]}))
                except messages.Error as error:
                    if error.code != "badRevocationReason":
                        raise
                    connection.post(url, Payload(asked))
            except messages.Error as error:
                if error.code == "alreadyRevoked":
                    return
                if error.code == "unauthorized" and account_status(connection) == "valid":
                    raise BackendRefused(f"{title} says that it is not ours. {plain(error)}") from error
                raise
    except OutcomeUnknown as error:
        # OpenBao breaks (500) over a certificate that it has not issued, and would break again each time.
        if answered(error)[1] < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        certificate = x509.load_der_x509_certificate(certificate_der)
        for issuer in map(x509.load_der_x509_certificate, issuers()):
            with suppress(InvalidSignature, *UNREADABLE):
                certificate.verify_directly_issued_by(issuer)
                raise
        told = f"{title} can't revoke it, and has never issued under its issuer for us."
        raise BackendRefused(f"{told} {error.detail}") from error


def base64url(der: bytes) -> str:
    """As ACME sends DER (RFC 8555 7.4, 7.6)."""
    return b64encode(der).decode("ascii")
