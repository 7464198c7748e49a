"""The lint gate: what blocks, what is exempt, and that the quicker walk finds what pkilint finds."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from pkilint.cabf.serverauth.serverauth_constants import CertificateType
from pkilint.loader import RFC5280CertificateDocumentLoader
from pkilint.validation import ValidationFindingSeverity

from certdesk.domain.issuing import lint
from certdesk.domain.issuing.lint import EXEMPTIONS, Finding, Severity, blocking, lint_certificate

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())

Change = Callable[[x509.CertificateBuilder], x509.CertificateBuilder]


def certificate(
    *names: str,
    subject: tuple[tuple[x509.ObjectIdentifier, str], ...] = (),
    serial: int = 2**100,
    days: int = 90,
    change: Change = lambda builder: builder,
    status: str = "http://ca.example.org",
) -> bytes:
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Some Issuing CA")])
    access = x509.AccessDescription(
        AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(f"{status}/a.cer")
    )
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(f"{status}/a.crl")], None, None, None)
    usage = x509.KeyUsage(*[bit == 0 for bit in range(9)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(oid, text) for oid, text in subject]))
        .issuer_name(issuer)
        .public_key(KEY.public_key())
        .serial_number(serial)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=days) - timedelta(seconds=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=not subject
        )
        .add_extension(x509.AuthorityKeyIdentifier(b"\1" * 20, None, None), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(KEY.public_key()), critical=False)
        .add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        .add_extension(x509.CRLDistributionPoints([point]), critical=False)
    )
    return change(builder).sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def policy(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    return builder.add_extension(x509.NameConstraints([x509.DNSName("a.example.org")], None), critical=False)


CN = (x509.NameOID.COMMON_NAME, "www.example.org")
O = (x509.NameOID.ORGANIZATION_NAME, "Example University")  # noqa: E741 - the field's name for it
C = (x509.NameOID.COUNTRY_NAME, "GB")
OU = (x509.NameOID.ORGANIZATIONAL_UNIT_NAME, "IT")

GOOD = {
    "no subject": certificate("www.example.org"),
    "common name": certificate("www.example.org", subject=(CN,)),
    "organisation": certificate("www.example.org", subject=(C, O, CN)),
    "three years": certificate("www.example.org", days=1096),
    "wildcard": certificate("www.example.org", "*.example.org"),
    "status on an internal host": certificate("www.example.org", status="http://127.0.0.1:8000"),
    "hundred names": certificate(*(f"h{n}.example.org" for n in range(100))),
}
BAD = {
    "space in a name": certificate("www .example.org"),
    "underscore": certificate("a_b.example.org"),
    "inner wildcard": certificate("www.*.example.org"),
    "partial wildcard": certificate("w*.example.org"),
    "internal name": certificate("server.local"),
    "address as a name": certificate("192.0.2.1"),
    "common name not among the names": certificate("mail.example.org", subject=(CN,)),
    "attributes in the wrong order": certificate("www.example.org", subject=(CN, O, C)),
    "organisational unit": certificate("www.example.org", subject=(C, O, OU)),
    "unknown country": certificate("www.example.org", subject=((x509.NameOID.COUNTRY_NAME, "QQ"), O)),
    "name constraints on a leaf": certificate("www.example.org", change=policy),
}


@pytest.mark.parametrize("der", GOOD.values(), ids=GOOD)
def test_good_certificates_pass(der: bytes) -> None:
    assert blocking(lint_certificate(der)) == ()


@pytest.mark.parametrize("der", BAD.values(), ids=BAD)
def test_bad_certificates_are_blocked(der: bytes) -> None:
    assert blocking(lint_certificate(der))


@pytest.mark.parametrize("der", [b"", b"\x30", b"hello", b"\x30\x03\x02\x01\x01"])
def test_what_is_no_certificate_is_fatal(der: bytes) -> None:
    assert [finding.severity for finding in blocking(lint_certificate(der))] == [Severity.FATAL]


def test_the_gate_stops_fatal_and_error_only() -> None:
    findings = [Finding(code="x", severity=severity, message="") for severity in Severity]
    assert [finding.severity for finding in blocking(findings)] == [Severity.FATAL, Severity.ERROR]


def test_severities_are_pkilints_and_none_is_missing() -> None:
    assert [severity.name for severity in ValidationFindingSeverity] == [
        severity.name for severity in Severity
    ]


def test_every_exemption_has_a_reason_and_is_needed_or_dated() -> None:
    assert all(exemption.reason for exemption in EXEMPTIONS)
    overruled = [exemption for exemption in EXEMPTIONS if not exemption.code.startswith("cabf.")]
    assert [(exemption.code, exemption.value_start) for exemption in overruled] == [
        ("pkix.invalid_domain_name_syntax", "*.")
    ]


@pytest.mark.parametrize("der", [*GOOD.values(), *BAD.values()], ids=[*GOOD, *BAD])
def test_the_quicker_walk_finds_exactly_what_pkilint_finds(
    der: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lint, "EXEMPTIONS", ())
    document = RFC5280CertificateDocumentLoader().load_der_document(der)
    organisations = document.cryptography_object.subject.get_attributes_for_oid(
        x509.NameOID.ORGANIZATION_NAME
    )
    kind = CertificateType.OV_FINAL_CERTIFICATE if organisations else CertificateType.DV_FINAL_CERTIFICATE
    theirs = [
        (described.finding.code, described.finding.severity.name, described.message or "")
        for result in lint._validators(kind).validate(document.root)
        for described in result.finding_descriptions
    ]
    ours = [(finding.code, finding.severity.value, finding.message) for finding in lint_certificate(der)]
    assert ours == theirs
    assert ours
