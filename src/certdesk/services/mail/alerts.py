"""Alerts to RA officers: what the CA, or the DNS about CAA, has owed an answer for 24 hours.

Asking goes on all the same. The audit event is what remembers that somebody was told.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import partial

import structlog
from django.db.models import OuterRef, QuerySet, Subquery

from certdesk.domain.actors import RaRole
from certdesk.domain.issuing.states import DONE, State, Status, status_text
from certdesk.domain.issuing.waiting import AWAITING_CA, OVERDUE_AFTER
from certdesk.services.mail.compose import letter, prose, table
from certdesk.services.system import runtime
from certdesk.store import audit
from certdesk.store.apart import apart
from certdesk.store.models import AcmeOrder, Issuance, Request
from certdesk.store.once import tell_once
from certdesk.store.selectors.people import staff_mailboxes
from certdesk.store.selectors.waiting import orders_overdue, requests_overdue_at_dns

log = structlog.get_logger()

LISTED = 20
HOURS = OVERDUE_AFTER.days * 24


class Awaited(StrEnum):
    """Who owes the answer, and to what; the values are stored in the queue."""

    CA = "ca"
    DNS = "dns"
    ORDERS = "orders"  # of ACME clients, by either


#: Of what a mail is about: one of it, several, whom it waits for, and what to do.
_WORDS: Mapping[Awaited, tuple[str, str, str, str]] = {
    Awaited.CA: (
        "A request has",
        "requests have",
        "the CA",
        (
            "{service} goes on asking the CA, less and less often, and applicants see that it takes long. "
            "Please ask the CA what holds it up; its own number, where it gave one, is on the request's page."
        ),
    ),
    Awaited.DNS: (
        "A request has",
        "requests have",
        "the DNS",
        (
            "Nothing is signed before the CAA records of every name could be looked up, and these can't be. "
            "{service} goes on asking. Please ask the people who run the name servers. The request's page "
            "names them, with their answers. If all domains are affected, ask the people who run {service}."
        ),
    ),
    Awaited.ORDERS: (
        "An order of an ACME client has",
        "ACME orders have",
        "the CA, or for the DNS about CAA records,",
        (
            "Please look at the account's page: it shows the last error that the client received. The CA can "
            "say what holds up an order; the people who run a domain's name servers, why they do not answer."
        ),
    ),
}


def alert_overdue(*, now: datetime) -> list[int]:
    """Has the officers told of what has waited 24 hours for the CA, or for the DNS about CAA: requests, and
    orders of ACME clients. Each wait is told once. Returns the numbers of those newly told.
    """
    told: dict[Awaited, list[int]] = {}
    apart(list(Awaited), lambda some: told.update({awaited: _alert(awaited, now=now) for awaited in some}))
    return [number for numbers in told.values() for number in numbers]


def _alert(awaited: Awaited, *, now: datetime) -> list[int]:
    def mail(told: Sequence[audit.Deed]) -> list[tuple[str, dict[str, str]]]:
        numbers = ",".join(str(deed.object_id) for deed in told)
        return [("alert_officers", {"numbers": numbers, "awaited": awaited.value})]

    told = tell_once(lambda: _overdue(awaited, now=now), partial(_deed, awaited), mail, by="since", now=now)
    numbers = [int(str(deed.object_id)) for deed in told]
    if numbers:
        log.warning("officers.alerted", awaited=awaited.value, numbers=numbers)
    return numbers


def _overdue(awaited: Awaited, *, now: datetime) -> QuerySet[Request] | QuerySet[AcmeOrder]:
    if awaited is Awaited.ORDERS:
        return orders_overdue(now=now).order_by("id")
    if awaited is Awaited.DNS:
        return requests_overdue_at_dns(now=now).order_by("id")
    # Since the first try to hand them over.
    latest = now - OVERDUE_AFTER
    open_ones = Issuance.objects.filter(
        request=OuterRef("pk"), order__isnull=True, claimed_at__isnull=False
    ).exclude(state__in=DONE)
    return (
        Request.objects.filter(state=State.APPROVED, status__in=AWAITING_CA, created_at__lte=latest)
        .annotate(waiting_since=Subquery(open_ones.values("claimed_at")[:1]))
        .filter(waiting_since__lte=latest)
        .order_by("id")
    )


def _deed(awaited: Awaited, row: Request | AcmeOrder) -> audit.Deed:
    if isinstance(row, AcmeOrder):  # each is told of once
        told = {"names": row.identifiers, "request": row.request_id, "hours": HOURS}
        return audit.Deed("acme_order.overdue", "acme_order", row.pk, row.organisation_id, told)
    about = {
        "status": row.status,
        "detail": row.detail,
        "hours": HOURS,
        "awaited": awaited.value,
        "since": row.waiting_since.isoformat(),  # type: ignore[attr-defined] # annotated by both
    }
    return audit.Deed("request.overdue", "request", row.pk, row.organisation_id, about)


def mail_officers(*, numbers: Sequence[int], awaited: Awaited) -> bool:
    """Sends the mail about what is overdue; False when none of it waits any more, or nobody has a mailbox.

    At least once: a crash between sending and noting it sends again, which is harmless.
    """
    if awaited is Awaited.ORDERS:
        orders = AcmeOrder.objects.filter(id__in=numbers, certificate__isnull=True, problem__isnull=True)
        found = [_order(row) for row in orders.select_related("organisation", "account").order_by("id")]
    else:
        statuses = AWAITING_CA if awaited is Awaited.CA else (Status.ACCEPTED,)
        requests = Request.objects.filter(id__in=numbers, status__in=statuses)
        found = [_request(row) for row in requests.select_related("organisation").order_by("id")]
    to = staff_mailboxes(RaRole.OFFICER)
    if found and not to:
        log.error("officers.nobody_alerted", awaited=awaited.value, numbers=list(numbers))
    if not found or not to:
        return False
    one, several, whom, advice = _WORDS[awaited]
    count = one if len(found) == 1 else f"{len(found)} {several}"
    of = "" if awaited is Awaited.ORDERS else f" for {whom}"
    letter(
        subject=f"{count} waited{of} for {HOURS} hours",
        blocks=(
            prose(f"{count} waited for {whom} for {HOURS} hours or longer."),
            prose(advice.format(service=runtime.newest().settings.service_name)),
            *found[:LISTED],
            f"… and {len(found) - LISTED} more." if len(found) > LISTED else "",
        ),
        to=to,
    ).send()
    return True


def _request(row: Request) -> str:
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


def _order(row: AcmeOrder) -> str:
    more = f" and {len(row.identifiers) - 1} more" if len(row.identifiers) > 1 else ""
    told = {
        "Order": row.pk,
        "Names": f"{row.identifiers[0]}{more}",
        "Organisation": row.organisation.legal_name,
        "Last problem": row.account.last_problem or "none",
    }
    return f"{runtime.newest().base_url}/acme-clients/accounts/{row.account_id}/\n{table(told)}"
