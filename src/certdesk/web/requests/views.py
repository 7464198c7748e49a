"""The applicant's screens: parse what came, call one service, render."""

from collections.abc import Mapping
from zlib import crc32

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.csr.csr import PrivateKeyPasted
from certdesk.domain.errors import BadCsr, BadKey, NotAuthorized, RejectedIdentifier, StateConflict
from certdesk.domain.issuing.states import FINAL, Status
from certdesk.domain.issuing.waiting import AWAITING_CA
from certdesk.domain.policy.catalogue import stored
from certdesk.domain.policy.decide import Outcome
from certdesk.services.requests.another import may_ask_another_until
from certdesk.services.requests.asking import (
    Submission,
    end_request,
    may_end,
    preview_request,
    withdraw_request,
)
from certdesk.services.requests.confirm import submit_request
from certdesk.services.requests.decisions import is_own
from certdesk.services.requests.recovery import poll_now, retry_request
from certdesk.services.requests.terms import term_of
from certdesk.services.system import runtime
from certdesk.store.selectors.caa import caa_of_request
from certdesk.store.selectors.organisations import list_organisations
from certdesk.store.selectors.requests import RequestDetail, get_request
from certdesk.store.selectors.waiting import waiting_for_ca
from certdesk.web.actor import actor_of
from certdesk.web.context import ra_name
from certdesk.web.dcv.asking import awaiting_context
from certdesk.web.dcv.caa import caa_views
from certdesk.web.forms import UNPROCESSABLE, finish, form_page
from certdesk.web.requests import rows
from certdesk.web.requests.certificate import bundle_response, certificate_context, form_response
from certdesk.web.requests.forms import EndForm, NewRequestForm
from certdesk.web.requests.listing import may_request
from certdesk.web.requests.preview import preview_context
from certdesk.web.requests.revoking import certificate_lines
from certdesk.web.requests.stale import CONFLICT, seen_version, stale_context
from certdesk.web.requests.token import make_token, read_token

LIST = ("Certificates", "/requests/")
#: The profile that the portal asks under.
PROFILE = "tls-server"
WITHDRAWABLE = (Status.WAITING_FOR_APPROVAL, Status.ACCEPTED, Status.SUBMITTED)


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """The form. A POST carries a preview's token: “Change” brings back what was filled in."""
    actor = actor_of(request)
    initial: dict[str, object] = {}
    if request.method == "POST":
        asked, _key = read_token(request.POST.get("preview", ""), user_id=actor.user_id)
        initial = {
            "csr_text": rows.csr_pem(asked.upload),
            "duration_years": asked.duration_years,
            "server_software": asked.server_software,
            "organisation": asked.organisation_id,
            "note": asked.note,
        }
    return _render_form(request, _form(actor, initial=initial))


@require_http_methods(["GET", "HEAD", "POST"])
def preview(request: HttpRequest) -> HttpResponse:
    """What the CSR says and what would happen; leaves no trace."""
    if request.method != "POST":
        return redirect("requests-new")
    actor = actor_of(request)
    form = _form(actor, request)
    if not form.is_valid():
        return _render_form(request, form)
    submission = Submission(
        organisation_id=form.organisation_id,
        upload=form.upload,
        duration_years=form.cleaned_data["duration_years"],
        server_software=form.cleaned_data["server_software"],
        note=form.cleaned_data["note"],
    )
    try:
        seen = preview_request(actor=actor, submission=submission, now=timezone.now())
    except (BadCsr, BadKey, RejectedIdentifier) as error:
        form.add_error("csr" if request.FILES.get("csr") else "csr_text", error.detail)
        if isinstance(error, PrivateKeyPasted):
            form.forget_paste()
        return _render_form(request, form)
    refused = seen.decision.outcome is Outcome.REFUSE
    token = ""
    if not refused and actor.user_id is not None:
        token = make_token(submission=submission, csr_der=seen.csr.der, user_id=actor.user_id)
    context = preview_context(seen, token=token, note=submission.note)
    context["crumbs"] = [LIST, ("Request a certificate", reverse("requests-new")), ("Check it", "")]
    return render(request, "requests/preview.html", context)


