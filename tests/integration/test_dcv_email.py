"""Domain control by e-mail through a real SMTP server, from asking to the certificate."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from django.apps import apps
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from certdesk.domain.actors import Actor, RaRole
from certdesk.domain.errors import InvalidInput, NotFound, RateLimited, StateConflict
from certdesk.domain.issuing.states import OrganisationId, Status, Work
from certdesk.jobs.worker import Worker
from certdesk.services.system import runtime
from certdesk.services.validation.by_email import (
    MailNotSent,
    cancel_challenge,
    confirm_by_email,
    open_challenge,
    refresh_waiting,
)
from certdesk.store.models import (
    AuditEvent,
    Certificate,
    ChallengeOutcome,
    Domain,
    EmailChallenge,
    Issuance,
    Request,
    ValidationRecord,
)
from certdesk.web.dcv.quiet import WithoutCodes, without_code
from certdesk.web.dcv.throttle import WRONG
from tests.harness.mail_server import MailServer
from tests.harness.ports import free_port
from tests.integration.support import (
    Browser,
    actor,
    ask_mailbox,
    audit_problems,
    configured,
    drive,
    due,
    issuance_of,
    organisation,
    outcomes,
    signed_in,
    state_of,
    submit,
    together,
    validated,
)

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("nobody_is_locked_out", "inbox"),
]
BOX = "hostmaster@other.ac.uk"
NONE_SUCH = "A" * 52


class Inbox(MailServer):
    """What a mail server was given, as the people at a domain read it."""

    def text(self, index: int = -1) -> str:
        """The body of a message that asks for a confirmation; applicants get others."""
        return [one.text for one in self.delivered if "Please confirm" in one.message["Subject"]][index]

    def code(self, index: int = -1) -> str:
        """The code in a message, as it is to be typed."""
        (found,) = re.findall(r"^((?:[A-Z2-7]{4}-){12}[A-Z2-7]{4})$", self.text(index), re.MULTILINE)
        return str(found)

    def link(self) -> str:
        """The path of the newest message's link, which has to lead to us."""
        ours = re.escape(runtime.current().base_url)
        (found,) = re.findall(rf"^{ours}(/dcv/[A-Z2-7]{{52}}/)$", self.text(), re.MULTILINE)
        return str(found)

    def confirm(self) -> None:
        """The newest message is confirmed, and the worker comes by."""
        confirm(self.code())
        tick()


@pytest.fixture
def inbox(settings: Settings, tmp_path: Path) -> Iterator[Inbox]:
    """A real SMTP server that Django's own SMTP back end talks to."""
    kept = Inbox(folder=tmp_path)
    server = Controller(kept, hostname="127.0.0.1", port=kept.port)
    server.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", kept.port, 5
    yield kept
    server.stop()


@dataclass(frozen=True, slots=True)
class College:
    """Charlie's college, known to the RA, whose domain nothing proves yet."""

    id: OrganisationId
    charlie: Actor
    olga: Actor

    def ask(self, mailbox: str = BOX, *, name: str = "other.ac.uk", now: datetime | None = None) -> None:
        """Ask a mailbox."""
        ask_mailbox(self.charlie, name, mailbox, now=now or timezone.now())


@pytest.fixture
def college() -> College:
    own = organisation("Other College")
    return College(own, actor("charlie", organisation=own), actor("olga", ra=RaRole.OFFICER))


@pytest.fixture
def number(college: College) -> int:
    """A request that waits for the proof."""
    return submit(college.charlie, "www.other.ac.uk", clock=timezone.now).number


def asked(number: int, mailbox: str = BOX, *, domain: str = "other.ac.uk") -> HttpResponse:
    """What charlie is shown who asks a mailbox on the page of a request."""
    address = reverse("requests-ask", args=[number])
    form = {"domain": domain, "mailbox": mailbox}
    answer = signed_in("charlie").post(address, form, follow=True)
    assert isinstance(answer, HttpResponse)
    return answer


def tick() -> None:
    Worker(clock=timezone.now).tick(now=timezone.now())


def detail_of(number: int) -> str:
    return Request.objects.values_list("detail", flat=True).get(id=number)


def everything() -> str:
    """Every row of ours as text."""
    models = apps.get_app_config("store").get_models()
    return repr([list(model._default_manager.values()) for model in models])


def confirm(code: str) -> None:
    confirm_by_email(code=code, remote_address="192.0.2.7", now=timezone.now())


