"""What every call passes on its way in and out: request ID, size, method, one log line, no stack trace."""

import re
import secrets
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import structlog
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import URLPattern

from certdesk.api.problems import BUG, NO_SUCH_ADDRESS, TOO_LARGE, Problem
from certdesk.domain.actors import Actor
from certdesk.domain.csr.csr import MAX_UPLOAD
from certdesk.front import METHODS

log = structlog.get_logger()

View = Callable[..., HttpResponse]
#: A CSR of the greatest size as JSON with every line end escaped, the note, and a form's boundaries.
MAX_BODY = 2 * MAX_UPLOAD
#: The greatest number of a row; neither database takes a greater one.
MAX_NUMBER = 2**63 - 1
_SAFE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


def guarded(pattern: URLPattern) -> URLPattern:
    """The same address, with its view behind the edge."""
    return URLPattern(pattern.pattern, guard(pattern.callback), pattern.default_args, pattern.name)


def guard(view: View) -> View:
    """The view with everything around it that all calls share."""

    @wraps(view)
    def call(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        started = time.perf_counter()
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = given if _SAFE_ID.fullmatch(given) else secrets.token_hex(16)
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            response = _answer(view, request, *args, **kwargs)
            actor = getattr(request, "auth", None)
            match = request.resolver_match
            log.info(
                "api.call",
                method=request.method,
                route=match.route if match else "",
                status=response.status_code,
                actor=actor.label if isinstance(actor, Actor) else "",
                ms=round((time.perf_counter() - started) * 1000, 1),
            )
        response["X-Request-ID"] = request_id
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    call.csrf_exempt = True  # type: ignore[attr-defined] # Django's mark: no cookie is ever accepted here
    return call


def _answer(view: View, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    told = request.META.get("CONTENT_LENGTH") or "0"
    if told.isascii() and told.isdecimal() and len(told) < 20 and int(told) > MAX_BODY:  # noqa: PLR2004 - digits
        return TOO_LARGE.response()
    if request.method not in METHODS:
        return _not_allowed(HttpResponseNotAllowed(METHODS))
    if any(isinstance(given, int) and given > MAX_NUMBER for given in kwargs.values()):
        return NO_SUCH_ADDRESS.response()
    head = request.method == "HEAD"
    if head:
        request.method = "GET"
    try:
        response = view(request, *args, **kwargs)
    except Exception:  # the request boundary: whatever is left is our bug, and never a stack trace
        log.exception("api.unexpected")
        return BUG.response()
    if isinstance(response, HttpResponseNotAllowed):
        return _not_allowed(response)
    if head:
        response["Content-Length"] = str(len(response.content))
        response.content = b""
    return response


def _not_allowed(response: HttpResponse) -> HttpResponse:
    allowed = response["Allow"]
    return Problem(
        status=405,
        code="method.not_allowed",
        title="This address knows other methods",
        detail=f"Use one of: {allowed}.",
        headers={"Allow": allowed},
    ).response()
