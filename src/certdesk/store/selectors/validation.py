"""One domain as an actor may see it: proofs, what is under way, its story, what waits for it."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from certdesk.domain.actors import Actor
from certdesk.domain.errors import existing
from certdesk.domain.issuing.states import OrganisationId, RequestId, Status
from certdesk.domain.names.identifiers import is_under
from certdesk.domain.validation.evidence import METHODS, Method
from certdesk.store.copied import copied
from certdesk.store.keyset import MAX_ID
from certdesk.store.models import (
    CaValidation,
    ChallengeOutcome,
    Domain,
    EmailChallenge,
    MethodChallenge,
    PersistentRecord,
    Request,
    ValidationAttempt,
    ValidationRecord,
)
from certdesk.store.selectors.acme import askers
from certdesk.store.selectors.domains import ListedDomain, listed, visible_domains
from certdesk.store.selectors.proofs import OpenChallenge, Proof, challenge_row, proof_row
from certdesk.store.sql import IDLE

WAITING_SHOWN = 50
STORY_SHOWN = 60
ATTEMPTS_READ = 500
SAME_RUN = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRequest:
    """A request that needs the domain."""

    number: RequestId
    common_names: str
    requester: str
    status: Status


class Event(StrEnum):
    """What happened to a domain."""

    PROVEN = "proven"
    LOOKED = "looked"
    ASKED = "asked"
    CANCELLED = "cancelled"
    CA_SAID = "ca_said"


@dataclass(frozen=True, slots=True)
class StoryEntry:
    """One event of a domain. `times` counts looks in a row that found the same; `evidence` is for the RA."""

    at: datetime
    event: Event
    title: str
    text: str = ""
    who: str = ""
    proof: Proof | None = None
    evidence: dict[str, object] = field(default_factory=dict)
    code: str = ""
    times: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CaState:
    """What a public CA said last of its own validation; `valid_until` None: not validated there."""

    ca: str
    valid_until: datetime | None
    detail: str
    heard_from: str
    heard_at: datetime


@dataclass(frozen=True, slots=True)
class DomainDetail:
    """A domain with every proof, newest first, its story, what is under way and what CAs say."""

    domain: ListedDomain
    organisation_slug: str
    proofs: tuple[Proof, ...]
    story: tuple[StoryEntry, ...]
    ca_states: tuple[CaState, ...]
    waiting: tuple[WaitingRequest, ...]


def get_domain(*, actor: Actor, domain_id: int, now: datetime) -> DomainDetail:
    """One domain. Raises NotFound for a foreign or missing one."""
    row = visible_domain(actor=actor, domain_id=domain_id)
    (one,) = listed([row], now=now)
    records = ValidationRecord.objects.filter(domain=row).select_related("validated_by", "ended_by")
    proofs = tuple(proof_row(record) for record in records.order_by("-validated_at", "-id")[:STORY_SHOWN])
    return DomainDetail(
        one, row.organisation.slug, proofs, _story(row, proofs), _ca_states(row), _waiting(row)
    )


def visible_domain(*, actor: Actor, domain_id: int) -> Domain:
    """The row of a domain with its organisation. Raises NotFound for a foreign or missing one."""
    found = visible_domains(actor).select_related("organisation").filter(id=domain_id)
    return existing(found.first() if 0 < domain_id <= MAX_ID else None, "There is no such domain.")


def open_challenges(*, organisation_id: OrganisationId) -> list[OpenChallenge]:
    """What was asked and not answered for the domains of an organisation that the caller may see."""
    rows = EmailChallenge.objects.filter(
        domain__organisation_id=organisation_id, outcome=ChallengeOutcome.OPEN
    ).select_related("asked_by")
    return [challenge_row(row) for row in rows.order_by("-created_at", "-id")]


def _story(row: Domain, proofs: tuple[Proof, ...]) -> tuple[StoryEntry, ...]:
    """What happened, newest first."""
    entries = [*_looks(row), *_mails(row), *_published(row), *_watched(row), *_said(row), *_proven(proofs)]
    return tuple(sorted(entries, key=lambda entry: entry.at, reverse=True)[:STORY_SHOWN])


def _proven(proofs: tuple[Proof, ...]) -> Iterator[StoryEntry]:
    for proof in proofs:
        yield StoryEntry(proof.validated_at, Event.PROVEN, proof.method, "", proof.who, proof, proof.evidence)
        if proof.ended_by:
            title = f"Validation ended: {proof.method}"
            yield StoryEntry(proof.expires_at, Event.CANCELLED, title, proof.end_reason, proof.ended_by)


def _looks(row: Domain) -> list[StoryEntry]:
    """Looks in vain: those that found the same within days are one entry, with the time of the last."""
    found: list[StoryEntry] = []
    runs: dict[tuple[str, str, int | None], tuple[int, datetime]] = {}
    attempts = ValidationAttempt.objects.filter(domain=row).select_related("by").order_by("-id")
    for attempt in attempts[:ATTEMPTS_READ]:
        kind = (attempt.method, attempt.code, attempt.challenge_id)
        index, since = runs.get(kind, (-1, attempt.at))
        if index >= 0 and since - attempt.at <= SAME_RUN:
            found[index] = replace(found[index], times=found[index].times + 1)
            runs[kind] = (index, attempt.at)
            continue
        runs[kind] = (len(found), attempt.at)
        title = f"Looked and not found: {METHODS[Method(attempt.method)].title}"
        who, evidence = attempt.by.username if attempt.by else "", dict(attempt.evidence)
        found.append(
            StoryEntry(
                attempt.at, Event.LOOKED, title, attempt.detail, who, evidence=evidence, code=attempt.code
            )
        )
    return found


def _mails(row: Domain) -> Iterator[StoryEntry]:
    asked = EmailChallenge.objects.filter(domain=row).select_related("asked_by").order_by("-id")
    for one in asked[:STORY_SHOWN]:
        yield _asked(one.created_at, f"Mail to {one.mailbox}", one.asked_by.username)
        if one.outcome == ChallengeOutcome.CANCELLED and one.ended_at:
            title = f"The mail to {one.mailbox} no longer counts"
            yield StoryEntry(one.ended_at, Event.CANCELLED, title)


def _published(row: Domain) -> Iterator[StoryEntry]:
    asked = MethodChallenge.objects.filter(domain=row).select_related("asked_by").order_by("-id")
    for one in asked[:STORY_SHOWN]:
        title = METHODS[Method(one.method)].title
        yield _asked(one.created_at, title, one.asked_by.username)
        if one.outcome == ChallengeOutcome.CANCELLED and one.ended_at:
            yield StoryEntry(one.ended_at, Event.CANCELLED, f"{title}: no longer looked for")


def _watched(row: Domain) -> Iterator[StoryEntry]:
    for one in PersistentRecord.objects.filter(domain=row).select_related("asked_by"):
        yield _asked(one.created_at, METHODS[Method.DNS_PERSIST].title, one.asked_by.username)
        if one.missing_since:
            yield StoryEntry(one.missing_since, Event.CANCELLED, "The persistent DNS record has vanished")
        if one.stopped_at:
            title = "The persistent DNS record is no longer watched"
            yield StoryEntry(one.stopped_at, Event.CANCELLED, title)


def _asked(at: datetime, title: str, who: str) -> StoryEntry:
    return StoryEntry(at, Event.ASKED, f"Asked: {title}", who=who)


def _said(row: Domain) -> Iterator[StoryEntry]:
    for one in CaValidation.objects.filter(domain=row).order_by("-id")[:STORY_SHOWN]:
        state = f"validated there until {one.valid_until:%-d %B %Y}" if one.valid_until else "not validated"
        yield StoryEntry(one.heard_at, Event.CA_SAID, f"{one.ca}: {state}", one.detail, one.heard_from)


def _ca_states(row: Domain) -> tuple[CaState, ...]:
    """The newest word of each CA."""
    newest: dict[str, CaState] = {}
    for one in CaValidation.objects.filter(domain=row).order_by("-id")[:ATTEMPTS_READ]:
        newest.setdefault(one.ca, copied(CaState, one))
    return tuple(newest[name] for name in sorted(newest))


def _waiting(row: Domain) -> tuple[WaitingRequest, ...]:
    """Unfinished requests for names at or below the domain, newest first."""
    undecided = Request.objects.filter(
        organisation_id=row.organisation_id, status=Status.WAITING_FOR_APPROVAL
    ).order_by("-id")
    idle = {request for _issuance, request in IDLE.rows(organisation=row.organisation_id)}
    numbers = {*undecided.values_list("id", flat=True)[:WAITING_SHOWN], *sorted(idle)[-WAITING_SHOWN:]}
    found = Request.objects.filter(id__in=numbers).select_related("requester")
    shown = list(found.order_by("-id")[:WAITING_SHOWN])
    told = askers(request.acme_account_id for request in shown)
    return tuple(
        WaitingRequest(
            number=RequestId(request.pk),
            common_names=request.common_names,
            requester=told.get(request.acme_account_id, request.requester.username),
            status=Status(request.status),
        )
        for request in shown
        if any(is_under(name.removeprefix("*."), row.adn) for name in request.names)
    )
