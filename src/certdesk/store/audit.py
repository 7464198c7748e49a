"""The only writer of audit rows: chained, inside the transaction of the change that they record."""

from collections.abc import Mapping
from datetime import datetime

from django.db import connection

from certdesk.domain.actors import Actor
from certdesk.domain.audit import GENESIS, Entry, chain_hash
from certdesk.domain.errors import InvariantViolated
from certdesk.store.models import AuditEvent

#: Any constant will do; it names the lock that orders appends to the chain on PostgreSQL.
CHAIN_LOCK = 0x6365727464


def record(
    *,
    actor: Actor,
    action: str,
    object_type: str,
    object_id: object,
    now: datetime,
    organisation_id: int | None = None,
    data: Mapping[str, object] | None = None,
) -> None:
    """Appends one event to the chain.

    Raises InvariantViolated outside a transaction: no audit, no action (L1). Appends are ordered by
    an advisory lock on PostgreSQL and by SQLite's single writer; the unique `previous_hash` makes a
    fork impossible even so.
    """
    if not connection.in_atomic_block:
        raise InvariantViolated("an audit event belongs into the transaction of its change")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CHAIN_LOCK])
    last = AuditEvent.objects.order_by("-seq").values_list("seq", "hash").first()
    seq, previous_hash = (last[0] + 1, last[1]) if last else (1, GENESIS)
    entry = Entry(
        seq=seq,
        at=now,
        actor=actor.label,
        user_id=actor.user_id,
        action=action,
        object_type=object_type,
        object_id=str(object_id),
        organisation_id=organisation_id,
        data=dict(data or {}),
    )
    AuditEvent.objects.create(
        seq=entry.seq,
        at=entry.at,
        actor=entry.actor,
        user_id=entry.user_id,
        action=entry.action,
        object_type=entry.object_type,
        object_id=entry.object_id,
        organisation_id=entry.organisation_id,
        data=entry.data,
        previous_hash=previous_hash,
        hash=chain_hash(entry, previous_hash=previous_hash),
    )
