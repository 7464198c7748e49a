"""One domain: how it stands, what is under way, how to prove it, what counts until when, and its story."""

from collections.abc import Callable
from datetime import UTC, datetime, time
from functools import partial
from typing import ClassVar

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.errors import InvalidInput, NotAuthorized, RateLimited, existing
from certdesk.domain.names.identifiers import is_ip_address, url_host
from certdesk.domain.validation.deadlines import PERSISTENT_METHODS, method_ends_at
from certdesk.domain.validation.evidence import Method
from certdesk.services.people.organisations import Evidence, validate_domain
from certdesk.services.system import runtime
from certdesk.services.validation.by_publication import (
    Checked,
    Found,
    cancel_method_challenge,
    check_now,
    domain_of_challenge,
    open_challenges_of,
    publishable,
    start_challenge,
)
from certdesk.services.validation.ca_states import note_ca_state
from certdesk.services.validation.ended import MAX_REASON, end_validation
from certdesk.services.validation.persistent import check_record_now, record_of, stop_watching, watch_record
from certdesk.store.selectors.caa import caa_of_domain
from certdesk.store.selectors.domains import Standing
from certdesk.store.selectors.validation import DomainDetail, Event, get_domain
from certdesk.web import times
from certdesk.web.actor import actor_of
from certdesk.web.dcv.asking import MailboxForm, challenge_row, send
from certdesk.web.dcv.caa import caa_views
from certdesk.web.domains import detail as words
from certdesk.web.domains import rows
from certdesk.web.forms import UNPROCESSABLE, OrganisationChoice, PortalForm, finish, form_page
from certdesk.web.queue.forms import EvidenceForm


class AddDomainForm(OrganisationChoice):
    """A domain to list for an organisation of the reader's."""

    help_entries: ClassVar = {"domain": "/help/dcv/#add", "organisation": "/help/dcv/#organisation"}

    domain = forms.CharField(
        label="Domain",
        max_length=253,
        help_text="Such as example.ac.uk. Validating it also covers every name below it.",
        widget=forms.TextInput(attrs={"autocapitalize": "off", "spellcheck": "false", "autocomplete": "off"}),
        error_messages={"required": "Write the domain, such as example.ac.uk."},
    )
    organisation = forms.TypedChoiceField(
        label="Organisation", coerce=int, error_messages={"required": "Choose the organisation."}
    )


class EndForm(PortalForm):
    """Why a validation ends."""

    help_entries: ClassVar = {"reason": "/help/domains/#end-reason"}

    reason = forms.CharField(
        label="Reason",
        max_length=MAX_REASON,
        help_text="Everyone who can see the domain can read this.",
        widget=forms.Textarea(attrs={"rows": 2}),
        error_messages={"required": "Write why the validation ends."},
    )


class CaStateForm(PortalForm):
    """What a public CA's own portal says of a domain."""

    help_entries: ClassVar = {"ca": "/help/domains/#ca-name", "valid_until": "/help/domains/#ca-until"}

    ca = forms.CharField(label="CA", max_length=64, error_messages={"required": "Write the name of the CA."})
    valid_until = forms.DateField(
        label="Validated there until",
        required=False,
        help_text="Leave this empty if the CA says that the domain is not validated.",
        widget=forms.DateInput(attrs={"type": "date"}),
    )

    def moment(self) -> datetime | None:
        """The end of that day, UTC; None where the field was left empty."""
        day = self.cleaned_data["valid_until"]
        return datetime.combine(day, time(23, 59, 59), tzinfo=UTC) if day else None


@require_safe
def show(request: HttpRequest, domain_id: int) -> HttpResponse:
    """One domain."""
    actor = actor_of(request)
    return _render(request, actor, get_domain(actor=actor, domain_id=domain_id, now=timezone.now()))


@require_POST
def ask(request: HttpRequest, domain_id: int) -> HttpResponse:
    """Asks a mailbox; at a domain above, the mail is about that one, and so is the page that follows."""
    actor = actor_of(request)
    detail = get_domain(actor=actor, domain_id=domain_id, now=timezone.now())
    row = detail.domain
    mailbox = request.POST.get("mailbox", "")
    if not mailbox:
        return _render(request, actor, detail, mailbox_form=MailboxForm([row.adn], request.POST))
    asked = send(request, actor=actor, organisation_id=row.organisation_id, name=row.adn, mailbox=mailbox)
    return redirect("domains-show", domain_id=asked.domain_id if asked else domain_id)


