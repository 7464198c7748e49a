"""Domain control by something published: a DNS record or a file that carries a random value.

Each use is: ask (a value is made), publish (by people), look (network, outside any transaction), record
(short transaction, under the organisation's lock). What is not found leaves an attempt with what was seen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import structlog
from django.db.models import F, Q, QuerySet

from certdesk.dcv.base import Challenge, NotValidated, Outcome, Problem, Record
from certdesk.domain.actors import SYSTEM, Action, Actor, can
from certdesk.domain.errors import (
    InvalidInput,
    InvariantViolated,
    NotAuthorized,
    NotFound,
    RateLimited,
    StateConflict,
)
from certdesk.domain.issuing.states import OrganisationId
from certdesk.domain.names.identifiers import is_ip_address
from certdesk.domain.rules import RuleId, in_force
from certdesk.domain.validation.evidence import METHODS, Method
from certdesk.services.people.permissions import acting, refuse_withdrawn
from certdesk.services.system import runtime
from certdesk.services.validation.by_email import audit_domain, record_proof, tell_waiting
from certdesk.services.validation.proof_checks import check_all, check_proof, proven
from certdesk.services.validation.publications import (
    Publication,
    digest_of,
    expected_value,
    new_nonce,
    new_value,
    public_token,
    publication,
    value_again,
)
from certdesk.store.db import write_transaction
from certdesk.store.models import (
    ChallengeOutcome,
    Domain,
    MethodChallenge,
    PersistentRecord,
    ValidationAttempt,
)
from certdesk.store.selectors.facts import lock_organisation

log = structlog.get_logger()

#: What people can choose. The others belong to ACME, to mail, or to officers.
PUBLISHED: tuple[Method, ...] = (Method.DNS_TXT, Method.DNS_CNAME, Method.HTTP_FILE)
PAUSE = timedelta(seconds=5)  # between two looks at one challenge, whoever asks
FIRST_LOOK, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=4)
LEASE = timedelta(minutes=5)  # a look that has not come back by then is somebody else's
GONE = "This challenge was used, cancelled or replaced in the meantime."
WITHDRAWN = "dcv.withdrawn"
MAX_SEEN = 2000  # characters of what a stranger's server said that are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """A challenge as whoever publishes it sees it, with what the last look said."""

    challenge_id: int
    method: Method
    publication: Publication
    asked_by: str
    created_at: datetime
    expires_at: datetime
    next_look_at: datetime | None
    last_problem: str
    last_looked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The proof was there: the number of its validation record."""

    record_id: int
    adn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFoundYet:
    """It was not there: why, what to do, and when we look again by ourselves."""

    problem: Problem
    adn: str
    next_look_at: datetime | None


Checked = Found | NotFoundYet


def publishable(adn: str) -> tuple[Method, ...]:
    """What people can choose for a domain; an IP address has no DNS records of its own."""
    return (Method.HTTP_FILE,) if is_ip_address(adn) else PUBLISHED


def start_challenge(*, actor: Actor, domain_id: int, method: Method, now: datetime) -> int:
    """Makes a random value for a domain and a method; an earlier open one of that method ends. Returns the
    challenge's number.

    Raises InvalidInput for a method that is not offered, NotFound for a foreign domain, NotAuthorized.
    """
    domain = own_domain(actor, domain_id)
    if method not in publishable(domain.adn) or not runtime.current().offers(method):
        raise InvalidInput("This way is not on offer.", {"method": "Choose one from the list."})
    if actor.user_id is None:
        raise InvariantViolated("a proof is asked for by a person")
    with write_transaction():
        lock_organisation(OrganisationId(domain.organisation_id))
        refuse_withdrawn(domain.organisation_id, actor)
        earlier = MethodChallenge.objects.filter(domain=domain, method=method, outcome=ChallengeOutcome.OPEN)
        earlier.update(outcome=ChallengeOutcome.REPLACED, ended_at=now, next_look_at=None)
        nonce = new_nonce()
        value = new_value(nonce=nonce, domain_id=domain.pk, adn=domain.adn, method=method)
        row = MethodChallenge.objects.create(
            domain=domain,
            adn=domain.adn,
            method=method,
            nonce=nonce,
            digest=digest_of(value),
            issuer=runtime.current().persistence.issuers[0],
            asked_by_id=actor.user_id,
            created_at=now,
            expires_at=now + timedelta(days=in_force(RuleId.RANDOM_VALUE_LIFE, now).value),
            next_look_at=now + FIRST_LOOK,
        )
        _audit(row, "domain.challenge", actor=actor, now=now)
        tell_waiting(OrganisationId(domain.organisation_id), now=now)
    return row.pk


