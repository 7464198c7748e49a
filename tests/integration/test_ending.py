"""Ending a request: who may, in the portal and over REST, and that nothing follows by any channel."""

import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.urls import reverse

from certdesk.services.requests.asking import end_request
from certdesk.services.revocation.revoke import mail_revocation
from certdesk.store.models import Certificate, Request
from tests.harness.acme_client import AcmeClient, make_csr
from tests.integration.acme_support import AcmeWorld
from tests.integration.api_calls import Callers, body
from tests.integration.support import (
    NOW,
    World,
    audit_problems,
    csr,
    events_of,
    listed_numbers,
    manager,
    notify,
    signed_in,
    submit,
    validated,
)

pytestmark = pytest.mark.django_db(transaction=True)
NAME = "www.example.ac.uk"
WHY = "The server is switched off."


def issued(users: Callers) -> int:
    """A request of alice's with a certificate."""
    return int(users.alice.post("/requests", body(NAME)).json["id"])


@pytest.mark.parametrize("who", ["meg", "olga"])
def test_after_it_no_certificate_follows_over_rest(users: Callers, who: str) -> None:
    number, caller = issued(users), getattr(users, who)
    here = f"/requests/{number}"
    assert caller.post(f"{here}/end", {}).status == 422
    assert caller.post(f"{here}/end", {"reason": " "}).status == 422
    tag = users.alice.get(here).headers["ETag"]
    assert caller.post(f"{here}/end", {"reason": WHY}, If_Match='"99"').status == 412
    assert caller.post(f"{here}/end", {"reason": WHY, "version": 99}).status == 409
    ended = caller.post(f"{here}/end", {"reason": WHY}, If_Match=tag)
    assert (ended.status, ended.json["status"], ended.json["detail"]) == (200, "issued", WHY)
    assert (ended.json["state"], ended.json["status_text"]) == ("ended", "Ended")
    (line,) = caller.get("/requests?status=ended").json["items"]
    assert (line["state"], line["status_text"]) == ("ended", "Ended")
    assert ended.json["entitled_until"] is None
    further = users.alice.post(f"{here}/certificates", {"csr": csr(NAME).decode()})
    assert (further.status, further.json["code"]) == (409, "request.not_entitled")
    assert users.alice.get(f"{here}/bundle.zip").status == 200, "what is there stays"
    assert caller.post(f"{here}/end", {"reason": WHY}).status == 409


def test_the_page_asks_first_and_the_applicant_is_told(w: World) -> None:
    manager(w)
    number = submit(w.alice, NAME).number
    page, address = (reverse(f"requests-{name}", args=[number]) for name in ("show", "end"))
    for who, offered in (("meg", True), ("olga", True), ("alice", False)):
        client = signed_in(who)
        assert (address in client.get(page).content.decode()) is offered
        assert ("End request</button>" in client.get(address).content.decode()) is offered
    meg = signed_in("meg")
    assert meg.post(address, {"reason": ""}).status_code == 422
    assert events_of(number)[-1] != "end"
    assert meg.post(address, {"reason": WHY}).status_code == 302
    assert events_of(number)[-1] == "end"

    alice = signed_in("alice")
    shown = alice.get(page).content.decode()
    assert '<span class="pill large idle">Ended</span>' in shown
    assert "pill large ok" not in shown
    assert "<p>meg ended it on <time" in shown
    assert WHY in shown
    assert f'<a href="{reverse("requests-new")}">make a new request</a>' in shown
    assert reverse("requests-another", args=[number]) not in shown
    assert alice.send("requests-another", number, csr_text=csr(NAME).decode()).status_code == 403
    assert "End request</button>" not in meg.get(address).content.decode()
    assert meg.post(address, {"reason": WHY}).status_code == 409
    assert Certificate.objects.count() == 1
    assert audit_problems() == []


def test_the_list_shows_and_finds_what_has_ended(w: World) -> None:
    number, other, waiting = (submit(w.alice, name).number for name in (NAME, NAME, "www.elsewhere.org"))
    end_request(actor=w.olga, number=number, reason=WHY, now=NOW)
    alice, address = signed_in("alice"), reverse("requests-list")

    def listed(**query: str) -> tuple[list[int], str]:
        page = alice.get(address, query)
        return listed_numbers(page.content), page.content.decode()

    found, text = listed()
    assert found == [waiting, other, number]
    assert text.count('<span class="pill idle">Ended</span>') == 1
    found, text = listed(status="ended")
    assert found == [number]
    assert '<option value="ended" selected>Ended</option>' in text
    cells = [line.split(",") for line in b"".join(alice.get(reverse("requests-csv"))).decode().splitlines()]
    assert [cell[3] for cell in cells if cell[0] == str(number)] == ["Ended"]
    Certificate.objects.filter(request_id=number).update(revoked_at=NOW)
    assert text.count("Certificate revoked") == 0
    assert listed(status="ended")[1].count('<span class="pill stop">Certificate revoked</span>') == 1


def test_a_revocation_that_ends_the_request_says_so_in_plain_words(w: World) -> None:
    number = submit(w.alice, NAME).number
    client, certificate = signed_in("olga"), Certificate.objects.get()
    address = reverse("certificates-revoke", args=[certificate.pk])
    asks = client.get(address).content.decode()
    assert asks.count("The request ends as well: no certificate follows under it.") == 1
    assert asks.count("You can also end the request, below.") == 2
    applicant = signed_in("alice").get(address).content.decode()
    assert "also end the request" not in applicant, "she may not"
    answer = client.post(address, {"reason": "privilegeWithdrawn", "note": "See the letter."})
    assert answer.status_code == 302
    page = signed_in("alice").page("requests-show", number)
    assert "Its certificate is being revoked: the holder broke the rules. See the letter." in page
    for line in Request.objects.get(id=number).events.filter(event="end"):
        notify(line.pk)
    mail_revocation(revocation_id=certificate.revocations.get().pk, now=NOW)
    sent = [f"{message.subject}\n{message.body}" for message in mail.outbox]
    assert any(text.startswith(f"[Certdesk] Request {number}: Ended\n") for text in sent)
    assert any("The holder broke the rules" in text for text in sent)
    assert not [text for text in [*sent, page] if "privilegeWithdrawn" in text]


def test_the_mail_says_why(w: World, mailoutbox: list[EmailMessage]) -> None:
    number = submit(w.alice, NAME).number
    end_request(actor=w.olga, number=number, reason=WHY, now=NOW)
    line = Request.objects.get(id=number).events.latest("id")
    assert notify(line.pk)
    (message,) = mailoutbox
    assert (message.to, message.subject) == (["alice@example.ac.uk"], f"[Certdesk] Request {number}: Ended")
    assert "make a new request" in " ".join(str(message.body).split())
    assert WHY in message.body


def test_after_it_no_certificate_follows_by_acme(here: AcmeWorld, one: AcmeClient) -> None:
    validated("example.org", of=here.world.university, by=here.world.olga)
    number = submit(here.world.alice, "www.example.org").number
    ready = one.order("www.example.org").json
    end_request(actor=here.world.olga, number=number, reason=WHY, now=NOW)
    assert one.finalize(ready, make_csr("www.example.org")).refusal == (403, "userActionRequired")
    assert Certificate.objects.filter(request_id=number).count() == 1
