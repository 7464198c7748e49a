"""Rows that take long, or a look inside: the services with a clock that moves (R4, R14, R24, R34)."""

import itertools
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from django.core.mail import EmailMessage

from certdesk.backends.scripted import Behaviour, Rule, ScriptedBackend, ScriptedConfig
from certdesk.domain.actors import OrgRole, RaRole
from certdesk.domain.certificates import Intent, Outcome
from certdesk.domain.deadlines import public_deadline
from certdesk.domain.errors import InvalidInput, NotFound
from certdesk.domain.evidence import Method, Validation
from certdesk.domain.requests import RequestId, Status
from certdesk.domain.rules import RuleId, in_force
from certdesk.domain.settings import ServiceSettings, changed
from certdesk.jobs.worker import Worker
from certdesk.services import runtime
from certdesk.services.alerts import alert_overdue
from certdesk.services.reminders import remind_lapsing
from certdesk.services.requests import preview_request
from certdesk.services.validation import ask_by_email, confirm_by_email, open_challenge
from certdesk.store.models import ValidationRecord
from certdesk.store.selectors.domains import Filters, list_domains
from certdesk.store.selectors.requests import get_request
from tests.integration import support
from tests.integration.support import NOW, Clock, issuance_of, state_of, submission, submit, world

pytestmark = pytest.mark.django_db(transaction=True)
DAY, HOUR, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)
BOX = "hostmaster@dept.ac.uk"


def ask(people: support.World, mailbox: list[EmailMessage]) -> str:
    """Ask the mailbox now; the value that was mailed to it."""
    ask_by_email(
        actor=people.alice, organisation_id=people.university, name="dept.ac.uk", mailbox=BOX, now=NOW
    )
    (mail,) = [one for one in mailbox if BOX in one.to]
    found = re.search(r"/dcv/(\w+)/", str(mail.body))
    assert found
    return found[1]


def test_r04_the_mailed_value_expires_after_seven_days(mailoutbox: list[EmailMessage]) -> None:
    code = ask(world(), mailoutbox)
    last = NOW + 7 * DAY
    assert open_challenge(code=code, now=last - SECOND).mailbox == BOX
    for late in (last, last + DAY, last + 365 * DAY):
        with pytest.raises(NotFound):
            confirm_by_email(code=code, remote_address="192.0.2.1", now=late)
    assert not ValidationRecord.objects.filter(domain__adn="dept.ac.uk").exists()
    confirm_by_email(code=code, remote_address="192.0.2.1", now=last - SECOND)
    assert ValidationRecord.objects.filter(domain__adn="dept.ac.uk").exists()


def test_r04_the_setting_is_never_above_thirty_days(mailoutbox: list[EmailMessage]) -> None:
    assert ServiceSettings().challenge_days == 7
    assert changed(ServiceSettings(), {"challenge_days": 30}, now=NOW).challenge_days == 30
    for days in (31, 365, 0, -1):
        with pytest.raises(InvalidInput):
            changed(ServiceSettings(), {"challenge_days": days}, now=NOW)
    people = world()
    usual = runtime.current().settings
    longest = changed(usual, {"challenge_days": 30}, now=NOW)
    with support.configured(settings=longest):
        code = ask(people, mailoutbox)
        assert open_challenge(code=code, now=NOW + 30 * DAY - SECOND).mailbox == BOX
        with pytest.raises(NotFound):
            open_challenge(code=code, now=NOW + 30 * DAY)


def slow_ca(folder: Path, clock: Clock, *, delay: timedelta) -> ScriptedBackend:
    """A CA that acknowledges at once and issues later."""
    rule = Rule(behaviour=Behaviour.ACCEPT, delay=delay)
    config = ScriptedConfig(directory=folder, passphrase=b"x" * 20, tests_and_demo_only=True, default=rule)
    return ScriptedBackend(config, clock=clock)


def due(number: RequestId) -> datetime:
    """When the request is looked at next; that there is such a time is half of the row."""
    at = issuance_of(number).next_attempt_at
    assert at is not None, "nobody would ever look at it again"
    assert at < NOW + 60 * HOUR, "it should have ended long ago"
    return at


