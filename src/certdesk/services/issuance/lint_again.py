"""Every certificate that was linted before it was signed is linted in full once more after it was issued.

Lint per shape (`domain.issuing.lint_shapes`) is a shorter way to a verdict; this says whether it led to
the same.
At the first certificate for which it did not, issuing stops until an operator lets it go on.
"""

from datetime import datetime

import structlog

from certdesk.domain.actors import SYSTEM
from certdesk.domain.issuing.lint import blocking, lint_certificate
from certdesk.domain.issuing.states import Work
from certdesk.domain.settings import MAX_REASON
from certdesk.services.system import runtime
from certdesk.services.system.settings import change_settings
from certdesk.store.db import write_transaction
from certdesk.store.models import Issuance

log = structlog.get_logger()


def lint_issued(*, now: datetime, limit: int) -> bool:
    """Lints the oldest certificates that are still to be linted, so many at most; False when there were none.

    At least once: a crash in between lints them again. Stops issuing where one breaks a rule; each such
    certificate does so once, so that an operator can go on.
    """
    waiting = Issuance.objects.filter(state=Work.ISSUED, tbs__isnull=False, linted_at__isnull=True)
    rows = list(waiting.order_by("id").values_list("id", "certificate__serial", "certificate__der")[:limit])
    if not rows:
        return False
    broken: list[str] = []
    for _number, serial, der in rows:
        try:
            codes = sorted({one.code for one in blocking(lint_certificate(bytes(der)))})
        except Exception:  # what can't be linted has not been shown to be right, and holds up no other
            log.exception("issuance.lint_again_failed", serial=serial)
            codes = ["it can't be linted"]
        if codes:
            broken.append(f"certificate {serial} ({', '.join(codes)})")
    with write_transaction():
        if broken:
            reason = f"Lint before signing let pass what breaks a rule: {'; '.join(broken)}."
            log.error("issuance.stopped", reason=reason)
            if not runtime.newest().settings.issuing_stopped:
                values = {"issuing_stopped": reason[:MAX_REASON]}
                change_settings(actor=SYSTEM, values=values, seen_version=None, now=now)
        Issuance.objects.filter(id__in=[number for number, _serial, _der in rows]).update(linted_at=now)
    return True
