"""Statements that happen in every step of a request or an order: their SQL is built once, not each time.

Django builds the text of a query anew whenever it is asked, which costs several times what the database does
(`bench/bench_issue.py --profile`). Nothing is kept but the text: each call asks the database. What comes and
goes is converted by the models' own fields, as Django does it. For the few statements of the paths that are
hot; everywhere else the ORM's own calls are plainer.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeAlias, TypeVar, cast

from django.db import DEFAULT_DB_ALIAS
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import (
    AutoField,
    BinaryField,
    BooleanField,
    CharField,
    DateTimeField,
    Field,
    ForeignKey,
    IntegerField,
    Model,
    QuerySet,
    TextField,
)
from django.db.models.base import ModelState
from django.db.models.expressions import Col
from django.db.models.query import get_related_populators

from certdesk.store.native import change, fetch, own_connection

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
        own = own_connection()
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
        compiler = queryset.query.get_compiler(connection=own)
        self._sql, parameters = compiler.as_sql()
        self._fixed = list(parameters)
        self._places = [self._fixed.index(self._told(mark)) for mark in marks]
        select = compiler.select[: compiler.col_count]
        found = compiler.get_converters([one[0] for one in select])
        self._converters = [(place, *both) for place, both in found.items()]
        # None where the query names its columns.
        if described := compiler.klass_info:
            fields = described["select_fields"]
            self._span = slice(fields[0], fields[-1] + 1)
            self._names = [one[0].target.attname for one in select[self._span] if isinstance(one[0], Col)]
            self._related = get_related_populators(  # type: ignore[call-arg] # the stubs are of a later Django
                described, select, queryset.db
            )

    def fetch(self, values: Sequence[Value]) -> list[Sequence[Any]]:
        """Asks the database."""
        parameters = list(self._fixed)
        for place, value in zip(self._places, values, strict=True):
            parameters[place] = self._told(value)
        rows = fetch(self._own, self._sql, parameters)
        return [self._converted(row) for row in rows] if self._converters else rows

    def instance(self, row: Sequence[Any]) -> M:
        """The model's instance that a row describes, with what it selects along."""
        made = self._model.__new__(self._model)  # as when it is unpickled: `__init__` looks at every column
        made.__dict__.update(zip(self._names, row[self._span], strict=True))
        made._state = ModelState()  # noqa: SLF001 - documented for `from_db`
        made._state.adding, made._state.db = False, DEFAULT_DB_ALIAS  # noqa: SLF001 - as above
        for populator in self._related:
            populator.populate(row, made)
        return made

    def _converted(self, row: Sequence[Any]) -> Sequence[Any]:
        """A row by the models' own fields; what is not there stays so."""
        made = list(row)
        for place, converters, expression in self._converters:
            value = made[place]
            if value is not None:
                for convert in converters:
                    value = convert(value, expression, self._own)
                made[place] = value
        return made

    def _told(self, value: Value) -> object:
        return self._own.ops.adapt_datetimefield_value(value) if isinstance(value, datetime) else value


_AT_ONCE = 50
#: Fields whose values drivers take as they are, if they are of these very types.
_PLAIN_FIELDS = (BinaryField, BooleanField, CharField, ForeignKey, IntegerField, TextField)
_PLAIN = frozenset({int, str, bool, bytes, type(None)})


@dataclass(frozen=True, slots=True)
class _Column:
    """A column that is written to."""

    field: "Field[Any, Any]"
    name: str  # of the attribute
    is_plain: bool
    is_moment: bool
    fills_itself: bool  # as of now

    def of(self, row: Model) -> object:
        """The row's own value."""
        return self.field.pre_save(row, True) if self.fills_itself else row.__dict__[self.name]

    def told(self, value: object, own: BaseDatabaseWrapper) -> object:
        """A value as the driver gets it."""
        if self.is_plain and type(value) in _PLAIN:
            return value
        if self.is_moment and type(value) is datetime and value.tzinfo is not None:
            return own.ops.adapt_datetimefield_value(value)
        return self.field.get_db_prep_save(value, own)


def _column(field: "Field[Any, Any]") -> _Column:
    return _Column(
        field=field,
        name=field.attname,
        is_plain=isinstance(field, _PLAIN_FIELDS),
        is_moment=isinstance(field, DateTimeField),
        fills_itself=isinstance(field, DateTimeField) and (field.auto_now or field.auto_now_add),
    )


