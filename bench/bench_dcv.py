"""A hundred names validated at once against a responder on loopback, most of them fast, a few slow.

Run: `.venv/bin/python bench/bench_dcv.py [--names N]`. The claim: it takes as long as the slowest few.
"""

import argparse
import os
import time
from contextlib import ExitStack
from datetime import timedelta

from common import database, prepare_environment

prepare_environment()

from tests.harness.responder import responder  # noqa: E402 - `common` says where the tests are

_ends = ExitStack()
_dns = _ends.enter_context(responder())
os.environ["CERTDESK_DNS_SERVERS"] = f'["{_dns.address}"]'

from certdesk.conf import server  # noqa: E402 - the environment comes first

server.prepare(talk=lambda _line: None)

from django.utils import timezone  # noqa: E402 - Django comes after its settings

from certdesk.domain.issuing.states import OrganisationId  # noqa: E402 - as above
from certdesk.domain.validation.evidence import Method  # noqa: E402 - as above
from certdesk.services.validation.by_email import add_domain  # noqa: E402 - as above
from certdesk.services.validation.by_publication import check_due, start_challenge, what_to_publish  # noqa: E402 - as above
from certdesk.services.validation.publications import DnsRecord  # noqa: E402 - as above
from certdesk.store.models import MethodChallenge, Organisation, User, ValidationRecord  # noqa: E402 - as above
from certdesk.store.selectors.people import actor_for_user  # noqa: E402 - as above

SLOW, SLOW_SECONDS, USUAL_SECONDS = 3, 1.0, 0.05


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=int, default=100)
    options, _unknown = parser.parse_known_args()
    begin(names=options.names)
    measure(names=options.names)


def measure(*, names: int) -> None:
    """Lets one round look at all of them, and prints how long it took."""
    later, before = timezone.now() + timedelta(minutes=2), ValidationRecord.objects.count()
    started = time.perf_counter()
    looked = check_due(clock=lambda: later, limit=names)
    took = time.perf_counter() - started
    proven = ValidationRecord.objects.count() - before
    assert (looked, proven) == (names, names), (looked, proven)
    one_by_one = SLOW * SLOW_SECONDS + (names - SLOW) * USUAL_SECONDS
    print(
        f"{names} names, {SLOW} of them {SLOW_SECONDS:g} s slow, the rest {USUAL_SECONDS:g} s; {database()}"
    )
    print("| what | s |")
    print("|---|---|")
    print(f"| one round, looks and records | {took:.2f} |")
    print(f"| the slowest name | {SLOW_SECONDS:.2f} |")
    print(f"| the waits one after the other | {one_by_one:.2f} |")


def begin(*, names: int) -> None:
    """Domains with challenges of which each is met."""
    alice = actor_for_user(User.objects.get(username="alice"))
    university = OrganisationId(Organisation.objects.get(slug="example-university").pk)
    now = timezone.now()
    for n in range(names):
        domain_id = add_domain(actor=alice, organisation_id=university, name=f"n{n}.example.org", now=now)
        number = start_challenge(actor=alice, domain_id=domain_id, method=Method.DNS_TXT, now=now)
        begun = what_to_publish(MethodChallenge.objects.get(id=number))
        assert isinstance(begun, DnsRecord)
        _dns.records[begun.name, "TXT"] = [f'"{begun.value}"']
        _dns.delays[begun.name] = SLOW_SECONDS if n < SLOW else USUAL_SECONDS


if __name__ == "__main__":
    try:
        main()
    finally:
        _ends.close()
