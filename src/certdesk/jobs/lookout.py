"""Looks for proofs beside the worker: a slow name server must not hold up a certificate.

One thread at a time, made when something is due. What it does not finish is due again: looks are claimed in
the rows, so that several workers share them.
"""

import threading
from collections.abc import Callable
from datetime import datetime

import structlog
from django.db import connection

from certdesk.services.validation import by_publication as validation_methods
from certdesk.services.validation import persistent

log = structlog.get_logger()

BATCH = 100


class Lookout:
    def __init__(self, *, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._thread: threading.Thread | None = None

    def tick(self, *, now: datetime) -> None:
        """Starts a round when something is due and none is running."""
        if self._thread is not None and self._thread.is_alive():
            return
        if validation_methods.any_due(now=now) or persistent.any_due(now=now):
            self._thread = threading.Thread(target=self._round, name="lookout", daemon=True)
            self._thread.start()

    def wait(self, *, seconds: float) -> None:
        if self._thread is not None:
            self._thread.join(timeout=seconds)

    def _round(self) -> None:
        for look in (validation_methods.check_due, persistent.watch_due):
            try:
                look(clock=self._clock, limit=BATCH)
            except Exception:  # worker loop: whatever happened, the next round tries again
                log.exception("lookout.round_failed", look=look.__name__)
        connection.close()
