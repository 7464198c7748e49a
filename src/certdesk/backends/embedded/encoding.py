"""From an intent to the bytes of a certificate; the CRL, and the CA's own CSR (RFC 5280)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509.oid import AuthorityInformationAccessOID

from certdesk.backends.base import RevokedEntry
from certdesk.backends.embedded.keys import CERTIFIED, Kind, Signer, throw_away
from certdesk.backends.own_ca import key_usage
from certdesk.domain.errors import InvariantViolated
from certdesk.domain.issuing.certificates import Intent, general_name

_SEQUENCE, _SET, _BIT_STRING, _OCTET_STRING, _ATTRIBUTES = 0x30, 0x31, 0x03, 0x04, 0xA0
_CRITICAL, _VERSION_1 = bytes.fromhex("0101ff"), bytes.fromhex("020100")
_EXTENSION_REQUEST = bytes.fromhex("06092a864886f70d01090e")  # RFC 2985 5.4.2


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


def specimen_of(intent: Intent, parts: IssuerParts, kind: Kind) -> x509.Certificate:
    """The certificate of this intent, signed with a throw-away key of the issuing key's kind.

    The same intent always gives the same bytes to be signed.

    Raises: ValueError or TypeError when the intent can't be put into a certificate.
    """
    if intent.serial is None:
        raise InvariantViolated("a certificate was to be encoded without a recorded serial number")
    public_key = load_der_public_key(intent.spki_der)
    if not isinstance(public_key, CERTIFIED):
        raise TypeError("only RSA, EC and ML-DSA keys are certified")
    usage = "rsa" if isinstance(public_key, rsa.RSAPublicKey) else "ec"
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
        .add_extension(key_usage(*rules.key_usage[usage]), critical=True)
        .add_extension(usages, critical=False)
        # RFC 5280 4.2.1.6: critical exactly when the subject is empty.
        .add_extension(names, critical=not intent.subject)
        .add_extension(parts.key_identifier, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(parts.access, critical=False)
        .add_extension(parts.crl, critical=False)
    )
    return builder.sign(throw_away(kind), kind.hash, ecdsa_deterministic=kind.deterministic)


def signed(tbs: bytes, key: Signer) -> bytes:
    """The certificate, CRL or CSR, DER, whose content is exactly these bytes. Raises Unavailable."""
    return _der(_SEQUENCE, tbs + key.kind.identifier + _der(_BIT_STRING, b"\0" + key.sign(tbs)))


def sign_csr(name: x509.Name, spki: bytes, key: Signer) -> bytes:
    """A request for an issuing CA's certificate (RFC 2986 4), DER, which says what it is for."""
    wanted: tuple[tuple[x509.ExtensionType, str], ...] = (
        (x509.BasicConstraints(ca=True, path_length=0), "0603551d13"),
        (key_usage("digital_signature", "key_cert_sign", "crl_sign"), "0603551d0f"),
    )
    extensions = b"".join(
        _der(_SEQUENCE, bytes.fromhex(oid) + _CRITICAL + _der(_OCTET_STRING, one.public_bytes()))
        for one, oid in wanted
    )
    asked = _der(_SEQUENCE, _EXTENSION_REQUEST + _der(_SET, _der(_SEQUENCE, extensions)))
    return signed(_der(_SEQUENCE, _VERSION_1 + name.public_bytes() + spki + _der(_ATTRIBUTES, asked)), key)


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
    key: Signer,
    number: int,
    this_update: datetime,
    next_update: datetime,
) -> bytes:
    """A full CRL of version 2, DER. The list goes in as a whole: adding entry by entry is quadratic."""
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=parts.name, revoked_certificates=[_revoked(entry) for entry in revoked]
    )
    specimen = (
        builder.last_update(this_update)
        .next_update(next_update)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(parts.key_identifier, critical=False)
        .sign(throw_away(key.kind), key.kind.hash, ecdsa_deterministic=key.kind.deterministic)
    )
    return signed(specimen.tbs_certlist_bytes, key)


def _revoked(entry: RevokedEntry) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder().serial_number(entry.serial).revocation_date(entry.revoked_at)
    if entry.reason and entry.reason != "unspecified":
        # RFC 5280 5.3.1: an unspecified reason is left out rather than written.
        builder = builder.add_extension(x509.CRLReason(x509.ReasonFlags(entry.reason)), critical=False)
    return builder.build()
