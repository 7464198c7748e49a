"""Which CAs have not answered lately, as far as this process knows: a circuit breaker for each.

What is memory here is advice for choosing, never a reason to send something twice. Nothing is asked here.
"""

import threading
from datetime import datetime, timedelta

#: So many times in a row, and a CA is passed over for so long; then the next one that needs a CA tries it.
FAILURES, PAUSE = 2, timedelta(minutes=1)


class Health:
    """Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed: dict[str, tuple[int, datetime]] = {}  # how often in a row, and when last

    def note(self, ca: str, *, answered: bool, now: datetime) -> None:
        """What came of asking it; one answer, if only a refusal, and all is well."""
        with self._lock:
            if answered:
                self._failed.pop(ca, None)
            else:
                times, _last = self._failed.get(ca, (0, now))
                self._failed[ca] = times + 1, now

    def is_down(self, ca: str, *, now: datetime) -> bool:
        """Whether it is to be passed over at present where another CA can do it."""
        times, last = self._failed.get(ca, (0, now))
        return times >= FAILURES and now - last < PAUSE


#: What this process has seen.
HEALTH = Health()
