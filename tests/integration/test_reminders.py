"""What lapses when: reminders before, each once, and a lapsed proof makes requests wait again."""

from datetime import datetime, timedelta

import pytest
from django.core import mail
from django_tasks_db.models import DBTaskResult

from certdesk.domain.actors import Actor
from certdesk.domain.errors import InvalidInput
from certdesk.domain.settings import changed
from certdesk.jobs import worker
from certdesk.jobs.worker import Worker
from certdesk.services.system import runtime
from certdesk.services.validation.reminders import REMINDED, remind_lapsing, step_of
from certdesk.store.models import AuditEvent, Domain, User, ValidationRecord
from tests.integration.support import (
    NOW,
    World,
    audit_problems,
    configured,
    outcomes,
    together,
    validated,
    world,
)

pytestmark = pytest.mark.django_db(transaction=True)
DAY = timedelta(days=1)
FIRST = NOW - timedelta(hours=1)  # when `world` has its domain validated


def lapses() -> datetime:
    return ValidationRecord.objects.order_by("-expires_at").values_list("expires_at", flat=True)[0]


def pass_time(monkeypatch: pytest.MonkeyPatch, now: datetime) -> list[mail.EmailMessage]:
    """One round of the worker at a time; the mail about domains that it sends."""
    mail.outbox.clear()
    monkeypatch.setattr("django.utils.timezone.now", lambda: now)
    with monkeypatch.context() as patched:
        patched.setattr(worker, "BATCH", 1000)
        one = Worker(clock=lambda: now)
        one.tick(now=now)
        one.tick(now=now)
    return [message for message in mail.outbox if "lapses" in message.subject]


def test_r34_the_steps_are_reached_one_after_the_other() -> None:
    end = NOW + 400 * DAY
    at = {
        days: step_of(expires_at=end, now=end - days * DAY) for days in (61, 60, 31, 30, 15, 14, 7, 2, 1, 0)
    }
    assert at == {61: None, 60: 60, 31: 60, 30: 30, 15: 30, 14: 14, 7: 7, 2: 7, 1: 1, 0: None}


def test_r34_reminders_go_out_before_each_once_to_managers_and_officers(
    people: World, meg: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    end, told = lapses(), []
    for days in range(62, -2, -1):
        for message in pass_time(monkeypatch, end - days * DAY + timedelta(minutes=1)):
            told.append((days, tuple(message.to)))
            assert message.body.isascii()
            domain = Domain.objects.get(adn="example.ac.uk")
            assert f"{runtime.current().base_url}/domains/{domain.pk}/" in message.body
            assert "example.ac.uk" in message.subject
    managers, officers = ("meg@example.ac.uk",), ("olga@example.ac.uk", "otto@example.ac.uk")
    steps = [60, 30, 14, 7, 1]
    assert [who for who in told if who[1] == managers] == [(days, managers) for days in steps]
    assert [who for who in told if who[1] == officers] == [(days, officers) for days in steps]
    assert AuditEvent.objects.filter(action=REMINDED).count() == len(steps)
    assert audit_problems() == []


def test_r34_without_a_manager_the_applicants_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    world()
    User.objects.filter(username="bob").update(is_active=False)
    sent = pass_time(monkeypatch, lapses() - 5 * DAY)
    assert sorted(tuple(message.to) for message in sent) == [
        ("alice@example.ac.uk",),
        ("olga@example.ac.uk", "otto@example.ac.uk"),
    ]


def test_r34_after_a_pause_only_the_step_that_holds_is_told(
    people: World, meg: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(pass_time(monkeypatch, lapses() - 10 * DAY)) == 2
    assert [e.data["days"] for e in AuditEvent.objects.filter(action=REMINDED)] == [14]
    assert pass_time(monkeypatch, lapses() - 9 * DAY) == []


def test_r34_a_fresh_proof_silences_the_rest_even_what_was_queued(
    people: World, meg: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = lapses()
    assert remind_lapsing(now=end - 5 * DAY)
    validated("example.ac.uk", of=people.university, by=people.olga, at=end - 5 * DAY)
    assert pass_time(monkeypatch, end - 4 * DAY) == []
    assert pass_time(monkeypatch, end - DAY) == []
    assert len(pass_time(monkeypatch, lapses() - 59 * DAY)) == 2


def test_r34_nobody_is_told_of_a_domain_that_a_parents_proof_outlasts(
    people: World, meg: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    validated("www.example.ac.uk", of=people.university, by=people.olga, at=NOW - 100 * DAY)
    first = ValidationRecord.objects.order_by("expires_at").values_list("expires_at", flat=True)[0]
    assert pass_time(monkeypatch, first - 5 * DAY) == []


def test_r34_many_workers_tell_once(people: World, meg: Actor) -> None:
    when = lapses() - 5 * DAY
    done, refused = outcomes(together([lambda: len(remind_lapsing(now=when))] * 6))
    assert not refused
    assert done.count(1) == 1
    assert done.count(0) == 5
    assert AuditEvent.objects.filter(action=REMINDED).count() == 1


def test_r34_the_interval_is_a_setting_within_the_legal_cap(people: World) -> None:
    usual = runtime.current().settings
    with pytest.raises(InvalidInput):
        changed(usual, {"ownership_days": "399"}, now=NOW)
    with configured(settings=changed(usual, {"ownership_days": "90"}, now=NOW)):
        validated("short.ac.uk", of=people.university, by=people.olga, at=NOW)
    record = ValidationRecord.objects.get(domain__adn="short.ac.uk")
    assert record.expires_at - record.validated_at == timedelta(days=90)


def test_an_officer_alone_gets_the_reminder_of_nothing_else(people: World, meg: Actor) -> None:
    """What was confirmed by mail is the organisation's to renew."""
    ValidationRecord.objects.update(method="email_constructed")
    remind_lapsing(now=lapses() - 5 * DAY)
    from_jobs = [
        job.args_kwargs["kwargs"]["audience"]
        for job in DBTaskResult.objects.filter(task_path__endswith="mail_lapsing")
    ]
    assert from_jobs == ["organisation"]
