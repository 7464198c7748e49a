"""Replay: every stored decision that a proposed policy would change, from the facts of the day."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import connection
from django.test.utils import CaptureQueriesContext

from certdesk.domain.actors import SYSTEM
from certdesk.domain.errors import NotFound
from certdesk.domain.policy.file import read_policy
from certdesk.services.requests import replay as service
from certdesk.services.requests.asking import create_request
from certdesk.services.requests.replay import Difference, Tally
from certdesk.services.system import runtime
from certdesk.services.system.runtime import CaaSettings
from certdesk.store.models import AuditEvent, Organisation, Request, RequestEvent
from tests.integration.support import (
    NOW,
    World,
    configured,
    copies,
    create,
    csr,
    outsider,
    sent,
    submission,
    world,
)

pytestmark = pytest.mark.django_db(transaction=True)

YEAR_AGO = NOW - timedelta(days=365)


def replayed(
    text: str, *, since: datetime = YEAR_AGO, tally: Tally | None = None
) -> list[tuple[int, str, str, tuple[str, ...]]]:
    """(number, old, new, codes) of every difference under a file's rules."""
    return [(d.number, d.old.outcome, d.new.outcome, d.new.codes) for d in differences(text, since, tally)]


def differences(text: str, since: datetime = YEAR_AGO, tally: Tally | None = None) -> list[Difference]:
    old = runtime.current()
    new = replace(old, policy=read_policy(f"version = 1\n{text}"))
    counted = Tally() if tally is None else tally
    return list(service.replay(actor=SYSTEM, old=old, new=new, since=since, tally=counted))


def made(w: World, *names: str, at: datetime = NOW, years: int = 1, upload: bytes | None = None) -> int:
    asked = submission(w.university, *names, years=years, upload=upload)
    number = create_request(actor=w.alice, submission=asked, channel="api", now=max(at, NOW)).number
    Request.objects.filter(id=number).update(created_at=at)  # the CA of the tests is no older than NOW
    return number


def test_each_decision_that_would_differ_is_listed_and_no_other(w: World) -> None:
    plain = made(w, "www.example.ac.uk")
    wild = made(w, "*.example.ac.uk", "www.example.ac.uk")
    outside = made(w, "www.outside.example")
    long = made(w, "long.example.ac.uk", years=3)
    pending = made(w, "www.unproven.ac.uk")
    rows = Request.objects.count(), RequestEvent.objects.count(), AuditEvent.objects.count()

    assert replayed("[default]\nwildcards = 'refuse'") == [
        (wild, "auto", "refuse", ("names.wildcard_policy",))
    ]
    assert replayed("[default]\nwildcards = 'manual'") == [
        (wild, "auto", "manual", ("names.wildcard_policy",))
    ]
    assert replayed("[default]\noutside_suffix = 'refuse'") == [
        (outside, "manual", "refuse", ("names.outside_trusted_suffix",))
    ]
    assert replayed("[profile.tls-server]\ndurations = [1]") == [
        (long, "auto", "refuse", ("request.duration",))
    ]
    assert replayed("[profile.tls-server]\ntrusted_suffixes = ['example.ac.uk']") == [
        (pending, "pending", "manual", ("names.outside_trusted_suffix", "domain.not_validated"))
    ]
    every = replayed("[default]\nmax_names = 1\nkey_types = ['RSA']")
    assert [number for number, *_ in every] == [plain, wild, outside, long, pending]
    assert {codes for *_, codes in every} == {("key.not_allowed",), ("key.not_allowed", "names.limit")}
    assert (Request.objects.count(), RequestEvent.objects.count(), AuditEvent.objects.count()) == rows


def test_the_same_rules_judge_nothing(w: World) -> None:
    made(w, "www.example.ac.uk")
    tally = Tally()
    assert replayed("[organisation.other]\nmax_names = 1", tally=tally) == []
    assert (tally.seen, tally.alike) == (1, 1)


def test_an_override_reaches_its_organisation_alone(w: World) -> None:
    made(w, "*.example.ac.uk")
    theirs = create(outsider("other.ac.uk"), "*.other.ac.uk")
    tally = Tally()
    (found,) = differences("[organisation.other-college]\nwildcards = 'manual'", tally=tally)
    assert (found.number, found.organisation, found.name) == (theirs.number, "other-college", "*.other.ac.uk")
    assert found.recorded == "auto"
    assert tally.moves == {("auto", "manual"): 1}
    assert (tally.seen, tally.alike, tally.drifted) == (2, 1, 0)


def test_the_facts_are_those_of_the_day(w: World) -> None:
    """Proofs, vetting and "first" are taken as they were, whatever has become of them since."""
    university = Organisation.objects.filter(id=w.university)
    university.update(first_approved_at=None, vetted_at=None)
    first = made(w, "first.example.ac.uk")
    university.update(first_approved_at=NOW, vetted_at=NOW)
    later = made(w, "later.example.ac.uk")
    lapsed = made(w, "lapsed.example.ac.uk", at=NOW + timedelta(days=500))
    tally = Tally()
    strict = "[default]\nfirst_request_waits = false\nmax_names = 99"
    assert replayed(strict, tally=tally) == []
    assert tally.drifted == 0
    # Vetted by now, and no longer first: still an officer's, for it was not vetted then.
    (found,) = [d for d in differences("[default]\nkey_types = ['RSA']") if d.number == first]
    assert (found.old.outcome, set(found.old.codes)) == (
        "manual",
        {"organisation.first_request", "organisation.not_vetted"},
    )
    old = {d.number: d.old.outcome for d in differences("[default]\nkey_types = ['RSA']")}
    assert (old[later], old[lapsed]) == ("auto", "pending")


