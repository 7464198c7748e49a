"""Organisations, their domains with validations, and their people."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from certdesk.domain.actors import Action, Actor, OrgRole, can
from certdesk.domain.errors import InvalidInput, NotAuthorized
from certdesk.services.organisations import (
    Evidence,
    IssuedPassword,
    add_member,
    create_organisation,
    disable_member,
    validate_domain,
    vet_organisation,
)
from certdesk.store.selectors.organisations import (
    DomainRow,
    OrganisationRow,
    get_organisation,
    list_domains,
    list_organisations,
)
from certdesk.store.selectors.people import Member, list_members
from certdesk.web import times
from certdesk.web.actor import actor_of
from certdesk.web.context import crumbs
from certdesk.web.organisations.forms import DomainForm, OrganisationForm, PersonForm, VetForm, show_on
from certdesk.web.requests.rows import Fact

UNPROCESSABLE = 422
ROLES = {OrgRole.APPLICANT: "Applicant", OrgRole.MANAGER: "Manager"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Forms:
    """The forms on an organisation's page; None where the reader may not use them."""

    person: PersonForm | None = None
    domain: DomainForm | None = None
    vet: VetForm | None = None

    @property
    def has_errors(self) -> bool:
        """Whether any form came back with something to put right."""
        return any(form is not None and form.errors for form in (self.person, self.domain, self.vet))


