"""Keys that are never certified again (S4, S11, O3): compromised ones, and those sent to us by mistake."""

from collections.abc import Iterable
from datetime import datetime

from certdesk.domain.actors import Actor
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import BlockedKey
from certdesk.store.prepared import Prepared

_BLOCKED = Prepared(lambda key: BlockedKey.objects.filter(spki_sha256=key).values_list("id")[:1], str)


def block_keys(keys: Iterable[str], *, reason: str, actor: Actor, now: datetime) -> None:
    """Blocks public keys for good, each by the SHA-256 of its SubjectPublicKeyInfo in hex."""
    with write_transaction():
        for key in keys:
            _row, new = BlockedKey.objects.get_or_create(
                spki_sha256=key, defaults={"reason": reason, "at": now}
            )
            if new:
                audit.record(actor=actor, action="key.block", object_type="key", object_id=key, now=now)


def is_blocked(spki_sha256: str) -> bool:
    """Whether a public key, by the SHA-256 of its SubjectPublicKeyInfo in hex, is blocked."""
    return _BLOCKED.row(spki_sha256) is not None
