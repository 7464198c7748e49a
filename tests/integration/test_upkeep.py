"""What the worker does every few minutes: a step that breaks stops no other, a bad row no other row."""

from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.db.models import JSONField, Value
from django.utils import timezone
from django_tasks.base import TaskResultStatus
from django_tasks_db.models import DBTaskResult

from certdesk.domain.actors import OrgRole, RaRole
from certdesk.domain.validation.evidence import Method
from certdesk.jobs import worker
from certdesk.jobs.worker import DEAD_AFTER, HOUSEKEEPING_EVERY, STEPS, Worker
from certdesk.services.acme.orders import clear_orders
from certdesk.services.mail import alerts
from certdesk.services.system.operations import retry_job
from certdesk.services.validation import by_publication as validation_methods
from certdesk.services.validation import proof_warnings, reminders
from certdesk.services.validation.by_email import add_domain, refresh_waiting
from certdesk.services.validation.by_publication import start_challenge
from certdesk.services.validation.persistent import watch_record
from certdesk.store import audit, jobs
from certdesk.store.apart import apart
from certdesk.store.models import (
    AcmeOrder,
    AuditEvent,
    Domain,
    Issuance,
    MethodChallenge,
    PersistentRecord,
    Request,
    ValidationRecord,
)
from certdesk.store.selectors.operations import operations
from tests.integration.acme_support import acme_world
from tests.integration.proving import Outside
from tests.integration.support import NOW, Clock, World, actor, organisation, submit, validated, world

pytestmark = pytest.mark.django_db(transaction=True)
DAY = timedelta(days=1)


def _breaks(**_arguments: object) -> Any:  # noqa: ANN401 - stands in for whatever breaks
    raise KeyError("poison")


