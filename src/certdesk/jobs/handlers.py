"""Job name → one idempotent service call. The queue stores the names: renaming one needs a migration."""

from django.utils import timezone

from certdesk.services import notices


def notify_applicant(*, event_id: int) -> None:
    """Mails the applicant about an event of a request."""
    notices.notify_applicant(event_id=event_id, now=timezone.now())


HANDLERS = {"notify_applicant": notify_applicant}
