"""CPU of a preview with every offline check, and of a replay of many past requests under a changed policy.

Run: `make bench`, or `.venv/bin/python bench/bench_policy.py [--requests N] [--profile]`. A list of ten
million made-up keys stands in for the list of known compromised ones.
"""

import argparse
import cProfile
import os
import pstats
import secrets
import time
from datetime import timedelta
from pathlib import Path

from common import csr, database, line, prepare_environment

DATA = prepare_environment()
LISTED = 10_000_000


def make_list(folder: Path) -> None:
    """A list in badkeys' format, sorted by the first four octets of each key."""
    folder.mkdir()
    step = 2**32 // LISTED
    tail = secrets.token_bytes(11) + b"\1"
    with (folder / "blocklist.dat").open("wb") as file:
        for start in range(0, LISTED, 100_000):
            file.write(b"".join((n * step).to_bytes(4) + tail for n in range(start, start + 100_000)))


make_list(DATA / "badkeys")
os.environ["CERTDESK_BLOCKLIST"] = str(DATA / "badkeys")

from certdesk.conf import server  # noqa: E402 - the environment comes first

server.prepare(talk=lambda _line: None)

from django.utils import timezone  # noqa: E402 - Django comes after its settings

from certdesk.conf.policy import proposed  # noqa: E402 - as above
from certdesk.domain.actors import SYSTEM  # noqa: E402 - as above
from certdesk.services.requests.asking import Submission, preview_request  # noqa: E402 - as above
from certdesk.services.requests.confirm import submit_request  # noqa: E402 - as above
from certdesk.services.requests.replay import Tally, replay  # noqa: E402 - as above
from certdesk.services.system import runtime  # noqa: E402 - as above
from certdesk.store.models import Organisation, Request, User  # noqa: E402 - as above
from certdesk.store.selectors.people import actor_for_user  # noqa: E402 - as above

ROUNDS = 200
BATCH = 2000
ORGANISATIONS = 200
ALICE = actor_for_user(User.objects.get(username="alice"))
(UNIVERSITY,) = ALICE.organisation_ids
PROPOSED = """
version = "bench"
[default]
wildcards = "manual"
durations = [1, 2]
daily_cap = 400
[organisation.bench-7]
max_names = 3
[profile.tls-server]
key_types = ["P-256", "P-384", "RSA"]
"""


def submission(kind: str, *, names: int) -> Submission:
    """What alice would send."""
    return Submission(
        organisation_id=UNIVERSITY,
        upload=csr(kind, names=names),
        duration_years=1,
        server_software="nginx",
    )


def previews(kind: str, *, names: int) -> None:
    """Previews of fresh CSRs, and their row."""
    asked = [submission(kind, names=names) for _ in range(ROUNDS)]
    cpu, wall = [], []
    for item in asked:
        started, started_cpu = time.perf_counter(), time.process_time()
        preview_request(actor=ALICE, submission=item, now=timezone.now())
        cpu.append((time.process_time() - started_cpu) * 1000)
        wall.append((time.perf_counter() - started) * 1000)
    line(f"preview, {kind}, {names} names", cpu, more=f"{sum(wall) / len(wall):.2f}")


def fill(requests: int) -> None:
    """Requests of a year, of many organisations: copies of real ones with names of their own."""
    now = timezone.now()
    Organisation.objects.bulk_create(
        Organisation(slug=f"bench-{n}", legal_name=f"Bench College {n}", created_at=now)
        for n in range(ORGANISATIONS)
    )
    owners = [
        UNIVERSITY,
        *Organisation.objects.filter(slug__startswith="bench-").values_list("id", flat=True),
    ]
    kinds = (("P-256", 1), ("RSA-2048", 1), ("P-256", 3), ("P-256", 8))
    made = [
        submit_request(actor=ALICE, submission=submission(kind, names=n), channel="api", clock=timezone.now)
        for kind, n in kinds
    ]
    templates = list(Request.objects.filter(id__in=[one.number for one in made]))
    fields = [f.attname for f in Request._meta.concrete_fields if f.attname != "id"]  # noqa: SLF001 - documented
    rows = []
    for n in range(requests):
        template = templates[n % len(templates)]
        host = f"h{n}" if n % 20 else "*"
        domain = "example.ac.uk" if n % 3 else "example.org"
        names = [
            f"{host}.dept{n % 97}.{domain}",
            *(f"h{n}-{k}.{domain}" for k in range(1, len(template.names))),
        ]
        row = Request(**{name: getattr(template, name) for name in fields})
        row.organisation_id = owners[0] if n % 3 == 0 else owners[n % len(owners)]
        row.names, row.common_names, row.idempotency_key = names, names[0], f"bench-{n}"
        row.duration_years = 1 + n % 3
        row.created_at = now - timedelta(days=360) * (1 - n / requests)
        rows.append(row)
        if len(rows) == BATCH:
            Request.objects.bulk_create(rows)
            rows = []
    Request.objects.bulk_create(rows)


def replayed(requests: int, *, profile: bool) -> None:
    """A replay of them all, and its row."""
    path = DATA / "proposed.toml"
    path.write_text(PROPOSED)
    tally, old, new = Tally(), runtime.current(), proposed(path)
    watch = cProfile.Profile()
    started, started_cpu = time.perf_counter(), time.process_time()
    if profile:
        watch.enable()
    since = timezone.now() - timedelta(days=365)
    differ = sum(1 for _ in replay(actor=SYSTEM, old=old, new=new, since=since, tally=tally))
    watch.disable()
    wall, cpu = time.perf_counter() - started, time.process_time() - started_cpu
    print(
        f"\nReplay of {tally.seen:,} requests: {wall:.1f} s, CPU {cpu:.1f} s; "
        f"{differ:,} differ: {dict(tally.moves)}"
    )
    assert tally.seen >= requests
    if profile:
        pstats.Stats(watch).sort_stats("tottime").print_stats(30)


def main() -> None:
    """Prints the table, then the replay's line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--profile", action="store_true")
    options, _unknown = parser.parse_known_args()
    print(f"{LISTED:,} known keys, {database()}")
    print("| what | CPU ms, median | CPU ms, p99 | wall ms, mean |")
    print("|---|---|---|---|")
    for kind in ("P-256", "RSA-2048"):
        for names in (1, 10, 100):
            previews(kind, names=names)
    fill(options.requests)
    replayed(options.requests, profile=options.profile)


if __name__ == "__main__":
    main()
