"""The one way to issue: an issuance's steps from a CSR to a certificate (docs/issuance-cycle.md).

The same for portal, REST, ACME and renewal. The intent is recorded before anything is signed or sent, signing
and sending happen outside any transaction, and whatever comes back is recorded. A permission is judged under
the lock each time it is used: before the claim, before anything is sent a second time, and when it arrives.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from certdesk.backends.base import Backend, Finds, Prepares
from certdesk.domain.actors import SYSTEM, Actor
from certdesk.domain.errors import BackendError, BackendRefused, OutcomeUnknown, StateConflict, Unavailable
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.issuing.certificates import (
    Absent,
    Accepted,
    Intent,
    Issued,
    Outcome,
    Refused,
    certificate_facts,
    compare,
)
from certdesk.domain.issuing.states import (
    DONE,
    Event,
    IssuanceId,
    OrganisationId,
    RequestId,
    State,
    Status,
    Work,
)
from certdesk.domain.issuing.waiting import dns_phrase, waiting_phrase
from certdesk.domain.policy.limits import CAA_UNKNOWN
from certdesk.services.acme.addresses import account_url
from certdesk.services.issuance.caa import known_caa, record_caa
from certdesk.services.issuance.health import HEALTH
from certdesk.services.issuance.intents import (
    LEASE,
    NOT_IN_TIME,
    claim_step,
    claimed,
    for_whom,
    kept_csr,
    lock_issuance,
    outrun,
    patience,
    prepared,
    record_again,
    recorded_intent,
    refuse_stopped,
    with_replaced,
)
from certdesk.services.issuance.kept import chain_sha256, end_order, follow_up, is_kept, keep, withhold
from certdesk.services.requests.entitlements import (
    NOT_ALLOWED,
    issuance_obstacles,
    issuance_subject,
    may_have_changed,
    standing_of,
)
from certdesk.services.requests.preflight import ACME, intent_of
from certdesk.services.system import runtime
from certdesk.services.validation.by_email import second_line
from certdesk.store.db import write_transaction
from certdesk.store.models import Issuance, Request
from certdesk.store.selectors.facts import adns_of
from certdesk.store.selectors.waiting import failing_at_dns_since, usual_issuing_time
from certdesk.store.sql import arrival_now, request_now
from certdesk.store.transitions import Standing, Step, advance, advance_issuance

log = structlog.get_logger()

Clock = Callable[[], datetime]

RETRY_FIRST, RETRY_MOST = timedelta(seconds=5), timedelta(minutes=15)
POLL_FIRST = timedelta(seconds=10)
#: What was judged longer ago than this is judged again when the certificate comes, else what may differ.
A_MOMENT = timedelta(seconds=1)
#: What was looked at when it was asked for. That it has changed since takes no permission back.
_OF_THE_ASKING = ("caa.", "request.", "certificate.")
#: A released issuance is judged again, perhaps for another CA: what was to be sent is dropped.
_NO_INTENT = {"backend": "", "intent_key": None, "serial": None, "tbs": None, "handle": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """An issuance that was claimed in the transaction that made it (steps 1 and 2), ready to be sent."""

    issuance: Issuance
    intent: Intent
    backend: Backend


def issue(*, issuance_id: IssuanceId, clock: Clock, already: Claimed | Issued | None = None) -> Work:
    """Takes an issuance as far as it can go now: to its certificate, or to what stands in the way.

    With `already` it begins at step 3, or at 4 with what the CA has issued for it. Safe to call again at any
    time, by any number of processes: raises StateConflict when nothing is to be done, or another does it.
    """
    is_repeated = False
    if isinstance(already, Claimed):
        issuance, intent, backend = already.issuance, already.intent, already.backend
    else:
        # 1. Look, outside any transaction. What was claimed before may have reached the CA, which is asked.
        now = clock()
        issuance = _taken(issuance_id, is_sent=already is not None, now=now)
        request, rt, refused = issuance.request, runtime.current(), ""
        recorded = None
        if issuance.state != Work.WAITING:
            backend = rt.backend(issuance.backend)
            recorded = recorded_intent(issuance, server_software=request.server_software)
            found = already or _answer(backend, lambda: _asked_again(backend, recorded, issuance))
            if _is_late(issuance, now=now) and not isinstance(found, (Issued, Refused, Unavailable)):
                found = Refused(reason=NOT_IN_TIME)
            if not isinstance(found, Absent):
                return _record(issuance, recorded, found, backend, clock=clock)

        # The CA has nothing of it. What CAA says, and what would be signed: fixed and linted.
        caa = known_caa(
            request_id=request.pk,
            organisation=issuance.organisation,
            profile_id=request.profile_id,
            names=issuance.names,
            account_uri=account_url(issuance.order.account_id) if issuance.order else "",
            now=now,
        )
        csr, is_repeated = kept_csr(issuance), recorded is not None
        subject = issuance_subject(issuance, issuance.organisation, csr)
        intent = recorded or intent_of(subject, now=now)
        backend = rt.backend(intent.backend)
        try:
            refuse_stopped(intent)
            intent = recorded or prepared(backend, intent)
        except BackendRefused as error:  # the CA's own limits, or lint, before anything is signed
            refused = error.detail
        except Unavailable as error:  # nothing was sent; an operator has stopped issuing, for instance
            waited = now - (issuance.claimed_at or issuance.created_at)
            _wait(issuance, at=now + _between(RETRY_FIRST, waited / 4, RETRY_MOST), line=error.detail)
            return Work(issuance.state)

        # 2. Judge, under the lock, everything that it rests on; claim by compare-and-swap; record the intent.
        with write_transaction():
            lock_issuance(issuance)
            # The time under the lock: a confirmation that came in between must not lie in our future.
            now = clock()
            refuse_stopped(intent)
            record_caa(caa, organisation_id=issuance.organisation_id, request_id=request.pk)
            request = issuance.request = request_now(request.pk)
            if request.state == State.WAITING_FOR_APPROVAL:
                raise StateConflict("An officer has to decide first.")  # another worker has just referred it
            first = _is_first(issuance, request.status)
            if against := issuance_obstacles(issuance, intent, csr, caa=caa.answers, is_first=first, now=now):
                return _held_up(issuance, request, against, now=now)
            if refused:  # claimed and refused in one step: nothing was sent
                claim = (Event.CLAIM, claim_step(backend, intent))
                return _end(issuance, Event.CA_REFUSE, refused, before=(claim,), now=now)
            outrun(issuance)
            if issuance.state == Work.WAITING:
                # The wait for a CA that could not be reached began with the first try.
                begun = {"claimed_at": issuance.claimed_at} if issuance.tries and issuance.claimed_at else {}
                advance_issuance(
                    issuance=issuance,
                    steps=((Event.CLAIM, claim_step(backend, intent)),),
                    actor=SYSTEM,
                    now=now,
                    next_attempt_at=now + LEASE,
                    written={**claimed(intent, now=now), **begun},
                )

    # 3. Sign or send, outside any transaction.
    asked = with_replaced(intent, issuance, backend, now=clock())
    sent = _answer(backend, lambda: backend.submit(asked))
    HEALTH.note(backend.name, answered=isinstance(sent, (Issued, Accepted, Refused)), now=clock())
    if isinstance(sent, Unavailable) and is_repeated:
        sent = OutcomeUnknown(sent.detail)  # the process that sent it first may be about to hear an answer
    if isinstance(sent, Unavailable) and not _is_late(issuance, now=clock()):
        return _release(issuance, sent, now=clock())
    if isinstance(sent, Unavailable):
        sent = Refused(reason=f"{sent.gave_up}{sent.detail}")
    # 4. Compare, and 5. record whatever came, in one transaction.
    return _record(issuance, intent, sent, backend, clock=clock)


def drive(*, issuance_id: IssuanceId, clock: Clock) -> Work | None:
    """Takes an issuance one step on, for the worker; None when nothing was due, or another does it."""
    try:
        return issue(issuance_id=issuance_id, clock=clock)
    except StateConflict:
        return None


def due_issuances(*, now: datetime, limit: int = 20) -> list[IssuanceId]:
    """What the worker has to look at, longest overdue first."""
    due = Issuance.objects.filter(next_attempt_at__lte=now).order_by("next_attempt_at")
    return [IssuanceId(number) for number in due.values_list("id", flat=True)[:limit]]


def postpone(*, issuance_id: IssuanceId, now: datetime) -> None:
    """Puts off one that can't be driven at present, so that it does not hold up the others."""
    with write_transaction():
        Issuance.objects.filter(id=issuance_id, next_attempt_at__isnull=False).update(
            next_attempt_at=now + timedelta(minutes=1)
        )


