"""kill -9 of web and worker, again and again, while another CA issues; then what is wrong, counted.

Run: `.venv/bin/python bench/faults.py --ca openbao|pebble [--kills 200]`; on PostgreSQL behind
`.venv/bin/python -m tests.harness.postgres --`. Needs the peers (`CERTDESK_PEERS=1 scripts/bootstrap`). Takes
some ten minutes for each, so that `make bench` leaves it out. Ends with 1 unless every count is 0.

Applicants send requests over REST, each with its own Idempotency-Key, and the same once more when no answer
came; some withdraw theirs at once. A third of the kills meet a web process, a third the worker, a third all.
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
from common import database, prepare_environment

prepare_environment()
os.environ["DJANGO_SETTINGS_MODULE"] = "certdesk.conf.settings"
django.setup()

from tests.acceptance.test_ca_acme_demo import _lines  # noqa: E402 - settings come first
from tests.acceptance.test_crash import Traffic  # noqa: E402 - settings come first
from tests.harness.acme_ca import acme_ca  # noqa: E402 - settings come first
from tests.harness.openbao import openbao_server  # noqa: E402 - settings come first
from tests.harness.server import DemoServer  # noqa: E402 - settings come first
from tests.harness.waiting import wait_until  # noqa: E402 - settings come first

APPLICANTS, WITHDRAWN, MOST_PAUSE, SETTLED_WITHIN = 3, 0.1, 1.5, 300
#: Seconds between two requests of one applicant: a CA that validates names takes a few orders a second.
PAUSE = 1.5
CONFLICT = 409
#: Where every request, issuance and revocation of a withheld certificate has come to its end.
UNSETTLED = """SELECT (SELECT COUNT(*) FROM store_issuance WHERE state IN ('waiting', 'claimed', 'submitted')
    AND request_id IN (SELECT id FROM store_request WHERE state = 'approved'))
  + (SELECT COUNT(*) FROM store_issuance WHERE state IN ('claimed', 'submitted'))"""
DOUBLED = """SELECT COUNT(*) FROM (SELECT request_id FROM store_certificate WHERE NOT withheld
  GROUP BY request_id HAVING COUNT(*) > 1) AS doubled"""
AFTERWARDS = """SELECT COUNT(*) FROM store_certificate c
  JOIN store_requestevent e ON e.request_id = c.request_id AND e.event = 'withdraw'
  WHERE NOT c.withheld AND c.created_at > e.at"""


class Applicants(Traffic):
    """They repeat what got no answer, as a program with an Idempotency-Key does."""

    withdrawn = 0

    def _send(self, applicant: int) -> None:
        count, chance = 0, random.Random(applicant)  # noqa: S311 - no secret
        while not self._stop.is_set():
            count += 1
            key = f"{self._prefix}{applicant}-{count}"
            self.make(key)
            while key not in self.acknowledged and not self._stop.is_set():
                try:
                    self.acknowledged[key] = self.post(key)
                    if chance.random() < WITHDRAWN:
                        self._withdraw(self.acknowledged[key])
                    self._stop.wait(PAUSE)
                except (OSError, ValueError):  # the server is dead or dying: that is what this is about
                    self._stop.wait(0.2)

    def _withdraw(self, number: int) -> None:
        request = urllib.request.Request(
            f"{self._url}/{number}/withdraw",
            data=b"{}",
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        try:
            urllib.request.urlopen(request, timeout=60).close()
            self.withdrawn += 1
        except urllib.error.HTTPError as error:
            with error:
                if error.code != CONFLICT:  # its certificate was there already
                    raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Ca:
    """The CA at the other end: what to write about it, and how many certificates or which it has issued."""

    lines: Sequence[str]
    issued: Callable[[], set[str] | int]


@contextmanager
def openbao(folder: Path) -> Iterator[Ca]:
    """A PKI mount of OpenBao."""
    with openbao_server(folder / "bao") as server:
        server.make_pki()
        server.role("web", allowed_domains="ac.uk,example.org")
        (folder / "token").write_text(server.token, encoding="utf-8")
        before = server.issued()
        settings = {"address": server.address, "role": "web", "token_file": "token", "settle_seconds": 5}
        lines = ["[cas.theirs]", 'kind = "openbao"', *_lines(settings), "[profiles.tls-server]"]
        profile = {"title": "TLS server", "cas": ["theirs"]}
        yield Ca(
            lines=[*lines, *_lines(profile)],
            issued=lambda: {one.replace(":", "").lstrip("0") for one in server.issued() - before},
        )


@contextmanager
def pebble(folder: Path) -> Iterator[Ca]:
    """Pebble, with names validated by DNS updates."""
    with acme_ca(folder / "pebble", eab=True) as ca:
        settings = ca.settings(str(folder / "account"))
        dcv: Any = settings.pop("dcv")
        lines = ["[cas.theirs]", 'kind = "acme"', *_lines(settings), "[cas.theirs.dcv]", *_lines(dcv)]
        profile = {"title": "TLS server", "version": 2, "cas": ["theirs"], "usages": ["server", "client"]}
        lines += ["[profiles.tls-server]", *_lines(profile)]
        yield Ca(lines=lines, issued=lambda: ca.pebble.issued)


def rows(data: Path, statement: str) -> list[tuple[Any, ...]]:
    """What the service's database answers."""
    url = os.environ.get("DATABASE_URL", "")
    if not url.startswith("postgres"):
        with closing(sqlite3.connect(data / "certdesk.sqlite3", timeout=30)) as own:
            return list(own.execute(statement))
    import psycopg  # noqa: PLC0415 - only with PostgreSQL

    with psycopg.connect(url) as connection:
        return list(connection.execute(statement))


