"""Organisations and their people over REST, and officers' ownership checks of their domains."""

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Router

from certdesk.api import inputs, render
from certdesk.api.auth import actor_of
from certdesk.api.domain_schemas import DomainOut
from certdesk.api.openapi import describe
from certdesk.api.schemas import EvidenceIn, MembersOut, OrganisationOut, OrganisationsOut
from certdesk.domain.actors import Action, can
from certdesk.domain.errors import NotAuthorized
from certdesk.domain.identifiers import parse_dns_name
from certdesk.services.organisations import Evidence, validate_domain
from certdesk.store.selectors.organisations import (
    get_organisation,
    list_domains,
    list_organisations,
)
from certdesk.store.selectors.people import list_members

router = Router(tags=["organisations"])


@router.get(
    "/organisations",
    operation_id="listOrganisations",
    summary="List organisations",
    response={200: OrganisationsOut},
    openapi_extra=describe(),
)
def index(request: HttpRequest) -> HttpResponse:
    """The organisations that the caller may see."""
    found = list_organisations(actor=actor_of(request), limit=1000)
    return _all([render.organisation_json(row) for row in found])


@router.get(
    "/organisations/{slug:slug}",
    operation_id="showOrganisation",
    summary="Show an organisation",
    response={200: OrganisationOut},
    openapi_extra=describe(404),
)
def show(request: HttpRequest, slug: str) -> HttpResponse:
    """One organisation."""
    return render.answer(render.organisation_json(get_organisation(actor=actor_of(request), slug=slug)))


@router.get(
    "/organisations/{slug:slug}/members",
    operation_id="listMembers",
    summary="List the people of an organisation (managers and RA staff)",
    response={200: MembersOut},
    openapi_extra=describe(403, 404),
)
def members(request: HttpRequest, slug: str) -> HttpResponse:
    """Everybody who belongs or belonged to it."""
    actor = actor_of(request)
    organisation = get_organisation(actor=actor, slug=slug)
    if not can(actor, Action.MEMBERS_READ, organisation_id=organisation.id):
        raise NotAuthorized("Only a manager of the organisation, or RA staff, see who belongs to it.")
    found = list_members(actor=actor, organisation_id=organisation.id)
    return _all([render.member_json(member) for member in found])


@router.post(
    "/organisations/{slug:slug}/domains",
    operation_id="validateDomain",
    summary="Record an ownership check of a domain (RA officers)",
    response={201: DomainOut},
    openapi_extra=describe(403, 404, body=EvidenceIn),
)
def add_domain(request: HttpRequest, slug: str) -> HttpResponse:
    """Evidence outside any request (R31, R32); later requests for names below it are automatic (R33)."""
    actor = actor_of(request)
    body = inputs.read_body(request, EvidenceIn)
    organisation = get_organisation(actor=actor, slug=slug)
    now = timezone.now()
    adn = parse_dns_name(body.domain.strip().lower(), allow_wildcard=False)
    evidence = Evidence(domain=adn, how=body.how, details=body.details, reference=body.reference)
    validate_domain(actor=actor, organisation_id=organisation.id, evidence=evidence, now=now)
    rows = list_domains(actor=actor, organisation_id=organisation.id)
    made = next(row for row in rows if row.adn == adn)
    return render.answer(render.domain_json(made, slug=slug, now=now), status=201)


def _all(items: list[render.Json]) -> HttpResponse:
    return render.answer({"items": items, "next_cursor": None})