def test_r4_asking_sends_one_plain_mail_to_that_mailbox_alone(inbox: Inbox, number: int) -> None:
    assert state_of(number) is Status.ACCEPTED
    tick()
    assert "choose a mailbox" in detail_of(number)
    inbox.delivered.clear()
    charlie = signed_in("charlie")
    page = charlie.get(reverse("requests-show", args=[number]))
    assert b"hostmaster@other.ac.uk" in page.content
    assert b"@ac.uk" not in page.content
    seen = charlie.get(reverse("requests-status", args=[number]))["X-Request-Changed"]
    assert f"Waiting for {BOX} to confirm." in asked(number).content.decode()
    assert detail_of(number) == f"Waiting for {BOX} to confirm."
    assert charlie.get(reverse("requests-status", args=[number]))["X-Request-Changed"] != seen

    (mail,) = inbox.delivered
    assert (mail.to, mail.message.get_content_type()) == ((BOX,), "text/plain")
    assert not mail.message.is_multipart()
    text = inbox.text()
    assert text.index(inbox.link()) < text.index("Asked by:")
    assert text.index(inbox.link()) < text.index("www.other.ac.uk")
    assert inbox.code().replace("-", "") in inbox.link()
    assert inbox.code().replace("-", "") not in everything()
    assert inbox.code() not in everything()


def test_r4_the_link_shows_and_its_button_confirms(inbox: Inbox, college: College, number: int) -> None:
    college.ask()
    anybody = Client()
    before = everything()
    shown = anybody.get(inbox.link())
    assert shown.status_code == 200
    for told in ("other.ac.uk", "Other College", "charlie", BOX, "www.other.ac.uk"):
        assert told in shown.content.decode()
    anybody.get(inbox.link())
    anybody.head(inbox.link())
    assert everything() == before, "opening the link changes nothing (V2)"

    done = anybody.post(inbox.link())
    assert done.status_code == 200
    assert "Confirmed: thank you" in done.content.decode()
    record = ValidationRecord.objects.get()
    assert (record.domain.adn, record.domain.organisation_id) == ("other.ac.uk", college.id)
    assert (record.method, record.source) == ("email_constructed", "BR 3.2.2.4.4")
    assert BOX in record.evidence["asked"]
    who = {"adn": "other.ac.uk", "asked_by": "charlie", "answered_from": "127.0.0.1"}
    assert who.items() <= record.evidence.items()
    assert record.expires_at - record.validated_at == timedelta(days=runtime.current().ownership_days)
    event = AuditEvent.objects.get(action="domain.validate")
    assert (event.actor, event.data["record"]) == (BOX, record.pk)

    assert state_of(number) is Status.ACCEPTED
    tick()
    assert state_of(number) is Status.ISSUED, "nobody touched it"
    assert inbox.code().replace("-", "") not in everything()
    assert audit_problems() == []


@pytest.mark.parametrize("proven", ["by mail", "by an officer (R31)"])
def test_r4_nothing_is_signed_before_the_proof(
    inbox: Inbox, college: College, number: int, proven: str
) -> None:
    college.ask()
    for _ in range(3):
        tick()
    assert state_of(number) is Status.ACCEPTED
    assert issuance_of(number).state == Work.WAITING
    if proven == "by mail":
        confirm(inbox.code())
    else:
        validated("other.ac.uk", of=college.id, by=college.olga, at=timezone.now())
    tick()
    assert state_of(number) is Status.ISSUED


def _used(inbox: Inbox, college: College) -> str:
    college.ask()
    confirm(inbox.code())
    return inbox.code()


def _old(inbox: Inbox, college: College) -> str:
    college.ask(now=timezone.now() - timedelta(days=8))
    return inbox.code()


def _cancelled(inbox: Inbox, college: College) -> str:
    college.ask()
    cancel_challenge(actor=college.charlie, challenge_id=EmailChallenge.objects.get().pk, now=timezone.now())
    return inbox.code()


def _replaced(inbox: Inbox, college: College) -> str:
    college.ask()
    college.ask()
    assert inbox.code(0) != inbox.code(1)
    return inbox.code(0)


def _wrong(inbox: Inbox, college: College) -> str:
    college.ask()
    code = inbox.code()
    return ("B" if code[0] == "A" else "A") + code[1:]


