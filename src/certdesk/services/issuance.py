"""Issuing: one numbered straight line, safe against a crash at every point (docs/issuance-cycle.md).

The intent is recorded before anything is signed or sent; signing and sending happen outside any
transaction; whatever comes back is recorded, and the request is `issued` only on a match (R36).
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from certdesk.backends.base import Backend, Finds, Prepares
from certdesk.domain.actors import SYSTEM
from certdesk.domain.certificates import (
    Accepted,
    Intent,
    Issued,
    Outcome,
    Refused,
    certificate_facts,
    compare,
)
from certdesk.domain.errors import BackendError, BackendRefused, OutcomeUnknown, StateConflict, Unavailable
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.policy import still_entitled
from certdesk.domain.policy_limits import CAA_UNKNOWN
from certdesk.domain.requests import Event, OrganisationId, RequestId, State
from certdesk.domain.waiting import dns_phrase, waiting_phrase
from certdesk.services import runtime
from certdesk.services.attempts import end_attempt, store_certificate
from certdesk.services.caa import CaaSeen, caa_of_request, record_caa
from certdesk.services.decisions import facts_of
from certdesk.services.intents import (
    LEASE,
    Claimed,
    claim_step,
    intent_of,
    prepared,
    record_intent,
    recorded_intent,
)
from certdesk.services.validation import await_validation
from certdesk.store.db import write_transaction
from certdesk.store.models import (
    Approval,
    AttemptOutcome,
    IssuanceAttempt,
    Request,
)
from certdesk.store.selectors.facts import lock_organisation, organisation_row
from certdesk.store.selectors.waiting import failing_at_dns_since, usual_issuing_time
from certdesk.store.transitions import Known, Step, advance, advance_through

log = structlog.get_logger()

Clock = Callable[[], datetime]

RETRY_FIRST, RETRY_MOST = timedelta(seconds=5), timedelta(minutes=15)
POLL_FIRST, POLL_MOST = timedelta(seconds=10), timedelta(minutes=15)


def issue(*, request_id: RequestId, clock: Clock) -> State:
    """Takes an accepted request to its certificate, or to whatever stands in the way.

    Raises StateConflict when the request is not accepted (somebody else has it).
    """
    # 1. What is to be signed: fixed and linted before anything is written.
    now = clock()
    request = Request.objects.select_related("organisation").get(id=request_id)
    if request.state != State.ACCEPTED or not request.csr_sha256:  # without a CSR, a client has to ask first
        raise StateConflict("The request is not waiting to be handed to the CA.")
    rt = runtime.current()
    backend = rt.backend(rt.default_backend)
    caa = caa_of_request(request=request, organisation=request.organisation, now=now)
    try:
        intent = prepared(backend, intent_of(request, backend, now=now))
    except BackendRefused as refused:
        return _refuse_unsent(request, refused.detail, caa, now=now)

    # 2. Check that it still may be, on the very row that the intent was made of; claim; record the intent.
    with write_transaction():
        lock_organisation(OrganisationId(request.organisation_id))
        # The time under the lock: a confirmation that came in between must not lie in our future.
        now = clock()
        record_caa(caa, organisation_id=request.organisation_id, request_id=request.pk)
        if obstacles := _obstacles(request, caa, now=now):
            return _held_up(request, obstacles, now=now)
        advance(
            request_id=request_id,
            event=Event.CLAIM,
            actor=SYSTEM,
            now=now,
            step=claim_step(backend, now=now),
            seen_version=request.version,
        )
        attempt = record_intent(request_id, intent, now=now)

    # 3. to 5. Outside any transaction: sign or send; then record what came.
    return _submit(attempt, intent, backend, clock=clock)


def finish(claimed: Claimed, *, clock: Clock) -> State:
    """Steps 3 to 5 for a request that was claimed in the transaction that made it (step 2)."""
    return _submit(claimed.attempt, claimed.intent, claimed.backend, known=claimed.known, clock=clock)


def drive(*, request_id: RequestId, clock: Clock) -> State | None:
    """Takes a request one step on from wherever a crash, a lost job or a slow CA has left it.

    Idempotent: doing it twice, or in two processes at once, is harmless. None when nothing was due.
    """
    state = State(Request.objects.values_list("state", flat=True).get(id=request_id))
    try:
        match state:
            case State.ACCEPTED:
                return issue(request_id=request_id, clock=clock)
            case State.SUBMITTING:
                return _resume(request_id, clock=clock)
            case State.SUBMITTED:
                return _poll(request_id, clock=clock)
            case _:
                return None
    except StateConflict:
        return None


def due_requests(*, now: datetime, limit: int = 20) -> list[RequestId]:
    """The requests that the reconcile tick has to look at, longest overdue first."""
    due = Request.objects.filter(next_attempt_at__lte=now).order_by("next_attempt_at")
    return [RequestId(number) for number in due.values_list("id", flat=True)[:limit]]


def postpone(*, request_id: RequestId, now: datetime) -> None:
    """Puts off a request that can't be driven at present, so that it does not hold up the others."""
    with write_transaction():
        Request.objects.filter(id=request_id, next_attempt_at__isnull=False).update(
            next_attempt_at=now + RETRY_MOST / 15
        )


