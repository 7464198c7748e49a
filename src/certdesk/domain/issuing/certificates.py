"""Intended certificates, what a CA answered, and whether the one is the other.

The intent is written before anything is signed or sent. Storage, clocks and CAs do not live here;
files for download are made in `downloads`.
"""

import functools
import hashlib
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509.oid import NameOID, PublicKeyAlgorithmOID

from certdesk.domain.csr.csr import Csr
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.issuing.profiles import SERVER_AUTH, Profile
from certdesk.domain.names.identifiers import is_ip_address
from certdesk.domain.policy.decide import Facts
from certdesk.domain.rules import RuleId, in_force


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One certificate that is to be issued, complete enough to ask for it again after a crash.

    `subject` is a sequence of (dotted OID, value) that we chose, never copied from the CSR. `names` are
    DNS names and IP addresses in their final form. `not_after` is the last valid second. `serial` and `tbs`
    (the bytes to be signed, linted) are filled in by back ends that prepare.
    """

    idempotency_key: str
    backend: str
    profile: Profile
    csr_der: bytes
    spki_der: bytes
    names: tuple[str, ...]
    subject: tuple[tuple[str, str], ...]
    not_before: datetime
    not_after: datetime
    serial: int | None = None
    tbs: bytes | None = None
    server_software: str = ""  # for CAs that take it
    replaces: bytes = b""  # the certificate that it renews (DER), of the same CA; for CAs that ask

    @property
    def profile_id(self) -> str:
        return self.profile.id

    @property
    def profile_version(self) -> int:
        return self.profile.version


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """The CA issued: DER certificates, leaf first, then intermediates, the root last when it is known.

    `fault`: why it may not be handed out, where only the back end can tell, such as a term cut short.
    """

    chain: tuple[bytes, ...]
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The CA took the request and will answer later; `handle` is what to poll it with."""

    handle: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The CA said no for good; `reason` is for people. Not the exception `domain.errors.Refused`."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """The CA has no such request: nothing had reached it."""


Outcome = Issued | Accepted | Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """What a certificate says; `sha256` is of the whole DER, `spki_sha256` of the public key."""

    serial: int
    serial_hex: str
    issuer: str
    subject: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    spki_sha256: str
    sha256: str
    der: bytes
    is_ca: bool


def subject_under(
    profile: Profile,
    *,
    names: tuple[str, ...],
    organisation: str = "",
    country: str = "",
    locality: str = "",
) -> tuple[tuple[str, str], ...]:
    """The subject of a certificate, in the order of BR 7.1.4.2: C, L, O, CN; empty parts are left out.

    Without an organisation (a DV profile) there is no place either. The common name repeats the first name,
    unless it is longer than RFC 5280 allows (64 characters); a legal name above that limit is left out as
    well, for a shortened one would be another name.
    """
    place = (
        (NameOID.COUNTRY_NAME, country),
        (NameOID.LOCALITY_NAME, locality),
        (NameOID.ORGANIZATION_NAME, organisation),
    )
    common_name = ((NameOID.COMMON_NAME, names[0] if names else ""),)
    parts = (place if profile.organisation else ()) + (common_name if profile.common_name else ())
    return tuple((oid.dotted_string, text) for oid, text in parts if text and len(text) <= _UPPER_BOUND)


#: ub-common-name, ub-organization-name (RFC 5280 appendix A).
_UPPER_BOUND = 64

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
#: What pyca/cryptography raises for certificates that are odd in some way; it raises late, on access.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


def certificate_facts(der: bytes) -> CertificateFacts:
    """The facts of one DER certificate. Raises ValueError when it can't be read as one."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return CertificateFacts(
            serial=certificate.serial_number,
            serial_hex=f"{certificate.serial_number:x}",
            issuer=certificate.issuer.rfc4514_string(),
            subject=certificate.subject.rfc4514_string(),
            names=_names(certificate),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            spki_sha256=hashlib.sha256(spki).hexdigest(),
            sha256=hashlib.sha256(der).hexdigest(),
            der=der,
            is_ca=_is_ca(certificate),
        )
    except UNREADABLE as error:
        raise ValueError(f"not a readable certificate: {error}") from error


