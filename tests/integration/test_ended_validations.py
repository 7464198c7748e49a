"""A validation that somebody ended proves nothing from that moment on, wherever it was relied on."""

import csv
from datetime import timedelta
from functools import partial

import pytest
from django.urls import reverse
from django.utils import timezone

from certdesk.domain.errors import InvalidInput, NotAuthorized, StateConflict
from certdesk.domain.issuing.states import Status
from certdesk.domain.validation.evidence import Method
from certdesk.jobs.worker import Worker
from certdesk.services.people.organisations import disable_organisation
from certdesk.services.validation.by_publication import start_challenge
from certdesk.services.validation.ended import MAX_REASON, end_validation
from certdesk.services.validation.persistent import watch_due, watch_record
from certdesk.services.validation.reminders import Audience, mail_lapsing, remind_lapsing
from certdesk.store.models import (
    AuditEvent,
    CaValidation,
    ChallengeOutcome,
    EmailChallenge,
    Membership,
    MethodChallenge,
    PersistentRecord,
    Request,
    ValidationRecord,
)
from certdesk.store.selectors.domains import lapsing_by_month
from certdesk.store.selectors.facts import organisation_facts, organisation_row
from tests.harness.acme_client import AcmeClient, make_csr
from tests.integration.acme_support import AcmeWorld, Scripts
from tests.integration.api_calls import Callers
from tests.integration.proving import Outside
from tests.integration.support import (
    NOW,
    Clock,
    World,
    actor,
    ask_mailbox,
    audit_problems,
    issuance_of,
    manager,
    outcomes,
    signed_in,
    state_of,
    submit,
    together,
    validated,
)

pytestmark = pytest.mark.django_db(transaction=True)
ADN, WHY = "example.ac.uk", "The domain was sold."
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


@pytest.fixture
def people(people: World) -> World:
    manager(people)
    return people


def record_of(adn: str = ADN) -> ValidationRecord:
    return ValidationRecord.objects.select_related("domain").filter(domain__adn=adn).latest("id")


def end(people: World, record: ValidationRecord | None = None, *, after: timedelta = MINUTE) -> None:
    one, now = record or record_of(), NOW + after
    end_validation(actor=people.olga, domain_id=one.domain_id, record_id=one.pk, reason=f" {WHY} ", now=now)


def test_who_and_why_stay_with_it_and_nothing_is_deleted(people: World) -> None:
    before = record_of()
    end(people)
    after = record_of()
    assert (after.pk, after.evidence, after.validated_at) == (before.pk, before.evidence, before.validated_at)
    assert (after.expires_at, after.ended_by_id, after.end_reason) == (NOW + MINUTE, people.olga.user_id, WHY)
    event = AuditEvent.objects.get(action="domain.end_validation")
    assert event.data["counted_until"] == before.expires_at.isoformat()
    assert (event.actor, event.data["reason"], event.data["record"]) == ("olga", WHY, before.pk)
    assert audit_problems() == []


def test_what_was_accepted_is_not_signed_and_says_what_it_waits_for(people: World) -> None:
    created = submit(people.alice, f"www.{ADN}", "www.new.ac.uk")
    assert state_of(created.number) is Status.ACCEPTED
    end(people)
    validated("new.ac.uk", of=people.university, by=people.olga, at=NOW + MINUTE)
    Worker(clock=Clock(NOW + 2 * MINUTE)).tick(now=NOW + 2 * MINUTE)
    assert state_of(created.number) is Status.ACCEPTED
    assert issuance_of(created.number).intent_key is None
    assert f"Waiting for someone at {ADN} to confirm" in Request.objects.get(id=created.number).detail
    validated(ADN, of=people.university, by=people.olga, at=NOW + 3 * MINUTE)
    Worker(clock=Clock(NOW + 4 * MINUTE)).tick(now=NOW + 4 * MINUTE)
    assert state_of(created.number) is Status.ISSUED


def test_a_decision_whose_time_was_read_before_the_end_sees_it_all_the_same(people: World) -> None:
    end(people)
    names = [f"www.{ADN}", *(f"{n}.{ADN}" for n in range(20))]
    for asked in (names[:1], names):  # a kept statement, and one made for so many names
        assert organisation_facts(organisation_row(people.university), names=asked, now=NOW).validations == ()


@pytest.mark.parametrize("proven_by", ["an earlier proof", "a challenge"])
def test_an_acme_order_that_relied_on_it_is_over(
    here: AcmeWorld, one: AcmeClient, network: Scripts, proven_by: str
) -> None:
    """RFC 8555 7.1.6: an order whose authorization is no longer valid becomes invalid."""
    adn = ADN if proven_by == "an earlier proof" else "www.another.ac.uk"
    validated("other.ac.uk", of=here.world.university, by=here.world.olga)
    ordered, other = one.order(adn), one.order("other.ac.uk")
    url = ordered.json["authorizations"][0]
    if proven_by == "a challenge":
        one.answer(url, "http-01", network[Method.ACME_HTTP].proofs.add)
    assert one.post(url).json["status"] == "valid"
    record = record_of(adn)
    end_validation(
        actor=here.meg, domain_id=record.domain_id, record_id=record.pk, reason=WHY, now=timezone.now()
    )
    assert one.post(url).json["status"] == "expired"
    assert one.post(ordered.headers["Location"]).json["status"] == "invalid"
    assert one.finalize(ordered.json, make_csr(adn)).problem == "orderNotReady"
    assert one.order(adn).json["status"] == "pending"
    assert one.post(other.headers["Location"]).json["status"] == "ready"


