"""ACME's own errors (RFC 8555 6.7, RFC 9773 7.4, draft-ietf-acme-profiles): types, statuses, subproblems.

What an error of the rest of Certdesk shows as is the edge's table, `certdesk.acme.problems`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from certdesk.domain.errors import Refused

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Subproblem:
    """What is wrong with one identifier (RFC 8555 6.7.1)."""

    type: ProblemType
    detail: str
    name: str
    identifier_type: str = "dns"

    def as_json(self) -> dict[str, object]:
        """The member of `subproblems`."""
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
