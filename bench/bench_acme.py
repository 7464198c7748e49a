"""The ACME server beside Pebble, in one run: CPU per certificate and orders a second, as paired ratios.

Run: `make bench`, or `.venv/bin/python bench/bench_acme.py [--rounds N] [--orders N] [--workers N]
[--profile]`.
An order goes from newOrder to the downloaded chain: one name, P-256, one kept connection for each client.
“challenged” proves the name by http-01 to a responder on the loopback; “pre-validated” needs no challenge;
“renewal” orders a name anew that has a certificate; “100 names” are in one pre-validated order.
Certdesk judges, lints, audits and stores on a disk; it speaks plain HTTP behind a proxy. Pebble is a test
server in Go that keeps everything in memory, does none of that, and speaks TLS. CPU is that of all processes
of a server, PostgreSQL's own among them. Each round measures both, one right after the other; machines drift
by tens of percent, so that only the ratios of rounds count. `--profile` says where Certdesk's time goes.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from acme_load import Client, Responder, Target
from bench_http import cpu_seconds
from common import DOMAIN, certificate_for_localhost, database, percentile

from tests.harness.ports import free_port
from tests.harness.server import DemoServer
from tests.harness.waiting import wait_until

#: Trusted by its suffix and validated by nobody: what is below it needs a challenge.
UNPROVEN = "bench.ac.uk"
CLIENTS = 8
CHALLENGED, VALIDATED, RENEWAL, MANY = FLOWS = ("challenged", "pre-validated", "renewal", "100 names")
NAMES = 100
Jobs = list[tuple[tuple[str, ...], bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One load run: CPU ms for each order in each kind of process, orders a second, wall ms of each."""

    parts: dict[str, float]
    rate: float
    taken: tuple[float, ...]

    @property
    def cpu_ms(self) -> float:
        return sum(self.parts.values())


class Hung(RuntimeError):
    """A server stopped answering in the middle of a load run, as Pebble does now and then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that runs: where it is, the leader of its process group, PostgreSQL's first process or 0.

    `reuses` says that a name is only ready without a challenge when it was proven itself before.
    """

    target: Target
    group: int
    postgres: int = 0
    reuses: bool = False

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far: of the process with the worker in it, of the others, of PostgreSQL."""
        first = cpu_seconds(self.group, only=self.group)
        told = {"worker": first, "web": cpu_seconds(self.group) - first}
        return told | ({"PostgreSQL": family_seconds(self.postgres)} if self.postgres else {})


def family_seconds(parent: int) -> float:
    """User and system time of a process, its children that live, and those that it has buried, from /proc."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        is_parent = stat.parent.name == str(parent)
        if is_parent or int(fields[1]) == parent:
            ticks += int(fields[11]) + int(fields[12])
        if is_parent:
            ticks += int(fields[13]) + int(fields[14])
    return ticks / os.sysconf("SC_CLK_TCK")


def postgres_process(url: str) -> int:
    """The first process of the PostgreSQL server behind an address on this machine; 0 for SQLite."""
    if not url.startswith("postgres"):
        return 0
    import psycopg  # noqa: PLC0415 - only with PostgreSQL

    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None
        return int(Path(f"/proc/{row[0]}/stat").read_text().rpartition(")")[2].split()[1])


@contextmanager
def certdesk(responder: Responder, folder: Path, *, workers: int) -> Iterator[Server]:
    """A demo instance of so many web processes that asks the responder for names and proofs."""
    url = os.environ.get("DATABASE_URL")
    server = DemoServer(
        data=folder / "var",
        database_url=url,
        extra={
            "CERTDESK_DNS_SERVERS": json.dumps([f"127.0.0.1#{responder.dns_port}"]),
            "CERTDESK_DCV_ALLOWED_NETWORKS": json.dumps(["127.0.0.0/8"]),
            "CERTDESK_DCV_HTTP_PORT": str(responder.http_port),
            "CERTDESK_ACME_ORDERS_PER_HOUR": "1000000",
            "CERTDESK_WORKERS": str(workers),
        },
    )
    try:
        server.start()
        told = json.loads((server.data / "demo.json").read_text())
        (eab,) = [one for one in told["eab"] if one["organisation"] == "Example University"]
        assert server.process is not None
        yield Server(
            target=Target(
                directory=told["acme_directory"], credential=(eab["kid"], eab["hmac_key"]), ca_file=""
            ),
            group=server.process.pid,
            postgres=postgres_process(url or ""),
        )
    finally:
        server.stop()


