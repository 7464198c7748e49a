"""From an intent to the bytes of a certificate, and the CRL. Pure: keys come in, bytes go out (RFC 5280)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import AuthorityInformationAccessOID

from certdesk.backends.base import RevokedEntry
from certdesk.backends.own_ca import key_usage
from certdesk.domain.errors import InvariantViolated
from certdesk.domain.issuing.certificates import Intent, general_name

_SEQUENCE, _BIT_STRING = 0x30, 0x03
#: RFC 5758 3.2: the algorithm with which this CA signs, and which the bytes to be signed name as well.
_ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerParts:
    """What every certificate of one issuer has in common, encoded once."""

    name: x509.Name
    key_identifier: x509.AuthorityKeyIdentifier
    access: x509.AuthorityInformationAccess
    crl: x509.CRLDistributionPoints


def issuer_parts(issuing: x509.Certificate, *, issuer_url: str, crl_url: str) -> IssuerParts:
    """The parts for certificates that this CA certificate's key signs."""
    identifier = issuing.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    access = x509.AccessDescription(
        AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(issuer_url)
    )
    point = x509.DistributionPoint(
        full_name=[x509.UniformResourceIdentifier(crl_url)], relative_name=None, reasons=None, crl_issuer=None
    )
    return IssuerParts(
        name=issuing.subject,
        key_identifier=x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
        access=x509.AuthorityInformationAccess([access]),
        crl=x509.CRLDistributionPoints([point]),
    )


def sign_leaf(intent: Intent, parts: IssuerParts, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """The certificate of this intent. The same intent and key always give the same bytes (RFC 6979).

    Raises: ValueError or TypeError when the intent can't be put into a certificate.
    """
    if intent.serial is None:
        raise InvariantViolated("a certificate was to be encoded without a recorded serial number")
    public_key = load_der_public_key(intent.spki_der)
    if not isinstance(public_key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)):
        raise TypeError("only RSA and EC keys are certified")
    kind = "rsa" if isinstance(public_key, rsa.RSAPublicKey) else "ec"
    rules = intent.profile
    if not rules.eku:
        raise ValueError(f"version {rules.version} of profile {rules.id} is no longer issued")
    subject = x509.Name(
        [x509.NameAttribute(x509.ObjectIdentifier(oid), text) for oid, text in intent.subject]
    )
    names = x509.SubjectAlternativeName([general_name(name) for name in intent.names])
    usages = x509.ExtendedKeyUsage([x509.ObjectIdentifier(oid) for oid in rules.eku])
    builder = (
        x509.CertificateBuilder()
        .serial_number(intent.serial)
        .issuer_name(parts.name)
        .subject_name(subject)
        .public_key(public_key)
        .not_valid_before(intent.not_before)
        .not_valid_after(intent.not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(*rules.key_usage[kind]), critical=True)
        .add_extension(usages, critical=False)
        # RFC 5280 4.2.1.6: critical exactly when the subject is empty.
        .add_extension(names, critical=not intent.subject)
        .add_extension(parts.key_identifier, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(parts.access, critical=False)
        .add_extension(parts.crl, critical=False)
    )
    return builder.sign(key, hashes.SHA256(), ecdsa_deterministic=True)


def sign_recorded(tbs: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The certificate, DER, whose content is exactly these bytes: what `sign_leaf` makes of their intent."""
    signature = key.sign(tbs, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    return _der(_SEQUENCE, tbs + _ECDSA_WITH_SHA256 + _der(_BIT_STRING, b"\0" + signature))


def _der(tag: int, content: bytes) -> bytes:
    """A value with its tag and definite length (X.690 8.1.3)."""
    length = len(content)
    if length < 0x80:  # noqa: PLR2004 - the short form
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def sign_crl(
    revoked: Iterable[RevokedEntry],
    *,
    parts: IssuerParts,
    key: ec.EllipticCurvePrivateKey,
    number: int,
    this_update: datetime,
    next_update: datetime,
) -> bytes:
    """A full CRL of version 2, DER. The list goes in as a whole: adding entry by entry is quadratic."""
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=parts.name, revoked_certificates=[_revoked(entry) for entry in revoked]
    )
    return (
        builder.last_update(this_update)
        .next_update(next_update)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(parts.key_identifier, critical=False)
        .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
        .public_bytes(Encoding.DER)
    )


def _revoked(entry: RevokedEntry) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder().serial_number(entry.serial).revocation_date(entry.revoked_at)
    if entry.reason and entry.reason != "unspecified":
        # RFC 5280 5.3.1: an unspecified reason is left out rather than written.
        builder = builder.add_extension(x509.CRLReason(x509.ReasonFlags(entry.reason)), critical=False)
    return builder.build()
