"""The only writer of audit rows: chained, inside the transaction of the change that they record."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from certdesk.domain.actors import Actor
from certdesk.domain.audit import GENESIS, Entry, chain_hash
from certdesk.domain.errors import InvariantViolated
from certdesk.store.db import before_commit, put_last, waits_for_the_end, write_mark
from certdesk.store.driver import fetch, own_connection
from certdesk.store.models import AuditEvent

#: Any constant will do; it names the lock that orders appends to the chain on PostgreSQL.
CHAIN_LOCK = 0x6365727464
_LOCK = f"SELECT pg_advisory_xact_lock({CHAIN_LOCK})"
_LAST = "SELECT seq, hash FROM store_auditevent ORDER BY seq DESC LIMIT 1"
_waiting = threading.local()


@dataclass(frozen=True, slots=True)
class Deed:
    """What was done to which object; `data` is JSON and holds no secret."""

    action: str
    object_type: str
    object_id: object
    organisation_id: int | None = None
    data: Mapping[str, object] = field(default_factory=dict)
    actor: Actor | None = None  # where it is another than whoever did the rest


def record(
    actor: Actor,
    action: str,
    object_id: object,
    organisation_id: int | None = None,
    *,
    object_type: str = "",
    now: datetime,
    data: Mapping[str, object] | None = None,
) -> None:
    """Appends one event to the chain, about what its action begins with unless told otherwise; see
    `record_all`.
    """
    deed = Deed(action, object_type or action.partition(".")[0], object_id, organisation_id, data or {})
    record_all([deed], actor=actor, now=now)


def record_all(deeds: Sequence[Deed], *, actor: Actor, now: datetime) -> None:
    """Appends events to the chain, in their order, at the end of the transaction: writers wait for one
    another no longer than they have to.

    Raises InvariantViolated outside a transaction: no audit, no action. Appends are ordered by
    an advisory lock on PostgreSQL and by SQLite's single writer; the unique `previous_hash` makes a
    fork impossible even so.
    """
    mark, mine = write_mark(), [(deed, deed.actor or actor, now) for deed in deeds]
    if not waits_for_the_end():
        _append(mine)
    elif getattr(_waiting, "mark", None) is mark:
        _waiting.deeds += mine
    else:
        before_commit(_append_waiting)
        _waiting.mark, _waiting.deeds = mark, mine


def lock_chain() -> tuple[int, str]:
    """Makes every other append wait for the end of the transaction; number and hash of the last one.

    Raises InvariantViolated outside a transaction.
    """
    own = own_connection()
    if not own.in_atomic_block:
        raise InvariantViolated("an audit event belongs into the transaction of its change")
    last = fetch(own, _LAST, lock=_LOCK if own.vendor == "postgresql" else "")
    return (last[0][0], last[0][1]) if last else (0, GENESIS)


def _append_waiting() -> None:
    _append(_waiting.deeds)


def _append(deeds: Sequence[tuple[Deed, Actor, datetime]]) -> None:
    seq, previous_hash = lock_chain()
    rows = []
    for deed, actor, now in deeds:
        seq += 1
        told: dict[str, Any] = {
            "seq": seq,
            "at": now,
            "actor": actor.label,
            "user_id": actor.user_id,
            "action": deed.action,
            "object_type": deed.object_type,
            "object_id": str(deed.object_id),
            "organisation_id": deed.organisation_id,
            "data": dict(deed.data),
        }
        found = chain_hash(Entry(**told), previous_hash=previous_hash)
        row = {**told, "previous_hash": previous_hash, "hash": found}
        previous_hash = str(row["hash"])
        rows.append(row)
    put_last(AuditEvent, rows)
