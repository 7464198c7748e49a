"""E-mails about renewals that nobody asked for: a new certificate to install, or one that does not come.

To the person who asked for the request or, once that person has left, to the managers. At least once, as all
mail.
"""

from datetime import datetime

import structlog

from certdesk.services.mail.compose import letter, prose, section, table
from certdesk.services.mail.notices import MAX_NAMES, recipients
from certdesk.services.system import runtime
from certdesk.store.models import Certificate, Renewal

log = structlog.get_logger()

_ROWS = ("request__requester", "request__organisation", "issuance")
_RENEWED = (
    "We have renewed a certificate, with the same CSR, so that its key stays as it is. Please download the "
    "new one and install it on the server before the one before ends."
)
_NEEDS_CSR = (
    "A certificate has to be renewed, and we can't do it with the same CSR. Please make a new key and CSR, "
    "and send the CSR on the request's page: no one has to approve it again."
)
_HELD_UP = (
    "A certificate has to be renewed, and something stands in the way. We try again, less and less often. "
    "Please see below what it is, and put it right if it lies with you."
)


def mail_renewed(*, certificate_id: int, now: datetime) -> bool:
    """Says that a renewed certificate is there; False once it has been replaced or revoked in turn."""
    row = Certificate.objects.select_related(*_ROWS).get(id=certificate_id)
    newer = Certificate.objects.filter(
        request=row.request_id, id__gt=row.pk, issuance__names=row.issuance.names
    )
    if row.revoked_at is not None or now > row.not_after or newer.filter(withheld=False).exists():
        return False
    earlier = Certificate.objects.filter(request=row.request_id, id__lt=row.pk, withheld=False)
    before = earlier.filter(issuance__names=row.issuance.names).order_by("-id").first()
    times = {"The new one ends": _moment(row.not_after)}
    if before is not None:
        times = {"The one before ends": _moment(before.not_after)} | times
    return _send(row, f"Certificate of request {row.request_id} renewed: install it", _RENEWED, times)


def mail_not_renewed(*, renewal_id: int, now: datetime) -> bool:
    """Says what stands in the way of a renewal; False once nothing does."""
    renewal = Renewal.objects.get(id=renewal_id)
    if renewal.next_attempt_at is None or not renewal.problem:
        return False
    row = Certificate.objects.select_related(*_ROWS).get(id=renewal.certificate_id)
    ends = "has ended" if now > row.not_after else f"ends on {row.not_after:%-d %B %Y}"
    what = "needs a new CSR" if renewal.needs_csr else "is not renewed yet"
    subject = f"Certificate of request {row.request_id} {what}: it {ends}"
    opening = _NEEDS_CSR if renewal.needs_csr else _HELD_UP
    return _send(row, subject, opening, {"It ends": _moment(row.not_after)}, why=renewal.problem)


def _send(row: Certificate, subject: str, opening: str, times: dict[str, str], *, why: str = "") -> bool:
    to = recipients(row.request)
    if not to:
        log.error("renewals.nobody_told", request=row.request_id)
        return False
    rt, request, names = runtime.newest(), row.request, row.issuance.names
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    about = {
        "Request ID": request.pk,
        "Names": f"{', '.join(names[:MAX_NAMES])}{more}",
        "Organisation": request.organisation.legal_name,
        **times,
    }
    left = f"You get this because {request.requester.username}, who asked, has left your organisation."
    letter(
        subject=subject,
        blocks=(
            prose(opening),
            table(about),
            f"See the request:\n{rt.base_url}/requests/{request.pk}/",
            section("What stands in the way", why),
            "" if request.requester.email in to else prose(left),
        ),
        to=to,
        headers={"X-Certdesk-Request": str(request.pk)},
    ).send()
    return True


def _moment(at: datetime) -> str:
    return f"{at:%-d %B %Y at %H:%M} UTC"
