"""Organisations and their people over REST, and officers' ownership checks of their domains."""

from datetime import datetime

from django.http import HttpRequest
from django.utils import timezone
from ninja import Router, Schema
from pydantic import Field

from certdesk.api.auth import actor_of
from certdesk.api.inputs import Body, ShortText, Text
from certdesk.api.schemas import ROOT, Moment, Page, ProblemOut, Row
from certdesk.domain.actors import Action, Actor, OrgRole, can
from certdesk.domain.errors import NotAuthorized, existing
from certdesk.domain.names.identifiers import parse_dns_name
from certdesk.services.people.accounts import disable_account, enable_account
from certdesk.services.people.organisations import WAYS, Evidence, validate_domain
from certdesk.store.selectors.organisations import (
    DomainRow,
    OrganisationRow,
    get_organisation,
    list_domains,
    list_organisations,
)
from certdesk.store.selectors.people import Member, list_members

router = Router(tags=["organisations"])
_MEMBER = "/organisations/{slug:slug}/members/{int:user_id}"


class EvidenceIn(Body):
    """How ownership of one domain was checked."""

    domain: ShortText
    how: str = Field(default="other", json_schema_extra={"enum": list(WAYS)})
    details: Text = Field(min_length=1, description="What was checked, and where.")
    reference: ShortText = ""

    def evidence(self) -> Evidence:
        """The same for the services."""
        domain = self.domain.strip().lower()
        return Evidence(domain=domain, how=self.how, details=self.details, reference=self.reference)


class OrganisationOut(Schema):
    """An organisation."""

    slug: str
    legal_name: str
    country: str
    locality: str
    is_active: bool
    vetted_at: Moment | None
    first_approved_at: Moment | None
    links: dict[str, str]

    @staticmethod
    def resolve_links(row: OrganisationRow) -> dict[str, str]:
        here = f"{ROOT}/organisations/{row.slug}"
        return {
            "self": here,
            "members": f"{here}/members",
            "domains": f"{ROOT}/domains?organisation={row.slug}",
        }


class MemberOut(Row):
    """A person of an organisation; active if neither the account nor the membership is disabled."""

    id: int = Field(validation_alias="user_id")
    username: str
    name: str
    email: str
    role: OrgRole
    is_active: bool
    account_is_active: bool
    last_login_at: Moment | None


class EnabledOut(Schema):
    """A person whose account works again; `password` is shown this once, and changed at the next sign-in."""

    member: MemberOut
    password: str


class DomainOut(Schema):
    """A domain of an organisation."""

    id: int
    domain: str
    organisation_slug: str
    is_validated: bool
    expires_at: Moment | None
    links: dict[str, str]

    @staticmethod
    def resolve_links(told: dict[str, object]) -> dict[str, str]:
        here = f"{ROOT}/domains/{told['id']}"
        below = ("validations", "challenges", "publications", "deadlines", "caa")
        return {"self": here, **{name: f"{here}/{name}" for name in below}}


def domain_out(row: DomainRow, *, slug: str, now: datetime) -> dict[str, object]:
    """A domain and whether anything proves it now."""
    return {
        "id": row.id,
        "domain": row.adn,
        "organisation_slug": slug,
        "is_validated": row.is_validated(now=now),
        "expires_at": row.expires_at,
    }


@router.get(
    "/organisations",
    operation_id="listOrganisations",
    summary="List organisations",
    response={200: Page[OrganisationOut]},
)
def index(request: HttpRequest) -> dict[str, list[OrganisationRow]]:
    """The organisations that the caller may see."""
    return {"items": list_organisations(actor=actor_of(request), limit=1000)}


@router.get(
    "/organisations/{slug:slug}",
    operation_id="showOrganisation",
    summary="Show an organisation",
    response={200: OrganisationOut},
)
def show(request: HttpRequest, slug: str) -> OrganisationRow:
    """One organisation."""
    return get_organisation(actor=actor_of(request), slug=slug)


@router.get(
    "/organisations/{slug:slug}/members",
    operation_id="listMembers",
    summary="List the people of an organisation (managers and RA staff)",
    response={200: Page[MemberOut]},
)
def members(request: HttpRequest, slug: str) -> dict[str, list[Member]]:
    """Everybody who belongs or belonged to it."""
    actor = actor_of(request)
    organisation = get_organisation(actor=actor, slug=slug)
    if not can(actor, Action.MEMBERS_READ, organisation_id=organisation.id):
        raise NotAuthorized("Only a manager of the organisation, or RA staff, see who belongs to it.")
    return {"items": list_members(actor=actor, organisation_id=organisation.id)}


@router.post(
    f"{_MEMBER}/disable",
    operation_id="disableAccount",
    summary="Disable the account of a person (managers and RA officers)",
    response={200: MemberOut, 409: ProblemOut},
)
def disable(request: HttpRequest, slug: str, user_id: int) -> Member:
    """The person can't sign in anywhere, and their API tokens end; what they asked for stays.

    A manager may for people who belong to no other organisation.
    """
    actor = actor_of(request)
    _member(actor, slug, user_id)
    disable_account(actor=actor, user_id=user_id, now=timezone.now())
    return _member(actor, slug, user_id)


@router.post(
    f"{_MEMBER}/enable",
    operation_id="enableAccount",
    summary="Enable the account of a person again (managers and RA officers)",
    response={200: EnabledOut, 409: ProblemOut},
)
def enable(request: HttpRequest, slug: str, user_id: int) -> dict[str, object]:
    """The person can sign in again, with a new password; we email them.

    Only the RA enables what the RA has disabled.
    """
    actor = actor_of(request)
    _member(actor, slug, user_id)
    issued = enable_account(actor=actor, user_id=user_id, now=timezone.now())
    return {"member": _member(actor, slug, user_id), "password": issued.password}


@router.post(
    "/organisations/{slug:slug}/domains",
    operation_id="validateDomain",
    summary="Record an ownership check of a domain (RA officers)",
    response={201: DomainOut},
)
def add_domain(request: HttpRequest, slug: str, body: EvidenceIn) -> dict[str, object]:
    """Evidence outside any request; later requests for names below the domain are automatic."""
    actor, now = actor_of(request), timezone.now()
    organisation = get_organisation(actor=actor, slug=slug)
    evidence = body.evidence()
    adn = parse_dns_name(evidence.domain, allow_wildcard=False)
    validate_domain(actor=actor, organisation_id=organisation.id, evidence=evidence, now=now)
    rows = list_domains(actor=actor, organisation_id=organisation.id)
    return domain_out(next(row for row in rows if row.adn == adn), slug=slug, now=now)


def _member(actor: Actor, slug: str, user_id: int) -> Member:
    """A person of an organisation whose people the actor looks after. Raises NotFound, NotAuthorized."""
    organisation = get_organisation(actor=actor, slug=slug)
    if not can(actor, Action.MEMBERS_MANAGE, organisation_id=organisation.id):
        raise NotAuthorized("Only a manager of the organisation, or an RA officer, looks after its people.")
    people = list_members(actor=actor, organisation_id=organisation.id)
    return existing(next((one for one in people if one.user_id == user_id), None), "There is no such person.")
