"""Forms that come too late: each says what has changed since its page was made, and keeps what was typed."""

import re
from typing import TYPE_CHECKING

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from certdesk.domain.actors import RaRole
from certdesk.domain.issuing.certificates import Refused
from certdesk.domain.issuing.revocation import RevocationReason
from certdesk.domain.issuing.states import Status
from certdesk.services.people.organisations import Evidence
from certdesk.services.requests.asking import end_request
from certdesk.services.requests.decisions import reject_request
from certdesk.services.requests.recovery import retry_request
from certdesk.services.revocation.revoke import revoke_certificate
from certdesk.services.system import runtime
from certdesk.store.models import Certificate, FaqVersion, Organisation
from certdesk.store.selectors.settings import latest_settings
from tests.integration import support
from tests.integration.support import NOW, World, actor, approve, drive, manager, signed_in, state_of, submit
from tests.integration.test_settings import change, filled_in

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Answer

pytestmark = pytest.mark.django_db(transaction=True)  # what is refused is rolled back
OUTSIDE = "www.elsewhere.org"
RDAP = {"elsewhere.org-how": "registry", "elsewhere.org-evidence": "RDAP names them."}


def hidden(page: str) -> dict[str, str]:
    """What the page's forms carry for themselves; the last of a name counts."""
    return dict(re.findall(r'type="hidden" name="(shown|version|lines)" value="([^"]*)"', page))


def opened(officer: Client, name: str, number: int) -> dict[str, str]:
    return hidden(officer.get(reverse(name, args=[number])).content.decode())


def told(late: "Answer", *words: str) -> str:
    """The page that says what has changed since, with all these words."""
    page = late.content.decode()
    assert late.status_code == 409
    assert not [one for one in words if one not in page]
    return page


@pytest.mark.parametrize("button", ["approve", "reject"])
def test_a_decision_that_another_officer_has_made(w: World, button: str) -> None:
    actor("otto", ra=RaRole.OFFICER)
    number, otto = submit(w.alice, OUTSIDE).number, signed_in("otto")
    sent = opened(otto, "queue-decide", number)
    reject_request(actor=w.olga, number=number, details="Not theirs, says the registry.", now=NOW)
    typed = {"details": "I would rather not.", "note": "Seen in my own notes.", **RDAP}
    late = otto.post(reverse(f"queue-{button}", args=[number]), {**sent, **typed})
    page = told(
        late,
        "This request has changed since you opened the page",
        "<b>Rejected by JTAG</b> by olga",
        "Not theirs, says the registry.",
    )
    for text in (typed["details"], typed["note"], "RDAP names them."):
        assert text in page
    assert "Request confirmed</b> by" not in page.partition("What you wrote")[0], "that is no news"
    assert state_of(number) is Status.REJECTED_BY_RA


@pytest.mark.parametrize("changed", ["the policy", "the organisation"])
def test_a_decision_after_a_change_that_leaves_it_open(w: World, changed: str) -> None:
    """The form is there again, filled in, for what is true now; sent once more it works."""
    number, olga = submit(w.alice, OUTSIDE).number, signed_in("olga")
    sent = opened(olga, "queue-decide", number)
    typed = {**RDAP, "message": "Welcome."}
    if changed == "the organisation":
        Organisation.objects.update(legal_name="Example Technical University")
    else:
        change(actor("op", ra=RaRole.OPERATOR), trusted_suffixes="ac.uk\ngov.uk\nnhs.uk")
    late = olga.post(reverse("queue-approve", args=[number]), {**sent, **typed})
    page = told(
        late,
        f"<li>{changed}",
        "What you wrote is still in the form",
        ">\nRDAP names them.</textarea>",
        ">\nWelcome.</textarea>",
    )
    assert state_of(number) is Status.WAITING_FOR_APPROVAL
    again = olga.post(reverse("queue-approve", args=[number]), {**hidden(page), **typed})
    assert again.status_code == 302
    assert state_of(number) is not Status.WAITING_FOR_APPROVAL


def test_what_an_approval_lacks_keeps_what_was_typed(w: World) -> None:
    number, olga = submit(w.alice, OUTSIDE).number, signed_in("olga")
    damaged = olga.post(
        reverse("queue-approve", args=[number]), {"shown": "x", "message": "Welcome.", **RDAP}
    )
    page = damaged.content.decode()
    assert damaged.status_code == 422
    assert "What was shown to you is missing or damaged" in page
    assert "RDAP names them." in page


