"""What an operator does about the work in the background. Jobs are hints: doing one twice is harmless."""

from datetime import datetime
from uuid import UUID

from django_tasks.base import TaskResultStatus
from django_tasks_db.models import DBTaskResult

from certdesk.domain.actors import Action, Actor, require
from certdesk.domain.errors import StateConflict
from certdesk.services.people.permissions import actor_now
from certdesk.store import audit
from certdesk.store.db import write_transaction


def retry_job(*, actor: Actor, job_id: UUID, now: datetime) -> None:
    """Puts a job that was given up back into the queue, with all its tries before it again.

    Raises NotAuthorized, StateConflict when it is not there or not given up (any more).
    """
    with write_transaction():
        require(actor_now(actor), Action.SERVICE_OPERATE, "Only an operator runs jobs again.")
        found = DBTaskResult.objects.filter(id=job_id, status=TaskResultStatus.FAILED)
        path = found.values_list("task_path", flat=True).first()
        again = found.update(
            status=TaskResultStatus.READY, run_after=now, started_at=None, finished_at=None, worker_ids=[]
        )
        if not again:
            raise StateConflict("This job is no longer among the failed ones.")
        data = {"job": str(path).rpartition(".")[2]}
        audit.record(actor, "job.retry", job_id, now=now, data=data)
