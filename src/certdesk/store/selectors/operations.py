"""What an operator sees of the work in the background: counts and ages, never what a job is about."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Count, Min
from django_tasks.base import TaskResultStatus
from django_tasks_db.models import DBTaskResult

from certdesk.domain.actors import Action, Actor, require
from certdesk.domain.errors import NotFound
from certdesk.store.models import Issuance

LISTED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Work of one kind that is due now, and since when the oldest of it is."""

    due: int
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedJob:
    """A job that was given up. `reason` is the class of the last error: its text may name people."""

    id: UUID
    name: str
    tries: int
    failed_at: datetime | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """How the work in the background stands."""

    issuances: Backlog
    jobs: Backlog
    jobs_retrying: int
    jobs_failed: int
    failed: tuple[FailedJob, ...]


def operations(*, actor: Actor, now: datetime) -> Operations:
    """How the work stands, for operators. Raises NotFound for others."""
    require(actor, Action.SERVICE_OPERATE, "There is no such page.", refuse=NotFound)
    ready = DBTaskResult.objects.filter(status=TaskResultStatus.READY)
    failed = DBTaskResult.objects.filter(status=TaskResultStatus.FAILED)
    issuances = Issuance.objects.filter(next_attempt_at__lte=now).aggregate(
        due=Count("id"), oldest_at=Min("next_attempt_at")
    )
    jobs = ready.filter(run_after__lte=now).aggregate(due=Count("id"), oldest_at=Min("run_after"))
    return Operations(
        issuances=Backlog(**issuances),
        jobs=Backlog(**jobs),
        jobs_retrying=ready.filter(run_after__gt=now).exclude(exception_class_path="").count(),
        jobs_failed=failed.count(),
        failed=tuple(
            FailedJob(
                id=job.id,
                name=job.task_path.rpartition(".")[2],
                tries=len(job.worker_ids),
                failed_at=job.finished_at,
                reason=job.exception_class_path.rpartition(".")[2] or "worker ended",
            )
            for job in failed.order_by("-finished_at")[:LISTED]
        ),
    )
