"""Proving a domain by something published: random values, looks, attempts, races."""

from datetime import timedelta
from functools import partial

import pytest
from pytest_django import Settings

from certdesk.domain.errors import InvalidInput, RateLimited, StateConflict
from certdesk.domain.issuing.states import Status
from certdesk.domain.validation.evidence import Method
from certdesk.jobs.worker import Worker
from certdesk.services.system import runtime
from certdesk.services.validation.by_email import add_domain
from certdesk.services.validation.by_publication import (
    PAUSE,
    PUBLISHED,
    Found,
    NotFoundYet,
    cancel_method_challenge,
    check_due,
    check_now,
    start_challenge,
    wait_after,
    what_to_publish,
)
from certdesk.services.validation.publications import DnsRecord, WebFile
from certdesk.store.models import (
    AuditEvent,
    ChallengeOutcome,
    Domain,
    MethodChallenge,
    Request,
    ValidationAttempt,
    ValidationRecord,
)
from tests.integration.proving import SERVFAIL, Outside
from tests.integration.support import (
    NOW,
    Clock,
    World,
    ask_mailbox,
    audit_problems,
    configured,
    issuance_of,
    outcomes,
    state_of,
    submit,
    together,
)

pytestmark = pytest.mark.django_db(transaction=True)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


def domain(people: World, name: str = "new.ac.uk") -> int:
    return add_domain(actor=people.alice, organisation_id=people.university, name=name, now=NOW)


def start(people: World, method: Method = Method.DNS_TXT, *, name: str = "new.ac.uk") -> MethodChallenge:
    number = start_challenge(actor=people.alice, domain_id=domain(people, name), method=method, now=NOW)
    return MethodChallenge.objects.get(id=number)


def value_of(started: MethodChallenge) -> str:
    published = what_to_publish(started)
    return published.content if isinstance(published, WebFile) else published.value.partition(".")[0]


def publish(net: Outside, started: MethodChallenge) -> None:
    match what_to_publish(started):
        case DnsRecord(kind="CNAME", value=target):
            net.published.add((started.adn, target.removesuffix(".")))
        case _:
            net.published.add((started.adn, value_of(started)))


def look(people: World, started: MethodChallenge, *, after: timedelta = MINUTE) -> Found | NotFoundYet:
    clock = Clock(NOW + after)
    return check_now(actor=people.alice, challenge_id=started.pk, clock=clock)


@pytest.mark.parametrize("method", PUBLISHED)
def test_what_is_published_proves_the_domain_once(people: World, net: Outside, method: Method) -> None:
    started = start(people, method)
    publish(net, started)
    found = look(people, started)
    assert isinstance(found, Found)
    record = ValidationRecord.objects.get(id=found.record_id)
    assert (record.domain.adn, record.method) == ("new.ac.uk", method)
    assert record.validated_at == NOW + MINUTE
    assert record.expires_at == NOW + MINUTE + runtime.current().ownership_days * DAY
    assert record.evidence["asked_by"] == "alice"
    assert record.evidence["answered"] == "it is there"
    assert record.evidence["details"]["server"] == "192.0.2.1"
    with pytest.raises(StateConflict):
        look(people, started, after=2 * MINUTE)
    assert ValidationRecord.objects.filter(domain__adn="new.ac.uk").count() == 1
    assert [e.action for e in AuditEvent.objects.filter(object_id=started.domain_id)] == [
        "domain.add",
        "domain.challenge",
        "domain.validate",
    ]
    assert audit_problems() == []


def test_v1_the_value_has_256_bits_is_not_stored_and_can_be_shown_again(people: World, net: Outside) -> None:
    values = {value_of(start(people, method, name=name)) for method in PUBLISHED for name in ("a.uk", "b.uk")}
    assert len(values) == 6
    assert {len(value) for value in values} == {52}
    stored = " ".join(str(row) for row in MethodChallenge.objects.values_list("nonce", "digest"))
    assert not any(value in stored for value in values)
    assert {value_of(row) for row in MethodChallenge.objects.all()} == values
    assert not any(v in str(e.data) for v in values for e in AuditEvent.objects.all())


def test_v1_a_change_of_the_secret_key_leaves_open_challenges_as_they_are(
    people: World, net: Outside, settings: Settings
) -> None:
    started = start(people)
    former, settings.SECRET_KEY = settings.SECRET_KEY, "x" * 50
    settings.SECRET_KEY_FALLBACKS = [former]
    row = MethodChallenge.objects.get()
    assert value_of(row) == value_of(started)
    publish(net, started)
    assert isinstance(look(people, started), Found)


