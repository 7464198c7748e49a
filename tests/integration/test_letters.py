"""Every mail looks alike: lines that fit, links whole, others' words indented, whom to ask (RFC 3676)."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.core import mail
from django.core.mail import EmailMessage

from certdesk.domain.issuing.states import Status
from certdesk.domain.settings import changed
from certdesk.services.mail import compose as letters
from certdesk.services.mail.account import Occasion, mail_account, mail_reset
from certdesk.services.mail.alerts import Awaited, mail_officers
from certdesk.services.requests.decisions import reject_request
from certdesk.services.system import runtime
from certdesk.services.validation.reminders import Audience, mail_lapsing
from certdesk.store.models import Domain, Request, RequestEvent, User
from certdesk.store.transitions import NOTIFIED
from tests.integration.support import NOW, World, ask_mailbox, configured, manager, notify, submit, world

pytestmark = pytest.mark.django_db(transaction=True)
LONG = "The registrar’s data names another holder, and the letter that we were sent is not signed. " * 3
URL = "https://registry.example/" + "path/" * 20


@pytest.fixture
def people() -> Iterator[World]:
    contact = changed(runtime.current().settings, {"ra_contact": "jtag@ra.example.ac.uk"}, now=NOW)
    with configured(settings=contact):
        yield world()


def every_mail(people: World) -> list[EmailMessage]:
    """One of each kind, about long names and with much to say."""
    long = "a-rather-long-name.for-a-faculty"
    manager(people)
    number = submit(people.alice, *(f"h{n}.{long}.owned.org" for n in range(12))).number
    reject_request(actor=people.olga, number=number, details=f"{LONG}\n\n{URL}\n  one\n  two", now=NOW)
    submit(people.alice, f"www.{long}.proven.ac.uk")
    ask_mailbox(people.alice, f"www.{long}.proven.ac.uk", "hostmaster@proven.ac.uk")
    for event in RequestEvent.objects.filter(event__in=NOTIFIED).order_by("id"):
        notify(event.pk)
    alice = User.objects.get(username="alice")
    mail_reset(alice)
    alice.must_change_password = True
    alice.save()
    for occasion in Occasion:
        mail_account(user_id=alice.pk, occasion=occasion, by="olga", now=NOW)
    domain = Domain.objects.select_related("organisation").get(adn="example.ac.uk")
    Request.objects.filter(id=number).update(status=Status.ACCEPTED, detail=LONG)
    for what in (Awaited.CA, Awaited.DNS):
        assert mail_officers(numbers=[number], awaited=what)
    until = domain.validations.latest("expires_at").expires_at
    for who in Audience:
        week_before = until - timedelta(days=7)
        assert mail_lapsing(domain_id=domain.pk, expires_at=until, audience=who, now=week_before)
    return list(mail.outbox)


def test_lines_fit_and_links_stay_whole(people: World) -> None:
    sent = every_mail(people)
    assert len(sent) > 10
    for one in sent:
        body = str(one.body)
        assert one.subject.startswith("[Certdesk] ")
        for line in body.splitlines():
            assert len(line) <= 78 or " " not in line.strip(), (one.subject, line)
            assert line == line.rstrip() or line == "-- ", (one.subject, line)
        assert "\n\n\n" not in body, one.subject
        base = re.escape(runtime.current().base_url)
        assert re.search(rf"^{base}/\S*$|  {base}/$", body, re.MULTILINE), f"{one.subject}: no link"


def test_every_mail_says_who_sends_it_and_whom_to_ask(people: World) -> None:
    base = runtime.current().base_url
    signature = f"\n\n-- \nCertdesk, {base}\nQuestions? JTAG: jtag@ra.example.ac.uk\n"
    for one in every_mail(people):
        assert str(one.body).endswith(signature), one.subject
        assert one.extra_headers["Auto-Submitted"] == "auto-generated"


def test_without_a_contact_none_is_named() -> None:
    one = letters.letter(subject="x", blocks=["Hello."], to=["a@example.ac.uk"])
    assert str(one.body) == f"Hello.\n\n-- \nCertdesk, {runtime.current().base_url}\n"


def test_others_words_keep_their_lines_and_never_reach_the_margin(people: World) -> None:
    (rejected,) = [one for one in every_mail(people) if "Rejected by JTAG" in one.subject]
    details = str(rejected.body).partition("Details:\n")[2].partition("\n\n-- \n")[0]
    lines = details.splitlines()
    assert all(not line or line.startswith("  ") for line in lines)
    assert f"  {URL}" in lines, "an address is not broken"
    assert "    one" in lines
    assert "    two" in lines
    assert " ".join(details.split()).startswith(LONG.strip())
