"""Waiting for something that another process does: polls with a deadline, never a fixed sleep."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

_PAUSE_SECONDS = 0.05
_Found = TypeVar("_Found")


class GaveUpWaiting(AssertionError):
    """What was waited for did not come in time."""


def wait_until(check: Callable[[], _Found], *, what: str, seconds: float = 30) -> _Found:
    """The first true value that `check` returns.

    Raises:
        GaveUpWaiting: when `seconds` have passed; the message says what was waited for.
    """
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise GaveUpWaiting(f"Waited {seconds:g} s for {what}.")
        pause.wait(_PAUSE_SECONDS)
