"""A real server under load: 8 clients confirm and download over HTTP, all policy, lint and audit on.

Run: `make bench`, or `.venv/bin/python bench/bench_http.py [--workers N] [--seconds S]`.
"""

import argparse
import http.client
import json
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

from common import csr, database, line, percentile

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.harness.server import DemoServer

CLIENTS = 8


def client(
    port: int, token: str, seconds: float, start: float, results: "multiprocessing.Queue[list[float]]"
) -> None:
    """One client: confirm, then download the zip, over one kept connection; CSRs are made beforehand."""
    asked = [csr().decode() for _ in range(int(seconds * 40))]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    taken: list[float] = []
    while time.time() < start:
        pass
    for text in asked:
        if time.time() > start + seconds:
            break
        began = time.perf_counter()
        body = json.dumps({"csr": text, "duration_years": 1, "server_software": "nginx"})
        connection.request("POST", "/api/v1/requests", body, headers)
        response = connection.getresponse()
        created = json.loads(response.read())
        assert response.status == http.client.CREATED, created
        connection.request("GET", f"/api/v1/requests/{created['id']}/bundle.zip", headers=headers)
        response = connection.getresponse()
        assert response.read().startswith(b"PK"), response.status
        taken.append((time.perf_counter() - began) * 1000)
    results.put(taken)


def cpu_seconds(pid: int, *, only: int = 0) -> float:
    """User and system time of a process group's members, or `only` of one of them, from /proc."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == pid and only in (0, int(stat.parent.name)):
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def run(server: DemoServer, *, clients: int, seconds: float) -> None:
    """One load run and its row."""
    token = server.demo.api_tokens["alice"]
    results: multiprocessing.Queue[list[float]] = multiprocessing.Queue()
    start = time.time() + 2 + seconds / 8
    people = [
        multiprocessing.Process(target=client, args=(server.port, token, seconds, start, results))
        for _ in range(clients)
    ]
    assert server.process is not None
    for person in people:
        person.start()
    time.sleep(max(0.0, start - time.time()))
    before = cpu_seconds(server.process.pid)
    taken = [value for _ in people for value in results.get()]
    spent = cpu_seconds(server.process.pid) - before
    for person in people:
        person.join()
    line(
        f"confirm → zip, {clients} client(s)",
        taken,
        more=f"{len(taken) / seconds:.0f}/s, {spent / len(taken) * 1000:.1f} ms server CPU each, "
        f"p90 {percentile(taken, 0.9):.0f} ms",
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    options, _unknown = parser.parse_known_args()
    print(f"Over HTTP, {database()}, the clients share the same cores")
    print("| what | wall ms, median | wall ms, p99 | rate |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="certdesk-bench-") as folder:
        for workers in options.workers:
            print(f"| **{workers} web process(es)** | | | |")
            server = DemoServer(
                data=Path(folder) / "var",
                database_url=os.environ.get("DATABASE_URL"),
                extra={"CERTDESK_WORKERS": str(workers)},
            )
            server.start()
            try:
                for clients in (1, CLIENTS):
                    run(server, clients=clients, seconds=options.seconds)
            finally:
                server.stop()


if __name__ == "__main__":
    main()
