"""Certificate requests as facts: what a CSR says, and every finding about it alone.

A `Csr` is a request that could be read; whether it may be issued is in its findings and in policy. Nothing in
it is trusted for the certificate: subject and extensions come from our profile.
Sources: RFC 2986, RFC 2985 5.4.2, RFC 5280 4.2.1.6, BR 6.1.1.3, BR 7.1.4.2.
"""

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from certdesk.domain.csr.keys import (
    PARSE_ERRORS,
    KeyFacts,
    SubjectPublicKeyInfo,
    check_key,
    key_facts,
    usual_spelling,
)
from certdesk.domain.csr.names import MAX_NAMES, read_names
from certdesk.domain.csr.private_keys import PrivateKeyPasted, holds_private_key, public_halves
from certdesk.domain.csr.upload import MAX_UPLOAD, parse_failure, request_der
from certdesk.domain.errors import BadCsr, BadKey
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.names.identifiers import DnsName, quoted

#: pyca warns of what a stranger's request holds (an empty field in a directory name, say). That is no concern
#: of whoever reads the server's log, and where it matters it is a finding.
warnings.filterwarnings("ignore", category=UserWarning, module=r"certdesk\.domain\.csr")

__all__ = [
    "MAX_NAMES",
    "MAX_UPLOAD",
    "Csr",
    "PrivateKeyPasted",
    "SubjectAttribute",
    "key_of",
    "may_hold_secrets",
    "read_csr",
]

_EXTENSION_REQUESTS = frozenset({"1.2.840.113549.1.9.14", "1.3.6.1.4.1.311.2.1.14"})  # PKCS#9 and old Windows
_CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"  # noqa: S105 - the name of the attribute (RFC 2985 5.4.1)
#: Attributes with nothing to hide: extensions, unstructuredName, Windows' version and its key provider.
_OPEN_ATTRIBUTES = _EXTENSION_REQUESTS | {
    "1.2.840.113549.1.9.2",
    "1.3.6.1.4.1.311.13.2.3",
    "1.3.6.1.4.1.311.13.2.2",
}
_SUBJECT_ALT_NAME = "2.5.29.17"
_COMMON_NAME = "CN"

