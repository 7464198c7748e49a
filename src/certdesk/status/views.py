"""Health for load balancers, and what certificates point at: the issuer's certificate and its CRL."""

from datetime import timedelta

import structlog
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from certdesk.domain.errors import NotFound
from certdesk.services.revocation import crl
from certdesk.services.system import runtime

log = structlog.get_logger()

CRL_FRESH_FOR = timedelta(minutes=5)


@require_safe
def healthz(_request: HttpRequest) -> HttpResponse:
    return _plain("ok")


@require_safe
def readyz(_request: HttpRequest) -> HttpResponse:
    """The process can do its work: the database answers and every CA's set-up is loaded."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM store_organisation LIMIT 1")
        runtime.current()
    except DatabaseError:
        log.exception("readyz.database")
        return _plain("the database does not answer", status=503)
    return _plain("ready")


@require_safe
def issuer_certificate(_request: HttpRequest, issuer: str) -> HttpResponse:
    """The issuing CA's certificate, DER (RFC 5280 4.2.2.1)."""
    backend = runtime.current().backends.get(issuer)
    if backend is None or not (chain := backend.chain()):
        return _plain("there is no such CA", status=404)
    response = HttpResponse(chain[0], content_type="application/pkix-cert")
    response["Cache-Control"] = "public, max-age=86400"
    return response


@require_safe
def issuer_crl(_request: HttpRequest, issuer: str) -> HttpResponse:
    """The issuing CA's CRL, DER (RFC 5280 5), never past its nextUpdate."""
    try:
        found = crl.current_crl(backend_name=issuer, now=timezone.now())
    except NotFound:
        return _plain("there is no such CRL", status=404)
    response = HttpResponse(found, content_type="application/pkix-crl")
    response["Cache-Control"] = f"public, max-age={int(CRL_FRESH_FOR.total_seconds())}"
    return response


def _plain(text: str, *, status: int = 200) -> HttpResponse:
    return HttpResponse(f"{text}\n", content_type="text/plain", status=status)
