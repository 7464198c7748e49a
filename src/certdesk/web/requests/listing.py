"""The list of requests: search, status, sort, keyset pages, and the same as CSV."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.requests import State, Status, status_text
from certdesk.store.selectors.organisations import list_organisations
from certdesk.store.selectors.requests import Filters, RequestRow, Sort, list_requests
from certdesk.web import times
from certdesk.web.actor import actor_of
from certdesk.web.context import ra_name
from certdesk.web.requests import rows

PAGE = 50
CSV_PAGE = 500
CSV_ROWS = 10_000
SORTS = {
    Sort.NEWEST: "Newest first",
    Sort.OLDEST: "Oldest first",
    Sort.NAME: "Name, A to Z",
    Sort.NAME_DESCENDING: "Name, Z to A",
}
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would take these for formulas


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """A page of the list."""
    actor, ra, filters, now = actor_of(request), ra_name(), _filters(request), timezone.now()
    page = list_requests(actor=actor, filters=filters)
    context = {
        "rows": rows.list_rows(page.rows, ra=ra, now=now),
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
    filters = replace(_filters(request), cursor="", limit=CSV_PAGE)
    lines = _csv_lines(actor_of(request), filters, ra_name(), timezone.now())
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="certificate-requests.csv"'
    return response


def shows_organisation(actor: Actor) -> bool:
    """Whether rows of several organisations may stand in one list."""
    return can(actor, Action.REQUEST_READ) or len(actor.memberships) > 1


def organisation_name(actor: Actor) -> str:
    """The name of the reader's organisation, when there is just one."""
    if shows_organisation(actor) or not actor.memberships:
        return ""
    return next((row.legal_name for row in list_organisations(actor=actor)), "")


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


class _Line:
    """What csv.writer writes to: hands each line back."""

    def write(self, line: str) -> str:
        return line


def _csv_lines(actor: Actor, filters: Filters, ra: str, now: datetime) -> Iterator[str]:
    writer = csv.writer(_Line())
    yield writer.writerow(
        [
            "Request ID",
            "Common names",
            "Names",
            "Status",
            "Certificate",
            "Organisation",
            "Requested by",
            "Date",
            "Duration (years)",
        ]
    )
    for row in _all(actor, filters):
        yield writer.writerow(
            [
                row.number,
                *map(_harmless, (row.common_names,)),
                row.name_count,
                "Ended" if row.state is State.ENDED else status_text(row.status, ra=ra),
                row.certificate_status(now=now) or "",
                *map(_harmless, (row.organisation, row.requester)),
                times.iso(row.created_at),
                row.duration_years,
            ]
        )


def _all(actor: Actor, filters: Filters) -> Iterator[RequestRow]:
    """Every row, page by page, up to a limit that a spreadsheet still likes."""
    for _ in range(CSV_ROWS // CSV_PAGE):
        page = list_requests(actor=actor, filters=filters)
        yield from page.rows
        if not page.next_cursor:
            return
        filters = replace(filters, cursor=page.next_cursor)


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_DANGEROUS) else cell
