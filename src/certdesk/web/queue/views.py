"""The officer's screens: what waits for a person, and deciding it (R31 to R33)."""

from dataclasses import dataclass, replace
from datetime import datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.check_catalogue import stored
from certdesk.domain.errors import InvalidInput, NotAuthorized
from certdesk.domain.findings import Verdict
from certdesk.domain.identifiers import is_ip_address
from certdesk.domain.requests import Event, RequestId, State, Status, UserId
from certdesk.services.confirm import approve_and_issue
from certdesk.services.decisions import (
    Judgement,
    Shown,
    is_own,
    judge_now,
    reject_request,
)
from certdesk.services.organisations import Evidence
from certdesk.store.models import Request
from certdesk.store.selectors.organisations import get_organisation, list_domains
from certdesk.store.selectors.requests import (
    Filters,
    RequestDetail,
    RequestRow,
    Sort,
    count_requests,
    get_request,
    list_requests,
    waiting_count,
)
from certdesk.web import times
from certdesk.web.actor import actor_of
from certdesk.web.context import crumbs, ra_name
from certdesk.web.queue.forms import ApproveForm, EvidenceForm, RejectForm
from certdesk.web.requests import rows

PAGE = 25
_BY_PEOPLE = frozenset({Event.APPROVE, Event.REJECT, Event.WITHDRAW})
APPROVED_SHOWN = 100
UNPROCESSABLE = 422
WAITING = Filters(status=Status.WAITING_FOR_APPROVAL, sort=Sort.OLDEST, limit=PAGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """A line of the queue."""

    number: int
    href: str
    name: str
    more: str
    organisation: str
    requester: str
    reasons: tuple[str, ...]
    waiting: str
    at_iso: str
    own: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainEvidence:
    """A domain that nothing proves yet, with the form for its evidence."""

    domain: str
    required: bool
    is_address: bool
    form: EvidenceForm


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """What waits, oldest first, with every reason."""
    actor = _officer(request)
    page = list_requests(actor=actor, filters=replace(WAITING, cursor=request.GET.get("cursor", "")))
    asked = _asked([row.number for row in page.rows])
    now = timezone.now()
    count, oldest = waiting_count(actor=actor)
    summary = "Nothing to decide."
    if oldest:
        waited = times.lasted(now - oldest)
        summary = f"{times.counted(count, 'request')}; the oldest has waited {waited}."
    context = {
        "rows": [_row(row, asked[row.number], now=now, own_id=actor.user_id) for row in page.rows],
        "summary": summary,
        "next_href": f"?cursor={page.next_cursor}" if page.next_cursor else "",
    }
    return render(request, "queue/list.html", context)


@require_safe
def decide(request: HttpRequest, number: int) -> HttpResponse:
    """Everything that a decision needs."""
    actor = _officer(request)
    detail = get_request(actor=actor, number=number)
    judged = _judged(actor, detail)
    return _render(request, actor, detail, judged, evidence=_evidence_forms(judged))


@require_POST
def approve(request: HttpRequest, number: int) -> HttpResponse:
    """A yes, with the evidence that it rests on."""
    actor = _officer(request)
    detail = get_request(actor=actor, number=number)
    judged = _judged(actor, detail)
    evidence, form = _evidence_forms(judged, request), _approve_form(judged, request.POST)
    if not all([form.is_valid(), *(item.form.is_valid() for item in evidence)]):
        return _render(request, actor, detail, judged, evidence=evidence, form=form)
    approve_and_issue(
        actor=actor,
        number=number,
        evidence=[_evidence(item) for item in evidence if not item.form.is_empty],
        vetting=form.cleaned_data.get("vetting", ""),
        shown=Shown.read(request.POST.get("shown", "")),
        note=form.cleaned_data["note"],
        message=form.cleaned_data["message"],
        clock=timezone.now,
    )
    messages.success(request, f"Request {number} is approved.")
    return redirect("requests-show", number=number)


@require_POST
def reject(request: HttpRequest, number: int) -> HttpResponse:
    """A no, with the details that the applicant reads (R29)."""
    actor = _officer(request)
    detail = get_request(actor=actor, number=number)
    form = RejectForm(request.POST)
    if not form.is_valid():
        judged = _judged(actor, detail)
        return _render(request, actor, detail, judged, evidence=_evidence_forms(judged), reject_form=form)
    reject_request(
        actor=actor,
        number=number,
        details=form.cleaned_data["details"],
        seen_version=_version(request),
        now=timezone.now(),
    )
    messages.success(request, f"Request {number} is rejected; we email the requester.")
    return redirect("requests-show", number=number)


def _officer(request: HttpRequest) -> Actor:
    actor = actor_of(request)
    if not can(actor, Action.REQUEST_DECIDE):
        raise NotAuthorized(f"Only officers of {ra_name()} decide on requests.")
    return actor


def _version(request: HttpRequest) -> int:
    text = request.POST.get("version", "")
    if not (text.isascii() and text.isdecimal()):
        raise InvalidInput("The form is incomplete. Open the request again.")
    return int(text)


def _asked(numbers: list[RequestId]) -> dict[int, tuple[list[dict[str, str]], int]]:
    """Checks and requester of requests that a selector has already let this officer see, in one query."""
    found = Request.objects.filter(id__in=numbers).values_list("id", "checks", "requester_id")
    return {number: (checks, requester) for number, checks, requester in found}


def _row(
    row: RequestRow, asked: tuple[list[dict[str, str]], int], *, now: datetime, own_id: UserId | None
) -> QueueRow:
    checks, requester_id = asked
    manual = (c["message"] for c in checks if c["verdict"] == Verdict.MANUAL)
    return QueueRow(
        number=row.number,
        href=reverse("queue-decide", args=[row.number]),
        name=row.common_names,
        more=f"and {row.name_count - 1} more" if row.name_count > 1 else "",
        organisation=row.organisation,
        requester=row.requester,
        reasons=tuple(manual),
        waiting=times.lasted(now - row.created_at),
        at_iso=times.iso(row.created_at),
        own=requester_id == own_id,
    )


def _judged(actor: Actor, detail: RequestDetail) -> Judgement | None:
    """What policy says now, once for the whole page; None for what waits for nobody any more."""
    if detail.state is not State.WAITING_FOR_APPROVAL:
        return None
    return judge_now(actor=actor, number=detail.number, now=timezone.now())


def _evidence_forms(judged: Judgement | None, request: HttpRequest | None = None) -> list[DomainEvidence]:
    if judged is None:
        return []
    return [
        DomainEvidence(
            domain=domain,
            required=domain in judged.required,
            is_address=is_ip_address(domain),
            form=EvidenceForm(
                request.POST if request else None, prefix=domain, required=domain in judged.required
            ),
        )
        for domain in judged.domains
    ]


def _approve_form(judged: Judgement | None, data: QueryDict | None = None) -> ApproveForm:
    return ApproveForm(data, vetted=judged is None or judged.vetted)


def _evidence(item: DomainEvidence) -> Evidence:
    said = item.form.cleaned_data
    return Evidence(
        domain=item.domain, how=said["how"], details=said["evidence"], reference=said["reference"]
    )


def _render(
    request: HttpRequest,
    actor: Actor,
    detail: RequestDetail,
    judged: Judgement | None,
    *,
    evidence: list[DomainEvidence],
    form: ApproveForm | None = None,
    reject_form: RejectForm | None = None,
) -> HttpResponse:
    filled = [("", form), ("", reject_form), *((f"{item.domain}: ", item.form) for item in evidence)]
    problems = [(about, one) for about, one in filled if one is not None and one.errors]
    context: dict[str, object] = {
        "crumbs": crumbs(("Queue", reverse("queue-list")), (f"Request {detail.number}", "")),
        "page": rows.page_row(detail, ra=ra_name(), now=timezone.now()),
        "problems": problems,
        "facts": rows.stored_csr(detail),
        **_checks(detail, judged),
        "facts_about": rows.about(detail),
        "organisation": _organisation(actor, detail),
        "shown": "" if judged is None else judged.shown.token(),
        "own": is_own(actor, detail),
        "waiting": judged is not None,
        "decided": _decided(detail),
        "evidence_forms": evidence,
        "awaits_confirmation": any(not item.required for item in evidence),
        "form": form or _approve_form(judged),
        "reject_form": reject_form or RejectForm(),
    }
    return render(request, "queue/decide.html", context, status=UNPROCESSABLE if problems else 200)


def _checks(detail: RequestDetail, judged: Judgement | None) -> dict[str, object]:
    """The checks as they are now, and those of the day of the request that have come out otherwise since."""
    then = stored(detail.checks)
    if judged is None:
        return rows.check_list(then).context()
    # The CSR stays as it is; only the form in which it came would be told anew.
    current = [
        *(check for check in then if check.code in judged.csr_codes),
        *(check for check in judged.decision.checks if check.code not in judged.csr_codes),
    ]
    changed = rows.check_list(check for check in then if check not in current)
    return {
        **rows.check_list(current).context(),
        "changed_checks": (*changed.problems, *changed.passed),
    }


def _decided(detail: RequestDetail) -> rows.HistoryRow | None:
    """Who decided last what waits no more, or took it back; None where no person has."""
    history = zip(reversed(detail.events), rows.history(detail, ra=ra_name()), strict=True)
    return next((row for event, row in history if event.event in _BY_PEOPLE), None)


def _organisation(actor: Actor, detail: RequestDetail) -> dict[str, object]:
    """What an officer wants to know of the organisation that asks."""
    row = get_organisation(actor=actor, slug=detail.organisation_slug)
    now = timezone.now()
    issued = Filters(status=Status.ISSUED, organisation_id=row.id)
    domains = list_domains(actor=actor, organisation_id=row.id)
    return {
        "legal_name": row.legal_name,
        "href": reverse("organisations-show", args=[row.slug]),
        "vetted": f"Yes, {times.day(row.vetted_at)}" if row.vetted_at else "Not yet",
        "first": "" if row.first_approved_at else "This is its first request.",
        "issued_before": count_requests(actor=actor, filters=issued, cap=APPROVED_SHOWN),
        "domains": [d.adn for d in domains if d.is_validated(now=now)],
    }
