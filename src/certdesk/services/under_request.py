"""The second half of issuing under a standing request: sign, compare, record (docs/issuance-cycle.md).

For an ACME order's CSR and for another certificate that people ask for: each has a durable row, the holder,
that drives it on after a crash. The intent was recorded by whoever claimed it. No policy is decided here.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from certdesk.backends.base import Backend, Finds, Prepares
from certdesk.domain.actors import Actor
from certdesk.domain.certificates import (
    Accepted,
    Intent,
    Issued,
    Outcome,
    Refused,
    certificate_facts,
    compare,
)
from certdesk.domain.errors import BackendError, BackendRefused, OutcomeUnknown, StateConflict
from certdesk.domain.findings import Verdict
from certdesk.domain.requests import Event, OrganisationId, RequestId, State
from certdesk.services import runtime
from certdesk.services.attempts import end_attempt, store_certificate
from certdesk.services.intents import recorded_intent
from certdesk.store.db import write_transaction
from certdesk.store.models import AttemptOutcome, IssuanceAttempt
from certdesk.store.selectors.facts import lock_organisation
from certdesk.store.transitions import Change, Step, advance_through, standing, write_history

log = structlog.get_logger()

Clock = Callable[[], datetime]

RETRY_FIRST, RETRY_MOST = timedelta(seconds=5), timedelta(minutes=15)
#: A CA that has not issued by then has not issued: whoever asked asks again.
GIVE_UP_AFTER = timedelta(days=2)


class Holder(Protocol):
    """The row that an attempt belongs to. Everything but `look_again` runs in the caller's transaction."""

    @property
    def number(self) -> int:
        """Its number, for the log and the history."""
        ...

    @property
    def kind(self) -> str:
        """What it is, in the same places: `order` or `reissue`."""
        ...

    @property
    def organisation_id(self) -> int:
        """Whose it is."""
        ...

    @property
    def actor(self) -> Actor:
        """Who asked."""
        ...

    def look_again(self, *, at: datetime | None) -> None:
        """Says when the tick is to look at it, unless it has ended by now."""
        ...

    def certified(self, *, certificate_id: int) -> None:
        """Ends it with its certificate."""
        ...

    def failed(self, *, outcome: AttemptOutcome, reason: str, now: datetime) -> None:
        """Ends it without one, with its audit row."""
        ...


def complete(
    attempt: IssuanceAttempt, intent: Intent, backend: Backend, *, holder: Holder, clock: Clock
) -> None:
    """Has the CA sign, outside any transaction, and records what came; the tick drives on what is open."""
    try:
        _submit(attempt, intent, backend, holder=holder, clock=clock)
    except StateConflict:
        log.warning("under_request.completed_elsewhere", **{holder.kind: holder.number})


def resume(attempt: IssuanceAttempt, *, holder: Holder, clock: Clock) -> None:
    """Takes an open attempt on: polls what a CA has accepted, finds out what became of anything else.

    After two days it ends without a certificate. Raises StateConflict if somebody else was faster.
    """
    now, intent = clock(), recorded_intent(attempt)
    if now - attempt.created_at > GIVE_UP_AFTER:
        _record(attempt, intent, Refused(reason="It has not issued in time."), holder=holder, now=now)
        return
    backend = runtime.current().backend(attempt.backend)
    try:
        found = _asked_about(attempt, backend)
    except BackendRefused as error:
        found = Refused(reason=error.detail)
    except BackendError as error:
        _wait(attempt, error, holder=holder, now=clock())
        return
    if found is not None:
        _record(attempt, intent, found, holder=holder, now=clock())
    elif isinstance(backend, (Finds, Prepares)):
        _submit(attempt, intent, backend, holder=holder, clock=clock)
    else:
        unknown = OutcomeUnknown("The CA can't tell what became of this.")
        _wait(attempt, unknown, holder=holder, now=clock())


def _asked_about(attempt: IssuanceAttempt, backend: Backend) -> Outcome | None:
    """What the CA says about an attempt that may have reached it; None where it knows of nothing."""
    if attempt.handle:
        return backend.poll(attempt.handle)
    return backend.find(attempt.idempotency_key) if isinstance(backend, Finds) else None


