"""Alerts to RA officers: what the CA, or the DNS about CAA, has owed an answer for 24 hours (R24, V6).

Asking goes on all the same. The audit event is what remembers that somebody was told.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from functools import partial

import structlog
from django.core.mail import EmailMessage
from django.db.models import CharField, Exists, OuterRef, QuerySet, Subquery
from django.db.models.functions import Cast

from certdesk.domain.actors import SYSTEM, RaRole
from certdesk.domain.requests import DONE, RequestId, State, Status, status_text
from certdesk.domain.waiting import AWAITING_CA, OVERDUE_AFTER
from certdesk.services import runtime
from certdesk.services.apart import apart
from certdesk.services.letters import letter, prose, table
from certdesk.store import audit, jobs
from certdesk.store.db import write_transaction
from certdesk.store.models import AcmeOrder, AuditEvent, Issuance, Request, User
from certdesk.store.selectors.waiting import orders_overdue, requests_overdue_at_dns

log = structlog.get_logger()

OVERDUE = "request.overdue"
ORDER_OVERDUE = "acme_order.overdue"
#: An outage makes many at once; the rest follow with the next tick.
AT_ONCE = 200
LISTED = 20


class Awaited(StrEnum):
    """Who owes the answer."""

    CA = "ca"
    DNS = "dns"


def alert_overdue(*, now: datetime) -> list[RequestId]:
    """Has the officers told of requests that have waited 24 hours for the CA, or for the DNS about CAA.

    Returns the newly told ones. Each wait is told once, however many processes look: the rows are locked,
    looked at again, and the audit events and the mail's job are written in the same transaction.
    """
    told: list[RequestId] = []

    def alert(wanted: Sequence[Awaited]) -> None:
        for awaited in wanted:
            candidates = _untold(awaited, now=now).order_by("id").values_list("id", flat=True)[:AT_ONCE]
            apart(list(candidates), partial(_alert, awaited, told, now=now))

    apart(list(Awaited), alert)
    return told


def alert_overdue_orders(*, now: datetime) -> list[int]:
    """The same for orders of ACME clients; each is told of once."""
    told = AuditEvent.objects.filter(
        object_type="acme_order", object_id=Cast(OuterRef("pk"), CharField()), action=ORDER_OVERDUE
    )
    untold = orders_overdue(now=now).exclude(Exists(told)).order_by("id")
    told_now: list[int] = []

    def alert(candidates: Sequence[int]) -> None:
        with write_transaction():
            locked = AcmeOrder.objects.select_for_update().filter(id__in=candidates).order_by("id")
            rows = list(untold.filter(id__in=list(locked.values_list("id", flat=True))))
            if not rows:
                return
            audit.record_all([_order_deed(row) for row in rows], actor=SYSTEM, now=now)
            numbers = [row.pk for row in rows]
            jobs.enqueue("alert_officers_of_orders", due_at=now, orders=",".join(map(str, numbers)))
        told_now.extend(numbers)
        log.warning("acme.orders_overdue", orders=numbers)

    apart(list(untold.values_list("id", flat=True)[:AT_ONCE]), alert)
    return told_now


def _alert(awaited: Awaited, told: list[RequestId], candidates: Sequence[int], *, now: datetime) -> None:
    with write_transaction():
        locked = Request.objects.select_for_update().filter(id__in=candidates).order_by("id")
        still = list(locked.values_list("id", flat=True))
        rows = list(_untold(awaited, now=now).filter(id__in=still).order_by("id"))
        if not rows:
            return
        audit.record_all([_deed(row, awaited) for row in rows], actor=SYSTEM, now=now)
        numbers = [RequestId(row.pk) for row in rows]
        jobs.enqueue("alert_officers", due_at=now, numbers=",".join(map(str, numbers)), awaited=awaited.value)
    log.warning("requests.overdue", requests=numbers, awaited=awaited.value)
    told.extend(numbers)


def mail_officers(*, numbers: Sequence[int], awaited: Awaited = Awaited.CA) -> bool:
    """Sends the mail about overdue requests; False when none of them waits any more, or nobody has a mailbox.

    At least once: a crash between sending and noting it sends again, which is harmless.
    """
    statuses = AWAITING_CA if awaited is Awaited.CA else (Status.ACCEPTED,)
    rows = Request.objects.filter(id__in=numbers, status__in=statuses).select_related("organisation")
    waiting = list(rows.order_by("id"))
    to = _officers()
    if waiting and not to:
        log.error("requests.overdue_untold", requests=[row.pk for row in waiting])
    if not waiting or not to:
        return False
    message(waiting, to=to, awaited=awaited).send()
    return True


def mail_officers_of_orders(*, orders: Sequence[int]) -> bool:
    """Sends the mail about overdue orders; False when none of them waits any more, or nobody reads mail."""
    rows = AcmeOrder.objects.filter(id__in=orders, certificate__isnull=True, problem__isnull=True)
    waiting, to = list(rows.select_related("organisation", "account").order_by("id")), _officers()
    if waiting and not to:
        log.error("acme.orders_overdue_untold", orders=[row.pk for row in waiting])
    if not waiting or not to:
        return False
    hours = f"{OVERDUE_AFTER.days * 24} hours"
    count = "An order of an ACME client has" if len(waiting) == 1 else f"{len(waiting)} ACME orders have"
    blocks = [
        prose(f"{count} waited for the CA, or for the DNS about CAA records, for {hours} or longer."),
        prose(
            "Please look at the account's page: what its client was told last stands there. The CA can say "
            "what holds up an order; whoever runs a domain's name servers, why they do not answer."
        ),
        *map(_order_paragraph, waiting[:LISTED]),
        _more(len(waiting)),
    ]
    return bool(letter(subject=f"{count} waited for {hours}", blocks=blocks, to=to).send())


def _officers() -> list[str]:
    officers = User.objects.filter(ra_role=RaRole.OFFICER, is_active=True).exclude(email="")
    return list(officers.order_by("id").values_list("email", flat=True))


def message(waiting: Sequence[Request], *, to: list[str], awaited: Awaited) -> EmailMessage:
    """The mail: what is the matter, what to do, then each request. Links are our own (V9)."""
    hours = f"{OVERDUE_AFTER.days * 24} hours"
    count = "A request has" if len(waiting) == 1 else f"{len(waiting)} requests have"
    whom, advice = _ADVICE[awaited]
    blocks = [
        prose(f"{count} waited for {whom} for {hours} or longer."),
        prose(advice.format(service=runtime.newest().service_name)),
        *map(_paragraph, waiting[:LISTED]),
        _more(len(waiting)),
    ]
    return letter(subject=f"{count} waited for {whom} for {hours}", blocks=blocks, to=to)


_ADVICE = {
    Awaited.CA: (
        "the CA",
        (
            "{service} goes on asking the CA, less and less often, and applicants see that it takes long. "
            "Please ask the CA what holds it up; its own number, where it gave one, is on the request's page."
        ),
    ),
    Awaited.DNS: (
        "the DNS",
        (
            "Nothing is signed before the CAA records of every name could be looked up, and these can't be. "
            "{service} goes on asking. Please ask whoever runs the name servers, which the request's page "
            "names with what they answered; or, if all domains are affected, whoever runs {service}."
        ),
    ),
}


def _more(count: int) -> str:
    return f"… and {count - LISTED} more." if count > LISTED else ""


def _paragraph(row: Request) -> str:
    rt = runtime.newest()
    more = f" and {len(row.names) - 1} more" if len(row.names) > 1 else ""
    told = {
        "Request ID": row.pk,
        "Names": f"{row.common_names}{more}",
        "Organisation": row.organisation.legal_name,
        "Status": status_text(Status(row.status), ra=rt.rules.ra),
        "Now": row.detail,
    }
    return f"{rt.base_url}/requests/{row.pk}/\n{table(told)}"


def _order_paragraph(row: AcmeOrder) -> str:
    more = f" and {len(row.identifiers) - 1} more" if len(row.identifiers) > 1 else ""
    told = {
        "Order": row.pk,
        "Names": f"{row.identifiers[0]}{more}",
        "Organisation": row.organisation.legal_name,
        "Last problem": row.account.last_problem or "none",
    }
    return f"{runtime.newest().base_url}/acme-clients/accounts/{row.account_id}/\n{table(told)}"


def _untold(awaited: Awaited, *, now: datetime) -> QuerySet[Request]:
    """Requests that have waited too long, and of which nobody was told since they began to."""
    told = AuditEvent.objects.filter(
        object_type="request",
        object_id=Cast(OuterRef("pk"), CharField()),
        action=OVERDUE,
        at__gte=OuterRef("waiting_since"),
    )
    overdue = _at_ca(now=now) if awaited is Awaited.CA else requests_overdue_at_dns(now=now)
    return overdue.filter(~Exists(told))


def _at_ca(*, now: datetime) -> QuerySet[Request]:
    """Requests that have waited too long for the CA, since the first try to hand them over."""
    latest = now - OVERDUE_AFTER
    open_ones = Issuance.objects.filter(
        request=OuterRef("pk"), order__isnull=True, claimed_at__isnull=False
    ).exclude(state__in=DONE)
    return (
        Request.objects.filter(state=State.APPROVED, status__in=AWAITING_CA, created_at__lte=latest)
        .annotate(waiting_since=Subquery(open_ones.values("claimed_at")[:1]))
        .filter(waiting_since__lte=latest)
    )


def _deed(row: Request, awaited: Awaited) -> audit.Deed:
    return audit.Deed(
        action=OVERDUE,
        object_type="request",
        object_id=row.pk,
        organisation_id=row.organisation_id,
        data={
            "status": row.status,
            "detail": row.detail,
            "hours": OVERDUE_AFTER.days * 24,
            "awaited": awaited.value,
        },
    )


def _order_deed(row: AcmeOrder) -> audit.Deed:
    return audit.Deed(
        action=ORDER_OVERDUE,
        object_type="acme_order",
        object_id=row.pk,
        organisation_id=row.organisation_id,
        data={"names": row.identifiers, "request": row.request_id, "hours": OVERDUE_AFTER.days * 24},
    )
