"""The domains' pages: what lapses when, proofs and evidence, asking, validating by hand."""

from datetime import timedelta

import pytest
from django.core import mail
from django.urls import reverse
from django.utils import timezone

from certdesk.domain.actors import OrgRole, RaRole
from certdesk.domain.requests import Status
from certdesk.services.validation import add_domain
from certdesk.store.models import AuditEvent, Domain, EmailChallenge, Request, ValidationRecord
from tests.integration.support import (
    World,
    actor,
    ask_mailbox,
    organisation,
    signed_in,
    state_of,
    submit,
    validated,
)
from tests.integration.test_web_requests import shown_to

pytestmark = pytest.mark.django_db(transaction=True)
DAY = timedelta(days=1)
EVIDENCE = {"how": "registry", "evidence": "The registry names them.", "reference": "T-1"}


def domain_id(adn: str) -> int:
    return Domain.objects.get(adn=adn).pk


def test_adding_a_domain_proves_nothing_and_leads_to_asking(people: World) -> None:
    alice = signed_in("alice")
    answer = alice.post(reverse("domains-add"), {"domain": " New.AC.uk "}, follow=True)
    assert answer.status_code == 200
    made = Domain.objects.get(adn="new.ac.uk")
    assert made.organisation_id == people.university
    assert not made.validations.exists()
    assert "hostmaster@new.ac.uk" in answer.content.decode()
    for bad in ("", "ac.uk", "*.new.ac.uk", "localhost", "new ac uk"):
        refused = alice.send("domains-add", domain=bad)
        assert refused.status_code == 422, bad
        assert b"There is a problem" in refused.content
    assert AuditEvent.objects.filter(action="domain.add").count() == 1


def test_somebody_of_two_organisations_chooses_which(people: World) -> None:
    second = organisation("Second College")
    actor("alice", organisation=second, role=OrgRole.MANAGER)
    stranger = organisation("Third College")
    alice = signed_in("alice")
    assert alice.send("domains-add", domain="new.ac.uk").status_code == 422
    foreign = {"domain": "new.ac.uk", "organisation": str(stranger)}
    assert alice.post(reverse("domains-add"), foreign).status_code == 422
    alice.send("domains-add", domain="new.ac.uk", organisation=str(second))
    assert Domain.objects.get(adn="new.ac.uk").organisation_id == second


def test_r4_asking_from_the_domains_page_and_again(people: World) -> None:
    alice = signed_in("alice")
    page = reverse("domains-ask", args=[domain_id("example.ac.uk")])
    assert alice.post(page, {"mailbox": ""}).status_code == 422
    shown = alice.post(page, {"mailbox": "webmaster@example.ac.uk"}, follow=True).content.decode()
    assert "We emailed webmaster@example.ac.uk" in shown
    assert "Send again" in shown
    alice.post(page, {"mailbox": "webmaster@example.ac.uk"})
    asking = [m for m in mail.outbox if "Please confirm" in m.subject]
    assert [m.to for m in asking] == [["webmaster@example.ac.uk"]] * 2
    assert EmailChallenge.objects.filter(outcome="open").count() == 1


def test_r32_an_officer_validates_by_hand_and_again(people: World) -> None:
    add_domain(actor=people.alice, organisation_id=people.university, name="hand.org", now=timezone.now())
    page = reverse("domains-validate", args=[domain_id("hand.org")])
    assert signed_in("alice").post(page, EVIDENCE).status_code == 403
    olga = signed_in("olga")
    half = olga.post(page, {**EVIDENCE, "evidence": ""})
    assert half.status_code == 422
    assert b"Write what you saw" in half.content
    for _ in range(2):
        assert olga.post(page, EVIDENCE).status_code == 302
    records = ValidationRecord.objects.filter(domain__adn="hand.org")
    assert [r.evidence["reference"] for r in records] == ["T-1", "T-1"]
    assert {r.validated_by_id for r in records} == {people.olga.user_id}


def test_v7_evidence_is_shown_to_the_ra_and_not_to_others(people: World) -> None:
    actor("rick", ra=RaRole.AUDITOR)
    page = reverse("domains-show", args=[domain_id("example.ac.uk")])
    for name, sees in (("alice", False), ("olga", True), ("rick", True)):
        content = signed_in(name).get(page).content.decode()
        assert ("The registry names them." in content) is sees, name
        assert "Ownership checked by an RA officer" in content
        assert ("Validate by hand" in content) is (name == "olga"), name
        assert ("Mailbox to ask" in content) is (name != "rick"), name
        assert "Does not count" in content, "for public CAs"


