"""The officer's screens: what waits for a decision, and deciding it."""

from dataclasses import replace

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from certdesk.domain.actors import Action, Actor, require
from certdesk.domain.errors import InvalidInput, PolicyRefused, StateConflict
from certdesk.domain.findings import Verdict
from certdesk.domain.issuing.states import Event, RequestId, State, Status
from certdesk.domain.policy.catalogue import stored
from certdesk.services.people.organisations import WAYS
from certdesk.services.requests.confirm import approve_and_issue
from certdesk.services.requests.decisions import Judgement, Shown, changes, is_own, judge_now, reject_request
from certdesk.store.models import Request
from certdesk.store.selectors.organisations import get_organisation, validated_domains
from certdesk.store.selectors.requests import (
    Filters,
    RequestDetail,
    Sort,
    count_requests,
    get_request,
    list_requests,
    waiting_count,
)
from certdesk.web.actor import actor_of
from certdesk.web.context import ra_name
from certdesk.web.forms import finish
from certdesk.web.queue.forms import ApproveForm, EvidenceForm, RejectForm
from certdesk.web.requests import rows
from certdesk.web.requests.stale import CONFLICT, seen_version, stale_context

PAGE = 25
_BY_PEOPLE = frozenset({Event.APPROVE, Event.REJECT, Event.WITHDRAW, Event.END})
APPROVED_SHOWN = 100
DOMAINS_SHOWN = 20
UNPROCESSABLE = 422
WAITING = Filters(status=Status.WAITING_FOR_APPROVAL, sort=Sort.OLDEST, limit=PAGE)


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """What waits, oldest first, with every reason."""
    actor, now = _officer(request), timezone.now()
    page = list_requests(actor=actor, filters=replace(WAITING, cursor=request.GET.get("cursor", "")))
    asked = _asked([row.number for row in page.rows])
    count, oldest = waiting_count(actor=actor)
    context = {
        "rows": [(row, *asked[row.number], now - row.created_at) for row in page.rows],
        "user_id": actor.user_id,
        "count": count,
        "waited": now - oldest if oldest else None,
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
    conflict = None
    if all([form.is_valid(), *(one.is_valid() for one in evidence)]):
        try:
            approve_and_issue(
                actor=actor,
                number=number,
                evidence=[one.evidence_of(str(one.prefix)) for one in evidence if not one.is_empty],
                vetting=form.cleaned_data.get("vetting", ""),
                shown=Shown.read(request.POST.get("shown", "")),
                note=form.cleaned_data["note"],
                message=form.cleaned_data["message"],
                clock=timezone.now,
            )
        except (InvalidInput, PolicyRefused) as error:
            form.add_error(None, error.detail)
        except StateConflict as error:
            conflict = error
        else:
            return finish(request, f"Request {number} is approved.", "requests-show", number=number)
    return _render(request, actor, detail, judged, evidence=evidence, form=form, conflict=conflict)


@require_POST
def reject(request: HttpRequest, number: int) -> HttpResponse:
    """A no, with the details that the applicant reads."""
    actor = _officer(request)
    detail = get_request(actor=actor, number=number)
    form, conflict = RejectForm(request.POST), None
    if form.is_valid():
        try:
            reject_request(
                actor=actor,
                number=number,
                details=form.cleaned_data["details"],
                seen_version=seen_version(request),
                now=timezone.now(),
            )
        except StateConflict as error:
            conflict = error
        else:
            told = f"Request {number} is rejected; we email the requester."
            return finish(request, told, "requests-show", number=number)
    judged = _judged(actor, detail)
    return _render(
        request, actor, detail, judged, evidence=_evidence_forms(judged), reject_form=form, conflict=conflict
    )


def _officer(request: HttpRequest) -> Actor:
    actor = actor_of(request)
    require(actor, Action.REQUEST_DECIDE, f"Only officers of {ra_name()} decide on requests.")
    return actor


def _asked(numbers: list[RequestId]) -> dict[int, tuple[list[str], int]]:
    """Why requests wait that a selector has already let this officer see, and who asked, in one query."""
    found = Request.objects.filter(id__in=numbers).values_list("id", "checks", "requester_id")
    return {
        number: ([check["message"] for check in checks if check["verdict"] == Verdict.MANUAL], requester)
        for number, checks, requester in found
    }


def _judged(actor: Actor, detail: RequestDetail) -> Judgement | None:
    """What policy says now, once for the whole page; None for what no longer waits for a decision."""
    if detail.state is not State.WAITING_FOR_APPROVAL:
        return None
    return judge_now(actor=actor, number=detail.number, now=timezone.now())


def _evidence_forms(judged: Judgement | None, request: HttpRequest | None = None) -> list[EvidenceForm]:
    """A form for each domain that nothing proves yet, whose prefix is the domain."""
    if judged is None:
        return []
    given = request.POST if request else None
    return [EvidenceForm(given, prefix=one, required=one in judged.required) for one in judged.domains]


def _approve_form(judged: Judgement | None, data: QueryDict | None = None) -> ApproveForm:
    return ApproveForm(data, vetted=judged is None or judged.vetted)


def _render(
    request: HttpRequest,
    actor: Actor,
    detail: RequestDetail,
    judged: Judgement | None,
    *,
    evidence: list[EvidenceForm],
    form: ApproveForm | None = None,
    reject_form: RejectForm | None = None,
    conflict: StateConflict | None = None,
) -> HttpResponse:
    """The page; after a form that came too late, as things stand now, with what has changed and was typed."""
    ra, status = ra_name(), 200
    filled = [("", form), ("", reject_form), *((f"{one.prefix}: ", one) for one in evidence)]
    problems = [(about, one) for about, one in filled if one is not None and one.errors]
    stale: dict[str, object] = {}
    if problems:
        status = UNPROCESSABLE
    if conflict is not None:
        status = CONFLICT
        detail = get_request(actor=actor, number=detail.number)
        judged = _judged(actor, detail)
        # What was typed stays; domains that need evidence by now may be others.
        evidence = _evidence_forms(judged, request if form else None)
        form = form and _approve_form(judged, request.POST)
        differences = ""
        if judged is not None and form is not None:
            shown = Shown.read(request.POST.get("shown", ""))
            differences = changes(shown, judged.shown, judged.decision)
        stale = stale_context(
            request, detail, conflict, ra=ra, typed=_typed(request), differences=differences
        )
    history = zip(reversed(detail.events), rows.history(detail, ra=ra_name()), strict=True)
    context: dict[str, object] = {
        "crumbs": [("Queue", reverse("queue-list")), (f"Request {detail.number}", "")],
        "detail": detail,
        "title": rows.title(detail),
        "badges": rows.badges(detail, ra=ra, now=timezone.now()),
        "problems": problems,
        "facts": rows.stored_csr(detail),
        **_checks(detail, judged),
        "organisation": _organisation(actor, detail),
        "shown": "" if judged is None else judged.shown.token(),
        "own": is_own(actor, detail),
        "waiting": judged is not None,
        "decided": next((row for event, row in history if event.event in _BY_PEOPLE), None),
        "evidence_forms": evidence,
        "awaits_confirmation": any(not one.required for one in evidence),
        "form": form or _approve_form(judged),
        "reject_form": reject_form or RejectForm(),
        **stale,
    }
    return render(request, "queue/decide.html", context, status=status)


def _typed(request: HttpRequest) -> dict[str, str]:
    """What an officer wrote, by the labels of the fields."""
    fields = {**ApproveForm.base_fields, **EvidenceForm.base_fields, **RejectForm.base_fields}
    pairs = [(*key.rpartition("-")[::2], text) for key, text in request.POST.items()]
    return {
        f"{fields[name].label}{domain and f' ({domain})'}": WAYS.get(str(text), str(text))
        for domain, name, text in pairs
        if name in fields
    }


def _checks(detail: RequestDetail, judged: Judgement | None) -> dict[str, object]:
    """The checks as they are now, and those of the day of the request that have come out otherwise since."""
    then = stored(detail.checks)
    if judged is None:
        return rows.check_list(then)
    # The CSR is unchanged; only the form in which it came would be described again.
    current = [
        *(check for check in then if check.code in judged.csr_codes),
        *(check for check in judged.decision.checks if check.code not in judged.csr_codes),
    ]
    changed = rows.check_list(check for check in then if check not in current)
    return {
        **rows.check_list(current),
        "changed_checks": [*changed["problem_checks"], *changed["passed_checks"]],
    }


def _organisation(actor: Actor, detail: RequestDetail) -> dict[str, object]:
    """What an officer wants to know of the organisation that asks."""
    row = get_organisation(actor=actor, slug=detail.organisation_slug)
    issued = Filters(status=Status.ISSUED, organisation_id=row.id)
    domains = validated_domains(row.id, most=DOMAINS_SHOWN + 1, now=timezone.now())
    return {
        "row": row,
        "issued_before": count_requests(actor=actor, filters=issued, cap=APPROVED_SHOWN),
        "domains": domains[:DOMAINS_SHOWN],
        "has_more_domains": len(domains) > DOMAINS_SHOWN,
    }