def insert(row: M) -> M:
    """Inserts a new row, as its `save` would, but for Django's signals; the row's number is set."""
    return insert_all([row])[0]


def insert_all(rows: Iterable[M]) -> list[M]:
    """Inserts rows of one kind in their order, up to fifty in one statement."""
    made = list(rows)
    for start in range(0, len(made), _AT_ONCE):
        _insert_few(made[start : start + _AT_ONCE])
    return made


def _insert_few(made: Sequence[M]) -> None:
    own = own_connection()
    sql, columns, number = _insertion(type(made[0]), len(made))
    parameters = [column.told(column.of(row), own) for row in made for column in columns]
    if number:
        # Both databases give the numbers in the order of the rows; Django's bulk_create counts on it too.
        for row, (given,) in zip(made, fetch(own, f"{sql} RETURNING {number}", parameters), strict=True):
            row.pk = given
    else:
        change(own, sql, parameters)
    for row in made:
        row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS  # noqa: SLF001 - documented for `from_db`


def insert_new(row: Model) -> bool:
    """Inserts a row unless one like it is there, by any of its unique columns; its number is not told."""
    own = own_connection()
    sql, columns, _number = _insertion(type(row), 1)
    parameters = [column.told(column.of(row), own) for column in columns]
    return change(own, f"{sql} ON CONFLICT DO NOTHING", parameters) == 1


#: How a column in a swap's `where` is compared, by the end of its name, as in the ORM.
_COMPARISONS = {"": "=", "gt": ">", "lt": "<", "lte": "<="}


class Swap(Generic[M]):
    """An update of some columns of the rows in which some others are what they are expected to be.

    Columns in `null` have to be empty; those in `counted` go up by one. Those in `where` may end in `__gt`,
    `__lt` or `__lte`.
    """

    def __init__(
        self,
        model: type[M],
        *,
        where: Sequence[str],
        null: Sequence[str] = (),
        to: Sequence[str] = (),
        counted: Sequence[str] = (),
    ) -> None:
        self._model, self._where, self._null, self._to, self._counted = model, where, null, to, counted

    def __call__(self, where: Sequence[object], to: Sequence[object]) -> int:
        """How many rows matched. The values come in the order of the columns' names."""
        own = own_connection()
        sql, columns = self._text
        told = zip(columns, (*to, *where), strict=True)
        return change(own, sql, [column.told(value, own) for column, value in told])

    @functools.cached_property
    def _text(self) -> tuple[str, list[_Column]]:
        meta = self._model._meta  # noqa: SLF001 - Django's public API in spite of its name

        def field(name: str) -> "Field[Any, Any]":
            return cast("Field[Any, Any]", meta.get_field(name))

        compared = [name.partition("__") for name in self._where]
        changes = [f'"{field(name).column}" = %s' for name in self._to]
        changes += [f'"{field(name).column}" = "{field(name).column}" + 1' for name in self._counted]
        tests = [f'"{field(name).column}" {_COMPARISONS[how]} %s' for name, _, how in compared]
        tests += [f'"{field(name).column}" IS NULL' for name in self._null]
        sql = f'UPDATE "{meta.db_table}" SET {", ".join(changes)} WHERE {" AND ".join(tests)}'  # noqa: S608 - no input
        return sql, [_column(field(name)) for name in (*self._to, *(one[0] for one in compared))]


@functools.lru_cache(maxsize=200)
def _insertion(model: type[Model], rows: int) -> tuple[str, list[_Column], str]:
    """The text, the columns whose values it takes, and that of the number that the database gives, if any."""
    meta = model._meta  # noqa: SLF001 - Django's public API in spite of its name
    number = f'"{meta.pk.column}"' if isinstance(meta.pk, AutoField) else ""
    fields = [field for field in meta.local_concrete_fields if not (number and field.primary_key)]
    columns = ", ".join(f'"{field.column}"' for field in fields)
    values = ", ".join([f"({', '.join(['%s'] * len(fields))})"] * rows)
    sql = f'INSERT INTO "{meta.db_table}" ({columns}) VALUES {values}'  # noqa: S608 - no input
    return sql, [_column(field) for field in fields], number
