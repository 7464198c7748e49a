"""List and search at a million requests: time in the selectors, and the whole page over Django's client.

Run: `make bench`, or `.venv/bin/python bench/bench_list.py [--rows N]`. Making the rows takes a while.
"""

import argparse
import time
from collections.abc import Callable

from common import database, line, percentile, prepare_environment

prepare_environment()

from certdesk.conf import server  # noqa: E402 - the environment comes first

server.prepare(talk=lambda _line: None)

from django.conf import settings  # noqa: E402 - Django comes after its settings
from django.db import connection  # noqa: E402 - as above
from django.test import Client  # noqa: E402 - as above
from django.utils import timezone  # noqa: E402 - as above

from certdesk.domain.actors import Actor  # noqa: E402 - as above
from certdesk.store.keyset import Page  # noqa: E402 - as above
from certdesk.store.models import Organisation, User  # noqa: E402 - as above
from certdesk.store.selectors import requests as selectors  # noqa: E402 - as above
from certdesk.store.selectors.people import actor_for_user  # noqa: E402 - as above
from certdesk.store.selectors.requests import Filters, Sort  # noqa: E402 - as above

ORGANISATIONS = 400
ROUNDS = 60

#: One row in ten is Example University's; names are words that repeat, so that searches are rare or common.
COLUMNS = """organisation_id, requester_id, channel, profile_id, profile_version, names,
    common_names, duration_years, server_software, note, checks, policy_digest, content_digest,
    idempotency_key, submission_digest, state, status, action_needed, detail, version, created_at, changed_at,
    term_starts_at, term_ends_at, search_text"""


def fill(rows: int) -> None:
    """Makes organisations and requests in bulk; ids go on after the demo's own."""
    now = timezone.now()
    Organisation.objects.bulk_create(
        Organisation(slug=f"bench-{n}", legal_name=f"Bench College {n}", created_at=now)
        for n in range(ORGANISATIONS)
    )
    university = Organisation.objects.get(slug="example-university").pk
    first = Organisation.objects.get(slug="bench-0").pk
    alice = User.objects.get(username="alice").pk
    organisation = f"CASE WHEN MOD(n, 10) = 0 THEN {university} ELSE {first} + MOD(n, {ORGANISATIONS}) END"
    name = "'host-' || n || '.dept' || MOD(n, 97) || '.example.ac.uk'"
    state = "CASE MOD(n, 8) WHEN 4 THEN 'rejected' WHEN 5 THEN 'withdrawn' ELSE 'approved' END"
    status = "CASE MOD(n, 8) WHEN 4 THEN 'rejected_by_ra' WHEN 5 THEN 'withdrawn' ELSE 'issued' END"
    array = f"'[\"' || {name} || '\"]'"
    if connection.vendor == "sqlite":
        upto = f"(SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {rows})"  # noqa: S608 - see below
        series, source = f"WITH RECURSIVE series(n) AS {upto}", "FROM series"
    else:
        series, source = "", f"FROM generate_series(1, {rows}) AS n"
        array = f"({array})::jsonb"
    # Only constants of this program stand in the statement.
    statement = f"""INSERT INTO store_request ({COLUMNS}) {series}
        SELECT {organisation}, {alice}, 'portal', 'tls-server', 1, {array}, {name}, 1, 'nginx', '',
        '[]', '', '', 'bench-' || n, '', {state}, {status}, FALSE, '', 3, %s, %s, %s, %s,
        {name} || ' alice example university' {source}"""
    with connection.cursor() as cursor:
        cursor.execute(statement, [now] * 4)
        cursor.execute("ANALYZE")


def measure(what: str, act: Callable[[], object]) -> None:
    """Runs a read many times and prints its row: the selector as a whole, SQL and Django together."""
    act()
    taken, database_time, spent = [], [], []

    def timed(execute: Callable[..., object], *arguments: object) -> object:
        started = time.perf_counter()
        try:
            return execute(*arguments)
        finally:
            spent.append((time.perf_counter() - started) * 1000)

    for _ in range(ROUNDS):
        spent.clear()
        started = time.perf_counter()
        with connection.execute_wrapper(timed):
            act()
        taken.append((time.perf_counter() - started) * 1000)
        database_time.append(sum(spent))
    line(what, taken, more=f"{percentile(database_time, 0.5):.2f} / {percentile(database_time, 0.99):.2f}")


def reads(actor: Actor, who: str) -> None:
    """The reads of one reader."""

    def page(**filters: object) -> Page[selectors.RequestRow]:
        return selectors.list_requests(actor=actor, filters=Filters(**filters))  # type: ignore[arg-type] # by name

    second = page().next_cursor
    measure(f"{who}: newest 50", page)
    measure(f"{who}: next page", lambda: page(cursor=second))
    measure(f"{who}: one status", lambda: page(status="withdrawn"))
    measure(f"{who}: by name", lambda: page(sort=Sort.NAME))
    measure(f"{who}: search, one hit", lambda: page(query="host-299970."))
    measure(f"{who}: search, rare", lambda: page(query="9970.dept"))
    measure(f"{who}: search, common", lambda: page(query="example"))
    measure(f"{who}: search, none", lambda: page(query="zzyzx"))
    measure(f"{who}: search, two letters", lambda: page(query="zq"))
    measure(f"{who}: search and status", lambda: page(query="dept42", status="withdrawn"))
    measure(f"{who}: count, capped", lambda: selectors.count_requests(actor=actor, filters=Filters()))


def pages() -> None:
    """The whole list page, with session, policy of who sees what, and templates."""
    client = Client(HTTP_HOST="127.0.0.1")
    client.force_login(User.objects.get(username="alice"), backend=settings.AUTHENTICATION_BACKENDS[0])
    measure("alice: page of 50 as HTML", lambda: client.get("/requests/"))
    measure("alice: search as HTML", lambda: client.get("/requests/?q=dept42"))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options, _unknown = parser.parse_known_args()
    started = time.perf_counter()
    fill(options.rows)
    print(f"{options.rows:,} requests, {database()} (made in {time.perf_counter() - started:.0f} s)")
    print("| what | ms, median | ms, p99 | in the database, median / p99 |")
    print("|---|---|---|---|")
    reads(actor_for_user(User.objects.get(username="alice")), "alice")
    reads(actor_for_user(User.objects.get(username="olga")), "olga")
    pages()


if __name__ == "__main__":
    main()