def cancel_waiting(*, request_id: RequestId, actor: Actor, reason: str, now: datetime) -> None:
    """Ends what waits under a request whose permission has just ended, in the caller's transaction.

    What a CA may have already is asked about, and what comes of it is withheld and revoked.
    """
    for issuance in Issuance.objects.filter(request_id=request_id, state=Work.WAITING):
        _end(issuance, Event.CANCEL, reason, actor=actor, now=now)


def _taken(issuance_id: IssuanceId, *, is_sent: bool, now: datetime) -> Issuance:
    """The row, taken so that no other process asks about it as well; what waits is taken with its claim."""
    rows = Issuance.objects.select_related(
        "request", "organisation", "order__account__credential", "order__account__organisation"
    )
    issuance = rows.get(id=issuance_id)
    if issuance.state in DONE or (is_sent and issuance.state == Work.WAITING):
        raise StateConflict("The issuance has ended, or waits to be sent again.")
    if issuance.state == Work.WAITING:
        return issuance
    seen = issuance.next_attempt_at
    with write_transaction(durable=False):
        mine = Issuance.objects.filter(id=issuance.pk, version=issuance.version, next_attempt_at=seen)
        leased = seen is not None and seen <= now and mine.update(next_attempt_at=now + LEASE)
    if not leased:
        raise StateConflict("Another worker is already processing this.")
    return issuance


