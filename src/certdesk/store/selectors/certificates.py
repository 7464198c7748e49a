"""Certificates as an actor may see them, whichever request they hang on."""

import base64
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.errors import NotFound
from certdesk.domain.requests import OrganisationId, RequestId
from certdesk.store.models import Certificate
from certdesk.store.selectors.requests import MAX_NUMBER


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedCertificate:
    """A line of the list of certificates, or one certificate."""

    id: int
    request: RequestId
    organisation_id: OrganisationId
    organisation: str
    names: tuple[str, ...]
    serial: str
    issuer: str
    sha256: str
    not_before: datetime
    not_after: datetime
    revoked_at: datetime | None
    revocation_reason: str


def list_certificates(
    *, actor: Actor, name: str = "", serial: str = "", before: int | None = None, limit: int = 50
) -> list[ListedCertificate]:
    """The newest certificates that the actor may see, those with an id below `before` only.

    `name` is a whole DNS name, `serial` hex with or without colons.
    """
    found = Certificate.objects.filter(_visible(actor))
    if before is not None:
        found = found.filter(id__lt=before)
    if name:
        found = found.filter(names__name=name.strip().lower())
    if serial:
        found = found.filter(serial=serial.replace(":", "").strip().lower())
    rows = found.select_related("request__organisation").prefetch_related("names").order_by("-id")[:limit]
    return [_row(row) for row in rows]


def get_certificate(*, actor: Actor, certificate_id: int) -> ListedCertificate:
    """One certificate. Raises NotFound for a foreign or missing one."""
    found = (
        Certificate.objects.filter(_visible(actor), id=certificate_id)
        .select_related("request__organisation")
        .first()
    )
    if found is None:
        raise NotFound("There is no such certificate.")
    return _row(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedFiles:
    """What the downloads of a request are made of: the newest certificate with its chain, DER, leaf first."""

    common_names: str
    not_after: datetime
    chain: tuple[bytes, ...]


def newest_certificate(*, actor: Actor, number: int) -> IssuedFiles | None:
    """The newest certificate of a request; None when there is none that the actor may see."""
    if number > MAX_NUMBER:
        return None
    row = (
        Certificate.objects.filter(_visible(actor), request_id=number)
        .order_by("-id")
        .values_list("request__common_names", "not_after", "der", "issuer_chain__certificates")
        .first()
    )
    if row is None:
        return None
    common_names, not_after, der, chain = row
    return IssuedFiles(
        common_names=common_names,
        not_after=not_after,
        chain=(bytes(der), *(base64.b64decode(other) for other in chain)),
    )


def _visible(actor: Actor) -> Q:
    if can(actor, Action.REQUEST_READ):
        return Q()
    own = [o for o in actor.organisation_ids if can(actor, Action.REQUEST_READ, organisation_id=o)]
    return Q(request__organisation_id__in=own)


def _row(row: Certificate) -> ListedCertificate:
    return ListedCertificate(
        id=row.pk,
        request=RequestId(row.request_id),
        organisation_id=OrganisationId(row.request.organisation_id),
        organisation=row.request.organisation.legal_name,
        names=tuple(sorted(n.name for n in row.names.all())),
        serial=row.serial,
        issuer=row.issuer,
        sha256=row.sha256,
        not_before=row.not_before,
        not_after=row.not_after,
        revoked_at=row.revoked_at,
        revocation_reason=row.revocation_reason,
    )
