"""Organisations, their people and their domains: who may ask, and what they have proven."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.core.exceptions import ValidationError
from django.core.validators import validate_slug
from django.db import IntegrityError
from django.utils.text import slugify

from certdesk.domain.actors import Action, Actor, require
from certdesk.domain.errors import InvalidInput, StateConflict, existing
from certdesk.domain.issuing.states import OrganisationId, RequestId, UserId
from certdesk.domain.names.identifiers import is_ip_address, parse_dns_name
from certdesk.domain.names.ip_addresses import parse_ip_name
from certdesk.domain.validation.evidence import Method, ownership_expiry
from certdesk.services.people.permissions import acting, actor_now, refuse_withdrawn
from certdesk.services.system import runtime
from certdesk.services.system.text_input import storable
from certdesk.services.validation.by_email import record_proof
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import Domain, Organisation
from certdesk.store.selectors.facts import lock_organisation, organisation_row

#: How an officer may have checked who owns a domain; the value is stored, the title is shown.
WAYS: dict[str, str] = {
    "registry": "Looked up in the registry (RDAP)",
    "document": "Letter or document from the owner",
    "contact": "Confirmed by a contact that we knew before",
    "other": "Another way, as described",
}
MAX_LEGAL_NAME = 64  # X.520 ub-organization-name
MAX_LOCALITY = 128  # X.520 ub-locality-name
_SLUG_TAKEN = "Another organisation has this short name."


@dataclass(frozen=True, slots=True)
class Evidence:
    """How an officer checked that the organisation owns a domain. `how` is a key of WAYS."""

    domain: str
    how: str
    details: str
    reference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedPassword:
    """A password made for a new person; shown once and stored only as a hash."""

    user_id: UserId
    username: str
    password: str


def create_organisation(
    *, actor: Actor, legal_name: str, slug: str = "", country: str = "GB", locality: str = "", now: datetime
) -> OrganisationId:
    """Registers an organisation, not yet vetted. Raises InvalidInput, NotAuthorized."""
    _expect_registrar(actor)
    identity = _identity(legal_name=legal_name, country=country, locality=locality)
    slug = slug or slugify(identity["legal_name"])[:63]
    fields = _problems(identity)
    try:
        validate_slug(slug)
    except ValidationError:
        fields["slug"] = "Use letters, digits and hyphens."
    if "slug" not in fields and Organisation.objects.filter(slug=slug).exists():
        fields["slug"] = _SLUG_TAKEN
    if fields:
        raise InvalidInput("The organisation can't be registered like this.", fields)
    try:
        with write_transaction():
            _expect_registrar(actor_now(actor))
            row = Organisation.objects.create(slug=slug, created_at=now, **identity)
            _record(actor, row.pk, "organisation.create", now=now, data={**identity, "slug": slug})
    except IntegrityError:  # two officers at the same moment
        told = "The organisation can't be registered like this."
        raise InvalidInput(told, {"slug": _SLUG_TAKEN}) from None
    return OrganisationId(row.pk)


def rename_organisation(
    *,
    actor: Actor,
    organisation_id: OrganisationId,
    legal_name: str,
    country: str,
    locality: str,
    evidence: str,
    now: datetime,
) -> None:
    """Writes an organisation's legal name and place anew, as they stand in every later certificate.

    Approvals were given for the old ones, so what is accepted and not yet issued is decided again.
    Raises InvalidInput, NotAuthorized, NotFound, StateConflict when somebody else was faster.
    """
    require(actor, Action.ORGANISATION_VET, "Only an RA officer changes what an organisation is called.")
    identity = _identity(legal_name=legal_name, country=country, locality=locality)
    evidence = storable(evidence, field="evidence")
    fields = _problems(identity)
    if not evidence:
        fields["evidence"] = "Say what was checked, and where."
    if fields:
        raise InvalidInput("The organisation can't be changed like this.", fields)
    with acting(actor, Action.ORGANISATION_VET, organisation_id):
        row = organisation_row(organisation_id)
        before = {name: getattr(row, name) for name in identity}
        differences = {n: [before[n], identity[n]] for n in identity if before[n] != identity[n]}
        if not differences:
            raise InvalidInput("Nothing is different.", {"legal_name": "It is called so already."})
        Organisation.objects.filter(id=organisation_id).update(**identity)
        data = {"changed": differences, "evidence": evidence}
        _record(actor, organisation_id, "organisation.rename", now=now, data=data)


def disable_organisation(
    *, actor: Actor, organisation_id: OrganisationId, reason: str, now: datetime
) -> None:
    """Stops an organisation's people from asking and reading; its rows stay. Raises as enabling does."""
    _set_active(actor, organisation_id, active=False, reason=reason, now=now)


def enable_organisation(*, actor: Actor, organisation_id: OrganisationId, reason: str, now: datetime) -> None:
    """Lets an organisation's people in again.

    Raises InvalidInput without a reason, NotAuthorized, StateConflict when it stands so already.
    """
    _set_active(actor, organisation_id, active=True, reason=reason, now=now)