def _answer(
    backend: Backend, ask: Callable[[], Outcome | Absent]
) -> Outcome | Absent | Unavailable | OutcomeUnknown:
    """What the CA says; where it says nothing, whether it can have acted."""
    try:
        return ask()
    except BackendRefused as error:
        return Refused(reason=error.detail)
    except (Unavailable, OutcomeUnknown) as error:
        return error
    except BackendError as error:  # set up wrongly: it may have acted
        return OutcomeUnknown(error.detail)
    except Exception:  # plug-in boundary: nobody knows how far it got
        log.exception("issuance.ca_broke", backend=backend.name)
        return OutcomeUnknown("The connection to the CA broke.")


def _asked_again(backend: Backend, intent: Intent, issuance: Issuance) -> Outcome | Absent:
    """What became of an earlier submit. A CA that signs the same bytes again needs no looking up."""
    if issuance.state == Work.SUBMITTED:
        return backend.poll(intent, issuance.handle)
    if isinstance(backend, Finds):
        return backend.find(intent)
    if isinstance(backend, Prepares):
        return Absent()
    raise OutcomeUnknown("The CA can't tell what became of this; an operator has to look it up there.")


def _is_first(issuance: Issuance, status: str) -> bool:
    """Whether it is a request's own first certificate, rather than one more under a standing request."""
    return issuance.order_id is None and issuance.request.channel != ACME and status != Status.ISSUED


def _is_late(issuance: Issuance, *, now: datetime) -> bool:
    """Whether nobody waits for it any longer. A request's own first certificate is waited for without end."""
    since = issuance.claimed_at or issuance.created_at
    return not _is_first(issuance, issuance.request.status) and now - since > patience(issuance)


def _held_up(issuance: Issuance, request: Request, against: tuple[Check, ...], *, now: datetime) -> Work:
    """What may come right by itself is waited for; other reasons go to an officer, or end it."""
    reason = "\n".join(check.message for check in against)
    if request.state != State.APPROVED:
        reason = NOT_ALLOWED
    unknown = [check for check in against if check.code == CAA_UNKNOWN]
    pending = [check for check in against if check.verdict is Verdict.PENDING]
    first = _is_first(issuance, request.status)
    codes = {"codes": sorted({check.code for check in against})}
    waits = len(unknown) + len(pending) == len(against) and (first or not pending)
    waits = waits and not _is_late(issuance, now=now)
    if issuance.state == Work.CLAIMED and (waits or first) and request.state == State.APPROVED:
        release = ((Event.RELEASE, Step(detail=request.detail, data=codes)),)
        advance_issuance(issuance=issuance, steps=release, actor=SYSTEM, now=now, written=_NO_INTENT)
        request.refresh_from_db()
    if request.state != State.APPROVED or not (waits or first):
        return _end(issuance, Event.CANCEL, reason, data=codes, now=now)
    if first:  # from here on something else than the CA is awaited
        held = Issuance.objects.filter(id=issuance.pk, state=Work.WAITING)
        held.update(claimed_at=None, tries=0, next_attempt_at=None)
    if not waits:
        advance(
            request_id=RequestId(request.pk),
            event=Event.REFER,
            actor=SYSTEM,
            now=now,
            step=Step(detail=" ".join(reason.split("\n")), note=reason, data=codes),
        )
        return Work.WAITING
    if pending:  # nothing is due until somebody confirms
        line, action_needed = second_line(OrganisationId(request.organisation_id), request.names, now=now)
        _wait(issuance, at=None, line=line, action_needed=action_needed)
    else:  # the DNS has not said whether the CA may: asked again, later and later, without end
        since = failing_at_dns_since(request_id=request.pk, accepted_at=request.changed_at) or now
        phrase = dns_phrase(elapsed=now - since, ra=runtime.current().rules.ra)
        again = now + _between(RETRY_FIRST, (now - request.changed_at) / 4, RETRY_MOST)
        _wait(issuance, at=again, line=f"{phrase} {' '.join(check.message for check in unknown)}")
    return Work.WAITING


