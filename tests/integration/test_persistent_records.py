"""Persistent DNS records and their watcher: kept alive, noticed when gone, never extended (BR 3.2.2.4.22)."""

from datetime import datetime, timedelta

import pytest
from django.core import mail

from certdesk.dcv.base import Problem
from certdesk.domain.actors import RaRole
from certdesk.domain.errors import NotAuthorized, NotFound, RateLimited, StateConflict
from certdesk.domain.issuing.states import Status
from certdesk.domain.validation.evidence import Method
from certdesk.jobs.worker import Worker
from certdesk.services.system import runtime
from certdesk.services.system.runtime import Persistence
from certdesk.services.validation.by_email import add_domain
from certdesk.services.validation.by_publication import PAUSE, Found, NotFoundYet
from certdesk.services.validation.persistent import (
    GIVE_UP_AFTER,
    account_uri,
    check_record_now,
    record_of,
    stop_watching,
    watch_due,
    watch_record,
)
from certdesk.services.validation.reminders import remind_lapsing
from certdesk.store.models import AuditEvent, PersistentRecord, ValidationAttempt, ValidationRecord
from tests.integration.proving import SERVFAIL, Outside
from tests.integration.support import (
    NOW,
    Clock,
    World,
    actor,
    audit_problems,
    configured,
    outsider,
    state_of,
    submit,
    together,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("meg")]
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
ADN = "new.ac.uk"


def watch(people: World, *, wildcard: bool = True, now: datetime = NOW) -> int:
    added = add_domain(actor=people.alice, organisation_id=people.university, name=ADN, now=now)
    watch_record(actor=people.alice, domain_id=added, wildcard=wildcard, now=now)
    return added


def watched(people: World, net: Outside) -> Clock:
    """A record that is published, for names below as well, and was seen once."""
    watch(people)
    net.persistent[ADN] = Method.DNS_PERSIST_WILDCARD
    clock = Clock(NOW)
    watch_due(clock=clock, limit=10)
    return clock


def proofs() -> list[datetime]:
    found = ValidationRecord.objects.filter(domain__adn=ADN).order_by("id")
    return list(found.values_list("validated_at", flat=True))


def days_of_watching(clock: Clock, days: int, *, step: timedelta = DAY) -> None:
    """Let the watcher have a look whenever it is due."""
    end = clock.now + days * DAY
    while clock.now < end:
        clock.forward(step)
        watch_due(clock=clock, limit=10)


def test_the_record_to_publish_names_our_ca_and_the_organisation(people: World, net: Outside) -> None:
    added = add_domain(actor=people.alice, organisation_id=people.university, name=ADN, now=NOW)
    issuers = Persistence(issuers=("ca.example.ac.uk", "old.example.ac.uk"), check_every=DAY, days=10)
    with configured(persistence=issuers):
        watch_record(actor=people.alice, domain_id=added, wildcard=True, now=NOW)
        made = record_of(added)
        watch_due(clock=Clock(NOW), limit=10)
        watch_record(actor=people.alice, domain_id=added, wildcard=False, now=NOW)
        narrow = record_of(added)
    uri = f"{runtime.current().base_url}/acme/organisations/example-university"
    assert account_uri("example-university") == uri
    assert made is not None
    assert narrow is not None
    assert made.name == "_validation-persist.new.ac.uk"
    assert made.value == f"ca.example.ac.uk; accounturi={uri}; policy=wildcard"
    assert narrow.value == f"ca.example.ac.uk; accounturi={uri}"
    assert made.line.startswith('_validation-persist.new.ac.uk. 300 IN TXT "ca.example.ac.uk; acc')
    (asked,) = net.looks
    assert (asked.method, asked.account_uri, asked.wildcard) == (Method.DNS_PERSIST_WILDCARD, uri, True)
    assert asked.issuers == ("ca.example.ac.uk", "old.example.ac.uk")


