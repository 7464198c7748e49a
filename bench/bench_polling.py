"""What it costs to wait for a slow CA: the polls of issuances in flight, as the worker makes them.

Run: `make bench`, or `.venv/bin/python bench/bench_polling.py [--issuances N]`.
"""

import argparse
import time
from datetime import timedelta

from bench_issue import ALICE, submission
from common import database
from django.utils import timezone

from certdesk.domain.issuing.certificates import Accepted, Intent, Outcome
from certdesk.domain.issuing.states import Work
from certdesk.services.issuance.engine import RETRY_MOST, drive, due_issuances
from certdesk.services.requests.confirm import submit_request
from certdesk.services.system import runtime
from certdesk.store.models import Issuance
from tests.integration.support import ScriptedCa, configured

IN_FLIGHT = 10_000


def at_work(_intent: Intent) -> Outcome:
    """A CA that has not finished."""
    return Accepted(handle="1")


def main() -> None:
    """Prints what a poll costs, and what share of a core ten thousand issuances take."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--issuances", type=int, default=300)
    options = parser.parse_args()
    slow = ScriptedCa(answers=[at_work], polls=[at_work], name="slow", title="A slow CA", inline=False)
    with configured(backends={**runtime.current().backends, "slow": slow}, default_backend="slow"):
        for _ in range(options.issuances):
            submit_request(
                actor=ALICE, submission=submission("P-256", 1), channel="portal", clock=timezone.now
            )
        later = timezone.now() + timedelta(minutes=1)
        for number in due_issuances(now=later, limit=options.issuances):
            drive(issuance_id=number, clock=lambda: later)
        assert Issuance.objects.filter(state=Work.SUBMITTED).count() >= options.issuances
        days_later = later + timedelta(days=2)  # the longest pause between two polls by then
        began, polled = time.process_time(), 0
        while due := due_issuances(now=days_later):
            for number in due:
                drive(issuance_id=number, clock=lambda: days_later)
                polled += 1
        each = (time.process_time() - began) / polled
    a_second = IN_FLIGHT / RETRY_MOST.total_seconds()
    print(f"Polls of issuances that have waited for an hour, {database()}, the CA's own time apart")
    print(f"| polls | CPU ms of each | polls a second that {IN_FLIGHT} need | of a core |")
    print("|---|---|---|---|")
    print(f"| {polled} | {each * 1000:.2f} | {a_second:.0f} | {100 * a_second * each:.1f} % |")


if __name__ == "__main__":
    main()