def web_processes(group: int) -> list[int]:
    """The server's children; the worker is a thread of their parent."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            said = (place / "cmdline").read_text()
            if int(fields[2]) == group and int(place.name) != group and "resource_tracker" not in said:
                found.append(int(place.name))
    return found


def kill(server: DemoServer, chance: random.Random) -> str:
    """Kills one web process, which comes back by itself; or the worker with the parent, or all at once."""
    assert server.process is not None
    group, which = server.process.pid, chance.choice(["web", "worker", "all"])
    there = web_processes(group)
    if which == "web" and there and server.process.poll() is None:
        os.kill(chance.choice(there), signal.SIGKILL)
        return "web"
    if which == "worker":
        os.kill(group, signal.SIGKILL)
        server.process.wait()
        threading.Event().wait(chance.uniform(0, MOST_PAUSE))  # its web processes go on for a moment
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        server.process = None
    else:
        server.kill9()
    server.start()
    return "worker" if which == "worker" else "all"


def main() -> None:
    """Prints what was done and what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ca", choices=["openbao", "pebble"], default="openbao")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance, counts = random.Random(options.seed), {"web": 0, "worker": 0, "all": 0}  # noqa: S311 - no secret
    with tempfile.TemporaryDirectory(prefix="certdesk-faults-") as name:
        folder = Path(name)
        with (openbao if options.ca == "openbao" else pebble)(folder) as ca:
            (folder / "cas.toml").write_text("\n".join(ca.lines) + "\n", encoding="utf-8")
            server = DemoServer(
                data=folder / "var",
                database_url=os.environ.get("DATABASE_URL"),
                extra={"CERTDESK_CAS": str(folder / "cas.toml")},
            )
            try:
                server.start()
                wrong = run(server, ca, chance, counts, kills=options.kills)
            finally:
                server.stop()
    print(json.dumps(wrong))
    sys.exit(any(wrong.values()))


def run(
    server: DemoServer, ca: Ca, chance: random.Random, counts: dict[str, int], *, kills: int
) -> dict[str, int]:
    """Traffic, kills, and what is wrong when all has settled."""
    traffic = Applicants(server, applicants=APPLICANTS)
    begun = time.monotonic()
    traffic.start()
    for _ in range(kills):
        threading.Event().wait(chance.uniform(0, MOST_PAUSE))
        counts[kill(server, chance)] += 1
        if sum(counts.values()) % 50 == 0:
            print(f"{sum(counts.values())} kills, {len(traffic.acknowledged)} requests", flush=True)
    wait_until(server._is_ready, seconds=60, what="the server to answer")  # noqa: SLF001 - of our harness
    traffic.stop()
    numbers = {key: traffic.post(key) for key in traffic.bodies}
    killed, settling = time.monotonic() - begun, time.monotonic()
    wait_until(
        lambda: rows(server.data, UNSETTLED) == [(0,)], seconds=SETTLED_WITHIN, what="all to be settled"
    )
    settled = time.monotonic() - settling
    there = {
        key: (number, status)
        for key, number, status in rows(server.data, "SELECT idempotency_key, id, status FROM store_request")
    }
    known = {serial for (serial,) in rows(server.data, "SELECT serial FROM store_certificate")}
    issued = ca.issued()
    print(
        f"{kills} kills {counts} in {killed:.0f} s on {database()}: {len(numbers)} requests, "
        f"{traffic.withdrawn} withdrawn, {len(known)} certificates; settled within {settled:.0f} s."
    )
    return {
        "lost": sum(there.get(key, (0, ""))[0] != number for key, number in numbers.items())
        + sum(numbers[key] != number for key, number in traffic.acknowledged.items()),
        "not issued": sum(there[key][1] not in ("issued", "withdrawn") for key in numbers if key in there),
        "unknown to us": len(issued - known) if isinstance(issued, set) else max(0, issued - len(known)),
        "unknown to the CA": len(known - issued) if isinstance(issued, set) else max(0, len(known) - issued),
        "doubled": rows(server.data, DOUBLED)[0][0],
        "signed after the end": rows(server.data, AFTERWARDS)[0][0],
    }


if __name__ == "__main__":
    main()
