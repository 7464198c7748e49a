"""A CA that the file no longer names: what it has issued and what it was asked for stays in sight."""

from datetime import timedelta

import pytest
from django.urls import reverse

from certdesk.domain.actors import RaRole
from certdesk.domain.errors import OutcomeUnknown
from certdesk.domain.issuing.revocation import RevocationReason
from certdesk.domain.issuing.states import Status
from certdesk.jobs.worker import Worker
from certdesk.services.requests.confirm import submit_request
from certdesk.services.revocation.revoke import revoke_certificate
from certdesk.services.system import runtime
from certdesk.store.models import Certificate
from tests.integration.support import (
    Clock,
    FindingCa,
    World,
    actor,
    configured,
    signed,
    signed_in,
    state_of,
    submission,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def op(w: World) -> None:
    actor("op", ra=RaRole.OPERATOR)


def test_what_waits_for_a_ca_that_is_gone_is_told_to_operators(w: World) -> None:
    lost = FindingCa(
        answers=[signed, OutcomeUnknown("lost")], found=[signed], name="old", title="Old", inline=True
    )
    cas, clock = {**runtime.current().backends, "old": lost}, Clock()
    with configured(backends=cas, default_backend="old"):
        submit_request(
            actor=w.alice,
            submission=submission(w.university, "a.example.ac.uk"),
            channel="portal",
            clock=clock,
        )
        asked = submit_request(
            actor=w.alice,
            submission=submission(w.university, "b.example.ac.uk"),
            channel="portal",
            clock=clock,
        )
        assert "No longer set up" not in shown()
    assert '<li><span class="mono">old</span>: 1 certificate asked for</li>' in shown()
    revoke_certificate(
        actor=w.alice,
        certificate_id=Certificate.objects.get().pk,
        reason=RevocationReason.SUPERSEDED,
        clock=clock,
    )
    assert "1 certificate asked for, 1 revocation</li>" in shown()
    clock.forward(timedelta(minutes=1))
    Worker(clock=clock).tick(now=clock())

    # Put back, it all comes to its end.
    clock.forward(timedelta(hours=1))
    with configured(backends=cas, default_backend="old"):
        Worker(clock=clock).tick(now=clock())
        assert "No longer set up" not in shown()
    assert state_of(asked.number) == Status.ISSUED
    assert Certificate.objects.filter(revoked_at__isnull=False).count() == 1


def shown() -> str:
    """The page of CAs, as the operator sees it."""
    page = signed_in("op").get(reverse("cas"))
    assert page.status_code == 200
    return page.content.decode()
