"""What the embedded CA has signed and revoked, a line for each, written before it is handed out.

It lies apart from the database, so that after a restore from a backup it tells what the database has lost.
A line stays through a crash of ours; through a power cut, once the system has written it to the disk.
"""

import os
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

from cryptography import x509

from certdesk.backends.base import Listed
from certdesk.domain.errors import Misconfigured, Unavailable
from certdesk.domain.issuing.certificates import UNREADABLE

_ISSUED, _REVOKED = "issued", "revoked"
_END = "."  # of a whole line; what a crash has cut off lacks it
_FILE = "%Y-%m.log"  # a month's lines; one whose certificates have all expired may be deleted


class Journal:
    """A folder of files that only grow. Threads and processes may share it."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder, for its owner alone. Raises Misconfigured."""
        self._folder, self._lock = folder, threading.Lock()
        self._open: tuple[str, int] | None = None
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            told = f"The embedded CA can't keep its journal in {folder}: {error.strerror}."
            raise Misconfigured(told) from error

    def issued(self, der: bytes, *, key: str, at: datetime) -> None:
        """Raises Unavailable when it can't be written: the certificate is then not handed out."""
        self._append(_ISSUED, at, quote(key, safe=""), b64encode(der).decode("ascii"))

    def revoked(self, serial: int, *, reason: str, at: datetime) -> None:
        """Raises Unavailable."""
        self._append(_REVOKED, at, f"{serial:x}", reason)

    def lines(self, *, since: datetime) -> Iterator[tuple[str, datetime, str, str]]:
        """What was written since then: kind, time, and the two others. A line that a crash cut off is none.

        Raises Unavailable.
        """
        first = f"{since.astimezone(UTC):{_FILE}}"
        try:
            for path in sorted(self._folder.glob("[0-9]*.log")):
                if path.name < first:
                    continue
                with path.open(encoding="ascii", errors="replace") as file:
                    for line in file:
                        words = line.split()
                        if words[-1:] != [_END]:
                            continue
                        kind, seconds, about, more, _end = words
                        if (at := datetime.fromtimestamp(float(seconds), UTC)) >= since:
                            yield kind, at, about, more
        except (OSError, ValueError, OverflowError) as error:
            raise Unavailable(f"The journal of the embedded CA can't be read: {error}.") from error

    def listed(self, *, since: datetime) -> Iterator[Listed]:
        """Certificates and revocations since then, as the protocol `Lists` has it. Raises Unavailable."""
        revoked = {
            int(serial, 16): (at, reason)
            for kind, at, serial, reason in self.lines(since=since)
            if kind == _REVOKED
        }
        for kind, at, key, encoded in self.lines(since=since):
            if kind != _ISSUED:
                continue
            der = b64decode(encoded)
            try:
                serial = x509.load_der_x509_certificate(der).serial_number
            except UNREADABLE as error:
                raise Unavailable("The journal of the embedded CA holds what is no certificate.") from error
            ended_at, reason = revoked.pop(serial, (None, ""))
            yield Listed(
                serial=serial,
                key=unquote(key),
                issued_at=at,
                is_revoked=ended_at is not None,
                revoked_at=ended_at,
                reason=reason,
                der=der,
            )
        for serial, (at, reason) in revoked.items():
            yield Listed(serial=serial, is_revoked=True, revoked_at=at, reason=reason)

    def _append(self, kind: str, at: datetime, *rest: str) -> None:
        # The line break before it ends what a crash may have cut off. One write, so that no two mix.
        line = f"\n{kind} {at.timestamp():.6f} {' '.join(rest)} {_END}\n".encode("ascii")
        told = f"The embedded CA can't write its journal in {self._folder}"
        try:
            written = os.write(self._descriptor(at), line)
        except OSError as error:
            raise Unavailable(f"{told}: {error.strerror}.") from error
        if written != len(line):
            raise Unavailable(f"{told}: the disk is full.")

    def _descriptor(self, at: datetime) -> int:
        """The month's file, open while the month lasts."""
        name = f"{at.astimezone(UTC):{_FILE}}"
        with self._lock:
            if self._open is None or self._open[0] != name:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                before, self._open = self._open, (name, os.open(self._folder / name, flags, 0o600))
                if before is not None:
                    os.close(before[1])
            return self._open[1]
