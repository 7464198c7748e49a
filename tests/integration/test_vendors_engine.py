"""The thin clients under the one engine: from a request to a certificate, and to its revocation."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certdesk.backends.base import Backend
from certdesk.domain.issuing.certificates import certificate_facts
from certdesk.domain.issuing.revocation import RevocationReason
from certdesk.domain.issuing.states import RequestId, Status, Work
from certdesk.services.requests.asking import create_request
from certdesk.services.revocation.revoke import Progress, drive_revocation, revoke_certificate
from certdesk.store.models import Certificate, Revocation
from tests.harness.vendors.stand_in import Fault
from tests.integration import support
from tests.integration.support import Clock, World, issuance_of, submission
from tests.integration.vendors_support import FINDING, KINDS, ORDERS, Vendor, vendor

pytestmark = pytest.mark.django_db(transaction=True)
NAME = "www.example.ac.uk"


@pytest.fixture(params=KINDS)
def one(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Vendor]:
    with vendor(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock(now=datetime.now(UTC))


def asked(w: World, ca: Backend, clock: Clock) -> RequestId:
    """A request, put to the CA once."""
    with support.backend(ca):
        sent = submission(w.university, NAME)
        made = create_request(actor=w.alice, submission=sent, channel="portal", now=clock())
        support.drive(made.number, clock=clock)
    return made.number


def later(number: RequestId, ca: Backend, clock: Clock, *, by: timedelta) -> Status:
    clock.forward(by)
    with support.backend(ca):
        support.drive(number, clock=clock)
    return support.state_of(number)


def test_a_request_gets_its_certificate_once_somebody_has_approved_it(
    w: World, one: Vendor, clock: Clock
) -> None:
    one.server.approves = False
    ca = one.backend()
    number = asked(w, ca, clock)
    assert issuance_of(number).state == Work.SUBMITTED
    assert later(number, ca, clock, by=timedelta(minutes=1)) == Status.SUBMITTED
    one.server.issue(one.server.orders[0])
    assert later(number, ca, clock, by=timedelta(hours=1)) == Status.ISSUED
    assert certificate_facts(bytes(Certificate.objects.get().der)).names == (NAME,)


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.FAILED, Fault.GARBAGE])
def test_a_lost_answer_is_settled_by_the_ca_or_by_an_officer(
    w: World, one: Vendor, clock: Clock, fault: Fault
) -> None:
    one.server.faults[ORDERS[one.kind]].append(fault)
    number = asked(w, one.backend(), clock)
    assert issuance_of(number).state == Work.CLAIMED
    for pause in (timedelta(seconds=20), timedelta(hours=1), timedelta(days=3)):
        status = later(number, one.backend(), clock, by=pause)
        if one.kind in FINDING:
            assert status == Status.ISSUED
            break
        assert issuance_of(number).state == Work.CLAIMED
    assert len(one.server.orders) == 1


def test_what_was_certified_for_another_name_is_withheld(w: World, one: Vendor, clock: Clock) -> None:
    one.server.certifies = ["www.example.org"]
    ca = one.backend()
    number = asked(w, ca, clock)
    assert later(number, ca, clock, by=timedelta(minutes=1)) == Status.REJECTED_BY_CA
    (revocation,) = Revocation.objects.all()
    with support.backend(ca):
        drive_revocation(revocation_id=revocation.pk, clock=clock)
    assert one.server.orders[0].is_revoked is (one.kind in FINDING)


def test_a_revocation_that_is_only_requested_is_not_reported_as_done(
    w: World, tmp_path: Path, clock: Clock
) -> None:
    with vendor("digicert", tmp_path) as one:
        ca = one.backend(skip_approval=False)
        number = asked(w, ca, clock)
        assert later(number, ca, clock, by=timedelta(minutes=1)) == Status.ISSUED
        certificate = Certificate.objects.get()
        with support.backend(ca):
            which, reason = certificate.pk, RevocationReason.SUPERSEDED
            asking = revoke_certificate(actor=w.alice, certificate_id=which, reason=reason, clock=clock)
            assert asking is Progress.PENDING
            (revocation,) = Revocation.objects.all()
            for _again in range(2):
                assert drive_revocation(revocation_id=revocation.pk, clock=clock) is Progress.PENDING
                clock.forward(timedelta(minutes=20))
            revocation.refresh_from_db()
            assert "has to approve it" in revocation.detail
            assert Certificate.objects.get().revoked_at is None
            one.server.orders[0].status = "revoked"
            assert drive_revocation(revocation_id=revocation.pk, clock=clock) is Progress.REVOKED
        assert Certificate.objects.get().revoked_at == clock()
        assert len(one.server.paths("PUT")) == 1