@pytest.mark.parametrize("make", [_used, _old, _cancelled, _replaced, _wrong])
def test_r4_every_code_that_is_no_good_gets_one_and_the_same_page(
    inbox: Inbox, college: College, make: Callable[[Inbox, College], str]
) -> None:
    code = make(inbox, college).replace("-", "")
    before = everything()
    client = Browser()
    unknown = client.get(reverse("dcv-confirm", args=[NONE_SUCH]))
    for answer in (
        client.get(reverse("dcv-confirm", args=[code])),
        client.send("dcv-confirm", code),
        client.post(reverse("dcv"), {"code": code}, follow=True),
        client.send("dcv", code="nonsense"),
        client.get(reverse("dcv-confirm", args=["nonsense"])),
    ):
        assert answer.status_code == 404
        assert _without_token(answer.content) == _without_token(unknown.content)
    assert everything() == before


def _without_token(content: bytes) -> str:
    return re.sub(r'name="csrfmiddlewaretoken" value="[^"]+"', "", content.decode())


def test_r4_the_newest_code_works_after_an_older_one_was_replaced(inbox: Inbox, college: College) -> None:
    _replaced(inbox, college)
    confirm(inbox.code(1))
    assert ValidationRecord.objects.count() == 1


@pytest.mark.parametrize("days", [7, 30])
def test_r4_a_code_ends_at_exactly_its_time(inbox: Inbox, college: College, days: int) -> None:
    usual = runtime.current().settings
    assert usual.challenge_days == 7
    with configured(settings=replace(usual, challenge_days=days)):
        college.ask()
    row = EmailChallenge.objects.get()
    assert row.expires_at - row.created_at == timedelta(days=days)
    tiny = timedelta(microseconds=1)
    assert open_challenge(code=inbox.code(), now=row.expires_at - tiny).facts.adn == "other.ac.uk"
    for late in (row.expires_at, row.expires_at + tiny):
        with pytest.raises(NotFound):
            open_challenge(code=inbox.code(), now=late)
        with pytest.raises(NotFound):
            confirm_by_email(code=inbox.code(), remote_address="", now=late)
    assert not ValidationRecord.objects.exists()
    confirm_by_email(code=inbox.code(), remote_address="", now=row.expires_at - tiny)


def test_r4_a_request_made_while_the_proof_came_does_not_wait_for_ever(college: College) -> None:
    """It was judged by a clock read a moment before the proof's, and made a moment after the wake-up."""
    proven_at = timezone.now()
    validated("other.ac.uk", of=college.id, by=college.olga, at=proven_at)
    number = submit(
        college.charlie, "www.other.ac.uk", clock=lambda: proven_at - timedelta(microseconds=1)
    ).number
    assert state_of(number) is Status.ACCEPTED
    assert issuance_of(number).next_attempt_at is None
    later = proven_at + timedelta(minutes=5)
    assert due(now=later) == []
    refresh_waiting(now=later)
    assert due(now=later) == [number]
    drive(number, clock=lambda: later)
    assert state_of(number) is Status.ISSUED


def test_r4_an_expired_code_is_no_longer_awaited(college: College, number: int) -> None:
    college.ask()
    assert "Waiting for hostmaster" in detail_of(number)
    refresh_waiting(now=timezone.now() + timedelta(days=8))
    assert "choose a mailbox" in detail_of(number)


@pytest.mark.parametrize(
    "mailbox",
    [
        "root@other.ac.uk",
        "admin@ac.uk",
        "admin@uk",
        "hostmaster@evil.example",
        f"{BOX}, admin@evil.example",
        f"{BOX}\nBcc: admin@evil.example",
        "HOSTMASTER@other.ac.uk",
        "",
    ],
)
def test_v3_a_mailbox_that_is_not_on_the_list_is_refused_and_nothing_sent(
    inbox: Inbox, college: College, mailbox: str, number: int
) -> None:
    assert asked(number, mailbox).status_code == 422
    with pytest.raises(InvalidInput):
        college.ask(mailbox)
    domain = Domain.objects.create(organisation_id=college.id, adn="other.ac.uk", created_at=timezone.now())
    page = reverse("domains-ask", args=[domain.pk])
    assert signed_in("charlie").post(page, {"mailbox": mailbox}).status_code == 422
    assert not inbox.delivered
    assert not EmailChallenge.objects.exists()


def test_v3_a_request_asks_only_about_its_own_domains(inbox: Inbox, number: int) -> None:
    assert asked(number, "admin@example.ac.uk", domain="example.ac.uk").status_code == 409
    assert not inbox.delivered


