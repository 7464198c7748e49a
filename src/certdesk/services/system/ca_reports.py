"""What CAs say of themselves, asked by a worker beside its other work and kept: no page waits for a CA."""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from certdesk.backends.base import Backend
from certdesk.domain.findings import Check, Verdict, as_record
from certdesk.services.system import runtime
from certdesk.store.db import write_transaction
from certdesk.store.models import CaReport
from certdesk.store.selectors.cas import newest_reports

log = structlog.get_logger()

EVERY, KEPT = timedelta(minutes=1), timedelta(days=1)


def reports_due(*, now: datetime) -> bool:
    """Whether a CA has not been asked for a minute, by any worker."""
    names = list(runtime.current().backends)
    known = newest_reports(names)
    return any(name not in known or known[name].at <= now - EVERY for name in names)


def take_reports(*, clock: Callable[[], datetime], limit: int = 20) -> None:
    """Asks every CA, one after the other and outside any transaction, and keeps what it said."""
    for name, backend in list(runtime.current().backends.items())[:limit]:
        began = clock()
        checks = checked(backend)
        now = clock()
        took = round((now - began).total_seconds() * 1000)
        with write_transaction(durable=False):
            CaReport.objects.create(
                backend=name, at=now, took_ms=max(0, took), checks=[as_record(check) for check in checks]
            )
    with write_transaction(durable=False):
        CaReport.objects.filter(at__lt=clock() - KEPT).delete()


def checked(backend: Backend) -> tuple[Check, ...]:
    """What a CA's own checks say; one that breaks can't be used."""
    try:
        return backend.check()
    except Exception:  # plug-in boundary: a back end that breaks says nothing of the others
        log.exception("ca_report.check_broke", backend=backend.name)
        told = "Its check broke; the log of the worker says where."
        return (Check("backend.unusable", Verdict.REFUSE, told),)
