"""Write transactions: short, and one at a time where the database is SQLite (ADR 5).

A commit survives a crash of ours. Whether it has to survive a power cut too is said with its transaction
(ADR 18): SQLite then waits for the disk. PostgreSQL always does.

SQLite lets one writer in and makes the others sleep and retry, which pushes the slowest requests to
a second. Writers therefore queue on a lock of this process and on a lock file between processes.
"""

import fcntl
import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from certdesk.store.driver import Written, insertions, own_connection, write_all

_writers = threading.Lock()
#: Of SQLite: https://www.sqlite.org/pragma.html#pragma_synchronous
_FULL = 2
_mine = threading.local()


@contextmanager
def write_transaction(*, durable: bool = True) -> Iterator[None]:
    """A transaction that writes. Inside another one it is part of that one: an error undoes the whole.

    Without `durable`, a power cut may lose it, and whatever else was committed so since the last one that is
    durable. For what its client repeats.
    """
    own = own_connection()
    if own.in_atomic_block:
        try:
            with _marked(own) if write_mark() is None else nullcontext():
                yield
        except BaseException:
            transaction.set_rollback(True)
            raise
    else:
        with _turn(own, durable=durable), transaction.atomic(), _marked(own):
            yield


@contextmanager
def write_statement() -> Iterator[None]:
    """For one statement that writes: a transaction by itself, not durable, or part of the one it is in."""
    own = own_connection()
    if own.in_atomic_block:
        yield
    else:
        with _turn(own, durable=False):
            yield


def before_commit(work: Callable[[], None]) -> None:
    """Has work done at the end of this thread's write transaction, inside it. Ask `waits_for_the_end`."""
    _mine.last.append(work)


def put_last(model: type[Model], rows: Sequence[Mapping[str, object]]) -> None:
    """Inserts rows that nothing in the same transaction reads: at its end, with the others of this kind."""
    _write_last(insertions(model, rows))


def point_last(model: type[Model], number: int, **columns: int) -> None:
    """Has a row point to others, as nothing in the same transaction reads: at its end, as with `put_last`."""
    table = model._meta.db_table  # noqa: SLF001 - Django's public API in spite of its name
    changes = ", ".join(f'"{name}" = %s' for name in columns)
    sql = f'UPDATE "{table}" SET {changes} WHERE "id" = %s'  # noqa: S608 - no input
    _write_last([(table, sql, [*columns.values(), number])])


def write_kept() -> None:
    """Writes what was kept for the end, before rows of the same table that are numbered at once."""
    if waits_for_the_end():
        write_all(_mine.writes)
        _mine.writes = []


def _write_last(writes: Iterable[Written]) -> None:
    if waits_for_the_end():
        _mine.writes += writes
    else:
        write_all(writes)


def waits_for_the_end() -> bool:
    """Whether what is said now may be done at the end of this thread's write transaction: inside one, and
    where no savepoint may undo it alone.
    """
    return write_mark() is not None and own_connection().savepoint_ids == _mine.savepoints


def write_mark() -> object | None:
    """What tells this thread's write transaction from every other one; None outside of one."""
    return getattr(_mine, "mark", None)


@contextmanager
def _marked(own: BaseDatabaseWrapper) -> Iterator[None]:
    _mine.mark, _mine.last, _mine.savepoints, _mine.writes = object(), [], list(own.savepoint_ids), []
    try:
        yield
        if not own.needs_rollback:
            for work in _mine.last:
                work()
            write_all(_mine.writes)
    finally:
        _mine.mark = None


@functools.cache
def start_of_machine() -> str:
    """What tells this start of the machine from all others, where a power cut may lose a commit; else empty.

    Whatever was handed out with it ends with that start, so that nothing that was spent can be spent again.
    """
    if own_connection().vendor != "sqlite":
        return ""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


@contextmanager
def _no_wait_for_disk(own: BaseDatabaseWrapper) -> Iterator[None]:
    """Lets a connection's commits go without waiting, where it waits; the next ones wait again."""
    own.ensure_connection()
    if not start_of_machine() or own.connection.execute("PRAGMA synchronous").fetchone()[0] != _FULL:
        yield
        return
    own.connection.execute("PRAGMA synchronous=NORMAL")
    try:
        yield
    finally:
        if own.connection is not None:
            own.connection.execute("PRAGMA synchronous=FULL")


@contextmanager
def _turn(own: BaseDatabaseWrapper, *, durable: bool) -> Iterator[None]:
    """SQLite's one writer: of the threads of this process, then of the processes that share the file."""
    if own.vendor != "sqlite":
        yield
        return
    with _writers, nullcontext() if durable else _no_wait_for_disk(own):
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
