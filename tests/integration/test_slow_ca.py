"""CAs that take their time, fall silent, refuse or err: what becomes of requests.

Time is a clock that the tests move; the worker's own tick does all the work.
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from django.core.mail import EmailMessage

from certdesk.backends.scripted import Behaviour, Rule, ScriptedBackend, ScriptedConfig
from certdesk.conf import apps
from certdesk.conf.apps import make_runtime
from certdesk.conf.config import load_config
from certdesk.domain.actors import RaRole
from certdesk.domain.errors import Misconfigured, NotAuthorized, StateConflict
from certdesk.domain.issuing.certificates import Intent, Outcome
from certdesk.domain.issuing.states import RequestId, Status, Work, status_text
from certdesk.jobs.worker import Worker
from certdesk.services.issuance.engine import RETRY_MOST
from certdesk.services.mail.alerts import alert_overdue
from certdesk.services.requests.recovery import poll_now, retry_request
from certdesk.store.models import AuditEvent, Issuance, Organisation, RequestEvent, ValidationRecord
from certdesk.store.selectors.requests import RequestDetail, get_request
from certdesk.store.selectors.waiting import usual_issuing_time, waiting_for_ca
from tests.integration import support
from tests.integration.support import (
    NOW,
    Clock,
    World,
    approve,
    audit_problems,
    create,
    drive,
    events_of,
    issuance_of,
    state_of,
    submit,
)

pytestmark = pytest.mark.django_db(transaction=True)
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
REASON = "The organisation is on our list."


class WatchedCa(ScriptedBackend):
    """A scripted CA that notes when it was asked for what."""

    def __init__(self, config: ScriptedConfig, *, clock: Callable[[], datetime]) -> None:
        super().__init__(config, clock=clock)
        self.submitted: list[Intent] = []
        self.polled: list[datetime] = []

    def submit(self, intent: Intent) -> Outcome:
        """Note the intent."""
        self.submitted.append(intent)
        return super().submit(intent)

    def poll(self, intent: Intent, handle: str) -> Outcome:
        """Note the time."""
        self.polled.append(self._clock())
        return super().poll(intent, handle)


MakeCa = Callable[..., WatchedCa]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_ca(tmp_path: Path, clock: Clock) -> MakeCa:
    """Opens the one CA of a test, with another rule each time if need be: it keeps its orders."""

    def make(behaviour: Behaviour, *, delay: timedelta = timedelta(0), tries: int = 1) -> WatchedCa:
        rule = Rule(behaviour=behaviour, delay=delay, tries=tries, reason=REASON)
        config = ScriptedConfig(
            directory=tmp_path, passphrase=b"a passphrase", tests_and_demo_only=True, default=rule
        )
        return WatchedCa(config, clock=clock)

    return make


def due_at(number: RequestId) -> datetime:
    at = issuance_of(number).next_attempt_at
    assert at is not None, "nobody would ever look at it again"
    return at


def work(clock: Clock, *, seconds: int) -> None:
    """A worker ticks once a second."""
    worker = Worker(clock=clock)
    for _ in range(seconds):
        clock.forward(SECOND)
        worker.tick(now=clock())


def work_until(number: RequestId, state: Status, clock: Clock, *, most: int = 500) -> None:
    """A worker ticks whenever the request is due."""
    worker = Worker(clock=clock)
    for _ in range(most):
        if state_of(number) is state:
            return
        clock.now = max(clock.now, due_at(number))
        worker.tick(now=clock())
    pytest.fail(f"{state_of(number)} after {most} ticks")


def detail(number: RequestId) -> RequestDetail:
    return get_request(actor=support.actor("olga", ra=RaRole.OFFICER), number=number)


def to_officers(mailbox: list[EmailMessage]) -> list[EmailMessage]:
    return [mail for mail in mailbox if "olga@example.ac.uk" in mail.to]


# R23: at once, or soon


def test_r23_a_responsive_ca_issues_within_a_second_and_without_a_human(w: World, make_ca: MakeCa) -> None:
    with support.backend(make_ca(Behaviour.ISSUE)):
        submit(w.alice)  # what is built on first use is built now
        began = time.process_time()
        made = submit(w.alice)
        took = time.process_time() - began
    assert made.status is Status.ISSUED
    assert took < 1
    assert events_of(made.number) == ["create", "claim", "ca_accept", "issue"]
    assert {event.actor for event in detail(made.number).events} == {"alice", "Certdesk"}


@pytest.mark.parametrize(
    "behaviour,delay",
    [
        (Behaviour.ACCEPT, 20 * SECOND),
        (Behaviour.UNAVAILABLE, timedelta(0)),
        (Behaviour.TIMEOUT_AFTER_ACCEPTING, timedelta(0)),
        (Behaviour.TIMEOUT_AFTER_ACCEPTING, 10 * SECOND),
    ],
)
def test_r23_a_ca_that_answers_after_a_while_is_seen_within_thirty_seconds(
    w: World, make_ca: MakeCa, clock: Clock, behaviour: Behaviour, delay: timedelta
) -> None:
    ca = make_ca(behaviour, delay=delay, tries=2)
    with support.backend(ca):
        number = submit(w.alice, clock=clock).number
        assert state_of(number) is not Status.ISSUED
        work(clock, seconds=30)
    assert state_of(number) is Status.ISSUED
    sent = 3 if behaviour is Behaviour.UNAVAILABLE else 1
    assert [intent.server_software for intent in ca.submitted] == ["nginx"] * sent
    accepted = RequestEvent.objects.get(request_id=number, event="ca_accept")
    assert accepted.at - NOW <= timedelta(seconds=30)
    assert accepted.user_id is None


# R24: slow, polled, told


def test_r24_a_slow_ca_is_polled_beyond_a_day_with_back_off_and_the_officers_are_told_once(
    w: World, make_ca: MakeCa, clock: Clock, mailoutbox: list[EmailMessage]
) -> None:
    ca = make_ca(Behaviour.ACCEPT, delay=30 * HOUR)
    with support.backend(ca):
        number = submit(w.alice, clock=clock).number
        worker = Worker(clock=clock)
        while clock() < NOW + 24 * HOUR - MINUTE:
            clock.now = due_at(number)
            worker.tick(now=clock())
        assert to_officers(mailoutbox) == []
        while state_of(number) is Status.SUBMITTED:
            assert "Waiting for" in detail(number).detail
            clock.now = due_at(number)
            worker.tick(now=clock())
        worker.tick(now=clock())
    gaps = [later - earlier for earlier, later in zip(ca.polled, ca.polled[1:], strict=False)]
    assert gaps == sorted(gaps), "back-off"
    assert gaps[0] <= MINUTE
    assert gaps[-1] == RETRY_MOST
    assert ca.polled[-1] >= NOW + 30 * HOUR
    assert state_of(number) is Status.ISSUED
    assert len(ca.submitted) == 1

    (mail,) = to_officers(mailoutbox)
    assert sorted(mail.to) == ["olga@example.ac.uk", "otto@example.ac.uk"]
    assert f"/requests/{number}/" in mail.body
    assert "24 hours" in mail.subject
    told = AuditEvent.objects.get(action="request.overdue")
    assert 24 * HOUR <= told.at - NOW <= 24 * HOUR + RETRY_MOST
    assert (told.object_id, told.actor) == (str(number), "Certdesk")
    assert audit_problems() == []


def test_r24_elapsed_and_usual_time_are_shown(w: World, make_ca: MakeCa, clock: Clock) -> None:
    with support.backend(make_ca(Behaviour.ACCEPT, delay=2.5 * HOUR)):
        assert usual_issuing_time(backend="scripted", now=clock()) is None
        for _ in range(3):
            work_until(submit(w.alice, clock=clock).number, Status.ISSUED, clock)
        usual = usual_issuing_time(backend="scripted", now=clock())
        assert usual is not None
        assert 2.5 * HOUR <= usual <= 2.5 * HOUR + RETRY_MOST
        assert usual_issuing_time(backend="another", now=clock()) is None
        assert usual_issuing_time(backend="scripted", now=NOW) is None

        number = submit(w.alice, clock=clock).number
        assert "this CA usually takes 2 to 3 hours" in detail(number).detail
        began = clock()
        while clock() < began + 61 * MINUTE:
            clock.now = due_at(number)
            drive(number, clock=clock)
        line = "Waiting for 1 hour; this CA usually takes 2 to 3 hours."
        assert detail(number).detail.endswith(line)
        clock.now = began + 2 * HOUR
        live = waiting_for_ca(request=detail(number), now=clock())
        assert live is not None
        assert (live.since, live.elapsed, live.usual) == (began, 2 * HOUR, usual)
        assert live.text == line.replace("1 hour", "2 hours")
        work_until(number, Status.ISSUED, clock)
    assert waiting_for_ca(request=detail(number), now=clock()) is None


def test_r24_a_ca_that_cannot_be_reached_for_a_day_is_told_of_as_well(
    w: World, make_ca: MakeCa, clock: Clock
) -> None:
    with support.backend(make_ca(Behaviour.UNAVAILABLE, tries=10**6)):
        number = submit(w.alice, clock=clock).number
        elsewhere = submit(w.alice, "www.outside.example", clock=clock).number
        clock.forward(24 * HOUR - SECOND)
        assert alert_overdue(now=clock()) == []
        clock.forward(SECOND)
        assert alert_overdue(now=clock()) == [number]
        live = waiting_for_ca(request=detail(number), now=clock())
    assert live is not None
    assert live.elapsed == 24 * HOUR
    assert state_of(elsewhere) is Status.WAITING_FOR_APPROVAL
    assert waiting_for_ca(request=detail(elsewhere), now=clock()) is None
    assert alert_overdue(now=clock() + 24 * HOUR) == []


def test_r24_waiting_for_something_else_is_not_waiting_for_the_ca(
    w: World, make_ca: MakeCa, clock: Clock
) -> None:
    """An accepted request that was not handed over yet awaits something of ours, such as a validation."""
    made = create(w.alice, now=clock())
    assert made.status is Status.ACCEPTED
    clock.forward(72 * HOUR)
    assert alert_overdue(now=clock()) == []
    assert waiting_for_ca(request=detail(made.number), now=clock()) is None
    with support.backend(make_ca(Behaviour.UNAVAILABLE, tries=10)):
        drive(made.number, clock=clock)
        assert alert_overdue(now=clock() + 23 * HOUR) == []
        assert alert_overdue(now=clock() + 24 * HOUR) == [made.number]


@pytest.mark.parametrize(
    "held_up", [{"vetted_at": None}, {}], ids=["by an officer's decision", "by a proof that lapsed"]
)
def test_a_wait_for_the_ca_ends_when_something_else_is_awaited(
    w: World, make_ca: MakeCa, clock: Clock, held_up: dict[str, None]
) -> None:
    with support.backend(make_ca(Behaviour.UNAVAILABLE, tries=10**6)):
        number = submit(w.alice, clock=clock).number
        clock.forward(HOUR)
        if held_up:
            Organisation.objects.update(**held_up)
        else:
            ValidationRecord.objects.update(expires_at=clock())
        drive(number, clock=clock)
        clock.forward(29 * HOUR)
        assert alert_overdue(now=clock()) == []
        assert waiting_for_ca(request=detail(number), now=clock()) is None
        if held_up:
            approve(w.olga, number, clock=clock)
        else:
            support.validated("example.ac.uk", of=w.university, by=w.olga, at=clock())
        drive(number, clock=clock)
        live = waiting_for_ca(request=detail(number), now=clock())
        assert live is not None
        assert live.since == clock()
        assert alert_overdue(now=clock() + 23 * HOUR) == []
        assert alert_overdue(now=clock() + 24 * HOUR) == [number]


def test_r24_many_workers_tell_the_officers_once(w: World, make_ca: MakeCa, clock: Clock) -> None:
    with support.backend(make_ca(Behaviour.ACCEPT, delay=100 * HOUR)):
        numbers = [submit(w.alice, clock=clock).number for _ in range(3)]
        told, refused = support.outcomes(support.together([partial(alert_overdue, now=NOW + 25 * HOUR)] * 6))
    assert not refused
    assert [each for each in told if each] == [numbers]
    assert AuditEvent.objects.filter(action="request.overdue").count() == 3
    assert audit_problems() == []


def test_r24_a_second_wait_is_told_of_again_and_one_that_has_ended_is_not_mailed(
    w: World, make_ca: MakeCa, clock: Clock, mailoutbox: list[EmailMessage]
) -> None:
    with support.backend(make_ca(Behaviour.ACCEPT_THEN_REFUSE, delay=25 * HOUR)):
        number = submit(w.alice, clock=clock).number
        clock.forward(25 * HOUR)
        assert alert_overdue(now=clock()) == [number]
        assert drive(number, clock=clock) is Status.REJECTED_BY_CA
        work(clock, seconds=1)
        assert to_officers(mailoutbox) == [], "there is nothing to do about it any more"
        retry_request(actor=w.olga, number=number, now=clock())
        work(clock, seconds=1)
        assert state_of(number) is Status.SUBMITTED
        assert alert_overdue(now=clock() + 23 * HOUR) == []
        assert alert_overdue(now=clock() + 25 * HOUR) == [number]


# R26 to R28: each status means what it says


def test_r27_the_cas_order_number_is_kept_and_shown(w: World, make_ca: MakeCa, clock: Clock) -> None:
    with support.backend(make_ca(Behaviour.ACCEPT, delay=HOUR)):
        number = submit(w.alice, clock=clock).number
    assert status_text(state_of(number), ra="JTAG") == "Accepted by CA"
    issuance = Issuance.objects.get()
    assert issuance.handle == "S-000001"
    assert issuance.acknowledged_at == NOW
    assert "S-000001" in detail(number).detail
    assert AuditEvent.objects.get(action="request.ca_accept").data["handle"] == "S-000001"


def test_r28_sending_again_makes_a_new_issuance_with_a_new_key(
    w: World, make_ca: MakeCa, clock: Clock
) -> None:
    with support.backend(make_ca(Behaviour.REFUSE)):
        number = submit(w.alice, clock=clock).number
    assert state_of(number) is Status.REJECTED_BY_CA
    with support.backend(make_ca(Behaviour.ISSUE)):
        retry_request(actor=w.olga, number=number, note=" The CA has removed the entry. ", now=clock())
        work(clock, seconds=1)
    assert state_of(number) is Status.ISSUED
    first, second = Issuance.objects.filter(request_id=number).order_by("id")
    assert (first.state, second.state) == (Work.REFUSED, Work.ISSUED)
    assert first.intent_key != second.intent_key
    assert first.csr_sha256 == second.csr_sha256
    assert events_of(number)[2:] == ["ca_refuse", "retry", "claim", "ca_accept", "issue"]
    retried = RequestEvent.objects.get(request_id=number, event="retry")
    assert (retried.actor, retried.note) == ("olga", "The CA has removed the entry.")
    assert AuditEvent.objects.get(action="request.retry").user_id == w.olga.user_id
    assert audit_problems() == []


def test_r28_the_applicant_is_told_that_it_is_sent_again(
    w: World, make_ca: MakeCa, clock: Clock, mailoutbox: list[EmailMessage]
) -> None:
    with support.backend(make_ca(Behaviour.REFUSE)):
        number = submit(w.alice, clock=clock).number
    with support.backend(make_ca(Behaviour.UNAVAILABLE, tries=3)):
        retry_request(actor=w.olga, number=number, now=clock())
        work(clock, seconds=1)
    assert any("again" in mail.body and mail.to == ["alice@example.ac.uk"] for mail in mailoutbox)


def test_r28_only_another_officer_sends_again_and_only_what_the_ca_rejected(
    w: World, make_ca: MakeCa, clock: Clock
) -> None:
    both = support.actor("ivy", organisation=w.university, ra=RaRole.OFFICER)
    with support.backend(make_ca(Behaviour.REFUSE)):
        number, own = submit(w.alice, clock=clock).number, submit(both, clock=clock).number
    with support.backend(make_ca(Behaviour.ISSUE)):
        issued = submit(w.alice, clock=clock).number
    for action in (retry_request, poll_now):
        with pytest.raises(StateConflict):
            action(actor=w.olga, number=issued, now=clock())
    with pytest.raises(NotAuthorized):
        retry_request(actor=both, number=own, now=clock())
    with pytest.raises(StateConflict):
        retry_request(actor=w.olga, number=number, seen_version=detail(number).version - 1, now=clock())
    assert {state_of(number), state_of(own)} == {Status.REJECTED_BY_CA}


def test_r28_two_officers_sending_again_make_one_issuance(w: World, make_ca: MakeCa, clock: Clock) -> None:
    with support.backend(make_ca(Behaviour.REFUSE)):
        number = submit(w.alice, clock=clock).number
        calls = [
            partial(retry_request, actor=who, number=number, now=clock()) for who in (w.olga, w.otto) * 2
        ]
        won, refused = support.outcomes(support.together(calls))
    assert len(won) == 1
    assert {type(error) for error in refused} == {StateConflict}
    assert events_of(number).count("retry") == 1


# Asking now


def test_r24_an_officer_has_the_ca_asked_at_once(w: World, make_ca: MakeCa, clock: Clock) -> None:
    ca = make_ca(Behaviour.ACCEPT, delay=HOUR)
    with support.backend(ca):
        number = submit(w.alice, clock=clock).number
        clock.forward(59 * MINUTE)
        drive(number, clock=clock)
        clock.forward(MINUTE)
        asked = len(ca.polled)
        work(clock, seconds=1)
        assert len(ca.polled) == asked, "not due yet"
        poll_now(actor=w.olga, number=number, now=clock())
        work(clock, seconds=1)
    assert state_of(number) is Status.ISSUED
    event = AuditEvent.objects.get(action="request.poll_now")
    assert (event.user_id, event.data) == (w.olga.user_id, {"brought_forward": True})


def test_r24_asking_now_does_not_disturb_an_answer_under_way(w: World, make_ca: MakeCa, clock: Clock) -> None:
    """The lease of whoever is asking the CA at this moment is not taken away."""
    with support.backend(make_ca(Behaviour.TIMEOUT_AFTER_ACCEPTING)):
        number = submit(w.alice, clock=clock).number
        leased_until = due_at(number)
        poll_now(actor=w.olga, number=number, now=clock())
    assert due_at(number) == leased_until
    assert AuditEvent.objects.get(action="request.poll_now").data == {"brought_forward": False}


# The demo


@pytest.fixture
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("CERTDESK_DATA", str(tmp_path))
    return monkeypatch


def test_the_demo_has_the_scripted_ca_as_a_second_one_and_may_choose_it(own_data: pytest.MonkeyPatch) -> None:
    runtime = make_runtime(load_config())
    assert set(runtime.backends) == {"embedded", "scripted"}
    assert runtime.default_backend == "embedded"
    own_data.setenv("CERTDESK_DEMO_CA", "scripted")
    chosen = make_runtime(load_config())
    assert isinstance(chosen.backend(chosen.default_backend), ScriptedBackend)


def test_outside_the_demo_there_is_no_scripted_ca(own_data: pytest.MonkeyPatch, make_ca: MakeCa) -> None:
    own_data.setenv("CERTDESK_DEMO", "0")
    own_data.setenv("CERTDESK_SECRET_KEY", "s" * 48)
    own_data.setenv("CERTDESK_CA_PASSPHRASE", "p" * 48)
    config = load_config()
    assert set(make_runtime(config).backends) == {"embedded"}
    with pytest.raises(Misconfigured, match="for tests and the demo"):
        apps._refuse_scripted({"scripted": make_ca(Behaviour.ISSUE)}, config)
    own_data.setenv("CERTDESK_DEMO_CA", "scripted")
    with pytest.raises(Misconfigured, match="CERTDESK_DEMO_CA"):
        load_config()
