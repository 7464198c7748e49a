"""Ten thousand ACME orders by eight clients, on end: what fails, what is there twice, what memory grows.

Run: `.venv/bin/python bench/soak_acme.py [--orders N]`; on PostgreSQL behind
`.venv/bin/python -m tests.harness.postgres --`. Takes about four minutes, so that `make bench` leaves it out.
"""

import argparse
import multiprocessing
import os
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

from acme_load import Client, Responder, Target
from bench_acme import CLIENTS, accounts, certdesk
from common import DOMAIN, database, percentile

ROWS = 10
#: Every name is asked for once: a second certificate for one would be a doubled one.
COUNTS = """SELECT (SELECT COUNT(*) FROM store_acmeorder),
  (SELECT COUNT(DISTINCT i.order_id) FROM store_certificate c JOIN store_issuance i ON i.id = c.issuance_id),
  (SELECT COUNT(*) FROM store_certificate), (SELECT COUNT(DISTINCT name) FROM store_certificatename)"""


def work(client: Client, count: int, results: "multiprocessing.Queue[list[float | str]]") -> None:
    """One client's orders: wall ms of each, or what went wrong with it."""
    told: list[float | str] = []
    client.nonce = client.send("HEAD", client.at["newNonce"], body=b"", headers={}).headers["Replay-Nonce"]
    for _ in range(count):
        name, began = client.name(DOMAIN), time.perf_counter()
        try:
            client.issue([name], client.csr(name), challenged=False)
            told.append((time.perf_counter() - began) * 1000)
        except (AssertionError, OSError, KeyError, ValueError) as error:
            told.append(f"{type(error).__name__}: {str(error)[:200]}")
            client.close()
            client.nonce = client.send("HEAD", client.at["newNonce"], body=b"", headers={}).headers[
                "Replay-Nonce"
            ]
    results.put(told)


def memory(group: int) -> dict[int, int]:
    """What each process of a group has in memory, MB."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if int((place / "stat").read_text().rpartition(")")[2].split()[2]) != group:
                continue
            line = next(one for one in (place / "status").read_text().splitlines() if one.startswith("VmRSS"))
        except (OSError, StopIteration):
            continue
        found[int(place.name)] = int(line.split()[1]) // 1024
    return found


def counts(data: Path) -> tuple[int, ...]:
    """Orders, those that have a certificate, certificates, and the names in them."""
    url = os.environ.get("DATABASE_URL", "")
    if not url.startswith("postgres"):
        with closing(sqlite3.connect(data / "certdesk.sqlite3")) as own:
            return tuple(own.execute(COUNTS).fetchone())
    import psycopg  # noqa: PLC0415 - only with PostgreSQL

    with psycopg.connect(url) as connection:
        return tuple(connection.execute(COUNTS).fetchone() or ())


def main() -> None:
    """Prints a row for each tenth of the orders, and what is in the database in the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2, help="web processes")
    options = parser.parse_args()
    each = options.orders // ROWS // CLIENTS
    responder = Responder()
    keys = [Client(number, Target(directory="")) for number in range(CLIENTS)]
    responder.start({one.label: one.thumbprint for one in keys})
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="certdesk-bench-") as folder:
        try:
            with certdesk(responder, Path(folder), workers=options.workers) as server:
                before = counts(Path(folder) / "var")
                clients = accounts(server.target, keys)
                print(
                    f"{each * ROWS * CLIENTS} orders, {CLIENTS} clients, {database()}, "
                    f"{options.workers} web processes"
                )
                print("| orders | orders/s | ms, p50 / p99 | failed | MB of each process |")
                print("|---|---|---|---|---|")
                for row in range(1, ROWS + 1):
                    results: multiprocessing.Queue[list[float | str]] = multiprocessing.Queue()
                    began = time.perf_counter()
                    people = [
                        multiprocessing.Process(target=work, args=(one, each, results)) for one in clients
                    ]
                    for one, person in zip(clients, people, strict=True):
                        one.close()
                        person.start()
                    told = [value for _ in people for value in results.get(timeout=600)]
                    seconds = time.perf_counter() - began
                    for person in people:
                        person.join()
                    taken = [value for value in told if isinstance(value, float)]
                    failed += [value for value in told if isinstance(value, str)]
                    sizes = " + ".join(str(size) for _pid, size in sorted(memory(server.group).items()))
                    print(
                        f"| {row * each * CLIENTS} | {len(told) / seconds:.0f} "
                        f"| {percentile(taken, 0.5):.0f} / {percentile(taken, 0.99):.0f} "
                        f"| {len(failed)} | {sizes} |",
                        flush=True,
                    )
                after = counts(Path(folder) / "var")
        finally:
            responder.stop()
    orders, served, certificates, names = (new - old for new, old in zip(after, before, strict=True))
    print(
        f"Orders {orders}, with a certificate {served}, certificates {certificates}, names in them {names}: "
        f"{certificates - names} doubled, {len(failed)} failed."
    )
    for fault in sorted(set(failed))[:10]:
        print(fault)


if __name__ == "__main__":
    main()
