"""PgBouncer in transaction mode before PostgreSQL: each transaction gets any of a few sessions."""

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.harness.acme_client import AcmeClient, new_key, over_http
from tests.harness.ports import free_port
from tests.harness.postgres import Cluster, own_account
from tests.harness.processes import ended, started
from tests.harness.server import DemoServer
from tests.harness.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.postgres,
    pytest.mark.skipif(
        shutil.which("pgbouncer") is None, reason="no PgBouncer (Debian: apt-get install pgbouncer)"
    ),
]
CLIENTS, ORDERS, SESSIONS = 4, 5, 3


@pytest.fixture
def pooled(postgres_cluster: Cluster, tmp_path: Path) -> Iterator[str]:
    """The URL of a new database behind a pooler that has few sessions with PostgreSQL."""
    direct = urlsplit(postgres_cluster.create_database("pooled"))
    port, folder = free_port(), tmp_path
    for parent in (folder, *folder.parents[:3]):
        parent.chmod(parent.stat().st_mode | 0o711)
    (folder / "users.txt").write_text(f'"{direct.username}" "{direct.password}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"""[databases]
pooled = host=127.0.0.1 port={direct.port} dbname=pooled
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = {SESSIONS}
"""
    )
    command = [shutil.which("pgbouncer") or "", str(folder / "pgbouncer.ini")]
    process = started(command, log=folder / "log", cwd=folder, **own_account())
    url = f"postgres://{direct.username}:{direct.password}@127.0.0.1:{port}/pooled"

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    wait_until(answers, seconds=20, what="PgBouncer to answer")
    yield f"{url}?pooler=transaction"
    ended(process, seconds=10)


def test_acme_clients_portal_and_worker_share_a_few_sessions(
    pooled: str, start_server: Callable[..., DemoServer]
) -> None:
    server = start_server(database_url=pooled)
    eab, *_others = json.loads((server.data / "demo.json").read_text())["eab"]

    def orders(client: int) -> int:
        one = AcmeClient(send=over_http(), directory=f"{server.base_url}/acme/directory", key=new_key())
        assert one.register(eab["kid"], eab["hmac_key"]).status == 201
        return sum(one.issue(f"c{client}-{n}.example.ac.uk").count(b"-----BEGIN") > 1 for n in range(ORDERS))

    with ThreadPoolExecutor(CLIENTS) as clients:
        assert sum(clients.map(orders, range(CLIENTS))) == CLIENTS * ORDERS
    with psycopg.connect(pooled.partition("?")[0], prepare_threshold=None) as connection:
        certificates = "SELECT COUNT(*), COUNT(DISTINCT serial) FROM store_certificate"
        expected = CLIENTS * ORDERS + 1  # and the demo's own
        assert connection.execute(certificates).fetchone() == (expected, expected)
        linted = "SELECT COUNT(*) FROM store_issuance WHERE linted_at IS NULL"
        wait_until(
            lambda: connection.execute(linted).fetchone() == (0,), seconds=60, what="the worker to lint all"
        )
