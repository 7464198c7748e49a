"""Job name → one idempotent service call. The queue stores the names: renaming one needs a migration."""

from collections.abc import Callable
from datetime import datetime

from django.utils import timezone

from certdesk.services.issuance import findings
from certdesk.services.mail import account as account_mail
from certdesk.services.mail import alerts, notices, renewals
from certdesk.services.people import accounts as people
from certdesk.services.revocation import revoke as revocation
from certdesk.services.validation import perspectives, proof_warnings, reminders

#: What is written when a job is done, in one transaction with the others that were done in the same round.
Note = Callable[[], None]


def notify_applicant(*, event_id: int) -> Note | None:
    if not notices.tell_applicant(event_id=event_id):
        return None
    return lambda: notices.note_told(event_id=event_id, now=timezone.now())


def alert_officers(*, numbers: str, awaited: str) -> None:
    """Mails the RA officers about what has waited too long; `numbers` has commas between them."""
    alerts.mail_officers(
        numbers=[int(number) for number in numbers.split(",")], awaited=alerts.Awaited(awaited)
    )


def mail_lapsing(*, domain_id: int, expires_at: str, audience: str) -> None:
    reminders.mail_lapsing(
        domain_id=domain_id,
        expires_at=datetime.fromisoformat(expires_at),
        audience=reminders.Audience(audience),
        now=timezone.now(),
    )


def mail_account(*, user_id: int, occasion: str, by: str) -> None:
    """Tells a person what somebody did about the account: added, a new password, enabled again."""
    account_mail.mail_account(
        user_id=user_id, occasion=account_mail.Occasion(occasion), by=by, now=timezone.now()
    )


def mail_vanished(*, domain_id: int, missing_since: str) -> None:
    proof_warnings.mail_vanished(
        domain_id=domain_id, missing_since=datetime.fromisoformat(missing_since), now=timezone.now()
    )


def mail_password_reset(*, email: str) -> None:
    """Mails a link to the person with this address; there may be none."""
    people.mail_password_reset(email=email)


def _now(step: Callable[..., bool]) -> Callable[..., None]:
    """The step, taken at the time when the job is run."""

    def run(**about: object) -> None:
        step(**about, now=timezone.now())

    return run


HANDLERS: dict[str, Callable[..., Note | None]] = {
    "mail_account": mail_account,
    "mail_password_reset": mail_password_reset,
    "alert_officers": alert_officers,
    "mail_findings": _now(findings.mail_findings),
    "mail_lapsing": mail_lapsing,
    "mail_not_renewed": _now(renewals.mail_not_renewed),
    "mail_renewed": _now(renewals.mail_renewed),
    "mail_revocation": _now(revocation.mail_revocation),
    "mail_sunset": _now(proof_warnings.mail_sunset),
    "mail_perspectives": _now(perspectives.mail_perspectives),
    "mail_unproven": _now(proof_warnings.mail_unproven),
    "mail_vanished": mail_vanished,
    "notify_applicant": notify_applicant,
}
