"""The worker: runs due jobs with retry and back-off, and re-drives requests and revocations that are due.

A thread beside the web server, or `certdesk worker`. Several may share one database: jobs and requests
are claimed by compare-and-swap. The request rows are the source of truth, so a lost or doubled job is
harmless.
"""

import threading
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

import structlog
from django.db import close_old_connections, connection
from django.utils import timezone
from django_tasks.base import TaskResultStatus
from django_tasks_db.models import DBTaskResult

from certdesk.domain.errors import CertdeskError
from certdesk.jobs.handlers import HANDLERS, Note
from certdesk.jobs.lookout import CAS, RECONCILIATION, RENEWALS, Lookout
from certdesk.services.acme import challenges as acme_validation
from certdesk.services.acme import nonces as acme_nonces
from certdesk.services.acme import orders as acme_orders
from certdesk.services.issuance import engine as issuance
from certdesk.services.issuance import lint_again
from certdesk.services.mail import alerts
from certdesk.services.revocation import revoke as revocation
from certdesk.services.system import runtime
from certdesk.services.validation import by_email as validation
from certdesk.services.validation import perspectives, proof_warnings, reminders
from certdesk.store.apart import apart
from certdesk.store.db import write_transaction
from certdesk.store.jobs import HANDLERS as PLACE

log = structlog.get_logger()

Job: TypeAlias = DBTaskResult[..., None]

PAUSE = 0.5  # seconds between looks while nothing is due
BREATH = 0.2  # while there is: a dozen jobs in one look cost less than a look for each
BATCH = 20
LINTED_AT_ONCE = 10  # certificates, once more in full: some 30 ms of CPU in each look
SLOW = timedelta(seconds=2)  # one issuance that took so long is the last of its round
GIVE_UP_AFTER = 17  # tries: with the back-off below about a day
RETRY_FIRST, RETRY_MOST = timedelta(seconds=10), timedelta(hours=4)
DEAD_AFTER = timedelta(minutes=10)  # a job running longer belonged to a worker that died
KEEP_FINISHED = timedelta(days=14)
LAST_LOOKS = 5.0  # seconds that a worker which ends waits for looks under way; they are due again anyway
HOUSEKEEPING_EVERY = timedelta(minutes=5)
LOOK_SLOWLY_EVERY = timedelta(seconds=10)  # whether a CA is to be asked how it is, or a certificate renewed
LOOK_AT_LISTS_EVERY = timedelta(minutes=1)  # whether a CA's night has come; not at the very start


class Worker:
    """One worker. `stop` is set to end it; it finishes the job in hand."""

    def __init__(self, *, clock: Callable[[], datetime] = timezone.now) -> None:
        """Gives the worker a name of its own, by which it claims jobs."""
        self._clock = clock
        self.name = f"worker-{uuid.uuid4().hex[:12]}"
        self.stop = threading.Event()
        self._housekeeping_due = clock()
        self.lookout, self._cas = Lookout(clock=clock), Lookout(CAS, clock=clock)
        self._reconciliation = Lookout(RECONCILIATION, clock=clock)
        self._renewals = Lookout(RENEWALS, clock=clock)
        self._slow_due, self._reconciliation_due = clock(), clock() + LOOK_AT_LISTS_EVERY

    def run(self) -> None:
        """Works until `stop` is set. Nothing that a job does ends the worker."""
        while not self.stop.is_set():
            busy = False
            try:
                busy = self.tick(now=self._clock())
            except Exception:  # worker loop: whatever happened, the next tick tries again
                log.exception("worker.tick_failed")
                close_old_connections()
            self.stop.wait(BREATH if busy else PAUSE)
        self.lookout.wait(seconds=LAST_LOOKS)
        self._cas.wait(seconds=LAST_LOOKS)
        self._reconciliation.wait(seconds=LAST_LOOKS)
        self._renewals.wait(seconds=LAST_LOOKS)
        connection.close()

    def tick(self, *, now: datetime) -> bool:
        """One round: requests and revocations, jobs, housekeeping. True when there may be more to do."""
        runtime.look_again()
        for number in issuance.due_issuances(now=now, limit=BATCH):
            began = self._clock()
            try:
                issuance.drive(issuance_id=number, clock=self._clock)
            except Exception:  # worker loop: one that can't be driven must not hold up the others
                log.exception("worker.issuance_failed", issuance=number)
                issuance.postpone(issuance_id=number, now=self._clock())
            if self._clock() - began > SLOW:
                break  # a CA that does not answer; in between, all other work has its turn
        for intent in revocation.due_revocations(now=now, limit=BATCH):
            began = self._clock()
            try:
                revocation.drive_revocation(revocation_id=intent, clock=self._clock)
            except Exception:  # worker loop: as above; its lease puts it off
                log.exception("worker.revocation_failed", revocation=intent)
            if self._clock() - began > SLOW:
                break
        for challenge in acme_validation.due_looks(now=now, limit=BATCH):
            try:
                acme_validation.drive_look(challenge_id=challenge, clock=self._clock)
            except Exception:  # worker loop: as above; its lease puts it off
                log.exception("worker.challenge_failed", challenge=challenge)
        self.lookout.tick(now=now)
        if now >= self._slow_due:
            self._slow_due = now + LOOK_SLOWLY_EVERY
            self._cas.tick(now=now)
            self._renewals.tick(now=now)
        if now >= self._reconciliation_due:
            self._reconciliation_due = now + LOOK_AT_LISTS_EVERY
            self._reconciliation.tick(now=now)
        jobs = self._claim(now=now)
        _note_done([one for job in jobs if (one := self._run(job)) is not None])
        behind = lint_again.lint_issued(now=now, limit=LINTED_AT_ONCE)
        if now >= self._housekeeping_due:
            self._housekeeping_due = now + HOUSEKEEPING_EVERY
            self._keep_house(now=now)
        return bool(jobs) or behind

    def _keep_house(self, *, now: datetime) -> None:
        """Takes every step; one that breaks is among the failed jobs until it has been taken again."""
        failed = DBTaskResult.objects.filter(status=TaskResultStatus.FAILED)
        for name, step in STEPS.items():
            rows = failed.filter(task_path=f"{PLACE}.{name}")
            try:
                step(now=now)
            except Exception as error:  # worker loop: a step that breaks must not stop the others
                log.exception("worker.step_failed", step=name)
                columns = {"finished_at": now, "exception_class_path": _class_path(error)}
                with write_transaction():
                    if not rows.update(**columns):
                        DBTaskResult.objects.create(
                            task_path=f"{PLACE}.{name}",
                            args_kwargs={"args": [], "kwargs": {}},
                            backend_name="default",
                            run_after=now,
                            status=TaskResultStatus.FAILED,
                            worker_ids=[self.name],
                            **columns,
                        )
            else:
                if rows.exists():
                    with write_transaction():
                        rows.update(status=TaskResultStatus.SUCCESSFUL, finished_at=now)

    def _claim(self, *, now: datetime) -> list[Job]:
        due = DBTaskResult.objects.filter(status=TaskResultStatus.READY, run_after__lte=now)
        found = list(due.order_by("-priority", "run_after")[:BATCH])
        claimed: list[Job] = []
        if not found:
            return claimed
        with write_transaction():
            for job in found:
                workers = [*job.worker_ids, self.name]
                ready = DBTaskResult.objects.filter(id=job.id, status=TaskResultStatus.READY)
                if ready.update(status=TaskResultStatus.RUNNING, started_at=now, worker_ids=workers):
                    job.worker_ids = workers
                    claimed.append(job)
        return claimed

    def _run(self, job: Job) -> tuple[Job, Note | None] | None:
        """Runs a job; it comes back with what is to be written with it, or not at all when it failed."""
        name = job.task_path.rpartition(".")[2]
        try:
            if (step := STEPS.get(name)) is not None:
                step(now=timezone.now())
                return job, None
            note = HANDLERS[name](**job.args_kwargs["kwargs"])
        except Exception as error:  # noqa: BLE001 - worker loop: a job that fails is put back, never lost
            _failed(job, error, name=name)
            return None
        return job, note


