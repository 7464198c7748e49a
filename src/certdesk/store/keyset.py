"""Pages of a list by keyset, never by OFFSET: a cursor holds where a page ends, in the order of the list."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from django.db.models import Q, QuerySet

from certdesk.domain.errors import InvalidInput

T = TypeVar("T")
MAX_ID = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """A page of a list; the cursors are empty at the ends."""

    rows: list[T]
    next_cursor: str
    previous_cursor: str


def page(
    found: QuerySet[Any, T],
    order: Sequence[str],
    *,
    sort: str,
    cursor: str,
    limit: int,
    kinds: Mapping[str, type],
) -> Page[T]:
    """The page at a cursor, or the first one. A cursor is good for one `sort`.

    `order` names fields as `order_by` does, the last one unique; each is an attribute of a row, and `kinds`
    says whether it is an int, a str or a datetime. Raises InvalidInput for a damaged cursor.
    """
    fields = [field.removeprefix("-") for field in order]
    backwards = False
    if cursor:
        backwards, position = _decoded(cursor, sort, [kinds[field] for field in fields])
        found = found.filter(_beyond(order, position, backwards=backwards))
        if backwards:
            order = [field[1:] if field.startswith("-") else f"-{field}" for field in order]
    rows = list(found.order_by(*order)[: limit + 1])
    more, rows = len(rows) > limit, rows[:limit]
    if backwards:
        rows.reverse()
    has_next, has_previous = (True, more) if backwards else (more, bool(cursor))

    def encoded(row: T, *, backwards: bool) -> str:
        raw = json.dumps([sort, backwards, [getattr(row, field) for field in fields]], default=str).encode()
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    return Page(
        rows=rows,
        next_cursor=encoded(rows[-1], backwards=False) if rows and has_next else "",
        previous_cursor=encoded(rows[0], backwards=True) if rows and has_previous else "",
    )


def _checked(value: object, kind: type) -> object:
    """A value from a cursor, as the database may be asked with. Raises ValueError."""
    if kind is int and type(value) is int and 0 <= value <= MAX_ID:
        return value
    if kind is not int and isinstance(value, str) and value.isprintable():
        found = value if kind is str else datetime.fromisoformat(value)
        if isinstance(found, str) or found.tzinfo is not None:
            return found
    raise ValueError("not of ours")


def _decoded(cursor: str, sort: str, kinds: Sequence[type]) -> tuple[bool, list[object]]:
    bad = InvalidInput(
        "This page's address is damaged. Start again from the first page.", {"cursor": "Leave it out."}
    )
    try:
        name, backwards, position = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if name != sort or not isinstance(backwards, bool) or not isinstance(position, list):
            raise bad
        return backwards, [_checked(value, kind) for value, kind in zip(position, kinds, strict=True)]
    except (ValueError, TypeError, binascii.Error, UnicodeDecodeError, RecursionError):
        raise bad from None


def _beyond(order: Sequence[str], position: Sequence[object], *, backwards: bool) -> Q:
    """The rows after a position in the order: a row comparison, spelled out field by field.

    The first field's own bound is said as well, so that databases walk its index.
    """
    found, before, bound = Q(), Q(), Q()
    for field, value in zip(order, position, strict=True):
        name = field.removeprefix("-")
        operator = "lt" if field.startswith("-") != backwards else "gt"
        bound = bound or Q(**{f"{name}__{operator}e": value})
        found |= before & Q(**{f"{name}__{operator}": value})
        before &= Q(**{name: value})
    return bound & found
