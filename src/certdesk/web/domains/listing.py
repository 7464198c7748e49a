"""The list of domains: state, search, sort, keyset pages, what lapses when; the same as CSV; adding one."""

from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.errors import NotAuthorized, RejectedIdentifier
from certdesk.domain.issuing.states import OrganisationId
from certdesk.services.validation.by_email import add_domain
from certdesk.store.selectors.domains import (
    Filters,
    ListedDomain,
    Sort,
    State,
    count_states,
    lapsing_by_month,
    list_domains,
)
from certdesk.store.selectors.organisations import list_organisations
from certdesk.web import times
from certdesk.web.actor import actor_of
from certdesk.web.domains import rows
from certdesk.web.domains.chart import lapsing_chart
from certdesk.web.domains.views import AddDomainForm
from certdesk.web.forms import finish
from certdesk.web.requests.listing import shows_organisation
from certdesk.web.sheets import csv_file, every_row

PAGE = 50
CSV_PAGE, CSV_ROWS = 500, 20_000
CHART_FROM = 4  # domains: fewer are read faster than a drawing
UNPROCESSABLE = 422
SORTS = {
    Sort.LAPSES: "What lapses next",
    Sort.NAME: "Domain, A to Z",
    Sort.NAME_DESCENDING: "Domain, Z to A",
    Sort.ADDED: "Added last",
}
#: The narrowings that stand as buttons above the list, where anything is in them.
TABS = (
    State.ATTENTION,
    State.SOON,
    State.VANISHED,
    State.LAPSED,
    State.WAITING,
    State.NEVER,
    State.VALIDATED,
    State.SUNSET,
)
_COLUMNS = (
    "Domain",
    "Organisation",
    "State",
    "Method",
    "Proven",
    "By",
    "Lapses",
    "Days left",
    "For public CAs until",
    "Ends sooner because of",
    "Certificates",
    "Requests under way",
    "Waiting for",
)


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """The domains that the reader may see."""
    return _render(request, actor_of(request), form=None)


@require_POST
def add(request: HttpRequest) -> HttpResponse:
    """Lists a domain for an organisation of the reader's, with nothing proven yet."""
    actor = actor_of(request)
    form = _form(actor, request)
    if form is None:
        raise NotAuthorized("Only people of an organisation can add domains to it.")
    if form.is_valid():
        try:
            domain_id = add_domain(
                actor=actor,
                organisation_id=form.organisation_id,
                name=form.cleaned_data["domain"],
                now=timezone.now(),
            )
        except RejectedIdentifier as error:
            form.add_error("domain", error.detail)
        else:
            told = "The domain is listed. Now choose how to validate it."
            return finish(request, told, "domains-show", domain_id=domain_id)
    return _render(request, actor, form=form)


@require_safe
def as_csv(request: HttpRequest) -> StreamingHttpResponse:
    """The same list as CSV, from the first page on."""
    actor, now = actor_of(request), timezone.now()
    filters = replace(_filters(request), limit=CSV_PAGE)
    found = every_row(
        lambda cursor: list_domains(actor=actor, filters=replace(filters, cursor=cursor), now=now),
        pages=CSV_ROWS // CSV_PAGE,
    )
    return csv_file("domains.csv", _COLUMNS, (_cells(row, now=now) for row in found))