def test_a_files_name_does_not_tell_its_content(people: World, net: Outside) -> None:
    """BR 3.2.2.4.18: the value may not stand in the request for the file."""
    file = what_to_publish(start(people, Method.HTTP_FILE))
    assert isinstance(file, WebFile)
    assert file.url.startswith("http://new.ac.uk/.well-known/pki-validation/")
    assert file.content not in file.url
    assert file.url.rpartition("/")[2].removesuffix(".txt") not in file.content


def test_v7_a_look_in_vain_leaves_what_was_seen_and_the_challenge_open(people: World, net: Outside) -> None:
    started = start(people)
    net.problems["new.ac.uk"] = SERVFAIL
    found = look(people, started)
    assert isinstance(found, NotFoundYet)
    assert found.problem == SERVFAIL
    (attempt,) = ValidationAttempt.objects.all()
    assert (attempt.code, attempt.detail) == ("dcv.dns.servfail", "The name server fails.")
    assert attempt.evidence["answered"] == "a failure"
    assert attempt.by_id == people.alice.user_id
    assert MethodChallenge.objects.get().outcome == ChallengeOutcome.OPEN
    assert not ValidationRecord.objects.filter(domain__adn="new.ac.uk").exists()
    del net.problems["new.ac.uk"]
    publish(net, started)
    assert isinstance(look(people, started, after=2 * MINUTE), Found)


def test_the_value_of_one_domain_or_method_proves_no_other(people: World, net: Outside) -> None:
    """Three names, three outcomes: each is looked for at its own name with its own value."""
    mine, other, third = (start(people, name=name) for name in ("a.ac.uk", "b.ac.uk", "c.ac.uk"))
    net.published |= {("a.ac.uk", value_of(other)), ("b.ac.uk", value_of(other))}
    net.problems["c.ac.uk"] = SERVFAIL
    got = [look(people, one) for one in (mine, other, third)]
    assert [type(one) for one in got] == [NotFoundYet, Found, NotFoundYet]
    assert [c.adn for c in net.looks] == ["a.ac.uk", "b.ac.uk", "c.ac.uk"]


def test_a_new_challenge_ends_the_one_before(people: World, net: Outside) -> None:
    first, second = start(people), start(people)
    publish(net, first)
    with pytest.raises(StateConflict):
        look(people, first)
    assert isinstance(look(people, second), NotFoundYet)
    other_way = start(people, Method.HTTP_FILE)
    assert isinstance(look(people, second, after=2 * MINUTE), NotFoundYet)
    assert other_way.pk != second.pk


def test_a_cancelled_or_expired_challenge_proves_nothing(people: World, net: Outside) -> None:
    cancelled, expired = start(people, name="a.ac.uk"), start(people, name="b.ac.uk")
    for one in (cancelled, expired):
        publish(net, one)
    assert expired.expires_at == NOW + 30 * DAY  # BR 3.2.2.4
    cancel_method_challenge(actor=people.bob, challenge_id=cancelled.pk, now=NOW)
    with pytest.raises(StateConflict):
        cancel_method_challenge(actor=people.bob, challenge_id=cancelled.pk, now=NOW)
    with pytest.raises(StateConflict):
        look(people, cancelled)
    with pytest.raises(StateConflict):
        look(people, expired, after=30 * DAY)
    assert check_due(clock=Clock(NOW + 30 * DAY), limit=10) == 0
    assert not net.looks


def test_a_proof_that_comes_too_late_or_for_a_cancelled_challenge_is_not_recorded(
    people: World, net: Outside
) -> None:
    """What ended while somebody was looking stays ended."""
    started = start(people)
    publish(net, started)
    net.gate.clear()

    def cancel() -> None:
        while not net.looks:
            pass
        cancel_method_challenge(actor=people.alice, challenge_id=started.pk, now=NOW)
        net.gate.set()

    _done, refused = outcomes(together([cancel, partial(look, people, started)]))
    assert [type(one) for one in refused] == [StateConflict]
    assert not ValidationRecord.objects.filter(domain__adn="new.ac.uk").exists()


def test_two_who_look_at_once_make_one_record(people: World, net: Outside) -> None:
    started = start(people)
    publish(net, started)
    both = [partial(look, people, started, after=MINUTE * n) for n in (1, 2)]  # further apart than the pause
    found, refused = outcomes(together(both))
    assert len(found) == 1
    assert {type(one) for one in refused} <= {StateConflict, RateLimited}
    assert ValidationRecord.objects.filter(domain__adn="new.ac.uk").count() == 1
    assert audit_problems() == []


def test_a10_the_next_look_waits_some_seconds(people: World, net: Outside) -> None:
    started = start(people)
    look(people, started, after=MINUTE)
    with pytest.raises(RateLimited):
        look(people, started, after=MINUTE + PAUSE / 2)
    assert isinstance(look(people, started, after=MINUTE + PAUSE), NotFoundYet)


