"""Look-ups that happen in every step of a protocol: their SQL is built once a connection, not each time.

Django builds the text of a query anew whenever it is asked, which costs several times what the database does
(`bench/bench_acme.py --profile`). Nothing is kept but the text: each call asks the database.
"""

from collections.abc import Callable
from copy import copy
from typing import Any, ClassVar, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model, QuerySet
from django.db.models.query import ModelIterable
from django.db.models.sql.compiler import SQLCompiler

M = TypeVar("M", bound=Model)
_FIRST_MARK = 7_311_000_000  # stands for the first variable while a query is built; no row has the number


class Prepared(Generic[M]):
    """A query whose only variables are numbers: `build` makes it of them, once for each connection.

    `build` has to take the numbers as they are, each exactly once.
    """

    def __init__(self, build: Callable[..., QuerySet[M]], *, variables: int = 1) -> None:
        self._build = build
        self._variables = variables

    def all(self, *numbers: int) -> list[M]:
        """The rows."""
        connection = connections[DEFAULT_DB_ALIAS]  # the one of this thread
        made: dict[Prepared[Any], _Statement] = connection.__dict__.setdefault("_certdesk_prepared", {})
        statement = made.get(self)
        if statement is None:
            statement = made[self] = _Statement(self._build, self._variables, connection)
        return list(ModelIterable(_Bound(statement, numbers)))  # type: ignore[arg-type] # it asks no more

    def first(self, *numbers: int) -> M | None:
        """The first row, or None; for queries that find one row, or that are sorted."""
        return next(iter(self.all(*numbers)), None)


class _Statement:
    """The text for one connection, which belongs to one thread. Compiled by Django."""

    def __init__(
        self, build: Callable[..., QuerySet[Any]], variables: int, connection: BaseDatabaseWrapper
    ) -> None:
        marks = [_FIRST_MARK + number for number in range(variables)]
        queryset = build(*marks)
        self.model, self.db = queryset.model, queryset.db
        compiler: SQLCompiler = queryset.query.get_compiler(connection=connection)
        self.sql, parameters = compiler.as_sql()
        self.fixed = list(parameters)
        self.places = [self.fixed.index(mark) for mark in marks]
        converters = compiler.get_converters([one[0] for one in compiler.select[: compiler.col_count]])
        # Looked up once; noqa: Django calls it with the expressions.
        compiler.get_converters = lambda expressions: converters  # type: ignore[method-assign] # noqa: ARG005 - above
        self.compiler = compiler


class _Bound:
    """What Django's maker of rows asks of a query set and its query: here, a statement with its numbers."""

    _known_related_objects: ClassVar[dict[Any, Any]] = {}

    def __init__(self, statement: _Statement, numbers: tuple[int, ...]) -> None:
        self.model, self.db = statement.model, statement.db
        parameters = list(statement.fixed)
        for place, number in zip(statement.places, numbers, strict=True):
            parameters[place] = number
        self._compiler = copy(statement.compiler)
        told = (statement.sql, tuple(parameters))
        self._compiler.as_sql = lambda *_args, **_options: told  # type: ignore[method-assign] # made already

    @property
    def query(self) -> "_Bound":
        """Itself, since the compiler is all that the query is asked for."""
        return self

    def get_compiler(self, using: str) -> SQLCompiler:  # noqa: ARG002 - Django's signature
        """The compiler, with the text made already."""
        return self._compiler
