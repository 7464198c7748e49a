"""What Certdesk's settings read from the environment during tests. Must run before Django loads them.

The database is a SQLite file in a temporary folder, or (`CERTDESK_TEST_DB=postgres`) a private PostgreSQL
server. Nothing that the developer has set for a real instance reaches the tests.
"""

import atexit
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.harness import postgres

SETTINGS_MODULE = "certdesk.conf.settings"


def steers_certdesk(name: str) -> bool:
    """Whether a variable would reach Certdesk's own settings or command, and so must come from the tests."""
    if name.startswith("CERTDESK_TEST_"):
        return False
    return name.startswith("CERTDESK_") or name in {"DATABASE_URL", "DJANGO_SETTINGS_MODULE", "DATA", "PORT"}


def nothing_may_be_skipped() -> bool:
    """Whether a skip counts as a failure, as it does in CI."""
    return os.environ.get("CERTDESK_TEST_NOTHING_SKIPPED") == "1"


def uses_postgres() -> bool:
    """Whether this run's database is PostgreSQL."""
    return os.environ.get("CERTDESK_TEST_DB", "sqlite") == "postgres"


def _database_url(*, data: Path) -> str:
    if not uses_postgres():
        return f"sqlite:///{data / 'certdesk.sqlite3'}"
    # With xdist the first process makes the one server; its workers find the address here.
    inherited = os.environ.get("CERTDESK_TEST_DATABASE_URL")
    if inherited is None:
        inherited = postgres.start_cluster().create_database("certdesk")
        os.environ["CERTDESK_TEST_DATABASE_URL"] = inherited
    return inherited


def prepare() -> Path:
    """Set the environment for this process and return its data folder, which goes at exit."""
    data = Path(tempfile.mkdtemp(prefix="certdesk-test-"))
    atexit.register(shutil.rmtree, data, ignore_errors=True)
    # A time limit ends the run with SIGTERM; taken as Ctrl-C, it still stops servers and removes their data.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # The settings refuse CERTDESK_ names that they do not know; workers of xdist inherit the new one.
    if os.environ.get("CERTDESK_NOTHING_SKIPPED") == "1":
        os.environ["CERTDESK_TEST_NOTHING_SKIPPED"] = "1"
    for name in [name for name in os.environ if steers_certdesk(name)]:
        del os.environ[name]
    # Containers like to set it; then each process that a test starts compiles all of Certdesk anew (2 s).
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # Some tests call programs that come with the dependencies, such as pkilint's, from an inactive .venv too.
    programs = Path(sys.executable).parent
    os.environ |= {
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "CERTDESK_DATA": str(data),
        # Each test begins with an empty database, which a journal would take for one that was restored.
        "CERTDESK_CA_JOURNAL": "0",
        "CERTDESK_DEMO": "1",
        "CERTDESK_SECRET_KEY": secrets.token_urlsafe(48),
        "DATABASE_URL": _database_url(data=data),
    }
    return data


def plain(**more: str) -> dict[str, str]:
    """The environment of a process that is steered by nothing but what is given here."""
    return {name: value for name, value in os.environ.items() if not steers_certdesk(name)} | more


def certdesk(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, with a time limit, whatever its status."""
    return subprocess.run(
        [sys.executable, "-m", "certdesk", *arguments],
        env=plain(**environment),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
