"""Statements that happen in every step of a request or an order: their SQL is built once, not each time.

Django builds the text of a query anew whenever it is asked, which costs several times what the database does
(`bench/bench_issue.py --profile`). Nothing is kept but the text: each call asks the database. What comes and
goes is converted by the models' own fields, as Django does it. For the few statements of the paths that are
hot; everywhere else the ORM's own calls are plainer.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeAlias, TypeVar, cast

from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import AutoField, Field, Model, QuerySet
from django.db.models.query import get_related_populators

M = TypeVar("M", bound=Model)
Value: TypeAlias = int | str | datetime

#: What stands for the variables while a query is built; no row has such values.
_MARKS: dict[type, Callable[[int], Value]] = {
    int: lambda place: 7_311_000_000 + place,
    str: lambda place: f"variable {place} of a prepared query",
    datetime: lambda place: datetime(1, 1, 1, tzinfo=UTC) + timedelta(days=place),
}


class Prepared(Generic[M]):
    """A query with variables: `build` makes it of them, once for each connection.

    `build` has to take its values as they are, each exactly once; `kinds` are their types.
    """

    def __init__(self, build: Callable[..., QuerySet[M, Any]], *kinds: type) -> None:
        self._build = build
        self._kinds = kinds

    def all(self, *values: Value) -> list[M]:
        """The rows, as instances of the model."""
        statement = self._statement()
        return [statement.instance(row) for row in statement.fetch(values)]

    def first(self, *values: Value) -> M | None:
        """The first row, or None; for queries that find one row, or that are sorted."""
        return next(iter(self.all(*values)), None)

    def rows(self, *values: Value) -> list[Sequence[Any]]:
        """The rows of a query by `values_list`."""
        return self._statement().fetch(values)

    def row(self, *values: Value) -> Sequence[Any] | None:
        """The first row of a query by `values_list`, or None."""
        return next(iter(self.rows(*values)), None)

    def _statement(self) -> "_Statement[M]":
        own = connections[DEFAULT_DB_ALIAS]  # the one of this thread
        made: dict[Prepared[Any], _Statement[Any]] = own.__dict__.setdefault("_certdesk_prepared", {})
        statement = made.get(self)
        if statement is None:
            statement = made[self] = _Statement(self._build, self._kinds, own)
        return statement


class _Statement(Generic[M]):
    """The text for one connection, which belongs to one thread. Compiled by Django."""

    def __init__(
        self, build: Callable[..., QuerySet[M, Any]], kinds: Sequence[type], own: BaseDatabaseWrapper
    ) -> None:
        marks = [_MARKS[kind](place) for place, kind in enumerate(kinds)]
        queryset = build(*marks)
        self._own, self._model = own, queryset.model
        self._compiler = queryset.query.get_compiler(connection=own)
        self._sql, parameters = self._compiler.as_sql()
        self._fixed = list(parameters)
        self._places = [self._fixed.index(self._told(mark)) for mark in marks]
        select = self._compiler.select[: self._compiler.col_count]
        self._converters = self._compiler.get_converters([one[0] for one in select])
        # None where the query names its columns.
        if described := self._compiler.klass_info:
            fields = described["select_fields"]
            self._span = slice(fields[0], fields[-1] + 1)
            self._names = [one[0].target.attname for one in select[self._span]]
            self._related = get_related_populators(  # type: ignore[call-arg] # the stubs are of a later Django
                described, select, queryset.db
            )

    def fetch(self, values: Sequence[Value]) -> list[Sequence[Any]]:
        """Asks the database."""
        parameters = list(self._fixed)
        for place, value in zip(self._places, values, strict=True):
            parameters[place] = self._told(value)
        with self._own.cursor() as cursor:
            cursor.execute(self._sql, parameters)
            rows = cursor.fetchall()
        return list(self._compiler.apply_converters(rows, self._converters)) if self._converters else rows

    def instance(self, row: Sequence[Any]) -> M:
        """The model's instance that a row describes, with what it selects along."""
        made = self._model.from_db(DEFAULT_DB_ALIAS, self._names, row[self._span])
        for populator in self._related:
            populator.populate(row, made)
        return made

    def _told(self, value: Value) -> object:
        return self._own.ops.adapt_datetimefield_value(value) if isinstance(value, datetime) else value


def insert(row: M) -> M:
    """Inserts a new row, as its `save` would, but for Django's signals; the row's number is set."""
    model = type(row)
    sql, fields, numbered = _insertion(model)
    with connection.cursor() as cursor:
        cursor.execute(
            sql, [field.get_db_prep_save(field.pre_save(row, True), connection) for field in fields]
        )
        if numbered:
            row.pk = cursor.fetchone()[0]
    row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS  # noqa: SLF001 - documented for `from_db`
    return row


def insert_all(rows: Iterable[M]) -> list[M]:
    """Inserts a few rows, one after the other."""
    return [insert(row) for row in rows]


class Swap(Generic[M]):
    """An update of some columns of the rows in which some others are what they are expected to be.

    Columns in `null` have to be empty.
    """

    def __init__(
        self, model: type[M], *, where: Sequence[str], null: Sequence[str] = (), to: Sequence[str]
    ) -> None:
        self._model, self._where, self._null, self._to = model, where, null, to

    def __call__(self, where: Sequence[object], to: Sequence[object]) -> int:
        """How many rows matched. The values come in the order of the columns' names."""
        sql, fields = self._text
        told = zip(fields, (*to, *where), strict=True)
        with connection.cursor() as cursor:
            cursor.execute(sql, [field.get_db_prep_save(value, connection) for field, value in told])
            matched: int = cursor.rowcount
        return matched

    @functools.cached_property
    def _text(self) -> tuple[str, list["Field[Any, Any]"]]:
        meta = self._model._meta  # noqa: SLF001 - Django's public API in spite of its name
        named = (*self._to, *self._where, *self._null)
        fields = [cast("Field[Any, Any]", meta.get_field(name)) for name in named]
        middle, end = len(self._to), len(named) - len(self._null)
        parts = [f'"{field.column}" = %s' for field in fields[:end]]
        parts += [f'"{field.column}" IS NULL' for field in fields[end:]]
        sql = (
            f'UPDATE "{meta.db_table}" SET {", ".join(parts[:middle])} '  # noqa: S608 - no input
            f"WHERE {' AND '.join(parts[middle:])}"
        )
        return sql, fields[:end]


@functools.cache
def _insertion(model: type[Model]) -> tuple[str, list["Field[Any, Any]"], bool]:
    """The text, the fields whose values it takes, and whether the database gives the row its number."""
    meta = model._meta  # noqa: SLF001 - Django's public API in spite of its name
    numbered = isinstance(meta.pk, AutoField)
    fields = [field for field in meta.local_concrete_fields if not (numbered and field.primary_key)]
    columns = ", ".join(f'"{field.column}"' for field in fields)
    sql = f'INSERT INTO "{meta.db_table}" ({columns}) VALUES ({", ".join(["%s"] * len(fields))})'  # noqa: S608 - no input
    return (f'{sql} RETURNING "{meta.pk.column}"' if numbered else sql), fields, numbered
