"""What a call changed in the database: only the tables that its statements name are read again.

No tests live here. Reading every table before and after each of some ten thousand calls would be nearly all
of what those calls cost.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.apps import apps
from django.db import connection
from django.db.models import Model

_Rows = list[tuple[object, ...]]


def _watched() -> dict[str, type[Model]]:
    """Every table of ours and of second factors; not sessions, nor allauth's copies of e-mail addresses,
    which it makes when it first needs them.
    """
    return {m._meta.db_table: m for app in ("store", "mfa") for m in apps.get_app_config(app).get_models()}


def _rows(model: type[Model]) -> _Rows:
    """All rows. When somebody was last seen is no change that matters here."""
    columns = [f.attname for f in model._meta.concrete_fields if f.attname != "last_login"]
    return [
        tuple(bytes(v) if isinstance(v, memoryview) else v for v in row)
        for row in model._default_manager.order_by("pk").values_list(*columns)
    ]


@dataclass(slots=True)
class Watch:
    """The tables that statements other than a SELECT have named."""

    before: Mapping[str, _Rows]
    named: set[str] = field(default_factory=set)

    def __call__(self, execute: Callable[..., object], sql: object, *rest: object) -> object:
        """See one statement and let it go on; Django calls this."""
        text = str(sql)
        if not text.lstrip().upper().startswith("SELECT"):
            self.named |= self.before.keys() & set(re.findall(r"\w+", text))
        return execute(sql, *rest)

    def changed(self) -> bool:
        """Whether a row is another one than before, or there is one more, or one less."""
        tables = _watched()
        return any(_rows(tables[name]) != self.before[name] for name in self.named)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Every row as it was at one moment, to which each call that is watched has to come back."""

    rows: Mapping[str, _Rows]

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """Follow what this thread's connection is told."""
        watch = Watch(before=self.rows)
        with connection.execute_wrapper(watch):
            yield watch


def snapshot() -> Snapshot:
    """The rows as they are now."""
    return Snapshot(rows={name: _rows(model) for name, model in _watched().items()})