def certificate_content(der: bytes) -> bytes:
    """What was signed of a DER certificate. Raises ValueError when it can't be read as one."""
    try:
        return x509.load_der_x509_certificate(der).tbs_certificate_bytes
    except UNREADABLE as error:
        raise ValueError(f"not a readable certificate: {error}") from error


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Every subject alternative name; one that is neither DNS nor IP keeps its kind in front."""
    return tuple(
        str(name.value)
        if isinstance(name, (x509.DNSName, x509.IPAddress))
        else f"{type(name).__name__}:{name.value}"
        for name in _extension(certificate, x509.SubjectAlternativeName) or ()
    )


def _is_ca(certificate: x509.Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def general_name(name: str) -> x509.GeneralName:
    """A name of an intent as it stands in the SAN: an IP address as one, anything else as a DNS name."""
    return x509.IPAddress(ipaddress.ip_address(name)) if is_ip_address(name) else x509.DNSName(name)


def differences(intent: Intent, facts: Facts, *, csr: Csr, ends_at: datetime | None) -> tuple[Check, ...]:
    """Whether an intent is for exactly what was judged; it was made before the lock. Empty means it is."""
    organisation = facts.organisation
    subject = subject_under(
        intent.profile,
        names=intent.names,
        organisation=organisation.legal_name,
        country=organisation.country,
        locality=organisation.locality,
    )
    same = (
        set(intent.names) == set(facts.names)
        and intent.subject == subject
        and (intent.profile_id, intent.profile_version) == (facts.profile_id, facts.profile_version)
        and intent.spki_der == csr.key.spki_der
        and (ends_at is None or intent.not_after <= ends_at)
    )
    if same:
        return ()
    told = "What would be signed is not what was judged. Try again."
    return (Check("approval.content_changed", Verdict.REFUSE, told),)


def compare(issued: Issued, intent: Intent) -> tuple[Check, ...]:
    """Whether what came is what was intended: one REFUSE check per difference, or one PASS.

    Never raises for an odd certificate: one that can't be read is a REFUSE check.
    """
    try:
        differences = tuple(_differences(issued, intent))
    except UNREADABLE as error:
        differences = (_mismatch("unreadable", "The CA returned something that can't be read.", str(error)),)
    if differences:
        return differences
    message = "The certificate has the requested key and names, and chains to the CA."
    return (Check("issuance.match", Verdict.PASS, message),)


def _mismatch(code: str, message: str, seen: str) -> Check:
    told = f"{message} It is kept back; an RA officer should ask the CA."
    return Check(f"issuance.mismatch.{code}", Verdict.REFUSE, told, seen=seen, changed_by="RA officer")


def _differences(issued: Issued, intent: Intent) -> Iterator[Check]:
    if not issued.chain:
        yield _mismatch("empty", "The CA returned no certificate.", "")
        return
    leaf = x509.load_der_x509_certificate(issued.chain[0])
    if issued.fault:
        yield _mismatch("fault", issued.fault, "")

    # 1. The key. One of RSASSA-PSS loads as a plain RSA key, although servers can't use it as one.
    key = leaf.public_key()
    plain = leaf.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5
    if key != load_der_public_key(intent.spki_der) or (isinstance(key, rsa.RSAPublicKey) and not plain):
        seen = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
        yield _mismatch("key", "The certificate is for another key than the CSR's.", f"SHA-256 {seen}")

    # 2. The names; in the subject a CA may leave attributes out or add vetted ones, but not name another host
    #    or organisation.
    names = _names(leaf)
    if sorted(names) != sorted(intent.names):
        yield _mismatch("names", "The names are not those that were requested.", ", ".join(names))
    for attribute in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        if str(attribute.value).lower() not in intent.names:
            yield _mismatch("subject", "The common name was not requested.", str(attribute.value))
    intended = {value for oid, value in intent.subject if oid == NameOID.ORGANIZATION_NAME.dotted_string}
    for attribute in leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME):
        if not intent.profile.organisation:
            yield _mismatch("subject", "The certificate names an organisation.", str(attribute.value))
        elif intended and attribute.value not in intended:
            yield _mismatch("subject", "The certificate names another organisation.", str(attribute.value))

    # 3. What it may be used for.
    usage = _extension(leaf, x509.KeyUsage)
    if _is_ca(leaf) or (usage is not None and (usage.key_cert_sign or usage.crl_sign)):
        yield _mismatch("ca", "The certificate may sign other certificates.", "")
    usages = [one.dotted_string for one in _extension(leaf, x509.ExtendedKeyUsage) or ()]
    if not intent.profile.eku:
        seen = f"{intent.profile_id}, version {intent.profile_version}"
        yield _mismatch("profile", "The intended profile is no longer known.", seen)
    elif sorted(usages) != sorted(intent.profile.eku):
        what = (
            "for TLS servers alone" if intent.profile.eku == (SERVER_AUTH,) else "for what its profile says"
        )
        yield _mismatch("eku", f"The certificate is not {what}.", ", ".join(usages))

    yield from _record_differences(leaf, intent)
    yield from _chain_differences(issued.chain)


def _record_differences(leaf: x509.Certificate, intent: Intent) -> Iterator[Check]:
    """Exact where we wrote the bytes; other CAs may begin earlier (BR 7.1.2.7) and end earlier."""
    begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if intent.tbs is not None:
        same = (begins, ends) == (intent.not_before, intent.not_after)
    else:
        hours = in_force(RuleId.BACKDATING, intent.not_before).value
        same = intent.not_before - timedelta(hours=hours) <= begins < ends <= intent.not_after
    if not same:
        seen = f"{begins.isoformat()} to {ends.isoformat()}"
        yield _mismatch("validity", "The certificate runs at other times than intended.", seen)
    if intent.serial is not None and leaf.serial_number != intent.serial:
        yield _mismatch("serial", "The serial number is not the one recorded.", f"{leaf.serial_number:x}")
    if intent.tbs is not None and leaf.tbs_certificate_bytes != intent.tbs:
        seen = f"SHA-256 {hashlib.sha256(leaf.tbs_certificate_bytes).hexdigest()}"
        yield _mismatch("tbs", "The signed content is not the content recorded.", seen)


def _chain_differences(chain: tuple[bytes, ...]) -> Iterator[Check]:
    problem = ""
    if len(chain) == 1:
        yield _mismatch("chain", "The certificate came without the CA's own certificate.", "")
    else:
        problem = _link_problem(x509.load_der_x509_certificate(chain[0]), _load_ca(chain[1]))
    for depth in range(1, len(chain)):
        # The links above a leaf hardly ever change, so their answers are remembered.
        issuer = chain[depth + 1] if depth + 1 < len(chain) else None
        problem = problem or _ca_link_problem(chain[depth], issuer, depth - 1)
    if problem:
        yield _mismatch("chain", "The certificate does not chain to the CA.", problem)


@functools.lru_cache(maxsize=32)
def _load_ca(der: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(der)


@functools.lru_cache(maxsize=64)
def _ca_link_problem(der: bytes, issuer: bytes | None, cas_below: int) -> str:
    """Why this can't stand in a chain with so many CAs below it, or an empty text."""
    certificate = _load_ca(der)
    constraints, usage = (
        _extension(certificate, x509.BasicConstraints),
        _extension(certificate, x509.KeyUsage),
    )
    if constraints is None or not constraints.ca or (usage is not None and not usage.key_cert_sign):
        return f"{certificate.subject.rfc4514_string()} is not a CA"
    if constraints.path_length is not None and cas_below > constraints.path_length:
        return f"{certificate.subject.rfc4514_string()} may not stand above so many CAs"
    if issuer is not None:
        return _link_problem(certificate, _load_ca(issuer))
    # The last one is taken as the CA's own; one that says it signed itself must have done so.
    return _link_problem(certificate, certificate) if certificate.subject == certificate.issuer else ""


def _link_problem(certificate: x509.Certificate, issuer: x509.Certificate) -> str:
    """Why the issuer did not sign this (names and signature, RFC 5280 6.1.3), or an empty text."""
    subject = certificate.subject.rfc4514_string()
    try:
        certificate.verify_directly_issued_by(issuer)
    except InvalidSignature:
        return f"{subject}: the signature was not made by {issuer.subject.rfc4514_string()}"
    except UNREADABLE as error:
        return f"{subject}: {error}"
    return ""
