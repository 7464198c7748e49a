"""Proving a domain by something published: choosing a way, looking now, giving it up; a CA’s word."""

from collections.abc import Callable
from datetime import UTC, datetime, time
from functools import partial
from typing import ClassVar

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from certdesk.domain.actors import Actor
from certdesk.domain.deadlines import PERSISTENT_METHODS
from certdesk.domain.errors import InvalidInput, RateLimited
from certdesk.domain.evidence import Method
from certdesk.services.ca_states import note_ca_state
from certdesk.services.ended_validations import MAX_REASON
from certdesk.services.persistent import check_record_now, stop_watching, watch_record
from certdesk.services.validation_methods import (
    Checked,
    Found,
    cancel_method_challenge,
    check_now,
    domain_of_challenge,
    start_challenge,
)
from certdesk.store.selectors.validation import get_domain
from certdesk.web import times
from certdesk.web.actor import actor_of
from certdesk.web.forms import OrganisationChoice, PortalForm


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
    messages.success(request, "It is cancelled. You can remove what you published.")
    return redirect(_page(domain_id))


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
    messages.success(request, "We no longer watch the record. The validation lapses when its time is over.")
    return redirect(_page(domain_id))


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
