"""How long requests wait for a CA: the usual time of each CA, and one request's wait as it is now (R24)."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Max

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.requests import State
from certdesk.domain.waiting import AWAITING_CA, OVERDUE_AFTER, STARTS, usual_time, waiting_phrase
from certdesk.store.models import AttemptOutcome, IssuanceAttempt
from certdesk.store.selectors.requests import RequestDetail

SAMPLE = 50
#: Attempts of all CAs among which the sample is looked for: a CA that is hardly used must not cost a walk
#: through everything that others ever issued.
REACH = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A request's wait for the CA; `usual` is None while too little is known of that CA."""

    since: datetime
    elapsed: timedelta
    usual: timedelta | None
    text: str


def usual_issuing_time(*, backend: str, now: datetime) -> timedelta | None:
    """The median time of the CA's last 50 certificates, from the recorded intent to the certificate."""
    newest = IssuanceAttempt.objects.aggregate(newest=Max("id"))["newest"] or 0
    took = (
        IssuanceAttempt.objects.filter(
            id__gt=newest - REACH, backend=backend, outcome=AttemptOutcome.ISSUED, ended_at__lte=now
        )
        .order_by("-id")
        .values_list("created_at", "ended_at")[:SAMPLE]
    )
    return usual_time([ended - created for created, ended in took if ended is not None])


def waiting_for_ca(*, request: RequestDetail, now: datetime) -> Waiting | None:
    """How long this request has been waiting for its CA; None when it is not, or was not handed over yet.

    It is the wait of the attempt under way or, while the CA can't be reached, that since the first attempt
    after the request was accepted for automatic processing.
    """
    if request.state not in AWAITING_CA:
        return None
    made = IssuanceAttempt.objects.filter(request_id=request.number, created_at__gte=_accepted_at(request))
    attempts = list(made.order_by("id").values_list("backend", "outcome", "created_at"))
    if not attempts:
        return None
    backend, outcome, created_at = attempts[-1]
    since = created_at if outcome == AttemptOutcome.OPEN else attempts[0][2]
    elapsed, usual = now - since, usual_issuing_time(backend=backend, now=now)
    return Waiting(
        since=since, elapsed=elapsed, usual=usual, text=waiting_phrase(elapsed=elapsed, usual=usual)
    )


def overdue_count(*, actor: Actor, now: datetime) -> int:
    """How many requests a CA has owed an answer for 24 hours, as far as the actor sees them all."""
    if not can(actor, Action.REQUEST_READ):
        return 0
    return IssuanceAttempt.objects.filter(
        outcome=AttemptOutcome.OPEN, created_at__lte=now - OVERDUE_AFTER, request__state__in=AWAITING_CA
    ).count()


def _accepted_at(request: RequestDetail) -> datetime:
    starts = [e.at for e in request.events if e.event in STARTS and e.to_state == State.ACCEPTED]
    return starts[-1] if starts else request.created_at
