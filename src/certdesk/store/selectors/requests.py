"""Requests as an actor may see them: the list with search and keyset pages, and one whole request."""

import base64
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from django.db import connection
from django.db.models import Q, QuerySet

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.errors import InvalidInput, NotFound
from certdesk.domain.issuing.revocation import CertificateStatus, status_alone
from certdesk.domain.issuing.states import OrganisationId, RequestId, State, Status, UserId
from certdesk.store.copied import copied
from certdesk.store.driver import found
from certdesk.store.keyset import MAX_ID, Page, page
from certdesk.store.models import Approval, Request, RequestEvent
from certdesk.store.selectors.acme import askers
from certdesk.store.selectors.visible import visible
from certdesk.store.sql import NEWEST_DATES, certificates_shown, request_shown

#: A search that finds more than this is common enough for a walk along the list's own index.
COMMON = 1000
SHORTEST_INDEXED = 3  # trigrams
HIGHEST = "\U0010ffff"  # sorts after any character of a name


class Sort(StrEnum):
    """How the list is ordered; each has an index, and the number breaks ties."""

    NEWEST = "newest"
    OLDEST = "oldest"
    NAME = "name"
    NAME_DESCENDING = "-name"


_ORDER: dict[Sort, tuple[str, ...]] = {
    Sort.NEWEST: ("-id",),
    Sort.OLDEST: ("id",),
    Sort.NAME: ("common_names", "id"),
    Sort.NAME_DESCENDING: ("-common_names", "-id"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What is asked of the list; `cursor` comes from a page before.

    `status` is a public status, `ended` for requests that were ended, or empty; `action` is "needed" for
    requests that wait for their own people, or empty.
    """

    query: str = ""
    status: str = ""
    action: str = ""
    organisation_id: OrganisationId | None = None
    sort: Sort = Sort.NEWEST
    cursor: str = ""
    limit: int = 50


class RequestRow(NamedTuple):
    """A line of the list; `dates` are those of its newest certificate: from, until, revoked at."""

    number: RequestId
    common_names: str
    name_count: int
    state: State
    status: Status
    action_needed: bool
    requester: str
    organisation: str
    duration_years: int
    created_at: datetime
    changed_at: datetime
    dates: tuple[datetime, datetime, datetime | None] | None

    def certificate_status(self, *, now: datetime) -> CertificateStatus | None:
        """How its newest certificate stands; None while there is none."""
        return None if self.dates is None else status_alone(*self.dates, now=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRow:
    """A certificate of a request; `chain` is DER, leaf first, root last where known."""

    id: int
    serial: str
    issuer: str
    sha256: str
    not_before: datetime
    not_after: datetime
    revoked_at: datetime | None
    chain: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """A line of the history."""

    at: datetime
    event: str
    from_status: str
    to_status: str
    actor: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRow:
    """A recorded yes or no."""

    verdict: str
    by: str
    waived: tuple[str, ...]
    note: str
    message: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestDetail:
    """A request with everything that belongs to it."""

    number: RequestId
    organisation_id: OrganisationId
    organisation: str
    organisation_slug: str
    requester: str
    requester_id: UserId
    channel: str
    state: State
    status: Status
    detail: str
    action_needed: bool
    version: int
    names: tuple[str, ...]
    common_names: str
    subject: tuple[tuple[str, str], ...]
    key: str
    csr_der: bytes
    csr_sha256: str
    profile_id: str
    duration_years: int
    term_ends_at: datetime | None
    server_software: str
    note: str
    checks: tuple[dict[str, str], ...]
    created_at: datetime
    changed_at: datetime
    events: tuple[EventRow, ...]
    approvals: tuple[ApprovalRow, ...]
    certificates: tuple[CertificateRow, ...]

    def certificate_status(self, *, now: datetime) -> CertificateStatus | None:
        """How its newest certificate stands; None while there is none."""
        for newest in self.certificates:
            return status_alone(newest.not_before, newest.not_after, newest.revoked_at, now=now)
        return None


_COLUMNS = (
    *("id", "common_names", "names", "state", "status", "action_needed", "acme_account_id", "duration_years"),
    *("created_at", "changed_at", "requester__username", "organisation__legal_name"),
)


def list_requests(*, actor: Actor, filters: Filters) -> Page[RequestRow]:
    """One page of the requests that the actor may see, by keyset. Raises InvalidInput for a bad cursor."""
    found = page(
        _filtered(actor, filters).values_list(*_COLUMNS, named=True),
        _ORDER[filters.sort],
        sort=filters.sort.value,
        cursor=filters.cursor,
        limit=filters.limit,
        kinds={"id": int, "common_names": str},
    )
    told = askers(row.acme_account_id for row in found.rows)
    newest = NEWEST_DATES.rows(requests=[row.id for row in found.rows])
    dates = {number: (start, end, revoked_at) for number, start, end, revoked_at in newest}
    return Page(
        rows=[
            RequestRow(
                number=RequestId(row.id),
                common_names=row.common_names,
                name_count=len(row.names),
                state=State(row.state),
                status=Status(row.status),
                action_needed=row.action_needed,
                requester=told.get(row.acme_account_id, row.requester__username),
                organisation=row.organisation__legal_name,
                duration_years=row.duration_years,
                created_at=row.created_at,
                changed_at=row.changed_at,
                dates=dates.get(row.id),
            )
            for row in found.rows
        ],
        next_cursor=found.next_cursor,
        previous_cursor=found.previous_cursor,
    )


def count_requests(*, actor: Actor, filters: Filters, cap: int = COMMON + 1) -> int:
    """How many requests match, counted no further than `cap`: an exact count of a million costs 44 ms."""
    return len(_filtered(actor, filters).order_by().values_list("id", flat=True)[:cap])


def get_request(*, actor: Actor, number: int) -> RequestDetail:
    """One request with history, approvals and certificates. Raises NotFound for a foreign or missing one."""
    shown = request_shown(number) if 0 < number <= MAX_ID else None
    if shown is None or not can(
        actor, Action.REQUEST_READ, organisation_id=OrganisationId(shown.request.organisation_id)
    ):
        raise NotFound("There is no such request.")
    row, requester = shown.request, shown.requester
    return copied(
        RequestDetail,
        row,
        number=RequestId(row.pk),
        organisation=shown.organisation.legal_name,
        organisation_slug=shown.organisation.slug,
        requester=askers([row.acme_account_id]).get(row.acme_account_id, requester),
        state=State(row.state),
        status=Status(row.status),
        names=tuple(row.names),
        subject=shown.subject,
        key=shown.key or "chosen with each certificate",
        csr_der=shown.csr_der,
        csr_sha256=shown.csr_sha256,
        checks=tuple(row.checks),
        events=tuple(copied(EventRow, line) for line in found(RequestEvent, request_id=row.pk)),
        approvals=tuple(
            copied(
                ApprovalRow,
                one,
                waived=tuple(sorted({waiver["code"] for waiver in one.waived})),
                note=one.note if can(actor, Action.REQUEST_READ) else "",
            )
            for one in found(Approval, request_id=row.pk)
        ),
        certificates=tuple(
            copied(
                CertificateRow,
                one,
                chain=(bytes(one.der), *(base64.b64decode(der) for der in one.issuer_chain.certificates)),
            )
            for one in certificates_shown(number)
        ),
    )


def waiting_count(*, actor: Actor) -> tuple[int, datetime | None]:
    """How many requests wait for an officer, and since when the oldest one does."""
    if not can(actor, Action.REQUEST_DECIDE):
        return 0, None
    waiting = Request.objects.filter(status=Status.WAITING_FOR_APPROVAL)
    oldest = waiting.order_by("id").values_list("created_at", flat=True).first()
    return len(waiting.values_list("id", flat=True)[: COMMON + 1]), oldest


def _filtered(actor: Actor, filters: Filters) -> QuerySet[Request]:
    found = Request.objects.filter(visible(actor, Action.REQUEST_READ))
    if filters.organisation_id is not None:
        found = found.filter(organisation_id=filters.organisation_id)
    if filters.status == State.ENDED:
        found = found.filter(state=State.ENDED)
    elif filters.status:
        if filters.status not in set(Status):
            raise InvalidInput("There is no such status.", fields={"status": "Choose one from the list."})
        found = found.filter(status=filters.status)
    if filters.action:
        if filters.action != "needed":
            raise InvalidInput("There is no such filter.", fields={"action": "“needed” or nothing."})
        found = found.filter(action_needed=True)
    words = filters.query.strip().lower()[:100]
    if not words.isprintable():  # no name holds such a character, and no database takes all of them
        return found.none()
    if words:
        found = found.filter(_matching(words))
    return found


def _matching(words: str) -> Q:
    """Rows whose text contains the words; what is too short for trigrams, rows whose name begins with it."""
    if words.isdecimal():
        number = Q(id=int(words)) if int(words) <= MAX_ID else Q(id__lt=0)
        return number | _containing(words) if len(words) >= SHORTEST_INDEXED else number
    if len(words) < SHORTEST_INDEXED:
        return Q(common_names__gte=words, common_names__lt=words + HIGHEST)
    return _containing(words)


def _containing(words: str) -> Q:
    """By the trigram index when the words are rare; common ones are found sooner along the list's own index.

    PostgreSQL's planner weighs that by itself; on SQLite the number of hits decides.
    """
    if connection.vendor != "sqlite":
        return Q(search_text__contains=words)
    phrase = '"' + words.replace('"', '""').replace("\0", "") + '"'
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT rowid FROM store_request_search WHERE search_text MATCH %s LIMIT %s", [phrase, COMMON + 1]
        )
        rare = [row[0] for row in cursor.fetchall()]
    return Q(id__in=rare) if len(rare) <= COMMON else Q(search_text__contains=words)
