"""Told once: the audit log remembers of what people were told, however many processes look."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from certdesk.domain.actors import SYSTEM
from certdesk.store import audit, jobs
from certdesk.store.apart import apart
from certdesk.store.db import write_transaction
from certdesk.store.models import AuditEvent

#: Much may be due at once after an outage or a migration; the rest follows with the next tick.
AT_ONCE = 200

Row = TypeVar("Row")


def tell_once(
    due: Callable[[], Iterable[Row]],
    deed: Callable[[Row], audit.Deed],
    mails: Callable[[Sequence[audit.Deed]], Iterable[tuple[str, Mapping[str, Any]]]],
    *,
    by: str = "",
    now: datetime,
) -> list[audit.Deed]:
    """Records what is due and was not told before, and queues its mails, in one transaction; returns it.

    `due` is called again under the audit log's lock. The deeds of its rows are of one action, about one kind
    of object; `by` names the entry of a deed's data that tells one telling about an object from the next.
    `mails` makes the jobs of what is new: handler and arguments. A row that breaks is left out, and what it
    raised is raised once the others are told.
    """
    told: list[audit.Deed] = []

    def tell(rows: Sequence[Row]) -> None:
        if not _untold([deed(row) for row in rows], by):
            return
        with write_transaction():
            audit.lock_chain()
            wanted = set(rows)
            new = _untold([deed(row) for row in due() if row in wanted], by)[:AT_ONCE]
            if new:
                audit.record_all(new, actor=SYSTEM, now=now)
                for handler, arguments in mails(new):
                    jobs.enqueue(handler, due_at=now, **arguments)
        told.extend(new)

    apart(list(due()), tell)
    return told


def _untold(deeds: Sequence[audit.Deed], by: str) -> list[audit.Deed]:
    told = AuditEvent.objects.filter(
        object_type__in={deed.object_type for deed in deeds},
        object_id__in=[str(deed.object_id) for deed in deeds],
        action__in={deed.action for deed in deeds},
    ).values_list("object_id", "data")
    known = {(number, data.get(by)) for number, data in told}
    return [deed for deed in deeds if (str(deed.object_id), deed.data.get(by)) not in known]
