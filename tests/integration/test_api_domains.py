"""Domains over REST: from listing one to its proofs and deadlines, and an officer's word with the CA."""

import re
from unittest.mock import Mock

import pytest
from django.core import mail
from django.utils import timezone

from certdesk.dcv.email_challenge import normalised_code
from certdesk.domain.errors import NotFound
from certdesk.domain.issuing.certificates import Refused
from certdesk.domain.issuing.states import RequestId, Status
from certdesk.domain.validation.evidence import METHODS, Method
from certdesk.services.validation.by_email import confirm_by_email
from certdesk.store.models import AuditEvent, Domain, EmailChallenge, MethodChallenge, ValidationRecord
from tests.integration import support
from tests.integration.api_calls import Callers, body
from tests.integration.proving import Outside
from tests.integration.support import ScriptedCa, drive

DOMAIN = "lab.ac.uk"


def code_in_mail() -> str:
    found = re.findall(r"/dcv/([A-Z0-9]+)/", str(mail.outbox[-1].body))
    return normalised_code(found[0])


@pytest.fixture
def here(users: Callers) -> str:
    """The address of a domain that alice has listed."""
    made = users.alice.post("/domains", {"domain": DOMAIN})
    assert made.status == 201
    return f"/domains/{made.json['id']}"


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


def test_resending_ends_the_old_code_and_cancelling_ends_all(users: Callers, here: str) -> None:
    first = users.alice.post(f"{here}/validations", {"mailbox": f"admin@{DOMAIN}"}).json
    old = code_in_mail()
    again = users.bob.post(first["links"]["resend"].removeprefix("/api/v1"))
    assert again.status == 201
    assert again.json["id"] != first["id"]
    address = again.json["links"]["self"].removeprefix("/api/v1")
    assert [users.bob.call("DELETE", address).status for _ in range(2)] == [204, 404]
    assert users.alice.get(f"{here}/challenges").json["items"] == []
    for code in (old, code_in_mail()):
        with pytest.raises(NotFound, match="not valid"):
            confirm_by_email(code=code, remote_address="", now=timezone.now())
    assert not ValidationRecord.objects.filter(domain__adn=DOMAIN).exists()
    actions = list(AuditEvent.objects.filter(action__startswith="domain.").values_list("action", flat=True))
    assert actions[-4:] == ["domain.add", "domain.challenge", "domain.challenge", "domain.challenge_cancel"]


@pytest.mark.parametrize(
    "mailbox", [f"root@{DOMAIN}", "hostmaster@evil.example", f"admin@www.{DOMAIN}", "x" * 301, "a\r\nb"]
)
def test_no_other_mailbox_can_be_asked(users: Callers, here: str, mailbox: str) -> None:
    refused = users.alice.post(f"{here}/validations", {"mailbox": mailbox})
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "#/mailbox")
    assert not mail.outbox
    assert not EmailChallenge.objects.exists()


def test_a_challenge_is_reached_by_its_own_domain_only(users: Callers, here: str) -> None:
    other = users.alice.post("/domains", {"domain": "other-lab.ac.uk"}).json["id"]
    asked = users.alice.post(f"{here}/validations", {"mailbox": f"admin@{DOMAIN}"}).json["id"]
    for method, path in (("DELETE", f"/challenges/{asked}"), ("POST", f"/challenges/{asked}/resend")):
        assert users.alice.call(method, f"/domains/{other}{path}").status == 404


def test_officers_name_the_organisation(users: Callers) -> None:
    unnamed = users.olga.post("/domains", {"domain": DOMAIN})
    assert (unnamed.status, unnamed.json["errors"][0]["pointer"]) == (422, "#/organisation")
    named = users.olga.post("/domains", {"domain": DOMAIN, "organisation": "example-university"})
    assert (named.status, named.json["organisation"]) == (201, "Example University")
    assert users.alice.post("/domains", {"domain": DOMAIN, "organisation": "other-college"}).status == 404
    assert users.alice.post("/domains", {"domain": "not a domain"}).status == 422


