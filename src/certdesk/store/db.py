"""Write transactions: short, and one at a time where the database is SQLite (ADR 5).

SQLite lets one writer in and makes the others sleep and retry, which pushes the slowest requests to
a second. Writers therefore queue on a lock of this process and on a lock file between processes.
"""

import fcntl
import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from certdesk.store.native import own_connection

_writers = threading.Lock()
_mine = threading.local()


@contextmanager
def write_transaction() -> Iterator[None]:
    """A transaction that writes. Inside another one it is part of that one: an error undoes the whole."""
    own = own_connection()
    if own.in_atomic_block:
        try:
            yield
        except BaseException:
            transaction.set_rollback(True)
            raise
    elif own.vendor == "sqlite":
        with _writers, _lock_file(own), transaction.atomic(), _marked():
            yield
    else:
        with transaction.atomic(), _marked():
            yield


def write_mark() -> object | None:
    """What tells this thread's write transaction from every other one; None outside of one."""
    return getattr(_mine, "mark", None)


@contextmanager
def _marked() -> Iterator[None]:
    _mine.mark = object()
    try:
        yield
    finally:
        _mine.mark = None


@contextmanager
def _lock_file(own: BaseDatabaseWrapper) -> Iterator[None]:
    name = str(own.settings_dict["NAME"])
    if name.startswith("file:") or name == ":memory:":
        yield
        return
    handle = _opened(f"{name}.lock", os.getpid())
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)


@functools.cache
def _opened(name: str, _process: int) -> int:
    """The lock file, open while the process lives. A child opens its own, or it would share the lock."""
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def release_connection() -> None:
    """Gives a thread's connection back where it comes from a pool; one to a file is kept."""
    if connection.vendor == "postgresql":
        connection.close()