def test_a_record_that_stays_keeps_the_domain_proven_without_anybody(people: World, net: Outside) -> None:
    clock = watched(people, net)
    for _ in range(60):
        days_of_watching(clock, 1)
        newest = ValidationRecord.objects.filter(domain__adn=ADN).order_by("-expires_at")[0]
        assert newest.expires_at - clock.now >= 4 * DAY  # never close to its end
        assert newest.expires_at - newest.validated_at == 10 * DAY
    assert len(net.looks) == 61
    assert len(proofs()) == 13  # one in five days, not one a look
    assert not mail.outbox
    assert audit_problems() == []


def test_reminders_do_not_nag_about_what_the_watcher_keeps_alive(people: World, net: Outside) -> None:
    watched(people, net)
    assert remind_lapsing(now=NOW + 4 * DAY) == []
    del net.persistent[ADN]
    watch_due(clock=Clock(NOW + 4 * DAY), limit=10)
    assert len(remind_lapsing(now=NOW + 4 * DAY)) == 1


def test_a_vanished_record_is_flagged_at_once_people_are_told_and_nothing_is_extended(
    people: World, net: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = watched(people, net)
    before = proofs()
    del net.persistent[ADN]
    days_of_watching(clock, 1)
    assert PersistentRecord.objects.get().missing_since == clock.now
    assert AuditEvent.objects.filter(action="domain.persistent_vanished").count() == 1
    assert ValidationAttempt.objects.get().code == "dcv.persist.no_record"
    monkeypatch.setattr("django.utils.timezone.now", clock)
    Worker(clock=clock).tick(now=clock())
    (told,) = [m for m in mail.outbox if "has vanished" in m.subject]
    assert told.to == ["alice@example.ac.uk", "meg@example.ac.uk"]
    assert "_validation-persist.new.ac.uk. 300 IN TXT" in told.body
    assert "is not extended" in " ".join(str(told.body).split())
    days_of_watching(clock, 20)
    assert proofs() == before
    assert len([m for m in mail.outbox if "vanished" in m.subject]) == 1
    assert PersistentRecord.objects.get().missing_since == NOW + DAY
    assert AuditEvent.objects.filter(action="domain.persistent_vanished").count() == 1
    net.persistent[ADN] = Method.DNS_PERSIST_WILDCARD
    days_of_watching(clock, 1)
    assert PersistentRecord.objects.get().missing_since is None
    assert len(proofs()) == len(before) + 1


def test_a_record_that_is_back_before_the_mail_leaves_makes_it_pointless(
    people: World, net: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = watched(people, net)
    domain_id = PersistentRecord.objects.get().domain_id
    del net.persistent[ADN]
    days_of_watching(clock, 1)
    net.persistent[ADN] = Method.DNS_PERSIST_WILDCARD
    clock.forward(HOUR)
    check_record_now(actor=people.alice, domain_id=domain_id, clock=clock)
    monkeypatch.setattr("django.utils.timezone.now", clock)
    Worker(clock=clock).tick(now=clock())
    assert not [m for m in mail.outbox if "vanished" in m.subject]


def test_name_servers_that_fail_are_not_taken_for_a_missing_record_at_once(
    people: World, net: Outside
) -> None:
    clock = watched(people, net)
    net.problems[ADN] = SERVFAIL
    for missing in (False, False, True):  # the third in a row
        days_of_watching(clock, 1)
        assert (PersistentRecord.objects.get().missing_since is not None) is missing
    assert len(proofs()) == 1
    assert {a.code for a in ValidationAttempt.objects.all()} == {"dcv.dns.servfail"}


def test_only_what_the_record_allows_is_proven(people: World, net: Outside) -> None:
    """A record without policy=wildcard proves that name alone, whatever was asked for."""
    created = submit(people.alice, f"www.{ADN}")
    watch(people, wildcard=True)
    net.persistent[ADN] = Method.DNS_PERSIST
    clock = Clock(NOW)
    watch_due(clock=clock, limit=10)
    assert ValidationRecord.objects.get(domain__adn=ADN).method == Method.DNS_PERSIST
    Worker(clock=clock).tick(now=NOW + HOUR)
    assert state_of(created.number) is Status.ACCEPTED
    net.persistent[ADN] = Method.DNS_PERSIST_WILDCARD
    days_of_watching(clock, 1)
    Worker(clock=clock).tick(now=clock())
    assert state_of(created.number) is Status.ISSUED


def test_a_record_that_nobody_publishes_is_given_up(people: World, net: Outside) -> None:
    domain_id = watch(people)
    clock = Clock(NOW)
    days_of_watching(clock, 20, step=4 * HOUR)
    assert PersistentRecord.objects.get().next_look_at is not None
    days_of_watching(clock, 12, step=4 * HOUR)
    assert clock.now - NOW > GIVE_UP_AFTER
    assert PersistentRecord.objects.get().next_look_at is None
    assert len(net.looks) < 300
    assert not mail.outbox  # nothing was ever there
    assert isinstance(check_record_now(actor=people.alice, domain_id=domain_id, clock=clock), NotFoundYet)


def test_a_watch_that_was_stopped_proves_nothing_more(people: World, net: Outside) -> None:
    domain_id = watch(people)
    net.persistent[ADN] = Method.DNS_PERSIST_WILDCARD
    stop_watching(actor=people.bob, domain_id=domain_id, now=NOW)
    assert watch_due(clock=Clock(NOW + DAY), limit=10) == 0
    for again in (
        lambda: stop_watching(actor=people.bob, domain_id=domain_id, now=NOW),
        lambda: check_record_now(actor=people.bob, domain_id=domain_id, clock=Clock(NOW)),
    ):
        with pytest.raises(StateConflict):
            again()
    watch(people, now=NOW + DAY)
    assert watch_due(clock=Clock(NOW + DAY), limit=10) == 1
    assert len(proofs()) == 1


def test_two_looks_at_once_make_one_record(people: World, net: Outside) -> None:
    domain_id = watch(people)
    net.persistent[ADN] = Method.DNS_PERSIST_WILDCARD
    clock = Clock(NOW + HOUR)

    def look() -> object:
        return check_record_now(actor=people.alice, domain_id=domain_id, clock=clock)

    def round_() -> object:
        return watch_due(clock=clock, limit=10)

    results = together([look, look, round_])
    assert all(isinstance(r, (Found, int, RateLimited, StateConflict)) for r in results), results
    assert len(proofs()) == 1
    assert audit_problems() == []
    with pytest.raises(RateLimited):
        check_record_now(actor=people.alice, domain_id=domain_id, clock=Clock(clock.now + PAUSE / 2))


def test_who_may_have_a_record_watched(people: World, net: Outside) -> None:
    domain_id = watch(people)
    for who, refusal in ((outsider(), NotFound), (actor("rick", ra=RaRole.AUDITOR), NotAuthorized)):
        with pytest.raises(refusal):
            watch_record(actor=who, domain_id=domain_id, wildcard=True, now=NOW)


def test_private_cas_may_have_a_longer_period_and_the_watch_still_serves_public_ones(
    people: World, net: Outside
) -> None:
    longer = Persistence(issuers=("ca.example.ac.uk",), check_every=DAY, days=90)
    with configured(persistence=longer):
        clock = watched(people, net)
        days_of_watching(clock, 11)
    assert len(proofs()) == 3
    newest = ValidationRecord.objects.filter(domain__adn=ADN).order_by("-id")[0]
    assert newest.expires_at - newest.validated_at == 90 * DAY


def test_an_answer_about_another_name_is_never_taken(people: World, net: Outside) -> None:
    """The lesson of 2025: what was challenged is what is granted."""
    watch(people)
    other = Problem(code="x", detail="x")
    assert other.acme_type == "unauthorized"

    class Confused(Outside):
        def validate(self, challenge, *, network, now):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - the base says it
            found = super().validate(challenge, network=network, now=now)
            object.__setattr__(found.record, "adn", "mail.example.com")
            return found

    confused = Confused(persistent={ADN: Method.DNS_PERSIST})
    confused.gate.set()
    with configured(validators=dict.fromkeys(Method, confused)):
        worker = Worker(clock=Clock(NOW))
        worker.tick(now=NOW)
        worker.lookout.wait(seconds=30)
    assert len(confused.looks) == 1
    assert proofs() == []
