"""Statements on the database's own driver, past Django's cursors and models, for the paths that are hot.

Django's cursor costs several times what a short statement costs the database: it wraps each call in four
others, writes its text anew for the driver, and has PostgreSQL plan every statement again; the ORM builds the
text anew each time and makes an instance of each row. What Django gives is kept: its connection and
transaction, its errors, and those who listen (tests that count statements, logs).

Here are the means: a `Statement` with a text of its own (those are in `store.sql`), and rows that are found,
inserted and swapped by their columns. Everywhere else the ORM's own calls are plainer.
"""

import functools
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Protocol, TypeVar
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import AutoField, BooleanField, DateTimeField, Field, JSONField, Model
from django.db.models.base import ModelState
from psycopg import Cursor as PostgresCursor
from psycopg.pq import TransactionStatus

M = TypeVar("M", bound=Model)
Row = Sequence[Any]
#: By place (`%s`) or by name (`%(name)s`).
Parameters = Sequence[Any] | Mapping[str, Any]
#: A table, and a statement that writes to it, with its values by place.
Written = tuple[str, str, Sequence[Any]]
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
    """Lets a connection to PostgreSQL keep every statement; receives Django's signal."""
    if connection.vendor == "postgresql":
        connection.connection.prepared_max = _MOST_KEPT


def own_connection() -> BaseDatabaseWrapper:
    """The connection of this thread, asked for once: Django's `connection` looks for it at each use."""
    own: BaseDatabaseWrapper = connections[DEFAULT_DB_ALIAS]
    return own


def fetch(own: BaseDatabaseWrapper, sql: str, parameters: Parameters = (), *, lock: str = "") -> list[Row]:
    """All rows, as the driver gives them. `sql` has `%s` for each parameter; `lock` is run before it, and on
    PostgreSQL sent with it.
    """
    if _is_heard(own):
        with own.cursor() as cursor:
            if lock:
                cursor.execute(lock)
            cursor.execute(sql, parameters)
            rows: list[Row] = cursor.fetchall()
    else:
        with own.wrap_database_errors:
            rows = _executed(own, sql, parameters, lock=lock).fetchall()
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


def _executed(own: BaseDatabaseWrapper, sql: str, parameters: Parameters, *, lock: str = "") -> _Done:
    own.close_if_health_check_failed()
    own.ensure_connection()
    own.validate_no_broken_transaction()
    done: _Done
    if own.vendor == "sqlite":
        done = own.connection.execute(_with_question_marks(sql), parameters)
    else:  # planned once for each connection that is ours alone; parameters go beside the text, not into it
        prepare = own.connection.prepare_threshold is not None
        # BEGIN goes with the first statement of a transaction, not by itself.
        begins = own.in_atomic_block and own.connection.info.transaction_status == TransactionStatus.IDLE
        with own.connection.pipeline() if begins or lock else nullcontext():
            if lock:
                PostgresCursor(own.connection).execute(lock, prepare=prepare)
            done = PostgresCursor(own.connection).execute(sql, parameters, prepare=prepare)
    return done


@functools.lru_cache(maxsize=1000)
def _with_question_marks(sql: str) -> str:
    """How Python's SQLite driver wants its parameters. No kept statement has a literal `%s`."""
    return _NAMED.sub(r":\1", sql).replace("%s", "?").replace("%%", "%")


_AT_ONCE = 50
#: Values that both drivers take as they are.
_PLAIN = frozenset({int, str, bool, bytes, type(None)})
#: What SQLite calls by other names than PostgreSQL.
_IN_POSTGRESQL = {
    "json_group_array(": "json_agg(",
    "json_array(": "json_build_array(",
    "json_each(": "jsonb_array_elements_text(CAST(",
    ") AS each": " AS jsonb)) AS each(value)",
}
#: PostgreSQL looks an array up in an index, value by value; beside a subquery it may walk along a whole table
#: that it takes for short, as it does every table until it has first been analysed.
_ONE_OF = re.compile(r"IN \(SELECT each\.value FROM json_each\((%\(\w+\)s)\) AS each\)")
_ONE_OF_ARRAY = r"= ANY(ARRAY(SELECT jsonb_array_elements_text(CAST(\1 AS jsonb))))"


