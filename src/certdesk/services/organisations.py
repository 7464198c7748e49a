"""Organisations, their people and their domains: who may ask, and what they have proven."""

import secrets
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email, validate_slug
from django.utils.text import slugify

from certdesk.domain.actors import Action, Actor, OrgRole, RaRole, can
from certdesk.domain.errors import InvalidInput, NotAuthorized, NotFound, StateConflict
from certdesk.domain.evidence import METHODS, Method, ownership_expiry
from certdesk.domain.identifiers import parse_dns_name
from certdesk.domain.requests import OrganisationId, RequestId, UserId
from certdesk.services import runtime
from certdesk.services.texts import storable
from certdesk.services.validation import wake_waiting
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import Domain, Membership, Organisation, User, ValidationRecord
from certdesk.store.selectors.facts import lock_organisation, organisation_row

#: How an officer may have checked who owns a domain; the value is stored, the title is shown.
WAYS: dict[str, str] = {
    "registry": "Looked up in the registry (RDAP)",
    "document": "Letter or document from the owner",
    "contact": "Confirmed by a contact that we knew before",
    "other": "Another way, as described",
}
MAX_USERNAME, MAX_EMAIL = 150, 254  # the columns' widths
MAX_LEGAL_NAME = 64  # X.520 ub-organization-name
MAX_LOCALITY = 128  # X.520 ub-locality-name


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """How an officer checked that the organisation owns a domain (R31). `how` is a key of WAYS."""

    domain: str
    how: str
    details: str
    reference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedPassword:
    """A password made for a new person; shown once and stored only as a hash (R8)."""

    user_id: UserId
    username: str
    password: str


def create_organisation(
    *, actor: Actor, legal_name: str, slug: str = "", country: str = "GB", locality: str = "", now: datetime
) -> OrganisationId:
    """Registers an organisation, not yet vetted. Raises InvalidInput, NotAuthorized."""
    if not can(actor, Action.ORGANISATION_CREATE):
        raise NotAuthorized("Only an RA officer registers organisations.")
    legal_name = " ".join(storable(legal_name, field="legal_name").split())
    locality = storable(locality, field="locality", limit=MAX_LOCALITY)
    slug = slug or slugify(legal_name)[:63]
    fields = {}
    if not legal_name or len(legal_name) > MAX_LEGAL_NAME:
        fields["legal_name"] = "Give the legal name, at most 64 characters."
    if len(country) != 2 or not country.isalpha():  # noqa: PLR2004 - ISO 3166-1 alpha-2
        fields["country"] = "Give the two-letter country code, such as GB."
    if Organisation.objects.filter(slug=slug).exists():
        fields["slug"] = "Another organisation has this short name."
    try:
        validate_slug(slug)
    except ValidationError:
        fields["slug"] = "Use letters, digits and hyphens."
    if fields:
        raise InvalidInput("The organisation can't be registered like this.", fields=fields)
    with write_transaction():
        row = Organisation.objects.create(
            slug=slug,
            legal_name=legal_name,
            country=country.upper(),
            locality=locality,
            created_at=now,
        )
        audit.record(
            actor=actor,
            action="organisation.create",
            object_type="organisation",
            object_id=row.pk,
            organisation_id=row.pk,
            now=now,
            data={"legal_name": legal_name, "slug": slug},
        )
    return OrganisationId(row.pk)


def vet_organisation(*, actor: Actor, organisation_id: OrganisationId, evidence: str, now: datetime) -> None:
    """Records that the RA has checked who the organisation is. Raises InvalidInput without evidence."""
    if not can(actor, Action.ORGANISATION_VET):
        raise NotAuthorized("Only an RA officer vets organisations.")
    evidence = storable(evidence, field="evidence")
    if not evidence:
        raise InvalidInput("Say how it was checked.", fields={"evidence": "Say what was checked, and where."})
    with write_transaction():
        changed = Organisation.objects.filter(id=organisation_id, vetted_at__isnull=True).update(
            vetted_at=now
        )
        if not changed:
            raise StateConflict("The organisation was vetted already, or is not there.")
        audit.record(
            actor=actor,
            action="organisation.vet",
            object_type="organisation",
            object_id=organisation_id,
            organisation_id=organisation_id,
            now=now,
            data={"evidence": evidence},
        )


def validate_domain(
    *, actor: Actor, organisation_id: OrganisationId, evidence: Evidence, now: datetime
) -> None:
    """Records an officer's ownership check of a domain, outside any request (R31, R32)."""
    if not can(actor, Action.DOMAIN_VALIDATE):
        raise NotAuthorized("Only an RA officer records ownership checks.")
    row = Organisation.objects.filter(id=organisation_id).first()
    if row is None:
        raise NotFound("There is no such organisation.")
    with write_transaction():
        # The order of `approve_request`: organisation, domain, audit chain. Another one would deadlock.
        lock_organisation(organisation_id)
        record_validation(actor=actor, organisation=row, evidence=evidence, request_id=None, now=now)