def check_now(*, actor: Actor, challenge_id: int, clock: Callable[[], datetime]) -> Checked:
    """Looks whether the value is there, at once.

    Raises NotFound, NotAuthorized, RateLimited within seconds of another look, StateConflict when the
    challenge ended meanwhile.
    """
    row = _own_challenge(actor, challenge_id)
    now = clock()
    if row.outcome != ChallengeOutcome.OPEN or row.expires_at <= now:
        raise StateConflict(GONE)
    if not _claim(row, now=now, by_hand=True):
        told = "It was looked at a moment ago. Try again in a few seconds."
        raise RateLimited(told, retry_after=int(PAUSE.total_seconds()))
    outcome = check_proof(challenge_of(row), clock=clock)
    with write_transaction():
        lock_organisation(OrganisationId(row.domain.organisation_id))
        return _record(row, outcome, actor=actor, now=clock())


def check_due(*, clock: Callable[[], datetime], limit: int) -> int:
    """Looks at every challenge whose time has come, all at once; returns at how many."""
    now = clock()
    due = _due(now).select_related("domain", "asked_by").order_by("next_look_at")
    with write_transaction():
        rows = [row for row in due[:limit] if _claim(row, now=now, by_hand=False)]
    check_all(
        rows, challenge_of, lambda row, outcome: _record(row, outcome, actor=SYSTEM, now=clock()), clock=clock
    )
    return len(rows)


def any_due(*, now: datetime) -> bool:
    return _due(now).exists()


def cancel_method_challenge(*, actor: Actor, challenge_id: int, now: datetime) -> int:
    """Ends an open challenge: what was published proves nothing any more. Returns the domain's number.

    Raises NotFound, NotAuthorized, StateConflict.
    """
    row = _own_challenge(actor, challenge_id)
    organisation_id = OrganisationId(row.domain.organisation_id)
    with acting(actor, Action.DOMAIN_ASK, organisation_id):
        if not _end(row, ChallengeOutcome.CANCELLED, now=now):
            raise StateConflict(GONE)
        _audit(row, "domain.challenge_cancel", actor=actor, now=now)
        tell_waiting(organisation_id, now=now)
    return row.domain_id


def domain_of_challenge(*, actor: Actor, challenge_id: int) -> int:
    """The domain of a challenge that the actor may see. Raises NotFound, NotAuthorized as the others do."""
    return _own_challenge(actor, challenge_id).domain_id


def open_challenges_of(*, actor: Actor, domain_id: int, now: datetime) -> tuple[Open, ...]:
    """What waits to be published for a domain, newest first; nothing for who may not ask."""
    running = MethodChallenge.objects.filter(
        domain_id=domain_id, outcome=ChallengeOutcome.OPEN, expires_at__gt=now
    ).select_related("domain", "asked_by")
    found = []
    for row in running.order_by("-id"):
        if can(actor, Action.DOMAIN_ASK, organisation_id=OrganisationId(row.domain.organisation_id)):
            last = row.attempts.order_by("-id").first()
            found.append(
                Open(
                    challenge_id=row.pk,
                    method=Method(row.method),
                    publication=what_to_publish(row),
                    asked_by=row.asked_by.username,
                    created_at=row.created_at,
                    expires_at=row.expires_at,
                    next_look_at=row.next_look_at,
                    last_problem=last.detail if last else "",
                    last_looked_at=last.at if last else None,
                )
            )
    return tuple(found)


