"""The private PostgreSQL server that other tests stand on: it works, and it leaves nothing behind."""

import subprocess
import sys

import psycopg
import pytest

from tests.harness.postgres import find_programs, start_cluster

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(find_programs() is None, reason="PostgreSQL is not installed"),
]
_CONNECT = (
    "import os, psycopg; psycopg.connect(os.environ['DATABASE_URL']).close(); raise SystemExit({status})"
)


def test_a_cluster_serves_and_then_is_gone() -> None:
    cluster = start_cluster()
    try:
        with psycopg.connect(cluster.create_database("one")) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        cluster.stop()
    assert not cluster.folder.exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(cluster.url(), connect_timeout=20)


def test_a_cluster_wants_its_password() -> None:
    cluster = start_cluster()
    try:
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(cluster.url().replace(cluster.password, "another"), connect_timeout=20)
    finally:
        cluster.stop()


@pytest.mark.parametrize("status", [0, 3])
def test_a_command_gets_a_database_and_its_status_comes_back(status: int) -> None:
    command = [sys.executable, "-m", "tests.harness.postgres", "--"]
    ran = subprocess.run([*command, sys.executable, "-c", _CONNECT.format(status=status)], check=False)
    assert ran.returncode == status


def test_a_call_without_a_command_explains_itself() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.harness.postgres"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert "usage:" in ran.stderr