@pytest.mark.parametrize("broken", STEPS)
def test_a_step_that_breaks_stops_no_other_and_is_shown_until_it_works(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    op, done, now = actor("op", ra=RaRole.OPERATOR), list[str](), timezone.now()
    for name in STEPS:
        monkeypatch.setitem(STEPS, name, lambda name=name, **_now: done.append(name))
    one = Worker(clock=lambda: now)
    with mock.patch.dict(STEPS, {broken: _breaks}):
        for _round in range(2):
            one.tick(now=now)
            now += HOUSEKEEPING_EVERY
    assert sorted(done) == sorted([name for name in STEPS if name != broken] * 2)
    shown = operations(actor=op, now=now)
    assert [(job.name, job.reason) for job in shown.failed] == [(broken, "KeyError")]
    assert shown.jobs_failed == 1

    done.clear()
    retry_job(actor=op, job_id=shown.failed[0].id, now=now)
    one.tick(now=now)
    assert broken in done
    assert operations(actor=op, now=now).jobs_failed == 0


def test_a_step_that_works_again_is_no_longer_shown() -> None:
    op, now = actor("op", ra=RaRole.OPERATOR), timezone.now()
    one = Worker(clock=lambda: now)
    with mock.patch.dict(STEPS, warn_ahead=_breaks):
        one.tick(now=now)
    assert operations(actor=op, now=now).jobs_failed == 1
    one.tick(now=now + HOUSEKEEPING_EVERY)
    assert operations(actor=op, now=now).jobs_failed == 0


def test_those_that_break_are_found_among_many() -> None:
    done: list[int] = []

    def act(numbers: list[int]) -> None:
        if bad := {3, 17} & set(numbers):
            raise KeyError(min(bad))
        done.extend(numbers)

    with pytest.raises(KeyError):
        apart(list(range(40)), act)  # type: ignore[arg-type]  # a list is a sequence
    assert done == [number for number in range(40) if number not in (3, 17)]
    apart([], act)  # type: ignore[arg-type]  # as above


def test_overdue_requests_are_told_of_but_for_a_bad_one(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = [submit(w.alice, f"www{index}.example.ac.uk").number for index in range(3)]
    Request.objects.update(status="accepted")
    Issuance.objects.update(state="claimed", claimed_at=NOW, ended_at=None)
    real = alerts._deed

    def deed(awaited: alerts.Awaited, row: Request | AcmeOrder) -> audit.Deed:
        return real(awaited, row) if row.pk != numbers[0] else _breaks()

    monkeypatch.setattr(alerts, "_deed", deed)
    with pytest.raises(KeyError):
        alerts.alert_overdue(now=NOW + 2 * DAY)
    told = AuditEvent.objects.filter(action="request.overdue").values_list("object_id", flat=True)
    assert sorted(told) == sorted(str(number) for number in numbers[1:])


def test_what_breaks_for_one_ca_leaves_the_dns_to_be_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[alerts.Awaited] = []
    real = alerts._overdue

    def overdue(awaited: alerts.Awaited, **_now: object) -> object:
        asked.append(awaited)
        return _breaks() if awaited is alerts.Awaited.CA else real(awaited, now=NOW)

    monkeypatch.setattr(alerts, "_overdue", overdue)
    with pytest.raises(KeyError):
        alerts.alert_overdue(now=NOW)
    assert {alerts.Awaited.DNS, alerts.Awaited.ORDERS} <= set(asked)


def test_overdue_orders_are_told_of_but_for_a_bad_one(monkeypatch: pytest.MonkeyPatch) -> None:
    here = acme_world()
    one = here.registered()
    for _ in range(3):
        one.order("www.example.ac.uk")
    AcmeOrder.objects.update(finalized_at=NOW - 3 * DAY)
    bad, *good = AcmeOrder.objects.order_by("id").values_list("id", flat=True)
    monkeypatch.setattr(alerts, "orders_overdue", lambda *, now: AcmeOrder.objects.filter(created_at__lt=now))
    real = alerts._deed
    monkeypatch.setattr(
        alerts, "_deed", lambda awaited, row: real(awaited, row) if row.pk != bad else _breaks()
    )
    with pytest.raises(KeyError):
        alerts.alert_overdue(now=timezone.now() + 2 * DAY)
    told = AuditEvent.objects.filter(action="acme_order.overdue").values_list("object_id", flat=True)
    assert sorted(told) == sorted(map(str, good))


def test_lapsing_domains_are_told_of_but_for_a_bad_one(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one.ac.uk", "two.ac.uk"):
        validated(name, of=w.university, by=w.olga)
    until = ValidationRecord.objects.latest("id").expires_at
    bad, real = Domain.objects.get(adn="one.ac.uk").pk, reminders._audiences
    monkeypatch.setattr(
        reminders, "_audiences", lambda domain, end: real(domain, end) if domain != bad else _breaks()
    )
    with pytest.raises(KeyError):
        STEPS["remind_lapsing"](now=until - 5 * DAY)
    told = AuditEvent.objects.filter(action="domain.remind", data__days=7).values_list("object_id", flat=True)
    others = Domain.objects.exclude(id=bad).values_list("id", flat=True)
    assert sorted(told) == sorted(map(str, others))


def test_warnings_go_out_but_for_a_bad_one(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one.ac.uk", "two.ac.uk"):
        domain = add_domain(actor=w.alice, organisation_id=w.university, name=name, now=NOW)
        start_challenge(actor=w.alice, domain_id=domain, method=Method.DNS_TXT, now=NOW)
    steps: list[str] = []
    MethodChallenge.objects.filter(adn="one.ac.uk").update(adn="poison.ac.uk")
    real = audit.Deed
    monkeypatch.setattr(audit, "Deed", lambda *a, **k: _breaks() if "poison" in f"{a}{k}" else real(*a, **k))
    monkeypatch.setattr(proof_warnings, "_warn_of_sunset", lambda *, now: steps.append(str(now)))
    with pytest.raises(KeyError):
        proof_warnings.warn_ahead(now=NOW + 28 * DAY)
    told = AuditEvent.objects.get(action=proof_warnings.UNPROVEN_TOLD)
    assert told.data["adn"] == "two.ac.uk"
    assert steps


@pytest.mark.parametrize("whose", ["the same organisation", "another organisation"])
def test_second_lines_are_refreshed_but_for_a_bad_request(w: World, whose: str) -> None:
    who = w.alice
    if whose.startswith("another"):
        who = actor("carl", organisation=organisation("A College"), role=OrgRole.MANAGER)
    bad = submit(who, "www.one.ac.uk").number
    good = submit(w.alice, "www.two.ac.uk").number
    Request.objects.update(detail="")
    Request.objects.filter(id=bad).update(names=[5])
    with pytest.raises((AttributeError, TypeError)):
        refresh_waiting(now=NOW + DAY)
    assert "two.ac.uk" in Request.objects.get(id=good).detail


def test_old_orders_are_cleared_but_for_one_that_is_still_needed() -> None:
    here = acme_world()
    one = here.registered()
    for _ in range(3):
        one.order("www.example.ac.uk")
    kept, *_others = AcmeOrder.objects.order_by("id")
    submit(here.world.alice, "www.example.ac.uk")
    Issuance.objects.update(order=kept)  # of an order that was never finalized: nobody knows how
    with pytest.raises(Exception, match="protected"):
        clear_orders(now=timezone.now() + 60 * DAY)
    assert list(AcmeOrder.objects.all()) == [kept]


def test_jobs_of_dead_workers_are_taken_over_but_for_a_bad_one() -> None:
    for _ in range(3):
        jobs.enqueue("notify_applicant", due_at=NOW, event_id=0)
    DBTaskResult.objects.update(
        status=TaskResultStatus.RUNNING, started_at=timezone.now() - 2 * DEAD_AFTER, worker_ids=["dead"]
    )
    bad = DBTaskResult.objects.all()[0].id
    DBTaskResult.objects.filter(id=bad).update(worker_ids=Value(None, JSONField()))
    with pytest.raises(TypeError):
        worker.recover_dead(now=timezone.now())
    assert DBTaskResult.objects.get(status=TaskResultStatus.RUNNING).id == bad


def test_a_challenge_whose_value_is_lost_holds_up_no_other_look(net: Outside) -> None:
    """As of one made with a secret key that was taken away since."""
    here = acme_world()
    alice, uni = here.world.alice, here.world.university
    for name in ("one.ac.uk", "two.ac.uk"):
        domain = add_domain(actor=alice, organisation_id=uni, name=name, now=NOW)
        start_challenge(actor=alice, domain_id=domain, method=Method.DNS_TXT, now=NOW)
        watch_record(actor=alice, domain_id=domain, wildcard=False, now=NOW)
    MethodChallenge.objects.filter(adn="one.ac.uk").update(digest="0" * 64)
    value = validation_methods.challenge_of(MethodChallenge.objects.get(adn="two.ac.uk")).expected
    net.published.add(("two.ac.uk", value))
    clock = Clock(NOW + timedelta(minutes=2))
    one = Worker(clock=clock)
    one.lookout.tick(now=clock.now)
    one.lookout.wait(seconds=30)
    assert MethodChallenge.objects.get(adn="two.ac.uk").outcome == "confirmed"
    assert not PersistentRecord.objects.filter(looked_at=None).exists()


def test_looks_that_break_leave_persistent_records_to_be_looked_for(
    net: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world()
    domain = add_domain(actor=made.alice, organisation_id=made.university, name="one.ac.uk", now=NOW)
    watch_record(actor=made.alice, domain_id=domain, wildcard=False, now=NOW)
    monkeypatch.setattr(validation_methods, "check_due", _breaks)
    clock = Clock(NOW + timedelta(minutes=2))
    one = Worker(clock=clock)
    one.lookout.tick(now=clock.now)
    one.lookout.wait(seconds=30)
    assert net.looks
