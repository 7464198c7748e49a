"""Which intent has which order, which DNS records are ours, what was spent of limits: a SQLite file.

It is in the CA's folder, and makes a repeat harmless. Losing it costs little: an order that is not finalized
issues nothing, and the handle of one that may be finalized stands in Certdesk's database.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from certdesk.backends.acme.limits import Bucket, Kind, Limit

JOURNAL = "orders.sqlite3"
#: The engine asks at least every quarter of an hour: after this long an order is nobody's.
_ABANDONED = timedelta(hours=1)
#: Nobody needs to know it better: a write is some disk's time.
_LATELY, _WEEK = timedelta(minutes=1), 7 * 86400
_TABLES = """
CREATE TABLE IF NOT EXISTS "order" (
    key TEXT PRIMARY KEY,
    url TEXT NOT NULL UNIQUE,
    names TEXT NOT NULL,
    touched_at REAL NOT NULL,
    ask_after REAL NOT NULL DEFAULT 0,
    finalizing INTEGER NOT NULL DEFAULT 0,
    ended INTEGER NOT NULL DEFAULT 0,
    problem TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS record (
    url TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    there INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (url, name, value)
);
CREATE TABLE IF NOT EXISTS pause (names TEXT PRIMARY KEY, until REAL NOT NULL);
CREATE TABLE IF NOT EXISTS issuer (der BLOB PRIMARY KEY);
CREATE TABLE IF NOT EXISTS spent (
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    key TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (kind, subject, key)
);
CREATE TABLE IF NOT EXISTS issued_under (account_key TEXT PRIMARY KEY, until REAL NOT NULL);
CREATE TABLE IF NOT EXISTS replacing (url TEXT PRIMARY KEY, identifier TEXT NOT NULL);
"""
#: What is given back when no certificate comes of an order.
_GIVEN_BACK = f"kind IN ('{Kind.DOMAIN}', '{Kind.NAMES}')"
#: The row of a pause for all names.
_ALL = ""
_COLUMNS = "url, ask_after, finalizing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An intent's order; `finalizing`: whether it may have been finalized."""

    url: str
    ask_after: datetime
    finalizing: bool


class Journal:
    """The file. Each call is a connection and a transaction of its own, so threads may share this."""

    def __init__(self, folder: Path) -> None:
        """Makes the file, for its owner alone, unless it is there. Raises OSError, sqlite3.Error."""
        self._path = folder / JOURNAL
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        with closing(sqlite3.connect(self._path, timeout=20)) as connection:
            connection.executescript(_TABLES)

    def entry(self, key: str) -> Entry | None:
        with self._transaction() as connection:
            return _entry(connection, key)

    def own(
        self, *, key: str, url: str, names: tuple[str, ...], now: datetime, is_open: bool = False
    ) -> Entry | None:
        """The order of this intent, recorded now unless it has one; None when the order is another intent's.

        A CA hands out the same order again for the same names while it is open. One that nobody has asked
        about for an hour changes hands, as does one that has ended without a certificate; but never one that
        may have been finalized, unless the CA has just said that it `is_open`.
        """
        with self._transaction() as connection:
            left = (url, key, (now - _ABANDONED).timestamp(), is_open)
            connection.execute(
                f'DELETE FROM spent WHERE {_GIVEN_BACK} AND key IN (SELECT key FROM "order" WHERE url = ?'  # noqa: S608 - constants
                " AND key != ? AND touched_at < ? AND (? OR NOT finalizing))",
                left,
            )
            connection.execute(
                'UPDATE OR IGNORE "order" SET key = ?, touched_at = ?, ask_after = 0, finalizing = 0,'
                " ended = 0, problem = '' WHERE url = ? AND key != ? AND touched_at < ?"
                " AND (? OR NOT finalizing)",
                (key, now.timestamp(), *left),
            )
            connection.execute(
                'INSERT OR IGNORE INTO "order" (key, url, names, touched_at) VALUES (?, ?, ?, ?)',
                (key, url, ", ".join(names), now.timestamp()),
            )
            return _entry(connection, key)

    def note_replacing(self, url: str, *, identifier: str) -> None:
        """The order says that it replaces this certificate (RFC 9773 5)."""
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO replacing VALUES (?, ?)", (url, identifier))

    def replacing(self, identifier: str, *, names: tuple[str, ...]) -> str:
        """The last order for these names that says so and gave no certificate; empty where there is none."""
        with self._transaction() as connection:
            found = connection.execute(
                'SELECT url, o.names FROM replacing r JOIN "order" o USING (url)'
                " WHERE identifier = ? AND NOT (ended AND finalizing) ORDER BY r.rowid DESC",
                (identifier,),
            ).fetchall()
        return next((url for url, told in found if set(told.split(", ")) == set(names)), "")

    def touch(self, key: str, *, now: datetime, problem: str = "") -> None:
        """Somebody has asked about it, and this went wrong, if anything. The same again writes nothing."""
        with self._transaction() as connection:
            connection.execute(
                'UPDATE "order" SET touched_at = ?, problem = ?'
                " WHERE key = ? AND (problem != ? OR touched_at < ?)",
                (now.timestamp(), problem, key, problem, (now - _LATELY).timestamp()),
            )

    def finalizing(self, key: str, *, url: str) -> bool:
        """From here on the CA may issue, and the order stays with this intent; False where it has left it."""
        with self._transaction() as connection:
            done = connection.execute(
                'UPDATE "order" SET finalizing = 1 WHERE key = ? AND url = ?', (key, url)
            )
            return done.rowcount == 1

    def put_off(self, key: str, *, until: datetime) -> None:
        """The CA does not want to be asked before."""
        self._set("ask_after = ?", until.timestamp(), key)

    def end(self, key: str, *, issued: bool) -> None:
        """Nothing more comes of it for this intent; its DNS records may go."""
        left = "" if issued else ", finalizing = 0, touched_at = 0"
        self._set(f"ended = 1, problem = ''{left}", key)
        if not issued:
            self.give_back(key)

    def last_problem(self, *, now: datetime) -> tuple[str, str] | None:
        """Names of the open order that failed last, within a day, and why; None when none did."""
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT names, problem FROM \"order\" WHERE NOT ended AND problem != '' AND touched_at > ?"
                " ORDER BY touched_at DESC LIMIT 1",
                ((now - timedelta(days=1)).timestamp(),),
            ).fetchone()
        return None if row is None else (str(row[0]), str(row[1]))

    def note(self, *, url: str, name: str, value: str) -> bool:
        """Notes a record as ours, before it is put into the DNS; whether it has been put there already."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO record (url, name, value) VALUES (?, ?, ?)", (url, name, value)
            )
            where = "SELECT there FROM record WHERE url = ? AND name = ? AND value = ?"
            return bool(connection.execute(where, (url, name, value)).fetchone()[0])

    def put_there(self, *, url: str, name: str, value: str) -> None:
        with self._transaction() as connection:
            connection.execute(
                "UPDATE record SET there = 1 WHERE url = ? AND name = ? AND value = ?", (url, name, value)
            )

    def left_over(self, *, now: datetime) -> list[tuple[str, str, str]]:
        """Records that no open order needs: order, name, value. One that nobody asks about is not open."""
        since = (now - timedelta(days=1)).timestamp()
        with self._transaction() as connection:
            return connection.execute(
                "SELECT url, name, value FROM record WHERE NOT EXISTS ("
                'SELECT 1 FROM "order" o JOIN record same ON same.url = o.url'
                " WHERE same.name = record.name AND same.value = record.value"
                " AND NOT o.ended AND o.touched_at > ?) LIMIT 50",
                (since,),
            ).fetchall()

    def forget(self, *, url: str, name: str, value: str) -> None:
        """The record is gone."""
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM record WHERE url = ? AND name = ? AND value = ?", (url, name, value)
            )

    def pause(self, names: tuple[str, ...], *, until: datetime) -> None:
        """The CA wants no order for these names before; for no names: none at all."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO pause (names, until) VALUES (?, ?)",
                (_set_of(names), until.timestamp()),
            )

    def paused_until(self, names: tuple[str, ...], *, now: datetime) -> tuple[datetime, bool] | None:
        """Until when it wants none, if that is still to come, and whether that is of these names alone."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM pause WHERE until <= ?", (now.timestamp(),))
            row = connection.execute(
                "SELECT until, names FROM pause WHERE names IN (?, ?) ORDER BY until DESC",
                (_set_of(names), _ALL),
            ).fetchone()
        return None if row is None else (datetime.fromtimestamp(row[0], UTC), row[1] != _ALL)

    def spend(self, key: str, buckets: Iterable[Bucket], *, now: datetime) -> tuple[Bucket, float] | None:
        """Takes a token from each bucket for an intent's order, or none: then, which is empty and until when.

        Failures are not spent by orders: there only has to be one left. The same intent spends once.
        """
        with self._transaction() as connection:
            spending = []
            for bucket in buckets:
                oldest = (
                    now.timestamp() - 2 * bucket.limit.period
                )  # what is older is of no account any longer
                place = (bucket.kind, bucket.subject)
                connection.execute("DELETE FROM spent WHERE kind = ? AND at < ?", (bucket.kind, oldest))
                rows = connection.execute(
                    "SELECT at FROM spent WHERE kind = ? AND subject = ? AND key != ? ORDER BY at",
                    (*place, key),
                )
                if (until := bucket.limit.next_at(at for (at,) in rows)) > now.timestamp():
                    return bucket, until
                if bucket.kind is not Kind.FAILURES:
                    spending.append((*place, key, now.timestamp()))
            connection.executemany("INSERT OR REPLACE INTO spent VALUES (?, ?, ?, ?)", spending)
        return None

    def give_back(self, key: str, *, order: bool = False) -> None:
        """No certificate comes of what the intent has spent; nor an order, where it was not even made."""
        what = "" if order else f" AND {_GIVEN_BACK}"
        with self._transaction() as connection:
            connection.execute(f"DELETE FROM spent WHERE key = ?{what}", (key,))  # noqa: S608 - constants

    def note_failure(self, name: str, *, at: str, now: datetime) -> None:
        """The CA has found a name not to be validated; `at` is the authorization's address, counted once."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO spent VALUES (?, ?, ?, ?)", (Kind.FAILURES, name, at, now.timestamp())
            )

    def fullest(self, kind: Kind, limit: Limit, *, now: datetime) -> tuple[str, int, float] | None:
        """What has spent most of a limit: the subject, how many, from when on one more fits."""
        spent: dict[str, list[float]] = {}
        with self._transaction() as connection:
            for subject, at in connection.execute(
                "SELECT subject, at FROM spent WHERE kind = ? AND at > ? ORDER BY at",
                (kind, now.timestamp() - 2 * limit.period),
            ):
                spent.setdefault(subject, []).append(at)
        if not spent:
            return None
        subject = max(spent, key=lambda one: limit.full_until(spent[one]))
        return subject, limit.used(spent[subject], now=now.timestamp()), limit.next_at(spent[subject])

    def finalized(
        self, *, since: datetime, after: int = 0, limit: int = 500
    ) -> list[tuple[int, str, str, datetime]]:
        """Orders that may have been finalized since then: number to go on after, intent's key, URL, time."""
        with self._transaction() as connection:
            rows = connection.execute(
                'SELECT rowid, key, url, touched_at FROM "order"'
                " WHERE rowid > ? AND finalizing AND touched_at >= ? ORDER BY rowid LIMIT ?",
                (after, since.timestamp(), limit),
            ).fetchall()
        return [(number, key, url, datetime.fromtimestamp(at, UTC)) for number, key, url, at in rows]

    def note_issuer(self, der: bytes) -> None:
        """A certificate of ours was issued by this CA certificate."""
        with self._transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO issuer (der) VALUES (?)", (der,))

    def issuers(self) -> list[bytes]:
        """The CA certificates that have issued any of ours: over the years, a few."""
        with self._transaction() as connection:
            return [bytes(der) for (der,) in connection.execute("SELECT der FROM issuer")]

    def note_issued(self, account_key: str, *, until: datetime) -> None:
        """A certificate was issued under this key of our account, and runs until then: to the week."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO issued_under VALUES (?, ?) ON CONFLICT (account_key)"
                " DO UPDATE SET until = excluded.until WHERE excluded.until > until",
                (account_key, -(-until.timestamp() // _WEEK) * _WEEK),
            )

    def issued_until(self) -> dict[str, float]:
        """When the last certificate ends, by the key of our account that it was issued under."""
        with self._transaction() as connection:
            return dict(connection.execute("SELECT account_key, until FROM issued_under").fetchall())

    def _set(self, what: str, *values: object) -> None:
        with self._transaction() as connection:
            connection.execute(f'UPDATE "order" SET {what} WHERE key = ?', values)  # noqa: S608 - constants

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=20)) as connection, connection:
            yield connection


def _set_of(names: tuple[str, ...]) -> str:
    return " ".join(sorted(names))


def _entry(connection: sqlite3.Connection, key: str) -> Entry | None:
    row = connection.execute(f'SELECT {_COLUMNS} FROM "order" WHERE key = ?', (key,)).fetchone()  # noqa: S608 - as above
    if row is None:
        return None
    url, ask_after, finalizing = row
    return Entry(url=url, ask_after=datetime.fromtimestamp(ask_after, UTC), finalizing=bool(finalizing))