def test_v3_the_domain_challenged_is_the_one_granted(inbox: Inbox, college: College) -> None:
    dept = submit(college.charlie, "www.dept.other.ac.uk", clock=timezone.now).number
    www = submit(college.charlie, "www.other.ac.uk", clock=timezone.now).number
    college.ask("admin@dept.other.ac.uk", name="www.dept.other.ac.uk")
    inbox.confirm()
    assert ValidationRecord.objects.get().domain.adn == "dept.other.ac.uk"
    assert (state_of(dept), state_of(www)) == (Status.ISSUED, Status.ACCEPTED)
    college.ask("postmaster@other.ac.uk", name="www.other.ac.uk")
    inbox.confirm()
    assert state_of(www) is Status.ISSUED


def test_r4_a_request_waits_for_each_of_its_domains(inbox: Inbox, college: College) -> None:
    names = ("www.one.ac.uk", "www.two.ac.uk", "www.three.ac.uk")
    number = submit(college.charlie, *names, clock=timezone.now).number
    for done, domain in enumerate(("one.ac.uk", "two.ac.uk", "three.ac.uk")):
        assert state_of(number) is Status.ACCEPTED
        assert detail_of(number).count("Waiting for someone at") == 3 - done
        college.ask(f"admin@{domain}", name=domain)
        assert f"Waiting for admin@{domain} to confirm." in detail_of(number)
        inbox.confirm()
    assert state_of(number) is Status.ISSUED


def test_r33_a_confirmation_counts_for_whoever_asked_alone(inbox: Inbox, college: College) -> None:
    theirs = organisation("Third College")
    third = actor("dora", organisation=theirs)
    college.ask()
    confirm(inbox.code())
    assert submit(college.charlie, "a.other.ac.uk", clock=timezone.now).status is Status.ISSUED
    waiting = submit(third, "b.other.ac.uk", clock=timezone.now)
    tick()
    assert state_of(waiting.number) is Status.ACCEPTED


def test_r4_a_mail_that_could_not_be_sent_is_marked_and_sent_again(
    inbox: Inbox, college: College, settings: Settings, number: int
) -> None:
    works = settings.EMAIL_PORT
    settings.EMAIL_PORT = free_port()
    answer = asked(number).content.decode()
    assert f"The mail to {BOX} could not be sent" in answer
    assert "Not sent" in answer
    assert EmailChallenge.objects.get().sent_at is None
    assert f"Waiting for {BOX}" not in detail_of(number)
    with pytest.raises(MailNotSent):
        college.ask()
    settings.EMAIL_PORT = works
    asked(number)
    assert EmailChallenge.objects.get(outcome=ChallengeOutcome.OPEN).sent_at is not None
    assert f"Waiting for {BOX} to confirm." in detail_of(number)
    inbox.confirm()
    assert state_of(number) is Status.ISSUED


def test_r4_cancelling_ends_the_asking_once_and_leads_back(college: College, number: int) -> None:
    college.ask()
    row = EmailChallenge.objects.get()
    answer = signed_in("charlie").send("domains-cancel", row.pk, request=str(number))
    assert answer["Location"] == reverse("requests-show", args=[number])
    row.refresh_from_db()
    assert row.outcome == ChallengeOutcome.CANCELLED
    assert "choose a mailbox" in detail_of(number)
    with pytest.raises(StateConflict):
        cancel_challenge(actor=college.charlie, challenge_id=row.pk, now=timezone.now())


def test_a10_no_mailbox_is_flooded_through_us(inbox: Inbox, college: College) -> None:
    for index in range(10):
        college.ask(f"admin@h{index}.other.ac.uk", name=f"h{index}.other.ac.uk")
    with pytest.raises(RateLimited):
        college.ask()
    assert len(inbox.delivered) == 10
    college.ask(now=timezone.now() + timedelta(hours=1, minutes=1))
    assert len(inbox.delivered) == 11


def test_a10_the_public_pages_are_throttled_by_address(college: College) -> None:
    client = Browser()
    address = reverse("dcv-confirm", args=[NONE_SUCH])
    assert {client.get(address).status_code for _ in range(WRONG)} == {404}
    answer = client.get(address)
    assert answer.status_code == 429
    assert int(answer["Retry-After"]) > 0
    assert client.send("dcv", code=NONE_SUCH).status_code == 429
    assert Client(REMOTE_ADDR="192.0.2.9").get(address).status_code == 404


