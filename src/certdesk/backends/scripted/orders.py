"""The scripted CA's orders, in a SQLite file of its own: every process and every restart sees the same CA.

Nothing here decides anything; `backend` does.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

#: The file's name in the CA's folder.
ORDERS = "orders.sqlite3"
_TABLES = """
CREATE TABLE IF NOT EXISTS "order" (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    settles_at REAL NOT NULL,
    leaf BLOB,
    reason TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS knock (content TEXT PRIMARY KEY, tries INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS revoked (leaf BLOB PRIMARY KEY, reason TEXT NOT NULL, at REAL NOT NULL);
"""
#: Orders that are read at once where all are.
_PAGE = 500
_COLUMNS = "number, settles_at, leaf, reason"
_PREFIX = "S-"


@dataclass(frozen=True, slots=True)
class Order:
    """What the CA has decided about a request, shown from `settles_at` on; without a leaf it refuses."""

    handle: str
    settles_at: datetime
    leaf: bytes | None
    reason: str


class Orders:
    """The file. Each call is a connection and a transaction of its own, so threads may share this."""

    def __init__(self, path: Path) -> None:
        """Makes the file, for its owner alone, unless it is there."""
        self._path = path
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        with closing(sqlite3.connect(path, timeout=20)) as connection:
            connection.executescript(_TABLES)

    def by_key(self, key: str) -> Order | None:
        return self._one(f'SELECT {_COLUMNS} FROM "order" WHERE key = ?', key)  # noqa: S608 - constants

    def by_handle(self, handle: str) -> Order | None:
        number = handle.removeprefix(_PREFIX)
        if not number.isdecimal():
            return None
        return self._one(f'SELECT {_COLUMNS} FROM "order" WHERE number = ?', int(number))  # noqa: S608 - as above

    def add(self, *, key: str, settles_at: datetime, leaf: bytes | None, reason: str = "") -> bool:
        """Records an order; False when the key has one already, which then stands."""
        with self._transaction() as connection:
            added = connection.execute(
                'INSERT OR IGNORE INTO "order" (key, settles_at, leaf, reason) VALUES (?, ?, ?, ?)',
                (key, settles_at.timestamp(), leaf, reason),
            )
            return added.rowcount == 1

    def knock(self, content: str) -> int:
        """Counts a try that did not get through; how many there have been with this one."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO knock VALUES (?, 1) ON CONFLICT (content) DO UPDATE SET tries = tries + 1",
                (content,),
            )
            (tries,) = connection.execute("SELECT tries FROM knock WHERE content = ?", (content,)).fetchone()
            return int(tries)

    def knows_leaf(self, leaf: bytes) -> bool:
        with self._transaction() as connection:
            found = connection.execute('SELECT 1 FROM "order" WHERE leaf = ?', (leaf,)).fetchone()
        return found is not None

    def revoke(self, leaf: bytes, *, reason: str, at: datetime) -> None:
        """Records a revocation; the first one stands."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO revoked VALUES (?, ?, ?)", (leaf, reason, at.timestamp())
            )

    def issued(self, *, since: datetime) -> Iterator[tuple[str, datetime, bytes]]:
        """Key, time and leaf of what was issued since then, oldest first."""
        number = 0
        while True:
            with self._transaction() as connection:
                rows = connection.execute(
                    'SELECT number, key, settles_at, leaf FROM "order" WHERE number > ? AND leaf IS NOT NULL'
                    " AND settles_at >= ? ORDER BY number LIMIT ?",
                    (number, since.timestamp(), _PAGE),
                ).fetchall()
            if not rows:
                return
            number = rows[-1][0]
            yield from ((key, datetime.fromtimestamp(at, UTC), bytes(der)) for _n, key, at, der in rows)

    def revocations(self) -> dict[bytes, tuple[str, datetime]]:
        """Leaf → reason and time."""
        with self._transaction() as connection:
            rows = connection.execute("SELECT leaf, reason, at FROM revoked").fetchall()
        return {bytes(leaf): (reason, datetime.fromtimestamp(at, UTC)) for leaf, reason, at in rows}

    def _one(self, query: str, value: str | int) -> Order | None:
        with self._transaction() as connection:
            row = connection.execute(query, (value,)).fetchone()
        if row is None:
            return None
        number, settles_at, leaf, reason = row
        return Order(f"{_PREFIX}{number:06}", datetime.fromtimestamp(settles_at, UTC), leaf, reason)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=20)) as connection, connection:
            yield connection
