"""Programs that a test runs beside itself: each in a session of its own, with all that it says in a log."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def started(
    command: Sequence[str | Path],
    *,
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    **account: Any,
) -> subprocess.Popen[bytes]:
    """Start it. Ctrl-C ends the tests first; they end the program, and may kill its children with it."""
    with log.open("ab") as out:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=cwd,
            env=env,
            start_new_session=True,
            **account,
        )


def ended(process: subprocess.Popen[bytes], *, seconds: float, by: signal.Signals = signal.SIGTERM) -> None:
    """Ask it to end, and kill it and its children where it does not in time; harmless when it has ended."""
    if process.poll() is None:
        process.send_signal(by)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
