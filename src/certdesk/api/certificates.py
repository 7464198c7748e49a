"""Certificates over REST, whichever request they hang on."""

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from certdesk.api import render
from certdesk.api.auth import actor_of
from certdesk.api.openapi import describe
from certdesk.api.schemas import CertificatesOut, CertificatesQuery, ListedCertificateOut
from certdesk.store.selectors.certificates import get_certificate, list_certificates

router = Router(tags=["certificates"])


@router.get(
    "/certificates",
    operation_id="listCertificates",
    summary="List certificates",
    response={200: CertificatesOut},
    openapi_extra=describe(422),
)
def index(request: HttpRequest, query: Query[CertificatesQuery]) -> HttpResponse:
    """The certificates of the caller's organisation, newest first; by whole name or serial number."""
    found = list_certificates(
        actor=actor_of(request),
        name=query.name,
        serial=query.serial,
        before=int(query.cursor) if query.cursor else None,
        limit=query.limit + 1,
    )
    shown = found[: query.limit]
    asked = {"name": query.name, "serial": query.serial, "limit": str(query.limit)}
    return render.page(
        map(render.listed_certificate_json, shown),
        path="/certificates",
        query=asked,
        next_cursor=str(shown[-1].id) if len(found) > query.limit else "",
    )


@router.get(
    "/certificates/{int:certificate_id}",
    operation_id="showCertificate",
    summary="Show a certificate",
    response={200: ListedCertificateOut},
    openapi_extra=describe(404),
)
def show(request: HttpRequest, certificate_id: int) -> HttpResponse:
    """One certificate; its files hang on its request."""
    row = get_certificate(actor=actor_of(request), certificate_id=certificate_id)
    return render.answer(render.listed_certificate_json(row))
