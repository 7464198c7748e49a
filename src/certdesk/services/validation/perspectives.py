"""Warning operators before a dated rule asks for more perspectives than are set up (BR 3.2.2.9).

From that day each validation would fail, and a start is refused: so it is told 90, 30 and 7 days before. What
is too few already stops the start (`conf.perspectives`), and is nothing for this module.
"""

from datetime import datetime, timedelta

import structlog

from certdesk.domain.actors import RaRole
from certdesk.domain.validation.corroboration import WARN_AHEAD, Shortfall, coming_shortfall
from certdesk.services.mail.compose import letter, prose
from certdesk.services.system import runtime
from certdesk.store import audit
from certdesk.store.once import tell_once
from certdesk.store.selectors.people import staff_mailboxes

log = structlog.get_logger()

STEPS = (7, 30, WARN_AHEAD.days)
TOLD = "service.warn_perspectives"


def shortfall(*, now: datetime) -> Shortfall | None:
    """What will be missing within 90 days; None where nothing will, or where the number is the operator's."""
    return coming_shortfall(runtime.current().ruled_perspectives, now=now, ahead=WARN_AHEAD)


def warn_operators(*, now: datetime) -> bool:
    """Queues the mail of the step that has been reached; each is told once, however many processes look."""
    found = shortfall(now=now)
    if found is None:
        return False
    step = next(days for days in STEPS if found.on - now <= timedelta(days=days))
    data = {"days": step, "needed": found.needed.perspectives, "set_up": found.perspectives}
    deed = audit.Deed(TOLD, "service", found.on.date().isoformat(), data=data)
    told = tell_once(
        lambda: [step], lambda _step: deed, lambda _new: [("mail_perspectives", {})], by="days", now=now
    )
    return bool(told)


def mail_perspectives(*, now: datetime) -> bool:
    """Tells the operators; False when nothing is missing any more, or nobody has a mailbox."""
    found, rt = shortfall(now=now), runtime.current()
    to = staff_mailboxes(RaRole.OPERATOR)
    if found is not None and not to:
        log.error("perspectives.shortfall_untold", on=found.on.isoformat())
    if found is None or not to:
        return False
    letter(
        subject=f"More perspectives are needed from {found.day}",
        blocks=(
            prose(found.message),
            prose(found.to_do),
            "Until then nothing changes. The page of the service says the same:",
            f"{rt.base_url}/service/",
        ),
        to=to,
    ).send()
    return True