def _obstacles(request: Request, caa: CaaSeen, *, now: datetime) -> tuple[Check, ...]:
    """What stands against signing now: changed content, refusals, lapsed validations, new reasons (W2)."""
    approval = Approval.objects.filter(request=request, verdict="approve").order_by("-id").first()
    if approval is None:
        return (
            Check(
                code="approval.missing",
                verdict=Verdict.MANUAL,
                message="Nobody has approved this request.",
                rule="W2",
            ),
        )
    organisation = organisation_row(OrganisationId(request.organisation_id))
    facts, decision = facts_of(request, organisation, caa=caa, now=now)
    # The intent takes the names from their column, the approval is about the CSR: the two have to agree.
    approved = approval.content_digest if tuple(request.names) == facts.names else ""
    return still_entitled(decision, approved_digest=approved, waived=approval.waived)


def _held_up(request: Request, obstacles: tuple[Check, ...], *, now: datetime) -> State:
    """What may come right by itself is waited for; anything else goes back to a person."""
    unknown = tuple(check for check in obstacles if check.code == CAA_UNKNOWN)
    pending = tuple(check for check in obstacles if check.verdict is Verdict.PENDING)
    if len(unknown) + len(pending) < len(obstacles):
        return _refer(RequestId(request.pk), obstacles, now=now)
    return await_validation(request, now=now) if pending else _await_caa(request, unknown, now=now)


def _await_caa(request: Request, unknown: tuple[Check, ...], *, now: datetime) -> State:
    """The DNS has not said whether the CA may: asked again, later and later, without end."""
    told = " ".join(check.message for check in unknown)
    since = failing_at_dns_since(request_id=request.pk, accepted_at=request.changed_at) or now
    Request.objects.filter(id=request.pk, state=State.ACCEPTED, version=request.version).update(
        next_attempt_at=now + _between(RETRY_FIRST, (now - request.changed_at) / 4, RETRY_MOST),
        detail=f"{dns_phrase(elapsed=now - since, ra=runtime.current().rules.ra)} {told}",
    )
    return State.ACCEPTED


def _refer(request_id: RequestId, obstacles: tuple[Check, ...], *, now: datetime) -> State:
    reasons = [check.message for check in obstacles]
    return advance(
        request_id=request_id,
        event=Event.REFER,
        actor=SYSTEM,
        now=now,
        step=Step(
            detail=" ".join(reasons),
            note="\n".join(reasons),
            data={"codes": sorted({c.code for c in obstacles})},
        ),
    )


def _refuse_unsent(request: Request, reason: str, caa: CaaSeen, *, now: datetime) -> State:
    """The CA's own limits, or lint, stopped it before anything was signed or sent.

    What would not have been signed anyway goes back to a person instead, as in step 2.
    """
    request_id = RequestId(request.pk)
    steps = ((Event.CLAIM, Step()), (Event.CA_REFUSE, Step(detail=reason, note=reason)))
    with write_transaction():
        lock_organisation(OrganisationId(request.organisation_id))
        record_caa(caa, organisation_id=request.organisation_id, request_id=request.pk)
        if obstacles := _obstacles(request, caa, now=now):
            return _refer(request_id, obstacles, now=now)
        return advance_through(request_id=request_id, steps=steps, actor=SYSTEM, now=now)


