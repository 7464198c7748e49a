"""What an operator has changed in the portal, and when."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.errors import NotFound
from certdesk.store.driver import Statement
from certdesk.store.models import SettingsVersion

#: Any constant will do that no other lock has; it lets one change of the settings in at a time.
SETTINGS_LOCK = 0x636472747365


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """One change: name → (before, after)."""

    version: int
    at: datetime
    by: str
    changed: dict[str, tuple[object, object]]


def lock_settings() -> None:
    """Makes every other change of the settings wait for the end of the transaction.

    The first version has no row before it that could be locked. SQLite's one writer needs none.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [SETTINGS_LOCK])


_LATEST = Statement("SELECT MAX(id) FROM store_settingsversion")


def latest_version() -> int:
    """The number of the latest version, 0 while nothing was changed."""
    row = _LATEST.row()
    return (row[0] if row else None) or 0


def latest_settings() -> tuple[int, Mapping[str, object]]:
    """The number of the latest version, 0 while nothing was changed, and its values."""
    last = SettingsVersion.objects.order_by("-id").values_list("id", "values").first()
    return last or (0, {})


def settings_history(*, actor: Actor, limit: int = 100) -> list[SettingsChange]:
    """The changes, newest first, for operators and auditors. Raises NotFound for others."""
    if not (can(actor, Action.SERVICE_OPERATE) or can(actor, Action.AUDIT_READ)):
        raise NotFound("There is no such page.")
    return [
        SettingsChange(
            row.pk, row.at, row.by, {name: (before, after) for name, (before, after) in row.changed.items()}
        )
        for row in SettingsVersion.objects.order_by("-id")[:limit]
    ]