def test_sending_to_the_ca_again_too_late(w: World) -> None:
    actor("otto", ra=RaRole.OFFICER)
    with support.backend(support.ScriptedCa(answers=[Refused(reason="No.")])):
        number = submit(w.alice).number
        drive(number)
    assert state_of(number) is Status.REJECTED_BY_CA
    otto = signed_in("otto")
    sent = opened(otto, "requests-show", number)
    retry_request(actor=w.olga, number=number, note="Settled with them.", now=NOW)
    late = otto.post(reverse("requests-retry", args=[number]), {**sent, "note": "Let me try."})
    told(late, "<b>Tried again</b> by olga", "Settled with them.", "Let me try.")


def test_ending_what_has_ended(w: World) -> None:
    manager(w)
    number, meg = submit(w.alice).number, signed_in("meg")
    end_request(actor=w.olga, number=number, reason="The agreement is over.", now=NOW)
    late = meg.post(reverse("requests-end", args=[number]), {"reason": "Switched off."})
    told(late, "<b>Ended</b> by olga", "The agreement is over.", "Switched off.")


def test_revoking_what_was_revoked(w: World) -> None:
    submit(w.alice)
    certificate, alice = Certificate.objects.get(), signed_in("alice")
    revoke_certificate(
        actor=w.olga,
        certificate_id=certificate.pk,
        reason=RevocationReason.SUPERSEDED,
        note="",
        clock=timezone.now,
    )
    late = alice.post(
        reverse("certificates-revoke", args=[certificate.pk]),
        {"reason": "superseded", "note": "The new server has its own."},
    )
    told(
        late,
        "This certificate was revoked already.",
        "by olga: another certificate has taken its place",
        "The new server has its own.",
    )


def test_settings_keep_both_changes() -> None:
    op = actor("op", ra=RaRole.OPERATOR)
    stale = filled_in(ra="From an old page")
    change(op, challenge_days="3")
    late = signed_in("op").post(reverse("settings"), stale)
    told(
        late,
        "The settings have changed since you opened the page",
        "<b>A mailed code works for</b>: 7 days → 3 days",
    )
    form = late.context["form"]
    assert (form["ra"].value(), form["challenge_days"].value()) == ("From an old page", 3)
    assert form["version"].value() == latest_settings()[0]
    again = {**stale, "challenge_days": "3", "version": form["version"].value()}
    assert signed_in("op").post(reverse("settings"), again).status_code == 302
    runtime.refresh()
    settings = runtime.current().settings
    assert (settings.ra, settings.challenge_days) == ("From an old page", 3)


def test_a_setting_that_was_changed_by_both_keeps_what_was_typed() -> None:
    op = actor("op", ra=RaRole.OPERATOR)
    stale = filled_in(ra="Mine", ownership_days="many")
    change(op, ra="Theirs")
    late = signed_in("op").post(reverse("settings"), stale)
    assert late.status_code == 422
    assert "JTAG → Theirs" in late.content.decode()
    assert late.context["form"]["ownership_days"].value() == "many"
    late = signed_in("op").post(reverse("settings"), {**stale, "ownership_days": "30"})
    assert (late.status_code, late.context["form"]["ra"].value()) == (409, "Mine")


def test_an_entry_of_the_faq(w: World) -> None:
    otto = signed_in(actor("otto", ra=RaRole.OFFICER).label)
    edit, move = (reverse(f"help-faq-{name}", args=["wildcards"]) for name in ("edit", "act"))
    hers = {"question": "Wildcards?", "answer": "**Hers.**", "version": "0"}
    assert signed_in("olga").post(edit, hers).status_code == 302
    late = otto.post(edit, {"question": "Stars?", "answer": "His.", "version": "0"})
    told(late, "olga saved another version", "<strong>Hers.</strong>", ">\nHis.</textarea>")
    pressed = otto.post(move, {"version": "0", "way": "hide"})
    assert pressed.status_code == 409
    assert "olga changed it on" in pressed.content.decode()
    again = {"question": "Stars?", "answer": "His.", "version": late.context["form"]["version"].value()}
    assert otto.post(edit, again).status_code == 302
    assert FaqVersion.objects.filter(key="wildcards").count() == 2


def test_an_approval_by_somebody_else_meanwhile_is_named(w: World) -> None:
    actor("otto", ra=RaRole.OFFICER)
    number, otto = submit(w.alice, OUTSIDE).number, signed_in("otto")
    sent = opened(otto, "queue-decide", number)
    proof = Evidence(domain="elsewhere.org", how="registry", details="RDAP names them.")
    approve(w.olga, number, evidence=[proof])
    late = otto.post(reverse("queue-reject", args=[number]), {**sent, "details": "Too slow."})
    told(late, "<b>Approved</b> by olga", "Nothing was done", "Too slow.")