def _submit(
    attempt: IssuanceAttempt, intent: Intent, backend: Backend, *, known: Known | None = None, clock: Clock
) -> State:
    try:
        outcome = backend.submit(intent)
    except Unavailable as error:
        return _release(attempt, error, now=clock())
    except BackendRefused as error:
        outcome = Refused(reason=error.detail)
    except BackendError as error:
        # OutcomeUnknown, or a CA that is set up wrongly: it may have acted, so the attempt stays open.
        return _leave_open(attempt, error, now=clock())
    except Exception:  # plug-in boundary: nobody knows how far it got, so the attempt stays open as well
        log.exception("issuance.submit_broke", request=attempt.request_id, backend=backend.name)
        return _leave_open(attempt, OutcomeUnknown("The connection to the CA broke."), now=clock())
    return _record(attempt, intent, outcome, backend, known=known, now=clock())


def _resume(request_id: RequestId, *, clock: Clock) -> State:
    """Finishes an attempt whose outcome is not known: looks it up, or asks again for the very same thing."""
    attempt = _open_attempt(request_id, lease=LEASE, now=clock())
    intent, backend = recorded_intent(attempt), runtime.current().backend(attempt.backend)
    if isinstance(backend, Finds):
        try:
            outcome = backend.find(attempt.idempotency_key)
        except BackendRefused as error:
            outcome = Refused(reason=error.detail)
        except BackendError as error:
            return _leave_open(attempt, error, now=clock())
        if outcome is not None:
            return _record(attempt, intent, outcome, backend, now=clock())
    elif not isinstance(backend, Prepares):
        unknown = OutcomeUnknown(
            "The CA can't tell what became of this; an operator has to look it up there."
        )
        return _leave_open(attempt, unknown, now=clock())
    return _submit(attempt, intent, backend, clock=clock)


def _poll(request_id: RequestId, *, clock: Clock) -> State:
    now = clock()
    attempt = _open_attempt(request_id, lease=LEASE, now=now)
    backend = runtime.current().backend(attempt.backend)
    try:
        outcome = backend.poll(attempt.handle)
    except BackendRefused as error:
        outcome = Refused(reason=error.detail)
    except BackendError as error:
        log.warning("issuance.poll_failed", request=request_id, code=error.code)
        outcome = Accepted(handle=attempt.handle)
    if isinstance(outcome, Accepted):
        waited = now - (attempt.acknowledged_at or now)
        _look_again(
            request_id,
            State.SUBMITTED,
            at=now + _between(POLL_FIRST, waited / 4, POLL_MOST),
            detail=_at_work(attempt, backend, attempt.handle, now=now),
        )
        return State.SUBMITTED
    return _record(attempt, recorded_intent(attempt), outcome, backend, now=clock())


def _open_attempt(request_id: RequestId, *, lease: timedelta, now: datetime) -> IssuanceAttempt:
    """The open attempt, with its lease renewed so that no other process resumes it as well."""
    seen = Request.objects.values_list("next_attempt_at", flat=True).get(id=request_id)
    if seen is None or seen > now:
        raise StateConflict("Somebody else is at it.")
    with write_transaction():
        renewed = Request.objects.filter(id=request_id, next_attempt_at=seen).update(
            next_attempt_at=now + lease
        )
    if not renewed:
        raise StateConflict("Somebody else is at it.")
    return IssuanceAttempt.objects.get(request_id=request_id, outcome=AttemptOutcome.OPEN)


def _look_again(request_id: RequestId, state: State, *, at: datetime, detail: str) -> None:
    with write_transaction():
        Request.objects.filter(id=request_id, state=state).update(next_attempt_at=at, detail=detail)


def _at_work(attempt: IssuanceAttempt, backend: Backend, handle: str, *, now: datetime) -> str:
    """The second line while the CA takes its time."""
    return f"{backend.title} is working on it (its number: {handle}). {_waiting(attempt, now=now)}"


def _waiting(attempt: IssuanceAttempt, *, now: datetime) -> str:
    usual = usual_issuing_time(backend=attempt.backend, now=now)
    return waiting_phrase(elapsed=now - attempt.created_at, usual=usual)


def _release(attempt: IssuanceAttempt, error: Unavailable, *, now: datetime) -> State:
    """Nothing reached the CA: the request goes back and is tried again, later and later."""
    tries = Request.objects.values_list("attempts", flat=True).get(id=attempt.request_id)
    again = now + _between(RETRY_FIRST, RETRY_FIRST * 2 ** min(max(tries - 1, 0), 10), RETRY_MOST)
    with write_transaction():
        end_attempt(attempt, AttemptOutcome.RELEASED, reason=error.detail, now=now)
        return advance(
            request_id=RequestId(attempt.request_id),
            event=Event.RELEASE,
            actor=SYSTEM,
            now=now,
            step=Step(detail=f"The CA can't be reached; trying again. {error.detail}", next_attempt_at=again),
        )


