"""Files with secrets that others on the machine can read, as every back end tells of them."""

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from certdesk.domain.findings import Check, Verdict


def open_to_everybody(paths: Iterable[Path]) -> Iterator[Check]:
    """A warning for each such file. One that can't be looked at is told when it is used."""
    for path in paths:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue
        if mode & stat.S_IRWXO:
            told = f"Everybody on this machine may read or write {path} (mode {mode:o}). Run: chmod o= {path}"
            yield Check("backend.credentials_open", Verdict.WARN, told)