class NotingCa(ScriptedBackend):
    """A CA that takes the server software, as some do, and is silent when it is first asked."""

    noted: ClassVar[list[str]] = []

    def submit(self, intent: Intent) -> Outcome:
        """Note it."""
        self.noted.append(intent.server_software)
        return super().submit(intent)


def test_r14_the_server_software_is_passed_to_the_ca_whenever_it_is_asked(tmp_path: Path) -> None:
    clock, people = Clock(), world()
    rule = Rule(behaviour=Behaviour.UNAVAILABLE, tries=2)
    config = ScriptedConfig(directory=tmp_path, passphrase=b"x" * 20, tests_and_demo_only=True, default=rule)
    NotingCa.noted.clear()
    with support.backend(NotingCa(config, clock=clock)):
        number, worker = submit(people.alice, clock=clock).number, Worker(clock=clock)
        while state_of(number) is not Status.ISSUED:
            clock.now = due(number)
            worker.tick(now=clock())
    assert NotingCa.noted == ["nginx"] * 3


def test_r24_a_slow_ca_is_polled_for_more_than_a_day_with_back_off(tmp_path: Path) -> None:
    clock, people = Clock(), world()
    with support.backend(slow_ca(tmp_path, clock, delay=26 * HOUR)):
        number, worker, looks = submit(people.alice, clock=clock).number, Worker(clock=clock), [NOW]
        while state_of(number) is Status.SUBMITTED:
            clock.now = due(number)
            looks.append(clock.now)
            worker.tick(now=clock())
    assert state_of(number) is Status.ISSUED
    assert looks[-1] - NOW >= 26 * HOUR
    gaps = [later - earlier for earlier, later in itertools.pairwise(looks)]
    assert gaps == sorted(gaps), "back-off: never sooner than before"
    assert gaps[0] <= timedelta(minutes=1)
    assert gaps[-1] == timedelta(minutes=15)


def test_r24_elapsed_and_usual_time_are_shown_and_staff_alerted_after_a_day(
    tmp_path: Path, mailoutbox: list[EmailMessage]
) -> None:
    clock, people = Clock(), world()
    worker = Worker(clock=clock)
    with support.backend(slow_ca(tmp_path, clock, delay=2 * HOUR)):
        for _ in range(3):
            number = submit(people.alice, clock=clock).number
            while state_of(number) is Status.SUBMITTED:
                clock.now = due(number)
                worker.tick(now=clock())
    with support.backend(slow_ca(tmp_path, clock, delay=99 * HOUR)):
        began = clock()
        number = submit(people.alice, clock=clock).number
        while clock() < began + 2 * HOUR:
            clock.now = due(number)
            worker.tick(now=clock())
        line = get_request(actor=people.alice, number=number).detail
        assert re.search(r"Waiting for [12] hours?; this CA usually takes", line), line
        while clock() < began + 23 * HOUR:
            clock.now = due(number)
            worker.tick(now=clock())
        assert alert_overdue(now=began + 24 * HOUR - SECOND) == []
        assert alert_overdue(now=began + 24 * HOUR) == [number]
        clock.now = max(due(number), began + 24 * HOUR)
        worker.tick(now=clock())
    (mail,) = [one for one in mailoutbox if "24 hours" in one.subject]
    assert sorted(mail.to) == ["olga@example.ac.uk", "otto@example.ac.uk"]
    assert f"/requests/{number}/" in mail.body


def test_r34_ownership_is_validated_again_at_the_interval_of_the_setting() -> None:
    people = world()
    support.validated("owned.org", of=people.university, by=people.olga, at=NOW)
    record = ValidationRecord.objects.get(domain__adn="owned.org")
    assert record.expires_at - record.validated_at == 398 * DAY, "the default for private CAs"
    with support.configured(settings=changed(runtime.current().settings, {"ownership_days": 30}, now=NOW)):
        support.validated("monthly.org", of=people.university, by=people.olga, at=NOW)
    record = ValidationRecord.objects.get(domain__adn="monthly.org")
    assert record.expires_at - record.validated_at == 30 * DAY
    for days in (399, 1000, 0):
        with pytest.raises(InvalidInput):
            changed(ServiceSettings(), {"ownership_days": days}, now=NOW)


