"""The audit chain: canonical bytes of an event and the hash that binds it to the one before.

Pure. The store writes the rows inside the transaction of the change that they record.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One audit event before it is chained. `data` is JSON and holds no secret."""

    seq: int
    at: datetime
    actor: str
    user_id: int | None
    action: str
    object_type: str
    object_id: str
    organisation_id: int | None
    data: Mapping[str, object]


def canonical_json(value: object) -> bytes:
    """The one byte form of a JSON value: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(value: object) -> str:
    """SHA-256 of the canonical form, in hex."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def chain_hash(entry: Entry, *, previous_hash: str) -> str:
    """The hash of an event: over its own canonical form and the hash of the event before it."""
    return digest(
        {
            "seq": entry.seq,
            "at": entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
            "actor": entry.actor,
            "user_id": entry.user_id,
            "action": entry.action,
            "object_type": entry.object_type,
            "object_id": entry.object_id,
            "organisation_id": entry.organisation_id,
            "data": entry.data,
            "previous_hash": previous_hash,
        }
    )
