"""The only writer of states: of a request's by `advance`, of an issuance's by `advance_issuance`.

Each is one compare-and-swap along its table in `domain.issuing.states`, and in the same transaction
the status that follows, the history, the audit rows and the mail jobs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from certdesk.domain.actors import Actor
from certdesk.domain.errors import StateConflict, existing
from certdesk.domain.issuing.states import (
    DONE,
    ISSUANCE_TRANSITIONS,
    NEEDS_NO_CERTIFICATE,
    REQUEST_TRANSITIONS,
    Event,
    RequestId,
    State,
    Status,
    Work,
    status_of,
)
from certdesk.store import audit, jobs
from certdesk.store.db import put_last, write_kept, write_transaction
from certdesk.store.driver import insert, put, swap
from certdesk.store.models import Issuance, Request, RequestEvent
from certdesk.store.sql import NEWEST, STANDING

#: Events that concern the applicant, who is told by e-mail.
NOTIFIED = frozenset(
    {
        Event.CREATE,
        Event.APPROVE,
        Event.REJECT,
        Event.REFER,
        Event.CA_REFUSE,
        Event.ISSUE,
        Event.RETRY,
        Event.END,
    }
)
CHANGED = "Someone else has just updated this request. Reload the page and try again."

#: Lines of a request's history that move no state, and so are no `Event`: a certificate was revoked; one is
#: due and can't be renewed.
REVOKED, NOT_RENEWED = "revoke", "not_renewed"

_ENDS = frozenset({Event.ISSUE, Event.CA_REFUSE, Event.CANCEL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What an event does beside the state: the second line, the history's note, what the audit row says."""

    detail: str = ""
    note: str = ""
    data: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a request stands, as somebody knows who has just read or written it."""

    state: State
    status: Status
    version: int
    organisation_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A line of history: what happened to which request, and to which of its issuances."""

    request_id: int
    organisation_id: int
    event: Event
    old: Status | None
    new: Status
    step: Step
    issuance_id: int | None = None
    actor: Actor | None = None  # where it is another than whoever caused the rest


def standing(request_id: int) -> Standing:
    """Where a request stands now. Raises NotFound."""
    row = existing(STANDING.row(request=request_id), "There is no such request.")
    return Standing(state=State(row[0]), status=Status(row[1]), version=row[2], organisation_id=row[3])


def advance(
    *,
    request_id: RequestId,
    event: Event,
    actor: Actor,
    now: datetime,
    step: Step,
    seen_version: int | None = None,
    written: Mapping[str, object] | None = None,
) -> Status:
    """Moves a request along its table by one event.

    `written` are further columns of the same row. `seen_version` is the version on the page that the actor
    decided on: an older one conflicts. Raises StateConflict if the event can't follow, or somebody else was
    faster; NotFound if there is no such request.
    """
    with write_transaction():
        at = standing(request_id)
        new = REQUEST_TRANSITIONS.get((at.state, event))
        if new is None or (event in NEEDS_NO_CERTIFICATE and at.status is Status.ISSUED):
            raise StateConflict(f"The request can't be changed this way ({event}): {_why(at)}.")
        if seen_version is not None and seen_version != at.version:
            raise StateConflict(f"The request has changed since you opened it: {_why(at)}. Look at it again.")
        row = None if event is Event.RETRY else NEWEST.row(request=request_id)  # a new one follows at once
        newest = None if row is None else Work(row[1])
        status = status_of(new, newest, has_certificate=at.status is Status.ISSUED)
        columns = {
            "state": new,
            "status": status,
            "detail": step.detail,
            "action_needed": False,
            "changed_at": now,
            **(written or {}),
        }
        if not _swapped(Request, (request_id, at.state, at.version), columns):
            raise StateConflict(CHANGED)
        change = Change(
            request_id=request_id,
            organisation_id=at.organisation_id,
            event=event,
            old=at.status,
            new=status,
            step=step,
        )
        write_history(changes=[change], actor=actor, now=now)
    return status


