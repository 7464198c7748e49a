"""The applicant's screens: parse what came, call one service, render (R10 to R25)."""

from zlib import crc32

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.check_catalogue import stored
from certdesk.domain.csr import PrivateKeyPasted
from certdesk.domain.errors import BadCsr, BadKey, NotAuthorized, RejectedIdentifier
from certdesk.domain.policy import Outcome
from certdesk.domain.requests import FINAL, Status
from certdesk.services import runtime
from certdesk.services.another import may_ask_another_until
from certdesk.services.confirm import submit_request
from certdesk.services.decisions import is_own
from certdesk.services.requests import (
    Submission,
    end_request,
    may_end,
    preview_request,
    withdraw_request,
)
from certdesk.store.selectors.caa import caa_of_request
from certdesk.store.selectors.organisations import OrganisationRow, list_organisations
from certdesk.store.selectors.requests import RequestDetail, get_request
from certdesk.web import times
from certdesk.web.actor import actor_of
from certdesk.web.context import crumbs, ra_name
from certdesk.web.dcv.asking import awaiting_context
from certdesk.web.dcv.caa import caa_views
from certdesk.web.requests import rows
from certdesk.web.requests.ca import ca_view
from certdesk.web.requests.certificate import bundle_response, certificate_view, form_response, install_view
from certdesk.web.requests.forms import EndForm, NewRequestForm
from certdesk.web.requests.preview import preview_context
from certdesk.web.requests.revoking import certificate_lines
from certdesk.web.requests.token import make_token, read_token

LIST = ("Certificates", "/requests/")
#: The profile that the portal asks under.
PROFILE = "tls-server"
UNPROCESSABLE = 422
WITHDRAWABLE = (Status.WAITING_FOR_APPROVAL, Status.ACCEPTED, Status.SUBMITTED)


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """The form. A POST carries a preview's token: “Change” brings back what was filled in."""
    actor = actor_of(request)
    initial: dict[str, object] = {}
    if request.method == "POST":
        asked = read_token(request.POST.get("preview", ""), user_id=actor.user_id).submission
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
    """What the CSR says and what would happen; leaves no trace (R15, R16)."""
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
    context = preview_context(seen, ra=ra_name(), token=token, note=submission.note)
    context["crumbs"] = crumbs(LIST, ("Request a certificate", reverse("requests-new")), ("Check it", ""))
    return render(request, "requests/preview.html", context)


@require_POST
def confirm(request: HttpRequest) -> HttpResponse:
    """Sends exactly what was previewed, once (R17, R18)."""
    actor = actor_of(request)
    token = read_token(request.POST.get("preview", ""), user_id=actor.user_id)
    created = submit_request(
        actor=actor,
        submission=token.submission,
        channel="portal",
        idempotency_key=token.key,
        clock=timezone.now,
    )
    return redirect("requests-show", number=created.number)


@require_safe
def show(request: HttpRequest, number: int) -> HttpResponse:
    """One request with everything that hangs on it (R25)."""
    actor, ra, now = actor_of(request), ra_name(), timezone.now()
    detail = get_request(actor=actor, number=number)
    another = may_ask_another_until(actor, detail, now=now)
    unfinished = detail.status not in FINAL
    lines = certificate_lines(actor, detail, now=now)
    context: dict[str, object] = {
        "crumbs": crumbs(LIST, (f"Request {number}", "")),
        "page": rows.page_row(detail, ra=ra, now=now, ended=lines[0].said if lines else ""),
        "action_needed": detail.action_needed,
        "may_act": can(actor, Action.DOMAIN_ASK, organisation_id=detail.organisation_id),
        "poll_version": _poll_version(detail),
        **awaiting_context(actor, detail, now=now),
        "ca": ca_view(actor, detail, now=now),
        "poll_href": reverse("requests-status", args=[number]) if unfinished else "",
        "rejection": _rejection(detail, ra=ra),
        "certificate": certificate_view(detail),
        "install": install_view(detail),
        "standing": lines[0] if lines else None,
        "earlier": lines[1:],
        "facts": rows.stored_csr(detail),
        **rows.check_list(stored(detail.checks)).context(),
        "caa": caa_views(caa_of_request(actor=actor, number=number), now=now, on_request=True),
        "facts_about": rows.about(detail),
        "approvals": rows.approvals(detail.approvals),
        "history": rows.history(detail, ra=ra),
        "may_withdraw": _may_withdraw(actor, detail),
        "another_until": "" if another is None else times.day(another),
        "may_decide": _may_decide(actor, detail),
        "may_end": may_end(actor, detail),
    }
    return render(request, "requests/show.html", context)