def vet_organisation(*, actor: Actor, organisation_id: OrganisationId, evidence: str, now: datetime) -> None:
    """Records that the RA has checked who the organisation is, and how. Raises as `record_vetting` does."""
    with write_transaction():
        lock_organisation(organisation_id)
        record_vetting(
            actor=actor, organisation_id=organisation_id, evidence=evidence, field="evidence", now=now
        )


def record_vetting(
    *, actor: Actor, organisation_id: int, evidence: str, field: str, request: int = 0, now: datetime
) -> None:
    """The same in the caller's transaction, under the organisation's lock; `request` is its request, if any.

    Raises InvalidInput about `field` without evidence, NotAuthorized, StateConflict if it was vetted already.
    """
    require(actor_now(actor), Action.ORGANISATION_VET, "Only an RA officer vets organisations.")
    evidence = storable(evidence, field=field)
    if not evidence:
        raise InvalidInput(
            "Say how the organisation was vetted.", {field: "Say what was checked, and where."}
        )
    changed = Organisation.objects.filter(id=organisation_id, vetted_at__isnull=True).update(vetted_at=now)
    if not changed:
        raise StateConflict("The organisation was vetted already, or is not there.")
    data = {"evidence": evidence, **({"request": request} if request else {})}
    _record(actor, organisation_id, "organisation.vet", now=now, data=data)


def validate_domain(
    *, actor: Actor, organisation_id: OrganisationId, evidence: Evidence, now: datetime
) -> None:
    """Records an officer's ownership check of a domain, outside any request."""
    require(actor, Action.DOMAIN_VALIDATE, "Only an RA officer records ownership checks.")
    row = existing(Organisation.objects.filter(id=organisation_id).first(), "There is no such organisation.")
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
    """Inserts a validation record for a domain of an organisation, in the caller's transaction."""
    adn = evidence.domain
    adn = parse_ip_name(adn) if is_ip_address(adn) else parse_dns_name(adn, allow_wildcard=False)
    details = storable(evidence.details, field=f"evidence.{adn}")
    reference = storable(evidence.reference, field=f"reference.{adn}")
    if not details:
        told = f"Say how ownership of {adn} was checked."
        raise InvalidInput(told, {f"evidence.{adn}": "Say what was checked, and where."})
    if evidence.how not in WAYS:
        raise InvalidInput("Choose how it was checked.", {f"how.{adn}": "Choose one from the list."})
    refuse_withdrawn(organisation.pk, actor, action=Action.DOMAIN_VALIDATE)
    domain, _new = Domain.objects.get_or_create(
        organisation=organisation, adn=adn, defaults={"created_at": now}
    )
    days = runtime.current().ownership_days
    record_proof(
        actor=actor,
        domain=domain,
        method=Method.MANUAL_OWNERSHIP,
        evidence={"how": WAYS[evidence.how], "details": details, "reference": reference},
        days=days,
        request_id=request_id,
        now=now,
        noted={"expires_at": ownership_expiry(validated_at=now, days=days).isoformat()},
    )


def _set_active(
    actor: Actor, organisation_id: OrganisationId, *, active: bool, reason: str, now: datetime
) -> None:
    require(actor, Action.ORGANISATION_VET, "Only an RA officer disables and enables organisations.")
    reason = storable(reason, field="reason")
    if not reason:
        raise InvalidInput("Say why.", {"reason": "Say why; an auditor relies on it."})
    with acting(actor, Action.ORGANISATION_VET, organisation_id):
        organisation_row(organisation_id)
        found = Organisation.objects.filter(id=organisation_id, is_active=not active)
        if not found.update(is_active=active):
            raise StateConflict(f"The organisation is {'enabled' if active else 'disabled'} already.")
        verb = "enable" if active else "disable"
        _record(actor, organisation_id, f"organisation.{verb}", now=now, data={"reason": reason})


def _expect_registrar(actor: Actor) -> None:
    require(actor, Action.ORGANISATION_CREATE, "Only an RA officer registers organisations.")


def _identity(*, legal_name: str, country: str, locality: str) -> dict[str, str]:
    return {
        "legal_name": " ".join(storable(legal_name, field="legal_name").split()),
        "country": country.strip().upper(),
        "locality": " ".join(storable(locality, field="locality", limit=MAX_LOCALITY).split()),
    }


def _problems(identity: Mapping[str, str]) -> dict[str, str]:
    problems, name, country = {}, identity["legal_name"], identity["country"]
    if not name or len(name) > MAX_LEGAL_NAME:
        problems["legal_name"] = "Give the legal name, at most 64 characters."
    if len(country) != 2 or not country.isascii() or not country.isalpha():  # noqa: PLR2004 - ISO 3166-1
        problems["country"] = "Give the two-letter country code, such as GB."
    return problems


def _record(
    actor: Actor, organisation_id: int, action: str, *, now: datetime, data: Mapping[str, object]
) -> None:
    audit.record(actor, action, organisation_id, organisation_id, now=now, data=data)


def issued_password() -> str:
    """A random password that can be read out: five groups of four, about 100 bits."""
    alphabet = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(alphabet) for _ in range(4)) for _ in range(5))
