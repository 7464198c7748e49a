"""The door to the ACME room: answers everything below /acme/ itself, past sessions, CSRF and messages.

Signed messages need none of them, and what they cost would be most of a step.
"""

from collections.abc import Callable

import structlog
from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.urls import resolve
from django.utils import timezone

from certdesk.acme import problems
from certdesk.acme.edge import not_allowed
from certdesk.acme.render import address
from certdesk.domain.acme_problems import malformed
from certdesk.domain.errors import CertdeskError
from certdesk.front import METHODS
from certdesk.services.acme_nonces import make_nonce

log = structlog.get_logger()

ROOM = "/acme/"
URLS = "certdesk.acme.urls"
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    # RFC 8555 6.1: clients in browsers, of any origin. No answer here depends on a cookie.
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Replay-Nonce, Location, Link, Retry-After",
}
GetResponse = Callable[[HttpRequest], HttpResponse]


class AcmeMiddleware:
    """Has to stand first: nothing else is to see these requests."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(ROOM):
            return self.get_response(request)
        return _finished(request, _answer(request))


def _answer(request: HttpRequest) -> HttpResponse:
    try:
        match = resolve("/" + request.path_info.removeprefix(ROOM), urlconf=URLS)
        response: HttpResponse = match.func(request, **match.kwargs)
    except CertdeskError as error:
        return problems.answer_of(error)
    except Http404:
        if request.method not in METHODS:
            return not_allowed(request.method, "GET", "HEAD", "POST")
        return problems.answer_of(malformed("There is nothing at this address.", status=404))
    except (UnreadablePostError, RequestDataTooBig):
        return problems.answer_of(malformed("The message can't be read."))
    except Exception:  # request boundary: the client gets a problem document, the log gets the rest
        log.exception("acme.request_failed", path=request.path_info)
        return problems.our_fault()
    return response


def _finished(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """What every answer has: a fresh nonce for whoever signs, the directory's address, and no caching."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    index = f'<{address("directory")}>;rel="index"'
    others = response.headers.get("Link")
    response.headers["Link"] = f"{others}, {index}" if others else index
    if request.method == "POST":
        response.headers["Replay-Nonce"] = make_nonce(now=timezone.now())
    return response
