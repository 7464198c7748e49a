"""Ending a request: who may, in the portal and over REST, and that nothing follows by any channel."""

import pytest
from django.urls import reverse

from certdesk.domain.actors import OrgRole, RaRole
from certdesk.services.requests import end_request
from certdesk.store.models import Certificate, Request
from tests.harness.acme_client import make_csr
from tests.integration.acme_support import AcmeWorld, acme_world
from tests.integration.api_calls import Callers, body, callers
from tests.integration.support import (
    NOW,
    actor,
    audit_problems,
    csr,
    events_of,
    notify,
    organisation,
    signed_in,
    submit,
    validated,
    world,
)

pytestmark = pytest.mark.django_db(transaction=True)
NAME = "www.example.ac.uk"
WHY = "The server is switched off."


@pytest.fixture
def people() -> Callers:
    return callers()


def issued(people: Callers) -> int:
    """A request of alice's with a certificate."""
    number: int = people.alice.post("/requests", body(NAME)).json["id"]
    return number


@pytest.mark.parametrize("who", ["meg", "olga"])
def test_after_it_no_certificate_follows_over_rest(people: Callers, who: str) -> None:
    number, caller = issued(people), getattr(people, who)
    here = f"/requests/{number}"
    assert caller.post(f"{here}/end", {}).status == 422
    assert caller.post(f"{here}/end", {"reason": " "}).status == 422
    tag = people.alice.get(here).headers["ETag"]
    assert caller.post(f"{here}/end", {"reason": WHY}, If_Match='"99"').status == 412
    assert caller.post(f"{here}/end", {"reason": WHY, "version": 99}).status == 409
    ended = caller.post(f"{here}/end", {"reason": WHY}, If_Match=tag)
    assert (ended.status, ended.json["status"], ended.json["detail"]) == (200, "issued", WHY)
    assert ended.json["entitled_until"] is None
    further = people.alice.post(f"{here}/certificates", {"csr": csr(NAME).decode()})
    assert (further.status, further.json["code"]) == (409, "request.not_entitled")
    assert people.alice.get(f"{here}/bundle.zip").status == 200, "what is there stays"
    assert caller.post(f"{here}/end", {"reason": WHY}).status == 409


def test_an_applicant_ends_nothing_and_a_stranger_sees_nothing(people: Callers) -> None:
    number = issued(people)
    for who, status in ((people.alice, 403), (people.bob, 403), (people.rick, 403), (people.charlie, 404)):
        assert who.post(f"/requests/{number}/end", {"reason": WHY}).status == status
    assert Request.objects.get(id=number).state == "approved"


def test_the_page_asks_first_and_the_applicant_is_told() -> None:
    w = world()
    actor("meg", organisation=w.university, role=OrgRole.MANAGER)
    actor("boss", organisation=organisation("Other College"), role=OrgRole.MANAGER)
    actor("rick", ra=RaRole.AUDITOR)
    number = submit(w.alice, NAME).number
    page, address = (reverse(f"requests-{name}", args=[number]) for name in ("show", "end"))
    for who, status, offered in (("meg", 302, True), ("olga", 302, True), ("alice", 403, False)):
        client = signed_in(who)
        assert (address in client.get(page).content.decode()) is offered
        assert ("End request</button>" in client.get(address).content.decode()) is offered
        if status == 403:
            assert client.post(address, {"reason": WHY}).status_code == status
    assert signed_in("rick").post(address, {"reason": WHY}).status_code == 403
    assert signed_in("boss").get(address).status_code == signed_in("boss").post(address).status_code == 404
    meg = signed_in("meg")
    assert meg.post(address, {"reason": ""}).status_code == 422
    assert events_of(number)[-1] != "end"
    assert meg.post(address, {"reason": WHY}).status_code == 302
    assert events_of(number)[-1] == "end"

    alice = signed_in("alice")
    shown = alice.get(page).content.decode()
    assert WHY in shown
    assert reverse("requests-another", args=[number]) not in shown
    another = reverse("requests-another", args=[number])
    assert alice.post(another, {"csr_text": csr(NAME).decode()}).status_code == 403
    assert "End request</button>" not in meg.get(address).content.decode()
    assert meg.post(address, {"reason": WHY}).status_code == 409
    assert Certificate.objects.count() == 1
    assert audit_problems() == []


def test_the_mail_says_why(mailoutbox: list[object]) -> None:
    w = world()
    number = submit(w.alice, NAME).number
    end_request(actor=w.olga, number=number, reason=WHY, now=NOW)
    line = Request.objects.get(id=number).events.latest("id")
    assert notify(line.pk)
    (message,) = mailoutbox
    assert message.to == ["alice@example.ac.uk"]  # type: ignore[attr-defined]  # an e-mail of Django's
    assert WHY in message.body  # type: ignore[attr-defined]  # as above


def test_after_it_no_certificate_follows_by_acme() -> None:
    here: AcmeWorld = acme_world()
    validated("example.org", of=here.world.university, by=here.world.olga)
    number = submit(here.world.alice, "www.example.org").number
    one = here.registered()
    ready = one.order("www.example.org").json
    end_request(actor=here.world.olga, number=number, reason=WHY, now=NOW)
    refused = one.finalize(ready, make_csr("www.example.org"))
    assert (refused.status, refused.problem) == (403, "userActionRequired")
    assert Certificate.objects.filter(request_id=number).count() == 1