def what_to_publish(row: MethodChallenge) -> Publication:
    """The record or file of an open challenge, shown as often as somebody looks."""
    return publication(
        method=Method(row.method),
        adn=row.adn,
        value=_value(row),
        token=public_token(row.nonce),
        issuer=row.issuer,
    )


def challenge_of(row: MethodChallenge) -> Challenge:
    return Challenge(
        method=Method(row.method),
        adn=row.adn,
        expected=expected_value(method=Method(row.method), value=_value(row), issuer=row.issuer),
        token=public_token(row.nonce),
    )


def own_domain(actor: Actor, domain_id: int) -> Domain:
    """A domain that the actor may ask about. Raises NotFound for a foreign one, NotAuthorized."""
    row = Domain.objects.select_related("organisation").filter(id=domain_id).first()
    if row is None or not can(actor, Action.DOMAIN_READ, organisation_id=OrganisationId(row.organisation_id)):
        raise NotFound("There is no such domain.")
    if not can(actor, Action.DOMAIN_ASK, organisation_id=OrganisationId(row.organisation_id)):
        raise NotAuthorized("Only people of the organisation and RA officers prove its domains.")
    return row


def evidence_of(record: Record, row: MethodChallenge | PersistentRecord) -> dict[str, object]:
    """A proof as evidence: how it was found, and who had asked."""
    asked = {"asked_by": row.asked_by.username, "asked_at": row.created_at.isoformat()}
    return {"how": METHODS[record.method].title, **seen(record), **asked}


def seen(record: Record, problem: Problem | None = None) -> dict[str, object]:
    """A validator's record as evidence: what strangers said is kept, cut short."""
    found: dict[str, object] = {
        "adn": record.adn,
        "asked": record.asked[:MAX_SEEN],
        "answered": record.answered[:MAX_SEEN],
        "looked_at": record.at.isoformat(),
    }
    details = _storable(record.details)
    if details:
        found["details"] = details
    return {**found, "problem": asdict(problem)} if problem else found


def note_attempt(
    domain: Domain, outcome: NotValidated, *, by: Actor, challenge: MethodChallenge | None, now: datetime
) -> None:
    """Keeps that nothing was found, and what was seen instead, in the caller's transaction."""
    ValidationAttempt.objects.create(
        domain=domain,
        challenge=challenge,
        adn=outcome.record.adn,
        method=outcome.record.method,
        code=outcome.problem.code[:64],
        detail=outcome.problem.detail[:MAX_SEEN],
        evidence=seen(outcome.record),
        by_id=by.user_id,
        at=now,
    )


def wait_after(looks: int) -> timedelta:
    """How long until the next look by itself: doubling from a minute, with a ceiling."""
    return min(FIRST_LOOK * int(2 ** min(looks, 12)), LONGEST_WAIT)


def _due(now: datetime) -> QuerySet[MethodChallenge]:
    return MethodChallenge.objects.filter(
        outcome=ChallengeOutcome.OPEN,
        next_look_at__lte=now,
        expires_at__gt=now,
        domain__organisation__is_active=True,
    )


def _own_challenge(actor: Actor, challenge_id: int) -> MethodChallenge:
    row = MethodChallenge.objects.select_related("domain", "asked_by").filter(id=challenge_id).first()
    organisation_id = OrganisationId(row.domain.organisation_id) if row else None
    if row is None or not can(actor, Action.DOMAIN_READ, organisation_id=organisation_id):
        raise NotFound("There is no such challenge.")
    own_domain(actor, row.domain_id)
    return row


