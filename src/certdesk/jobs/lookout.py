"""What a worker asks of the network beside its other work: a slow name server, or a CA that does not answer,
must not hold up a certificate.

One thread at a time for each kind, made when something is due. What it does not finish is due again: looks
are claimed in the rows, so that several workers share them.
"""

import threading
from collections.abc import Callable
from datetime import datetime

import structlog
from django.db import connection

from certdesk.services.issuance import findings, reconcile
from certdesk.services.requests import renewing
from certdesk.services.system import ca_reports
from certdesk.services.validation import by_publication as validation_methods
from certdesk.services.validation import persistent

log = structlog.get_logger()

BATCH = 100


def _proofs_due(*, now: datetime) -> bool:
    return validation_methods.any_due(now=now) or persistent.any_due(now=now)


def _reconciliation_due(*, now: datetime) -> bool:
    return findings.revoking_due(now=now) or reconcile.looks_due(now=now)


#: Kind → whether it is due, and what is then done.
PROOFS = _proofs_due, (validation_methods.check_due, persistent.watch_due)
RECONCILIATION = _reconciliation_due, (findings.drive_revoking, reconcile.take_looks)
CAS = ca_reports.reports_due, (ca_reports.take_reports,)
RENEWALS = renewing.any_due, (renewing.renew_due,)


class Lookout:
    def __init__(
        self,
        kind: tuple[Callable[..., bool], tuple[Callable[..., object], ...]] = PROOFS,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        (self._due, self._looks), self._clock = kind, clock
        self._thread: threading.Thread | None = None

    def tick(self, *, now: datetime) -> None:
        """Starts a round when something is due and none is running."""
        if self._thread is not None and self._thread.is_alive():
            return
        if self._due(now=now):
            self._thread = threading.Thread(target=self._round, name="lookout", daemon=True)
            self._thread.start()

    def wait(self, *, seconds: float) -> None:
        if self._thread is not None:
            self._thread.join(timeout=seconds)

    def _round(self) -> None:
        for look in self._looks:
            try:
                look(clock=self._clock, limit=BATCH)
            except Exception:  # worker loop: whatever happened, the next round tries again
                log.exception("lookout.round_failed", look=look.__name__)
        connection.close()
