"""Work on many rows of which a bad one must not hold up the others: all at once, and only else apart."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog
from django.db import InterfaceError, OperationalError

log = structlog.get_logger()

One = TypeVar("One")


def apart(ones: Sequence[One], act: Callable[[Sequence[One]], object]) -> None:
    """Acts on all of them in one go; where that breaks, on each half by itself, down to those that break.

    `act` may be called again for what it has done: it does that once, or nothing when it raises. What breaks
    alone is logged, and raised once the others are done. A database that is away breaks everything at once.
    """
    if not ones:
        return
    try:
        act(ones)
    except (InterfaceError, OperationalError):
        raise
    except Exception as error:  # one row that breaks must not take others with it
        if len(ones) == 1:
            log.exception("row.failed", row=str(ones[0]))
            raise
        broken, middle = None, len(ones) // 2
        for half in (ones[:middle], ones[middle:]):
            try:
                apart(half, act)
            except Exception as found:  # noqa: BLE001 - as above; it was logged, and is raised below
                broken = found
        if broken is not None:
            raise broken from error
