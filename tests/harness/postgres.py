"""A private, throw-away PostgreSQL server made from the installed programs; nothing is ever downloaded.

As a fixture: `postgres_cluster`. From the command line, with DATABASE_URL set for the command:

    python -m tests.harness.postgres -- command and its arguments

`python -m tests.harness.postgres --find` only says (by its exit status) whether PostgreSQL is there.
"""

import atexit
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TypedDict

import psycopg

from tests.harness.ports import free_port
from tests.harness.processes import ended, started
from tests.harness.waiting import wait_until

_SUPERUSER = "certdesk"
_START_SECONDS = 90
_STOP_SECONDS = 60
_ATTEMPTS = 3

# Speed instead of durability: nothing of it is to survive a crash of the machine.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "log_min_messages": "warning",
}


class ClusterFailed(RuntimeError):
    """The server could not be made; the message holds what PostgreSQL said."""


class _Account(TypedDict, total=False):
    """The arguments of subprocess that give up root's rights; empty for anybody else."""

    user: int
    group: int
    extra_groups: list[int]


def find_programs() -> Path | None:
    """The folder with `initdb` and `postgres`, newest version first; None where there is none."""
    folders = [Path(found).parent for found in [shutil.which("postgres")] if found]
    pg_config = shutil.which("pg_config")
    if pg_config:
        told = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        folders.append(Path(told.stdout.strip()))
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    folders += sorted(installed, key=lambda folder: float(folder.parent.name), reverse=True)
    for folder in folders:
        if all(os.access(folder / program, os.X_OK) for program in ("initdb", "postgres")):
            return folder
    return None


def own_account() -> _Account:
    # PostgreSQL refuses to run as root, so that root lends it an account that owns nothing else here.
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise ClusterFailed("PostgreSQL does not run as root, and there is no account postgres or nobody.")


@dataclass(slots=True, kw_only=True)
class Cluster:
    """One running server with one superuser and its own folder; `stop` deletes the folder."""

    programs: Path
    folder: Path
    password: str
    port: int
    process: subprocess.Popen[bytes] | None = None

    def url(self, *, database: str = "postgres") -> str:
        """What DATABASE_URL is to be for one of its databases."""
        return f"postgres://{_SUPERUSER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Make an empty database and return its URL."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
        return self.url(database=name)

    def log(self) -> str:
        """What the server wrote."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """End the server and delete its folder; harmless when done twice."""
        if self.process is not None:
            ended(self.process, seconds=_STOP_SECONDS, by=signal.SIGINT)  # PostgreSQL's "fast shutdown"
        self.process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        process = self.process
        if process is None or process.poll() is not None:
            raise ClusterFailed(self.log())
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _start(self) -> None:
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [f"{self.programs}/postgres", "-D", f"{self.folder}/data", "-p", str(self.port), *settings]
        self.process = started(command, log=self.folder / "log", cwd=self.folder, **own_account())
        wait_until(self._answers, seconds=_START_SECONDS, what="PostgreSQL to answer")


def _initialise(*, programs: Path, folder: Path, password: str) -> None:
    account = own_account()
    password_file = folder / "password"
    password_file.write_text(password, encoding="utf-8")
    password_file.chmod(0o600)
    for path in (folder, password_file):
        os.chown(path, account.get("user", -1), account.get("group", -1))
    made = subprocess.run(
        [
            *(programs / "initdb", "--pgdata", folder / "data", "--username", _SUPERUSER),
            *("--auth", "scram-sha-256", "--pwfile", password_file),
            *("--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        **account,
    )
    if made.returncode != 0:
        raise ClusterFailed(made.stderr)


def start_cluster() -> Cluster:
    """Make a server in a temporary folder and wait until it answers; it ends with this process.

    Raises:
        ClusterFailed: when PostgreSQL is not installed or does not start.
    """
    programs = find_programs()
    if programs is None:
        raise ClusterFailed("PostgreSQL is not installed. Debian: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="certdesk-postgres-"))
    cluster = Cluster(programs=programs, folder=folder, password=secrets.token_hex(16), port=free_port())
    atexit.register(cluster.stop)
    _initialise(programs=programs, folder=folder, password=cluster.password)
    for attempt in range(_ATTEMPTS):
        try:
            cluster._start()
        except ClusterFailed:
            # Somebody may have taken the port between our look and the server's start.
            if attempt == _ATTEMPTS - 1:
                cluster.stop()
                raise
            cluster.port = free_port()
        else:
            break
    return cluster


def _end(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + _signal)


def main(arguments: list[str]) -> int:
    """Run a command with DATABASE_URL pointing at a new, empty database.

    Returns:
        The command's exit status; with --find, 0 where PostgreSQL is installed and 1 where not.
    """
    if arguments == ["--find"]:
        return 0 if find_programs() else 1
    if arguments[:1] != ["--"] or len(arguments) == 1:
        sys.stderr.write("usage: python -m tests.harness.postgres -- command [argument …]\n")
        return 2
    # SystemExit runs the exit handlers, and with them the cluster's end.
    signal.signal(signal.SIGTERM, _end)
    cluster = start_cluster()
    environment = {**os.environ, "DATABASE_URL": cluster.create_database("certdesk")}
    return subprocess.run(arguments[1:], env=environment, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
