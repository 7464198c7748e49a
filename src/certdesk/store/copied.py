"""From a table's row to what its readers get: a frozen dataclass, and no way back to the database."""

from typing import TypeVar

from django.db.models import Model

R = TypeVar("R")


def copied(kind: type[R], row: Model, **others: object) -> R:
    """A `kind` (a dataclass) with the row's columns of the same names; `others` are its other fields."""
    names = kind.__dataclass_fields__  # type: ignore[attr-defined] # as every dataclass has
    return kind(**{name: getattr(row, name) for name in names if name not in others}, **others)
