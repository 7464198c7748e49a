"""What the RA has stopped stays stopped: a revocation ends the request, the next one waits for an officer."""

import pytest

from certdesk.domain.actors import Actor
from certdesk.domain.errors import CertdeskError, InvalidInput, NotAuthorized, PolicyRefused, StateConflict
from certdesk.domain.issuing.revocation import RevocationReason as Why
from certdesk.domain.issuing.states import State, Status
from certdesk.services.requests.another import create_another
from certdesk.services.requests.asking import end_request
from certdesk.services.requests.decisions import reject_request
from certdesk.services.revocation.revoke import revoke_certificate
from certdesk.store.models import AuditEvent, Certificate, Request, Revocation, StoppedName
from tests.harness.acme_client import make_csr
from tests.integration.acme_support import acme_world
from tests.integration.api_calls import body, callers
from tests.integration.support import (
    NOW,
    Clock,
    World,
    actor,
    approve,
    audit_problems,
    create,
    csr,
    events_of,
    manager,
    signed_in,
    state_of,
    submit,
)
from tests.integration.test_replay import differences

pytestmark = pytest.mark.django_db(transaction=True)
CODE, NAME = "names.entitlement_ended", "www.example.ac.uk"
WAITS = Status.WAITING_FOR_APPROVAL


@pytest.fixture
def w(w: World) -> World:
    manager(w)
    return w


def _who(w: World, name: str) -> Actor:
    return actor("meg", organisation=w.university) if name == "meg" else getattr(w, name)


def _revoke(who: Actor, number: int, reason: Why, *, end: bool) -> None:
    revoke_certificate(
        actor=who,
        certificate_id=Certificate.objects.get(request_id=number).pk,
        reason=reason,
        note="Ticket 5.",
        end_request=end,
        clock=Clock(),
    )


def _ended(w: World, *names: str, by: str = "olga") -> int:
    """A request with a certificate that has been ended."""
    number = submit(w.alice, *(names or (NAME,))).number
    end_request(actor=_who(w, by), number=number, reason="Ticket 5.", now=NOW)
    return number


@pytest.mark.parametrize(
    "who, reason, end, state, follows",
    [
        ("olga", Why.PRIVILEGE_WITHDRAWN, False, State.ENDED, WAITS),
        ("olga", Why.PRIVILEGE_WITHDRAWN, True, State.ENDED, WAITS),
        ("olga", Why.CESSATION_OF_OPERATION, True, State.ENDED, WAITS),
        ("meg", Why.AFFILIATION_CHANGED, True, State.ENDED, Status.ISSUED),
        ("meg", Why.CESSATION_OF_OPERATION, False, State.APPROVED, Status.ISSUED),
        ("alice", Why.AFFILIATION_CHANGED, False, State.APPROVED, Status.ISSUED),
    ],
)
def test_a_revocation_ends_the_request_or_offers_it(
    w: World, who: str, reason: Why, *, end: bool, state: State, follows: Status
) -> None:
    number = submit(w.alice, NAME).number
    _revoke(_who(w, who), number, reason, end=end)
    assert Request.objects.get(id=number).state == state
    ends = state is State.ENDED
    assert ("end" in events_of(number)) is ends
    assert AuditEvent.objects.get(action="certificate.ask_revocation").data["ends_request"] is ends
    if ends:
        assert "Ticket 5." in Request.objects.get(id=number).detail
        with pytest.raises(StateConflict):
            create_another(actor=w.alice, number=number, upload=csr(NAME), channel="portal", now=NOW)
    assert submit(w.bob, NAME).status is follows
    assert audit_problems() == []


@pytest.mark.parametrize(
    "who, reason, error, said",
    [
        ("alice", Why.CESSATION_OF_OPERATION, NotAuthorized, "Revoke it without ending the request"),
        ("meg", Why.SUPERSEDED, InvalidInput, "does not end the request"),
        ("olga", Why.KEY_COMPROMISE, InvalidInput, "does not end the request"),
    ],
)
def test_who_may_not_end_it_is_told_so_and_nothing_happens(
    w: World, who: str, reason: Why, error: type[CertdeskError], said: str
) -> None:
    number = submit(w.alice, NAME).number
    with pytest.raises(error, match=said):
        _revoke(_who(w, who), number, reason, end=True)
    assert not Revocation.objects.exists()
    assert Request.objects.get(id=number).state == State.APPROVED


def test_a_revocation_that_conflicts_ends_nothing(w: World) -> None:
    number = submit(w.alice, NAME).number
    _revoke(w.alice, number, Why.SUPERSEDED, end=False)
    with pytest.raises(StateConflict):
        _revoke(w.olga, number, Why.PRIVILEGE_WITHDRAWN, end=False)
    assert Request.objects.get(id=number).state == State.APPROVED