def _leave_open(attempt: IssuanceAttempt, error: BackendError, *, now: datetime) -> State:
    age = now - attempt.created_at
    log.error("issuance.outcome_unknown", request=attempt.request_id, code=error.code, age=str(age))
    _look_again(
        RequestId(attempt.request_id),
        State.SUBMITTING,
        at=now + _between(LEASE, age, RETRY_MOST),
        detail="The CA has not said what became of it, and is being asked. " + _waiting(attempt, now=now),
    )
    return State.SUBMITTING


def _record(
    attempt: IssuanceAttempt,
    intent: Intent,
    outcome: Outcome,
    backend: Backend,
    *,
    known: Known | None = None,
    now: datetime,
) -> State:
    """4. Compare; 5. record whatever came, in one transaction."""
    request_id = RequestId(attempt.request_id)
    match outcome:
        case Issued():
            differences = [c for c in compare(outcome, intent) if c.verdict is Verdict.REFUSE]
            if differences:
                return _record_mismatch(attempt, outcome, differences, now=now)
            return _record_certificate(attempt, outcome, backend, known=known, now=now)
        case Accepted(handle=handle):
            with write_transaction():
                IssuanceAttempt.objects.filter(id=attempt.pk).update(handle=handle, acknowledged_at=now)
                return advance(
                    request_id=request_id,
                    event=Event.CA_ACCEPT,
                    actor=SYSTEM,
                    now=now,
                    step=Step(
                        detail=_at_work(attempt, backend, handle, now=now),
                        next_attempt_at=now + POLL_FIRST,
                        data={"handle": handle},
                    ),
                )
        case Refused(reason=reason):
            with write_transaction():
                end_attempt(attempt, AttemptOutcome.REFUSED, reason=reason, now=now)
                return advance(
                    request_id=request_id,
                    event=Event.CA_REFUSE,
                    actor=SYSTEM,
                    now=now,
                    step=Step(detail=reason, note=reason),
                )


def _record_certificate(
    attempt: IssuanceAttempt, issued: Issued, backend: Backend, *, known: Known | None, now: datetime
) -> State:
    request_id = RequestId(attempt.request_id)
    facts = certificate_facts(issued.chain[0])
    with write_transaction():
        end_attempt(attempt, AttemptOutcome.ISSUED, now=now)
        store_certificate(attempt, issued, facts, now=now)
        data: dict[str, object] = {
            "serial": facts.serial_hex,
            "sha256": facts.sha256,
            "backend": attempt.backend,
        }
        issued_step = (Event.ISSUE, Step(detail=f"Valid until {facts.not_after:%-d %B %Y}.", data=data))
        accepted_step = (Event.CA_ACCEPT, Step(detail=f"{backend.title} has accepted it."))
        # A CA that answers at once acknowledges and issues in one breath; the history shows both.
        acknowledged = attempt.acknowledged_at is not None
        steps = (issued_step,) if acknowledged else (accepted_step, issued_step)
        return advance_through(request_id=request_id, steps=steps, actor=SYSTEM, known=known, now=now)


def _record_mismatch(
    attempt: IssuanceAttempt, issued: Issued, differences: list[Check], *, now: datetime
) -> State:
    """The CA signed something else: kept for revocation, never offered for download (R36)."""
    reason = "The CA's certificate is not what was asked for: " + " ".join(c.message for c in differences)
    log.error("issuance.mismatch", request=attempt.request_id, codes=[c.code for c in differences])
    with write_transaction():
        end_attempt(
            attempt,
            AttemptOutcome.MISMATCH,
            reason=reason,
            received=issued.chain[0] if issued.chain else None,
            now=now,
        )
        return advance(
            request_id=RequestId(attempt.request_id),
            event=Event.CA_REFUSE,
            actor=SYSTEM,
            now=now,
            step=Step(detail=reason, note=reason, data={"codes": [c.code for c in differences]}),
        )


def _between(least: timedelta, value: timedelta, most: timedelta) -> timedelta:
    return min(max(least, value), most)
