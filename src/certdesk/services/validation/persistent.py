"""Persistent DNS records (BR 3.2.2.4.22): what is to be published, and the watcher that reads it repeatedly.

A record that is there keeps the domain proven, a few days at a time. One that has vanished is flagged at
once, people are told, and nothing is extended. One that can't be asked for is neither: it is tried again.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from django.db.models import F, QuerySet

from certdesk.dcv.base import Challenge, NotValidated, Outcome, Problem, Record
from certdesk.domain.actors import SYSTEM, Action, Actor
from certdesk.domain.errors import InvalidInput, InvariantViolated, NotAuthorized, RateLimited, StateConflict
from certdesk.domain.issuing.states import OrganisationId
from certdesk.domain.names.identifiers import is_ip_address
from certdesk.domain.rules import RuleId, in_force
from certdesk.domain.validation.deadlines import PERSISTENT_METHODS
from certdesk.domain.validation.evidence import Method
from certdesk.services.people.permissions import acting, refuse_withdrawn
from certdesk.services.system import runtime
from certdesk.services.validation.by_email import audit_domain, record_proof, tell_waiting
from certdesk.services.validation.by_publication import (
    LEASE,
    PAUSE,
    WITHDRAWN,
    Checked,
    Found,
    NotFoundYet,
    evidence_of,
    note_attempt,
    own_domain,
    wait_after,
)
from certdesk.services.validation.proof_checks import check_all, check_proof, proven
from certdesk.services.validation.publications import DnsRecord, persistent_record
from certdesk.store import jobs
from certdesk.store.db import write_transaction
from certdesk.store.models import Domain, PersistentRecord, ValidationRecord
from certdesk.store.selectors.facts import lock_organisation

log = structlog.get_logger()

GIVE_UP_AFTER = timedelta(days=30)  # a record that nobody has ever published
GONE_AFTER = 3  # looks in a row that could not be made: then it counts as missing as well
NOT_WATCHED = "We don’t watch this record. Start again."


def account_uri(slug: str) -> str:
    """What names an organisation in its records: stable while the address and the short name are."""
    return f"{runtime.current().base_url}/acme/organisations/{slug}"


def record_for(domain: Domain, *, wildcard: bool) -> DnsRecord:
    return persistent_record(
        adn=domain.adn,
        issuer=runtime.current().persistence.issuers[0],
        account_uri=account_uri(domain.organisation.slug),
        wildcard=wildcard,
    )


def record_of(domain_id: int) -> DnsRecord | None:
    """The record that is watched for a domain which the caller may see; None where none is."""
    row = _watched().filter(domain_id=domain_id).first()
    return record_for(row.domain, wildcard=row.wildcard) if row else None


def watch_record(*, actor: Actor, domain_id: int, wildcard: bool, now: datetime) -> None:
    """Looks for the domain's persistent record from now on; `wildcard`: also for all names below it.

    Raises InvalidInput where the method is not set up, NotFound, NotAuthorized.
    """
    domain = own_domain(actor, domain_id)
    if is_ip_address(domain.adn) or not runtime.current().offers(Method.DNS_PERSIST):
        raise InvalidInput("This way is not on offer.", {"method": "Choose one from the list."})
    if actor.user_id is None:
        raise InvariantViolated("a record is watched for a person")
    organisation_id = OrganisationId(domain.organisation_id)
    with write_transaction():
        lock_organisation(organisation_id)
        refuse_withdrawn(organisation_id, actor)
        PersistentRecord.objects.update_or_create(
            domain=domain,
            defaults={
                "adn": domain.adn,
                "wildcard": wildcard,
                "asked_by_id": actor.user_id,
                "created_at": now,
                "stopped_at": None,
                "looks": 0,
                "looked_at": None,
                "seen_at": None,
                "missing_since": None,
                "next_look_at": now,
            },
        )
        audit_domain(domain, "domain.persistent_watch", actor=actor, now=now, wildcard=wildcard)
        tell_waiting(organisation_id, now=now)


def stop_watching(*, actor: Actor, domain_id: int, now: datetime) -> None:
    """Stops looking for the record: what it has proven runs out by itself.

    Raises NotFound, NotAuthorized, StateConflict when nothing was watched.
    """
    domain = own_domain(actor, domain_id)
    with acting(actor, Action.DOMAIN_ASK, domain.organisation_id):
        stopped = PersistentRecord.objects.filter(domain=domain, stopped_at__isnull=True).update(
            stopped_at=now, next_look_at=None
        )
        if not stopped:
            raise StateConflict(NOT_WATCHED)
        audit_domain(domain, "domain.persistent_stop", actor=actor, now=now)
        tell_waiting(OrganisationId(domain.organisation_id), now=now)


def check_record_now(*, actor: Actor, domain_id: int, clock: Callable[[], datetime]) -> Checked:
    """Looks for the record at once.

    Raises NotFound, NotAuthorized, RateLimited within seconds of another look, StateConflict.
    """
    domain = own_domain(actor, domain_id)
    row = _watched().filter(domain=domain).first()
    if row is None:
        raise StateConflict(NOT_WATCHED)
    now = clock()
    if (row.looked_at is not None and row.looked_at > now - PAUSE) or not _claim(row, now=now):
        told = "It was looked at a moment ago. Try again in a few seconds."
        raise RateLimited(told, retry_after=int(PAUSE.total_seconds()))
    outcome = check_proof(challenge_of(row), clock=clock)
    with write_transaction():
        lock_organisation(OrganisationId(domain.organisation_id))
        return _record(row, outcome, actor=actor, now=clock())


def watch_due(*, clock: Callable[[], datetime], limit: int) -> int:
    """Looks at every record whose time has come, all at once; returns at how many."""
    now = clock()
    due = _due(now).order_by("next_look_at")
    with write_transaction():
        rows = [row for row in due[:limit] if _claim(row, now=now)]
    check_all(
        rows, challenge_of, lambda row, outcome: _record(row, outcome, actor=SYSTEM, now=clock()), clock=clock
    )
    return len(rows)


def any_due(*, now: datetime) -> bool:
    return _due(now).exists()


def challenge_of(row: PersistentRecord) -> Challenge:
    """What the validator is given: our names, the organisation's account, and whether all below is wanted."""
    return Challenge(
        method=Method.DNS_PERSIST_WILDCARD if row.wildcard else Method.DNS_PERSIST,
        adn=row.adn,
        expected="",
        wildcard=row.wildcard,
        account_uri=account_uri(row.domain.organisation.slug),
        issuers=runtime.current().persistence.issuers,
    )


