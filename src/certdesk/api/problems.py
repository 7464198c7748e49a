"""Errors as RFC 9457 problems: REST's one table from error to status, and how they are written.

Nothing here decides anything; a detail of our own bug is logged and never shown.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

import structlog
from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from certdesk.domain import errors
from certdesk.domain.findings import Check, as_record
from certdesk.services.validation.by_email import MailNotSent

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
    errors.Postponed: Kind(status=503, title="The CA is busy"),
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


@dataclass(frozen=True, slots=True)
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
    413, "request.too_large", "Too much was sent", "A CSR is at most 64 KB; send the CSR alone."
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
UNSUPPORTED = Problem(
    status=415,
    code="media_type.unsupported",
    title="This kind of body is not read here",
    detail="Send JSON (Content-Type: application/json). A CSR may also come as multipart/form-data, with a "
    "file field “csr”.",
)
BUG = Problem(status=500, code="internal", title=_BUG.title, detail=_OUR_FAULT)


def malformed(detail: str) -> Problem:
    """400: not what HTTP or JSON allows."""
    return Problem(status=400, code="request.malformed", title="The call can't be understood", detail=detail)


NOT_JSON = malformed("The body is not JSON.")


def problem_of(error: errors.CertdeskError, *, in_query: bool = False) -> Problem:
    """The problem that tells a caller about an error; `in_query` when its fields are query parameters."""
    kind = next(KINDS[cls] for cls in type(error).__mro__ if cls in KINDS)
    status = STATUS_OF_CODE.get(error.code, kind.status)
    if not kind.says_detail:
        log.error("api.internal_error", code=error.code, detail=error.detail)
        return BUG
    extra: dict[str, object] = {}
    headers: dict[str, str] = {}
    found: tuple[dict[str, str], ...] = ()
    if isinstance(error, errors.PolicyRefused):
        extra["checks"] = [as_record(check) for check in error.checks if isinstance(check, Check)]
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
    return Problem(status, error.code, kind.title, error.detail, found, extra, headers)


def register(api: NinjaAPI) -> None:
    """Tells the API how each kind of error is answered."""

    def in_parser(request: HttpRequest, error: HttpError) -> HttpResponse:
        """Ninja wraps what its parser raises."""
        return api.on_exception(request, cast("Any", error.__cause__ or error))

    handlers: dict[type[Exception], Callable[[HttpRequest, Any], HttpResponse]] = {
        errors.CertdeskError: lambda asked, e: problem_of(e, in_query=asked.method == "GET").response(),
        Unacceptable: lambda _asked, error: error.problem.response(),
        ValidationError: lambda asked, error: _invalid(asked, error).response(),
        AuthenticationError: lambda _asked, _error: NOT_SIGNED_IN.response(),
        HttpError: in_parser,
        Http404: lambda _asked, _error: NO_SUCH_ADDRESS.response(),
        RequestDataTooBig: lambda _asked, _error: TOO_LARGE.response(),
        **dict.fromkeys((SuspiciousOperation, BadRequest, MultiPartParserError, OSError), _unreadable),
        Exception: _pass_on,
    }
    for kind, handler in handlers.items():
        api.add_exception_handler(kind, handler)


def _unreadable(_request: HttpRequest, _error: Exception) -> HttpResponse:
    return malformed("The body can't be read as what its Content-Type says.").response()


def _pass_on(_request: HttpRequest, error: Exception) -> NoReturn:
    raise error  # our bug: the edge logs it and answers


def _invalid(request: HttpRequest, error: ValidationError) -> Problem:
    """Everything that does not fit its schema: in the body by its JSON pointer, else by the parameter."""
    found = []
    for item in error.errors:
        source, *path = item["loc"]
        advice = _ADVICE.get(item["type"], item["msg"])
        if source != "body":
            found.append({"parameter": str(path[-1]), "in": source, "detail": advice})
        elif request.body:
            found.append({"pointer": _pointer(*path[1:]), "detail": advice})  # path[0] is our own parameter
        else:
            return NOT_JSON if request.content_type == "application/json" else UNSUPPORTED
    kind = KINDS[errors.InvalidInput]
    where = ", ".join(item.get("pointer") or item["parameter"] for item in found[:5])
    return Problem(
        status=kind.status,
        code=errors.InvalidInput.code,
        title=kind.title,
        detail=f"Put this right: {where}. See “errors” for what to do.",
        errors=tuple(found),
    )


def _pointer(*parts: str | int) -> str:
    """A JSON pointer as URI fragment (RFC 6901 6); `#` is the whole document."""
    return "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _field(name: str, advice: str, *, in_query: bool) -> dict[str, str]:
    if in_query:
        return {"parameter": name, "in": "query", "detail": advice}
    # The services name evidence by domain; in the body it is a list, whose order they do not know.
    whole = "evidence" if name.startswith(("evidence.", "how.")) else name
    return {"pointer": _pointer(whole), "detail": advice}