def _release(issuance: Issuance, error: Unavailable, *, now: datetime) -> Work:
    """Nothing reached the CA: it is judged again and tried again, later and later."""
    again = now + _between(RETRY_FIRST, RETRY_FIRST * 2 ** min(issuance.tries, 10), RETRY_MOST)
    step = Step(detail=f"{error.lead}{error.detail}")
    with write_transaction():
        lock_issuance(issuance)
        return advance_issuance(
            issuance=issuance,
            steps=((Event.RELEASE, step),),
            actor=SYSTEM,
            now=now,
            next_attempt_at=again,
            written={**_NO_INTENT, "tries": issuance.tries + 1},
        )


def _record(
    issuance: Issuance,
    intent: Intent,
    answer: Outcome | Absent | BackendError,
    backend: Backend,
    *,
    clock: Clock,
) -> Work:
    """Compares a certificate with the intent, and records whatever came, in one transaction."""
    now = clock()
    since = issuance.claimed_at or issuance.created_at
    match answer:
        case Accepted(handle=handle):
            line = _at_work(backend, handle, since, now)
            if issuance.state == Work.CLAIMED:
                with write_transaction():
                    lock_issuance(issuance)
                    return advance_issuance(
                        issuance=issuance,
                        steps=((Event.CA_ACCEPT, Step(detail=line, data={"handle": handle})),),
                        actor=SYSTEM,
                        now=now,
                        next_attempt_at=now + POLL_FIRST,
                        written={"handle": handle, "acknowledged_at": now},
                    )
            waited = now - (issuance.acknowledged_at or now)
            _wait(issuance, at=now + _between(POLL_FIRST, waited / 4, RETRY_MOST), line=line)
            return Work.SUBMITTED
        case Refused(reason=reason):
            with write_transaction():
                lock_issuance(issuance)
                return _end(issuance, Event.CA_REFUSE, reason, now=now)
        case Issued():
            return _record_issued(issuance, intent, answer, backend, now=now)
        case _:
            # The CA may have it, and has not said: it is looked up, later and later, never repeated blindly.
            code = answer.code if isinstance(answer, BackendError) else "backend.not_found"
            log.error("issuance.outcome_unknown", issuance=issuance.pk, code=code, age=str(now - since))
            usual = usual_issuing_time(backend=issuance.backend, now=now)
            line = waiting_phrase(elapsed=now - since, usual=usual)
            pause = _between(LEASE, now - since, RETRY_MOST)
            if issuance.state == Work.CLAIMED:
                line = f"We don't know the outcome yet. We're checking with the CA. {line}"
            else:
                pause = _between(POLL_FIRST, (now - since) / 4, RETRY_MOST)
                line = _at_work(backend, issuance.handle, since, now)
            _wait(issuance, at=now + pause, line=line)
            return Work(issuance.state)


