"""The second half of an ACME order's issuing cycle: sign or send, compare, record (docs/issuance-cycle.md).

The same steps as for a request's own CSR. The order is the durable row that drives it on after a crash; its
intent was recorded by `acme_finalize`. No policy is decided here.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from certdesk.backends.base import Backend, Finds, Prepares
from certdesk.domain.acme_problems import ProblemType, problem_json
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
from certdesk.domain.errors import (
    BackendError,
    BackendRefused,
    InvariantViolated,
    OutcomeUnknown,
    StateConflict,
)
from certdesk.domain.findings import Verdict
from certdesk.domain.requests import Event, OrganisationId, RequestId, State
from certdesk.services import runtime
from certdesk.services.acme_accounts import actor_of
from certdesk.services.acme_orders import note_problem
from certdesk.services.attempts import end_attempt, store_certificate
from certdesk.services.intents import LEASE, recorded_intent
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import (
    AcmeOrder,
    AttemptOutcome,
    IssuanceAttempt,
)
from certdesk.store.prepared import Prepared, Swap
from certdesk.store.selectors.facts import lock_organisation
from certdesk.store.transitions import Change, Step, advance_through, standing, write_history

log = structlog.get_logger()

Clock = Callable[[], datetime]

RETRY_FIRST, RETRY_MOST = timedelta(seconds=5), timedelta(minutes=15)
#: A CA that has not issued by then has not issued: the client orders again.
GIVE_UP_AFTER = timedelta(days=2)
_CERTIFY = Swap(AcmeOrder, where=("id",), to=("certificate", "next_attempt_at"))
_ORDER = Prepared(
    lambda number: AcmeOrder.objects.select_related("account__credential").filter(id=number), int
)


def complete(attempt: IssuanceAttempt, intent: Intent, backend: Backend, *, clock: Clock) -> None:
    """Has the CA sign, outside any transaction, and records what came; the tick drives on what is open."""
    try:
        _submit(attempt, intent, backend, clock=clock)
    except StateConflict:
        log.warning("acme.completed_elsewhere", order=_order_id(attempt))


def due_orders(*, now: datetime, limit: int = 20) -> list[int]:
    """The orders that the worker's tick has to look at, longest overdue first."""
    due = AcmeOrder.objects.filter(next_attempt_at__lte=now).order_by("next_attempt_at")
    return list(due.values_list("id", flat=True)[:limit])


def drive_order(*, order_id: int, clock: Clock) -> None:
    """Takes an order one step on from wherever a crash or a slow CA has left it. Idempotent."""
    now = clock()
    seen = AcmeOrder.objects.filter(id=order_id).values_list("next_attempt_at", flat=True).first()
    if seen is None or seen > now:
        return
    with write_transaction():
        leased = AcmeOrder.objects.filter(id=order_id, next_attempt_at=seen).update(
            next_attempt_at=now + LEASE
        )
    if not leased:
        return
    attempt = IssuanceAttempt.objects.filter(order_id=order_id, outcome=AttemptOutcome.OPEN).first()
    if attempt is None:
        _look_again(order_id, at=None)
        return
    if now - attempt.created_at > GIVE_UP_AFTER:
        late = Refused(reason="It has not issued in time.")
        _record(attempt, recorded_intent(attempt), late, now=now)
        return
    _resume(attempt, clock=clock)


def postpone_order(*, order_id: int, now: datetime) -> None:
    """Puts off an order that can't be driven at present, so that it does not hold up the others."""
    _look_again(order_id, at=now + timedelta(minutes=1))


def _submit(attempt: IssuanceAttempt, intent: Intent, backend: Backend, *, clock: Clock) -> None:
    try:
        outcome = backend.submit(intent)
    except BackendRefused as error:
        outcome = Refused(reason=error.detail)
    except BackendError as error:
        # Nothing reached it, or nobody knows: the attempt stays open and the very same thing is asked again.
        _wait(attempt, error, now=clock())
        return
    except Exception:  # plug-in boundary: nobody knows how far it got, so the attempt stays open as well
        log.exception("acme.submit_broke", order=_order_id(attempt), backend=backend.name)
        _wait(attempt, OutcomeUnknown("The connection to the CA broke."), now=clock())
        return
    _record(attempt, intent, outcome, now=clock())


def _resume(attempt: IssuanceAttempt, *, clock: Clock) -> None:
    """Polls what a CA has accepted, and finds out what became of anything else."""
    intent, backend = recorded_intent(attempt), runtime.current().backend(attempt.backend)
    try:
        if attempt.handle:
            _record(attempt, intent, backend.poll(attempt.handle), now=clock())
            return
        if isinstance(backend, Finds) and (found := backend.find(attempt.idempotency_key)) is not None:
            _record(attempt, intent, found, now=clock())
            return
    except BackendRefused as error:
        _record(attempt, intent, Refused(reason=error.detail), now=clock())
        return
    except BackendError as error:
        _wait(attempt, error, now=clock())
        return
    if isinstance(backend, (Finds, Prepares)):
        _submit(attempt, intent, backend, clock=clock)
        return
    _wait(attempt, OutcomeUnknown("The CA can't tell what became of this."), now=clock())


