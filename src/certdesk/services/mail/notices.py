"""E-mails to applicants, on every change that concerns them: plain text, our own address."""

from datetime import datetime

from django.core.mail import EmailMessage

from certdesk.domain.actors import OrgRole
from certdesk.domain.issuing.states import Event, Status, status_text
from certdesk.services.mail.compose import letter, prose, section, table
from certdesk.services.system import runtime
from certdesk.store.db import write_transaction
from certdesk.store.models import Membership, Request, RequestEvent
from certdesk.store.transitions import NOTIFIED

_OPENING: dict[Event, str] = {
    Event.CREATE: "{ra} has to approve your certificate request. We email you when they decide.",
    Event.APPROVE: "{ra} has approved your certificate request.",
    Event.REJECT: "{ra} has rejected your certificate request.",
    Event.REFER: "{ra} has to review your certificate request again before it can go on.",
    Event.CA_REFUSE: "The CA has rejected your certificate request.",
    Event.ISSUE: "Your certificate is ready to download.",
    Event.RETRY: "We are sending your certificate request to the CA again.",
    Event.END: "Your request has ended: no further certificate is issued under it. Certificates that you "
    "have stay valid until they expire or are revoked. If you need another one, make a new request.",
}


_UNPROVEN = (
    "Your certificate request is accepted. Before it goes to the CA, someone has to confirm by e-mail that "
    "your organisation controls the domain. Choose a mailbox on the request's page."
)

MAX_NAMES = 10  # they fill a line or two

#: What need not be said once the next thing has happened.
PASSING = frozenset({Event.CREATE, Event.APPROVE, Event.RETRY})


def tell_applicant(*, event_id: int) -> bool:
    """Sends the mail about one event to the person who asked; False when it was dealt with before.

    An approval that was followed by the certificate within the same breath makes one mail, not two, unless
    the officer has written a message to the applicant.

    At least once: a crash before `note_told` sends again, which is harmless.
    """
    lines = RequestEvent.objects.select_related("request__requester", "request__organisation")
    line = lines.filter(id=event_id).first()
    if line is None or line.notified_at is not None:
        return False
    has_a_message = line.event == Event.APPROVE and bool(line.note)  # an officer wrote it for this person
    later = RequestEvent.objects.filter(request=line.request_id, id__gt=line.pk, event__in=NOTIFIED)
    is_overtaken = Event(line.event) in PASSING and not has_a_message and later.exists()
    if not is_overtaken and (to := recipients(line.request)):
        message(line, to=to).send()
    return True


def note_told(*, event_id: int, now: datetime) -> None:
    """Writes down that an event was dealt with, in the caller's transaction or its own."""
    with write_transaction():
        RequestEvent.objects.filter(id=event_id).update(notified_at=now)


def recipients(request: Request) -> list[str]:
    """Who is told about a request: the person who asked or, once that person has left, the managers."""
    there = Membership.objects.filter(
        organisation_id=request.organisation_id, is_active=True, user__is_active=True
    )
    emails = there.order_by("user_id").values_list("user__email", flat=True)
    told = emails.filter(user_id=request.requester_id) or emails.filter(role=OrgRole.MANAGER)
    return [email for email in told if email]


def message(line: RequestEvent, *, to: list[str]) -> EmailMessage:
    """The mail about one event of a request. What other people wrote comes after the link."""
    rt, request = runtime.newest(), line.request
    status = "Ended" if line.event == Event.END else status_text(Status(line.to_status), ra=rt.rules.ra)
    more = len(request.names) - MAX_NAMES
    names = ", ".join(request.names[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
    unproven = line.event == Event.CREATE and line.to_status == Status.ACCEPTED
    opening = _UNPROVEN if unproven else _OPENING[Event(line.event)]
    whose = request.requester.username
    did = "answered for the ACME credential" if request.acme_account_id else "asked"
    left = f"You get this because {whose}, who {did}, has left your organisation."
    return letter(
        subject=f"Request {request.pk}: {status}",
        blocks=(
            prose(opening.format(ra=rt.rules.ra)),
            table(
                {
                    "Request ID": request.pk,
                    "Names": names,
                    "Organisation": request.organisation.legal_name,
                    "Status": status,
                }
            ),
            f"See the request:\n{rt.base_url}/requests/{request.pk}/",
            section("Details", line.note),
            "" if request.requester.email in to else prose(left),
        ),
        to=to,
        headers={"X-Certdesk-Request": str(request.pk)},
    )
