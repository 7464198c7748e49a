"""Domains over REST: from listing one to its proof, and an officer's word with the CA."""

import re

import pytest
from django.core import mail
from django.utils import timezone

from certdesk.dcv.email_challenge import normalised_code
from certdesk.domain.certificates import Refused
from certdesk.domain.requests import RequestId, Status
from certdesk.services.validation import confirm_by_email
from certdesk.store.models import AuditEvent, EmailChallenge, ValidationRecord
from tests.integration import support
from tests.integration.api_calls import Callers, body
from tests.integration.support import ScriptedCa, drive

pytestmark = pytest.mark.django_db(transaction=True)
DOMAIN = "lab.ac.uk"


def code_in_mail() -> str:
    found = re.findall(r"/dcv/([A-Z0-9]+)/", str(mail.outbox[-1].body))
    return normalised_code(found[0])


def listed(users: Callers) -> int:
    made = users.alice.post("/domains", {"domain": DOMAIN})
    assert made.status == 201
    return int(made.json["id"])


def test_a_domain_is_listed_asked_about_and_proven(users: Callers) -> None:
    made = users.alice.post("/domains", {"domain": f" {DOMAIN.upper()} "})
    assert made.status == 201
    assert (made.json["domain"], made.json["is_validated"]) == (DOMAIN, False)
    here = made.headers["Location"].removeprefix("/api/v1")
    assert users.bob.post("/domains", {"domain": DOMAIN}).json["id"] == made.json["id"]
    shown = users.bob.get(here).json
    assert len(shown["mailboxes"]) == 5
    mailbox = f"hostmaster@{DOMAIN}"
    assert mailbox in shown["mailboxes"]
    asked = users.alice.post(f"{here}/validations", {"mailbox": mailbox})
    assert asked.status == 201
    assert asked.json["sent_at"]
    assert code_in_mail() not in asked.content.decode()
    (challenge,) = users.bob.get(f"{here}/challenges").json["items"]
    assert (challenge["mailbox"], challenge["asked_by"]) == (mailbox, "alice")
    confirm_by_email(code=code_in_mail(), remote_address="127.0.0.1", now=timezone.now())
    proven = users.alice.get(here).json
    assert proven["is_validated"]
    assert proven["challenges"] == []
    (proof,) = users.alice.get(f"{here}/validations").json["items"]
    assert proof["source"].startswith("BR 3.2.2.4.4")


def test_resending_ends_the_old_code_and_cancelling_ends_all(users: Callers) -> None:
    domain = listed(users)
    first = users.alice.post(f"/domains/{domain}/validations", {"mailbox": f"admin@{DOMAIN}"}).json
    old = code_in_mail()
    again = users.bob.post(first["links"]["resend"].removeprefix("/api/v1"))
    assert again.status == 201
    assert again.json["id"] != first["id"]
    with pytest.raises(Exception, match="not valid"):
        confirm_by_email(code=old, remote_address="", now=timezone.now())
    address = again.json["links"]["self"].removeprefix("/api/v1")
    assert users.bob.call("DELETE", address).status == 204
    assert users.bob.call("DELETE", address).status == 404
    assert users.alice.get(f"/domains/{domain}/challenges").json["items"] == []
    with pytest.raises(Exception, match="not valid"):
        confirm_by_email(code=code_in_mail(), remote_address="", now=timezone.now())
    assert not ValidationRecord.objects.filter(domain_id=domain).exists()
    actions = list(AuditEvent.objects.filter(action__startswith="domain.").values_list("action", flat=True))
    assert actions[-4:] == ["domain.add", "domain.challenge", "domain.challenge", "domain.challenge_cancel"]


@pytest.mark.parametrize(
    "mailbox", [f"root@{DOMAIN}", "hostmaster@evil.example", f"admin@www.{DOMAIN}", "x" * 301, "a\r\nb"]
)
def test_no_other_mailbox_can_be_asked(users: Callers, mailbox: str) -> None:
    refused = users.alice.post(f"/domains/{listed(users)}/validations", {"mailbox": mailbox})
    assert refused.status == 422
    assert refused.json["errors"][0]["pointer"] == "#/mailbox"
    assert not mail.outbox
    assert not EmailChallenge.objects.exists()


def test_a_challenge_is_reached_by_its_own_domain_only(users: Callers) -> None:
    domain = listed(users)
    other = int(users.alice.post("/domains", {"domain": "other-lab.ac.uk"}).json["id"])
    asked = users.alice.post(f"/domains/{domain}/validations", {"mailbox": f"admin@{DOMAIN}"}).json
    for method, path in (("DELETE", ""), ("POST", "/resend")):
        assert users.alice.call(method, f"/domains/{other}/challenges/{asked['id']}{path}").status == 404
        assert users.charlie.call(method, f"/domains/{domain}/challenges/{asked['id']}{path}").status == 404
        assert users.rick.call(method, f"/domains/{domain}/challenges/{asked['id']}{path}").status == 403


def test_officers_name_the_organisation(users: Callers) -> None:
    unnamed = users.olga.post("/domains", {"domain": DOMAIN})
    assert (unnamed.status, unnamed.json["errors"][0]["pointer"]) == (422, "#/organisation")
    named = users.olga.post("/domains", {"domain": DOMAIN, "organisation": "example-university"})
    assert (named.status, named.json["organisation"]) == (201, "Example University")
    assert users.alice.post("/domains", {"domain": DOMAIN, "organisation": "other-college"}).status == 404
    assert users.alice.post("/domains", {"domain": "not a domain"}).status == 422


def test_a_mail_that_can_not_be_sent_is_said(users: Callers, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> int:
        raise OSError("no mail server")

    monkeypatch.setattr("django.core.mail.EmailMessage.send", refuse)
    domain = listed(users)
    failed = users.alice.post(f"/domains/{domain}/validations", {"mailbox": f"admin@{DOMAIN}"})
    assert (failed.status, failed.json["title"]) == (503, "The mail could not be sent")
    (challenge,) = users.alice.get(f"/domains/{domain}/challenges").json["items"]
    assert challenge["sent_at"] is None


def test_an_officer_sends_a_rejected_request_again(users: Callers) -> None:
    ca = ScriptedCa(answers=[Refused(reason="The account is empty."), support.signed])
    with support.backend(ca):
        number = RequestId(users.alice.post("/requests", body("www.example.ac.uk")).json["id"])
        assert drive(number, clock=timezone.now) is Status.REJECTED_BY_CA
        assert users.alice.post(f"/requests/{number}/retry").status == 403
        assert users.olga.post(f"/requests/{number}/retry", {"version": 0}).status == 409
        again = users.olga.post(f"/requests/{number}/retry", {"note": "Topped up."})
        assert (again.status, again.json["status"]) == (200, "accepted")
        assert again.json["events"][-1]["note"] == "Topped up."
        assert users.olga.post(f"/requests/{number}/retry").status == 409
        assert drive(number, clock=timezone.now) is Status.ISSUED


def test_only_what_the_ca_has_is_asked_about(users: Callers) -> None:
    number = users.alice.post("/requests", body("www.example.ac.uk")).json["id"]
    assert users.olga.post(f"/requests/{number}/poll").status == 409
    assert users.alice.post(f"/requests/{number}/poll").status == 403
