"""The ACME room: a WSGI application of its own for everything below /acme/, beside Django's handler.

Signed messages need no sessions, forms or cookies, and what these cost would be most of a step. Nothing else
is lost: bodies come whole (`certdesk.front`), and `conf.wsgi` gives the database's connection back.
"""

from dataclasses import replace
from http import HTTPStatus
from wsgiref.types import StartResponse, WSGIEnvironment

import structlog
from django.utils import timezone
from django.utils.encoding import escape_uri_path, iri_to_uri

from certdesk.acme import problems
from certdesk.acme.edge import Request, not_allowed
from certdesk.acme.render import Reply, address
from certdesk.acme.urls import find
from certdesk.domain.acme.problems import malformed
from certdesk.domain.errors import CertdeskError
from certdesk.front import METHODS
from certdesk.services.acme.nonces import make_nonce
from certdesk.services.system import runtime

log = structlog.get_logger()

ROOM = "/acme/"
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    # RFC 8555 6.1: clients in browsers, of any origin. No answer here depends on a cookie.
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Replay-Nonce, Location, Link, Retry-After",
}


def application(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """One request below /acme/ (PEP 3333)."""
    path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
    query = environ["QUERY_STRING"]
    request = Request(
        method=environ["REQUEST_METHOD"],
        target=escape_uri_path(path) + (f"?{iri_to_uri(query)}" if query else ""),
        content_type=environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower(),
        environ=environ,
    )
    if request.method not in ("GET", "HEAD"):
        runtime.look_again()  # what may change something goes by the newest settings
    reply = _finished(request, _answer(request, path))
    start_response(f"{reply.status} {HTTPStatus(reply.status).phrase}", list(reply.headers.items()))
    return [reply.body]


def _answer(request: Request, path: str) -> Reply:
    try:
        found = find(path.removeprefix(ROOM))
        if found is not None:
            view, parts = found
            try:
                return view(request, **parts)
            except CertdeskError as error:
                return problems.answer_of(error)
    except Exception:  # request boundary: the client gets a problem document, the log gets the rest
        log.exception("acme.request_failed", path=path)
        return problems.our_fault()
    if request.method not in METHODS:
        return not_allowed(request.method, "GET", "HEAD", "POST")
    return problems.answer_of(malformed("There is nothing at this address.", status=404))


def _finished(request: Request, reply: Reply) -> Reply:
    """What every answer has: a fresh nonce for whoever signs, the directory's address, and no caching."""
    index = f'<{address("directory")}>;rel="index"'
    others = reply.headers.get("Link")
    headers = {**HEADERS, **reply.headers, "Link": f"{others}, {index}" if others else index}
    if request.method == "POST":
        headers["Replay-Nonce"] = make_nonce(now=timezone.now())
    return replace(reply, headers=headers)
