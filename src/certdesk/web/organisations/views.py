"""Organisations, their domains with validations, and their people."""

from collections import Counter
from datetime import datetime
from functools import partial
from typing import TypeVar

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from certdesk.domain.actors import Action, Actor, OrgRole, can, may_enable, require
from certdesk.services.people.organisations import (
    IssuedPassword,
    create_organisation,
    disable_organisation,
    enable_organisation,
    rename_organisation,
    validate_domain,
    vet_organisation,
)
from certdesk.store.selectors.organisations import (
    DomainRow,
    OrganisationEvent,
    OrganisationRow,
    get_organisation,
    list_domains,
    list_organisations,
    organisation_history,
)
from certdesk.store.selectors.people import Member, list_members
from certdesk.web.accounts import disabled_note
from certdesk.web.actor import actor_of
from certdesk.web.forms import UNPROCESSABLE, PortalForm, accepts, finish, form_page
from certdesk.web.organisations.forms import (
    ActiveForm,
    DomainForm,
    ExistingForm,
    HandOverForm,
    OrganisationForm,
    PersonForm,
    RenameForm,
    VetForm,
)

_Form = TypeVar("_Form", bound=PortalForm)


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """The organisations that the reader may see; somebody of just one goes straight there."""
    actor = actor_of(request)
    found = list_organisations(actor=actor)
    if len(found) == 1 and not actor.sees_everything:
        return redirect("organisations-show", slug=found[0].slug)
    domains = Counter(domain.organisation_id for domain in list_domains(actor=actor))
    context = {
        "rows": [(row, domains[row.id]) for row in found],
        "summary": "All organisations." if actor.sees_everything else "The organisations that you belong to.",
        "may_create": can(actor, Action.ORGANISATION_CREATE),
    }
    return render(request, "organisations/list.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Registers an organisation."""
    actor = actor_of(request)
    require(actor, Action.ORGANISATION_CREATE, "Only officers register organisations.")
    form = OrganisationForm(request.POST or None)
    if accepts(form, lambda: create_organisation(actor=actor, now=timezone.now(), **form.cleaned_data)):
        told = f"{form.cleaned_data['legal_name']} is registered. Now add its people."
        return finish(request, told, "organisations-show", slug=form.cleaned_data["slug"])
    context = {"form": form, "crumbs": [("Organisations", reverse("organisations-list")), ("Add", "")]}
    return form_page(request, "organisations/new.html", context)


@require_safe
def show(request: HttpRequest, slug: str) -> HttpResponse:
    """One organisation."""
    actor = actor_of(request)
    return render_organisation(request, actor, get_organisation(actor=actor, slug=slug))


@require_POST
def vet(request: HttpRequest, slug: str) -> HttpResponse:
    """Records that the RA knows who the organisation is."""
    actor = actor_of(request)
    row = get_organisation(actor=actor, slug=slug)
    form = VetForm(request.POST)
    if not form.is_valid():
        return render_organisation(request, actor, row, form)
    vet_organisation(
        actor=actor, organisation_id=row.id, evidence=form.cleaned_data["evidence"], now=timezone.now()
    )
    return finish(request, f"{row.legal_name} is marked as vetted.", "organisations-show", slug=slug)


@require_POST
def validate(request: HttpRequest, slug: str) -> HttpResponse:
    """Records an ownership check outside any request."""
    actor = actor_of(request)
    row = get_organisation(actor=actor, slug=slug)
    form = DomainForm(request.POST)
    if not form.is_valid():
        return render_organisation(request, actor, row, form)
    domain, now = form.cleaned_data["domain"], timezone.now()
    validate_domain(actor=actor, organisation_id=row.id, evidence=form.evidence_of(domain), now=now)
    return finish(request, f"{domain} is validated for {row.legal_name}.", "organisations-show", slug=slug)


@require_POST
def rename(request: HttpRequest, slug: str) -> HttpResponse:
    """Writes the legal name and place anew; what is accepted and not issued is decided again."""
    actor = actor_of(request)
    row = get_organisation(actor=actor, slug=slug)
    form = RenameForm(request.POST)
    rename_it = partial(rename_organisation, actor=actor, organisation_id=row.id, now=timezone.now())
    if accepts(form, lambda: rename_it(**form.cleaned_data)):
        told = f"The organisation is now {form.cleaned_data['legal_name']}."
        return finish(request, told, "organisations-show", slug=slug)
    return render_organisation(request, actor, row, form)


@require_POST
def set_active(request: HttpRequest, slug: str) -> HttpResponse:
    """Disables an organisation, or enables it again."""
    actor = actor_of(request)
    row = get_organisation(actor=actor, slug=slug)
    form = ActiveForm(request.POST)
    if not form.is_valid():
        return render_organisation(request, actor, row, form)
    reason, now = form.cleaned_data["reason"], timezone.now()
    if request.POST.get("to") == "enabled":
        enable_organisation(actor=actor, organisation_id=row.id, reason=reason, now=now)
        messages.success(request, f"{row.legal_name} may request certificates again.")
    else:
        disable_organisation(actor=actor, organisation_id=row.id, reason=reason, now=now)
        messages.success(request, f"{row.legal_name} is disabled: its people can’t request certificates.")
    return redirect("organisations-show", slug=slug)


def render_organisation(
    request: HttpRequest,
    actor: Actor,
    row: OrganisationRow,
    given: PortalForm | None = None,
    *,
    issued: IssuedPassword | None = None,
) -> HttpResponse:
    """The organisation's page, with what the reader may do on it; `given` is a form to put right."""
    now, vets = timezone.now(), can(actor, Action.ORGANISATION_VET)
    named = {"legal_name": row.legal_name, "country": row.country, "locality": row.locality}
    context = {
        "crumbs": [("Organisations", reverse("organisations-list")), (row.legal_name, "")],
        "organisation": row,
        "domains": [
            _domain(d, now=now, evidence=actor.sees_everything)
            for d in list_domains(actor=actor, organisation_id=row.id)
        ],
        **_people_context(actor, row, given),
        "domain_form": _given_or(DomainForm(), given) if can(actor, Action.DOMAIN_VALIDATE) else None,
        "vet_form": _given_or(VetForm(), given) if vets and row.vetted_at is None else None,
        "rename_form": _given_or(RenameForm(initial=named), given) if vets else None,
        "active_form": _given_or(ActiveForm(), given) if vets else None,
        "history": [_event(e) for e in organisation_history(actor=actor, organisation_id=row.id)],
        "issued": issued,
    }
    return render(
        request, "organisations/show.html", context, status=UNPROCESSABLE if given and given.errors else 200
    )


def people_choices(members: list[Member]) -> list[tuple[int, str]]:
    """The active people, as a form lists them."""
    return [(m.user_id, f"{m.name or m.username} ({m.username})") for m in members if m.is_active]


def _people_context(actor: Actor, row: OrganisationRow, given: PortalForm | None) -> dict[str, object]:
    if not can(actor, Action.MEMBERS_READ, organisation_id=row.id):
        return {"shows_people": False}
    manages = can(actor, Action.MEMBERS_MANAGE, organisation_id=row.id)
    members = list_members(actor=actor, organisation_id=row.id)
    managers = [m.user_id for m in members if m.is_active and m.role is OrgRole.MANAGER]
    choices = people_choices(members)
    hands_over = manages and len(choices) > 1
    initial = {"leaver": actor.user_id}
    return {
        "shows_people": True,
        "manages": manages,
        "may_stop": can(actor, Action.MEMBERS_MANAGE),
        "people": [_person(actor, m, manages=manages, is_last=managers == [m.user_id]) for m in members],
        "form": _given_or(PersonForm(), given) if manages else None,
        "existing_form": _given_or(ExistingForm(), given) if can(actor, Action.MEMBERS_MANAGE) else None,
        "handover_form": _given_or(HandOverForm(people=choices, initial=initial), given)
        if hands_over
        else None,
    }


def _given_or(empty: _Form, given: PortalForm | None) -> _Form:
    """The form that came back if it is this one, else an empty one."""
    return given if isinstance(given, type(empty)) else empty


_DEEDS = {
    "create": "Registered",
    "vet": "Vetted",
    "rename": "Name or place changed",
    "disable": "Disabled",
    "enable": "Enabled again",
}


def _event(event: OrganisationEvent) -> tuple[OrganisationEvent, str, str, str]:
    """An event: what was done, to what, and on which evidence or for which reason."""
    changed = event.data.get("changed")
    pairs = changed.values() if isinstance(changed, dict) else ()
    what = "; ".join(f"{before or 'none'} → {after or 'none'}" for before, after in pairs)
    if "request" in event.data:
        what = f"With request {event.data['request']}"
    return (
        event,
        _DEEDS[event.action],
        what,
        str(event.data.get("evidence") or event.data.get("reason") or ""),
    )


def _domain(row: DomainRow, *, now: datetime, evidence: bool) -> dict[str, object]:
    current = [one for one in row.validations if one.expires_at > now]
    newest = next(iter(current or row.validations), None)
    return {
        "row": row,
        "is_valid": row.is_validated(now=now),
        "newest": newest,
        "evidence": ". ".join(str(v) for v in newest.evidence.values() if v) if newest and evidence else "",
    }


def _person(actor: Actor, member: Member, *, manages: bool, is_last: bool) -> dict[str, object]:
    """A person, and what the reader may do about them; `is_last`: nobody else manages the organisation."""
    homes = member.organisation_ids
    return {
        "row": member,
        "name": member.name or member.username,
        "disabled_note": disabled_note(member.disabled),
        "is_self": member.user_id == actor.user_id,
        "is_last_manager": is_last,
        "may_change": manages and member.user_id != actor.user_id,
        "may_enable": may_enable(actor, member.disabled.by),
        # Whether the account itself is the actor's to look after; `people.accounts` refuses by the same rule.
        "governs": can(actor, Action.MEMBERS_MANAGE)
        or (bool(homes) and all(can(actor, Action.MEMBERS_MANAGE, organisation_id=one) for one in homes)),
        "may_end": not is_last or can(actor, Action.MEMBERS_MANAGE),
    }