_ATTRIBUTE_NAMES = {
    "2.5.4.3": _COMMON_NAME,
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.17": "postalCode",
    "2.5.4.42": "GN",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
    _CHALLENGE_PASSWORD: "challengePassword",
}
_EXTENSION_NAMES = {
    "2.5.29.9": "subjectDirectoryAttributes",
    "2.5.29.14": "subjectKeyIdentifier",
    "2.5.29.15": "keyUsage",
    _SUBJECT_ALT_NAME: "subjectAltName",
    "2.5.29.19": "basicConstraints",
    "2.5.29.30": "nameConstraints",
    "2.5.29.31": "cRLDistributionPoints",
    "2.5.29.32": "certificatePolicies",
    "2.5.29.35": "authorityKeyIdentifier",
    "2.5.29.37": "extKeyUsage",
    "1.3.6.1.5.5.7.1.1": "authorityInfoAccess",
    "1.3.6.1.5.5.7.1.24": "tlsFeature (must-staple)",
    "2.16.840.1.113730.1.1": "netscapeCertType",
    "1.3.6.1.4.1.311.20.2": "Microsoft certificate template name",
    "1.3.6.1.4.1.311.21.7": "Microsoft certificate template",
    "1.3.6.1.4.1.311.21.10": "Microsoft application policies",
    "1.2.840.113549.1.9.15": "S/MIME capabilities",
}
#: X.520 DirectoryString and its relatives, by tag (X.690 8.23); other types are shown in hex.
_STRINGS = {
    b"\x0c": "utf-8",
    b"\x12": "ascii",  # NumericString
    b"\x13": "ascii",  # PrintableString
    b"\x14": "latin-1",  # TeletexString, as everybody writes it
    b"\x16": "ascii",  # IA5String
    b"\x1c": "utf-32-be",  # UniversalString
    b"\x1e": "utf-16-be",  # BMPString
}
_SIGNATURES = {
    "1.2.840.113549.1.1.11": "RSA with SHA-256",
    "1.2.840.113549.1.1.12": "RSA with SHA-384",
    "1.2.840.113549.1.1.13": "RSA with SHA-512",
    "1.2.840.10045.4.3.2": "ECDSA with SHA-256",
    "1.2.840.10045.4.3.3": "ECDSA with SHA-384",
    "1.2.840.10045.4.3.4": "ECDSA with SHA-512",
    "2.16.840.1.101.3.4.3.17": "ML-DSA-44",
    "2.16.840.1.101.3.4.3.18": "ML-DSA-65",
    "2.16.840.1.101.3.4.3.19": "ML-DSA-87",
}
_RSA_PSS = "1.2.840.113549.1.1.10"
_PSS = {f"sha{bits}": f"RSA-PSS with SHA-{bits}" for bits in (256, 384, 512)}
_OTHER_SIGNATURES = {
    "1.2.840.113549.1.1.2": "RSA with MD2",
    "1.2.840.113549.1.1.4": "RSA with MD5",
    "1.2.840.113549.1.1.5": "RSA with SHA-1",
    "1.2.840.113549.1.1.14": "RSA with SHA-224",
    "1.2.840.10045.4.1": "ECDSA with SHA-1",
    "1.2.840.10045.4.3.1": "ECDSA with SHA-224",
    "1.2.840.10040.4.3": "DSA with SHA-1",
    "2.16.840.1.101.3.4.3.2": "DSA with SHA-256",
    "1.3.101.112": "Ed25519",
    "1.3.101.113": "Ed448",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectAttribute:
    """One attribute of the subject: its short name (or dotted OID), and its value as text."""

    name: str
    oid: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Csr:
    """One readable request. `names` are valid, in lower case, once each: CN's first, then SAN order.

    `findings` holds every check of the request alone, passes included, in a stable order;
    `requested_extensions` is what was asked for and is not copied.
    """

    der: bytes
    sha256: str
    subject: tuple[SubjectAttribute, ...]
    common_names: tuple[str, ...]
    names: tuple[DnsName, ...]
    key: KeyFacts
    signature_algorithm: str
    requested_extensions: tuple[str, ...]
    findings: tuple[Check, ...]

    @property
    def pem(self) -> str:
        """The request as PEM with LF line ends (RFC 7468 7)."""
        return x509.load_der_x509_csr(self.der).public_bytes(Encoding.PEM).decode("ascii")

    def subject_value(self, name: str) -> tuple[str, ...]:
        """All values of one subject attribute, by short name or dotted OID, in the CSR's order."""
        return tuple(attribute.value for attribute in self.subject if attribute.name == name)


@asn1.sequence
class _Extension:
    oid: x509.ObjectIdentifier
    critical: Annotated[bool, asn1.Default(value=False)]
    value: bytes


@asn1.sequence
class _Attribute:
    """Any attribute of a request: its values are looked at only where they are extensions."""

    oid: x509.ObjectIdentifier
    values: asn1.TLV


@asn1.sequence
class _ExtensionRequest:
    oid: x509.ObjectIdentifier
    values: asn1.SetOf[list[_Extension]]


@asn1.sequence
class _AttributeTypeAndValue:
    oid: x509.ObjectIdentifier
    value: asn1.TLV


@asn1.sequence
class _RequestInfo:
    """RFC 2986 4.1 CertificationRequestInfo, for what pyca does not show: raw key and repeated attributes."""

    version: int
    subject: list[asn1.SetOf[_AttributeTypeAndValue]]
    public_key: SubjectPublicKeyInfo
    attributes: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(0)]


def read_csr(upload: bytes, *, ip_addresses: bool = False) -> Csr:
    """Reads one request and judges it by the rules that need no more than itself.

    `ip_addresses`: whether its profile certifies them (RFC 8738); otherwise they are refused.

    Raises:
        PrivateKeyPasted: a private key was sent; its public keys are to be blocked.
        BadCsr: it can't be read as exactly one request. Everything else is a finding.
    """
    der = request_der(upload)
    if holds_private_key(der):  # in a field of the request, where its base64 hid it
        raise PrivateKeyPasted(spki_sha256=public_halves(der))
    request, info = _parse(der)
    try:
        key = key_facts(asn1.encode_der(info.public_key))
    except BadKey as error:
        raise BadCsr(error.detail, code="csr.key_unreadable") from error
    extensions = _requested_extensions(info)
    subject = _subject(info)
    common_names = tuple(attribute.value for attribute in subject if attribute.name == _COMMON_NAME)
    names, name_checks = read_names(
        common_names=common_names, alt_names=_alt_names(request, extensions), ip_addresses=ip_addresses
    )
    algorithm, algorithm_check = _signature_algorithm(request)
    key_checks = check_key(key)
    # Proof that the sender holds the private key. For acceptable keys only: others may cost much.
    provable = all(check.verdict is Verdict.PASS for check in (algorithm_check, *key_checks))
    told = "has characters that do not print. Type it again by hand."
    return Csr(
        der=der,
        sha256=hashlib.sha256(der).hexdigest(),
        subject=subject,
        common_names=common_names,
        names=names,
        key=key,
        signature_algorithm=algorithm,
        requested_extensions=extensions,
        findings=(
            _passed("csr.readable", "This is exactly one certificate request.", f"{len(upload):,} bytes"),
            algorithm_check,
            *key_checks,
            *([_signature(request)] if provable else []),
            *(
                Check(
                    "subject.control",
                    Verdict.REFUSE,
                    f"The subject field {one.name} {told}",
                    seen=quoted(one.value),
                )
                for one in subject
                if any(not char.isprintable() for char in one.value)
            ),
            *name_checks,
            _extensions_ignored(extensions),
            *_challenge_password(info),
        ),
    )


