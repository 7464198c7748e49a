"""The list of domains, what lapses next first; the same as CSV; adding one."""

import csv
from collections.abc import Iterator
from datetime import datetime
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.errors import NotAuthorized, RejectedIdentifier
from certdesk.domain.requests import OrganisationId
from certdesk.services.validation import add_domain
from certdesk.store.selectors.organisations import list_organisations
from certdesk.store.selectors.validation import ListedDomain, list_lapsing
from certdesk.web import times
from certdesk.web.actor import actor_of
from certdesk.web.domains import rows
from certdesk.web.domains.forms import AddDomainForm
from certdesk.web.requests.listing import shows_organisation

SHOWN = 200
CSV_ROWS = 10_000
UNPROCESSABLE = 422
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r")  # A7: a spreadsheet would take these for formulas
_COLUMNS = (
    "Domain",
    "Organisation",
    "State",
    "Method",
    "Proven",
    "By",
    "Lapses",
    "Days left",
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
        raise NotAuthorized("Only people of an organisation add domains to it.")
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
            messages.success(request, "The domain is listed. Now choose who confirms it.")
            return redirect("domains-show", domain_id=domain_id)
    return _render(request, actor, form=form)


@require_safe
def as_csv(request: HttpRequest) -> StreamingHttpResponse:
    """The same list as CSV."""
    found = list_lapsing(actor=actor_of(request), query=_query(request), limit=CSV_ROWS, now=timezone.now())
    response = StreamingHttpResponse(_csv_lines(found), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="domains.csv"'
    return response


def _render(request: HttpRequest, actor: Actor, *, form: AddDomainForm | None) -> HttpResponse:
    now, query = timezone.now(), _query(request)
    found = list_lapsing(actor=actor, query=query, limit=SHOWN, now=now)
    searchable = actor.sees_everything or len(found) > 1 or bool(query)
    more = f"The first {SHOWN}; search for others." if len(found) == SHOWN else f"{len(found)} shown"
    context = {
        "rows": [rows.list_row(row, now=now) for row in found],
        "summary": "What is proven until when; what lapses next comes first.",
        "query": query,
        "searchable": searchable,
        "shown": more,
        "csv_href": reverse("domains-csv") + (f"?{urlencode({'q': query})}" if query else ""),
        "shows_organisation": shows_organisation(actor),
        "form": form or _form(actor),
    }
    failed = form is not None and bool(form.errors)
    return render(request, "domains/list.html", context, status=UNPROCESSABLE if failed else 200)


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


def _query(request: HttpRequest) -> str:
    return request.GET.get("q", "").strip()[:200]


class _Line:
    """What csv.writer writes to: hands each line back."""

    def write(self, line: str) -> str:
        return line


def _csv_lines(found: list[ListedDomain]) -> Iterator[str]:
    writer, now = csv.writer(_Line()), timezone.now()
    yield writer.writerow(_COLUMNS)
    for row in found:
        yield writer.writerow([_harmless(cell) for cell in _cells(row, now=now)])


def _cells(row: ListedDomain, *, now: datetime) -> list[str]:
    proof = row.proof
    state = rows.look_of(row, now=now)[1]
    waiting = " ".join(rows.awaited_mailboxes(row, now=now))
    if proof is None:
        return [row.adn, row.organisation, state, "", "", "", "", "", waiting]
    proven, lapses = times.iso(proof.validated_at), times.iso(proof.expires_at)
    left = str(max((proof.expires_at - now).days, 0))
    return [row.adn, row.organisation, state, proof.method, proven, proof.who, lapses, left, waiting]


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_DANGEROUS) else cell
