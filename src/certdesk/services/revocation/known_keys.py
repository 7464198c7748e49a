"""The file with known compromised keys: mapped into memory once, and again when it is replaced.

The operator puts it there (`badkeys --update-bl` fetches it); nothing is downloaded here. What a list says
about a key is `domain.csr.known_keys`.
"""

import json
import mmap
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from certdesk.domain.csr.known_keys import RECORD, KnownKeys
from certdesk.domain.errors import Misconfigured

log = structlog.get_logger()

LIST, TITLES = "blocklist.dat", "badkeysdata.json"
#: Seconds after which a replaced file is noticed.
FRESH_FOR = 60.0
_SAMPLES = 64


class KnownKeysFolder:
    """A folder with badkeys' `blocklist.dat` and, for the names of its lists, `badkeysdata.json`."""

    def __init__(self, folder: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Raises Misconfigured when there is no usable list: who asks for one does not go without."""
        self._folder = folder
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._stamp, self._known = _stamp(folder), _read(folder)
        self._looked_at = monotonic()

    def __call__(self) -> KnownKeys:
        """The list. A replacement that can't be read is logged, and the former list stays."""
        if self._monotonic() - self._looked_at < FRESH_FOR:
            return self._known
        with self._lock:
            self._looked_at = self._monotonic()
            try:
                stamp = _stamp(self._folder)
                if stamp != self._stamp:
                    self._known, self._stamp = _read(self._folder), stamp
            except Misconfigured as error:
                log.warning("known_keys.unusable", problem=error.detail)
        return self._known


def _stamp(folder: Path) -> tuple[int, int, int]:
    try:
        found = (folder / LIST).stat()
    except OSError as error:
        raise _unusable(folder, f"{LIST} can't be read ({error.strerror})") from None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read(folder: Path) -> KnownKeys:
    path = folder / LIST
    try:
        with path.open("rb") as file:
            octets = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            written = datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
    except (OSError, ValueError) as error:
        raise _unusable(folder, f"{LIST} can't be read ({error})") from None
    titles: dict[int, str] = {}
    try:
        described = json.loads((folder / TITLES).read_bytes())
        titles = {int(one["id"]): str(one["name"]) for one in described["blocklists"]}
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unusable(folder, f"{TITLES} can't be read ({error})") from None
    known = KnownKeys(octets=octets, titles=titles, as_of=written)
    # A sample: reading hundreds of megabytes at every start would take longer than it is worth.
    step = max(1, len(known) // _SAMPLES)
    sample = [octets[at * RECORD : (at + 1) * RECORD] for at in range(0, len(known), step)]
    if len(octets) % RECORD or sample != sorted(sample):
        raise _unusable(folder, f"{LIST} is not a list in badkeys' format")
    log.info("known_keys.loaded", keys=len(known), as_of=written.isoformat())
    return known


def _unusable(folder: Path, problem: str) -> Misconfigured:
    return Misconfigured(f"CERTDESK_BLOCKLIST names {folder}: {problem}. Put it right, or leave it out.")
