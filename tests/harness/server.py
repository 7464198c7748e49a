"""A real `certdesk serve --demo` in a process of its own, to be talked to, killed and started again."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.harness.environment import plain
from tests.harness.ports import free_port
from tests.harness.processes import started
from tests.harness.waiting import wait_until

_READY_SECONDS = 150  # some ten on an idle machine, far more beside other work
_STOP_SECONDS = 60


class ServerFailed(AssertionError):
    """The server ended before it was ready; the message holds its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """What `demo.json` says: the contract of `certdesk serve --demo`."""

    base_url: str
    acme_directory: str
    ra: str
    passwords: dict[str, str] = field(repr=False)
    organisations: dict[str, str]
    api_tokens: dict[str, str] = field(repr=False)
    mailbox: Path


def read_demo(path: Path) -> Demo:
    """Read `demo.json`, whose mailbox may be relative to the folder that the server was started in."""
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    mailbox = Path(told["mailbox"])
    return Demo(
        base_url=told["base_url"],
        acme_directory=told["acme_directory"],
        ra=told["ra"],
        passwords={user["username"]: user["password"] for user in told["users"]},
        organisations={user["username"]: user["organisation"] for user in told["users"]},
        api_tokens=told["api_tokens"],
        mailbox=mailbox if mailbox.is_absolute() else path.parent / mailbox.name,
    )


@dataclass(slots=True, kw_only=True)
class DemoServer:
    """One demo instance: its data survive `kill9` and `restart`, and so does its address."""

    data: Path
    database_url: str | None = None
    port: int = field(default_factory=free_port)
    extra: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    #: Session cookies of people who have signed in: the next story takes them up.
    sessions: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def demo(self) -> Demo:
        """Its `demo.json`, read afresh."""
        return read_demo(self.data / "demo.json")

    def start(self) -> None:
        """Start it and return when `/readyz` answers 200.

        Raises:
            ServerFailed: when it ends instead.
        """
        self.data.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "certdesk", "serve", "--demo"]
        self.process = started(command, log=self._log_file, env=self._environment())
        wait_until(self._is_ready, seconds=_READY_SECONDS, what=f"{self.base_url}/readyz to answer 200")

    def stop(self) -> None:
        """End it as an operator would, with SIGTERM; harmless when it has ended."""
        if self.process is None:
            return
        self._signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill9()
            raise
        self.process = None

    def kill9(self) -> None:
        """Kill it and its children with no chance to tidy up, as a power cut would."""
        if self.process is None:
            return
        self._signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def wait_for_exit(self, *, seconds: float = _STOP_SECONDS) -> int:
        """Wait for it to end by itself (a planted crash, say) and return its exit status."""
        if self.process is None:
            return 0
        status = self.process.wait(timeout=seconds)
        self.process = None
        return status

    def restart(self) -> None:
        """Stop it if it runs, and start it again on the same data and address."""
        self.stop()
        self.start()

    def log(self, *, lines: int | None = None) -> str:
        """What it has written, or the last lines of it."""
        if not self._log_file.exists():
            return ""
        written = self._log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(written if lines is None else written[-lines:])

    @property
    def _log_file(self) -> Path:
        return self.data.with_name(self.data.name + ".log")

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def _environment(self) -> dict[str, str]:
        told = plain(PORT=str(self.port), DATA=str(self.data), PYTHONUNBUFFERED="1", **self.extra)
        if self.database_url is not None:
            told["DATABASE_URL"] = self.database_url
        return told

    def _is_ready(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise ServerFailed(f"certdesk serve --demo ended before it was ready:\n{self.log()}")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@contextmanager
def running_demo(
    data: Path, *, template: Path | None = None, extra: Mapping[str, str] | None = None
) -> Iterator[DemoServer]:
    """A demo that runs for a while, on a copy of `template` or on data that it makes itself."""
    server = DemoServer(data=data, extra=dict(extra or {}))
    if template is not None:
        shutil.copytree(template, data)
    try:
        server.start()
        yield server
    finally:
        server.stop()
