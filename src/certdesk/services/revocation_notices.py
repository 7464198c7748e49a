"""E-mails about revocations: what became of them, to the people who hold the certificate."""

from datetime import datetime

from django.core.mail import EmailMessage

from certdesk.domain.actors import RaRole
from certdesk.domain.revocation import PLAIN, RevocationReason
from certdesk.services import runtime
from certdesk.services.letters import letter, prose, section, table
from certdesk.services.notices import MAX_NAMES, recipients
from certdesk.store.db import write_transaction
from certdesk.store.models import Revocation, RevocationOutcome
from certdesk.store.selectors.people import staff_mailboxes

_REVOKED = (
    "One of your certificates was revoked. Browsers and other clients reject it from now on: a server "
    "that still uses it needs another certificate."
)
_REFUSED = "The CA refused to revoke one of your certificates. It is still valid."


def mail_revocation(*, revocation_id: int, now: datetime) -> bool:
    """Says what became of a revocation; False when it is still open, or was told before.

    A refusal goes to the RA officers as well, for somebody has to talk to the CA. At least once, as all mail.
    """
    row = Revocation.objects.select_related(
        "certificate__request__requester", "certificate__request__organisation"
    ).get(id=revocation_id)
    if row.notified_at is not None or row.outcome == RevocationOutcome.OPEN:
        return False
    to = recipients(row.certificate.request)
    if row.outcome == RevocationOutcome.REFUSED:
        to += [address for address in staff_mailboxes(RaRole.OFFICER) if address not in to]
    if to:
        message(row, to=to).send()
    with write_transaction():
        Revocation.objects.filter(id=revocation_id).update(notified_at=now)
    return True


def message(row: Revocation, *, to: list[str]) -> EmailMessage:
    """The mail about one revocation. What other people wrote comes after the link."""
    rt, certificate = runtime.newest(), row.certificate
    request = certificate.request
    names = sorted(name.name for name in certificate.names.all())
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    refused = row.outcome == RevocationOutcome.REFUSED
    became = "was not revoked" if refused else "was revoked"
    return letter(
        subject=f"Certificate of request {request.pk} {became}",
        blocks=(
            prose(_REFUSED if refused else _REVOKED),
            table(
                {
                    "Names": f"{', '.join(names[:MAX_NAMES])}{more}",
                    "Serial number": certificate.serial,
                    "Organisation": request.organisation.legal_name,
                    "Request ID": request.pk,
                    "Reason": PLAIN[RevocationReason(row.reason)],
                    "Asked by": row.actor,
                }
            ),
            f"See the request:\n{rt.base_url}/requests/{request.pk}/",
            section("What the CA says", row.detail),
            section("Note", row.note),
        ),
        to=to,
        headers={"X-Certdesk-Request": str(request.pk)},
    )
