"""What an RA officer does about a request that the CA refused, or sits on: send it again, look now.

Nothing is sent in here: the tick takes up what is due, within half a second.
"""

from datetime import datetime

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.errors import NotAuthorized, StateConflict
from certdesk.domain.requests import Event
from certdesk.domain.waiting import AWAITING_CA
from certdesk.services.intents import LEASE
from certdesk.services.texts import storable
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import Request
from certdesk.store.selectors.requests import RequestDetail, get_request
from certdesk.store.transitions import Step, advance


def retry_request(
    *, actor: Actor, number: int, note: str = "", seen_version: int | None = None, now: datetime
) -> None:
    """Sends a request that the CA rejected there again, as a new attempt (R28); the applicant is told.

    It is checked anew before it goes: lapsed validations lead back to an officer. Raises StateConflict
    when the CA has not rejected it or it has changed since `seen_version`, NotAuthorized for anybody but
    an officer and for an own request, NotFound, InvalidInput for a note that can't be kept.
    """
    shown = _may_process(actor, number)
    if shown.requester_id == actor.user_id:
        raise NotAuthorized("You asked for this yourself, so another officer has to send it again (W3).")
    note = storable(note, field="note")
    advance(
        request_id=shown.number,
        event=Event.RETRY,
        actor=actor,
        now=now,
        step=Step(
            detail="About to be handed to the CA again.",
            note=note,
            next_attempt_at=now,
        ),
        seen_version=seen_version,
    )


def poll_now(*, actor: Actor, number: int, now: datetime) -> None:
    """Has the CA asked at once, rather than when the back-off says so.

    Whatever is being asked at this moment is left in peace. Raises StateConflict when nothing is awaited
    from the CA, NotAuthorized for anybody but an officer, NotFound.
    """
    shown = _may_process(actor, number)
    if shown.state not in AWAITING_CA:
        raise StateConflict("Nothing is awaited from the CA for this request.")
    with write_transaction():
        # What is due within a lease is being asked now, or will be in a moment.
        later = Request.objects.filter(
            id=shown.number, state__in=AWAITING_CA, next_attempt_at__gt=now + LEASE
        )
        brought_forward = later.update(next_attempt_at=now)
        audit.record(
            actor=actor,
            action="request.poll_now",
            object_type="request",
            object_id=shown.number,
            organisation_id=shown.organisation_id,
            now=now,
            data={"brought_forward": bool(brought_forward)},
        )


def _may_process(actor: Actor, number: int) -> RequestDetail:
    request = get_request(actor=actor, number=number)
    if not can(actor, Action.REQUEST_DECIDE):
        raise NotAuthorized("Only an RA officer deals with the CA.")
    return request
