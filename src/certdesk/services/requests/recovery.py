"""What an RA officer does about a request that the CA refused, or is slow with: send it again, ask now.

Nothing is sent in here: the worker takes up what is due, within half a second.
"""

from datetime import datetime

from certdesk.domain.actors import Action, Actor, require
from certdesk.domain.errors import NotAuthorized, StateConflict
from certdesk.domain.issuing.states import DONE, Event, Work
from certdesk.domain.issuing.waiting import AWAITING_CA
from certdesk.services.issuance.intents import LEASE, record_again
from certdesk.services.people.permissions import acting
from certdesk.services.requests.decisions import is_own
from certdesk.services.system.text_input import storable
from certdesk.store import audit
from certdesk.store.models import Issuance
from certdesk.store.selectors.requests import RequestDetail, get_request
from certdesk.store.transitions import Step, advance


def retry_request(
    *, actor: Actor, number: int, note: str = "", seen_version: int | None = None, now: datetime
) -> None:
    """Sends a request that the CA rejected there again, as a new issuance for the same CSR.

    It is judged again before it goes: lapsed validations lead back to an officer. Raises StateConflict when
    the CA has not rejected it or it has changed since `seen_version`, NotAuthorized for anybody but an
    officer and for an own request, NotFound, InvalidInput for a note that can't be kept.
    """
    shown = _may_process(actor, number)
    if is_own(actor, shown):
        raise NotAuthorized(
            "You asked for this, or know the key that asked for it, so another officer has to send it again."
        )
    note = storable(note, field="note")
    with acting(actor, Action.REQUEST_DECIDE, shown.organisation_id):
        last = Issuance.objects.filter(request_id=number, order__isnull=True).order_by("-id").first()
        if last is None or last.state != Work.REFUSED:
            raise StateConflict("The CA has not rejected this request.")
        advance(
            request_id=shown.number,
            event=Event.RETRY,
            actor=actor,
            now=now,
            step=Step(detail="About to be handed to the CA again.", note=note),
            seen_version=seen_version,
        )
        record_again(last, actor=actor, next_attempt_at=now, now=now)


def poll_now(*, actor: Actor, number: int, now: datetime) -> None:
    """Has the CA asked at once, rather than when the back-off says so.

    What is being asked at this moment is left in peace. Raises StateConflict when nothing is awaited from the
    CA, NotAuthorized for anybody but an officer, NotFound.
    """
    shown = _may_process(actor, number)
    if shown.status not in AWAITING_CA:
        raise StateConflict("Nothing is awaited from the CA for this request.")
    with acting(actor, Action.REQUEST_DECIDE, shown.organisation_id):
        # What is due within a lease is being asked now, or will be in a moment.
        open_ones = Issuance.objects.filter(request_id=shown.number, next_attempt_at__gt=now + LEASE)
        brought_forward = open_ones.exclude(state__in=DONE).update(next_attempt_at=now)
        data, owner = {"brought_forward": bool(brought_forward)}, shown.organisation_id
        audit.record(actor, "request.poll_now", shown.number, owner, now=now, data=data)


def _may_process(actor: Actor, number: int) -> RequestDetail:
    request = get_request(actor=actor, number=number)
    require(actor, Action.REQUEST_DECIDE, "Only an RA officer deals with the CA.")
    return request