def test_the_worker_looks_by_itself_with_longer_and_longer_waits(people: World, net: Outside) -> None:
    started, clock = start(people), Clock(NOW)
    one = Worker(clock=clock)

    def tick() -> int:
        before = len(net.looks)
        one.tick(now=clock())
        one.lookout.wait(seconds=30)
        return len(net.looks) - before

    assert tick() == 0  # nobody can have published it yet
    waits = []
    for _ in range(5):
        due = MethodChallenge.objects.get().next_look_at
        assert due is not None
        waits.append(due - clock.now)
        clock.now = due
        assert tick() == 1
    assert waits == [MINUTE, MINUTE, 2 * MINUTE, 4 * MINUTE, 8 * MINUTE]
    assert wait_after(100) == timedelta(hours=4)
    publish(net, started)
    clock.now = MethodChallenge.objects.values_list("next_look_at", flat=True).get() or NOW
    tick()
    record = ValidationRecord.objects.get(domain__adn="new.ac.uk")
    assert record.evidence["asked_by"] == "alice"
    assert AuditEvent.objects.get(action="domain.validate", data__record=record.pk).actor == "Certdesk"
    clock.forward(DAY)
    assert tick() == 0


def test_a_hundred_names_are_looked_at_at_once_and_each_gets_its_own_answer(
    people: World, net: Outside
) -> None:
    started = [start(people, name=f"n{n}.ac.uk") for n in range(100)]
    for n, one in enumerate(started):
        if n % 3 == 0:
            publish(net, one)
        if n % 3 == 1:
            net.problems[one.adn] = SERVFAIL
    assert check_due(clock=Clock(NOW + MINUTE), limit=100) == 100
    proven = set(ValidationRecord.objects.values_list("domain__adn", flat=True)) - {"example.ac.uk"}
    assert proven == {f"n{n}.ac.uk" for n in range(0, 100, 3)}
    codes = {a.adn: a.code for a in ValidationAttempt.objects.all()}
    assert codes == {
        f"n{n}.ac.uk": "dcv.dns.servfail" if n % 3 == 1 else "dcv.persist.no_record"
        for n in range(100)
        if n % 3
    }
    assert audit_problems() == []


def test_a_method_that_breaks_proves_nothing_and_is_tried_again(people: World, net: Outside) -> None:
    started = start(people)
    publish(net, started)
    net.broken = True
    found = look(people, started)
    assert isinstance(found, NotFoundYet)
    assert found.problem.code == "dcv.failed"
    assert "broken" not in found.problem.detail
    net.broken = False
    assert isinstance(look(people, started, after=2 * MINUTE), Found)


def test_r4_a_request_says_what_it_waits_for_and_goes_on_with_the_proof(people: World, net: Outside) -> None:
    created = submit(people.alice, "www.new.ac.uk")
    assert state_of(created.number) is Status.ACCEPTED
    started = start(people)
    detail = Request.objects.values_list("detail", flat=True).get(id=created.number)
    assert detail == "Waiting for the DNS record of new.ac.uk to appear."
    ask_mailbox(people.alice, "new.ac.uk", "admin@new.ac.uk")
    detail = Request.objects.values_list("detail", flat=True).get(id=created.number)
    assert "admin@new.ac.uk to confirm or the DNS record of new.ac.uk to appear" in detail
    publish(net, started)
    look(people, started)
    assert issuance_of(created.number).next_attempt_at is not None
    Worker(clock=Clock(NOW + 2 * MINUTE)).tick(now=NOW + 2 * MINUTE)
    assert state_of(created.number) is Status.ISSUED


def test_a_file_proves_exactly_one_name(people: World, net: Outside) -> None:
    """BR 3.2.2.4.18: not the names below it."""
    created = submit(people.alice, "www.new.ac.uk")
    started = start(people, Method.HTTP_FILE)
    publish(net, started)
    look(people, started)
    Worker(clock=Clock(NOW + 2 * MINUTE)).tick(now=NOW + 2 * MINUTE)
    assert state_of(created.number) is Status.ACCEPTED
    exact = start(people, Method.HTTP_FILE, name="www.new.ac.uk")
    publish(net, exact)
    look(people, exact, after=3 * MINUTE)
    Worker(clock=Clock(NOW + 4 * MINUTE)).tick(now=NOW + 4 * MINUTE)
    assert state_of(created.number) is Status.ISSUED


@pytest.mark.parametrize("method", sorted(set(Method) - set(PUBLISHED)))
def test_other_methods_are_not_on_offer(people: World, net: Outside, method: Method) -> None:
    with pytest.raises(InvalidInput):
        start(people, method)


def test_a_method_without_a_validator_is_not_on_offer(people: World) -> None:
    with configured(validators={}), pytest.raises(InvalidInput):
        start(people)
    assert Domain.objects.filter(adn="new.ac.uk").exists()
