"""Recording many looks at once: one transaction, nothing of it half, nothing lost by a crash."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from certdesk.dcv.base import Outcome
from certdesk.domain.actors import SYSTEM
from certdesk.domain.validation.evidence import Method
from certdesk.services.validation import by_publication as validation_methods
from certdesk.services.validation.by_email import add_domain
from certdesk.services.validation.by_publication import (
    LEASE,
    cancel_method_challenge,
    challenge_of,
    check_due,
    start_challenge,
    what_to_publish,
)
from certdesk.services.validation.proof_checks import record_outcomes
from certdesk.services.validation.publications import DnsRecord
from certdesk.store.models import (
    AuditEvent,
    ChallengeOutcome,
    MethodChallenge,
    ValidationAttempt,
    ValidationRecord,
)
from tests.integration.proving import NOWHERE, Outside
from tests.integration.support import NOW, Clock, World, audit_problems

pytestmark = pytest.mark.django_db(transaction=True)
MINUTE = timedelta(minutes=1)
NAMES = ("one.ac.uk", "two.ac.uk", "three.ac.uk")


class Killed(BaseException):
    """The process ends here: nothing catches it, as nothing catches a kill."""


@pytest.fixture
def begun(people: World, net: Outside) -> dict[str, int]:
    """Three challenges, of which the third is not met; all looks come back at once."""
    numbers = {}
    for name in NAMES:
        domain_id = add_domain(actor=people.alice, organisation_id=people.university, name=name, now=NOW)
        number = start_challenge(actor=people.alice, domain_id=domain_id, method=Method.DNS_TXT, now=NOW)
        made = what_to_publish(MethodChallenge.objects.get(id=number))
        assert isinstance(made, DnsRecord)
        if name != NAMES[2]:
            net.published.add((name, made.value))
        numbers[name] = number
    net.gate.set()
    return numbers


def recorded() -> tuple[int, int, int]:
    """Proofs, attempts and audit events of proofs by a look."""
    return (
        ValidationRecord.objects.filter(method=Method.DNS_TXT).count(),
        ValidationAttempt.objects.count(),
        AuditEvent.objects.filter(action="domain.validate", data__method="dns_txt").count(),
    )


def found(net: Outside) -> list[tuple[MethodChallenge, Outcome]]:
    """What the looks at all open challenges have brought."""
    rows = MethodChallenge.objects.filter(outcome=ChallengeOutcome.OPEN).order_by("id")
    return [
        (row, net.validate(challenge_of(row), network=NOWHERE, now=NOW + MINUTE))
        for row in rows.select_related("domain", "asked_by")
    ]


def keep(
    ones: list[tuple[MethodChallenge, Outcome]],
    *,
    breaks: str = "",
    error: type[BaseException] = RuntimeError,
) -> None:
    """Records them as a round does; the look at one name breaks, after it was written."""

    def record(row: MethodChallenge, outcome: Outcome) -> None:
        validation_methods._record(row, outcome, actor=SYSTEM, now=NOW + MINUTE)
        if row.adn == breaks:
            raise error("here")

    record_outcomes(ones, record)


def test_looks_that_come_together_are_one_transaction(begun: dict[str, int], net: Outside) -> None:
    ones = found(net)
    with CaptureQueriesContext(connection) as queries:
        keep(ones)
    assert sum(query["sql"].startswith("BEGIN") for query in queries.captured_queries) == 1
    assert recorded() == (2, 1, 2)
    assert audit_problems() == []


def test_a_crash_in_the_middle_leaves_nothing_half_and_loses_nothing(
    begun: dict[str, int], net: Outside
) -> None:
    """Killed after two of three were written: all are looked at again when the lease of the look is over."""
    MethodChallenge.objects.update(next_look_at=NOW + MINUTE + LEASE)
    with pytest.raises(Killed):
        keep(found(net), breaks=NAMES[1], error=Killed)
    assert recorded() == (0, 0, 0)
    assert set(MethodChallenge.objects.values_list("outcome", flat=True)) == {ChallengeOutcome.OPEN}
    assert check_due(clock=Clock(NOW + LEASE), limit=100) == 0
    assert check_due(clock=Clock(NOW + MINUTE + LEASE), limit=100) == len(NAMES)
    assert recorded() == (2, 1, 2)
    assert audit_problems() == []


def test_one_that_can_not_be_recorded_does_not_take_the_others_with_it(
    begun: dict[str, int], net: Outside
) -> None:
    keep(found(net), breaks=NAMES[0])
    assert recorded() == (1, 1, 1)
    assert MethodChallenge.objects.get(adn=NAMES[0]).outcome == ChallengeOutcome.OPEN
    assert audit_problems() == []


def test_one_that_was_cancelled_meanwhile_proves_nothing(
    begun: dict[str, int], people: World, net: Outside
) -> None:
    ones = found(net)
    cancel_method_challenge(actor=people.alice, challenge_id=begun[NAMES[0]], now=NOW)
    keep(ones)
    assert recorded() == (1, 1, 1)
    assert ValidationRecord.objects.get(method=Method.DNS_TXT).domain.adn == NAMES[1]