def key_of(upload: bytes) -> str:
    """The SHA-256, in hex, of the public key of a CSR or certificate, or of a public key alone; PEM or DER.

    Raises PrivateKeyPasted, or BadCsr where there is no such key in it.
    """
    try:
        key = read_csr(upload).key
    except BadCsr as error:
        if error.code not in _SHOWS_KEY:
            raise
        for read in _SHOWS_KEY[error.code]:
            try:
                spki = read(upload).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            except PARSE_ERRORS:
                continue
            return key_facts(spki).spki_sha256
        raise
    try:
        return key_facts(usual_spelling(key.spki_der)).spki_sha256
    except PARSE_ERRORS:  # of a kind that can't be loaded
        return key.spki_sha256


_Read = Callable[[bytes], PublicKeyTypes]
_SHOWS_KEY: dict[str, tuple[_Read, _Read]] = {
    "csr.certificate": (
        lambda upload: x509.load_pem_x509_certificate(upload).public_key(),
        lambda upload: x509.load_der_x509_certificate(upload).public_key(),
    ),
    "csr.public_key": (load_pem_public_key, load_der_public_key),
}


def may_hold_secrets(der: bytes) -> bool:
    """Whether a request carries what its sender may want nobody to read: a challenge password, the names of
    the person and machine that made it, or anything that we don't know. Such a request is not kept in clear.
    """
    try:
        info = _parse(der)[1]
        extensions = {extension.oid.dotted_string for extension in _raw_extensions(info)}
        return bool(_attributes(info) - _OPEN_ATTRIBUTES or extensions - _EXTENSION_NAMES.keys())
    except BadCsr:
        return True


def _attributes(info: _RequestInfo) -> set[str]:
    """The kinds of the request's attributes; a password among the fields of its subject is one of them."""
    attributes = info.attributes.as_list() if info.attributes else []
    try:
        found = {raw.parse(_Attribute).oid.dotted_string for raw in attributes}
    except PARSE_ERRORS as error:
        raise _bad_extensions() from error
    subject = {field.oid.dotted_string for rdn in info.subject for field in rdn.as_list()}
    return found | (subject & {_CHALLENGE_PASSWORD})


def _parse(der: bytes) -> tuple[x509.CertificateSigningRequest, _RequestInfo]:
    try:
        request = x509.load_der_x509_csr(der)
        info = asn1.decode_der(_RequestInfo, request.tbs_certrequest_bytes)
    except PARSE_ERRORS as error:
        raise parse_failure(der, error) from None  # It may be a private key: nothing of it goes on.
    return request, info


def _requested_extensions(info: _RequestInfo) -> tuple[str, ...]:
    """What the request asks for, by name. Asking twice is refused: which one counts?"""
    found: list[str] = []
    for extension in _raw_extensions(info):
        oid = extension.oid.dotted_string
        name = _EXTENSION_NAMES.get(oid, oid)
        if {name, f"{name}, critical"} & set(found):
            raise BadCsr(
                f"The request has the extension {name} more than once. Make the request again, with all "
                "names in one list.",
                code="csr.duplicate_extension",
            )
        found.append(f"{name}, critical" if extension.critical else name)
    return tuple(found)


def _raw_extensions(info: _RequestInfo) -> list[_Extension]:
    try:
        attributes = info.attributes.as_list() if info.attributes else []
        asked = [raw for raw in attributes if raw.parse(_Attribute).oid.dotted_string in _EXTENSION_REQUESTS]
        lists = [found for raw in asked for found in raw.parse(_ExtensionRequest).values.as_list()]
    except PARSE_ERRORS as error:
        raise _bad_extensions() from error
    if len(lists) > 1 or len(asked) > 1:
        raise BadCsr(
            "The request has more than one list of extensions, and it is not clear which one counts. "
            "Make it again with a current tool.",
            code="csr.several_extension_requests",
        )
    return lists[0] if lists else []


