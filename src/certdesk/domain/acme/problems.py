"""ACME's own errors (RFC 8555 6.7, RFC 9773 7.4, draft-ietf-acme-profiles): types, statuses, subproblems.

And what a check that stands against an order shows as. What an error of the rest of Certdesk shows as is the
edge's table, `certdesk.acme.problems`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from certdesk.domain.errors import Refused
from certdesk.domain.findings import Check, Verdict, gravest_first
from certdesk.domain.names.identifiers import is_ip_address

URN = "urn:ietf:params:acme:error:"


class ProblemType(StrEnum):
    """The last part of an error type's URN."""

    ACCOUNT_DOES_NOT_EXIST = "accountDoesNotExist"
    ALREADY_REPLACED = "alreadyReplaced"
    ALREADY_REVOKED = "alreadyRevoked"
    BAD_CSR = "badCSR"
    BAD_NONCE = "badNonce"
    BAD_PUBLIC_KEY = "badPublicKey"
    BAD_REVOCATION_REASON = "badRevocationReason"
    BAD_SIGNATURE_ALGORITHM = "badSignatureAlgorithm"
    CAA = "caa"
    COMPOUND = "compound"
    CONNECTION = "connection"
    DNS = "dns"
    EXTERNAL_ACCOUNT_REQUIRED = "externalAccountRequired"
    INCORRECT_RESPONSE = "incorrectResponse"
    INVALID_CONTACT = "invalidContact"
    INVALID_PROFILE = "invalidProfile"
    MALFORMED = "malformed"
    ORDER_NOT_READY = "orderNotReady"
    RATE_LIMITED = "rateLimited"
    REJECTED_IDENTIFIER = "rejectedIdentifier"
    SERVER_INTERNAL = "serverInternal"
    TLS = "tls"
    UNAUTHORIZED = "unauthorized"
    UNSUPPORTED_CONTACT = "unsupportedContact"
    UNSUPPORTED_IDENTIFIER = "unsupportedIdentifier"
    USER_ACTION_REQUIRED = "userActionRequired"


#: HTTP statuses other than 400. RFC 8555 fixes few of them; these are what clients know from elsewhere.
STATUS: Mapping[ProblemType, int] = {
    ProblemType.ALREADY_REPLACED: 409,
    ProblemType.CAA: 403,
    ProblemType.EXTERNAL_ACCOUNT_REQUIRED: 401,
    ProblemType.ORDER_NOT_READY: 403,
    ProblemType.RATE_LIMITED: 429,
    ProblemType.REJECTED_IDENTIFIER: 403,
    ProblemType.SERVER_INTERNAL: 500,
    ProblemType.UNAUTHORIZED: 403,
    ProblemType.USER_ACTION_REQUIRED: 403,
}


@dataclass(frozen=True, slots=True)
class Subproblem:
    """What is wrong with one identifier (RFC 8555 6.7.1)."""

    type: ProblemType
    detail: str
    name: str
    identifier_type: str = "dns"

    def as_json(self) -> dict[str, object]:
        return {
            "type": URN + self.type,
            "detail": self.detail,
            "identifier": {"type": self.identifier_type, "value": self.name},
        }


class AcmeRefused(Refused):
    """An ACME client is told no, with exactly this type. `status` and `extra` override and add."""

    code = "acme.refused"

    def __init__(
        self,
        kind: ProblemType,
        detail: str,
        *,
        subproblems: Sequence[Subproblem] = (),
        status: int | None = None,
        extra: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail, code=f"acme.{kind}")
        self.kind = kind
        self.subproblems = tuple(subproblems)
        self.status = STATUS.get(kind, 400) if status is None else status
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})


def problem_json(
    kind: ProblemType, detail: str, *, status: int | None = None, subproblems: Sequence[Subproblem] = ()
) -> dict[str, object]:
    """A problem document (RFC 7807 with RFC 8555's types), as it is sent and as it is stored."""
    found: dict[str, object] = {
        "type": URN + kind,
        "detail": detail,
        "status": STATUS.get(kind, 400) if status is None else status,
    }
    if subproblems:
        found["subproblems"] = [one.as_json() for one in subproblems]
    return found


def malformed(detail: str, *, status: int = 400) -> AcmeRefused:
    """The message is not what the RFC asks for."""
    return AcmeRefused(ProblemType.MALFORMED, detail, status=status)


#: What a check is about, by its code or else the first part of it. Its verdict plays no part.
_ABOUT: Mapping[ProblemType, tuple[str, ...]] = {
    ProblemType.BAD_CSR: (
        *("csr", "subject"),
        # A key of the wrong kind or size makes a bad CSR (RFC 8555 6.7); the rest is about this very key.
        *("key.type", "key.size", "key.exponent", "key.curve", "key.invalid", "key.encoding"),
        *("key.not_allowed", "key.kind_unknown"),
        # How the CSR says its names; those of the order were looked at before.
        *("names.none", "names.san_type", "names.cn_not_a_name"),
    ),
    ProblemType.BAD_PUBLIC_KEY: ("key",),
    ProblemType.REJECTED_IDENTIFIER: ("names", "domain"),
    ProblemType.CAA: ("caa",),
    ProblemType.DNS: ("caa.unknown",),
    ProblemType.INVALID_PROFILE: ("profile",),
    ProblemType.UNAUTHORIZED: ("organisation.disabled", "acme"),
    ProblemType.USER_ACTION_REQUIRED: ("organisation", "approval", "names.entitlement_ended"),
    # Nothing that the client sent: the term, the profile and the CA are the service's own.
    ProblemType.SERVER_INTERNAL: ("request", "certificate"),
}
TYPE_OF_CHECK: Mapping[str, ProblemType] = {code: kind for kind, found in _ABOUT.items() for code in found}


def problem_of(checks: Iterable[Check]) -> AcmeRefused:
    """What a client is told about the checks, one at least, that stand against its order.

    The gravest decides the type; a DNS that does not answer only where nothing else stands in the way, since
    the client then tries again. Several names get a subproblem each.
    """
    found = sorted(gravest_first(checks), key=lambda check: _type_of(check) is ProblemType.DNS)
    named: dict[str, Subproblem] = {}
    for check in found:
        for name in check.names:
            kind = "ip" if is_ip_address(name) else "dns"
            told = Subproblem(type=_type_of(check), detail=check.message, name=name, identifier_type=kind)
            named.setdefault(name, told)
    type_ = _type_of(found[0])
    detail = " ".join(check.message for check in found[:3])
    if type_ is not ProblemType.DNS and found[0].verdict is not Verdict.REFUSE:
        detail += " Order again to see what is needed."
    return AcmeRefused(type_, detail, subproblems=tuple(named.values()) if len(named) > 1 else ())


def _type_of(check: Check) -> ProblemType:
    group = TYPE_OF_CHECK.get(check.code.partition(".")[0], ProblemType.SERVER_INTERNAL)
    return TYPE_OF_CHECK.get(check.code, group)
