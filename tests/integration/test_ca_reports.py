"""What CAs say of themselves is asked by a worker and kept; pages wait for none of them."""

from dataclasses import dataclass
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from certdesk.conf import server
from certdesk.domain.actors import RaRole
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.issuing.certificates import Refused
from certdesk.jobs.worker import Worker
from certdesk.services.system import ca_reports
from certdesk.store.models import CaReport
from certdesk.store.selectors.cas import newest_reports
from certdesk.web.status.views import ca_works
from tests.harness.waiting import wait_until
from tests.integration.support import (
    NOW,
    Clock,
    ScriptedCa,
    World,
    actor,
    backend,
    issue,
    signed_in,
    submit,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def op(w: World) -> None:
    """The operator, who alone sees the page."""
    actor("op", ra=RaRole.OPERATOR)


@dataclass(slots=True)
class Talkative(ScriptedCa):
    """A CA whose checks say this, or break."""

    says: tuple[Check, ...] | Exception = ()
    asked: int = 0

    def check(self) -> tuple[Check, ...]:
        self.asked += 1
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


def shown(w: World) -> str:
    """The page, as the operator sees it."""
    page = signed_in("op").get(reverse("cas"))
    assert page.status_code == 200
    return page.content.decode()


def test_a_worker_asks_each_ca_every_minute_and_pages_ask_none(w: World) -> None:
    ca = Talkative(answers=[], says=(Check("backend.chain", Verdict.WARN, "The chain ends in a week."),))
    with backend(ca):
        assert ca_reports.reports_due(now=NOW)
        ca_reports.take_reports(clock=lambda: NOW)
        assert not ca_reports.reports_due(now=NOW + timedelta(seconds=59))
        assert ca_reports.reports_due(now=NOW + timedelta(seconds=60))
        text = shown(w)
        assert "The chain ends in a week." in text
        assert "Working, with a warning" in text
        signed_in("op").get(reverse("service"))
        Client().get("/status/")
    assert ca.asked == 1


def test_a_check_that_breaks_is_a_ca_that_cannot_be_used(w: World) -> None:
    with backend(Talkative(answers=[], says=RuntimeError("secret inner detail"))):
        ca_reports.take_reports(clock=lambda: NOW)
        text = shown(w)
        cache.clear()
        assert not ca_works()
    assert "Can’t be used" in text
    assert "secret inner detail" not in text


def test_only_a_day_is_kept(w: World) -> None:
    with backend(Talkative(answers=[])):
        for hours in (0, 1, 25):
            ca_reports.take_reports(clock=Clock(NOW + timedelta(hours=hours)))
        assert [row.at for row in CaReport.objects.order_by("id")] == [
            NOW + timedelta(hours=1),
            NOW + timedelta(hours=25),
        ]
        assert newest_reports(["scripted"])["scripted"].at == NOW + timedelta(hours=25)


def test_the_page_tells_what_was_issued_and_what_was_refused(w: World) -> None:
    made = submit(w.alice)
    text = shown(w)
    assert "or less; the slowest took" in text
    assert "until" in text, "the chain above the newest certificate"
    assert "Not checked yet" in text
    with backend(ScriptedCa(answers=[Refused(reason="We do not serve colleges on Fridays.")])):
        number = submit(w.alice, "www.refused.example.ac.uk").number
        issue(number, clock=Clock())
        text = shown(w)
    assert f"Request {number}" in text
    assert "We do not serve colleges on Fridays." in text
    assert made.number != number


def test_the_worker_does_it_beside_its_other_work(w: World) -> None:
    ca = Talkative(answers=[])
    with backend(ca):
        worker = Worker(clock=lambda: NOW)
        worker.tick(now=NOW)
        wait_until(lambda: CaReport.objects.filter(backend="scripted").exists(), seconds=20, what="a report")
        worker._cas.wait(seconds=20)
        worker.tick(now=NOW + timedelta(seconds=30))
        worker._cas.wait(seconds=20)
    assert ca.asked == 1


def test_a_ca_that_was_taken_out_is_told_of_no_longer(w: World) -> None:
    old = Talkative(
        answers=[], name="old", says=(Check("backend.ca_ended", Verdict.REFUSE, "It has ended."),)
    )
    with backend(old):
        ca_reports.take_reports(clock=lambda: NOW)
    told: list[str] = []
    with backend(Talkative(answers=[])):
        server._look_at_cas(told.append)
        cache.clear()
        assert ca_works()
    assert told == []
    with backend(Talkative(answers=[])):
        ca_reports.take_reports(clock=lambda: NOW + timedelta(days=2))
    assert not CaReport.objects.filter(backend="old").exists()
