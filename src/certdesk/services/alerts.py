"""Alerts to RA officers: requests for which the CA has owed an answer for 24 hours (R24).

Polling goes on all the same. The audit event is what remembers that somebody was told.
"""

from collections.abc import Sequence
from datetime import datetime

import structlog
from django.core.mail import EmailMessage
from django.db.models import CharField, Exists, F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Cast, Coalesce

from certdesk.domain.actors import SYSTEM, RaRole
from certdesk.domain.requests import RequestId, State, status_text
from certdesk.domain.waiting import AWAITING_CA, OVERDUE_AFTER, STARTS
from certdesk.services import runtime
from certdesk.store import audit, jobs
from certdesk.store.db import write_transaction
from certdesk.store.models import AuditEvent, IssuanceAttempt, Request, RequestEvent, User

log = structlog.get_logger()

OVERDUE = "request.overdue"
#: An outage makes many at once; the rest follow with the next tick.
AT_ONCE = 200
LISTED = 20


def alert_overdue(*, now: datetime) -> list[RequestId]:
    """Has the officers told of requests that have waited 24 hours for the CA; returns the newly told ones.

    Each wait is told once, however many processes look: the rows are locked, looked at again, and the
    audit events and the mail's job are written in the same transaction.
    """
    candidates = list(_untold(now=now).order_by("id").values_list("id", flat=True)[:AT_ONCE])
    if not candidates:
        return []
    with write_transaction():
        locked = Request.objects.select_for_update().filter(id__in=candidates).order_by("id")
        still = list(locked.values_list("id", flat=True))
        rows = list(_untold(now=now).filter(id__in=still).order_by("id"))
        if not rows:
            return []
        audit.record_all([_deed(row) for row in rows], actor=SYSTEM, now=now)
        numbers = [RequestId(row.pk) for row in rows]
        jobs.enqueue("alert_officers", due_at=now, numbers=",".join(map(str, numbers)))
    log.warning("requests.overdue", requests=numbers)
    return numbers


def mail_officers(*, numbers: Sequence[int]) -> bool:
    """Sends the mail about overdue requests; False when none of them waits any more, or nobody has a mailbox.

    At least once: a crash between sending and noting it sends again, which is harmless.
    """
    rows = Request.objects.filter(id__in=numbers, state__in=AWAITING_CA).select_related("organisation")
    waiting = list(rows.order_by("id"))
    officers = User.objects.filter(ra_role=RaRole.OFFICER, is_active=True).exclude(email="")
    to = list(officers.order_by("id").values_list("email", flat=True))
    if waiting and not to:
        log.error("requests.overdue_untold", requests=[row.pk for row in waiting])
    if not waiting or not to:
        return False
    message(waiting, to=to).send()
    return True


def message(waiting: Sequence[Request], *, to: list[str]) -> EmailMessage:
    """The mail: what is the matter, what to do, then each request. Links are our own (V9)."""
    rt = runtime.current()
    hours = f"{OVERDUE_AFTER.days * 24} hours"
    count = "A request has" if len(waiting) == 1 else f"{len(waiting)} requests have"
    body = (
        f"{count} waited for the CA for {hours} or longer.\n\n"
        f"{rt.service_name} goes on asking the CA, less and less often, and the applicants see that\n"
        "it takes long. Please ask the CA what holds it up; its own number, where it gave one, is\n"
        "on the request's page.\n\n"
    )
    body += "\n".join(_paragraph(row) for row in waiting[:LISTED])
    if len(waiting) > LISTED:
        body += f"\n… and {len(waiting) - LISTED} more.\n"
    body += f"\n-- \n{rt.service_name}, {rt.base_url}\n"
    return EmailMessage(
        subject=f"[{rt.service_name}] {count} waited for the CA for {hours}",
        body=body,
        from_email=rt.mail_from,
        to=to,
        headers={"Auto-Submitted": "auto-generated"},
    )


def _paragraph(row: Request) -> str:
    rt = runtime.current()
    more = f" and {len(row.names) - 1} more" if len(row.names) > 1 else ""
    return (
        f"{rt.base_url}/requests/{row.pk}/\n"
        f"  Request ID    {row.pk}\n"
        f"  Names         {row.common_names}{more}\n"
        f"  Organisation  {row.organisation.legal_name}\n"
        f"  Status        {status_text(State(row.state), ra=rt.rules.ra)}\n"
        f"  Now           {row.detail}\n"
    )


def _untold(*, now: datetime) -> QuerySet[Request]:
    """Requests that have waited too long for the CA, and of which nobody was told.

    The wait begins with the first attempt since the request was last accepted: before it, something else
    may have been awaited, such as a domain's validation.
    """
    starts = RequestEvent.objects.filter(
        request=OuterRef("pk"), to_state=State.ACCEPTED, event__in=STARTS
    ).order_by("-id")
    attempts = IssuanceAttempt.objects.filter(
        request=OuterRef("pk"), created_at__gte=OuterRef("accepted_at")
    ).order_by("id")
    told = AuditEvent.objects.filter(
        object_type="request",
        object_id=Cast(OuterRef("pk"), CharField()),
        action=OVERDUE,
        at__gte=OuterRef("waiting_since"),
    )
    latest = now - OVERDUE_AFTER
    return (
        Request.objects.filter(state__in=AWAITING_CA, created_at__lte=latest)
        .exclude(csr_sha256="")  # such a request waits for ACME clients, and its orders wait for the CA
        .annotate(accepted_at=Coalesce(Subquery(starts.values("at")[:1]), F("created_at")))
        .annotate(waiting_since=Subquery(attempts.values("created_at")[:1]))
        .filter(~Exists(told), waiting_since__lte=latest)
    )


def _deed(row: Request) -> audit.Deed:
    return audit.Deed(
        action=OVERDUE,
        object_type="request",
        object_id=row.pk,
        organisation_id=row.organisation_id,
        data={"state": row.state, "detail": row.detail, "hours": OVERDUE_AFTER.days * 24},
    )
