"""Pages and answers say how a certificate stands and what is to be done, each to the right readers."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from certdesk.domain.actors import Actor
from certdesk.domain.errors import InvalidInput
from certdesk.domain.issuing.revocation import RevocationReason
from certdesk.domain.issuing.states import Status
from certdesk.services.people.organisations import Evidence
from certdesk.services.requests.decisions import approve_request
from certdesk.services.revocation.revoke import revoke_certificate
from certdesk.services.validation.by_email import cancel_challenge, refresh_waiting
from certdesk.store.models import AuditEvent, Certificate, EmailChallenge, Organisation, Request
from tests.integration.api_calls import with_token
from tests.integration.support import (
    NOW,
    VETTED,
    World,
    actor,
    approve,
    ask_mailbox,
    copies,
    drive,
    organisation,
    outsider,
    seen,
    signed_in,
    state_of,
    submit,
    validated,
)

pytestmark = pytest.mark.django_db(transaction=True)  # what is refused is rolled back
PROOF = Evidence(domain="example.com", how="registry", details="The registry names them.")


def page(who: Actor, name: str, *args: object, **query: str) -> str:
    """A page as this person gets it."""
    return signed_in(who.label).get(reverse(name, args=args), query).content.decode()


@pytest.mark.parametrize(
    "ends, badge, status",
    [
        (200, 'ok">Certificate available for download', "valid"),
        (20, 'warn">Certificate expires soon', "expiring"),
        (-1, 'idle">Certificate expired', "expired"),
        (200, 'stop">Certificate revoked', "revoked"),
    ],
)
def test_the_badge_comes_from_the_certificate(w: World, ends: int, badge: str, status: str) -> None:
    number, revoked = submit(w.alice).number, status == "revoked"
    certificate = Certificate.objects.filter(request_id=number)
    certificate.update(not_before=NOW - timedelta(days=165), not_after=NOW + timedelta(days=ends))
    if revoked:
        reason = RevocationReason.KEY_COMPROMISE
        revoke_certificate(
            actor=w.alice, certificate_id=certificate.get().pk, reason=reason, note="", clock=timezone.now
        )
    shown = page(w.alice, "requests-show", number)
    assert f'<span class="pill large {badge}' in shown
    assert f'<span class="pill large {badge}' in page(w.olga, "queue-decide", number)
    for listed in ("home", "requests-list"):
        assert f'<span class="pill {badge}' in page(w.alice, listed)

    # What is over is no primary button, and nobody is told to install it.
    over = status in ("expired", "revoked")
    assert ("btn main get" in shown, 'id="install"' in shown) == (not over, not over)
    assert ('<p class="lead">Valid until' in shown) == (not over)
    assert ("by alice: the private key is no longer secret" in shown) == revoked
    assert ('<p class="lead">Expired on' in shown) == (status == "expired")

    rest = with_token(w.alice)
    told, (row,) = rest.get(f"/requests/{number}"), rest.get("/requests").json["items"]
    assert {told.json["certificate_status"], row["certificate_status"]} == {status}
    assert row["status_text"] == "Certificate available for download"
    # Time alone changes the answer, and so its tag.
    certificate.update(not_after=NOW - timedelta(days=2))
    again = rest.get(f"/requests/{number}", If_None_Match=told.headers["ETag"])
    assert again.json["certificate_status"] == ("revoked" if revoked else "expired")


def test_a_withheld_certificate_shows_nowhere(w: World) -> None:
    number = submit(w.alice).number
    Certificate.objects.filter(request_id=number).update(withheld=True)
    assert with_token(w.alice).get("/requests").json["items"][0]["certificate_status"] is None
    assert "Your certificate" not in page(w.alice, "requests-show", number)


def test_what_waits_for_its_own_people_says_so_until_they_have_acted(w: World) -> None:
    now = timezone.now()
    number, quiet = submit(w.alice, "www.other.ac.uk").number, submit(w.alice).number
    foreign = outsider()

    def needed() -> set[bool]:
        """Whether each place says so, to the applicant and to a colleague."""
        rest = with_token(w.bob)
        filtered = [row["id"] for row in rest.get("/requests?action=needed").json["items"]]
        listed = page(w.bob, "requests-list", action="needed")
        assert f'href="/requests/{quiet}/"' not in listed
        return {
            f"Request {number}: www.other.ac.uk" in page(w.bob, "home"),
            "Some requests need your attention." in page(w.alice, "home"),
            f'href="/requests/{number}/"' in listed,
            'pill warn">Action needed' in page(w.bob, "requests-list"),
            '<a class="btn main" href="#confirm-1">' in page(w.alice, "requests-show", number),
            rest.get(f"/requests/{number}").json["action_needed"],
            filtered == [number],
        }

    def ask() -> None:
        box = "hostmaster@other.ac.uk"
        ask_mailbox(w.bob, "other.ac.uk", box, now=timezone.now())

    assert needed() == {True}
    assert "<h2>Action needed</h2>" not in page(w.olga, "home")  # an officer acts in the queue
    assert "Action needed" not in page(foreign, "home")
    ask()
    assert needed() == {False}
    cancel_challenge(actor=w.bob, challenge_id=EmailChallenge.objects.get().pk, now=now)
    assert needed() == {True}
    ask()
    EmailChallenge.objects.update(created_at=now - timedelta(days=1), expires_at=now)
    refresh_waiting(now=timezone.now())
    assert needed() == {True}
    validated("other.ac.uk", of=w.university, by=w.olga)
    assert needed() == {False}
    drive(number, clock=timezone.now)
    assert (state_of(number), needed()) == (Status.ISSUED, {False})


def test_an_approval_that_leaves_a_domain_open_needs_action(w: World) -> None:
    charlie = actor("charlie", organisation=organisation("Other College", vetted=False))
    number = submit(charlie, "www.other.ac.uk").number
    assert not Request.objects.get(id=number).action_needed  # it is the officer's turn
    approve(w.olga, number)
    assert Request.objects.get(id=number).action_needed


def test_a_list_reads_its_requests_and_their_certificates_in_one_statement_each(w: World) -> None:
    copies(submit(w.alice).number, count=60)
    with CaptureQueriesContext(connection) as made:
        assert "50 shown" in page(w.alice, "requests-list")
    about = [one for one in made if "store_request" in one["sql"] or "store_certificate" in one["sql"]]
    assert len(about) == 2


def test_approving_a_first_request_vets_the_organisation_on_the_record(w: World) -> None:
    college = organisation("Other College", vetted=False)
    charlie = actor("charlie", organisation=college)
    number, second = submit(charlie, "www.example.com").number, submit(charlie, "api.example.com").number
    shown = seen(w.olga, number)["shown"]

    def approving(vetting: str) -> None:
        approve_request(actor=w.olga, number=number, shown=shown, evidence=[PROOF], vetting=vetting, now=NOW)

    with pytest.raises(InvalidInput) as refused:
        approving("  ")
    assert set(refused.value.fields) == {"vetting"}
    assert state_of(number) is Status.WAITING_FOR_APPROVAL
    assert not Organisation.objects.get(id=college).vetted_at
    assert 'name="vetting"' in page(w.olga, "queue-decide", number)

    approving(VETTED)
    event = AuditEvent.objects.get(action="organisation.vet")
    told = (event.actor, event.organisation_id, event.data)
    assert told == ("olga", college, {"evidence": VETTED, "request": number})
    about = page(w.olga, "organisations-show", "other-college")
    assert VETTED in about
    assert f"With request {number}" in about
    assert VETTED not in page(charlie, "organisations-show", "other-college")

    # Later requests ask for none, and take none.
    assert 'name="vetting"' not in page(w.olga, "queue-decide", second)
    again = seen(w.olga, second)["shown"]
    with pytest.raises(InvalidInput, match="vetted already"):
        approve_request(actor=w.olga, number=second, shown=again, vetting="Again.", now=NOW)


def test_rest_asks_for_the_vetting_too(w: World) -> None:
    charlie = actor("charlie", organisation=organisation("Other College", vetted=False))
    number, olga = submit(charlie, "www.other.ac.uk").number, with_token(w.olga)
    decision = olga.get(f"/requests/{number}/decision").json
    assert decision["vetted"] is False
    bare = olga.post(f"/requests/{number}/approve", {"shown": decision["shown"]})
    assert (bare.status, bare.json["errors"][0]["pointer"]) == (422, "#/vetting")
    full = {"shown": decision["shown"], "vetting": VETTED}
    assert olga.post(f"/requests/{number}/approve", full).status == 200
