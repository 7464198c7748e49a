"""`advance`: the only writer of a request's state, by compare-and-swap along the transition table."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import F

from certdesk.domain.actors import Actor
from certdesk.domain.errors import NotFound, StateConflict
from certdesk.domain.requests import ENDED, TRANSITIONS, Event, RequestId, State
from certdesk.store import audit, jobs
from certdesk.store.db import write_transaction
from certdesk.store.models import Request, RequestEvent

#: Events that concern the applicant, who is told by e-mail.
NOTIFIED = frozenset(
    {Event.CREATE, Event.APPROVE, Event.REJECT, Event.REFER, Event.CA_REFUSE, Event.ISSUE, Event.RETRY}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What an event does beside the state: the second line, the history's note, when to look again."""

    detail: str = ""
    note: str = ""
    next_attempt_at: datetime | None = None
    data: dict[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What happened to which request; `old` is None for a new one."""

    request_id: RequestId
    organisation_id: int
    event: Event
    old: State | None
    new: State


def advance(
    *,
    request_id: RequestId,
    event: Event,
    actor: Actor,
    now: datetime,
    step: Step,
    seen_version: int | None = None,
) -> State:
    """Moves a request along the table, with its history, audit row and mail job in one transaction.

    `seen_version` is the version on the page that the actor decided on: an older one conflicts (W1).
    Raises StateConflict if the event can't follow the state, or if somebody else was faster;
    NotFound if there is no such request.
    """
    with write_transaction():
        row = (
            Request.objects.filter(id=request_id)
            .values_list("state", "version", "organisation_id", "attempts")
            .first()
        )
        if row is None:
            raise NotFound("There is no such request.")
        old, version, organisation_id, attempts = State(row[0]), row[1], row[2], row[3]
        new = TRANSITIONS.get((old, event))
        if new is None:
            raise StateConflict(_conflict(old, event))
        if seen_version is not None and seen_version != version:
            raise StateConflict("The request has changed since the page was made. Look at it again.")
        claimed = Request.objects.filter(id=request_id, state=old, version=version).update(
            state=new,
            version=F("version") + 1,
            detail=step.detail,
            changed_at=now,
            next_attempt_at=None if new in ENDED else step.next_attempt_at,
            attempts=attempts + 1 if event is Event.CLAIM else 0 if event is Event.RETRY else attempts,
        )
        if claimed != 1:
            raise StateConflict("Somebody else has just changed this request. Look at it again.")
        change = Change(request_id=request_id, organisation_id=organisation_id, event=event, old=old, new=new)
        write_history(change=change, actor=actor, now=now, step=step)
    return new


def write_history(*, change: Change, actor: Actor, now: datetime, step: Step, notify: bool = True) -> None:
    """The history line, the audit row and the mail job of one event, in the caller's transaction."""
    line = RequestEvent.objects.create(
        request_id=change.request_id,
        at=now,
        event=change.event,
        from_state=change.old or "",
        to_state=change.new,
        actor=actor.label,
        user_id=actor.user_id,
        note=step.note,
    )
    audit.record(
        actor=actor,
        action=f"request.{change.event}",
        object_type="request",
        object_id=change.request_id,
        organisation_id=change.organisation_id,
        now=now,
        data={"from": change.old or "", "to": change.new.value, "note": step.note, **(step.data or {})},
    )
    if notify and change.event in NOTIFIED:
        jobs.enqueue("notify_applicant", due_at=now, event_id=line.id)


def _conflict(old: State, event: Event) -> str:
    done = {
        State.ISSUED: "its certificate is already there",
        State.WITHDRAWN: "it was withdrawn",
        State.REJECTED_BY_RA: "it was rejected",
        State.REJECTED_BY_CA: "the CA rejected it",
        State.SUBMITTING: "it is just being handed to the CA",
        State.SUBMITTED: "the CA has already accepted it",
        State.ACCEPTED: "it was already accepted",
        State.WAITING_FOR_APPROVAL: "it waits for an officer",
    }
    return f"The request can't be changed this way ({event}): {done[old]}."