@require_POST
def confirm(request: HttpRequest) -> HttpResponse:
    """Sends exactly what was previewed, once."""
    actor = actor_of(request)
    submission, key = read_token(request.POST.get("preview", ""), user_id=actor.user_id)
    created = submit_request(
        actor=actor, submission=submission, channel="portal", idempotency_key=key, clock=timezone.now
    )
    return redirect("requests-show", number=created.number)


@require_safe
def show(request: HttpRequest, number: int) -> HttpResponse:
    """One request with everything that belongs to it."""
    return render_request(request, actor_of(request), number)


def render_request(
    request: HttpRequest,
    actor: Actor,
    number: int,
    *,
    conflict: StateConflict | None = None,
    typed: Mapping[str, str] | None = None,
) -> HttpResponse:
    """The page of a request; after a form that came too late, with what has changed since and was `typed`."""
    ra, now = ra_name(), timezone.now()
    detail = get_request(actor=actor, number=number)
    lines = certificate_lines(actor, detail, now=now)
    officer = can(actor, Action.REQUEST_DECIDE)
    waiting, rejected = waiting_for_ca(request=detail, now=now), detail.status is Status.REJECTED_BY_CA
    context: dict[str, object] = {
        "crumbs": [LIST, (f"Request {number}", "")],
        "detail": detail,
        "title": rows.title(detail),
        "badges": rows.badges(detail, ra=ra, now=now),
        "second_line": rows.second_line(detail, ra=ra, now=now, over=lines[0]["said"] if lines else ""),
        "ended": rows.ending(detail),
        "term": None if rows.ending(detail) else term_of(detail, now=now),
        "may_request": may_request(actor),
        "may_act": can(actor, Action.DOMAIN_ASK, organisation_id=detail.organisation_id),
        "poll_version": _poll_version(detail),
        **awaiting_context(actor, detail, now=now),
        "waiting": waiting,
        "may_poll": officer and waiting is not None and detail.status in AWAITING_CA,
        "may_retry": officer and rejected and detail.requester_id != actor.user_id,
        "poll_href": reverse("requests-status", args=[number]) if detail.status not in FINAL else "",
        "rejected_by": {Status.REJECTED_BY_RA: ra, Status.REJECTED_BY_CA: "the CA"}.get(detail.status),
        **certificate_context(detail),
        "standing": lines[0] if lines else None,
        "earlier": lines[1:],
        "facts": rows.stored_csr(detail),
        **rows.check_list(stored(detail.checks)),
        "caa": caa_views(caa_of_request(detail), now=now),
        "history": rows.history(detail, ra=ra),
        "may_withdraw": _may_withdraw(actor, detail),
        "another_until": may_ask_another_until(actor, detail, now=now),
        "may_decide": officer and detail.status is Status.WAITING_FOR_APPROVAL and not is_own(actor, detail),
        "may_end": may_end(actor, detail),
    }
    if conflict is not None:
        context |= stale_context(request, detail, conflict, ra=ra, typed=typed or {})
    return render(request, "requests/show.html", context, status=200 if conflict is None else CONFLICT)


@require_safe
def status(request: HttpRequest, number: int) -> HttpResponse:
    """Whether a request has moved on, or its second line has changed, for the page that is looking at it."""
    detail = get_request(actor=actor_of(request), number=number)
    return HttpResponse(status=204, headers={"X-Request-Changed": _poll_version(detail)})


@require_http_methods(["GET", "HEAD", "POST"])
def withdraw(request: HttpRequest, number: int) -> HttpResponse:
    """Asks first, then ends the request."""
    actor = actor_of(request)
    detail, conflict = get_request(actor=actor, number=number), None
    if request.method == "POST":
        try:
            withdraw_request(actor=actor, number=number, now=timezone.now())
        except StateConflict as error:
            detail, conflict = get_request(actor=actor, number=number), error
        else:
            return finish(request, f"Request {number} is withdrawn.", "requests-show", number=number)
    allowed = {"may_withdraw": _may_withdraw(actor, detail), "over": detail.status not in WITHDRAWABLE}
    return _asked(request, "requests/withdraw.html", "Withdraw", detail, conflict, **allowed)


