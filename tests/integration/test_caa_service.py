"""CAA from the first look to the signature: asked where policy asks, kept, never passed over."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from django.core.mail import EmailMessage
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from certdesk.dcv.caa import CaaChecked, check_caa
from certdesk.dcv.conformance import ScriptedResolver
from certdesk.dcv.resolver import Answer
from certdesk.dcv.resolver import Status as DnsStatus
from certdesk.domain.errors import PolicyRefused
from certdesk.domain.findings import Check
from certdesk.domain.issuing.states import RequestId, Status, Work
from certdesk.domain.policy.file import read_policy
from certdesk.domain.validation.caa import Question
from certdesk.jobs.worker import Worker
from certdesk.services.issuance import caa
from certdesk.services.mail.alerts import Awaited, alert_overdue, mail_officers
from certdesk.services.requests.asking import preview_request
from certdesk.services.requests.decisions import judge_now
from certdesk.services.system import runtime
from certdesk.services.system.runtime import CaaSettings
from certdesk.store.models import AcmeOrder, CaaCheck, Domain, Issuance, Request
from certdesk.store.selectors.caa import caa_of_domain, caa_of_request, stored_answers
from certdesk.store.selectors.requests import get_request
from certdesk.store.selectors.waiting import overdue_at_dns
from tests.harness.acme_client import AcmeClient, make_csr
from tests.integration.acme_support import acme_world
from tests.integration.support import (
    NOW,
    Clock,
    World,
    approve,
    audit_problems,
    configured,
    create,
    drive,
    due,
    events_of,
    issuance_of,
    submission,
    submit,
)

pytestmark = pytest.mark.django_db(transaction=True)

OURS, OTHER = "certs.example.net", "other.example"
WWW, MAIL, NEWS = "www.example.ac.uk", "mail.example.ac.uk", "news.example.ac.uk"
DOMAIN = "example.ac.uk"
HOUR = timedelta(hours=1)


@dataclass(kw_only=True)
class Dns:
    """The CAA records that the test writes, and which names were asked about, when, by whom."""

    records: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, datetime]] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    depths: set[int] = field(default_factory=set)  # transactions that were open meanwhile

    def say(self, name: str, *values: str) -> None:
        """There are these records at a name."""
        self.records[name] = Answer(status=DnsStatus.OK, values=values, server="192.0.2.53#53")

    def fail(self, name: str, status: DnsStatus = DnsStatus.SERVFAIL) -> None:
        """A look-up there fails."""
        self.records[name] = Answer(status=status, server="192.0.2.53#53")

    def asker(self) -> runtime.AskCaa:
        """What the runtime looks CAA up with. `connection` is that of the thread which acts."""
        acting = connection.atomic_blocks

        def ask(question: Question, now: datetime) -> CaaChecked:
            self.asked.append((question.name, now))
            self.questions.append(question)
            self.depths.add(len(acting))
            answers = {(name, "CAA"): answer for name, answer in self.records.items()}
            return check_caa(question, resolver=ScriptedResolver(answers=answers), now=now)

        return ask


@contextmanager
def policy(caa_mode: str, dns: Dns, *, unknown: str = "manual", account: str = "") -> Iterator[None]:
    """Work under a policy that asks, with the DNS of the test."""
    text = f"version = 1\n[default]\ncaa = '{caa_mode}'\ncaa_unknown = '{unknown}'"
    settings = CaaSettings(issuers=(OURS,), account_uri=account, ask=dns.asker())
    with configured(policy=read_policy(text), caa=settings):
        yield


@pytest.fixture
def dns() -> Iterator[Dns]:
    """The DNS under a policy that asks it and requires an answer."""
    made = Dns()
    made.say(DOMAIN, f'0 issue "{OURS}"')
    with policy("require", made):
        yield made


def _codes(checks: Sequence[object]) -> dict[str, str]:
    found = [check for check in checks if isinstance(check, Check)]
    return {check.code: check.verdict.value for check in found if check.code.startswith("caa.")}


def _accepted(w: World, *names: str) -> RequestId:
    """A request that policy has accepted and nobody has handed to the CA yet."""
    created = create(w.alice, *names)
    assert created.status is Status.ACCEPTED
    return created.number


def test_where_the_policy_does_not_ask_nothing_is_asked_read_or_written(w: World) -> None:
    dns = Dns()
    submit(w.alice, NEWS)  # the CA's chain is stored with the first certificate
    counts = []
    for name, under in ((WWW, CaaSettings()), (MAIL, CaaSettings(issuers=(OURS,), ask=dns.asker()))):
        with configured(caa=under), CaptureQueriesContext(connection) as queries:
            assert submit(w.alice, name).status is Status.ISSUED
        assert not [one for one in queries.captured_queries if "caacheck" in one["sql"].lower()]
        counts.append(len(queries))
    with policy("off", dns), CaptureQueriesContext(connection) as queries:
        submit(w.alice, "last.example.ac.uk")
    assert counts == [len(queries)] * 2
    assert dns.asked == []
    assert not CaaCheck.objects.exists()


def test_a_preview_tells_the_record_to_add_and_stores_nothing(w: World, dns: Dns) -> None:
    """R16. Three names with three fates."""
    dns.say(MAIL, f'0 issue "{OTHER}"')
    dns.fail(NEWS)
    seen = preview_request(actor=w.alice, submission=submission(w.university, WWW, MAIL, NEWS), now=NOW)
    assert _codes(seen.decision.checks) == {"caa.forbids": "refuse", "caa.unknown": "manual"}
    told = {check.code: check for check in seen.decision.checks}
    assert told["caa.forbids"].seen == f'{MAIL}: 0 issue "{OTHER}"'
    assert f'{MAIL}. CAA 0 issue "{OURS}"' in told["caa.forbids"].message
    assert told["caa.unknown"].seen == NEWS
    assert "servfail" in told["caa.unknown"].message
    assert sorted(name for name, _at in dns.asked) == [MAIL, NEWS, WWW]
    assert not CaaCheck.objects.exists()


def test_what_is_permitted_is_issued_with_the_evidence_of_every_name(w: World, dns: Dns) -> None:
    dns.say(MAIL, '0 issue "certs.example.net; policy=ev"', '0 iodef "mailto:x@example.ac.uk"')
    created = submit(w.alice, WWW, MAIL)
    assert created.status is Status.ISSUED
    assert dns.depths == {len(connection.atomic_blocks)}  # asked outside any transaction of ours
    kept = {row.name: row for row in CaaCheck.objects.filter(request_id=created.number)}
    assert set(kept) == {WWW, MAIL}
    www = kept[WWW]
    assert (www.allowed, www.code) == (True, "caa.authorised")
    assert (www.found_at, www.server) == (DOMAIN, "192.0.2.53#53")
    assert www.records == [f'0 issue "{OURS}"']
    assert www.question == {"issuers": [OURS], "account_uri": "", "method": "manual_ownership"}
    assert [look["name"] for look in www.evidence["looked"]] == [WWW, DOMAIN]
    assert len(kept[MAIL].records) == 2
    assert len(dns.asked) == 2  # the answers of the confirmation do for the signature a moment later


@pytest.mark.parametrize(
    "record",
    [
        f'0 issue "{OTHER}"',
        '0 issue ";"',
        '128 future "x"',
        f'0 issue "{OURS}; accounturi=https://ca.example/acct/2"',
        f'0 issue "{OURS}; validationmethods=dns-01"',
        "not a record",
    ],
)
def test_what_is_forbidden_is_refused_and_makes_no_request(w: World, dns: Dns, record: str) -> None:
    dns.say(MAIL, record)
    with policy("require", dns, account="https://ca.example/acct/1"), pytest.raises(PolicyRefused) as refused:
        submit(w.alice, WWW, MAIL, NEWS)
    assert _codes(refused.value.checks) == {"caa.forbids": "refuse"}
    assert not Request.objects.exists()


def test_a_record_for_our_account_permits(w: World, dns: Dns) -> None:
    dns.say(DOMAIN, f'0 issue "{OURS}; accounturi=https://ca.example/acct/1"')
    with policy("require", dns, account="https://ca.example/acct/1"):
        assert submit(w.alice, WWW).status is Status.ISSUED


@pytest.mark.parametrize("status", [status for status in DnsStatus if not status.answered])
def test_no_answer_waits_for_a_person_or_refuses_as_policy_says(
    w: World, dns: Dns, status: DnsStatus
) -> None:
    dns.fail(MAIL, status)
    created = submit(w.alice, WWW, MAIL)
    assert created.status is Status.WAITING_FOR_APPROVAL
    with policy("require", dns, unknown="refuse"), pytest.raises(PolicyRefused):
        submit(w.bob, WWW, MAIL)
    kept = CaaCheck.objects.get(request_id=created.number, name=MAIL)
    assert (kept.allowed, kept.code) == (False, "caa.lookup_failed")


def test_under_a_policy_that_warns_no_answer_and_a_no_are_told_and_kept(w: World, dns: Dns) -> None:
    dns.fail(MAIL)
    dns.say(NEWS, f'0 issue "{OTHER}"')
    with policy("warn", dns):
        created = submit(w.alice, WWW, MAIL, NEWS)
    assert created.status is Status.ISSUED
    checks = {c["code"]: c["verdict"] for c in Request.objects.get(id=created.number).checks}
    assert (checks["caa.forbids"], checks["caa.unknown"]) == ("warn", "warn")
    assert {row.name: row.allowed for row in CaaCheck.objects.all()} == {WWW: True, MAIL: False, NEWS: False}


def test_no_officer_stands_in_for_the_dns(w: World, dns: Dns) -> None:
    """Approved while the DNS is broken: nothing is signed until it answers, and then by itself."""
    dns.fail(WWW)
    clock = Clock()
    number = submit(w.alice, WWW, clock=clock).number
    shown = judge_now(actor=w.olga, number=number, now=clock.now)
    assert _codes(shown.decision.checks) == {"caa.unknown": "manual"}
    before = CaaCheck.objects.count()
    assert before == 1  # who only looks adds no evidence
    approve(w.olga, number, clock=clock)
    row = Request.objects.get(id=number)
    assert row.status == Status.ACCEPTED
    assert row.detail.startswith("Waiting for the DNS for less than a minute; we keep asking.")
    waiting = issuance_of(number)
    assert waiting.next_attempt_at is not None
    assert (waiting.state, waiting.intent_key) == (Work.WAITING, None)
    clock.forward(waiting.next_attempt_at - clock.now)
    assert due(now=clock.now) == [number]
    assert drive(number, clock=clock) is Status.ACCEPTED
    waits = issuance_of(number).next_attempt_at
    assert waits is not None
    assert waits > clock.now  # again later
    dns.say(WWW, f'0 issue "{OURS}"')
    clock.forward(timedelta(minutes=30))
    assert drive(number, clock=clock) is Status.ISSUED
    assert events_of(number) == ["create", "approve", "claim", "ca_accept", "issue"]
    assert [row.allowed for row in CaaCheck.objects.order_by("id")] == [False, False, False, False, True]
    assert audit_problems() == []


class TestAtSigning:
    """Between the decision and the signature the DNS may change, and answers get old (BR 3.2.2.8: 8 h)."""

    def test_an_answer_that_is_young_enough_is_not_asked_for_again(self, w: World, dns: Dns) -> None:
        number = _accepted(w, WWW, MAIL)
        asked = len(dns.asked)
        assert drive(number, clock=Clock(NOW + 8 * HOUR)) is Status.ISSUED
        assert len(dns.asked) == asked

    def test_an_old_one_is(self, w: World, dns: Dns) -> None:
        number = _accepted(w, WWW, MAIL)
        late = NOW + 8 * HOUR + timedelta(seconds=1)
        assert drive(number, clock=Clock(late)) is Status.ISSUED
        assert sorted(dns.asked[2:]) == [(MAIL, late), (WWW, late)]
        assert CaaCheck.objects.filter(request_id=number).count() == 4

    def test_a_new_no_goes_to_a_person(self, w: World, dns: Dns) -> None:
        number = _accepted(w, WWW, MAIL, NEWS)
        dns.say(NEWS, f'0 issue "{OTHER}"')
        assert drive(number, clock=Clock(NOW + 9 * HOUR)) is Status.WAITING_FOR_APPROVAL
        assert events_of(number) == ["create", "refer"]
        assert NEWS in Request.objects.get(id=number).detail
        assert CaaCheck.objects.get(request_id=number, allowed=False).name == NEWS

    def test_no_answer_is_waited_for(self, w: World, dns: Dns) -> None:
        number = _accepted(w, WWW, MAIL, NEWS)
        dns.fail(MAIL, DnsStatus.TIMEOUT)
        clock = Clock(NOW + 9 * HOUR)
        for _tick in range(3):
            assert drive(number, clock=clock) is Status.ACCEPTED
            again = issuance_of(number).next_attempt_at
            assert again is not None
            assert clock.now < again <= clock.now + timedelta(minutes=15)
            clock.now = again
        del dns.records[MAIL]
        assert drive(number, clock=clock) is Status.ISSUED
        names = [name for name, at in dns.asked if at > NOW]
        assert (names.count(WWW), names.count(MAIL)) == (1, 4)  # only what is missing is asked for again

    def test_a_policy_that_came_in_between_asks_too(self, w: World, dns: Dns) -> None:
        with policy("off", dns):
            number = create(w.alice, WWW).number
        dns.say(WWW, f'0 issue "{OTHER}"')
        assert drive(number, clock=Clock(NOW)) is Status.WAITING_FOR_APPROVAL

    def test_an_answer_to_another_question_does_not_count(self, w: World, dns: Dns) -> None:
        number = _accepted(w, WWW)
        with policy("require", dns, account="https://ca.example/acct/9"):
            assert drive(number, clock=Clock(NOW)) is Status.ISSUED
        assert [question.account_uri for question in dns.questions] == ["", "https://ca.example/acct/9"]


def test_all_names_are_looked_up_at_once(w: World, dns: Dns) -> None:
    names = [f"h{number}.example.ac.uk" for number in range(8)]
    together, ask = threading.Barrier(len(names)), dns.asker()

    def wait_for_the_others(question: Question, now: datetime) -> CaaChecked:
        together.wait(timeout=60)  # breaks, and with it the request, unless all are under way
        return ask(question, now)

    with configured(caa=CaaSettings(issuers=(OURS,), ask=wait_for_the_others)):
        assert submit(w.alice, *names).status is Status.ISSUED


def test_a_look_up_that_hangs_or_breaks_is_one_that_failed(
    w: World, dns: Dns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caa, "SECONDS", 0.2)
    hang, ask = threading.Event(), dns.asker()

    def odd(question: Question, now: datetime) -> CaaChecked:
        if question.name == MAIL:
            hang.wait(timeout=30)
        if question.name == NEWS:
            raise RuntimeError("a bug of ours")
        return ask(question, now)

    try:
        with configured(caa=CaaSettings(issuers=(OURS,), ask=odd)):
            created = submit(w.alice, WWW, MAIL, NEWS)
    finally:
        hang.set()
    assert created.status is Status.WAITING_FOR_APPROVAL
    kept = {row.name: row.evidence["looked"][0]["failure"] for row in CaaCheck.objects.all()}
    assert kept == {WWW: "", MAIL: "timeout", NEWS: "it broke on our side"}


def test_without_a_resolver_nothing_is_known(w: World, dns: Dns) -> None:
    with configured(caa=CaaSettings(issuers=(OURS,))):
        assert submit(w.alice, WWW).status is Status.WAITING_FOR_APPROVAL


def test_officers_are_told_once_of_what_the_dns_has_owed_for_a_day(
    w: World, dns: Dns, mailoutbox: list[EmailMessage]
) -> None:
    """R24. One of three requests waits; one was answered in time, one waits for a proof of ours."""
    dns.fail(MAIL)
    with policy("require", dns, unknown="refuse"):
        waits, answered = _accepted(w, WWW), _accepted(w, NEWS)
        for name in (WWW, NEWS):
            dns.fail(name)
        clock = Clock(NOW + 9 * HOUR)
        for number in (waits, answered):
            drive(number, clock=clock)
        clock.forward(23 * HOUR)
        assert drive(waits, clock=clock) is Status.ACCEPTED
        assert alert_overdue(now=clock()) == []
        assert "told" not in Request.objects.get(id=waits).detail
        del dns.records[NEWS]
        clock.forward(HOUR)
        assert drive(answered, clock=clock) is Status.ISSUED
        assert drive(waits, clock=clock) is Status.ACCEPTED
        assert Request.objects.get(id=waits).detail.startswith(
            "Waiting for the DNS for 1 day; we keep asking. We have alerted JTAG."
        )
        assert alert_overdue(now=clock()) == [waits]
        assert alert_overdue(now=clock()) == []
        assert overdue_at_dns(actor=w.olga, now=clock()) == 1
        assert overdue_at_dns(actor=w.alice, now=clock()) == 0
        Worker(clock=clock).tick(now=clock())
    (mail,) = [mail for mail in mailoutbox if "olga@example.ac.uk" in mail.to]
    assert "A request has waited for the DNS for 24 hours" in mail.subject
    assert f"/requests/{waits}/" in mail.body
    assert audit_problems() == []


class TestAcme:
    """Asked at finalize, when there is something to sign; an order is no request and asks nothing."""

    def _ready(self) -> tuple[AcmeClient, dict[str, object]]:
        one = acme_world().registered()
        ordered = one.order(WWW, MAIL, NEWS)
        assert ordered.json["status"] == "ready", ordered.body
        return one, ordered.json

    def _finalize(self, one: AcmeClient, order: dict[str, object]) -> tuple[int, str]:
        reply = one.finalize(order, make_csr(WWW, MAIL, NEWS))
        return reply.status, reply.json["status"] if reply.status == 200 else reply.problem

    def test_a_permitted_order_is_issued_with_its_evidence(self, dns: Dns) -> None:
        one, order = self._ready()
        assert dns.asked == []
        assert self._finalize(one, order) == (200, "valid")
        issuance = Issuance.objects.get()
        assert set(CaaCheck.objects.filter(order_id=issuance.order_id).values_list("name", flat=True)) == {
            *(WWW, MAIL, NEWS)
        }
        assert {question.account_uri for question in dns.questions} == {one.kid}

    def test_a_no_is_told_as_caa_and_leaves_no_request(self, dns: Dns) -> None:
        one, order = self._ready()
        dns.say(NEWS, f'0 issue "{OURS}; accounturi=https://somebody.example/acct/1"')
        status, problem = self._finalize(one, order)
        assert (status, problem) == (403, "caa")
        assert not Request.objects.exists()
        assert CaaCheck.objects.get(allowed=False).name == NEWS

    def test_no_answer_leaves_the_order_ready(self, dns: Dns) -> None:
        one, order = self._ready()
        dns.fail(MAIL)
        status, problem = self._finalize(one, order)
        assert problem == "dns"
        assert status >= 400
        del dns.records[MAIL]
        assert self._finalize(one, order) == (200, "valid")

    def test_officers_are_told_of_an_order_that_goes_on_failing_for_a_day(
        self, dns: Dns, mailoutbox: list[EmailMessage]
    ) -> None:
        one, order = self._ready()
        dns.fail(MAIL)
        assert self._finalize(one, order)[1] == "dns"
        AcmeOrder.objects.update(expires_at=timezone.now() + 72 * HOUR)
        later = timezone.now() + 24 * HOUR
        assert alert_overdue(now=later) == []  # tried once, and left
        failed = CaaCheck.objects.get(name=MAIL)
        failed.pk, failed.at = None, later - HOUR
        failed.save()
        assert alert_overdue(now=later) == [failed.order_id]
        assert alert_overdue(now=later) == []
        assert mail_officers(numbers=[failed.order_id or 0], awaited=Awaited.ORDERS) is True
        assert self._finalize(one, order)[1] == "dns"
        (mail,) = mailoutbox
        assert "An order of an ACME client has waited for 24 hours" in mail.subject
        assert MAIL in mail.body

    def test_off_asks_nothing(self, dns: Dns) -> None:
        with policy("off", dns):
            one, order = self._ready()
            assert self._finalize(one, order) == (200, "valid")
        assert (dns.asked, CaaCheck.objects.count()) == ([], 0)


def test_the_newest_answer_about_each_name_is_shown_to_whom_it_concerns(w: World, dns: Dns) -> None:
    """Names with several answers each; who is concerned is for `test_route_matrix.py` to say."""
    number = _accepted(w, WWW, MAIL)
    dns.say(MAIL, f'0 issue "{OTHER}"')
    dns.fail(WWW)
    with policy("warn", dns):
        later = NOW + 9 * HOUR
        again = create(w.alice, MAIL, WWW, now=later)
    domain_id = Domain.objects.get(organisation_id=w.university, adn=DOMAIN).pk
    shown = {row.name: row for row in caa_of_domain(actor=w.alice, domain_id=domain_id)}
    assert {name: (row.code, row.request, row.at) for name, row in shown.items()} == {
        MAIL: ("caa.other_issuer", again.number, later),
        WWW: ("caa.lookup_failed", again.number, later),
    }
    assert shown[MAIL].to_add == f'{MAIL}. CAA 0 issue "{OURS}"'
    assert shown[MAIL].servers == ("192.0.2.53#53",)
    first = {row.name: row.code for row in caa_of_request(get_request(actor=w.alice, number=number))}
    assert first == {WWW: "caa.authorised", MAIL: "caa.authorised"}


def test_a_name_that_only_ends_alike_belongs_to_another_domain(w: World, dns: Dns) -> None:
    number = _accepted(w, WWW)
    row = CaaCheck.objects.get(request_id=number)
    for name in (f"not{DOMAIN}", f"*.{DOMAIN}", DOMAIN):
        CaaCheck.objects.create(
            **{f.name: getattr(row, f.name) for f in CaaCheck._meta.fields if f.name not in ("id", "name")},
            name=name,
        )
    domain_id = Domain.objects.get(organisation_id=w.university, adn=DOMAIN).pk
    found = caa_of_domain(actor=w.alice, domain_id=domain_id)
    assert {one.name for one in found} == {WWW, DOMAIN, f"*.{DOMAIN}"}


def test_the_last_answer_counts_although_the_clock_was_put_back(w: World, dns: Dns) -> None:
    number = submit(w.alice, WWW).number
    last = CaaCheck.objects.get(request_id=number)
    last.pk, last.allowed, last.code, last.at = None, False, "caa.nobody", last.at - timedelta(minutes=5)
    last.save(force_insert=True)
    assert not stored_answers(request_id=number, since=last.at)[WWW][1].permits
