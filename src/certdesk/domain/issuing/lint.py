"""The lint gate before signing (BR 4.3.1.2): every rule of RFC 5280 and of the BR, less a reasoned few.

Works on a certificate signed with a throw-away key, so that nothing is signed unlinted. pkilint does the
linting; its severities count downwards (FATAL = 0), which no other module needs to know.
"""

import functools
import inspect
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, cast

from pkilint.cabf import serverauth
from pkilint.cabf.serverauth.serverauth_constants import CertificateType
from pkilint.document import NodeVisitor, PDUNode
from pkilint.loader import RFC5280CertificateDocumentLoader
from pkilint.pkix import certificate as pkix_certificate
from pkilint.pkix.general_name import create_generalname_type_predicate
from pkilint.validation import ValidationResult, Validator, ValidatorContainer
from pyasn1_alt_modules import rfc5280  # type: ignore[import-untyped]  # ships no type information

from certdesk.domain.issuing.profiles import CLIENT_AUTH
from certdesk.domain.names.identifiers import DOCUMENTATION_TLD


class Severity(StrEnum):
    """How grave a finding is, gravest first; FATAL means that linting could not go on."""

    FATAL = "FATAL"
    ERROR = "ERROR"
    WARNING = "WARNING"
    NOTICE = "NOTICE"
    INFO = "INFO"
    DEBUG = "DEBUG"


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that a certificate breaks or that is worth a word; `code` is pkilint's."""

    code: str
    severity: Severity
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemption:
    """A finding that says nothing against a certificate of a private CA, and why.

    It holds only within the part of the certificate that `within` names, and only for a value that
    begins with `value_start` and ends with `value_end`.
    """

    code: str
    reason: str
    within: str = ""
    value_start: str = ""
    value_end: str = ""


_TERMS = "Terms of one to three years are what a private CA offers; BR 6.3.2 binds public CAs."
_STATUS = (
    "A private CA may publish its certificate and CRL on an internal host; names in the SAN stay judged."
)
_PERIOD = "cabf.serverauth.certificate_validity_period_exceeds"

#: Whatever is not here blocks. The one finding of RFC 5280 among them is one that the BR overrule.
EXEMPTIONS: tuple[Exemption, ...] = (
    Exemption(code=f"{_PERIOD}_398_days", reason=_TERMS),
    Exemption(code=f"{_PERIOD}_200_days", reason=_TERMS),
    Exemption(code=f"{_PERIOD}_100_days", reason=_TERMS),
    Exemption(code=f"{_PERIOD}_47_days", reason=_TERMS),
    Exemption(
        code="cabf.serverauth.subscriber.certificate_policies_extension_absent",
        reason="The reserved policy OIDs claim that the BR are kept, which a private CA can't claim.",
    ),
    Exemption(
        code="cabf.serverauth.subscriber_stateprovince_and_locality_missing",
        reason="An organisation's legal name and country identify it to relying parties of a private CA.",
    ),
    Exemption(
        code="cabf.serverauth.ov.countryname_attribute_absent",
        reason="An organisation may be recorded without a country (BR 7.1.2.7.4 binds public CAs).",
    ),
    Exemption(code="cabf.internal_domain_name", within=".authorityInfoAccessSyntax.", reason=_STATUS),
    Exemption(code="cabf.internal_domain_name", within=".cRLDistributionPoints.", reason=_STATUS),
    Exemption(code="cabf.internal_ip_address", within=".authorityInfoAccessSyntax.", reason=_STATUS),
    Exemption(code="cabf.internal_ip_address", within=".cRLDistributionPoints.", reason=_STATUS),
    Exemption(
        code="cabf.internal_domain_name",
        within=".subjectAltName.",
        value_end=f".{DOCUMENTATION_TLD}",
        reason="Names of the documentation always pass a person first, who may try things out (ADR 3).",
    ),
    Exemption(
        code="cabf.internal_ip_address",
        within=".subjectAltName.",
        reason="Only a profile for it certifies addresses: a private CA's own networks have internal ones.",
    ),
    Exemption(
        code="cabf.serverauth.subscriber.serverauth_eku_absent",
        within=".extKeyUsageSyntax",
        value_start=f"ExtKeyUsageSyntax:\n {CLIENT_AUTH}",
        value_end=CLIENT_AUTH,
        reason="A private CA's profile may be for TLS clients alone, which these rules are not about.",
    ),
    *(
        Exemption(
            code=f"cabf.serverauth.prohibited_{place}_algorithm_encoding",
            value_start=f"AlgorithmIdentifier:\n algorithm=2.16.840.1.101.3.4.3.{number}\n",
            reason=f"{name} (RFC 9881): a private CA may use it if its operator so chooses.",
        )
        for place in ("signature", "subject_public_key")
        for number, name in ((17, "ML-DSA-44"), (18, "ML-DSA-65"), (19, "ML-DSA-87"))
    ),
    Exemption(
        code="pkix.invalid_domain_name_syntax",
        within=".subjectAltName.",
        value_start="*.",
        reason="RFC 5280 leaves wildcards undefined; the BR define them (3.2.2.6) and judge the labels.",
    ),
)