def _watched() -> QuerySet[PersistentRecord]:
    return PersistentRecord.objects.filter(stopped_at__isnull=True).select_related(
        "domain__organisation", "asked_by"
    )


def _due(now: datetime) -> QuerySet[PersistentRecord]:
    return _watched().filter(next_look_at__lte=now, domain__organisation__is_active=True)


def _claim(row: PersistentRecord, *, now: datetime) -> bool:
    """Takes a look for oneself: of two at once one gets it."""
    with write_transaction():
        found = PersistentRecord.objects.filter(
            id=row.pk, stopped_at__isnull=True, looked_at=row.looked_at, next_look_at=row.next_look_at
        )
        return bool(found.update(looked_at=now, next_look_at=now + LEASE))


def _record(row: PersistentRecord, outcome: Outcome, *, actor: Actor, now: datetime) -> Checked:
    """In the caller's transaction, under the lock. Raises StateConflict before anything is written."""
    fresh = _watched().filter(id=row.pk, created_at=row.created_at).first()
    if fresh is None:
        raise StateConflict(NOT_WATCHED)
    if isinstance(outcome, NotValidated):
        # Nothing is extended. What was there before and is gone is flagged, and people are told, once.
        check_every, problem = runtime.current().persistence.check_every, outcome.problem
        could_not_ask = problem.code.startswith(("dcv.dns.", "dcv.failed", "dcv.unavailable"))
        unsure = could_not_ask and fresh.looks + 1 < GONE_AFTER
        vanished = fresh.seen_at is not None and fresh.missing_since is None and not unsure
        next_look: datetime | None = now + min(wait_after(fresh.looks), check_every)
        if fresh.seen_at is None and now - fresh.created_at > GIVE_UP_AFTER:
            next_look = None
        PersistentRecord.objects.filter(id=fresh.pk).update(
            looks=F("looks") + 1,
            next_look_at=next_look,
            missing_since=now if vanished else fresh.missing_since,
        )
        domain = fresh.domain
        note_attempt(domain, outcome, by=actor, challenge=None, now=now)
        if vanished:
            audit_domain(domain, "domain.persistent_vanished", actor=SYSTEM, now=now, problem=problem.code)
            jobs.enqueue("mail_vanished", due_at=now, domain_id=domain.pk, missing_since=now.isoformat())
            log.warning("dcv.persistent_vanished", domain=domain.pk, code=problem.code)
        return NotFoundYet(problem=problem, adn=fresh.adn, next_look_at=next_look)
    # Once it was seen, the record is the organisation's, and outlives whoever asked for it.
    asker = fresh.asked_by_id if fresh.seen_at is None else None
    try:
        refuse_withdrawn(fresh.domain.organisation_id, asker, actor)
    except NotAuthorized as withdrawn:
        if asker is None:
            raise
        # What is found for who may no longer ask proves nothing.
        PersistentRecord.objects.filter(id=row.pk).update(stopped_at=now, next_look_at=None)
        audit_domain(fresh.domain, "domain.persistent_stop", actor=SYSTEM, now=now, problem=WITHDRAWN)
        tell_waiting(OrganisationId(fresh.domain.organisation_id), now=now)
        problem = Problem(code=WITHDRAWN, detail=f"{withdrawn.detail} Start again.")
        return NotFoundYet(problem=problem, adn=row.adn, next_look_at=None)
    # A record without policy=wildcard is a narrower proof than was asked for, and a proof all the same.
    record = proven(outcome, challenge_of(fresh), allowed=PERSISTENT_METHODS)
    return _there(fresh, record, actor=actor, now=now)