def _bad_extensions() -> BadCsr:
    return BadCsr(
        "The extensions in the request, such as its list of names, can't be read. Check the configuration "
        "that it was made with (names in ASCII, IP addresses as IP and not as DNS) and make it again.",
        code="csr.extensions",
    )


def _alt_names(
    request: x509.CertificateSigningRequest, extensions: tuple[str, ...]
) -> tuple[x509.GeneralName, ...]:
    """The SAN's entries. Reading them decodes all extensions, so that a broken one is found here."""
    try:
        found = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        if any(text.startswith(_EXTENSION_NAMES[_SUBJECT_ALT_NAME]) for text in extensions):
            raise _bad_extensions() from None  # The two readers disagree: no name may get lost.
        return ()
    except PARSE_ERRORS as error:
        raise _bad_extensions() from error
    return tuple(found.value)


def _subject(info: _RequestInfo) -> tuple[SubjectAttribute, ...]:
    """Read from the raw Name: pyca's prints a warning for a field that is empty or too long."""
    subject = []
    try:
        for found in (found for rdn in info.subject for found in rdn.as_list()):
            oid = found.oid.dotted_string
            raw = b"(not shown)" if oid == _CHALLENGE_PASSWORD else bytes(found.value.data)
            encoding = "ascii" if oid == _CHALLENGE_PASSWORD else _STRINGS.get(found.value.tag_bytes)
            text = raw.decode(encoding) if encoding else f"#{raw.hex()}"  # as RFC 4514 2.4 writes it
            subject.append(SubjectAttribute(name=_ATTRIBUTE_NAMES.get(oid, oid), oid=oid, value=text))
    except PARSE_ERRORS as error:
        told = "The subject of the request can't be read. Make it again with plain text in its fields."
        raise BadCsr(told, code="csr.subject") from error
    return tuple(subject)


def _signature_algorithm(request: x509.CertificateSigningRequest) -> tuple[str, Check]:
    """The algorithm in words, and whether its hash is SHA-256, SHA-384 or SHA-512."""
    oid = request.signature_algorithm_oid.dotted_string
    name = _SIGNATURES.get(oid)
    if oid == _RSA_PSS:
        try:
            found = request.signature_hash_algorithm
        except PARSE_ERRORS:
            found = None
        name = _PSS.get(found.name) if found else None
    if name is not None:
        return name, _passed(
            "csr.signature_algorithm", "The request is signed with a current algorithm.", name
        )
    name = _OTHER_SIGNATURES.get(oid, oid)
    told = f"The request is signed with {name}. Make it again with SHA-256 or better (in OpenSSL: -sha256)."
    return name, Check("csr.signature_algorithm", Verdict.REFUSE, told, seen=name)


def _signature(request: x509.CertificateSigningRequest) -> Check:
    try:
        valid = request.is_signature_valid
    except PARSE_ERRORS:
        valid = False
    if valid:
        return _passed("csr.signature", "The signature proves that the sender holds the private key.")
    told = (
        "The signature on the request is wrong: it was changed after it was made, or made with another key. "
        "Make it again."
    )
    return Check("csr.signature", Verdict.REFUSE, told)


def _passed(code: str, told: str, seen: str = "") -> Check:
    return Check(code, Verdict.PASS, told, seen=seen)


def _extensions_ignored(extensions: tuple[str, ...]) -> Check:
    """A pass: asking is no fault, and nothing but the names is taken from what was asked."""
    others = [text for text in extensions if not text.startswith(_EXTENSION_NAMES[_SUBJECT_ALT_NAME])]
    told = "The certificate's contents come from our profile."
    if not others:
        return _passed("csr.extensions", told)
    seen = quoted("; ".join(others), limit=200)
    return _passed("csr.extensions", f"{told} These extensions in the CSR are ignored.", seen)


def _challenge_password(info: _RequestInfo) -> tuple[Check, ...]:
    if _CHALLENGE_PASSWORD not in _attributes(info):
        return ()
    message = (
        "The request holds a challenge password. We don't need it and never show it, and we keep the CSR "
        "encrypted because of it. Leave the password empty next time."
    )
    return (Check("csr.challenge_password", Verdict.WARN, message),)
