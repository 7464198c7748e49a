"""What CAs and we do not agree on, as operators and auditors see it, and how far each CA was compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from certdesk.domain.actors import Action, Actor, require
from certdesk.domain.errors import NotFound
from certdesk.store.copied import copied
from certdesk.store.models import Finding, FindingState, Reconciliation

WAITING = (FindingState.OPEN, FindingState.REVOKING)


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingRow:
    """One finding. `names` are the first of `names_count`; `can_revoke` where the certificate is at hand."""

    id: int
    backend: str
    kind: str
    state: str
    detail: str
    serial: str
    names: list[str]
    names_count: int
    not_before: datetime | None
    not_after: datetime | None
    request_id: int | None
    found_at: datetime
    ended_at: datetime | None
    by: str
    note: str
    can_revoke: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """How far a CA was compared with us; `problem` says why the last try came to no end."""

    backend: str
    complete_at: datetime | None
    since: datetime | None
    listed: int
    adopted: int
    left_out: int
    tried_at: datetime | None
    problem: str


def list_findings(
    *, actor: Actor, waiting: bool, backend: str = "", before: int | None = None, limit: int
) -> list[FindingRow]:
    """Findings that wait for somebody, or those that do not, newest first. Raises NotFound."""
    require(actor, Action.FINDING_READ, "There is no such page.", refuse=NotFound)
    rows = (
        Finding.objects.filter(state__in=WAITING) if waiting else Finding.objects.exclude(state__in=WAITING)
    )
    rows = rows.filter(backend=backend) if backend else rows
    rows = rows if before is None else rows.filter(id__lt=before)
    return [
        copied(FindingRow, row, can_revoke=row.der is not None and row.kind == "unknown")
        for row in rows.order_by("-id")[:limit]
    ]


def count_waiting(*, actor: Actor) -> int:
    """How many wait for somebody. Raises NotFound for who may not see them."""
    require(actor, Action.FINDING_READ, "There is no such page.", refuse=NotFound)
    return Finding.objects.filter(state__in=WAITING).count()


def compared(*, actor: Actor, names: Sequence[str]) -> dict[str, Compared]:
    """The state of each of these CAs that was looked at, by name. Raises NotFound for who may not see it."""
    require(actor, Action.FINDING_READ, "There is no such page.", refuse=NotFound)
    rows = Reconciliation.objects.filter(backend__in=names, tried_at__isnull=False)
    return {row.backend: copied(Compared, row) for row in rows}
