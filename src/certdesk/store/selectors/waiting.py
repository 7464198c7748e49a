"""How long requests wait for a CA: the usual time of each CA, and one request's wait as it is now."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery
from django.db.models.aggregates import Max
from django.db.models.functions import Coalesce

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.issuing.states import DONE, State, Status, Work
from certdesk.domain.issuing.waiting import AWAITING_CA, OVERDUE_AFTER, STARTS, usual_time, waiting_phrase
from certdesk.domain.validation.caa import NO_ANSWER
from certdesk.store.models import AcmeOrder, CaaCheck, Issuance, Request, RequestEvent
from certdesk.store.selectors.requests import RequestDetail

SAMPLE = 50
#: Issuances of all CAs among which the sample is looked for: a CA that is hardly used must not cost a walk
#: through everything that others ever issued.
REACH = 5000
#: A request asks the DNS every quarter of an hour at least, a client tries an order every day or oftener:
#: what has not failed for so long is no longer waited for.
STILL_REQUEST, STILL_ORDER = timedelta(hours=1), timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request's wait for the CA; `usual` is None while too little is known of that CA."""

    since: datetime
    elapsed: timedelta
    usual: timedelta | None
    text: str


def usual_issuing_time(*, backend: str, now: datetime) -> timedelta | None:
    """The median time of the CA's last 50 certificates, from the recorded intent to the certificate."""
    newest = Issuance.objects.aggregate(newest=Max("id"))["newest"] or 0
    took = (
        Issuance.objects.filter(id__gt=newest - REACH, backend=backend, state=Work.ISSUED, ended_at__lte=now)
        .order_by("-id")
        .values_list("claimed_at", "ended_at")[:SAMPLE]
    )
    return usual_time([ended - claimed for claimed, ended in took if claimed and ended])


def waiting_for_ca(*, request: RequestDetail, now: datetime) -> Waiting | None:
    """How long this request has been waiting for its CA; None when it is not, or was not handed over yet.

    While the CA can't be reached, it is the wait since the first try.
    """
    if request.status not in AWAITING_CA:
        return None
    open_ones = Issuance.objects.filter(request_id=request.number, claimed_at__isnull=False).exclude(
        state__in=DONE
    )
    found = open_ones.order_by("-id").values_list("backend", "claimed_at").first()
    if found is None:
        return None
    backend, since = found
    assert since is not None  # noqa: S101 - as the query asks
    elapsed, usual = now - since, usual_issuing_time(backend=backend, now=now)
    return Waiting(since, elapsed, usual, waiting_phrase(elapsed=elapsed, usual=usual))


def overdue_count(*, actor: Actor, now: datetime) -> int:
    """How many requests and orders a CA has owed an answer for 24 hours, if the actor sees them all."""
    if not can(actor, Action.REQUEST_READ):
        return 0
    owed = Issuance.objects.filter(claimed_at__lte=now - OVERDUE_AFTER, ended_at__isnull=True)
    return owed.filter(Q(request__status__in=AWAITING_CA) | Q(order__isnull=False)).count()


def failing_at_dns_since(*, request_id: int, accepted_at: datetime) -> datetime | None:
    """When the first CAA look-up since the request was accepted failed."""
    failed = CaaCheck.objects.filter(request_id=request_id, code__in=NO_ANSWER, at__gte=accepted_at)
    return failed.order_by("at").values_list("at", flat=True).first()


def requests_overdue_at_dns(*, now: datetime) -> QuerySet[Request]:
    """Accepted requests whose CAA look-ups have failed for 24 hours; `waiting_since` is since when.

    For the jobs that tell people; not filtered by actor.
    """
    starts = RequestEvent.objects.filter(
        request=OuterRef("pk"), to_status=Status.ACCEPTED, event__in=STARTS
    ).order_by("-id")
    failed = CaaCheck.objects.filter(request=OuterRef("pk"), code__in=NO_ANSWER)
    first = failed.filter(at__gte=OuterRef("accepted_at")).order_by("at")
    return (
        Request.objects.filter(
            state=State.APPROVED, status=Status.ACCEPTED, created_at__lte=now - OVERDUE_AFTER
        )
        .filter(
            Exists(
                Issuance.objects.filter(
                    request=OuterRef("pk"), order__isnull=True, next_attempt_at__isnull=False
                )
            )
        )
        .annotate(accepted_at=Coalesce(Subquery(starts.values("at")[:1]), F("created_at")))
        .annotate(waiting_since=Subquery(first.values("at")[:1]))
        .filter(Exists(failed.filter(at__gte=now - STILL_REQUEST)), waiting_since__lte=now - OVERDUE_AFTER)
    )


def orders_overdue(*, now: datetime) -> QuerySet[AcmeOrder]:
    """Unfinished orders of ACME clients that have waited 24 hours for the CA or for the DNS about CAA.

    For the jobs that tell people; not filtered by actor.
    """
    at_ca = Issuance.objects.filter(order=OuterRef("pk"), claimed_at__lte=now - OVERDUE_AFTER).exclude(
        state__in=DONE
    )
    unfinished = _unfinished_orders(now=now)
    return unfinished.filter(Q(Exists(at_ca), finalized_at__isnull=False) | _fails_at_dns(now=now))


def overdue_at_dns(*, actor: Actor, now: datetime) -> int:
    """How many requests and orders the DNS has owed CAA records for 24 hours, if the actor sees them all."""
    if not can(actor, Action.REQUEST_READ):
        return 0
    orders = _unfinished_orders(now=now).filter(_fails_at_dns(now=now))
    return requests_overdue_at_dns(now=now).count() + orders.count()


def _unfinished_orders(*, now: datetime) -> QuerySet[AcmeOrder]:
    return AcmeOrder.objects.filter(
        certificate__isnull=True, problem__isnull=True, created_at__lte=now - OVERDUE_AFTER
    )


def _fails_at_dns(*, now: datetime) -> Q:
    failed = CaaCheck.objects.filter(order=OuterRef("pk"), code__in=NO_ANSWER)
    return Q(
        Exists(failed.filter(at__lte=now - OVERDUE_AFTER)),
        Exists(failed.filter(at__gt=now - STILL_ORDER)),
        finalized_at__isnull=True,
        expires_at__gt=now,
    )