@require_safe
def status(request: HttpRequest, number: int) -> HttpResponse:
    """Whether a request has moved on, or its second line has changed, for the page that is looking at it."""
    detail = get_request(actor=actor_of(request), number=number)
    return HttpResponse(status=204, headers={"X-Request-Changed": _poll_version(detail)})


@require_http_methods(["GET", "HEAD", "POST"])
def withdraw(request: HttpRequest, number: int) -> HttpResponse:
    """Asks first, then ends the request."""
    actor = actor_of(request)
    detail = get_request(actor=actor, number=number)
    if request.method == "POST":
        withdraw_request(actor=actor, number=number, now=timezone.now())
        messages.success(request, f"Request {number} is withdrawn.")
        return redirect("requests-show", number=number)
    trail = crumbs(LIST, (f"Request {number}", reverse("requests-show", args=[number])), ("Withdraw", ""))
    context = {
        "number": number,
        "title": rows.title(detail),
        "crumbs": trail,
        "may_withdraw": _may_withdraw(actor, detail),
        "ended": detail.status not in WITHDRAWABLE,
        "requester": detail.requester,
    }
    return render(request, "requests/withdraw.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def end(request: HttpRequest, number: int) -> HttpResponse:
    """Asks first, then ends what the request allows."""
    actor = actor_of(request)
    detail = get_request(actor=actor, number=number)
    form = EndForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        end_request(actor=actor, number=number, reason=form.cleaned_data["reason"], now=timezone.now())
        messages.success(request, f"Request {number} is ended. No further certificates are issued under it.")
        return redirect("requests-show", number=number)
    trail = crumbs(LIST, (f"Request {number}", reverse("requests-show", args=[number])), ("End", ""))
    context = {
        "number": number,
        "title": rows.title(detail),
        "crumbs": trail,
        "may_end": may_end(actor, detail),
        "form": form,
    }
    return render(request, "requests/end.html", context, status=UNPROCESSABLE if form.errors else 200)


@require_safe
def bundle(request: HttpRequest, number: int) -> HttpResponse:
    """The .zip of the seed (R37)."""
    return bundle_response(get_request(actor=actor_of(request), number=number))


@require_safe
def certificate(request: HttpRequest, number: int, form: str) -> HttpResponse:
    """The certificate in another form."""
    return form_response(get_request(actor=actor_of(request), number=number), form)


def _form(
    actor: Actor, request: HttpRequest | None = None, *, initial: dict[str, object] | None = None
) -> NewRequestForm:
    own = _organisations(actor)
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


def _organisations(actor: Actor) -> list[OrganisationRow]:
    if not actor.memberships:
        return []
    return [
        row
        for row in list_organisations(actor=actor)
        if can(actor, Action.REQUEST_CREATE, organisation_id=row.id)
    ]


def _render_form(request: HttpRequest, form: NewRequestForm) -> HttpResponse:
    context = {
        "form": form,
        "crumbs": crumbs(LIST, ("Request a certificate", "")),
        "validity_note": "The CA issues one certificate for the whole time.",
    }
    return render(request, "requests/new.html", context, status=UNPROCESSABLE if form.errors else 200)


def _poll_version(detail: RequestDetail) -> str:
    """A number that changes with the state and with the second line."""
    return f"{detail.version}{crc32(detail.detail.encode()):010}"


def _rejection(detail: RequestDetail, *, ra: str) -> dict[str, str] | None:
    who = {Status.REJECTED_BY_RA: ra, Status.REJECTED_BY_CA: "the CA"}.get(detail.status)
    if who is None:
        return None
    return {
        "title": f"Why {who} rejected it",
        "details": detail.detail,
        "what_now": "Once this is put right, make a new request; the Request ID above stays for reference.",
    }


def _may_withdraw(actor: Actor, detail: RequestDetail) -> bool:
    if detail.status not in WITHDRAWABLE or not can(
        actor, Action.REQUEST_WITHDRAW, organisation_id=detail.organisation_id
    ):
        return False
    return detail.requester_id == actor.user_id or can(
        actor, Action.MEMBERS_MANAGE, organisation_id=detail.organisation_id
    )


def _may_decide(actor: Actor, detail: RequestDetail) -> bool:
    waiting = detail.status is Status.WAITING_FOR_APPROVAL
    return waiting and can(actor, Action.REQUEST_DECIDE) and not is_own(actor, detail)
