"""Asking for a confirmation from a request's page, and taking it back."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from certdesk.dcv.email_challenge import mailboxes
from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.errors import StateConflict
from certdesk.domain.issuing.states import OrganisationId, Status
from certdesk.domain.names.identifiers import is_ip_address, is_under, under_any
from certdesk.services.system import runtime
from certdesk.services.validation.by_email import (
    Asked,
    MailNotSent,
    ask_by_email,
    cancel_challenge,
    names_to_confirm,
)
from certdesk.store.selectors.proofs import OpenChallenge
from certdesk.store.selectors.requests import RequestDetail, get_request
from certdesk.store.selectors.validation import open_challenges
from certdesk.web.actor import actor_of
from certdesk.web.forms import PortalForm


class MailboxForm(PortalForm):
    """One of the constructed mailboxes at a domain or above it."""

    help_entries: ClassVar = {"mailbox": "/help/dcv/#mailbox"}

    mailbox = forms.ChoiceField(
        label="Mailbox to ask",
        help_text="Choose one that someone reads. No other address can be used.",
        error_messages={"required": "Choose a mailbox from the list."},
    )

    def __init__(self, names: Sequence[str], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Choices by domain, the one that covers most names first.
        by_adn: dict[str, list[str]] = {}
        for name in names:
            for mailbox, adn in mailboxes(name).items():
                boxes = by_adn.setdefault(adn, [])
                if mailbox not in boxes:
                    boxes.append(mailbox)
        ordered = sorted(by_adn, key=lambda adn: (adn.count("."), adn))
        groups = [(f"For {adn} and all below it", [(box, box) for box in by_adn[adn]]) for adn in ordered]
        self.offer("mailbox", [("", "Choose one"), *groups])


def name_for(mailbox: str, names: Sequence[str]) -> str:
    """The name that a mailbox is on the list for; the first one when it is on none, to be refused."""
    return next((name for name in names if mailbox in mailboxes(name)), names[0])


@require_POST
def ask_for_request(request: HttpRequest, number: int) -> HttpResponse:
    """Asks a mailbox about a domain that a request needs."""
    actor = actor_of(request)
    detail = get_request(actor=actor, number=number)
    missing = _missing(detail, now=timezone.now()).get(request.POST.get("domain", ""))
    if missing is None:
        raise StateConflict("The request no longer waits for this domain.")
    mailbox = request.POST.get("mailbox", "")
    send(
        request,
        actor=actor,
        organisation_id=detail.organisation_id,
        name=name_for(mailbox, missing),
        mailbox=mailbox,
    )
    return redirect("requests-show", number=number)


@require_POST
def cancel(request: HttpRequest, challenge_id: int) -> HttpResponse:
    """Ends an open confirmation, and goes back to where its button was."""
    cancel_challenge(actor=actor_of(request), challenge_id=challenge_id, now=timezone.now())
    messages.success(request, "The confirmation is cancelled: its code no longer works.")
    number, domain = request.POST.get("request", ""), request.POST.get("domain", "")
    if _is_number(number):
        return redirect("requests-show", number=int(number))
    return redirect("domains-show", domain_id=int(domain)) if _is_number(domain) else redirect("domains-list")


def send(
    request: HttpRequest, *, actor: Actor, organisation_id: OrganisationId, name: str, mailbox: str
) -> Asked | None:
    """Asks, and says what came of it; None when the mail could not be sent."""
    try:
        asked = ask_by_email(
            actor=actor, organisation_id=organisation_id, name=name, mailbox=mailbox, now=timezone.now()
        )
    except MailNotSent as error:
        messages.error(request, error.detail)
        return None
    messages.success(request, f"We emailed {asked.mailbox}. The person who reads it can confirm {asked.adn}.")
    return asked


def awaiting_context(actor: Actor, detail: RequestDetail, *, now: datetime) -> dict[str, object]:
    """What the request's page shows while domains have to be confirmed; empty when there is nothing to."""
    missing = _missing(detail, now=now)
    if not missing:
        return {"awaited_domains": []}
    may_ask = can(actor, Action.DOMAIN_ASK, organisation_id=detail.organisation_id)
    asked = open_challenges(organisation_id=detail.organisation_id)
    found = []
    for domain, names in missing.items():
        form = (
            MailboxForm(names, auto_id=f"id_{domain}_%s") if may_ask and not is_ip_address(domain) else None
        )
        about = [one for one in asked if any(is_under(name, one.adn) for name in names)]
        found.append((domain, names, form, [challenge_row(one, now=now) for one in about]))
    return {"awaited_domains": found}


def challenge_row(challenge: OpenChallenge, *, now: datetime) -> tuple[OpenChallenge, str, str]:
    """An open challenge with icon and word."""
    if challenge.is_expired(now=now):
        return challenge, "idle", "Expired"
    return (challenge, "warn", "Not sent") if challenge.sent_at is None else (challenge, "busy", "Waiting")


def _missing(detail: RequestDetail, *, now: datetime) -> dict[str, tuple[str, ...]]:
    """The domains that their own people can confirm for a request; others are an officer's."""
    if detail.status not in (Status.ACCEPTED, Status.WAITING_FOR_APPROVAL):
        return {}
    suffixes = (
        runtime.current()
        .rules_for(organisation=detail.organisation_slug, profile=detail.profile_id)
        .trusted_suffixes
    )
    found = names_to_confirm(detail.organisation_id, detail.names, now=now)
    return {domain: names for domain, names in found.items() if under_any(domain, suffixes)}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19  # noqa: PLR2004 - what a column holds