def _render(request: HttpRequest, actor: Actor, *, form: AddDomainForm | None) -> HttpResponse:
    now, filters = timezone.now(), _filters(request)
    page = list_domains(actor=actor, filters=filters, now=now)
    counts = count_states(actor=actor, query=filters.query, now=now)
    everything = counts[None]
    first_page = not filters.cursor
    months = lapsing_by_month(actor=actor, query=filters.query, now=now)
    context = {
        "rows": [rows.list_row(row, now=now) for row in page.rows],
        "now": now,
        "total": everything,
        "query": filters.query,
        "state": filters.state.value if filters.state else "",
        "month": f"{filters.month:%B %Y}" if filters.month else "",
        "month_value": f"{filters.month:%Y-%m}" if filters.month else "",
        "sort": filters.sort.value,
        "sorts": [{"value": sort.value, "label": label} for sort, label in SORTS.items()],
        "tabs": _tabs(filters, counts),
        "filtered": bool(filters.query or filters.state or filters.month or filters.cursor),
        "searchable": everything > 1 or bool(filters.query),
        "chart": lapsing_chart(months, query=filters.query)
        if first_page and everything >= CHART_FROM
        else None,
        "next_href": _query(filters, page.next_cursor) if page.next_cursor else "",
        "previous_href": _query(filters, page.previous_cursor) if page.previous_cursor else "",
        "csv_href": f"{reverse('domains-csv')}{_query(filters)}",
        "shows_organisation": shows_organisation(actor),
        "form": form or _form(actor),
    }
    failed = form is not None and bool(form.errors)
    return render(request, "domains/list.html", context, status=UNPROCESSABLE if failed else 200)


def _tabs(filters: Filters, counts: dict[State | None, int]) -> list[dict[str, object]]:
    """All, and every state that some domain is in, with how many are."""
    plain = replace(filters, cursor="", month=None)
    shown: list[State | None] = [None, *(s for s in TABS if counts[s] or s is filters.state)]
    return [
        {
            "label": rows.STATES[state] if state else "All",
            "count": counts[state],
            "href": _query(replace(plain, state=state)) or reverse("domains-list"),
            "current": state is filters.state and filters.month is None,
            "alarming": state in (State.ATTENTION, State.VANISHED),
        }
        for state in shown
    ]


def _form(actor: Actor, request: HttpRequest | None = None) -> AddDomainForm | None:
    """The form, for members of organisations; None for everybody else."""
    own: dict[OrganisationId, str] = {}
    if actor.memberships:
        own = {
            row.id: row.legal_name
            for row in list_organisations(actor=actor)
            if row.id in actor.memberships and can(actor, Action.DOMAIN_ASK, organisation_id=row.id)
        }
    return AddDomainForm(request.POST if request else None, organisations=own) if own else None


def _filters(request: HttpRequest) -> Filters:
    state, sort = request.GET.get("state", ""), request.GET.get("sort", "")
    return Filters(
        query=request.GET.get("q", "").strip()[:200],
        state=State(state) if state in set(State) else None,
        month=_month(request.GET.get("month", "")),
        sort=Sort(sort) if sort in set(Sort) else Sort.LAPSES,
        cursor=request.GET.get("cursor", ""),
        limit=PAGE,
    )


def _month(text: str) -> datetime | None:
    """The first moment of a month such as `2027-03`; None for anything else."""
    year, _hyphen, month = text.partition("-")
    if not (text.isascii() and year.isdecimal() and month.isdecimal() and len(text) < 8):  # noqa: PLR2004 - 2027-03
        return None
    try:
        return datetime(int(year), int(month), 1, tzinfo=UTC)
    except ValueError:
        return None


def _query(filters: Filters, cursor: str = "") -> str:
    pairs = {
        "q": filters.query,
        "state": filters.state.value if filters.state else "",
        "month": f"{filters.month:%Y-%m}" if filters.month else "",
        "sort": "" if filters.sort is Sort.LAPSES else filters.sort.value,
        "cursor": cursor,
    }
    said = {name: value for name, value in pairs.items() if value}
    return f"?{urlencode(said)}" if said else ""


def _cells(row: ListedDomain, *, now: datetime) -> list[str]:
    proof, gate = row.proof, row.deadlines.public
    proven = ["", "", "", "", ""]
    if proof is not None:
        left = str(max((proof.expires_at - now).days, 0))
        start, end = times.iso(proof.validated_at), times.iso(proof.expires_at)
        proven = [proof.method, start, proof.who, end, left]
    return [
        row.adn,
        row.organisation,
        rows.look_of(row, now=now)[1],
        *proven,
        times.iso(gate.until) if gate and gate.is_open(now=now) else "",
        "; ".join(flag.rule for flag in row.deadlines.flags),
        str(row.relying.certificates),
        str(row.relying.requests),
        rows.awaited(row, now=now),
    ]