def test_the_page_offers_the_end_to_whoever_may(w: World) -> None:
    number = submit(w.alice, NAME).number
    address = f"/certificates/{Certificate.objects.get().pk}/revoke/"
    sent = {"reason": Why.CESSATION_OF_OPERATION.value, "end_request": "on"}
    for who, offered in (("alice", False), ("meg", True), ("olga", True)):
        assert ('name="end_request"' in signed_in(who).get(address).content.decode()) is offered
    assert signed_in("alice").post(address, sent).status_code == 403
    wrong = signed_in("meg").post(address, {**sent, "reason": Why.SUPERSEDED.value})
    assert (wrong.status_code, "does not end the request" in wrong.content.decode()) == (422, True)
    assert signed_in("meg").post(address, sent).status_code == 302
    assert Request.objects.get(id=number).state == State.ENDED


def test_rest_ends_it_and_the_next_one_waits() -> None:
    people = callers()
    made = people.alice.post("/requests", body(NAME)).json["certificates"][0]
    number = Certificate.objects.get(sha256=made["sha256"]).pk
    sent = {"reason": "cessationOfOperation", "end_request": True}
    assert people.alice.post(f"/certificates/{number}/revoke", sent).status == 403
    assert people.olga.post(f"/certificates/{number}/revoke", sent).status == 200
    waiting = people.alice.post("/requests", body(NAME)).json
    assert waiting["status"] == WAITS
    assert CODE in {check["code"] for check in waiting["checks"]}


def test_an_officers_yes_clears_the_name_and_no_other(w: World) -> None:
    ended = _ended(w, NAME, "mail.example.ac.uk")
    assert submit(w.alice, "other.example.ac.uk").status is Status.ISSUED
    number = submit(w.alice, NAME).number
    (reason,) = [check for check in Request.objects.get(id=number).checks if check["code"] == CODE]
    assert (reason["verdict"], reason["seen"]) == ("manual", f"{NAME}, request {ended}")
    approve(w.olga, number)
    assert state_of(number) is Status.ISSUED
    assert submit(w.bob, NAME).status is Status.ISSUED
    assert submit(w.bob, "mail.example.ac.uk").status is WAITS
    assert Request.objects.get(id=ended).state == State.ENDED


@pytest.mark.parametrize(
    "ended, asked",
    [("*.lab.example.ac.uk", "a.lab.example.ac.uk"), ("a.lab.example.ac.uk", "*.lab.example.ac.uk")],
)
def test_a_wildcard_is_no_way_around(w: World, ended: str, asked: str) -> None:
    _ended(w, ended)
    number = submit(w.alice, asked).number
    assert state_of(number) is WAITS
    approve(w.olga, number)
    assert state_of(number) is Status.ISSUED, "a yes is to what the officer saw"
    assert submit(w.alice, ended).status is WAITS
    assert submit(w.alice, "b.c.lab.example.ac.uk").status is Status.ISSUED


def test_an_earlier_approval_of_the_name_is_no_way_around(w: World) -> None:
    """Another standing request for the name gives none until an officer has agreed to the name again."""
    standing = submit(w.alice, NAME, "mail.example.ac.uk").number
    _ended(w, NAME)

    def another(*names: str) -> None:
        create_another(actor=w.alice, number=standing, upload=csr(*names), channel="api", now=NOW)

    with pytest.raises(PolicyRefused, match="has stopped request"):
        another(NAME)
    approve(w.olga, submit(w.alice, NAME).number)
    another(NAME)


def test_acme_waits_too_and_an_order_that_was_ready_comes_to_nothing() -> None:
    here = acme_world()
    number = submit(here.world.alice, NAME).number
    one = here.registered()
    ready = one.order(NAME).json
    _revoke(here.world.olga, number, Why.PRIVILEGE_WITHDRAWN, end=False)
    assert one.finalize(ready, make_csr(NAME)).problem == "userActionRequired"
    refused = one.order(NAME)
    assert "has stopped request" in refused.json["detail"]
    waiting = Request.objects.get(channel="acme")
    assert waiting.state == State.WAITING_FOR_APPROVAL
    approve(here.world.otto, waiting.pk)
    one.issue(NAME)


def test_an_accepted_request_that_an_officer_rejects_is_stopped_too(w: World) -> None:
    """Else the same, sent again, would be issued at once."""
    made = create(w.alice, NAME)
    version = Request.objects.get(id=made.number).version
    reject_request(actor=w.olga, number=made.number, details="No.", seen_version=version, now=NOW)
    again = submit(w.alice, NAME)
    assert again.status is WAITS
    reject_request(actor=w.olga, number=again.number, details="No.", now=NOW)
    assert StoppedName.objects.get().request_id == made.number


def test_a_replay_knows_what_was_stopped_on_the_day(w: World) -> None:
    _ended(w)
    number = submit(w.alice, NAME).number
    StoppedName.objects.all().delete()
    (found,) = [one for one in differences("[default]\nkey_types = ['RSA']") if one.number == number]
    assert (found.old.outcome, found.old.codes, found.recorded) == ("manual", (CODE,), "manual")


def test_a_managers_end_does_not_bind_the_ra(w: World) -> None:
    _ended(w, by="meg")
    assert submit(w.alice, NAME).status is Status.ISSUED