def _note_done(done: Sequence[tuple[Job, Note | None]]) -> None:
    """Writes down what was done in a round, together: dying before that runs it again, which is harmless."""
    if not done:
        return
    with write_transaction():
        for _job, note in done:
            if note is not None:
                note()
        _finish([job for job, _note in done], status=TaskResultStatus.SUCCESSFUL)


def recover_dead(*, now: datetime) -> int:
    """Gives the jobs of workers that died back to the queue; returns how many."""
    dead = DBTaskResult.objects.filter(status=TaskResultStatus.RUNNING, started_at__lt=now - DEAD_AFTER)
    recovered: list[int] = []

    def recover(numbers: Sequence[uuid.UUID]) -> None:
        with write_transaction():
            for job in dead.filter(id__in=numbers):
                if len(job.worker_ids) >= GIVE_UP_AFTER:  # it kills whoever runs it
                    _finish([job], status=TaskResultStatus.FAILED)
            again = dead.filter(id__in=numbers).update(status=TaskResultStatus.READY, run_after=now)
        recovered.append(again)

    apart(list(dead.values_list("id", flat=True)), recover)
    return sum(recovered)


def clear_jobs(*, now: datetime) -> None:
    DBTaskResult.objects.filter(finished_at__lt=now - KEEP_FINISHED).delete()


#: What is done every few minutes, each by itself.
STEPS: dict[str, Callable[..., object]] = {
    "recover_dead": recover_dead,
    "clear_jobs": clear_jobs,
    "alert_overdue": alerts.alert_overdue,
    "remind_lapsing": reminders.remind_lapsing,
    "warn_ahead": proof_warnings.warn_ahead,
    "warn_operators": perspectives.warn_operators,
    "refresh_waiting": validation.refresh_waiting,
    "clear_nonces": acme_nonces.clear_nonces,
    "clear_orders": acme_orders.clear_orders,
}


def backoff(tries: int) -> timedelta:
    """How long a job waits after so many failed tries: doubling, with a ceiling."""
    return min(RETRY_FIRST * int(2 ** max(tries - 1, 0)), RETRY_MOST)


def _failed(job: Job, error: Exception, *, name: str) -> None:
    tries = len(job.worker_ids)
    log.warning(
        "job.failed",
        job=name,
        tries=tries,
        error=type(error).__name__,
        exc_info=not isinstance(error, CertdeskError),
    )
    if tries >= GIVE_UP_AFTER:
        _finish([job], status=TaskResultStatus.FAILED, error=error)
        return
    with write_transaction():
        DBTaskResult.objects.filter(id=job.id).update(
            status=TaskResultStatus.READY,
            run_after=timezone.now() + backoff(tries),
            exception_class_path=_class_path(error),
        )


def _finish(jobs: Sequence[Job], *, status: TaskResultStatus, error: Exception | None = None) -> None:
    if not jobs:
        return
    with write_transaction():
        DBTaskResult.objects.filter(id__in=[job.id for job in jobs]).update(
            status=status,
            finished_at=timezone.now(),
            exception_class_path=_class_path(error) if error else "",
        )


def _class_path(error: Exception) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"