@require_POST
def validate(request: HttpRequest, domain_id: int) -> HttpResponse:
    """Records an officer's ownership check, the first one or again."""
    actor = actor_of(request)
    detail = get_domain(actor=actor, domain_id=domain_id, now=timezone.now())
    form = EvidenceForm(request.POST)
    if can(actor, Action.DOMAIN_VALIDATE) and not form.is_valid():
        return _render(request, actor, detail, evidence_form=form)
    said = form.cleaned_data if form.is_valid() else {}
    validate_domain(
        actor=actor,
        organisation_id=detail.domain.organisation_id,
        evidence=Evidence(
            detail.domain.adn, said.get("how", ""), said.get("evidence", ""), said.get("reference", "")
        ),
        now=timezone.now(),
    )
    told = f"{detail.domain.adn} is validated for {detail.domain.organisation}."
    return finish(request, told, "domains-show", domain_id=domain_id)


@require_http_methods(["GET", "HEAD", "POST"])
def end(request: HttpRequest, domain_id: int, validation_id: int) -> HttpResponse:
    """Asks why, then ends a validation."""
    actor, now = actor_of(request), timezone.now()
    detail = get_domain(actor=actor, domain_id=domain_id, now=now)
    row = detail.domain
    found = (one for one in detail.proofs if one.id == validation_id)
    proof = existing(next(found, None), "There is no such validation.")
    if not can(actor, Action.VALIDATION_END, organisation_id=row.organisation_id):
        raise NotAuthorized("Only managers of the organisation and RA officers end a validation.")
    form = EndForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        end_validation(
            actor=actor,
            domain_id=domain_id,
            record_id=validation_id,
            reason=form.cleaned_data["reason"],
            now=now,
        )
        told = "The validation has ended. It no longer counts."
        return finish(request, told, "domains-show", domain_id=domain_id)
    page = reverse("domains-show", args=[domain_id])
    context = {
        "crumbs": [("Domains", reverse("domains-list")), (row.adn, page), ("End validation", "")],
        "row": row,
        "proof": proof,
        "period": words.period(proof, now=now),
        "counts": proof.expires_at > now,
        "form": form,
    }
    return form_page(request, "domains/end.html", context)


def _render(
    request: HttpRequest,
    actor: Actor,
    detail: DomainDetail,
    *,
    evidence_form: EvidenceForm | None = None,
    mailbox_form: MailboxForm | None = None,
) -> HttpResponse:
    row, now = detail.domain, timezone.now()
    may_ask = can(actor, Action.DOMAIN_ASK, organisation_id=row.organisation_id)
    may_validate = can(actor, Action.DOMAIN_VALIDATE)
    may_end = can(actor, Action.VALIDATION_END, organisation_id=row.organisation_id)
    context = {
        "crumbs": [("Domains", reverse("domains-list")), (row.adn, "")],
        "id": row.id,
        "adn": row.adn,
        "row": row,
        "slug": detail.organisation_slug,
        "standing": words.standing(row, now=now),
        "deadlines": row.deadlines if row.standing is Standing.VALIDATED else None,
        "public_is_open": row.deadlines.public is not None and row.deadlines.public.is_open(now=now),
        "renews": rows.kept_alive(row),
        "now": now,
        "flags": row.deadlines.flags,
        "ca_states": [(one, one.valid_until and one.valid_until <= now) for one in detail.ca_states],
        "ca_form": CaStateForm() if may_validate else None,
        "story": [
            (
                one,
                words.period(one.proof, now=now) if one.proof else "",
                words.evidence(one) if actor.sees_everything or one.event is Event.LOOKED else [],
                may_end and one.proof is not None and one.proof.expires_at > now,
            )
            for one in detail.story
        ],
        "caa": caa_views(caa_of_domain(actor=actor, domain_id=row.id), now=now),
        "challenges": [challenge_row(one, now=now) for one in row.awaited],
        "mailbox_form": (mailbox_form or MailboxForm([row.adn]))
        if may_ask and not is_ip_address(row.adn)
        else None,
        "email_ends_at": method_ends_at(Method.EMAIL_CONSTRUCTED),
        "evidence_form": (evidence_form or EvidenceForm()) if may_validate else None,
        "ownership_days": runtime.current().ownership_days,
        "waiting": detail.waiting,
        **(_proving(actor, detail) if may_ask else {}),
    }
    failed = evidence_form is not None or mailbox_form is not None
    return render(request, "domains/show.html", context, status=UNPROCESSABLE if failed else 200)


