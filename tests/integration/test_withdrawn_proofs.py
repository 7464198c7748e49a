"""What was withdrawn while a proof was on its way is judged again as the proof is recorded, by every way."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core import mail

from certdesk.domain.actors import RaRole
from certdesk.domain.errors import CertdeskError, NotAuthorized, NotFound, StateConflict
from certdesk.domain.validation.evidence import Method
from certdesk.services.people.organisations import disable_organisation, enable_organisation
from certdesk.services.validation.by_email import add_domain, confirm_by_email, open_challenge
from certdesk.services.validation.by_publication import (
    NotFoundYet,
    challenge_of,
    check_due,
    check_now,
    start_challenge,
)
from certdesk.services.validation.persistent import check_record_now, watch_due, watch_record
from certdesk.store.models import Membership, MethodChallenge, PersistentRecord, User, ValidationRecord
from tests.integration.proving import Outside
from tests.integration.support import NOW, Clock, World, ask_mailbox, validated

pytestmark = pytest.mark.django_db(transaction=True)
ADN, DAY, MINUTE = "new.ac.uk", timedelta(days=1), timedelta(minutes=1)


def disable(people: World) -> None:
    disable_organisation(
        actor=people.olga, organisation_id=people.university, reason="Closed in 2026.", now=NOW
    )


WITHDRAWALS: dict[str, Callable[[World], object]] = {
    "organisation": disable,
    "membership": lambda _: Membership.objects.filter(user__username="alice").update(is_active=False),
    "account": lambda _: User.objects.filter(username="alice").update(is_active=False),
}


def listed(people: World) -> int:
    return add_domain(actor=people.alice, organisation_id=people.university, name=ADN, now=NOW)


def by_email(people: World, net: Outside, withdraw: Callable[[], object]) -> None:
    ask_mailbox(people.alice, ADN, f"hostmaster@{ADN}")
    found = re.search(r"/dcv/([A-Z2-7]+)/", str(mail.outbox[-1].body))
    assert found
    withdraw()
    with pytest.raises(NotFound):
        open_challenge(code=found[1], now=NOW)
    with pytest.raises(NotFound):
        confirm_by_email(code=found[1], remote_address="192.0.2.7", now=NOW)


def by_record(people: World, net: Outside, withdraw: Callable[[], object], *, by_hand: bool = False) -> None:
    number = start_challenge(actor=people.alice, domain_id=listed(people), method=Method.DNS_TXT, now=NOW)
    row = MethodChallenge.objects.get(id=number)
    net.published.add((ADN, challenge_of(row).expected))
    net.meanwhile = withdraw
    clock = Clock(NOW + MINUTE)
    if by_hand:  # by a colleague who may still look
        looked = check_now(actor=people.bob, challenge_id=row.pk, clock=clock)
        assert isinstance(looked, NotFoundYet)
        assert looked.problem.code == "dcv.withdrawn"
    else:
        assert check_due(clock=clock, limit=5) == 1
    clock.forward(DAY)
    assert check_due(clock=clock, limit=5) == 0, "it is not looked for again"


def by_hand(people: World, net: Outside, withdraw: Callable[[], object]) -> None:
    by_record(people, net, withdraw, by_hand=True)


def by_persistent_record(people: World, net: Outside, withdraw: Callable[[], object]) -> None:
    watch_record(actor=people.alice, domain_id=listed(people), wildcard=True, now=NOW)
    net.persistent[ADN] = Method.DNS_PERSIST_WILDCARD
    net.meanwhile = withdraw
    clock = Clock(NOW)
    assert watch_due(clock=clock, limit=5) == 1
    clock.forward(DAY)
    assert watch_due(clock=clock, limit=5) == 0, "it is not looked for again"


@pytest.mark.parametrize("prove", [by_email, by_record, by_hand, by_persistent_record])
@pytest.mark.parametrize("withdrawn", WITHDRAWALS)
def test_who_asked_has_to_be_allowed_to_when_the_proof_is_recorded(
    people: World, net: Outside, prove: Callable[[World, Outside, Callable[[], object]], None], withdrawn: str
) -> None:
    prove(people, net, lambda: WITHDRAWALS[withdrawn](people))
    assert not ValidationRecord.objects.filter(domain__adn=ADN).exists()


def test_a_watched_record_is_the_organisations_and_pauses_with_it(people: World, net: Outside) -> None:
    """Once it was seen, it outlives whoever asked for it; a disabled organisation is not looked after."""
    domain_id = listed(people)
    watch_record(actor=people.alice, domain_id=domain_id, wildcard=True, now=NOW)
    net.persistent[ADN] = Method.DNS_PERSIST_WILDCARD
    clock = Clock(NOW)
    watch_due(clock=clock, limit=5)
    WITHDRAWALS["account"](people)
    proofs = ValidationRecord.objects.filter(domain__adn=ADN)
    clock.forward(6 * DAY)
    net.meanwhile = lambda: disable(people)
    watch_due(clock=clock, limit=5)
    assert proofs.count() == 1
    clock.forward(DAY)
    assert watch_due(clock=clock, limit=5) == 0
    with pytest.raises(StateConflict, match="disabled"):
        check_record_now(actor=people.olga, domain_id=domain_id, clock=clock)
    enable_organisation(actor=people.olga, organisation_id=people.university, reason="Open.", now=NOW)
    clock.forward(DAY)
    assert watch_due(clock=clock, limit=5) == 1
    assert proofs.count() == 2
    assert PersistentRecord.objects.get().stopped_at is None


@pytest.mark.parametrize(
    "withdraw,refusal",
    [
        (disable, StateConflict),
        (lambda _: User.objects.filter(username="otto").update(ra_role=RaRole.AUDITOR), NotAuthorized),
        (lambda _: User.objects.filter(username="otto").update(is_active=False), NotAuthorized),
    ],
    ids=["organisation", "role", "account"],
)
def test_an_officers_evidence_needs_the_officer_and_the_organisation(
    people: World, withdraw: Callable[[World], object], refusal: type[CertdeskError]
) -> None:
    withdraw(people)
    with pytest.raises(refusal):
        validated(ADN, of=people.university, by=people.otto, at=NOW)
    assert not ValidationRecord.objects.filter(domain__adn=ADN).exists()