def test_a_domains_page_lists_the_requests_that_wait_for_it(people: World) -> None:
    made = submit(people.alice, "www.fresh.ac.uk", clock=timezone.now)
    add_domain(actor=people.alice, organisation_id=people.university, name="fresh.ac.uk", now=timezone.now())
    page = signed_in("alice").page("domains-show", domain_id("fresh.ac.uk"))
    assert f"/requests/{made.number}/" in page
    other = signed_in("alice").get(reverse("domains-show", args=[domain_id("example.ac.uk")]))
    assert f"/requests/{made.number}/" not in other.content.decode()


def _waiting(*names: str) -> int:
    new = organisation("New College", vetted=False)
    return submit(actor("newton", organisation=new), *names, clock=timezone.now).number


def _approve(number: int, **body: str) -> int:
    olga = signed_in("olga")
    asked = {"shown": shown_to(olga, number), "vetting": "Known to us.", **body}
    return olga.send("queue-approve", number, **asked).status_code


def test_r31_evidence_is_optional_where_the_domains_own_people_can_confirm(people: World) -> None:
    number = _waiting("www.new.ac.uk")
    page = signed_in("olga").page("queue-decide", number)
    assert "Leave this empty to have the domain’s own people confirm by e-mail" in page
    half = {"new.ac.uk-how": "registry", "new.ac.uk-evidence": "", "new.ac.uk-reference": ""}
    assert _approve(number, **half) == 422
    assert state_of(number) is Status.WAITING_FOR_APPROVAL
    assert _approve(number, **{**half, "new.ac.uk-how": ""}) == 302
    assert state_of(number) is Status.ACCEPTED
    detail = Request.objects.values_list("detail", flat=True).get(id=number)
    assert "choose a mailbox" in detail
    assert not ValidationRecord.objects.filter(domain__adn="new.ac.uk").exists()


def test_r31_evidence_is_required_outside_the_trusted_suffixes(people: World) -> None:
    number = _waiting("www.new.org", "www.new.ac.uk")
    page = signed_in("olga").page("queue-decide", number)
    assert page.count("Leave this empty to have") == 1
    assert _approve(number) == 422
    full = {f"new.org-{name}": value for name, value in EVIDENCE.items()}
    assert _approve(number, **full) == 302
    assert state_of(number) is Status.ACCEPTED
    assert ValidationRecord.objects.filter(domain__adn="new.org").count() == 1


def test_r31_full_evidence_lets_a_request_go_on_at_once(people: World) -> None:
    number = _waiting("www.new.ac.uk")
    assert _approve(number, **{f"new.ac.uk-{name}": value for name, value in EVIDENCE.items()}) == 302
    assert state_of(number) is Status.ISSUED


def test_r31_the_officer_sees_the_checks_of_now_beside_those_of_then(people: World) -> None:
    number = _waiting("www.new.ac.uk")
    address = reverse("queue-decide", args=[number])
    olga = signed_in("olga")
    assert "What has changed since" not in olga.get(address).content.decode()
    own = Request.objects.get(id=number).organisation_id
    validated("new.ac.uk", of=own, by=people.otto)  # type: ignore[arg-type]  # a row's id
    page = olga.get(address)
    assert "What has changed since" in page.content.decode()
    now = [check.code for *_, check in (*page.context["problem_checks"], *page.context["passed_checks"])]
    assert "domain.validated" in now
    assert "domain.not_validated" not in now
    assert [check.code for *_, check in page.context["changed_checks"]] == ["domain.not_validated"]


def test_a_preview_says_that_the_domain_has_to_be_confirmed(people: World) -> None:
    from_csr = submit(people.alice, "www.fresh.ac.uk", clock=timezone.now)
    page = signed_in("alice").page("requests-show", from_csr.number)
    assert "To be confirmed." in page
    ask_mailbox(people.alice, "fresh.ac.uk", "admin@fresh.ac.uk", now=timezone.now() - 8 * DAY)
    page = signed_in("alice").page("requests-show", from_csr.number)
    assert "Expired" in page
