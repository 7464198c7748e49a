"""Errors as pages: the portal's one table from error to status and words.

The page stands alone: no database and no context processor is needed to say that something failed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.http import url_has_allowed_host_and_scheme

from certdesk.domain import errors
from certdesk.web.dcv.quiet import without_code

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """How an error shows: HTTP status, heading, and what to do. `says_detail` is False for our own bugs."""

    status: int
    title: str
    what_now: str = ""
    says_detail: bool = True


OUR_FAULT = ErrorPage(
    status=500,
    title="Something went wrong",
    what_now="It is our fault, and we have a record of it. Try again; if it happens again, tell your RA.",
    says_detail=False,
)

TOO_LARGE = ErrorPage(status=413, title="Too much was sent", what_now="Go back and send the CSR only.")

PAGES: dict[type[errors.CertdeskError], ErrorPage] = {
    errors.CertdeskError: OUR_FAULT,
    errors.Refused: ErrorPage(status=400, title="This can’t be done"),
    errors.BadCsr: ErrorPage(status=422, title="The CSR can’t be read"),
    errors.BadKey: ErrorPage(status=422, title="The key can’t be certified"),
    errors.RejectedIdentifier: ErrorPage(status=422, title="A name can’t be certified"),
    errors.InvalidInput: ErrorPage(status=422, title="Something is missing or not allowed"),
    errors.NotAuthorized: ErrorPage(status=403, title="You may not do this"),
    errors.MissingScope: ErrorPage(status=403, title="This token may not do this"),
    errors.NotFound: ErrorPage(
        404, "There is nothing here", "The address may be mistyped, or it belongs to another organisation."
    ),
    errors.StateConflict: ErrorPage(
        409, "Someone else was faster", "Nothing was changed. See what it says now, then decide."
    ),
    errors.IdempotencyMismatch: ErrorPage(422, "This form was sent before", "Start again."),
    errors.PolicyRefused: ErrorPage(
        status=422, title="This request can’t be accepted", what_now="Fix it, then upload the CSR again."
    ),
    errors.RateLimited: ErrorPage(429, "Too many attempts", "Wait a little, then try again."),
    errors.BackendError: ErrorPage(
        status=502, title="The CA did not answer as it should", what_now="We keep your request and try again."
    ),
    errors.Unavailable: ErrorPage(503, "The CA can’t be reached", "We keep your request and try again."),
    errors.Postponed: ErrorPage(503, "The CA is busy", "We keep your request and try again."),
    errors.BackendRefused: ErrorPage(status=502, title="The CA refused"),
    errors.OutcomeUnknown: ErrorPage(
        503, "We lost the CA’s answer", "We are checking what happened. Don’t send the request again."
    ),
    errors.Misconfigured: OUR_FAULT,
    errors.InvariantViolated: OUR_FAULT,
}


def page_of(error: errors.CertdeskError) -> ErrorPage:
    """The entry for an error: its own, or that of its nearest ancestor."""
    return next(PAGES[kind] for kind in type(error).__mro__ if kind in PAGES)


def page_for(request: HttpRequest, error: errors.CertdeskError) -> HttpResponse:
    """The page that tells a person about an error."""
    page = page_of(error)
    if not page.says_detail:
        log.error(
            "web.internal_error", code=error.code, detail=error.detail, path=without_code(request.path_info)
        )
    response = _render(
        page,
        detail=error.detail if page.says_detail else "",
        back=_back(request) if page.status in BACK else "",
    )
    if isinstance(error, errors.RateLimited):
        response["Retry-After"] = str(error.retry_after)
    return response


#: Statuses after which the page that the person came from is worth another look.
BACK = frozenset({400, 409, 422})


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """400: something that Django itself would not take."""
    del request
    if isinstance(exception, RequestDataTooBig):
        return too_large()
    detail = "The browser sent something that can’t be understood."
    return _render(
        ErrorPage(status=400, title="This can’t be done", what_now="Go back and try again."), detail=detail
    )


def too_large() -> HttpResponse:
    """413."""
    return _render(TOO_LARGE, detail="You sent more than any form here accepts. A CSR has 64 KB at most.")


def method_not_allowed(methods: Iterable[str]) -> HttpResponse:
    """405: a method that no page knows."""
    page = ErrorPage(status=405, title="This can’t be done")
    response = _render(page, detail="This page doesn’t accept this method.")
    response["Allow"] = ", ".join(methods)
    return response


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """403."""
    del request, exception
    return _render(PAGES[errors.NotAuthorized], detail="Your account does not allow this.")


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """404."""
    del request, exception
    return _render(PAGES[errors.NotFound], detail="No page has this address.")


def server_error(request: HttpRequest) -> HttpResponse:
    """500: our own bug; its detail is in the log and never here."""
    del request
    return _render(OUR_FAULT, detail="")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 for a form without a current token: usually a page that was open for too long."""
    log.warning("web.csrf_failure", reason=reason, path=without_code(request.path_info))
    page = ErrorPage(403, "This page is out of date", "Nothing was changed. Open it again.")
    return _render(page, detail="It was open for too long, or cookies are switched off.", back=_back(request))


def _back(request: HttpRequest) -> str:
    referrer = request.headers.get("Referer", "")
    safe = url_has_allowed_host_and_scheme(referrer, {request.get_host()}, require_https=request.is_secure())
    return referrer if safe else ""


def _render(page: ErrorPage, *, detail: str, back: str = "") -> HttpResponse:
    context = {
        "status": page.status,
        "title": page.title,
        "detail": detail,
        "what_now": page.what_now,
        "back_href": back,
        "back_label": "Go back and reload",
    }
    return HttpResponse(render_to_string("errors/error.html", context), status=page.status)