def record_validation(
    *,
    actor: Actor,
    organisation: Organisation,
    evidence: Evidence,
    request_id: RequestId | None,
    now: datetime,
) -> None:
    """Inserts a validation record for a domain of an organisation, in the caller's transaction (V7)."""
    adn = parse_dns_name(evidence.domain, allow_wildcard=False)
    details = storable(evidence.details, field=f"evidence.{adn}")
    reference = storable(evidence.reference, field=f"reference.{adn}")
    if not details:
        raise InvalidInput(
            f"Say how ownership of {adn} was checked.",
            fields={f"evidence.{adn}": "Say what was checked, and where."},
        )
    if evidence.how not in WAYS:
        raise InvalidInput("Choose how it was checked.", fields={f"how.{adn}": "Choose one from the list."})
    domain, _new = Domain.objects.get_or_create(
        organisation=organisation, adn=adn, defaults={"created_at": now}
    )
    expires = ownership_expiry(validated_at=now, days=runtime.current().ownership_days)
    record = ValidationRecord.objects.create(
        domain=domain,
        method=Method.MANUAL_OWNERSHIP,
        source=METHODS[Method.MANUAL_OWNERSHIP].source,
        evidence={"how": WAYS[evidence.how], "details": details, "reference": reference},
        validated_by_id=actor.user_id,
        request_id=request_id,
        validated_at=now,
        expires_at=expires,
    )
    audit.record(
        actor=actor,
        action="domain.validate",
        object_type="domain",
        object_id=domain.pk,
        organisation_id=organisation.pk,
        now=now,
        data={
            "adn": adn,
            "record": record.pk,
            "method": Method.MANUAL_OWNERSHIP.value,
            "expires_at": expires.isoformat(),
        },
    )
    wake_waiting(OrganisationId(organisation.pk), now=now)


def add_member(
    *,
    actor: Actor,
    organisation_id: OrganisationId,
    username: str,
    name: str,
    email: str,
    role: OrgRole,
    now: datetime,
) -> IssuedPassword:
    """Makes a person of an organisation, with an issued password to be changed at first sign-in (R8).

    Raises NotAuthorized, NotFound, InvalidInput.
    """
    if not can(actor, Action.MEMBERS_MANAGE, organisation_id=organisation_id):
        raise NotAuthorized("Only a manager of the organisation or an RA officer adds people.")
    organisation_row(organisation_id)
    fields = {}
    username, name = username.strip().lower(), storable(name, field="name")
    if (
        not username
        or not username.replace(".", "").replace("-", "").replace("_", "").isalnum()
        or len(username) > MAX_USERNAME
    ):
        fields["username"] = "Use letters, digits, full stops, hyphens and underscores."
    elif User.objects.filter(username=username).exists():
        fields["username"] = "Somebody has this user name already."
    try:
        validate_email(storable(email, field="email", limit=MAX_EMAIL))
    except ValidationError:
        fields["email"] = "Give an e-mail address, such as name@example.ac.uk."
    if not name:
        fields["name"] = "Give the person's name."
    if fields:
        raise InvalidInput("The person can't be added like this.", fields=fields)
    password = issued_password()
    first, _space, last = name.partition(" ")
    with write_transaction():
        user = User.objects.create(
            username=username,
            first_name=first[:150],
            last_name=last[:150],
            email=email,
            password=make_password(password),
            must_change_password=True,
        )
        Membership.objects.create(user=user, organisation_id=organisation_id, role=role, created_at=now)
        audit.record(
            actor=actor,
            action="member.add",
            object_type="user",
            object_id=user.pk,
            organisation_id=organisation_id,
            now=now,
            data={"username": username, "role": role.value},
        )
    return IssuedPassword(user_id=UserId(user.pk), username=username, password=password)


def disable_member(*, actor: Actor, organisation_id: OrganisationId, user_id: int, now: datetime) -> None:
    """Ends a person's membership; what they asked for stays with the organisation.

    The last manager can't be disabled by a manager. Raises NotFound, NotAuthorized, StateConflict.
    """
    if not can(actor, Action.MEMBERS_MANAGE, organisation_id=organisation_id):
        raise NotAuthorized("Only a manager of the organisation or an RA officer disables people.")
    with write_transaction():
        lock_organisation(organisation_id)  # two managers disabling each other: one has to see the other gone
        members = Membership.objects.filter(organisation_id=organisation_id, is_active=True)
        member = members.filter(user_id=user_id).first()
        if member is None:
            raise NotFound("There is no such person in this organisation.")
        managers = members.filter(role=OrgRole.MANAGER).exclude(user_id=user_id)
        if member.role == OrgRole.MANAGER and not managers.exists() and actor.ra_role is not RaRole.OFFICER:
            raise StateConflict(
                "An organisation keeps at least one manager. Make somebody else a manager first."
            )
        members.filter(user_id=user_id).update(is_active=False)
        audit.record(
            actor=actor,
            action="member.disable",
            object_type="user",
            object_id=user_id,
            organisation_id=organisation_id,
            now=now,
        )


def issued_password() -> str:
    """A random password that can be read out: five groups of four, about 100 bits."""
    alphabet = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(alphabet) for _ in range(4)) for _ in range(5))