@pytest.mark.parametrize(
    "day,days", [("2026-11-01", 200), ("2027-03-14", 200), ("2027-03-15", 100), ("2029-03-15", 10)]
)
def test_r34_for_public_cas_no_proof_counts_beyond_the_legal_period_of_the_day(day: str, days: int) -> None:
    """However long the operator lets it count for private ones; a check by hand never counts there."""
    at = datetime.fromisoformat(day).replace(tzinfo=UTC)
    assert in_force(RuleId.PUBLIC_DCV_REUSE, at).value == days
    counted = 0
    for method in Method:
        proof = Validation(adn="owned.org", method=method, validated_at=at, expires_at=at + 398 * DAY)
        found = public_deadline(proof, now=at)
        if method is Method.MANUAL_OWNERSHIP:
            assert found is None
        elif found is not None:
            assert found.until - at <= days * DAY, method
            counted += found.until > at
    assert counted >= 5


def test_r34_the_list_says_what_lapses_when_for_private_and_for_public_cas(
    mailoutbox: list[EmailMessage],
) -> None:
    people = world()
    support.validated("owned.org", of=people.university, by=people.olga, at=NOW)
    confirm_by_email(code=ask(people, mailoutbox), remote_address="192.0.2.1", now=NOW)
    rows = list_domains(actor=people.alice, filters=Filters(), now=NOW + HOUR).rows
    listed = {row.adn: row.deadlines for row in rows}
    by_hand, by_mail = listed["owned.org"], listed["dept.ac.uk"]
    assert by_hand.private is not None
    assert by_hand.private.until == NOW + 398 * DAY
    assert by_hand.public is None
    assert by_mail.public is not None
    legal = in_force(RuleId.PUBLIC_DCV_REUSE, NOW).value
    assert NOW < by_mail.public.until <= NOW + legal * DAY < NOW + 398 * DAY
    ends = [row.deadlines.private.until for row in rows if row.deadlines.private]
    assert ends == sorted(ends), "what lapses next comes first"


def test_r34_a_lapsed_ownership_makes_the_next_request_manual_again() -> None:
    people = world()
    support.validated("owned.org", of=people.university, by=people.olga, at=NOW)
    lapse = NOW + 398 * DAY
    for at, expected in ((NOW, "auto"), (lapse - SECOND, "auto"), (lapse, "manual"), (lapse + DAY, "manual")):
        asked = submission(people.university, "www.owned.org")
        assert preview_request(actor=people.bob, submission=asked, now=at).decision.outcome == expected, at
    late = submit(people.bob, "www.owned.org", clock=lambda: lapse)
    assert late.status is Status.WAITING_FOR_APPROVAL
    support.validated("owned.org", of=people.university, by=people.otto, at=lapse)
    again = preview_request(
        actor=people.bob, submission=submission(people.university, "www.owned.org"), now=lapse + HOUR
    )
    assert again.decision.outcome == "auto", "validated again"


def test_r34_reminders_go_out_before(mailoutbox: list[EmailMessage], monkeypatch: pytest.MonkeyPatch) -> None:
    people = world()
    support.actor("meg", organisation=people.university, role=OrgRole.MANAGER)
    charlie = support.actor("charlie", organisation=support.organisation("Other College"))
    support.actor("rick", ra=RaRole.AUDITOR)
    support.validated("owned.org", of=people.university, by=people.olga, at=NOW + DAY)
    lapse = ValidationRecord.objects.get(domain__adn="owned.org").expires_at
    assert remind_lapsing(now=lapse - 200 * DAY) == [], "not half a year before"

    at = lapse - DAY
    monkeypatch.setattr("django.utils.timezone.now", lambda: at)
    worker = Worker(clock=lambda: at)
    worker.tick(now=at)
    worker.tick(now=at)
    about = [one for one in mailoutbox if "owned.org" in f"{one.subject}{one.body}"]
    told = {address for one in about for address in one.to}
    assert "meg@example.ac.uk" in told, "the management contact"
    assert f"{charlie.label}@example.ac.uk" not in told
