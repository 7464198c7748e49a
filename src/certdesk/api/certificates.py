"""Certificates over REST, whichever request they hang on: find, show, revoke. Files are in `downloads`."""

from typing import Annotated

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router, Schema, Status
from pydantic import AwareDatetime, Field, StringConstraints

from certdesk.api.auth import actor_of
from certdesk.api.inputs import Body, Hex, Limit, Number, NumberCursor, Slug, Text, organisation_filter
from certdesk.api.schemas import ListedCertificateOut, Page, ProblemOut, numbered_page
from certdesk.domain.issuing.revocation import RevocationReason
from certdesk.services.revocation.revoke import Progress, revoke_certificate
from certdesk.store.selectors.certificates import (
    Filters,
    ListedCertificate,
    get_certificate,
    list_certificates,
)

router = Router(tags=["certificates"])


class CertificatesQuery(Schema):
    """How the list of certificates is narrowed."""

    name: Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=253)] = Field(
        "", description="A whole DNS name."
    )
    serial: Hex = Field("", description="The serial number, hex, with or without colons.")
    sha256: Hex = Field("", description="The fingerprint: SHA-256 of the certificate, hex.")
    organisation: Slug = ""
    request: Number | None = Field(None, description="A Request ID.")
    expires_from: AwareDatetime | None = Field(None, description="Valid at least until then (RFC 3339).")
    expires_before: AwareDatetime | None = Field(None, description="Ending before then (RFC 3339).")
    limit: Limit = 50
    cursor: NumberCursor = ""


class RevokeIn(Body):
    """Why a certificate is to be revoked."""

    reason: RevocationReason = Field(
        description="Its name in RFC 5280 5.3.1; `privilegeWithdrawn` is for RA officers."
    )
    note: Text = Field(default="", description="In your own words; kept in the request's history.")
    end_request: bool = Field(
        default=False,
        description="End its request as well, with `cessationOfOperation` or `affiliationChanged`, if "
        "you may; `privilegeWithdrawn` does so anyway.",
    )


@router.get(
    "/certificates",
    operation_id="listCertificates",
    summary="List certificates",
    response={200: Page[ListedCertificateOut]},
)
def index(request: HttpRequest, response: HttpResponse, query: Query[CertificatesQuery]) -> object:
    """The certificates of the caller's organisation, newest first; for RA staff, of all."""
    actor = actor_of(request)
    filters = Filters(
        name=query.name,
        serial=query.serial,
        sha256=query.sha256,
        organisation_id=organisation_filter(actor, query.organisation),
        request=query.request,
        expires_from=query.expires_from,
        expires_before=query.expires_before,
        before=int(query.cursor) if query.cursor else None,
        limit=query.limit + 1,
    )
    found = list_certificates(actor=actor, filters=filters, now=timezone.now())
    return numbered_page(request, response, found, query.limit)


@router.get(
    "/certificates/{int:certificate_id}",
    operation_id="showCertificate",
    summary="Show a certificate",
    response={200: ListedCertificateOut},
)
def show(request: HttpRequest, certificate_id: int) -> ListedCertificate:
    """One certificate: its status, names and, if anybody asked for it, its revocation."""
    return get_certificate(actor=actor_of(request), certificate_id=certificate_id, now=timezone.now())


@router.post(
    "/certificates/{int:certificate_id}/revoke",
    operation_id="revokeCertificate",
    summary="Revoke a certificate",
    response={200: ListedCertificateOut, 202: ListedCertificateOut, (409, 502): ProblemOut},
)
def revoke(request: HttpRequest, certificate_id: int, body: RevokeIn) -> Status[ListedCertificate]:
    """Revokes, for good. Who asked for the certificate may, a manager of the organisation, or an RA officer.

    202 says that the CA has not taken it yet; it is asked until it answers, so look again. 409 has the code
    `certificate.already_revoked` or `certificate.expired`. A compromised key is blocked in any case.
    """
    actor = actor_of(request)
    progress = revoke_certificate(
        actor=actor,
        certificate_id=certificate_id,
        reason=body.reason,
        note=body.note,
        end_request=body.end_request,
        clock=timezone.now,
    )
    row = get_certificate(actor=actor, certificate_id=certificate_id, now=timezone.now())
    return Status(200 if progress is Progress.REVOKED else 202, row)