def _claim(row: MethodChallenge, *, now: datetime, by_hand: bool) -> bool:
    """Takes a look for oneself; of two at once one gets it. A look by hand leaves the schedule alone."""
    found = MethodChallenge.objects.filter(id=row.pk, outcome=ChallengeOutcome.OPEN)
    with write_transaction():
        if by_hand:
            fresh = found.filter(Q(looked_at__isnull=True) | Q(looked_at__lte=now - PAUSE))
            return bool(fresh.update(looked_at=now))
        same = found.filter(next_look_at=row.next_look_at)
        return bool(same.update(looked_at=now, next_look_at=now + LEASE))


def _record(row: MethodChallenge, outcome: Outcome, *, actor: Actor, now: datetime) -> Checked:
    """Records what a look brought: a proof, single use, or an attempt. In the caller's transaction, under the
    lock. Raises StateConflict when too late, before anything is written.
    """
    if isinstance(outcome, NotValidated):
        # A person's own look leaves the schedule of the looks by itself as it is.
        next_look = row.next_look_at if actor.user_id else now + wait_after(row.looks)
        found = MethodChallenge.objects.filter(id=row.pk, outcome=ChallengeOutcome.OPEN)
        if not found.update(looks=F("looks") + 1, next_look_at=next_look):
            raise StateConflict(GONE)
        note_attempt(row.domain, outcome, by=actor, challenge=row, now=now)
        if actor.user_id:
            _audit(row, "domain.challenge_check", actor=actor, now=now, problem=outcome.problem.code)
        return NotFoundYet(problem=outcome.problem, adn=row.adn, next_look_at=next_look)
    try:
        refuse_withdrawn(row.domain.organisation_id, row.asked_by_id, actor)
    except (NotAuthorized, StateConflict) as withdrawn:
        # What is found for who may no longer ask proves nothing.
        if not _end(row, ChallengeOutcome.CANCELLED, now=now):
            raise StateConflict(GONE) from None
        _audit(row, "domain.challenge_cancel", actor=SYSTEM, now=now, problem=WITHDRAWN)
        tell_waiting(OrganisationId(row.domain.organisation_id), now=now)
        problem = Problem(code=WITHDRAWN, detail=f"{withdrawn.detail} Start again.")
        return NotFoundYet(problem=problem, adn=row.adn, next_look_at=None)
    record = proven(outcome, challenge_of(row), allowed=frozenset({Method(row.method)}))
    if not _end(row, ChallengeOutcome.CONFIRMED, now=now):
        raise StateConflict(GONE)
    proof = record_proof(
        actor=actor,
        domain=row.domain,
        method=record.method,
        evidence={**evidence_of(record, row), "value_sha256": row.digest},
        days=runtime.current().ownership_days,
        now=now,
        noted={"method_challenge": row.pk},
    )
    return Found(record_id=proof.pk, adn=row.adn)


def _end(row: MethodChallenge, outcome: ChallengeOutcome, *, now: datetime) -> bool:
    """Ends an open challenge; False when somebody else has, or when it is too old."""
    found = MethodChallenge.objects.filter(id=row.pk, outcome=ChallengeOutcome.OPEN, expires_at__gt=now)
    return bool(found.update(outcome=outcome, ended_at=now, next_look_at=None))


def _value(row: MethodChallenge) -> str:
    return value_again(
        nonce=row.nonce, digest=row.digest, domain_id=row.domain_id, adn=row.adn, method=Method(row.method)
    )


def _storable(details: Mapping[str, object]) -> dict[str, object]:
    """JSON of bounded size, whatever a method thought worth noting."""
    return {str(name)[:64]: _short(value) for name, value in list(details.items())[:32]}


def _short(value: object) -> object:
    if isinstance(value, (bool, int, float)) or value is None:
        return value
    if isinstance(value, Mapping):
        return _storable(value)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_short(one) for one in value[:32]]
    return str(value).replace("\0", "")[:MAX_SEEN]


def _audit(row: MethodChallenge, action: str, *, actor: Actor, now: datetime, **more: object) -> None:
    about = {"method": row.method, "method_challenge": row.pk, **more}
    audit_domain(row.domain, action, actor=actor, now=now, **about)
