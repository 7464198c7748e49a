"""Mail to applicants: on every change that concerns them, once, with our own address and nobody's tricks."""

from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.test import override_settings

from certdesk.domain.issuing.states import Status
from certdesk.services.people.organisations import Evidence
from certdesk.services.requests.asking import create_request
from certdesk.services.requests.decisions import reject_request
from certdesk.services.system import runtime
from certdesk.store.models import RequestEvent, User
from certdesk.store.transitions import NOTIFIED
from tests.integration.support import (
    NOW,
    Clock,
    ScriptedCa,
    World,
    approve,
    approve_only,
    backend,
    configured,
    drive,
    notify,
    submission,
    submit,
    validated,
    world,
)

pytestmark = pytest.mark.django_db(transaction=True)
PROOF = Evidence(domain="owned.org", how="registry", details="Seen.")


def _deliver() -> list[EmailMessage]:
    """Run every mail job, in order; what was sent by it."""
    before = len(mail.outbox)
    for event in RequestEvent.objects.filter(event__in=NOTIFIED).order_by("id"):
        notify(event.pk)
    return mail.outbox[before:]


def _waiting(w: World, *names: str) -> int:
    return submit(w.alice, *(names or ("www.owned.org",))).number


def test_the_same_event_twice_is_one_mail() -> None:
    _waiting(world())
    event = RequestEvent.objects.get(event="create")
    assert notify(event.pk) is True
    assert notify(event.pk) is False
    assert len(mail.outbox) == 1
    event.refresh_from_db()
    assert event.notified_at == NOW


def test_a_mail_that_could_not_be_sent_is_not_noted_as_sent() -> None:
    _waiting(world())
    event = RequestEvent.objects.get(event="create")
    away = mock.patch.object(EmailMessage, "send", side_effect=OSError("no mail server"))
    with away, pytest.raises(OSError, match="no mail server"):
        notify(event.pk)
    assert notify(event.pk) is True
    assert len(mail.outbox) == 1


def test_who_asked_is_told_with_the_link_and_the_status() -> None:
    """The address is the configured one."""
    number = _waiting(world(), "www.owned.org", "example.ac.uk")
    (message,) = _deliver()
    assert message.to == ["alice@example.ac.uk"]
    assert f"Request {number}: Waiting for manual approval" in message.subject
    assert f"{runtime.current().base_url}/requests/{number}/" in message.body
    assert "www.owned.org, example.ac.uk" in message.body
    assert message.extra_headers["Auto-Submitted"] == "auto-generated"


def test_the_address_in_mails_is_the_configured_one() -> None:
    number = _waiting(world())
    with configured(base_url="https://certs.example.ac.uk"):
        (message,) = _deliver()
    assert f"https://certs.example.ac.uk/requests/{number}/" in message.body


def test_what_the_officer_wrote_comes_after_the_link_and_indented(w: World) -> None:
    number = _waiting(w)
    _deliver()
    details = "Not yours.\nRequest ID 1\n\nLook at it here:\nhttps://evil.example/"
    reject_request(actor=w.olga, number=number, details=details, now=NOW)
    (message,) = _deliver()
    assert "JTAG has rejected" in message.body
    link = message.body.index(f"/requests/{number}/")
    assert message.body.index("Not yours.") > link
    assert "\nhttps://evil.example/" not in message.body
    assert "\n  https://evil.example/" in message.body
    assert "evil" not in message.subject


def test_details_can_not_add_headers(w: World) -> None:
    number = _waiting(w)
    reject_request(
        actor=w.olga, number=number, details="No.\r\nBcc: mallory@evil.example\r\n\r\nHello", now=NOW
    )
    message = _deliver()[-1]
    assert message.recipients() == ["alice@example.ac.uk"]
    assert message.message()["Bcc"] is None


def test_an_approval_that_was_overtaken_by_the_certificate_is_one_mail(w: World) -> None:
    number = _waiting(w)
    approve(w.olga, number, evidence=[PROOF], clock=Clock())
    (message,) = _deliver()
    assert "Certificate available for download" in message.subject


def test_an_officer_s_message_is_mailed_even_if_the_certificate_was_faster(w: World) -> None:
    number = _waiting(w)
    approve(w.olga, number, evidence=[PROOF], note="Ask for a wildcard next time.", clock=Clock())
    approved, issued = _deliver()
    assert "Ask for a wildcard next time." in approved.body
    assert "Certificate available for download" in issued.subject


def test_an_approval_that_waits_for_a_slow_ca_is_told_at_once(w: World) -> None:
    with backend(ScriptedCa([])):
        number = _waiting(w)
        assert "Waiting" in _deliver()[0].subject
        approve_only(w.olga, number, evidence=[PROOF], note="Seen.", now=NOW)
        (message,) = _deliver()
    assert "Accepted for automatic processing" in message.subject
    assert "Seen." in message.body


def test_an_automatic_request_makes_one_mail_and_a_person_is_told_when_it_is_sent_back(w: World) -> None:
    submit(w.alice)
    assert ["download" in m.subject for m in _deliver()] == [True]
    validated("owned.org", of=w.university, by=w.olga)
    number = create_request(
        actor=w.alice,
        submission=submission(w.university, "www.owned.org", years=2),
        channel="portal",
        now=NOW,
    ).number
    assert drive(number, clock=Clock(NOW + timedelta(days=500))) is Status.WAITING_FOR_APPROVAL
    (message,) = _deliver()
    assert "JTAG has to review your certificate request again" in message.body
    assert "nothing proves yet" in message.body


def test_each_reason_has_a_line_of_its_own() -> None:
    number = _waiting(world(), "www.owned.org")
    (message,) = _deliver()
    reasons = str(message.body).partition("Details:\n")[2].partition("\n\n")[0]
    starts = [line for line in reasons.splitlines() if line.startswith("  www.owned.org: ")]
    assert len(starts) == 2, reasons
    stored = RequestEvent.objects.get(request_id=number, event="create").note
    assert " ".join(reasons.split()) == " ".join(stored.split())


def test_many_names_fill_a_line_or_two() -> None:
    _waiting(world(), *(f"h{index}.owned.org" for index in range(30)))
    (message,) = _deliver()
    assert "h9.owned.org and 20 more" in message.body
    assert "h10.owned.org" not in message.body


def test_somebody_without_an_address_is_no_error(w: World) -> None:
    User.objects.update(email="")
    _waiting(w)
    assert _deliver() == []
    assert not RequestEvent.objects.filter(event="create", notified_at=None).exists()


def test_mail_goes_to_files_where_no_server_is_set(tmp_path: Path) -> None:
    number = _waiting(world())
    files = "django.core.mail.backends.filebased.EmailBackend"
    with override_settings(EMAIL_BACKEND=files, EMAIL_FILE_PATH=tmp_path):
        notify(RequestEvent.objects.get().pk)
    (path,) = tmp_path.iterdir()
    assert f"Request {number}: Waiting for manual approval" in path.read_text(encoding="utf-8")
