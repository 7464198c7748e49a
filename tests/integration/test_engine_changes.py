"""The one engine when something changes on the way.

What is withdrawn meanwhile is the subject of `test_withdrawn_permissions.py`.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from certdesk.dcv.caa import check_caa
from certdesk.dcv.conformance import faulty
from certdesk.dcv.resolver import Status as DnsStatus
from certdesk.domain.csr.csr import read_csr
from certdesk.domain.errors import PolicyRefused, Unavailable
from certdesk.domain.issuing.states import State, Status, Work
from certdesk.domain.policy.file import read_policy
from certdesk.services.people.organisations import Evidence
from certdesk.services.requests.asking import create_request
from certdesk.services.requests.decisions import reject_request
from certdesk.services.system import runtime
from certdesk.services.system.runtime import CaaSettings
from certdesk.store.models import (
    AuditEvent,
    BlockedKey,
    Certificate,
    Issuance,
    Organisation,
    Request,
    RequestEvent,
    ValidationRecord,
)
from tests.integration.engine import CHANNELS, NAME, ORDERS, STANDING, Story, watching
from tests.integration.support import (
    NOW,
    Clock,
    World,
    approve_only,
    backend,
    configured,
    csr,
    drive,
    due,
    issuance_of,
    signed,
    submission,
    submit,
    validated,
    world,
)

pytestmark = pytest.mark.django_db(transaction=True)

BUSY = Unavailable("Busy.")


def test_an_order_under_a_request_of_people_lasts_as_long_after_a_second_try() -> None:
    """Ninety days, as its client expects, and what the CSR says of the organisation is ignored."""
    story = Story("renewal")
    with backend(watching([BUSY, signed])):
        story.ask()
        story.run()
    certificate = Certificate.objects.get(issuance=story.row)
    assert certificate.not_after - certificate.not_before <= timedelta(days=91)


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_dns_that_does_not_answer_is_awaited_for_two_days_or_for_ever(channel: str) -> None:
    story, silent = Story(channel), faulty(DnsStatus.SERVFAIL).resolver
    asks = CaaSettings(
        issuers=("ca.example",), ask=lambda question, now: check_caa(question, resolver=silent, now=now)
    )
    with backend(watching([BUSY, signed])):
        story.ask()
        rules = read_policy("version = 1\n[default]\ncaa = 'require'")
        with configured(policy=rules, caa=asks):
            for _ in range(3):
                story.step()
                assert story.row.state == Work.WAITING
            story.clock.forward(timedelta(days=3))
            story.step()
        if channel in (*STANDING, *ORDERS):
            story.expect(Work.CANCELLED, reason="CAA")
            return
        story.run()
    story.expect(Work.ISSUED)


def test_a_second_worker_does_not_cancel_what_the_first_has_referred(w: World) -> None:
    """It looked before, and comes under the lock when an officer is asked already."""
    number = _accepted(w)
    Organisation.objects.update(legal_name="Another University")
    assert drive(number) is Status.WAITING_FOR_APPROVAL
    assert drive(number) is None
    approve_only(w.olga, number)
    assert drive(number) is Status.ISSUED


def _accepted(w: World, *names: str) -> int:
    """A request for three years that policy has accepted and that nobody has handed to a CA."""
    asked = submission(w.university, *(names or (NAME,)), years=3)
    return create_request(actor=w.alice, submission=asked, channel="portal", now=NOW).number


def _forced(number: int) -> None:
    Request.objects.filter(id=number).update(
        state=State.APPROVED, status=Status.ACCEPTED, term_ends_at=NOW + timedelta(days=9)
    )
    Issuance.objects.filter(request=number).update(state=Work.WAITING, next_attempt_at=NOW, ended_at=None)


def _unapproved(w: World) -> int:
    number = submit(w.alice, "www.outside.example").number
    _forced(number)
    return number


def _rejected(w: World) -> int:
    number = submit(w.alice, "www.outside.example").number
    reject_request(actor=w.olga, number=number, details="No.", now=NOW)
    _forced(number)
    return number


def _of_another(w: World) -> int:
    one, two = _accepted(w, "a.example.ac.uk"), _accepted(w, "b.example.ac.uk")
    Issuance.objects.filter(request=one).update(csr_der=issuance_of(two).csr_der)
    Request.objects.filter(id=one).update(names=["b.example.ac.uk"])
    return one


def _with(**columns: object) -> Callable[[World], int]:
    def changed(w: World) -> int:
        number = _accepted(w)
        Request.objects.filter(id=number).update(**columns)
        return number

    return changed


def _with_csr(name: str) -> Callable[[World], int]:
    def changed(w: World) -> int:
        number = _accepted(w)
        Issuance.objects.filter(request=number).update(csr_der=read_csr(csr(name)).der)
        return number

    return changed


def _renamed(w: World) -> int:
    number = _accepted(w)
    Organisation.objects.update(legal_name="Evil University")
    return number


@pytest.mark.parametrize(
    "made, why",
    [
        (_with(names=["evil.example.ac.uk"]), "not what was approved"),
        (_with(names=["evil.example"]), "not what was approved"),
        (_with(names=[]), "not what was approved"),
        (_with(duration_years=2), "not what was approved"),
        (_with_csr("evil.example.ac.uk"), "not what was approved"),
        (_with_csr(NAME), "not what was approved"),
        (_renamed, "not what was approved"),
        (_of_another, "not what was approved"),
        (_unapproved, "Nobody has approved"),
        (_rejected, ""),
    ],
    ids=[
        *("names", "names outside", "no names", "term", "CSR", "key", "legal name"),
        *("approval of another", "no approval", "rejection"),
    ],
)
def test_what_was_not_approved_so_goes_back_to_an_officer(made: Callable[[World], int], why: str) -> None:
    number = made(world())
    assert drive(number) is Status.WAITING_FOR_APPROVAL
    assert why in Request.objects.get(id=number).detail
    assert not Certificate.objects.exists()
    row = issuance_of(number)
    assert (row.state, row.intent_key) == (Work.WAITING, None)
    assert number not in due(now=NOW + timedelta(days=9))


@pytest.mark.parametrize("names", [["evil.example.ac.uk"], ["evil.example"]])
def test_names_that_are_not_in_the_csr_are_not_signed_after_a_second_approval_either(
    w: World, names: list[str]
) -> None:
    number = _with(names=names)(w)
    drive(number)
    approve_only(w.olga, number, note="Seen.")
    assert drive(number) is not Status.ISSUED
    assert not Certificate.objects.exists()


class TestAValidationThatLapses:
    """Judged at the decision, and again at signing."""

    def test_under_a_trusted_suffix_is_awaited(self, w: World) -> None:
        number = _accepted(w)
        assert drive(number, clock=_lapsed()) is Status.ACCEPTED
        assert "Waiting for someone at example.ac.uk" in Request.objects.get().detail
        row = issuance_of(number)
        assert (row.state, row.intent_key, row.next_attempt_at) == (Work.WAITING, None, None)

    def test_elsewhere_goes_back_to_an_officer_with_a_reason_each_and_is_issued_after_a_second_look(
        self,
    ) -> None:
        w, late = world(), _lapsed()
        validated("outside.example", of=w.university, by=w.olga)
        number = _accepted(w, "www.outside.example")
        assert drive(number, clock=late) is Status.WAITING_FOR_APPROVAL
        first, second = RequestEvent.objects.get(request=number, event="refer").note.splitlines()
        assert f"{first} {second}" == Request.objects.get().detail
        refer = AuditEvent.objects.get(action="request.refer")
        assert refer.data["codes"] == ["domain.not_validated", "names.outside_trusted_suffix"]
        again = Evidence(domain="outside.example", how="registry", details="Looked it up again.")
        approve_only(w.olga, number, evidence=[again], now=late.now)
        assert drive(number, clock=late) is Status.ISSUED
        assert ValidationRecord.objects.filter(request=number).count() == 1

    def test_a_moment_later_is_enough(self) -> None:
        number = _accepted(world())
        end: datetime = ValidationRecord.objects.get().expires_at
        assert drive(number, clock=Clock(end - timedelta(seconds=1))) is Status.ISSUED


def _lapsed() -> Clock:
    return Clock(NOW + timedelta(days=runtime.current().ownership_days))


def test_an_officer_can_not_approve_a_blocked_key(w: World) -> None:
    number = _accepted(w)
    BlockedKey.objects.create(spki_sha256=issuance_of(number).spki_sha256, reason="found", at=NOW)
    assert drive(number) is Status.WAITING_FOR_APPROVAL
    assert "compromised" in Request.objects.get().detail
    with pytest.raises(PolicyRefused):
        approve_only(w.olga, number, note="Whatever.")