def _record_issued(
    issuance: Issuance, intent: Intent, issued: Issued, backend: Backend, *, now: datetime
) -> Work:
    wrong = [check for check in compare(issued, intent) if check.verdict is Verdict.REFUSE]
    codes, fault = [check.code for check in wrong], ""
    if wrong:
        fault = f"The CA's certificate is not what was asked for: {' '.join(one.message for one in wrong)}"
    facts = None if wrong else certificate_facts(issued.chain[0])
    with write_transaction():
        lock_issuance(issuance, *issued.chain[:1])
        found = arrival_now(issuance.pk, adns=adns_of(intent.names), chain=chain_sha256(issued), now=now)
        runtime.note_version(found.settings_version)
        at, ended = standing_of(found)
        first = _is_first(issuance, at.status)
        # Where the CA chooses the serial, it may answer with a certificate that it has issued before.
        if facts is not None and intent.serial is None and is_kept(facts):
            fault = "The CA has sent a certificate that it had issued before."
        late = now - (issuance.claimed_at or issuance.created_at) >= A_MOMENT
        if not (fault or ended) and (late or may_have_changed(issuance, intent, found, now=now)):
            ended = _withdrawn(issuance, intent, is_first=first, now=now)
        if facts is None or fault or ended:
            reason = ended or fault
            log.error("issuance.withheld", issuance=issuance.pk, codes=codes, why=reason)
            event = Event.CA_REFUSE if fault else Event.CANCEL
            data = {"codes": codes}
            state = _end(issuance, event, reason, request=at, data=data, now=now)
            if received := withhold(issuance, issued, reason, now=now):
                Issuance.objects.filter(id=issuance.pk).update(received=received)
            if first and ended and at.state is State.APPROVED:
                # An officer decides whether the request gets another for the same CSR.
                number, step = RequestId(issuance.request_id), Step(detail=reason, note=reason)
                advance(request_id=number, event=Event.REFER, actor=SYSTEM, now=now, step=step)
                record_again(issuance, now=now)
            return state
        step = Step(
            detail=f"Valid until {facts.not_after:%-d %B %Y}.",
            note="" if first else for_whom(issuance),
            data={"serial": facts.serial_hex, "sha256": facts.sha256, "backend": issuance.backend},
        )
        # A CA that answers at once acknowledges and issues in one breath.
        accepted = (Event.CA_ACCEPT, Step(detail=f"{backend.title} has accepted it."))
        issued_now = (Event.ISSUE, step)
        # The swap comes first: a process that loses the race keeps no second certificate.
        advance_issuance(
            issuance=issuance,
            steps=(issued_now,) if issuance.state == Work.SUBMITTED else (accepted, issued_now),
            actor=SYSTEM,
            now=now,
            request=at,
            written={"acknowledged_at": issuance.acknowledged_at or now},
        )
        certificate = keep(issuance, issued, facts, chain_id=found.chain_id, now=now)
        follow_up(issuance, certificate, backend, now=now)
        return Work.ISSUED


def _withdrawn(issuance: Issuance, intent: Intent, *, is_first: bool, now: datetime) -> str:
    """Why a certificate that was asked for some time ago may not be handed out; empty where it may."""
    issuance.request = request_now(issuance.request_id)
    against = issuance_obstacles(issuance, intent, kept_csr(issuance), caa=None, is_first=is_first, now=now)
    return " ".join(check.message for check in against if not check.code.startswith(_OF_THE_ASKING))


def _end(
    issuance: Issuance,
    event: Event,
    reason: str,
    *,
    actor: Actor = SYSTEM,
    before: tuple[tuple[Event, Step], ...] = (),
    request: Standing | None = None,
    data: Mapping[str, object] | None = None,
    now: datetime,
) -> Work:
    """Ends it without a certificate for anybody; its ACME order is invalid, and the client reads why.

    In the caller's transaction, under the organisation's lock. `before` are events in the same step.
    """
    state = advance_issuance(
        issuance=issuance,
        steps=(*before, (event, Step(detail=reason, note=reason, data=data))),
        actor=actor,
        now=now,
        request=request,
        written={"detail": reason},
    )
    end_order(issuance, reason, now=now)
    return state


def _wait(issuance: Issuance, *, at: datetime | None, line: str, action_needed: bool = False) -> None:
    """Says when to look again, and what people read meanwhile, unless it has moved on by now."""
    with write_transaction(durable=False):
        # Whoever ends the request writes it first, and then the issuance.
        lock_issuance(issuance)
        rows = Issuance.objects.filter(id=issuance.pk, state=issuance.state, version=issuance.version)
        if rows.update(next_attempt_at=at) and _is_first(issuance, issuance.request.status):
            Request.objects.filter(id=issuance.request_id, state=State.APPROVED).update(
                detail=line, action_needed=action_needed
            )


def _at_work(backend: Backend, handle: str, since: datetime, now: datetime) -> str:
    """The second line while the CA takes its time."""
    phrase = waiting_phrase(elapsed=now - since, usual=usual_issuing_time(backend=backend.name, now=now))
    return f"{backend.title} is working on it (its number: {handle}). {phrase}"


def _between(least: timedelta, value: timedelta, most: timedelta) -> timedelta:
    return min(max(least, value), most)
