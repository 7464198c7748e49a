"""Runs kept statements on the database's own driver, past Django's cursors, for `prepared` and little else.

Django's cursor costs several times what a short statement costs the database: it wraps each call in four
others, writes its text anew for the driver, and has PostgreSQL plan every statement again. What it gives is
kept: its connection and transaction, its errors, and whoever listens (tests that count statements, logs).
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import Cursor as PostgresCursor

Row = Sequence[Any]
#: By place (`%s`) or by name (`%(name)s`).
Parameters = Sequence[Any] | Mapping[str, Any]
_NAMED = re.compile(r"%\((\w+)\)s")
#: There are about a hundred; each counts anew for numbers of another size.
_MOST_KEPT = 1000


class _Done(Protocol):
    """A driver's cursor after a statement."""

    @property
    def rowcount(self) -> int:
        """How many rows it changed."""
        ...

    def fetchall(self) -> list[Row]:
        """The rows."""
        ...


def keep_statements(connection: BaseDatabaseWrapper, **_told: object) -> None:
    """Lets a connection to PostgreSQL keep every statement of `prepared`; receives Django's signal."""
    if connection.vendor == "postgresql":
        connection.connection.prepared_max = _MOST_KEPT


def own_connection() -> BaseDatabaseWrapper:
    """The connection of this thread, asked for once: Django's `connection` looks for it at each use."""
    own: BaseDatabaseWrapper = connections[DEFAULT_DB_ALIAS]
    return own


def fetch(own: BaseDatabaseWrapper, sql: str, parameters: Parameters = ()) -> list[Row]:
    """All rows, as the driver gives them. `sql` has `%s` for each parameter."""
    if _is_heard(own):
        with own.cursor() as cursor:
            cursor.execute(sql, parameters)
            rows: list[Row] = cursor.fetchall()
    else:
        with own.wrap_database_errors:
            rows = _executed(own, sql, parameters).fetchall()
    return rows


def change(own: BaseDatabaseWrapper, sql: str, parameters: Parameters = ()) -> int:
    """How many rows a statement that returns none has changed."""
    if _is_heard(own):
        with own.cursor() as cursor:
            cursor.execute(sql, parameters)
            return int(cursor.rowcount)
    with own.wrap_database_errors:
        return _executed(own, sql, parameters).rowcount


def _is_heard(own: BaseDatabaseWrapper) -> bool:
    return bool(own.execute_wrappers) or own.queries_logged


def _executed(own: BaseDatabaseWrapper, sql: str, parameters: Parameters) -> _Done:
    own.close_if_health_check_failed()
    own.ensure_connection()
    own.validate_no_broken_transaction()
    done: _Done
    if own.vendor == "sqlite":
        done = own.connection.execute(_with_question_marks(sql), parameters)
    else:  # planned once for each connection that is ours alone; parameters go beside the text, not into it
        prepare = own.connection.prepare_threshold is not None
        done = PostgresCursor(own.connection).execute(sql, parameters, prepare=prepare)
    return done


@functools.lru_cache(maxsize=1000)
def _with_question_marks(sql: str) -> str:
    """How Python's SQLite driver wants its parameters. No kept statement has a literal `%s`."""
    return _NAMED.sub(r":\1", sql).replace("%s", "?").replace("%%", "%")