class Statement:
    """One statement. `kinds` are the types of the columns that it answers with, JSON as `list`.

    What goes in may be anything that a model's column holds: times, JSON and states too.
    """

    def __init__(self, text: str, *kinds: type) -> None:
        self._sqlite = text
        self._postgresql = re.sub(
            "|".join(map(re.escape, _IN_POSTGRESQL)),
            lambda found: _IN_POSTGRESQL[found[0]],
            _ONE_OF.sub(_ONE_OF_ARRAY, text),
        )
        self._converted = [(place, kind) for place, kind in enumerate(kinds) if kind in _READ]

    def rows(self, **values: object) -> list[list[Any]]:
        """All rows."""
        own = own_connection()
        is_sqlite = own.vendor == "sqlite"
        told = {name: _told(value, is_sqlite=is_sqlite) for name, value in values.items()}
        rows = [list(row) for row in fetch(own, self._sqlite if is_sqlite else self._postgresql, told)]
        for place, kind in self._converted:
            for row in rows:
                if row[place] is not None:
                    row[place] = _READ[kind](row[place])
        return rows

    def row(self, **values: object) -> list[Any] | None:
        """The first row, or None."""
        return next(iter(self.rows(**values)), None)

    def change(self, **values: object) -> int:
        """How many rows a statement that answers with none has changed."""
        own = own_connection()
        is_sqlite = own.vendor == "sqlite"
        told = {name: _told(value, is_sqlite=is_sqlite) for name, value in values.items()}
        return change(own, self._sqlite if is_sqlite else self._postgresql, told)


def put(model: type[Model], rows: Sequence[Mapping[str, object]]) -> list[int]:
    """Inserts rows of one table, all with the same columns; the numbers that the database gives them, if any.

    A column that is left out has to have a default in the database, or none.
    """
    own, numbers = own_connection(), list[int]()
    for _table, sql, values in insertions(model, rows):
        if "RETURNING" in sql:
            # Both databases give the numbers in the order of the rows; Django's bulk_create counts on it too.
            numbers += [number for (number,) in fetch(own, sql, values)]
        else:
            change(own, sql, values)
    return numbers


def insertions(model: type[Model], rows: Sequence[Mapping[str, object]]) -> Iterator[Written]:
    """The statements that `put` runs."""
    is_sqlite = own_connection().vendor == "sqlite"
    for start in range(0, len(rows), _AT_ONCE):
        few = rows[start : start + _AT_ONCE]
        values = [_told(value, is_sqlite=is_sqlite) for row in few for value in row.values()]
        table = model._meta.db_table  # noqa: SLF001 - Django's public API in spite of its name
        yield table, _insertion(model, tuple(few[0]), len(few)), values


def write_all(writes: Iterable[Written]) -> None:
    """Runs statements of which none reads what another has written; on PostgreSQL, those that follow one
    another and write to different tables are one.

    A row in its table is one of the dearest things there; what it costs to ask for it is the other half. The
    parts of one statement run in no order, would number rows of one table backwards, and may not change a
    row twice (PostgreSQL 7.8.4).
    """
    own = own_connection()
    together = dict[str, tuple[str, Sequence[Any]]]()
    for table, sql, values in writes:
        if together and (own.vendor == "sqlite" or table in together):
            _write_together(own, together.values())
            together.clear()
        together[table] = (sql, values)
    if together:
        _write_together(own, together.values())


def _write_together(own: BaseDatabaseWrapper, writes: Collection[tuple[str, Sequence[Any]]]) -> None:
    *before, last = [sql for sql, _values in writes]
    parts = ", ".join(f"w{number} AS ({sql})" for number, sql in enumerate(before))
    values = [one for _sql, values in writes for one in values]
    change(own, f"WITH {parts} {last}" if parts else last, values)


def insert(row: M) -> M:
    """Inserts a new row, as its `save` would, but for Django's signals; the row's number is set."""
    return insert_all([row])[0]


def insert_all(rows: Iterable[M]) -> list[M]:
    """Inserts rows of one kind, in their order."""
    made = list(rows)
    if not made:
        return made
    for row, number in zip(made, put(type(made[0]), [values_of(row) for row in made]), strict=False):
        row.pk = number
    for row in made:
        row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS  # noqa: SLF001 - documented for `from_db`
    return made


def values_of(row: Model) -> dict[str, object]:
    """What an insertion of a new row writes, by column."""
    given, filled = _written(type(row))
    values: dict[str, object] = {column: row.__dict__[name] for column, name in given}
    for field in filled:
        values[str(field.column)] = field.pre_save(row, True)
    return values


def found(model: type[M], **columns: object) -> list[M]:
    """The rows in which these columns have these values, in the order of their numbers."""
    rows = _finding(model, tuple(columns)).rows(**columns)
    return [taken(model, row) for row in rows]


def first(model: type[M], **columns: object) -> M | None:
    """The first of them, or None."""
    return next(iter(found(model, **columns)), None)


def swap(
    model: type[Model],
    seen: Mapping[str, object],
    columns: Mapping[str, object],
    *,
    counted: tuple[str, ...] = (),
) -> int:
    """How many rows in which some columns were what was seen (None is empty) are now as `columns` says.

    Those in `counted` go up by one.
    """
    empty = tuple(name for name, value in seen.items() if value is None)
    full = {f"seen_{name}": value for name, value in seen.items() if value is not None}
    return _swap(model, tuple(full), empty, tuple(columns), counted).change(**full, **columns)