def _record(attempt: IssuanceAttempt, intent: Intent, outcome: Outcome, *, now: datetime) -> None:
    """Compares, and records whatever came, in one transaction."""
    match outcome:
        case Issued(chain=chain):
            differences = [check for check in compare(outcome, intent) if check.verdict is Verdict.REFUSE]
            if not differences:
                _record_certificate(attempt, outcome, now=now)
                return
            log.error("acme.mismatch", order=_order_id(attempt), codes=[check.code for check in differences])
            reason = "The CA's certificate is not what was asked for, and is kept back."
            received = chain[0] if chain else None
            _record_failure(attempt, AttemptOutcome.MISMATCH, reason, received=received, now=now)
        case Accepted(handle=handle):
            waited = now - (attempt.acknowledged_at or now)
            with write_transaction():
                IssuanceAttempt.objects.filter(id=attempt.pk).update(
                    handle=handle, acknowledged_at=attempt.acknowledged_at or now
                )
                _look_again(_order_id(attempt), at=now + _between(RETRY_FIRST, waited / 4, RETRY_MOST))
        case Refused(reason=reason):
            _record_failure(attempt, AttemptOutcome.REFUSED, f"The CA refused: {reason}", now=now)


def _record_certificate(attempt: IssuanceAttempt, issued: Issued, *, now: datetime) -> None:
    facts = certificate_facts(issued.chain[0])
    order = _order(attempt)
    actor = actor_of(order.account)
    with write_transaction():
        lock_organisation(OrganisationId(order.organisation_id))
        end_attempt(attempt, AttemptOutcome.ISSUED, now=now)
        certificate = store_certificate(attempt, issued, facts, now=now)
        _CERTIFY((order.pk,), (certificate.pk, None))
        step = Step(
            detail=f"Valid until {facts.not_after:%-d %B %Y}.",
            note=f"For {actor.label}.",
            data={
                "serial": facts.serial_hex,
                "sha256": facts.sha256,
                "backend": attempt.backend,
                "order": order.pk,
            },
        )
        _write_issued(attempt, step, organisation_id=order.organisation_id, actor=actor, now=now)


def _write_issued(
    attempt: IssuanceAttempt, step: Step, *, organisation_id: int, actor: Actor, now: datetime
) -> None:
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
        advance_through(request_id=request_id, steps=steps, actor=actor, now=now, notify=False, known=known)
        return
    change = Change(
        request_id=request_id,
        organisation_id=organisation_id,
        event=Event.REISSUE,
        old=state,
        new=state,
        step=step,
    )
    write_history(changes=[change], actor=actor, now=now, notify=False)


def _record_failure(
    attempt: IssuanceAttempt,
    outcome: AttemptOutcome,
    reason: str,
    *,
    received: bytes | None = None,
    now: datetime,
) -> None:
    """The order ends here; the request stays what it is, for the next order."""
    order = _order(attempt)
    with write_transaction():
        end_attempt(attempt, outcome, reason=reason, received=received, now=now)
        problem = problem_json(ProblemType.SERVER_INTERNAL, reason)
        AcmeOrder.objects.filter(id=order.pk).update(problem=problem, next_attempt_at=None)
        note_problem(order.account, reason, now=now)
        audit.record(
            actor=actor_of(order.account),
            action="acme_order.fail",
            object_type="acme_order",
            object_id=order.pk,
            organisation_id=order.organisation_id,
            now=now,
            data={"outcome": outcome.value, "reason": reason, "request": attempt.request_id},
        )


def _wait(attempt: IssuanceAttempt, error: BackendError, *, now: datetime) -> None:
    age = now - attempt.created_at
    log.error("acme.ca_waits", order=_order_id(attempt), code=error.code, age=str(age))
    _look_again(_order_id(attempt), at=now + _between(RETRY_FIRST, age, RETRY_MOST))


def _look_again(order_id: int, *, at: datetime | None) -> None:
    with write_transaction():
        AcmeOrder.objects.filter(id=order_id, certificate__isnull=True, problem__isnull=True).update(
            next_attempt_at=at
        )


def _order(attempt: IssuanceAttempt) -> AcmeOrder:
    """The order that an attempt is for, with the account that made it."""
    found = _ORDER.first(_order_id(attempt))
    if found is None:
        raise InvariantViolated("an attempt outlived its order")
    return found


def _order_id(attempt: IssuanceAttempt) -> int:
    if attempt.order_id is None:
        raise InvariantViolated("an attempt without an order came to the issuing of orders")
    return attempt.order_id


def _between(least: timedelta, value: timedelta, most: timedelta) -> timedelta:
    return min(max(least, value), most)
