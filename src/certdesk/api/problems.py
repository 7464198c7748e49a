"""Errors as RFC 9457 problems: REST's one table from error to status (DESIGN §9), and how they are written.

Nothing here decides anything; a detail of our own bug is logged and never shown.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import structlog
from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from ninja import NinjaAPI
from ninja.errors import AuthenticationError
from ninja.errors import ValidationError as ParameterError
from pydantic import ValidationError

from certdesk.api.render import check_json
from certdesk.domain import errors
from certdesk.domain.findings import Check
from certdesk.services.validation import MailNotSent

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
_OUR_FAULT = (
    "It is our fault, and it has been noted. Try again; if it stays, tell the people who run this service."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How a class of errors shows. `says_detail` is False for our own bugs."""

    status: int
    title: str
    says_detail: bool = True


_BUG = Kind(status=500, title="Something went wrong here", says_detail=False)

KINDS: dict[type[errors.CertdeskError], Kind] = {
    errors.CertdeskError: _BUG,
    errors.Refused: Kind(status=400, title="This can't be done"),
    errors.BadCsr: Kind(status=422, title="The CSR can't be read"),
    errors.BadKey: Kind(status=422, title="The key can't be certified"),
    errors.RejectedIdentifier: Kind(status=422, title="A name can't be certified"),
    errors.InvalidInput: Kind(status=422, title="Something is missing or not on offer"),
    errors.NotAuthorized: Kind(status=403, title="You may not do this"),
    errors.MissingScope: Kind(status=403, title="This token may not do this"),
    errors.NotFound: Kind(status=404, title="There is nothing here"),
    errors.StateConflict: Kind(status=409, title="It has changed meanwhile"),
    errors.IdempotencyMismatch: Kind(status=422, title="The Idempotency-Key was used for something else"),
    errors.PolicyRefused: Kind(status=422, title="Policy refuses this request"),
    errors.RateLimited: Kind(status=429, title="Too many attempts"),
    errors.BackendError: Kind(status=502, title="The CA did not do what was asked"),
    MailNotSent: Kind(status=503, title="The mail could not be sent"),
    errors.Unavailable: Kind(status=503, title="The CA can't be reached"),
    errors.BackendRefused: Kind(status=502, title="The CA refused"),
    errors.OutcomeUnknown: Kind(status=503, title="The CA's answer got lost"),
    errors.Misconfigured: _BUG,
    errors.InvariantViolated: _BUG,
}
#: Codes whose status says more than that of their class.
STATUS_OF_CODE = {"csr.too_large": 413}
RETRY_SECONDS = 30
#: Kinds of pydantic's errors whose own words would help nobody.
_ADVICE = {
    "missing": "This is needed.",
    "extra_forbidden": "There is no such field here. Leave it out, or mend its name.",
    "string_pattern_mismatch": "It holds a character that is not allowed here.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem document and the headers that go with it."""

    status: int
    code: str
    title: str
    detail: str
    errors: tuple[dict[str, str], ...] = ()
    extra: Mapping[str, object] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> HttpResponse:
        """The answer to send."""
        body: dict[str, object] = {
            "type": f"urn:certdesk:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.extra,
        }
        if self.errors:
            body["errors"] = list(self.errors)
        return HttpResponse(
            json.dumps(body, ensure_ascii=False).encode(),
            status=self.status,
            content_type=MEDIA_TYPE,
            headers=dict(self.headers),
        )


class Unacceptable(Exception):
    """HTTP alone tells that the call can't be served; carries the problem to answer with."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


NOT_SIGNED_IN = Problem(
    status=401,
    code="authentication.required",
    title="A valid token is needed",
    detail="Send “Authorization: Bearer cdk_…” with a token that is neither expired nor revoked. "
    "Make one in the portal, or with POST /api/v1/tokens while you have one with the scope “tokens”.",
    headers={"WWW-Authenticate": 'Bearer realm="certdesk"'},
)
NO_SUCH_ADDRESS = Problem(
    status=404,
    code="not_found",
    title="There is nothing here",
    detail="The API has no such address. See /api/v1/openapi.json for all there are.",
)
TOO_LARGE = Problem(
    status=413,
    code="request.too_large",
    title="Too much was sent",
    detail="A CSR is at most 64 KB; send the CSR alone.",
)
TOO_SLOW = Problem(
    status=408,
    code="request.too_slow",
    title="The body did not arrive",
    detail="The request didn’t arrive whole within 10 seconds. Send it again.",
)
STALE = Problem(
    status=412,
    code="precondition.failed",
    title="It has changed meanwhile",
    detail="The request has another version than If-Match names. Read it again, then decide.",
)
BUG = Problem(status=500, code="internal", title=_BUG.title, detail=_OUR_FAULT)


def malformed(detail: str) -> Problem:
    """400: not what HTTP or JSON allows."""
    return Problem(status=400, code="request.malformed", title="The call can't be understood", detail=detail)


def kind_of(error: errors.CertdeskError) -> Kind:
    """The row of the table for an error; a class that is not in it shows as the nearest one above."""
    return next(KINDS[cls] for cls in type(error).__mro__ if cls in KINDS)


def problem_of(error: errors.CertdeskError, *, in_query: bool = False) -> Problem:
    """The problem that tells a caller about an error; `in_query` when its fields are query parameters."""
    kind = kind_of(error)
    status = STATUS_OF_CODE.get(error.code, kind.status)
    if not kind.says_detail:
        log.error("api.internal_error", code=error.code, detail=error.detail)
        return BUG
    extra: dict[str, object] = {}
    headers: dict[str, str] = {}
    found: tuple[dict[str, str], ...] = ()
    if isinstance(error, errors.PolicyRefused):
        extra["checks"] = [check_json(check) for check in error.checks if isinstance(check, Check)]
    elif isinstance(error, errors.InvalidInput):
        found = tuple(_field(name, advice, in_query=in_query) for name, advice in error.fields.items())
    elif isinstance(error, errors.MissingScope):
        extra["scope"] = error.scope
        challenge = f'error="insufficient_scope", scope="{error.scope}"'  # RFC 6750 3.1
        headers["WWW-Authenticate"] = f'Bearer realm="certdesk", {challenge}'
    if isinstance(error, errors.RateLimited):
        headers["Retry-After"] = str(error.retry_after)
    elif status == 503:  # noqa: PLR2004 - Service Unavailable
        headers["Retry-After"] = str(RETRY_SECONDS)
    return Problem(
        status=status,
        code=error.code,
        title=kind.title,
        detail=error.detail,
        errors=found,
        extra=extra,
        headers=headers,
    )


def invalid_body(error: ValidationError) -> Problem:
    """What a body that does not fit its schema is answered with: every error, with its JSON pointer."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    if any(item["type"] == "json_invalid" for item in found):
        return malformed("The body is not JSON.")
    return _invalid(tuple({"pointer": pointer(item["loc"]), "detail": _advice(item)} for item in found))


def _advice(item: Mapping[str, Any]) -> str:
    kind = str(item["type"])
    return _ADVICE.get(kind, str(item["msg"]))


def pointer(parts: Iterable[str | int]) -> str:
    """A JSON pointer as URI fragment (RFC 6901 6); `#` is the whole document."""
    return "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def register(api: NinjaAPI) -> None:
    """Tells the API how each kind of error is answered."""
    api.add_exception_handler(errors.CertdeskError, _certdesk_error)
    api.add_exception_handler(Unacceptable, _unacceptable)
    api.add_exception_handler(ParameterError, _parameter_error)
    api.add_exception_handler(AuthenticationError, lambda _request, _error: NOT_SIGNED_IN.response())
    api.add_exception_handler(RequestDataTooBig, lambda _request, _error: TOO_LARGE.response())
    for refused in (SuspiciousOperation, BadRequest, MultiPartParserError, OSError):
        api.add_exception_handler(refused, _unreadable)
    api.add_exception_handler(Http404, lambda _request, _error: NO_SUCH_ADDRESS.response())
    # Whatever is left is our bug: the edge logs it and answers.
    api.add_exception_handler(Exception, _pass_on)


def _certdesk_error(request: HttpRequest, error: object) -> HttpResponse:
    return problem_of(cast("errors.CertdeskError", error), in_query=request.method == "GET").response()


def _unacceptable(_request: HttpRequest, error: object) -> HttpResponse:
    return cast("Unacceptable", error).problem.response()


def _parameter_error(_request: HttpRequest, error: object) -> HttpResponse:
    found = (
        {"parameter": str(item["loc"][-1]), "in": str(item["loc"][0]), "detail": str(item["msg"])}
        for item in cast("ParameterError", error).errors
    )
    return _invalid(tuple(found)).response()


def _unreadable(_request: HttpRequest, _error: object) -> HttpResponse:
    return malformed("The body can't be read as what its Content-Type says.").response()


def _pass_on(_request: HttpRequest, error: object) -> HttpResponse:
    raise cast("Exception", error)


def _invalid(found: tuple[dict[str, str], ...]) -> Problem:
    kind = KINDS[errors.InvalidInput]
    where = ", ".join(item.get("pointer") or item["parameter"] for item in found[:5])
    return Problem(
        status=kind.status,
        code=errors.InvalidInput.code,
        title=kind.title,
        detail=f"Put this right: {where}. See “errors” for what to do.",
        errors=found,
    )


def _field(name: str, advice: str, *, in_query: bool) -> dict[str, str]:
    if in_query:
        return {"parameter": name, "in": "query", "detail": advice}
    # The services name evidence by domain; in the body it is a list, whose order they do not know.
    whole = "evidence" if name.startswith(("evidence.", "how.")) else name
    return {"pointer": pointer([whole]), "detail": advice}