def moment(value: datetime | str) -> datetime:
    """A time as SQLite keeps it (UTC, without saying so), or as it stands in PostgreSQL's JSON."""
    read = datetime.fromisoformat(value) if isinstance(value, str) else value
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _json(value: object) -> object:
    return json.loads(value) if isinstance(value, str) else value


#: What is read as something else than the driver gives.
_READ: Mapping[type, Callable[[Any], object]] = {datetime: moment, bool: bool, list: _json}


def _told(value: object, *, is_sqlite: bool) -> object:
    """A value as the driver gets it."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, datetime):
        return str(value.astimezone(UTC).replace(tzinfo=None)) if is_sqlite else value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, UUID):
        return value.hex if is_sqlite else value
    return json.dumps(value) if isinstance(value, (dict, list, tuple)) else value


@functools.lru_cache(maxsize=200)
def _insertion(model: type[Model], columns: tuple[str, ...], rows: int) -> str:
    meta = model._meta  # noqa: SLF001 - Django's public API in spite of its name
    names = ", ".join(f'"{name}"' for name in columns)
    values = ", ".join([f"({', '.join(['%s'] * len(columns))})"] * rows)
    sql = f'INSERT INTO "{meta.db_table}" ({names}) VALUES {values}'  # noqa: S608 - no input
    return f'{sql} RETURNING "{meta.pk.column}"' if isinstance(meta.pk, AutoField) else sql


@functools.cache
def _written(model: type[Model]) -> tuple[list[tuple[str, str]], list["Field[Any, Any]"]]:
    """The columns that an insertion writes: each with its attribute, and those that fill themselves."""
    fields = [
        field
        for field in model._meta.local_concrete_fields  # noqa: SLF001 - Django's public API in spite of its name
        if not isinstance(field, AutoField)
    ]
    filled: list[Field[Any, Any]] = [
        field for field in fields if isinstance(field, DateTimeField) and field.auto_now_add
    ]
    return [(str(field.column), field.attname) for field in fields if field not in filled], filled


@functools.cache
def _finding(model: type[Model], columns: tuple[str, ...]) -> Statement:
    meta = model._meta  # noqa: SLF001 - Django's public API in spite of its name
    tests = " AND ".join(f'r."{name}" = %({name})s' for name in columns)
    rows = f'FROM "{meta.db_table}" r WHERE {tests} ORDER BY r."{meta.pk.column}"'
    return Statement(f"SELECT {columns_of(model, 'r')} {rows}", *kinds_of(model))


@functools.cache
def _swap(
    model: type[Model],
    seen: tuple[str, ...],
    empty: tuple[str, ...],
    columns: tuple[str, ...],
    counted: tuple[str, ...],
) -> Statement:
    changes = [f'"{name}" = %({name})s' for name in columns]
    changes += [f'"{name}" = "{name}" + 1' for name in counted]
    tests = [f'"{name.removeprefix("seen_")}" = %({name})s' for name in seen]
    tests += [f'"{name}" IS NULL' for name in empty]
    table = model._meta.db_table  # noqa: SLF001 - Django's public API in spite of its name
    return Statement(f'UPDATE "{table}" SET {", ".join(changes)} WHERE {" AND ".join(tests)}')  # noqa: S608 - no input


# Models in statements: all their columns, and the instance that these describe.


def columns_of(model: type[Model], alias: str) -> str:
    """All columns of a model's table, for a SELECT in which the table has this alias."""
    fields = model._meta.concrete_fields  # noqa: SLF001 - Django's public API in spite of its name
    return ", ".join(f'{alias}."{field.column}"' for field in fields)


def kinds_of(*models: type[Model]) -> list[type]:
    """The kinds of these columns, as `Statement` wants them."""
    kinds: dict[type, type] = {DateTimeField: datetime, BooleanField: bool, JSONField: list}
    fields = [field for model in models for field in model._meta.concrete_fields]  # noqa: SLF001 - as above
    return [kinds.get(type(field), object) for field in fields]


def taken(model: type[M], row: list[Any]) -> M:
    """The instance that the row begins with; what follows stays in the row."""
    names = _names(model)
    made = model.__new__(model)  # as when it is unpickled: `__init__` looks at every column
    made.__dict__.update(zip(names, row, strict=False))
    made._state = ModelState()  # noqa: SLF001 - documented for `from_db`
    made._state.adding, made._state.db = False, DEFAULT_DB_ALIAS  # noqa: SLF001 - as above
    del row[: len(names)]
    return made


@functools.cache
def _names(model: type[Model]) -> tuple[str, ...]:
    return tuple(field.attname for field in model._meta.concrete_fields)  # noqa: SLF001 - as above
