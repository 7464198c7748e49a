"""Where the service has met a public key before, and the keys that are blocked.

What policy asks is read inside the caller's transaction. It sees every organisation: whose a key is never
reaches a person through there.
"""

import string
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from django.db.models import Count, F, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from certdesk.domain.actors import Action, Actor, require
from certdesk.domain.errors import NotFound, existing
from certdesk.store.models import BlockedKey, Certificate

NOBODY = 0  # no organisation has this number


def blocks_on(key: str | OuterRef, organisation: int | OuterRef) -> QuerySet[BlockedKey]:
    """The blocks of a key that hold for an organisation now."""
    found = BlockedKey.objects.filter(spki_sha256=key, ended_at__isnull=True)
    return found.filter(Q(organisation__isnull=True) | Q(organisation=organisation))


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedRow:
    """A block as officers and auditors see it. `organisation_name` is None where it is for everybody;
    `certificates` counts those in use for the key, of whatever organisation.
    """

    id: int
    spki_sha256: str
    organisation_id: int | None
    organisation_name: str | None
    reason: str
    proof: str  # a `KeyProof`
    by: str
    at: datetime
    ended_at: datetime | None
    ended_by: str
    ended_reason: str
    certificates: int


def key_is_blocked(*, spki_sha256: str, organisation_id: int | None) -> bool:
    """Whether a key is blocked for everybody, or for this organisation."""
    return blocks_on(spki_sha256, organisation_id or NOBODY).exists()


def list_blocked(
    *, actor: Actor, query: str = "", before: int | None = None, limit: int, now: datetime
) -> list[BlockedRow]:
    """The newest blocks, ended ones too; `query` is the beginning of a fingerprint.

    Raises NotFound for everybody but officers and auditors.
    """
    found, wanted = _blocks(actor, now=now), query.replace(":", "").strip().lower()
    if not set(wanted) <= set(string.hexdigits):
        return []
    if before is not None:
        found = found.filter(id__lt=before)
    return [BlockedRow(**row) for row in found.filter(spki_sha256__startswith=wanted).order_by("-id")[:limit]]


def blocked_key(*, actor: Actor, blocked_id: int, now: datetime) -> BlockedRow:
    """One block. Raises NotFound as `list_blocked` does, and where there is none."""
    row = existing(_blocks(actor, now=now).filter(id=blocked_id).first(), "There is no such blocked key.")
    return BlockedRow(**row)


def _blocks(actor: Actor, *, now: datetime) -> QuerySet[BlockedKey, dict[str, Any]]:
    require(actor, Action.KEY_READ, "There is nothing here.", refuse=NotFound)
    same_key = Certificate.objects.filter(spki_sha256=OuterRef("spki_sha256"))
    in_use = same_key.filter(revoked_at__isnull=True, not_after__gt=now).order_by().values("spki_sha256")
    counted = Subquery(in_use.annotate(count=Count("id")).values("count"), output_field=IntegerField())
    rows: QuerySet[BlockedKey, dict[str, Any]] = BlockedKey.objects.annotate(
        certificates=Coalesce(counted, 0), organisation_name=F("organisation__legal_name")
    ).values(*(one.name for one in fields(BlockedRow)))
    return rows
