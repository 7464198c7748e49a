"""What each room takes of a request's body: how much, from whom, and what it says when none comes in time."""

from http import HTTPStatus
from wsgiref.types import StartResponse, WSGIEnvironment

from django.core.handlers.wsgi import WSGIRequest
from django.db import close_old_connections
from django.http import HttpResponse

from certdesk.acme.application import ROOM as ACME
from certdesk.acme.problems import answer_of
from certdesk.api import edge
from certdesk.api.auth import BearerToken
from certdesk.api.problems import TOO_SLOW
from certdesk.domain.acme import jws
from certdesk.domain.acme.problems import malformed
from certdesk.domain.errors import CertdeskError
from certdesk.web.middleware import body_limit

REST = "/api/v1/"


def limit(environ: WSGIEnvironment) -> int:
    """How many bytes a request may bring."""
    path = environ["PATH_INFO"]
    if path.startswith(ACME):
        return jws.MAX_BODY
    return edge.MAX_BODY if path.startswith(REST) else body_limit(environ)


def admits(environ: WSGIEnvironment) -> bool:
    """Whether to wait for a body: REST wants its token first."""
    if not environ["PATH_INFO"].startswith(REST):
        return True
    try:
        return BearerToken()(WSGIRequest(environ)) is not None
    except CertdeskError:
        return False
    finally:
        close_old_connections()


def unread(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """408: the body did not come whole in time (RFC 9110 15.5.9)."""
    path = environ["PATH_INFO"]
    if path.startswith(ACME):
        reply = answer_of(malformed(TOO_SLOW.detail, status=408))
        start_response(f"408 {HTTPStatus(reply.status).phrase}", list(reply.headers.items()))
        return [reply.body]
    if path.startswith(REST):
        response = TOO_SLOW.response()
    else:
        response = HttpResponse(TOO_SLOW.detail, status=408, content_type="text/plain; charset=utf-8")
    start_response(f"408 {response.reason_phrase}", list(response.items()))
    return [response.content]