def lint_certificate(der: bytes) -> tuple[Finding, ...]:
    """Everything that the linter says of a server certificate: as OV with an organisation, else as DV."""
    try:
        document = RFC5280CertificateDocumentLoader().load_der_document(der)
    except ValueError as error:
        return (Finding(code="certdesk.unreadable", severity=Severity.FATAL, message=str(error)),)
    is_ov = any(document.get_subject_attributes_by_type(rfc5280.id_at_organizationName))
    return lint_part(document.root, is_ov=is_ov)


def lint_part(node: PDUNode, *, is_ov: bool) -> tuple[Finding, ...]:
    """What the linter says of a node and all below it, which is taken apart; the root is the certificate.

    Another node's path says where in a certificate it stands: whatever is about parts of that place is asked.
    """
    validators = _validators(
        CertificateType.OV_FINAL_CERTIFICATE if is_ov else CertificateType.DV_FINAL_CERTIFICATE
    )
    results: list[ValidationResult] = []
    for validator in validators.validators:
        above = getattr(validator, "_path", None)
        if isinstance(validator, ValidatorContainer) and above and node.path.startswith(f"{above}."):
            _collect(validator, node, results)
    _collect(validators, node, results)
    findings = tuple(
        Finding(described.finding.code, Severity(described.finding.severity.name), described.message or "")
        for result in results
        for described in result.finding_descriptions
        if not _is_exempt(described.finding.code, result.node)
    )
    _take_apart(node)
    return findings


def blocking(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings with which nothing may be signed."""
    return tuple(finding for finding in findings if finding.severity in (Severity.FATAL, Severity.ERROR))


def _is_exempt(code: str, node: PDUNode) -> bool:
    return any(
        exemption.code == code
        and exemption.within in node.path
        and (not exemption.value_start or str(node.pdu).startswith(exemption.value_start))
        and (not exemption.value_end or str(node.pdu).endswith(exemption.value_end))
        for exemption in EXEMPTIONS
    )


#: What all predicates for kinds of GeneralNames run.
_OF_A_KIND = create_generalname_type_predicate("dNSName").__code__


@functools.cache
def _validators(kind: CertificateType) -> ValidatorContainer:
    """Built once per kind (a tenth of a second); they keep no state between certificates."""
    return pkix_certificate.create_pkix_certificate_validator_container(
        serverauth.create_decoding_validators(),
        [pkix_certificate.create_issuer_validator_container([]), *serverauth.create_validators(kind)],
    )


# pkilint asks each of its validators about each node: 6,600 questions a certificate, most of its time.
# The walk below visits the same nodes in the same order, and asks only those that the node's type admits.


class _Admitted(NamedTuple):
    """A validator that may match a node of some type."""

    validator: Validator
    path: str | None  # of the only node that it is about, if there is only one
    asks: bool  # whether more than type and path decide
    is_container: bool


def _collect(container: ValidatorContainer, node: PDUNode, results: list[ValidationResult]) -> None:
    path, parent = node.path, node.parent
    kind = node.name if parent is not None and isinstance(parent.pdu, rfc5280.GeneralName) else ""
    admitted = _admitted(container, cast("Hashable", type(node.pdu)), kind)
    for validator, wanted_path, asks, is_container in admitted:
        if (wanted_path is None or wanted_path == path) and (not asks or validator.match(node)):
            if is_container:
                _collect(cast("ValidatorContainer", validator), node, results)
            else:
                results.append(validator.validate_wrapper(node))
    # Decoding validators have added children by now, so the children are listed only here.
    for child in node.children.values():
        _collect(container, child, results)


@functools.cache
def _admitted(container: ValidatorContainer, pdu_type: Hashable, general_name: str) -> tuple[_Admitted, ...]:
    """The validators that may match a node of this type, in their order.

    `general_name` is the kind of a GeneralName's value, such as `dNSName`, and empty for other nodes. `_path`
    and the like are pkilint's own: should they go, all are asked and the answer stays right.
    """
    return tuple(
        _Admitted(
            validator=validator,
            path=getattr(validator, "_path", None),
            asks=_asks(validator),
            is_container=isinstance(validator, ValidatorContainer),
        )
        for validator in container.validators
        if issubclass(cast("type", pdu_type), getattr(validator, "_pdu_class", None) or object)
        and _kind(validator) in (None, general_name)
    )


def _asks(validator: Validator) -> bool:
    if type(validator).match is not NodeVisitor.match:
        return True
    if getattr(validator, "_predicate", validator) is not None and _kind(validator) is None:
        return True
    return any(getattr(validator, name, validator) is not None for name in ("_path_re", "_pdu_supertype"))


def _kind(validator: Validator) -> str | None:
    """The kind of GeneralName that is all its predicate asks for; None where it asks for anything else."""
    predicate = getattr(validator, "_predicate", None)
    if predicate is None or getattr(predicate, "__code__", None) is not _OF_A_KIND:
        return None
    return str(inspect.getclosurevars(predicate).nonlocals["generalname_type"])


def _take_apart(node: PDUNode) -> None:
    """Breaks a tree's circles: it goes at once then, and not at some request's look for garbage."""
    for child in node.children.values():
        _take_apart(child)
    node.children, node.parent, node.document = {}, None, None