def test_v1_the_pages_keep_the_code_to_themselves(
    inbox: Inbox, college: College, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    college.ask()
    plain = inbox.code().replace("-", "")
    strict = Client(enforce_csrf_checks=True)
    for answer in (strict.get(inbox.link()), strict.get(reverse("dcv-confirm", args=[NONE_SUCH]))):
        assert answer["Cache-Control"] == "no-store"
        assert answer["Referrer-Policy"] == "strict-origin"  # never more of an address than the host
    assert strict.post(inbox.link()).status_code == 403, "a form needs its token (A3)"
    assert not ValidationRecord.objects.exists()
    Client().put(inbox.link())
    told = caplog.text + "".join(capfd.readouterr())
    assert plain not in told
    assert inbox.code() not in told


def test_v1_djangos_own_log_lines_lose_the_code() -> None:
    record = logging.LogRecord("n", 40, "f", 1, "%s: %s", ("Bad", f"/dcv/{NONE_SUCH}/"), None)
    assert WithoutCodes().filter(record)
    assert record.getMessage() == "Bad: /dcv/(code)/"
    assert without_code("/domains/7/") == "/domains/7/"


def test_r4_two_confirmations_at_once_make_one_record(inbox: Inbox, college: College, number: int) -> None:
    for _ in range(5):
        college.ask()
        before = ValidationRecord.objects.count()
        won, refused = outcomes(together([partial(confirm, inbox.code())] * 6))
        assert len(won) == 1
        assert {type(error) for error in refused} == {NotFound}
        assert ValidationRecord.objects.count() == before + 1
    tick()
    assert state_of(number) is Status.ISSUED
    assert audit_problems() == []


def test_r4_a_confirmation_during_a_look_is_never_lost(inbox: Inbox, college: College) -> None:
    """Whoever comes first, the request is due afterwards or issued: it never sleeps for good."""
    for index in range(8):
        own = organisation(f"College {index}")
        who = actor(f"person{index}", organisation=own)
        domain = f"college{index}.ac.uk"
        number = submit(who, f"www.{domain}", clock=timezone.now).number
        ask_mailbox(who, domain, f"admin@{domain}", now=timezone.now())
        Issuance.objects.filter(request=number).update(next_attempt_at=timezone.now())
        look = partial(drive, number, clock=timezone.now)
        calls: list[Callable[[], object]] = [look, partial(confirm, inbox.code()), look]
        _won, refused = outcomes(together(calls))
        assert not refused
        tick()
        assert state_of(number) is Status.ISSUED, index
        assert Certificate.objects.filter(request=number).count() == 1


def test_r4_asking_twice_at_once_leaves_one_code_open(inbox: Inbox, college: College) -> None:
    _won, refused = outcomes(together([college.ask] * 4))
    assert not refused
    assert EmailChallenge.objects.filter(outcome=ChallengeOutcome.OPEN).count() == 1
    good = 0
    for index in range(4):
        with suppress(NotFound):
            good += bool(open_challenge(code=inbox.code(index), now=timezone.now()))
    assert good == 1


def test_r4_a_request_that_comes_later_says_at_once_who_is_awaited(inbox: Inbox, college: College) -> None:
    college.ask()
    made = submit(college.charlie, "late.other.ac.uk", clock=timezone.now)
    assert not made.due
    assert detail_of(made.number) == f"Waiting for {BOX} to confirm."
    assert "late.other.ac.uk" in Client().get(inbox.link()).content.decode()


def test_r35_a_first_request_may_be_confirmed_while_it_waits_for_an_officer(inbox: Inbox) -> None:
    own = organisation("New College", vetted=False)
    who = actor("newton", organisation=own)
    made = submit(who, "www.new.ac.uk", clock=timezone.now)
    assert made.status is Status.WAITING_FOR_APPROVAL
    body = {"domain": "new.ac.uk", "mailbox": "webmaster@new.ac.uk"}
    client = signed_in(who.label)
    assert b"webmaster@new.ac.uk" in client.get(reverse("requests-show", args=[made.number])).content
    client.post(reverse("requests-ask", args=[made.number]), body)
    inbox.confirm()
    assert state_of(made.number) is Status.WAITING_FOR_APPROVAL
    olga = signed_in(actor("olga", ra=RaRole.OFFICER).label)
    shown = olga.get(reverse("queue-decide", args=[made.number])).context["shown"]
    olga.send("queue-approve", made.number, shown=shown, vetting="Known to us.")
    assert state_of(made.number) is Status.ISSUED


def test_an_outside_domain_is_not_offered_for_a_mail(inbox: Inbox, college: College) -> None:
    made = submit(college.charlie, "www.other.org", clock=timezone.now)
    assert made.status is Status.WAITING_FOR_APPROVAL
    page = signed_in("charlie").get(reverse("requests-show", args=[made.number])).content
    assert b"hostmaster@other.org" not in page
    assert asked(made.number, "hostmaster@other.org", domain="other.org").status_code == 409
    assert not inbox.delivered