def test_a_mail_that_can_not_be_sent_is_said(
    users: Callers, here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django.core.mail.EmailMessage.send", Mock(side_effect=OSError("no mail server")))
    failed = users.alice.post(f"{here}/validations", {"mailbox": f"admin@{DOMAIN}"})
    assert (failed.status, failed.json["title"]) == (503, "The mail could not be sent")
    (challenge,) = users.alice.get(f"{here}/challenges").json["items"]
    assert challenge["sent_at"] is None


def test_an_officer_sends_a_rejected_request_again(users: Callers) -> None:
    ca = ScriptedCa(answers=[Refused(reason="The account is empty."), support.signed])
    with support.backend(ca):
        number = RequestId(users.alice.post("/requests", body("www.example.ac.uk")).json["id"])
        assert drive(number, clock=timezone.now) is Status.REJECTED_BY_CA
        assert users.olga.post(f"/requests/{number}/retry", {"version": 0}).status == 409
        again = users.olga.post(f"/requests/{number}/retry", {"note": "Topped up."})
        assert (again.status, again.json["status"]) == (200, "accepted")
        assert again.json["events"][-1]["note"] == "Topped up."
        assert users.olga.post(f"/requests/{number}/retry").status == 409
        assert drive(number, clock=timezone.now) is Status.ISSUED


def test_only_what_the_ca_has_is_asked_about(users: Callers) -> None:
    number = users.alice.post("/requests", body("www.example.ac.uk")).json["id"]
    assert users.olga.post(f"/requests/{number}/poll").status == 409


@pytest.mark.parametrize("method", ["dns_txt", "dns_cname", "http_file"])
def test_what_is_published_is_found(users: Callers, net: Outside, here: str, method: str) -> None:
    made = users.alice.post(f"{here}/validations", {"method": method})
    published = made.json
    assert (made.status, published["domain"]) == (201, DOMAIN), published
    assert users.bob.get(f"{here}/publications").json["items"] == [published]
    check = published["links"]["check"].removeprefix("/api/v1")
    missed = users.alice.post(check)
    assert (missed.status, missed.json["found"]) == (200, False)
    problem = {"code": "dcv.persist.no_record", "detail": "There is no such record.", "retry": True}
    assert missed.json["problem"] == problem
    assert users.alice.post(check).status == 429
    MethodChallenge.objects.update(looked_at=None)
    net.published.add((DOMAIN, published["value"].removesuffix(".")))
    found = {"found": True, "domain": DOMAIN, "problem": None, "next_look_at": None}
    assert users.alice.post(check).json == found
    assert users.alice.get(here).json["is_validated"]
    assert users.alice.get(f"{here}/publications").json["items"] == []
    assert users.alice.post(check).status == 404


def test_a_persistent_record_and_its_end(users: Callers, net: Outside, here: str) -> None:
    made = users.alice.post(f"{here}/validations", {"method": "dns_persist", "wildcard": False})
    assert made.status == 201
    assert "policy" not in made.json["value"]
    assert made.json["line"].startswith(f"_validation-persist.{DOMAIN}. 300 IN TXT")
    net.persistent[DOMAIN] = Method.DNS_PERSIST
    published = f"{here}/publications/dns_persist"
    assert users.alice.post(f"{published}/check").json["found"]
    assert [users.alice.call("DELETE", published).status for _ in range(2)] == [204, 404]


def test_mail_still_needs_its_mailbox_and_nonsense_is_refused(
    users: Callers, net: Outside, here: str
) -> None:
    for sent in ({}, {"method": "email"}, {"method": "whois"}, {"method": "dns_txt", "extra": 1}):
        assert users.alice.post(f"{here}/validations", sent).status == 422, sent


def test_deadlines_tell_private_and_public_cas_apart(users: Callers, here: str) -> None:
    empty = users.alice.get(f"{here}/deadlines").json
    assert (empty["standing"], empty["private"], empty["public"]) == ("never", None, None)
    now = timezone.now()
    ValidationRecord.objects.create(
        domain=Domain.objects.get(adn=DOMAIN),
        method=Method.EMAIL_CONSTRUCTED,
        source=METHODS[Method.EMAIL_CONSTRUCTED].source,
        evidence={},
        validated_at=now,
        expires_at=now.replace(year=now.year + 1),
    )
    found = users.alice.get(f"{here}/deadlines").json
    assert found["standing"] == "validated"
    assert found["private"]["until"] > found["public"]["until"]
    assert "method.ends" in {flag["code"] for flag in found["flags"]}