@require_GET
def listing(request: HttpRequest) -> HttpResponse:
    """The organisations that the reader may see; somebody of just one goes straight there."""
    actor = actor_of(request)
    found = list_organisations(actor=actor)
    if len(found) == 1 and not actor.sees_everything:
        return redirect("organisations-show", slug=found[0].slug)
    domains = Counter(domain.organisation_id for domain in list_domains(actor=actor))
    context = {
        "rows": [_list_row(row, domains[row.id]) for row in found],
        "summary": "All organisations." if actor.sees_everything else "The organisations that you belong to.",
        "may_create": can(actor, Action.ORGANISATION_CREATE),
    }
    return render(request, "organisations/list.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Registers an organisation."""
    actor = actor_of(request)
    if not can(actor, Action.ORGANISATION_CREATE):
        raise NotAuthorized("Only officers register organisations.")
    form = OrganisationForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            create_organisation(actor=actor, now=timezone.now(), **form.cleaned_data)
        except InvalidInput as error:
            show_on(form, error)
        else:
            messages.success(request, f"{form.cleaned_data['legal_name']} is registered. Now add its people.")
            return redirect("organisations-show", slug=form.cleaned_data["slug"])
    context = {"form": form, "crumbs": crumbs(("Organisations", reverse("organisations-list")), ("Add", ""))}
    return render(request, "organisations/new.html", context, status=UNPROCESSABLE if form.errors else 200)


@require_GET
def show(request: HttpRequest, slug: str) -> HttpResponse:
    """One organisation."""
    actor = actor_of(request)
    return _render(request, actor, get_organisation(actor=actor, slug=slug))


@require_POST
def vet(request: HttpRequest, slug: str) -> HttpResponse:
    """Records that the RA knows who the organisation is."""
    actor = actor_of(request)
    row = get_organisation(actor=actor, slug=slug)
    form = VetForm(request.POST)
    if not form.is_valid():
        return _render(request, actor, row, Forms(vet=form))
    vet_organisation(
        actor=actor, organisation_id=row.id, evidence=form.cleaned_data["evidence"], now=timezone.now()
    )
    messages.success(request, f"{row.legal_name} is marked as vetted.")
    return redirect("organisations-show", slug=slug)


@require_POST
def validate(request: HttpRequest, slug: str) -> HttpResponse:
    """Records an ownership check outside any request (R31, R32)."""
    actor = actor_of(request)
    row = get_organisation(actor=actor, slug=slug)
    form = DomainForm(request.POST)
    if not form.is_valid():
        return _render(request, actor, row, Forms(domain=form))
    said = form.cleaned_data
    evidence = Evidence(
        domain=said["domain"], how=said["how"], details=said["evidence"], reference=said["reference"]
    )
    validate_domain(actor=actor, organisation_id=row.id, evidence=evidence, now=timezone.now())
    messages.success(request, f"{said['domain']} is validated for {row.legal_name}.")
    return redirect("organisations-show", slug=slug)


@require_POST
def add_person(request: HttpRequest, slug: str) -> HttpResponse:
    """Adds a person and shows the issued password, this once (R8): it is in no other page and no session."""
    actor = actor_of(request)
    row = get_organisation(actor=actor, slug=slug)
    form = PersonForm(request.POST)
    if form.is_valid():
        said = form.cleaned_data
        try:
            issued = add_member(
                actor=actor,
                organisation_id=row.id,
                username=said["username"],
                name=said["name"],
                email=said["email"],
                role=OrgRole(said["role"]),
                now=timezone.now(),
            )
        except InvalidInput as error:
            show_on(form, error)
        else:
            return _render(request, actor, row, issued=issued)
    return _render(request, actor, row, Forms(person=form))


@require_POST
def disable_person(request: HttpRequest, slug: str, user_id: int) -> HttpResponse:
    """Ends a person's membership."""
    actor = actor_of(request)
    row = get_organisation(actor=actor, slug=slug)
    disable_member(actor=actor, organisation_id=row.id, user_id=user_id, now=timezone.now())
    messages.success(request, "The person is disabled. Requests and certificates stay with the organisation.")
    return redirect("organisations-show", slug=slug)


def _render(
    request: HttpRequest,
    actor: Actor,
    row: OrganisationRow,
    forms: Forms | None = None,
    *,
    issued: IssuedPassword | None = None,
) -> HttpResponse:
    given = forms or Forms()
    manages = can(actor, Action.MEMBERS_MANAGE, organisation_id=row.id)
    reads = can(actor, Action.MEMBERS_READ, organisation_id=row.id)
    vets = row.vetted_at is None and can(actor, Action.ORGANISATION_VET)
    now = timezone.now()
    context = {
        "crumbs": crumbs(("Organisations", reverse("organisations-list")), (row.legal_name, "")),
        "organisation": {"legal_name": row.legal_name, "slug": row.slug, **_vetted(row)},
        "facts": _facts(row),
        "domains": [
            _domain(d, now=now, evidence=actor.sees_everything)
            for d in list_domains(actor=actor, organisation_id=row.id)
        ],
        "shows_people": reads,
        "people": [_person(m, row, actor, manages=manages) for m in _members(actor, row)] if reads else [],
        "form": (given.person or PersonForm()) if manages else None,
        "domain_form": (given.domain or DomainForm()) if can(actor, Action.DOMAIN_VALIDATE) else None,
        "vet_form": (given.vet or VetForm()) if vets else None,
        "issued": issued,
    }
    return render(
        request, "organisations/show.html", context, status=UNPROCESSABLE if given.has_errors else 200
    )


def _members(actor: Actor, row: OrganisationRow) -> list[Member]:
    return list_members(actor=actor, organisation_id=row.id)


def _vetted(row: OrganisationRow) -> dict[str, str]:
    if not row.is_active:
        return {"look": "idle", "vetted": "Disabled"}
    return (
        {"look": "ok", "vetted": "Vetted"} if row.vetted_at else {"look": "wait", "vetted": "Not vetted yet"}
    )


def _list_row(row: OrganisationRow, domains: int) -> dict[str, object]:
    return {
        "legal_name": row.legal_name,
        "href": reverse("organisations-show", args=[row.slug]),
        "domains": domains,
        "place": ", ".join(part for part in (row.locality, row.country) if part),
        **_vetted(row),
    }


def _facts(row: OrganisationRow) -> list[Fact]:
    first = (
        times.day(row.first_approved_at)
        if row.first_approved_at
        else "None yet: the first one waits for an officer"
    )
    return [
        Fact(label="Legal name", value=row.legal_name),
        Fact(label="Place", value=", ".join(part for part in (row.locality, row.country) if part)),
        Fact(label="Vetted", value=times.day(row.vetted_at) if row.vetted_at else "Not yet"),
        Fact(label="First request approved", value=first),
    ]


def _domain(row: DomainRow, *, now: datetime, evidence: bool) -> dict[str, str]:
    valid = row.is_validated(now=now)
    newest = row.validations[0] if row.validations else None
    return {
        "name": row.adn,
        "look": "ok" if valid else "warn",
        "state": "Validated" if valid else "Lapsed" if newest else "Not validated",
        "method": newest.method if newest else "",
        "by": f"by {newest.validated_by}, {times.day(newest.validated_at)}" if newest else "",
        "evidence": ". ".join(str(v) for v in newest.evidence.values() if v) if newest and evidence else "",
        "until": times.day(row.expires_at) if row.expires_at else "",
    }


def _person(member: Member, row: OrganisationRow, actor: Actor, *, manages: bool) -> dict[str, object]:
    return {
        "name": member.name or member.username,
        "email": member.email,
        "username": member.username,
        "role": ROLES[member.role],
        "disabled": not member.is_active,
        "may_disable": manages and member.user_id != actor.user_id,
        "disable_href": reverse("organisations-disable-person", args=[row.slug, member.user_id]),
    }
