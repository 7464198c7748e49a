"""Write transactions: short, and one at a time where the database is SQLite (ADR 5).

SQLite lets one writer in and makes the others sleep and retry, which pushes the slowest requests to
a second. Writers therefore queue on a lock of this process and on a lock file between processes.
"""

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection, transaction

_writers = threading.Lock()


@contextmanager
def write_transaction() -> Iterator[None]:
    """A transaction that writes. Inside another one it is part of that one: an error undoes the whole."""
    if connection.in_atomic_block or connection.vendor != "sqlite":
        with transaction.atomic(savepoint=False):
            yield
        return
    with _writers, _lock_file(), transaction.atomic():
        yield


@contextmanager
def _lock_file() -> Iterator[None]:
    name = str(connection.settings_dict["NAME"])
    if name.startswith("file:") or name == ":memory:":
        yield
        return
    with Path(f"{name}.lock").open("ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def release_connection() -> None:
    """Gives a thread's connection back where it comes from a pool; one to a file is kept."""
    if connection.vendor == "postgresql":
        connection.close()
