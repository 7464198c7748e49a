"""The list of requests: search, status, sort, keyset pages, and the same as CSV."""

from dataclasses import replace
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.issuing.states import State, Status, status_text
from certdesk.store.selectors.requests import Filters, Sort, list_requests
from certdesk.web import times
from certdesk.web.actor import actor_of
from certdesk.web.context import ra_name
from certdesk.web.requests import rows
from certdesk.web.sheets import csv_file, every_row

PAGE = 50
CSV_PAGE = 500
CSV_ROWS = 10_000
SORTS = {
    Sort.NEWEST: "Newest first",
    Sort.OLDEST: "Oldest first",
    Sort.NAME: "Name, A to Z",
    Sort.NAME_DESCENDING: "Name, Z to A",
}
_COLUMNS = (
    *("Request ID", "Common names", "Names", "Status", "Certificate", "Organisation", "Requested by"),
    *("Date", "Duration (years)"),
)


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """A page of the list."""
    actor, ra, filters, now = actor_of(request), ra_name(), _filters(request), timezone.now()
    page = list_requests(actor=actor, filters=filters)
    context = {
        "rows": rows.list_rows(page.rows, shows_organisation=shows_organisation(actor), ra=ra, now=now),
        "query": filters.query,
        "status": filters.status,
        "action": filters.action,
        "sort": filters.sort.value,
        "statuses": _statuses(ra),
        "sorts": [{"value": sort.value, "label": label} for sort, label in SORTS.items()],
        "filtered": bool(filters.query or filters.status or filters.action or filters.cursor),
        "next_href": _href(filters, page.next_cursor),
        "previous_href": _href(filters, page.previous_cursor),
        "csv_href": f"{reverse('requests-csv')}{_query(filters)}",
        "shows_organisation": shows_organisation(actor),
        "organisation_name": organisation_name(actor),
        "may_request": may_request(actor),
    }
    return render(request, "requests/list.html", context)


@require_safe
def as_csv(request: HttpRequest) -> StreamingHttpResponse:
    """The same list as CSV, from the first page on."""
    actor, ra, now = actor_of(request), ra_name(), timezone.now()
    filters = replace(_filters(request), limit=CSV_PAGE)
    found = every_row(
        lambda cursor: list_requests(actor=actor, filters=replace(filters, cursor=cursor)),
        pages=CSV_ROWS // CSV_PAGE,
    )
    return csv_file(
        "certificate-requests.csv",
        _COLUMNS,
        (
            [
                row.number,
                row.common_names,
                row.name_count,
                status_text(row.status, state=row.state, ra=ra),
                row.certificate_status(now=now) or "",
                row.organisation,
                row.requester,
                times.iso(row.created_at),
                row.duration_years,
            ]
            for row in found
        ),
    )


def shows_organisation(actor: Actor) -> bool:
    """Whether rows of several organisations may stand in one list."""
    return can(actor, Action.REQUEST_READ) or len(actor.memberships) > 1


def organisation_name(actor: Actor) -> str:
    """The name of the reader's organisation, when there is just one."""
    return "" if shows_organisation(actor) else "".join(actor.organisations)


def may_request(actor: Actor) -> bool:
    """Whether the actor may ask for certificates at all."""
    return any(can(actor, Action.REQUEST_CREATE, organisation_id=o) for o in actor.memberships)


def _filters(request: HttpRequest) -> Filters:
    sort = request.GET.get("sort", "")
    return Filters(
        query=request.GET.get("q", "").strip()[:200],
        status=request.GET.get("status", ""),
        action=request.GET.get("action", ""),
        sort=Sort(sort) if sort in set(Sort) else Sort.NEWEST,
        cursor=request.GET.get("cursor", ""),
        limit=PAGE,
    )


def _statuses(ra: str) -> list[dict[str, str]]:
    shown = {status.value: status_text(status, ra=ra) for status in Status} | {State.ENDED.value: "Ended"}
    return [{"value": value, "label": label} for value, label in shown.items()]


def _query(filters: Filters, cursor: str = "") -> str:
    sort = "" if filters.sort is Sort.NEWEST else filters.sort.value
    pairs = {
        "q": filters.query,
        "status": filters.status,
        "action": filters.action,
        "sort": sort,
        "cursor": cursor,
    }
    said = {name: value for name, value in pairs.items() if value}
    return f"?{urlencode(said)}" if said else ""


def _href(filters: Filters, cursor: str) -> str:
    return _query(filters, cursor) if cursor else ""