def _there(row: PersistentRecord, record: Record, *, actor: Actor, now: datetime) -> Found:
    """Notes that the record was seen; the proof is written anew when half of it has run."""
    rt = runtime.current()
    if row.seen_at is None or row.missing_since is not None:
        audit_domain(row.domain, "domain.persistent_seen", actor=actor, now=now, method=record.method.value)
    PersistentRecord.objects.filter(id=row.pk).update(
        looks=0, seen_at=now, missing_since=None, next_look_at=now + rt.persistence.check_every
    )
    current = ValidationRecord.objects.filter(
        domain_id=row.domain_id, method=record.method, expires_at__gt=now
    )
    latest = current.order_by("-validated_at", "-id").first()
    # At half of the shorter of the two periods, neither kind of CA ever sees the proof run out.
    half = timedelta(days=min(rt.persistence.days, in_force(RuleId.PERSISTENT_DNS_REUSE, now).value)) / 2
    if latest is not None and row.missing_since is None and now - latest.validated_at < half:
        return Found(record_id=latest.pk, adn=row.adn)
    until = record.details.get("persist_until")  # the end that the record itself may set
    proof = record_proof(
        actor=actor,
        domain=row.domain,
        method=record.method,
        evidence=evidence_of(record, row),
        days=rt.persistence.days,
        until=datetime.fromisoformat(until) if isinstance(until, str) else None,
        now=now,
        noted={"persistent": row.pk},
    )
    return Found(record_id=proof.pk, adn=row.adn)
