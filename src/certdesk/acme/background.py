"""Slow work of the ACME edge beside its requests: looks at challenges, CAs that take their time.

Each piece is a due row in the database as well, so that nothing is lost with this process: then the worker's
tick does it. A request waits for a short moment, since most looks take no longer.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import structlog

from certdesk.store.db import release_connection

log = structlog.get_logger()

THREADS = 8
PATIENCE = 1.0  # seconds


def run_for_a_moment(work: Callable[[], None]) -> None:
    """Runs the work in the background, and returns when it is done or after a moment, whichever is first."""
    future = _pool().submit(_run, work)
    try:
        future.result(timeout=PATIENCE)
    except TimeoutError:
        return


def _run(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:  # background loop: the row is still due, so the tick tries again
        log.exception("acme.background_failed")
    finally:
        release_connection()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="acme")