def test_a_first_request_under_a_policy_that_waits_for_nobody_is_still_known_as_one(w: World) -> None:
    Organisation.objects.filter(id=w.university).update(first_approved_at=None)
    with configured(policy=read_policy("version = 1\n[default]\nfirst_request_waits = false")):
        number = made(w, "www.example.ac.uk")
        assert replayed("") == [(number, "auto", "manual", ("organisation.first_request",))]


def test_a_cap_counts_the_day_before_each_request(w: World) -> None:
    hours = [-50, -30, -10, -8, -6, 0]
    numbers = [made(w, at=NOW + timedelta(hours=at)) for at in hours]
    cap = "[default]\ndaily_cap = 2"
    # The fourth has the second and the third within its day; those after it have even more.
    assert [number for number, *_ in replayed(cap)] == numbers[3:]
    # Those before the time asked for are counted, and not listed.
    assert [n for n, *_ in replayed(cap, since=NOW - timedelta(hours=1))] == numbers[5:]


def test_keys_met_before_are_taken_from_what_was_stored() -> None:
    w, key = world(), ec.generate_private_key(ec.SECP256R1())
    made(w, upload=csr("one.example.ac.uk", key=key))
    number = sent(outsider("other.ac.uk"), csr("www.other.ac.uk", key=key)).number
    assert replayed("[default]\nreused_key = 'auto'") == [(number, "manual", "auto", ())]
    # Requests of a version that did not look have no such check: nothing is guessed, and the tally says so.
    for request in Request.objects.all():
        request.checks = [c for c in request.checks if not c["code"].startswith("key.")]
        request.save()
    tally = Tally()
    assert replayed("[default]\nreused_key = 'refuse'", tally=tally) == []
    assert tally.unknown == {"earlier uses of the key": 2}


def test_caa_is_left_out_where_no_answer_was_stored_and_used_where_one_was(w: World) -> None:
    unasked = made(w, "a.example.ac.uk")
    with configured(policy=read_policy("version = 1\n[default]\ncaa = 'warn'"), caa=CaaSettings()):
        asked = made(w, "b.example.ac.uk")
    tally = Tally()
    assert replayed("[default]\ncaa = 'require'", tally=tally) == [
        (asked, "auto", "manual", ("caa.unknown",))
    ]
    assert tally.unknown == {"CAA records": 1}
    # As a request with answers would be stored: one permits, one forbids, one is unknown.
    request = Request.objects.get(id=unasked)
    request.names = ["a.example.ac.uk", "b.example.ac.uk", "c.example.ac.uk"]
    base = {"message": "m", "rule": "r", "changed_by": "w", "rule_from": ""}
    request.checks += [
        {"code": "caa.forbids", "verdict": "warn", "seen": "b.example.ac.uk: 0 issue “x”", **base},
        {"code": "caa.unknown", "verdict": "warn", "seen": "c.example.ac.uk", **base},
    ]
    request.save()
    (found,) = [d for d in differences("[default]\ncaa = 'require'") if d.number == unasked]
    assert (found.old.outcome, found.new.outcome, found.new.codes) == ("auto", "refuse", ("caa.forbids",))


def test_a_decision_under_other_rules_than_now_is_counted_as_such(w: World) -> None:
    with configured(policy=read_policy("version = 1\n[default]\nwildcards = 'manual'")):
        number = made(w, "*.example.ac.uk")
    tally = Tally()
    (found,) = differences("[default]\nwildcards = 'refuse'", tally=tally)
    assert (found.number, found.recorded, found.old.outcome, found.new.outcome) == (
        number,
        "manual",
        "auto",
        "refuse",
    )
    assert tally.drifted == 1


def test_software_that_has_left_the_list_moves_nothing(w: World) -> None:
    number = made(w, "*.example.ac.uk")
    Request.objects.update(server_software="Something of yesterday")
    assert replayed("[default]\nwildcards = 'manual'") == [
        (number, "auto", "manual", ("names.wildcard_policy",))
    ]


def test_many_are_streamed_with_a_handful_of_queries(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    number = made(w, "*.example.ac.uk")
    numbers = [number, *copies(number, count=60)]
    monkeypatch.setattr(service, "PROGRESS_EVERY", 25)
    told: list[int] = []
    old = runtime.current()
    new = replace(old, policy=read_policy("version = 1\n[default]\nwildcards = 'manual'"))
    with CaptureQueriesContext(connection) as queries:
        found: Sequence[Difference] = list(
            service.replay(
                actor=SYSTEM, old=old, new=new, since=YEAR_AGO, tally=Tally(), progress=told.append
            )
        )
    assert [difference.number for difference in found] == numbers
    assert told == [25, 50]
    assert len(queries) < 10


def test_only_who_runs_the_service_may_replay(w: World) -> None:
    made(w, "www.example.ac.uk")
    old = runtime.current()
    for who in (w.alice, w.olga):
        with pytest.raises(NotFound):
            list(service.replay(actor=who, old=old, new=old, since=YEAR_AGO, tally=Tally()))
