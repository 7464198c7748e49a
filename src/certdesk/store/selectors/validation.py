"""Domains, their proofs and open confirmations, as an actor may see them: what lapses when (R31 to R34)."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.db.models import Case, IntegerField, Max, Q, QuerySet, Value, When

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.errors import NotFound
from certdesk.domain.evidence import METHODS, Method
from certdesk.domain.identifiers import is_under
from certdesk.domain.requests import OrganisationId, RequestId, State
from certdesk.store.models import ChallengeOutcome, Domain, EmailChallenge, Request, ValidationRecord

MAX_ID = 2**63 - 1
WAITING_SHOWN = 50


class Standing(StrEnum):
    """Whether anything proves control of a domain now."""

    VALIDATED = "validated"
    LAPSED = "lapsed"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One validation record. `who` is the officer, or the mailbox that confirmed."""

    method: str
    source: str
    who: str
    evidence: dict[str, object]
    request_id: int | None
    validated_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenChallenge:
    """A confirmation that was asked for and has not come. `sent_at` is None when the mail did not leave."""

    id: int
    adn: str
    mailbox: str
    asked_by: str
    created_at: datetime
    sent_at: datetime | None
    expires_at: datetime

    def is_expired(self, *, now: datetime) -> bool:
        """Whether its code has stopped working."""
        return self.expires_at <= now


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedDomain:
    """A domain in the list; `proof` is the one that lasts, or lasted, longest."""

    id: int
    adn: str
    organisation_id: OrganisationId
    organisation: str
    standing: Standing
    proof: Proof | None
    awaited: tuple[OpenChallenge, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRequest:
    """A request that needs the domain."""

    number: RequestId
    common_names: str
    requester: str
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainDetail:
    """A domain with every proof, newest first, and what is under way."""

    domain: ListedDomain
    organisation_slug: str
    proofs: tuple[Proof, ...]
    waiting: tuple[WaitingRequest, ...]


def list_lapsing(*, actor: Actor, query: str = "", limit: int, now: datetime) -> list[ListedDomain]:
    """The domains that the actor may see: what lapses next, what has lapsed, what nothing proves."""
    if not query.isprintable():  # no name holds such a character, and no database takes all of them
        return []
    found = _visible(actor)
    if query:
        found = found.filter(Q(adn__icontains=query) | Q(organisation__legal_name__icontains=query))
    rank = Case(
        When(until__gt=now, then=Value(0)),
        When(until__isnull=False, then=Value(1)),
        default=Value(2),
        output_field=IntegerField(),
    )
    rows = (
        found.annotate(until=Max("validations__expires_at"), rank=rank)
        .select_related("organisation")
        .order_by("rank", "until", "adn", "id")[:limit]
    )
    return _listed(list(rows), now=now)


def get_domain(*, actor: Actor, domain_id: int, now: datetime) -> DomainDetail:
    """One domain. Raises NotFound for a foreign or missing one."""
    row = (
        _visible(actor).select_related("organisation").filter(id=domain_id).first()
        if _fits(domain_id)
        else None
    )
    if row is None:
        raise NotFound("There is no such domain.")
    (listed,) = _listed([row], now=now)
    records = ValidationRecord.objects.filter(domain=row).select_related("validated_by")
    return DomainDetail(
        domain=listed,
        organisation_slug=row.organisation.slug,
        proofs=tuple(_proof(record) for record in records.order_by("-validated_at", "-id")),
        waiting=_waiting(row),
    )


def open_challenges(*, organisation_id: OrganisationId) -> list[OpenChallenge]:
    """What was asked and not answered for the domains of an organisation that the caller may see."""
    rows = EmailChallenge.objects.filter(
        domain__organisation_id=organisation_id, outcome=ChallengeOutcome.OPEN
    ).select_related("asked_by")
    return [_challenge(row) for row in rows.order_by("-created_at", "-id")]


def _fits(number: int) -> bool:
    return 0 < number <= MAX_ID


def _visible(actor: Actor) -> QuerySet[Domain]:
    if can(actor, Action.DOMAIN_READ):
        return Domain.objects.all()
    own = [o for o in actor.organisation_ids if can(actor, Action.DOMAIN_READ, organisation_id=o)]
    return Domain.objects.filter(organisation_id__in=own)


def _listed(rows: list[Domain], *, now: datetime) -> list[ListedDomain]:
    longest: dict[int, ValidationRecord] = {}
    records = ValidationRecord.objects.filter(domain__in=rows).select_related("validated_by")
    for record in records.order_by("expires_at", "id"):
        longest[record.domain_id] = record
    awaited: dict[int, list[OpenChallenge]] = {}
    challenges = EmailChallenge.objects.filter(domain__in=rows, outcome=ChallengeOutcome.OPEN)
    for row in challenges.select_related("asked_by").order_by("-created_at", "-id"):
        awaited.setdefault(row.domain_id, []).append(_challenge(row))
    return [
        ListedDomain(
            id=row.pk,
            adn=row.adn,
            organisation_id=OrganisationId(row.organisation_id),
            organisation=row.organisation.legal_name,
            standing=_standing(longest.get(row.pk), now=now),
            proof=_proof(longest[row.pk]) if row.pk in longest else None,
            awaited=tuple(awaited.get(row.pk, ())),
        )
        for row in rows
    ]


def _standing(longest: ValidationRecord | None, *, now: datetime) -> Standing:
    if longest is None:
        return Standing.NEVER
    return Standing.VALIDATED if longest.expires_at > now else Standing.LAPSED


def _proof(record: ValidationRecord) -> Proof:
    evidence = dict(record.evidence)
    how = str(evidence.get("how", ""))
    who = record.validated_by.username if record.validated_by else how.removesuffix(" confirmed")
    return Proof(
        method=METHODS[Method(record.method)].title,
        source=record.source,
        who=who,
        evidence=evidence,
        request_id=record.request_id,
        validated_at=record.validated_at,
        expires_at=record.expires_at,
    )


def _challenge(row: EmailChallenge) -> OpenChallenge:
    return OpenChallenge(
        id=row.pk,
        adn=row.adn,
        mailbox=row.mailbox,
        asked_by=row.asked_by.username,
        created_at=row.created_at,
        sent_at=row.sent_at,
        expires_at=row.expires_at,
    )


def _waiting(row: Domain) -> tuple[WaitingRequest, ...]:
    """Unfinished requests for names at or below the domain, newest first."""
    unfinished = Q(state=State.WAITING_FOR_APPROVAL) | Q(state=State.ACCEPTED, next_attempt_at__isnull=True)
    found = Request.objects.filter(unfinished, organisation_id=row.organisation_id).select_related(
        "requester"
    )
    return tuple(
        WaitingRequest(
            number=RequestId(request.pk),
            common_names=request.common_names,
            requester=request.requester.username,
            state=State(request.state),
        )
        for request in found.select_related("requester").order_by("-id")[:WAITING_SHOWN]
        if any(is_under(name.removeprefix("*."), row.adn) for name in request.names)
    )