def _proving(actor: Actor, detail: DomainDetail) -> dict[str, object]:
    """What is under way, and what can be chosen, for who may prove the domain."""
    row, now = detail.domain, timezone.now()
    offered = frozenset(method for method in Method if runtime.current().offers(method))
    running = open_challenges_of(actor=actor, domain_id=row.id, now=now)
    persistent = set() if row.watch or is_ip_address(row.adn) else {*words.PERSISTENT_WAYS}
    offered &= {*publishable(row.adn)} | persistent
    offered -= {one.method for one in running}
    under_way = [words.open_view(one) for one in running]
    record = record_of(row.id)
    watch = words.watch_view(row, row.watch, record) if row.watch and record else None
    healthy = rows.kept_alive(row)
    return {
        "under_way": [*([watch] if watch and not healthy else []), *under_way],
        "watch": watch if healthy else None,
        "ways": [(method.value, page) for method, page in words.WAY_HELP.items() if method in offered],
        "host": url_host(row.adn),
    }


@require_POST
def prove(request: HttpRequest, domain_id: int) -> HttpResponse:
    """Begins with a way that was chosen on the domain's page."""
    actor, now = actor_of(request), timezone.now()
    get_domain(actor=actor, domain_id=domain_id, now=now)
    try:
        begin(actor, domain_id, request.POST.get("method", ""), wildcard=request.POST.get("reach") != "one")
    except InvalidInput as error:
        messages.error(request, error.detail)
    return redirect(f"{_page(domain_id)}#under-way")


@require_POST
def check(request: HttpRequest, method_challenge_id: int) -> HttpResponse:
    """Looks at once whether the value is there."""
    actor = actor_of(request)
    domain_id = domain_of_challenge(actor=actor, challenge_id=method_challenge_id)
    look = partial(check_now, actor=actor, challenge_id=method_challenge_id, clock=timezone.now)
    return _look(request, domain_id, look)


@require_POST
def cancel(request: HttpRequest, method_challenge_id: int) -> HttpResponse:
    """Ends a challenge."""
    domain_id = cancel_method_challenge(
        actor=actor_of(request), challenge_id=method_challenge_id, now=timezone.now()
    )
    return finish(request, "It is cancelled. You can remove what you published.", _page(domain_id))


@require_POST
def check_persistent(request: HttpRequest, domain_id: int) -> HttpResponse:
    """Looks at once whether the persistent record is there."""
    actor = actor_of(request)
    get_domain(actor=actor, domain_id=domain_id, now=timezone.now())
    look = partial(check_record_now, actor=actor, domain_id=domain_id, clock=timezone.now)
    return _look(request, domain_id, look)


@require_POST
def stop_persistent(request: HttpRequest, domain_id: int) -> HttpResponse:
    """Stops watching the persistent record."""
    actor = actor_of(request)
    get_domain(actor=actor, domain_id=domain_id, now=timezone.now())
    stop_watching(actor=actor, domain_id=domain_id, now=timezone.now())
    told = "We no longer watch the record. The validation lapses when its time is over."
    return finish(request, told, _page(domain_id))


@require_POST
def ca_state(request: HttpRequest, domain_id: int) -> HttpResponse:
    """Keeps what an officer saw in a public CA's own portal."""
    actor = actor_of(request)
    get_domain(actor=actor, domain_id=domain_id, now=timezone.now())
    form = CaStateForm(request.POST)
    valid_until = form.moment() if form.is_valid() else None
    try:
        note_ca_state(
            actor=actor,
            domain_id=domain_id,
            ca=form.data.get("ca", ""),
            valid_until=valid_until,
            now=timezone.now(),
        )
    except InvalidInput as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, "Noted. The page shows it beside our own record.")
    return redirect(_page(domain_id))


def begin(actor: Actor, domain_id: int, method: str, *, wildcard: bool) -> None:
    """Starts whichever way was chosen. Raises InvalidInput for none of ours."""
    if method not in set(Method):
        raise InvalidInput("Choose a way from the list.", {"method": "Choose one from the list."})
    now = timezone.now()
    if Method(method) in PERSISTENT_METHODS:
        watch_record(actor=actor, domain_id=domain_id, wildcard=wildcard, now=now)
    else:
        start_challenge(actor=actor, domain_id=domain_id, method=Method(method), now=now)


def _look(request: HttpRequest, domain_id: int, look: Callable[[], Checked]) -> HttpResponse:
    """Looks, says what came of it, and goes back to the domain's page."""
    try:
        looked = look()
    except RateLimited as error:
        messages.warning(request, error.detail)
        return redirect(_page(domain_id))
    if isinstance(looked, Found):
        messages.success(request, f"Found: {looked.adn} is validated.")
    else:
        at = looked.next_look_at
        again = f" We check again automatically on {times.at(at)}." if at else ""
        messages.warning(request, f"Not found yet. {looked.problem.detail}{again}")
    return redirect(_page(domain_id))


def _page(domain_id: int) -> str:
    return f"/domains/{domain_id}/"