@contextmanager
def pebble(responder: Responder, folder: Path) -> Iterator[Server]:
    """Pebble as quick as it can be: it does not sleep, rejects no good nonce and reuses what was proven."""
    port, manage = free_port(), free_port()
    certificate, key = certificate_for_localhost(folder)
    settings = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{manage}",
        "certificate": str(certificate),
        "privateKey": str(key),
        "httpPort": responder.http_port,
        "tlsPort": free_port(),
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
    }
    config = folder / "pebble.json"
    config.write_text(json.dumps({"pebble": settings}))
    process = subprocess.Popen(
        ["pebble", "-config", str(config), "-dnsserver", f"127.0.0.1:{responder.dns_port}"],
        env={
            **os.environ,
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": "0",
            "PEBBLE_AUTHZREUSE": "100",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    target = Target(directory=f"https://localhost:{port}/dir", ca_file=str(certificate))
    try:
        wait_until(lambda: _answers(target), seconds=10, what="Pebble to answer")
        yield Server(target=target, group=process.pid, reuses=True)
    finally:
        process.send_signal(signal.SIGKILL)  # it may hang, and has nothing to keep
        process.wait()


def _answers(target: Target) -> bool:
    client = Client(0, target)
    try:
        return client.send("GET", target.directory, body=b"", headers={}).status == 200
    except OSError:
        return False
    finally:
        client.close()


def work(
    client: Client,
    jobs: Jobs,
    *,
    challenged: bool,
    start: float,
    results: "multiprocessing.Queue[list[float]]",
) -> None:
    """One client's part of a load run, in a process of its own: wall ms of each order; none if it hung."""
    taken: list[float] = []
    try:
        client.send("HEAD", client.at["newNonce"], body=b"", headers={})
        time.sleep(max(0.0, start - time.time()))
        for names, csr in jobs:
            began = time.perf_counter()
            chain = client.issue(names, csr, challenged=challenged)
            assert chain.startswith(b"-----BEGIN CERTIFICATE-----"), chain
            taken.append((time.perf_counter() - began) * 1000)
    except TimeoutError:
        taken.clear()
    results.put(taken)


def jobs_for(client: Client, server: Server, flow: str, *, count: int) -> Jobs:
    """Names and CSRs, made beforehand. Pebble is ready for one name only after it was proven once."""
    if flow == RENEWAL or (flow == VALIDATED and server.reuses):
        name = client.name(DOMAIN)
        client.issue([name], client.csr(name), challenged=server.reuses)
        return [((name,), client.csr(name)) for _ in range(count)]
    some = NAMES if flow == MANY else 1
    domain = UNPROVEN if flow == CHALLENGED else DOMAIN
    names = [tuple(client.name(domain) for _ in range(some)) for _ in range(count)]
    return [(few, client.csr(*few)) for few in names]


def load(server: Server, clients: Sequence[Client], flow: str, *, orders: int) -> Measured:
    """One load run: `orders` in all, shared among the clients. Raises Hung."""
    jobs = [jobs_for(one, server, flow, count=orders // len(clients)) for one in clients]
    results: multiprocessing.Queue[list[float]] = multiprocessing.Queue()
    start = time.time() + 0.3
    people = []
    for client, own in zip(clients, jobs, strict=True):
        client.close()
        arguments = {"challenged": flow == CHALLENGED, "start": start, "results": results}
        people.append(multiprocessing.Process(target=work, args=(client, own), kwargs=arguments))
    for person in people:
        person.start()
    time.sleep(max(0.0, start - time.time()))
    before, began = server.cpu(), time.perf_counter()
    parts = [results.get(timeout=120) for _ in people]
    if not all(parts):
        raise Hung
    taken = [value for part in parts for value in part]
    seconds, after = time.perf_counter() - began, server.cpu()
    for client, person in zip(clients, people, strict=True):
        person.join()
        client.nonce = client.send("HEAD", client.at["newNonce"], body=b"", headers={}).headers[
            "Replay-Nonce"
        ]
    spent = {kind: (after[kind] - before[kind]) / len(taken) * 1000 for kind in after}
    return Measured(parts=spent, rate=len(taken) / seconds, taken=tuple(taken))


def accounts(target: Target, keys: Sequence[Client]) -> list[Client]:
    """The clients, registered with a server, whose keys the responder knows."""
    made = [Client(one.number, target, one.key, one.leaf) for one in keys]
    for client in made:
        client.register()
    return made


Rows = dict[tuple[str, int], list[Measured]]


def round_of(server: Server, keys: Sequence[Client], rows: Rows, *, orders: int) -> None:
    """Measures every flow once, with one client and with all; Pebble only where one name is asked for."""
    clients = accounts(server.target, keys)
    for flow in FLOWS:
        if flow in (RENEWAL, MANY) and server.reuses:
            continue
        for count in (1, len(clients)):
            few = max(count, orders // 8) if flow == MANY else orders
            rows.setdefault((flow, count), []).append(load(server, clients[:count], flow, orders=few))


def beside(responder: Responder, place: Path, keys: Sequence[Client], rows: Rows, *, orders: int) -> None:
    """A round of Pebble, started for it; where it hangs the round is measured anew. Raises Hung."""
    for attempt in range(3):
        found: Rows = {}
        try:
            with pebble(responder, place) as peer:
                round_of(peer, keys, found, orders=orders)
        except Hung:
            print(f"Pebble stopped answering (attempt {attempt + 1}); its round is measured anew.")
            continue
        for key, measured in found.items():
            rows.setdefault(key, []).extend(measured)
        return
    raise Hung


def spread(values: Sequence[float], *, digits: int = 1) -> str:
    """The median, with the least and the most."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def table(ours: Rows, theirs: Rows) -> None:
    """One row a flow and number of clients; ratios are of rounds, then their median."""
    print(
        "| order | CPU ms | of which | orders/s | ms, p50 / p99 | Pebble: CPU ms, orders/s | CPU, × Pebble |"
    )
    print("|---|---|---|---|---|---|---|")
    for (flow, count), rows in ours.items():
        taken = [value for row in rows for value in row.taken]
        # A renewal is to Pebble what it is ready for: its one name, ordered again.
        others = theirs.get((VALIDATED if flow == RENEWAL else flow, count), [])
        parts = (f"{kind} {statistics.median(row.parts[kind] for row in rows):.1f}" for kind in rows[0].parts)
        ratios = [mine.cpu_ms / other.cpu_ms for mine, other in zip(rows, others, strict=bool(others))]
        beside = (
            f"{statistics.median(one.cpu_ms for one in others):.2f}, "
            f"{statistics.median(one.rate for one in others):.0f}/s | {spread(ratios)}"
            if others
            else "– | –"
        )
        print(
            f"| {flow}, {count} client(s) | {spread([row.cpu_ms for row in rows])} | {', '.join(parts)} "
            f"| {statistics.median(row.rate for row in rows):.0f} "
            f"| {percentile(taken, 0.5):.0f} / {percentile(taken, 0.99):.0f} | {beside} |"
        )


def measure(*, rounds: int, orders: int, workers: int) -> None:
    """Prints the table."""
    has_pebble = shutil.which("pebble") is not None
    responder = Responder()
    keys = [Client(number, Target(directory="")) for number in range(CLIENTS)]
    responder.start({one.label: one.thumbprint for one in keys})
    ours: Rows = {}
    theirs: Rows = {}
    with tempfile.TemporaryDirectory(prefix="certdesk-bench-") as folder:
        place = Path(folder)
        try:
            with certdesk(responder, place, workers=workers) as server:
                round_of(server, keys, {}, orders=CLIENTS)  # warm
                for _ in range(rounds):
                    round_of(server, keys, ours, orders=orders)
                    if has_pebble:
                        beside(responder, place, keys, theirs, orders=orders * 2)
        finally:
            responder.stop()
    print(
        f"ACME, {database()}, {workers} web process(es), {rounds} rounds of {orders} orders a row; "
        "the clients share the same cores"
    )
    if not has_pebble:
        print("Left out: Pebble, which is not installed (Debian: apt-get install pebble). No ratios.")
    table(ours, theirs)


def main() -> None:
    """Prints the table; `--profile` prints where the time of an order goes instead."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--orders", type=int, default=48, help="of a load run, all clients together")
    parser.add_argument("--workers", type=int, default=2, help="web processes")
    parser.add_argument("--profile", action="store_true")
    options, _unknown = parser.parse_known_args()
    if options.profile:
        import acme_profile  # noqa: PLC0415 - starts Certdesk in this process

        acme_profile.profile(orders=options.orders)
        return
    measure(rounds=options.rounds, orders=options.orders, workers=options.workers)


if __name__ == "__main__":
    main()