@require_http_methods(["GET", "HEAD", "POST"])
def end(request: HttpRequest, number: int) -> HttpResponse:
    """Asks first, then ends what the request allows."""
    actor = actor_of(request)
    detail, conflict = get_request(actor=actor, number=number), None
    form = EndForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            end_request(actor=actor, number=number, reason=form.cleaned_data["reason"], now=timezone.now())
        except StateConflict as error:
            detail, conflict = get_request(actor=actor, number=number), error
        else:
            told = f"Request {number} has ended. No further certificate is issued under it."
            return finish(request, told, "requests-show", number=number)
    return _asked(
        request, "requests/end.html", "End", detail, conflict, form=form, may_end=may_end(actor, detail)
    )


def _asked(
    request: HttpRequest,
    template: str,
    step: str,
    detail: RequestDetail,
    conflict: StateConflict | None,
    **context: object,
) -> HttpResponse:
    """A page that asks first; after a POST that came too late, with what has changed since."""
    here = reverse("requests-show", args=[detail.number])
    context |= {
        "detail": detail,
        "title": rows.title(detail),
        "crumbs": [LIST, (f"Request {detail.number}", here), (step, "")],
    }
    form, status = context.get("form"), 200
    if conflict is not None:
        typed, status = {"Reason": request.POST.get("reason", "")}, CONFLICT
        context |= stale_context(request, detail, conflict, ra=ra_name(), typed=typed)
    elif isinstance(form, EndForm) and form.errors:
        status = UNPROCESSABLE
    return render(request, template, context, status=status)


@require_safe
def bundle(request: HttpRequest, number: int) -> HttpResponse:
    """The certificate with its chain and root, as a .zip."""
    return bundle_response(get_request(actor=actor_of(request), number=number))


@require_safe
def certificate(request: HttpRequest, number: int, form: str) -> HttpResponse:
    """The certificate in another form."""
    return form_response(get_request(actor=actor_of(request), number=number), form)


def _form(
    actor: Actor, request: HttpRequest | None = None, *, initial: dict[str, object] | None = None
) -> NewRequestForm:
    seen = list_organisations(actor=actor) if actor.memberships else []
    own = [row for row in seen if can(actor, Action.REQUEST_CREATE, organisation_id=row.id)]
    if not own:
        raise NotAuthorized("You don’t belong to an organisation, so you can’t request certificates.")
    rt = runtime.current()
    rules = [rt.rules_for(organisation=row.slug, profile=PROFILE) for row in own]
    return NewRequestForm(
        request.POST if request else None,
        request.FILES if request else None,
        initial=initial,
        received=int(request.META.get("CONTENT_LENGTH") or 0) if request else 0,
        durations=sorted({years for one in rules for years in one.durations}),
        software=rt.rules.server_software,
        organisations={row.id: row.legal_name for row in own},
    )


def _render_form(request: HttpRequest, form: NewRequestForm) -> HttpResponse:
    context = {"form": form, "crumbs": [LIST, ("Request a certificate", "")]}
    return form_page(request, "requests/new.html", context)


def _poll_version(detail: RequestDetail) -> str:
    """A number that changes with the state and with the second line."""
    return f"{detail.version}{crc32(detail.detail.encode()):010}"


def _may_withdraw(actor: Actor, detail: RequestDetail) -> bool:
    if detail.status not in WITHDRAWABLE or not can(
        actor, Action.REQUEST_WITHDRAW, organisation_id=detail.organisation_id
    ):
        return False
    return detail.requester_id == actor.user_id or can(
        actor, Action.MEMBERS_MANAGE, organisation_id=detail.organisation_id
    )


@require_POST
def retry(request: HttpRequest, number: int) -> HttpResponse:
    """Sends a request that the CA rejected there again."""
    actor, note = actor_of(request), request.POST.get("note", "")
    seen = seen_version(request) if "version" in request.POST else None
    try:
        retry_request(actor=actor, number=number, note=note, seen_version=seen, now=timezone.now())
    except StateConflict as error:
        return render_request(request, actor, number, conflict=error, typed={"Note": note})
    told = f"Request {number} goes to the CA again, after its checks."
    return finish(request, told, "requests-show", number=number)


@require_POST
def poll(request: HttpRequest, number: int) -> HttpResponse:
    """Has the CA asked at once."""
    poll_now(actor=actor_of(request), number=number, now=timezone.now())
    told = "We are asking the CA now. The status below changes as soon as it answers."
    return finish(request, told, "requests-show", number=number)