def _submit(
    attempt: IssuanceAttempt, intent: Intent, backend: Backend, *, holder: Holder, clock: Clock
) -> None:
    try:
        outcome = backend.submit(intent)
    except BackendRefused as error:
        outcome = Refused(reason=error.detail)
    except BackendError as error:
        # Nothing reached it, or nobody knows: the attempt stays open and the very same thing is asked again.
        _wait(attempt, error, holder=holder, now=clock())
        return
    except Exception:  # plug-in boundary: nobody knows how far it got, so the attempt stays open as well
        log.exception("under_request.submit_broke", backend=backend.name, **{holder.kind: holder.number})
        broke = OutcomeUnknown("The connection to the CA broke.")
        _wait(attempt, broke, holder=holder, now=clock())
        return
    _record(attempt, intent, outcome, holder=holder, now=clock())


def _record(
    attempt: IssuanceAttempt, intent: Intent, outcome: Outcome, *, holder: Holder, now: datetime
) -> None:
    """Compares, and records whatever came, in one transaction."""
    match outcome:
        case Issued(chain=chain):
            differences = [check for check in compare(outcome, intent) if check.verdict is Verdict.REFUSE]
            if not differences:
                _record_certificate(attempt, outcome, holder=holder, now=now)
                return
            codes = [check.code for check in differences]
            log.error("under_request.mismatch", codes=codes, **{holder.kind: holder.number})
            reason = "The CA's certificate is not what was asked for, and is kept back."
            received = chain[0] if chain else None
            _record_failure(
                attempt, AttemptOutcome.MISMATCH, reason, received=received, holder=holder, now=now
            )
        case Accepted(handle=handle):
            waited = now - (attempt.acknowledged_at or now)
            with write_transaction():
                IssuanceAttempt.objects.filter(id=attempt.pk).update(
                    handle=handle, acknowledged_at=attempt.acknowledged_at or now
                )
                holder.look_again(at=now + _between(RETRY_FIRST, waited / 4, RETRY_MOST))
        case Refused(reason=reason):
            _record_failure(
                attempt, AttemptOutcome.REFUSED, f"The CA refused: {reason}", holder=holder, now=now
            )


def _record_certificate(attempt: IssuanceAttempt, issued: Issued, *, holder: Holder, now: datetime) -> None:
    facts = certificate_facts(issued.chain[0])
    with write_transaction():
        lock_organisation(OrganisationId(holder.organisation_id))
        end_attempt(attempt, AttemptOutcome.ISSUED, now=now)
        certificate = store_certificate(attempt, issued, facts, now=now)
        holder.certified(certificate_id=certificate.pk)
        step = Step(
            detail=f"Valid until {facts.not_after:%-d %B %Y}.",
            note=f"For {holder.actor.label}.",
            data={
                "serial": facts.serial_hex,
                "sha256": facts.sha256,
                "backend": attempt.backend,
                holder.kind: holder.number,
            },
        )
        _write_issued(attempt, step, holder=holder, now=now)


def _write_issued(attempt: IssuanceAttempt, step: Step, *, holder: Holder, now: datetime) -> None:
    """The first certificate takes the request to “available”; each later one is a line of its history."""
    request_id = RequestId(attempt.request_id)
    known = standing(request_id)
    state = known.state
    if state is State.ACCEPTED:
        title = runtime.current().backend(attempt.backend).title
        steps = (
            (Event.CLAIM, Step(detail=f"Handed to {title}.")),
            (Event.CA_ACCEPT, Step(detail=f"{title} has accepted it.")),
            (Event.ISSUE, step),
        )
        advance_through(
            request_id=request_id, steps=steps, actor=holder.actor, now=now, notify=False, known=known
        )
        return
    change = Change(
        request_id=request_id,
        organisation_id=holder.organisation_id,
        event=Event.REISSUE,
        old=state,
        new=state,
        step=step,
    )
    write_history(changes=[change], actor=holder.actor, now=now, notify=False)


def _record_failure(
    attempt: IssuanceAttempt,
    outcome: AttemptOutcome,
    reason: str,
    *,
    received: bytes | None = None,
    holder: Holder,
    now: datetime,
) -> None:
    """The holder ends here; the request stays what it is, for the next one."""
    with write_transaction():
        end_attempt(attempt, outcome, reason=reason, received=received, now=now)
        holder.failed(outcome=outcome, reason=reason, now=now)


def _wait(attempt: IssuanceAttempt, error: BackendError, *, holder: Holder, now: datetime) -> None:
    age = now - attempt.created_at
    log.error("under_request.ca_waits", code=error.code, age=str(age), **{holder.kind: holder.number})
    holder.look_again(at=now + _between(RETRY_FIRST, age, RETRY_MOST))


def _between(least: timedelta, value: timedelta, most: timedelta) -> timedelta:
    return min(max(least, value), most)
