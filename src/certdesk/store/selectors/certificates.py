"""Certificates as an actor may see them, whichever request they hang on."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.errors import existing
from certdesk.domain.issuing.revocation import CertificateId, CertificateStatus, Standing, statuses
from certdesk.domain.issuing.states import OrganisationId, RequestId
from certdesk.store.copied import copied
from certdesk.store.driver import Statement, columns_of, kinds_of, taken
from certdesk.store.keyset import MAX_ID
from certdesk.store.models import Certificate, Revocation
from certdesk.store.selectors.visible import visible
from certdesk.store.sql import NEWEST_FILES


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What is asked of the list; whatever is empty or None does not narrow it.

    `name` is a whole DNS name; `serial` and `sha256` are hex with or without colons. `expires_from` and
    `expires_before` bound the last second of validity. `before` is an id from the page before.
    """

    name: str = ""
    serial: str = ""
    sha256: str = ""
    organisation_id: OrganisationId | None = None
    request: int | None = None
    expires_from: datetime | None = None
    expires_before: datetime | None = None
    before: int | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationRow:
    """The last word on revoking a certificate; `outcome` is open, done or refused."""

    outcome: str
    reason: str
    note: str
    actor: str
    detail: str
    requested_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedCertificate:
    """A line of the list of certificates, or one certificate."""

    id: CertificateId
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
    status: CertificateStatus
    revocation: RevocationRow | None


def list_certificates(*, actor: Actor, filters: Filters, now: datetime) -> list[ListedCertificate]:
    """The newest certificates that the actor may see."""
    found = _filtered(Certificate.objects.filter(_seen_by(actor), withheld=False), filters)
    return _numbered(found.order_by("-id").values_list("id", flat=True)[: filters.limit], now=now)


def get_certificate(*, actor: Actor, certificate_id: int, now: datetime) -> ListedCertificate:
    """One certificate. Raises NotFound for a foreign or missing one."""
    found = Certificate.objects.filter(_seen_by(actor), withheld=False, id=min(certificate_id, MAX_ID))
    rows = _numbered(found.values_list("id", flat=True), now=now)
    return existing(next(iter(rows), None), "There is no such certificate.")


@dataclass(frozen=True, slots=True)
class IssuedFiles:
    """What the downloads of a request are made of: the newest certificate with its chain, DER, leaf first."""

    common_names: str
    not_after: datetime
    chain: tuple[bytes, ...]


def newest_certificate(*, actor: Actor, number: int) -> IssuedFiles | None:
    """The newest certificate of a request; None when there is none that the actor may see."""
    row = NEWEST_FILES.row(request=min(number, MAX_ID))
    if row is None or not can(actor, Action.REQUEST_READ, organisation_id=OrganisationId(row[0])):
        return None
    return _files(row[1:])


def certificate_files(*, actor: Actor, certificate_id: int) -> IssuedFiles:
    """One certificate, older ones too. Raises NotFound for a foreign or missing one."""
    visible = Certificate.objects.filter(_seen_by(actor), withheld=False, id=min(certificate_id, MAX_ID))
    row = existing(visible.values_list(*_FILES).first(), "There is no such certificate.")
    return _files(row)


_FILES = ("request__common_names", "not_after", "der", "issuer_chain__certificates")


def _files(row: Sequence[Any]) -> IssuedFiles:
    common_names, not_after, der, chain = row
    return IssuedFiles(common_names, not_after, (bytes(der), *(base64.b64decode(other) for other in chain)))


def _seen_by(actor: Actor) -> Q:
    return visible(actor, Action.REQUEST_READ, organisation="organisation_id")


def _filtered(found: QuerySet[Certificate], filters: Filters) -> QuerySet[Certificate]:
    wanted = {
        "id__lt": filters.before,
        "names__name": filters.name.strip().lower(),
        "serial": _hex(filters.serial).lstrip("0"),
        "sha256": _hex(filters.sha256),
        "organisation_id": filters.organisation_id,
        "request_id": filters.request,
        "not_after__gte": filters.expires_from,
        "not_after__lt": filters.expires_before,
    }
    return found.filter(**{name: value for name, value in wanted.items() if value not in (None, "")})


def _hex(text: str) -> str:
    return text.replace(":", "").strip().lower()


_LISTED = f"""
SELECT {columns_of(Certificate, "c")}, {columns_of(Revocation, "v")},
  i.names, g.legal_name,
  (SELECT json_group_array(n.name) FROM store_certificatename n WHERE n.certificate_id = c.id)
FROM store_certificate c JOIN store_organisation g ON g.id = c.organisation_id
JOIN store_issuance i ON i.id = c.issuance_id
LEFT JOIN store_revocation v ON v.id = (SELECT MAX(id) FROM store_revocation WHERE certificate_id = c.id)"""  # noqa: S608 - no input
_KINDS = (*kinds_of(Certificate, Revocation), list, str, list)
_BY_NUMBER = Statement(
    f"""{_LISTED}
WHERE c.id IN (SELECT CAST(each.value AS bigint) FROM json_each(%(certificates)s) AS each)
ORDER BY c.id DESC""",  # noqa: S608 - no input
    *_KINDS,
)
_OF_REQUEST = Statement(
    f"{_LISTED} WHERE c.request_id = %(request)s AND NOT c.withheld ORDER BY c.id DESC LIMIT %(limit)s",
    *_KINDS,
)


def newest_certificates(number: int, *, limit: int, now: datetime) -> list[ListedCertificate]:
    """The newest certificates of a request that the reader may see: none is superseded by an older one."""
    found = _read(_OF_REQUEST.rows(request=number, limit=limit))
    own = [(c.pk, c.request_id, names, c.not_before, c.not_after, c.revoked_at) for c, _, names, *_ in found]
    return _listed(found, own, now=now)


def _numbered(numbers: Iterable[int], *, now: datetime) -> list[ListedCertificate]:
    found = _read(_BY_NUMBER.rows(certificates=list(numbers)))
    # All certificates of these requests: whether one is superseded hangs on the others.
    of_requests = Certificate.objects.filter(request__in={row[0].request_id for row in found}, withheld=False)
    columns = ("id", "request_id", "issuance__names", "not_before", "not_after", "revoked_at")
    return _listed(found, of_requests.values_list(*columns), now=now)


def _read(rows: Iterable[list[Any]]) -> list[tuple[Any, ...]]:
    return [(taken(Certificate, row), taken(Revocation, row), *row) for row in rows]


def _listed(
    found: Iterable[tuple[Any, ...]], of_requests: Iterable[tuple[Any, ...]], *, now: datetime
) -> list[ListedCertificate]:
    standing = statuses(
        (
            Standing(
                CertificateId(number), RequestId(request), frozenset(names), not_before, not_after, revoked_at
            )
            for number, request, names, not_before, not_after, revoked_at in of_requests
        ),
        now=now,
    )
    return [
        copied(
            ListedCertificate,
            certificate,
            request=RequestId(certificate.request_id),
            organisation=legal_name,
            names=tuple(sorted(names or ())),  # PostgreSQL says NULL for none
            status=standing[CertificateId(certificate.pk)],
            revocation=copied(RevocationRow, revocation) if revocation.pk else None,
        )
        for certificate, revocation, _asked, legal_name, names in found
    ]
