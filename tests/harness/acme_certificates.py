"""Certificates for RFC 8737, right and wrong; made for the test that asks."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from certdesk.dcv.tls_alpn import ACME_IDENTIFIER, identifier_value

KEY = ec.generate_private_key(ec.SECP256R1())


def acme_certificate(
    *,
    names: tuple[str | x509.GeneralName, ...],
    key_authorization: str | None,
    critical: bool = True,
    value: bytes | None = None,
) -> bytes:
    """A self-signed certificate, DER; without the extension where there is no key authorization."""
    general = [name if isinstance(name, x509.GeneralName) else x509.DNSName(name) for name in names]
    subject = x509.Name([])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )
    if general:
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=True)
    if key_authorization is not None:
        content = identifier_value(key_authorization) if value is None else value
        builder = builder.add_extension(
            x509.UnrecognizedExtension(ACME_IDENTIFIER, content), critical=critical
        )
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)
