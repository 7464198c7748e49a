"""Certificates over REST, whichever request they hang on: find, show, revoke. Files are in `downloads`."""

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router

from certdesk.api import inputs, render
from certdesk.api.auth import actor_of
from certdesk.api.openapi import describe
from certdesk.api.schemas import CertificatesOut, CertificatesQuery, ListedCertificateOut, RevokeIn
from certdesk.services.revocation import Progress, revoke_certificate
from certdesk.store.selectors.certificates import Filters, get_certificate, list_certificates

router = Router(tags=["certificates"])


@router.get(
    "/certificates",
    operation_id="listCertificates",
    summary="List certificates",
    response={200: CertificatesOut},
    openapi_extra=describe(404, 422),
)
def index(request: HttpRequest, query: Query[CertificatesQuery]) -> HttpResponse:
    """The certificates of the caller's organisation, newest first; for RA staff, of all."""
    actor = actor_of(request)
    filters = Filters(
        name=query.name,
        serial=query.serial,
        sha256=query.sha256,
        organisation_id=inputs.organisation_filter(actor, query.organisation),
        request=query.request,
        expires_from=query.expires_from,
        expires_before=query.expires_before,
        before=int(query.cursor) if query.cursor else None,
        limit=query.limit + 1,
    )
    found = list_certificates(actor=actor, filters=filters, now=timezone.now())
    shown = found[: query.limit]
    return render.page(
        map(render.listed_certificate_json, shown),
        path="/certificates",
        query=_asked(query),
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
    """One certificate: its status, names and, if anybody asked for it, its revocation."""
    row = get_certificate(actor=actor_of(request), certificate_id=certificate_id, now=timezone.now())
    return render.answer(render.listed_certificate_json(row))


@router.post(
    "/certificates/{int:certificate_id}/revoke",
    operation_id="revokeCertificate",
    summary="Revoke a certificate",
    response={200: ListedCertificateOut, 202: ListedCertificateOut},
    openapi_extra=describe(403, 404, 409, 502, body=RevokeIn),
)
def revoke(request: HttpRequest, certificate_id: int) -> HttpResponse:
    """Revokes, for good. Who asked for the certificate may, a manager of the organisation, or an RA officer.

    202 says that the CA has not taken it yet; it is asked until it answers, so look again. 409 has the code
    `certificate.already_revoked` or `certificate.expired`. A compromised key is blocked in any case.
    """
    actor = actor_of(request)
    body = inputs.read_body(request, RevokeIn)
    progress = revoke_certificate(
        actor=actor,
        certificate_id=certificate_id,
        reason=body.reason,
        note=body.note,
        end_request=body.end_request,
        clock=timezone.now,
    )
    row = get_certificate(actor=actor, certificate_id=certificate_id, now=timezone.now())
    status = 200 if progress is Progress.REVOKED else 202
    return render.answer(render.listed_certificate_json(row), status=status)


def _asked(query: CertificatesQuery) -> dict[str, str]:
    """The query as the link to the next page repeats it."""
    given = query.model_dump(mode="json", exclude={"cursor"})
    return {name: "" if value is None else str(value) for name, value in given.items()}
