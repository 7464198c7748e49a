"""CPU and wall per preview and per confirm-to-issued, in process: the embedded CA, everything switched on.

Run: `make bench`, or `.venv/bin/python bench/bench_issue.py [--profile]`.
"""

import argparse
import cProfile
import pstats
import time
from collections.abc import Callable

from common import csr, database, line, percentile, prepare_environment

prepare_environment()

from certdesk.conf import server  # noqa: E402 - the environment comes first

server.prepare(talk=lambda _line: None)

from django.utils import timezone  # noqa: E402 - Django comes after its settings

from certdesk.domain.issuing.states import Status  # noqa: E402 - as above
from certdesk.services.requests.asking import Submission, preview_request  # noqa: E402 - as above
from certdesk.services.requests.confirm import submit_request  # noqa: E402 - as above
from certdesk.store.models import User  # noqa: E402 - as above
from certdesk.store.selectors.people import actor_for_user  # noqa: E402 - as above

ROUNDS = 200
ALICE = actor_for_user(User.objects.get(username="alice"))
(UNIVERSITY,) = ALICE.organisation_ids


def submission(kind: str, names: int) -> Submission:
    """A submission of alice's that policy accepts on the spot."""
    return Submission(
        organisation_id=UNIVERSITY,
        upload=csr(kind, names=names),
        duration_years=1,
        server_software="nginx",
    )


def preview(asked: Submission) -> None:
    """One preview."""
    preview_request(actor=ALICE, submission=asked, now=timezone.now())


def confirm(asked: Submission) -> None:
    """One confirm, to the recorded certificate."""
    created = submit_request(actor=ALICE, submission=asked, channel="portal", clock=timezone.now)
    assert created.status is Status.ISSUED, created


def measure(what: str, act: Callable[[Submission], None], *, kind: str, names: int, rounds: int) -> None:
    """Runs an act over fresh submissions and prints its row."""
    asked = [submission(kind, names) for _ in range(rounds)]
    cpu, wall = [], []
    for item in asked:
        started, started_cpu = time.perf_counter(), time.process_time()
        act(item)
        cpu.append((time.process_time() - started_cpu) * 1000)
        wall.append((time.perf_counter() - started) * 1000)
    line(
        f"{what}, {kind}, {names} name(s)",
        cpu,
        more=f"{percentile(wall, 0.5):.2f} / {percentile(wall, 0.99):.2f}",
    )


def main() -> None:
    """Prints the table; `--profile` prints where the time of a confirm goes instead."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    for _ in range(20):
        confirm(submission("P-256", 1))
    if options.profile:
        asked = [submission("P-256", 1) for _ in range(options.rounds)]
        profile = cProfile.Profile()
        profile.enable()
        for item in asked:
            confirm(item)
        profile.disable()
        pstats.Stats(profile).sort_stats("cumulative").print_stats(60)
        return
    print(f"In process, {database()}, {options.rounds} each")
    print("| what | CPU ms, median | CPU ms, p99 | wall ms, median / p99 |")
    print("|---|---|---|---|")
    for kind, names in (("P-256", 1), ("RSA-2048", 1), ("P-256", 100)):
        rounds = options.rounds if names == 1 else options.rounds // 4
        measure("preview", preview, kind=kind, names=names, rounds=rounds)
        measure("confirm → issued", confirm, kind=kind, names=names, rounds=rounds)


if __name__ == "__main__":
    main()