def advance_issuance(
    *,
    issuance: Issuance,
    steps: Sequence[tuple[Event, Step]],
    actor: Actor,
    now: datetime,
    request: Standing | None = None,
    next_attempt_at: datetime | None = None,
    written: Mapping[str, object] | None = None,
) -> Work:
    """Moves an issuance along its table, and its request's status with it; `issuance` is brought up to date.

    Several events at once are one compare-and-swap from the row as it was read. With `request`, what the
    caller has just read of the request is not read again. Raises StateConflict if an event can't follow, or
    somebody else was faster.
    """
    with write_transaction():
        at = request or standing(issuance.request_id)
        old, status = Work(issuance.state), at.status
        state, changes = old, list[Change]()
        for event, step in steps:
            new = ISSUANCE_TRANSITIONS.get((state, event))
            if new is None:
                raise StateConflict(f"The issuance is {state}: “{event}” can't follow.")
            state = new
            after = _status_after(issuance, at, state)
            changes.append(
                Change(
                    request_id=issuance.request_id,
                    organisation_id=at.organisation_id,
                    event=event,
                    old=status,
                    new=after,
                    step=step,
                    issuance_id=issuance.pk,
                )
            )
            status = after
        ends = {"ended_at": now} if state in DONE else {}
        due = None if state in DONE else next_attempt_at
        columns = {"state": state, "next_attempt_at": due, **ends, **(written or {})}
        if not _swapped(Issuance, (issuance.pk, old, issuance.version), columns):
            raise StateConflict("Another worker is already processing this.")
        for name, value in columns.items():
            setattr(issuance, name, value)
        issuance.version += 1
        # A request with a certificate shows nothing of the next one on its way; one that was decided
        # otherwise meanwhile keeps what its reader is told.
        leads = at.state is State.APPROVED and at.status is not Status.ISSUED
        if leads:
            shown = {
                "status": status,
                "detail": changes[-1].step.detail,
                "action_needed": False,
                "changed_at": now,
            }
            if not _swapped(Request, (issuance.request_id, at.state, at.version), shown):
                raise StateConflict(CHANGED)
        elif state is Work.ISSUED:
            swap(Request, {"id": issuance.request_id}, {"changed_at": now}, counted=("version",))
        told = [one for one in changes if leads or one.event in _ENDS]
        if old is Work.WAITING and at.state is not State.APPROVED:
            told = []  # what ended the request is in its history already
        write_history(changes=told, actor=actor, now=now, notify=leads and issuance.order_id is None)
    return state


def note_line(*, request_id: RequestId, event: str, actor: Actor, note: str, now: datetime) -> None:
    """Adds to a request's history what became of a certificate of it, which moves no state of the request.

    Its version moves on, for what it shows has changed. In the caller's transaction, under the organisation's
    lock. Raises StateConflict if somebody changed it without that, NotFound.
    """
    at = standing(request_id)
    if not _swapped(Request, (request_id, at.state, at.version), {}):
        raise StateConflict(CHANGED)
    write_kept()  # history is read in the order of its numbers
    insert(
        RequestEvent(
            request_id=request_id,
            at=now,
            event=event,
            from_status=at.status,
            to_status=at.status,
            actor=actor.label,
            user_id=actor.user_id,
            note=note,
        )
    )


def write_history(*, changes: Sequence[Change], actor: Actor, now: datetime, notify: bool = True) -> None:
    """The history lines, audit rows and mail jobs of some events, in the caller's transaction."""
    if not changes:
        return
    lines = [
        {
            "request_id": change.request_id,
            "issuance_id": change.issuance_id,
            "at": now,
            "event": change.event,
            "from_status": change.old or "",
            "to_status": change.new,
            "actor": (change.actor or actor).label,
            "user_id": (change.actor or actor).user_id,
            "note": change.step.note,
        }
        for change in changes
    ]
    if notify and any(change.event in NOTIFIED for change in changes):
        write_kept()  # history is read in the order of its numbers
        for number, change in zip(put(RequestEvent, lines), changes, strict=True):
            if change.event in NOTIFIED:
                jobs.enqueue("notify_applicant", due_at=now, event_id=number)
    else:
        put_last(RequestEvent, lines)
    audit.record_all([_deed(change) for change in changes], actor=actor, now=now)


def _status_after(issuance: Issuance, at: Standing, state: Work) -> Status:
    """The request's status once this issuance is in this state; an older one that ends changes nothing."""
    if at.status is Status.ISSUED or state is Work.ISSUED:
        return status_of(at.state, state, has_certificate=True)
    newest = NEWEST.row(request=issuance.request_id) if state in DONE else None
    shown = state if newest is None or newest[0] == issuance.pk else Work(newest[1])
    return status_of(at.state, shown, has_certificate=False)


def _swapped(
    model: type[Request] | type[Issuance], seen: tuple[int, str, int], columns: Mapping[str, object]
) -> bool:
    """Whether the row was what was seen, and is what was written now, one version on."""
    row = dict(zip(("id", "state", "version"), seen, strict=True))
    return swap(model, row, columns, counted=("version",)) == 1


def _deed(change: Change) -> audit.Deed:
    data = {"from": change.old or "", "to": change.new.value, "note": change.step.note}
    issuance = {} if change.issuance_id is None else {"issuance": change.issuance_id}
    told = {**data, **issuance, **(change.step.data or {})}
    owner, action = change.organisation_id, f"request.{change.event}"
    return audit.Deed(action, "request", change.request_id, owner, told, change.actor)


_WHY_NOT = {
    Status.WAITING_FOR_APPROVAL: "it is waiting for an officer",
    Status.ACCEPTED: "it was already accepted",
    Status.SUBMITTED: "the CA has already accepted it",
    Status.ISSUED: "its certificate is already there",
    Status.REJECTED_BY_RA: "it was rejected",
    Status.REJECTED_BY_CA: "the CA rejected it",
    Status.WITHDRAWN: "it was withdrawn",
}


def _why(at: Standing) -> str:
    return "its entitlement has ended" if at.state is State.ENDED else _WHY_NOT[at.status]
