"""How long a request has been waiting for the CA, and how long that usually takes, in words.

Pure: what was measured comes in, text goes out.
"""

from collections.abc import Sequence
from datetime import timedelta
from statistics import median

from certdesk.domain.issuing.states import Event, Status

#: Nothing but the CA (or our way to it) is awaited with these.
AWAITING_CA = (Status.ACCEPTED, Status.SUBMITTED)
#: The events that hand a request to automatic processing: with the last of them its present wait began.
STARTS = (Event.CREATE, Event.APPROVE, Event.RETRY)
#: From then on it is a matter for the RA's staff.
OVERDUE_AFTER = timedelta(hours=24)
#: "Usually" wants more than a chance hit or two.
ENOUGH = 3

_UNITS = ((timedelta(days=1), "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute"))


def usual_time(took: Sequence[timedelta]) -> timedelta | None:
    """The median of what was measured; None when there is too little to speak of a usual time."""
    return timedelta(seconds=median(t.total_seconds() for t in took)) if len(took) >= ENOUGH else None


def waiting_phrase(*, elapsed: timedelta, usual: timedelta | None) -> str:
    """Such as `Waiting for 2 hours; this CA usually takes 2 to 3 hours.`"""
    waiting = f"Waiting for {_whole(elapsed)}"
    return f"{waiting}." if usual is None else f"{waiting}; this CA usually takes {_about(usual)}."


def dns_phrase(*, elapsed: timedelta, ra: str) -> str:
    """Such as `Waiting for the DNS for 2 hours; we keep asking.`, and whether people know of it."""
    told = f" We have alerted {ra}." if elapsed >= OVERDUE_AFTER else ""
    return f"Waiting for the DNS for {_whole(elapsed)}; we keep asking.{told}"


def _whole(span: timedelta) -> str:
    """A span in whole units of its largest unit, rounded down."""
    for unit, word in _UNITS:
        if span >= unit:
            return _counted(span // unit, word)
    return "less than a minute"


def _about(span: timedelta) -> str:
    """The whole units between which a span lies: finer would promise more than a median can keep."""
    for unit, word in _UNITS:
        if span >= unit:
            least, rest = divmod(span, unit)
            return f"{least} to {least + 1} {word}s" if rest else f"about {_counted(least, word)}"
    return "less than a minute"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