def test_what_was_asked_before_and_the_reminders_end_with_it(people: World, net: Outside) -> None:
    record = record_of()
    ends = record.expires_at
    CaValidation.objects.create(domain=record.domain, ca="Some CA", heard_from="olga", heard_at=NOW)
    start_challenge(actor=people.alice, domain_id=record.domain_id, method=Method.DNS_TXT, now=NOW)
    watch_record(actor=people.alice, domain_id=record.domain_id, wildcard=True, now=NOW)
    ask_mailbox(people.alice, ADN, f"admin@{ADN}")
    assert remind_lapsing(now=ends - 20 * DAY) == [record.domain_id]
    end(people)
    soon = ends - 5 * DAY
    assert {one.outcome for one in (EmailChallenge.objects.get(), MethodChallenge.objects.get())} == {
        ChallengeOutcome.CANCELLED
    }
    assert PersistentRecord.objects.get().stopped_at == NOW + MINUTE
    assert remind_lapsing(now=soon) == []
    assert not mail_lapsing(
        domain_id=record.domain_id, expires_at=ends, audience=Audience.ORGANISATION, now=soon
    )
    assert sum(month.private for month in lapsing_by_month(actor=people.olga, now=NOW + 2 * MINUTE)) == 0
    assert CaValidation.objects.count() == 1


def test_a_persistent_record_ends_with_all_its_renewals_and_can_be_watched_again(
    people: World, net: Outside
) -> None:
    domain_id = record_of().domain_id
    net.persistent[ADN] = Method.DNS_PERSIST_WILDCARD
    clock = Clock(NOW)
    watch_record(actor=people.alice, domain_id=domain_id, wildcard=True, now=NOW)
    for _ in range(2):
        watch_due(clock=clock, limit=5)
        clock.forward(6 * DAY)
    end(people, record_of(), after=7 * DAY)
    ended = ValidationRecord.objects.exclude(end_reason="")
    assert [one.method for one in ended] == [Method.DNS_PERSIST_WILDCARD] * 2
    clock.forward(2 * DAY)
    assert watch_due(clock=clock, limit=5) == 0
    watch_record(actor=people.alice, domain_id=domain_id, wildcard=True, now=clock.now)
    watch_due(clock=clock, limit=5)
    assert record_of().validated_at == clock.now


def test_it_takes_a_reason_and_a_right_and_happens_once(people: World) -> None:
    record, meg = record_of(), actor("meg")
    call = partial(end_validation, domain_id=record.domain_id, record_id=record.pk, now=NOW + MINUTE)
    for reason in (" ", "x" * (MAX_REASON + 1), "\0"):
        with pytest.raises(InvalidInput):
            call(actor=meg, reason=reason)
    Membership.objects.filter(user__username="meg").update(is_active=False)
    with pytest.raises(NotAuthorized):  # judged again under the lock
        call(actor=meg, reason=WHY)
    assert record_of().end_reason == ""
    disable_organisation(actor=people.otto, organisation_id=people.university, reason="Closed.", now=NOW)
    both = [partial(call, actor=who, reason=WHY) for who in (people.olga, people.otto)]
    done, refused = outcomes(together(both))
    assert (len(done), [type(one) for one in refused]) == (1, [StateConflict])


def test_portal_and_csv_show_the_end(people: World) -> None:
    record, client = record_of(), signed_in("meg")
    address = reverse("domains-end-validation", args=[record.domain_id, record.pk])
    assert address in client.page("domains-show", record.domain_id)
    assert client.post(address, {"reason": " "}).status_code == 422
    after = client.post(address, {"reason": WHY}, follow=True).content.decode()
    assert "Its validation was ended by meg on" in after
    assert WHY in after
    assert address not in after
    assert "no longer counts" in client.get(address).content.decode()
    assert client.post(address, {"reason": WHY}).status_code == 409
    lines = b"".join(client.get(reverse("domains-csv"))).decode().splitlines()
    (row,) = csv.DictReader(lines)
    assert "Ended" in row.values()


def test_rest_ends_it_and_shows_who_and_why(users: Callers) -> None:
    record = record_of()
    here = f"/domains/{record.domain_id}/validations"
    assert users.olga.post(f"{here}/{record.pk}/end", {}).status == 422
    ended = users.olga.post(f"{here}/{record.pk}/end", {"reason": WHY})
    assert (ended.status, ended.json["id"]) == (200, record.pk)
    assert (ended.json["ended_by"], ended.json["end_reason"]) == ("olga", WHY)
    assert users.alice.get(here).json["items"] == [ended.json]
    assert not users.alice.get(f"/domains/{record.domain_id}").json["is_validated"]
    assert users.olga.post(f"{here}/{record.pk}/end", {"reason": WHY}).status == 409
