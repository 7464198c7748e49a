"""Putting work into the queue: a row in the caller's transaction, run by `certdesk.jobs`.

Names a handler by its dotted path, since the store may not import the handlers above it.
"""

from datetime import datetime

from django_tasks_db.models import DBTaskResult

from certdesk.store.driver import insert

HANDLERS = "certdesk.jobs.handlers"


def enqueue(handler: str, *, due_at: datetime, **arguments: int | str) -> None:
    """Adds a job that calls `certdesk.jobs.handlers.<handler>(**arguments)` once `due_at` has come.

    A job is a hint: losing it or running it twice must be harmless.
    """
    insert(
        DBTaskResult(
            task_path=f"{HANDLERS}.{handler}",
            args_kwargs={"args": [], "kwargs": arguments},
            backend_name="default",
            run_after=due_at,
        )
    )
