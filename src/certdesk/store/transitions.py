"""`advance`: the only writer of a request's state, by compare-and-swap along the transition table."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from certdesk.domain.actors import SYSTEM, Actor
from certdesk.domain.errors import NotFound, StateConflict
from certdesk.domain.requests import ENDED, TRANSITIONS, Event, RequestId, State
from certdesk.store import audit, jobs
from certdesk.store.db import write_transaction
from certdesk.store.models import Request, RequestEvent
from certdesk.store.prepared import Prepared, Swap, insert_all

#: Events that concern the applicant, who is told by e-mail.
NOTIFIED = frozenset(
    {Event.CREATE, Event.APPROVE, Event.REJECT, Event.REFER, Event.CA_REFUSE, Event.ISSUE, Event.RETRY}
)

_SEEN, _WRITTEN = ("id", "state", "version"), ("state", "version", "detail", "changed_at", "next_attempt_at")
_SWAP = Swap(Request, where=_SEEN, to=_WRITTEN)
_SWAP_CLAIMED = Swap(Request, where=_SEEN, to=_WRITTEN, counted=("attempts",))
_SWAP_RETRIED = Swap(Request, where=_SEEN, to=(*_WRITTEN, "attempts"))
_STANDING = Prepared(
    lambda number: Request.objects.filter(id=number).values_list("state", "version", "organisation_id"), int
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What an event does beside the state: the second line, the history's note, when to look again."""

    detail: str = ""
    note: str = ""
    next_attempt_at: datetime | None = None
    data: dict[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Where a request stands, as far as somebody knows who has just read or written it."""

    state: State
    version: int
    organisation_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What happened to which request; `old` is None for a new one."""

    request_id: RequestId
    organisation_id: int
    event: Event
    old: State | None
    new: State
    step: Step
    actor: Actor | None = None  # where it is another than whoever caused the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """How a new request starts: it is made, and what follows at once is part of the same row's insertion."""

    made: State
    first: Step
    then: tuple[tuple[Event, Step], ...]

    @property
    def columns(self) -> dict[str, Any]:
        """What the row starts with: state, version, second line, when to look at it, attempts."""
        changes = self.changes(request_id=RequestId(0), organisation_id=0)
        new, last = changes[-1].new, changes[-1].step
        return {
            "state": new,
            "version": len(changes) - 1,
            "detail": last.detail,
            "next_attempt_at": None if new in ENDED else last.next_attempt_at,
            "attempts": sum(event is Event.CLAIM for event, _step in self.then),
        }

    def changes(self, *, request_id: RequestId, organisation_id: int) -> list[Change]:
        """The history: the making by whoever asked, what followed by the system."""
        creation = Change(
            request_id=request_id,
            organisation_id=organisation_id,
            event=Event.CREATE,
            old=None,
            new=self.made,
            step=self.first,
        )
        following = _path(request_id, organisation_id, self.made, self.then)
        return [creation, *(replace(change, actor=SYSTEM) for change in following)]


def begin(*, made: State, first: Step, then: Sequence[tuple[Event, Step]] = ()) -> Beginning:
    """A new request's way into the table: made in one state and led on by events, before anybody sees it.

    Nobody else can know of the row yet, so that there is nothing to compare and swap with.
    """
    return Beginning(made=made, first=first, then=tuple(then))


def advance(
    *,
    request_id: RequestId,
    event: Event,
    actor: Actor,
    now: datetime,
    step: Step,
    seen_version: int | None = None,
) -> State:
    """Moves a request along the table by one event; see `advance_through`."""
    return advance_through(
        request_id=request_id, steps=((event, step),), actor=actor, now=now, seen_version=seen_version
    )


def advance_through(
    *,
    request_id: RequestId,
    steps: Sequence[tuple[Event, Step]],
    actor: Actor,
    now: datetime,
    seen_version: int | None = None,
    notify: bool = True,
    known: Known | None = None,
) -> State:
    """Moves a request along the table, with history, audit rows and mail jobs in one transaction.

    Several events at once are one compare-and-swap from the first state to the last; the last step's
    second line stands. `seen_version` is the version on the page that the actor decided on: an older
    one conflicts (W1). With `known`, what the caller wrote a moment ago is not read again: the swap tells
    whether it still holds. Raises StateConflict if an event can't follow its state, or if somebody else
    was faster; NotFound if there is no such request.
    """
    with write_transaction():
        at = known or standing(request_id)
        changes = _path(request_id, at.organisation_id, at.state, steps)
        if seen_version is not None and seen_version != at.version:
            raise StateConflict("The request has changed since the page was made. Look at it again.")
        new, last = changes[-1].new, changes[-1].step
        again = None if new in ENDED else last.next_attempt_at
        seen = (request_id, at.state, at.version)
        if not _swapped(changes, seen, (new, at.version + len(changes), last.detail, now, again)):
            raise StateConflict("Somebody else has just changed this request. Look at it again.")
        write_history(changes=changes, actor=actor, now=now, notify=notify)
    return new


def standing(request_id: RequestId) -> Known:
    """Where a request stands now. Raises NotFound."""
    row = _STANDING.row(request_id)
    if row is None:
        raise NotFound("There is no such request.")
    return Known(state=State(row[0]), version=row[1], organisation_id=row[2])


def _path(
    request_id: RequestId, organisation_id: int, start: State, steps: Sequence[tuple[Event, Step]]
) -> list[Change]:
    changes: list[Change] = []
    old = start
    for event, step in steps:
        new = TRANSITIONS.get((old, event))
        if new is None:
            raise StateConflict(_conflict(old, event))
        changes.append(
            Change(
                request_id=request_id,
                organisation_id=organisation_id,
                event=event,
                old=old,
                new=new,
                step=step,
            )
        )
        old = new
    return changes


def _swapped(changes: Sequence[Change], seen: Sequence[object], written: Sequence[object]) -> bool:
    """Whether the row was what was seen, and is what was written now; attempts are counted along."""
    events = {change.event for change in changes}
    if Event.RETRY in events:
        return _SWAP_RETRIED(seen, (*written, 0)) == 1
    swap = _SWAP_CLAIMED if Event.CLAIM in events else _SWAP
    return swap(seen, written) == 1


def write_history(*, changes: Sequence[Change], actor: Actor, now: datetime, notify: bool = True) -> None:
    """The history lines, audit rows and mail jobs of some events, in the caller's transaction."""
    lines = insert_all(
        RequestEvent(
            request_id=change.request_id,
            at=now,
            event=change.event,
            from_state=change.old or "",
            to_state=change.new,
            actor=(change.actor or actor).label,
            user_id=(change.actor or actor).user_id,
            note=change.step.note,
        )
        for change in changes
    )
    audit.record_all([_deed(change) for change in changes], actor=actor, now=now)
    for line in lines:
        if notify and line.event in NOTIFIED:
            jobs.enqueue("notify_applicant", due_at=now, event_id=line.pk)


def _deed(change: Change) -> audit.Deed:
    return audit.Deed(
        action=f"request.{change.event}",
        object_type="request",
        object_id=change.request_id,
        organisation_id=change.organisation_id,
        actor=change.actor,
        data={
            "from": change.old or "",
            "to": change.new.value,
            "note": change.step.note,
            **(change.step.data or {}),
        },
    )


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
