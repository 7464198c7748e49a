"""The one table from Certdesk's errors to ACME's (RFC 8555 6.7), and how problems are written."""

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from certdesk.acme.render import Reply, json_bytes
from certdesk.domain import errors
from certdesk.domain.acme.problems import AcmeRefused, ProblemType, problem_json

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 30
_OUR_FAULT = "Something went wrong here. It has been noted; try again later."


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How a class of errors shows. `says_detail` is False for our own bugs."""

    type: ProblemType
    status: int
    says_detail: bool = True


_BUG = Kind(type=ProblemType.SERVER_INTERNAL, status=500, says_detail=False)

KINDS: Mapping[type[errors.CertdeskError], Kind] = {
    errors.CertdeskError: _BUG,
    errors.Refused: Kind(type=ProblemType.MALFORMED, status=400),
    errors.BadCsr: Kind(type=ProblemType.BAD_CSR, status=400),
    errors.BadKey: Kind(type=ProblemType.BAD_CSR, status=400),
    errors.RejectedIdentifier: Kind(type=ProblemType.REJECTED_IDENTIFIER, status=400),
    errors.InvalidInput: Kind(type=ProblemType.MALFORMED, status=400),
    errors.NotAuthorized: Kind(type=ProblemType.UNAUTHORIZED, status=403),
    errors.MissingScope: Kind(type=ProblemType.UNAUTHORIZED, status=403),
    errors.NotFound: Kind(type=ProblemType.MALFORMED, status=404),
    errors.StateConflict: Kind(type=ProblemType.MALFORMED, status=409),
    errors.IdempotencyMismatch: Kind(type=ProblemType.MALFORMED, status=409),
    errors.PolicyRefused: Kind(type=ProblemType.REJECTED_IDENTIFIER, status=403),
    errors.RateLimited: Kind(type=ProblemType.RATE_LIMITED, status=429),
    errors.BackendError: Kind(type=ProblemType.SERVER_INTERNAL, status=500),
    errors.Unavailable: Kind(type=ProblemType.SERVER_INTERNAL, status=503),
    errors.Postponed: Kind(type=ProblemType.SERVER_INTERNAL, status=503),
    errors.BackendRefused: Kind(type=ProblemType.SERVER_INTERNAL, status=500),
    errors.OutcomeUnknown: Kind(type=ProblemType.SERVER_INTERNAL, status=503),
    errors.Misconfigured: _BUG,
    errors.InvariantViolated: _BUG,
}
#: Codes that say more than their class.
TYPE_OF_CODE: Mapping[str, Kind] = {
    "certificate.already_revoked": Kind(type=ProblemType.ALREADY_REVOKED, status=400),
    "revocation.bad_reason": Kind(type=ProblemType.BAD_REVOCATION_REASON, status=400),
}


def kind_of(error: errors.CertdeskError) -> Kind:
    """The row of the table for an error; a class that is not in it shows as the nearest one above."""
    return TYPE_OF_CODE.get(error.code) or next(KINDS[cls] for cls in type(error).__mro__ if cls in KINDS)


def answer_of(error: errors.CertdeskError) -> Reply:
    """The problem document that tells a client about an error."""
    if isinstance(error, AcmeRefused):
        body = problem_json(error.kind, error.detail, status=error.status, subproblems=error.subproblems)
        return _reply({**body, **error.extra}, status=error.status, headers=error.headers)
    kind = kind_of(error)
    if not kind.says_detail:
        log.error("acme.internal_error", code=error.code, detail=error.detail)
        return our_fault()
    headers = {}
    if isinstance(error, errors.RateLimited):
        headers["Retry-After"] = str(error.retry_after)
    elif kind.status == 503:  # noqa: PLR2004 - Service Unavailable
        headers["Retry-After"] = str(RETRY_SECONDS)
    return _reply(
        problem_json(kind.type, error.detail, status=kind.status), status=kind.status, headers=headers
    )


def our_fault() -> Reply:
    """500: our own bug; its detail is in the log and never here."""
    return _reply(problem_json(ProblemType.SERVER_INTERNAL, _OUR_FAULT, status=500), status=500, headers={})


def _reply(body: Mapping[str, object], *, status: int, headers: Mapping[str, str]) -> Reply:
    return Reply(status=status, headers={"Content-Type": MEDIA_TYPE, **headers}, body=json_bytes(body))
