"""Terms over short certificates: renewed to their end without anybody, once each; told where that fails."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.core import mail
from django.db import connection, transaction
from django.db.models import Min
from django_tasks_db.models import DBTaskResult

from certdesk.backends.base import Suggestion
from certdesk.cli.client import show
from certdesk.domain.acme.renewal import Window
from certdesk.domain.actors import Actor, RaRole
from certdesk.domain.errors import Misconfigured, OutcomeUnknown, Unavailable
from certdesk.domain.issuing.cas import CaLimits
from certdesk.domain.issuing.certificates import Absent, Intent, Issued
from certdesk.domain.issuing.profiles import BUILT_IN, Profile
from certdesk.domain.issuing.revocation import CertificateStatus, RevocationReason
from certdesk.domain.issuing.states import Work
from certdesk.domain.rules import RuleId, in_force
from certdesk.domain.validation.evidence import Method
from certdesk.services.acme.renewal import Matching, advise_renewal, withdraw_advice
from certdesk.services.issuance import engine
from certdesk.services.mail import renewals
from certdesk.services.people.accounts import issue_new_password
from certdesk.services.people.membership import disable_member
from certdesk.services.people.organisations import disable_organisation, enable_organisation
from certdesk.services.requests import renewing
from certdesk.services.requests.asking import end_request, preview_request
from certdesk.services.requests.confirm import submit_another, submit_request
from certdesk.services.requests.renewing import LEASE, renew, renew_due
from certdesk.services.requests.terms import term_of
from certdesk.services.revocation.revoke import revoke_certificate
from certdesk.services.system.runtime import Persistence
from certdesk.services.validation.by_email import add_domain
from certdesk.services.validation.persistent import watch_due, watch_record
from certdesk.store.models import (
    AuditEvent,
    BlockedKey,
    Certificate,
    Issuance,
    PersistentRecord,
    Renewal,
    Request,
    RequestEvent,
)
from certdesk.store.selectors.certificates import newest_certificates
from certdesk.store.selectors.requests import get_request
from certdesk.web import times
from tests.integration import support
from tests.integration.api_calls import with_token
from tests.integration.proving import Outside
from tests.integration.support import Clock, FindingCa, ScriptedCa, World, audit_problems, configured, signed

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("meg")]
DAY, HOUR, MOMENT = timedelta(days=1), timedelta(hours=1), timedelta(seconds=1)
NAME = "www.example.ac.uk"
BEGINS = datetime(2027, 2, 1, 9, 30, tzinfo=UTC)
LATE = datetime(2029, 2, 1, 9, 30, tzinfo=UTC)


def profiles(**changes: object) -> Mapping[str, Profile]:
    return {"tls-server": replace(BUILT_IN["tls-server"], **changes)}  # type: ignore[arg-type]  # fields of all types


@dataclass(slots=True)
class Story:
    """A term under a CA of short certificates, and the time that passes in it."""

    w: World
    clock: Clock
    ca: ScriptedCa
    number: int = 0
    looks: list[Callable[[], object]] = field(default_factory=list)

    def ask(self, *names: str, years: int = 1) -> None:
        """Ask for a certificate; it is there at once."""
        upload = support.csr(*(names or (NAME,)))
        asked = support.submission(self.w.university, upload=upload, years=years)
        made = submit_request(actor=self.w.alice, submission=asked, channel="portal", clock=self.clock)
        self.number = made.number

    def another(self, *names: str) -> None:
        """Ask for another certificate, for a new key."""
        upload = support.csr(*(names or (NAME,)))
        submit_another(
            actor=self.w.alice, number=self.number, upload=upload, channel="portal", clock=self.clock
        )

    def work(self) -> None:
        """What a worker does at this moment."""
        for look in self.looks:
            look()
        renew_due(clock=self.clock, limit=100)
        for number in engine.due_issuances(now=self.clock.now):
            engine.drive(issuance_id=number, clock=self.clock)

    def to(self, moment: datetime, *, step: timedelta = MOMENT) -> None:
        """Work along until then, whenever something is due, but not more often than each step."""
        for _ in range(3000):
            if self.clock.now >= moment:
                return
            due = [
                Renewal.objects.aggregate(at=Min("next_attempt_at"))["at"],
                Issuance.objects.aggregate(at=Min("next_attempt_at"))["at"],
                PersistentRecord.objects.aggregate(at=Min("next_look_at"))["at"],
            ]
            soonest = min((at for at in due if at is not None), default=moment)
            self.clock.now = min(max(soonest, self.clock.now + step), moment)
            self.work()
        raise AssertionError("something is due again and again")

    @property
    def request(self) -> Request:
        """The request, as it is stored now."""
        return Request.objects.get(id=self.number)

    @property
    def certificates(self) -> list[Certificate]:
        """Those handed out, oldest first."""
        return list(Certificate.objects.filter(request_id=self.number, withheld=False).order_by("id"))

    @property
    def renewal(self) -> Renewal:
        """What is to follow the newest certificate."""
        return Renewal.objects.filter(certificate__request_id=self.number).latest("certificate_id")

    def not_renewed(self) -> str:
        """The subject of the mail that says so."""
        ends = f"{self.certificates[0].not_after:%-d %B %Y}"
        return f"Certificate of request {self.number} is not renewed yet: it ends on {ends}"

    def notes(self) -> list[str]:
        """What the history says of renewals that did not come."""
        lines = RequestEvent.objects.filter(request_id=self.number, event="not_renewed").order_by("id")
        return list(lines.values_list("note", flat=True))

    def mails(self) -> list[tuple[str, list[str]]]:
        """Subject and reader of what people are sent about renewals now."""
        mail.outbox.clear()
        senders: dict[str, Callable[..., bool]] = {
            "mail_renewed": renewals.mail_renewed,
            "mail_not_renewed": renewals.mail_not_renewed,
        }
        for job in DBTaskResult.objects.order_by("enqueued_at"):
            sender = senders.get(job.task_path.rpartition(".")[2])
            if sender is not None:
                sender(**job.args_kwargs["kwargs"], now=self.clock.now)
                job.delete()
        return [(message.subject.partition("] ")[2], message.to) for message in mail.outbox]


def due_at(certificate: Certificate) -> datetime:
    return certificate.not_before + (certificate.not_after - certificate.not_before) * 2 / 3


@pytest.fixture
def s(w: World) -> Iterator[Story]:
    """A CA of ninety days, which answers at once."""
    ca = ScriptedCa([signed], inline=True)
    clock = Clock(BEGINS)
    support.validated("example.ac.uk", of=w.university, by=w.olga, at=BEGINS - HOUR)
    limits = {ca.name: CaLimits(max_days=90)}
    with configured(backends={ca.name: ca}, default_backend=ca.name, limits=limits):
        yield Story(w, clock, ca)


@pytest.mark.parametrize("begins, count", [(BEGINS, 10), (LATE, 22)])
def test_a_term_of_two_years_is_renewed_to_its_end_without_a_human_act(
    w: World, net: Outside, begins: datetime, count: int
) -> None:
    """Under a public CA, by the rules of the days. A persistent record keeps the domain proven."""
    ca, clock = ScriptedCa([signed], inline=True), Clock(begins)
    added = add_domain(actor=w.alice, organisation_id=w.university, name="new.ac.uk", now=begins)
    watch_record(actor=w.alice, domain_id=added, wildcard=True, now=begins)
    net.persistent["new.ac.uk"] = Method.DNS_PERSIST_WILDCARD
    watch_due(clock=clock, limit=10)
    limits = {ca.name: CaLimits(public=True)}
    cas = {"backends": {ca.name: ca}, "default_backend": ca.name, "limits": limits}
    often = Persistence(check_every=4 * DAY)
    with configured(**cas, profiles=profiles(same_key_days=800), persistence=often):
        s = Story(w, clock, ca, looks=[partial(watch_due, clock=clock, limit=10)])
        s.ask("www.new.ac.uk", "new.ac.uk", years=2)
        told = term_of(get_request(actor=w.alice, number=s.number), now=begins)
        assert told is not None
        assert told.certificates == count
        ends_at = s.request.term_ends_at
        assert ends_at is not None
        acts = AuditEvent.objects.filter(user_id__isnull=False).count()
        s.to(ends_at - HOUR)
        found = s.certificates
        assert len(found) == count
        assert found[-1].not_after == ends_at
        for earlier, later in pairwise(found):
            left = earlier.not_after - later.not_before
            assert left >= (earlier.not_after - earlier.not_before) / 3
            assert later.spki_sha256 == earlier.spki_sha256
        for one in found:
            most = in_force(RuleId.PUBLIC_VALIDITY, one.created_at).value
            assert one.not_after - one.not_before < most * DAY
        statuses = [row.status for row in newest_certificates(s.number, limit=100, now=clock.now)]
        assert statuses[0] in (CertificateStatus.VALID, CertificateStatus.EXPIRING)
        assert set(statuses[1:]) <= {CertificateStatus.SUPERSEDED, CertificateStatus.EXPIRED}
        # Nobody has done anything, and each renewal is in the history.
        assert AuditEvent.objects.filter(user_id__isnull=False).count() == acts
        lines = RequestEvent.objects.filter(request_id=s.number, event="issue").order_by("id")
        assert [line.note for line in lines][1:] == [
            "For alice: renewed automatically, with the same CSR."
        ] * (count - 1)
        assert not s.notes()
        assert [intent.not_before for intent in ca.submitted] == [one.not_before for one in found]
        s.to(ends_at + 10 * DAY)
        assert len(s.certificates) == count
        assert audit_problems() == []


def test_it_is_renewed_at_two_thirds_and_the_one_before_stays_until_it_ends(s: Story) -> None:
    s.ask()
    (first,) = s.certificates
    s.clock.now = due_at(first) - HOUR
    s.work()
    assert len(s.certificates) == 1
    s.clock.forward(2 * HOUR)
    s.work()
    assert len(s.certificates) == 2
    found = newest_certificates(s.number, limit=10, now=s.clock.now)
    assert [one.status for one in found] == [CertificateStatus.VALID, CertificateStatus.SUPERSEDED]
    assert not found[1].revoked_at
    assert s.mails() == [(f"Certificate of request {s.number} renewed: install it", ["alice@example.ac.uk"])]
    body = mail.outbox[0].body
    assert f"{first.not_after:%-d %B %Y at %H:%M} UTC" in " ".join(body.split())
    # The old one is looked at once more, and is over; the new one goes on.
    s.clock.forward(DAY)
    s.work()
    assert not Renewal.objects.get(certificate=first).next_attempt_at
    assert s.renewal.next_attempt_at
    assert len(s.certificates) == 2


def test_a_certificate_for_the_whole_term_is_followed_by_none(s: Story) -> None:
    with configured(limits={s.ca.name: CaLimits(max_days=365)}):
        s.ask()
        assert not Renewal.objects.exists()
        (one,) = s.certificates
        assert one.not_after == s.request.term_ends_at


def test_each_set_of_names_under_a_request_is_renewed_by_itself(s: Story) -> None:
    s.ask(NAME, "mail.example.ac.uk")
    s.clock.forward(10 * DAY)
    s.another("mail.example.ac.uk")
    s.to(BEGINS + 75 * DAY)
    names = [sorted(one.issuance.names) for one in s.certificates]
    assert names == [["mail.example.ac.uk", NAME], ["mail.example.ac.uk"]] * 2


class TestOnce:
    """Whatever dies, and however many look."""

    @pytest.fixture(autouse=True)
    def due(self, s: Story) -> None:
        s.ask()
        s.clock.now = due_at(s.certificates[0]) + HOUR

    @pytest.mark.parametrize("step", ["_suggestion", "against_renewal", "record_issuance"])
    def test_who_dies_between_the_steps_leaves_it_to_the_next(
        self, s: Story, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        def killed(*_args: object, **_kwargs: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(renewing, step, killed)
            with pytest.raises(KeyboardInterrupt):
                s.work()
        assert Issuance.objects.count() == 1
        s.work()  # somebody may still be at it
        assert Issuance.objects.count() == 1
        s.clock.forward(LEASE)
        s.work()
        assert len(s.certificates) == 2

    def test_who_dies_after_it_is_recorded_leaves_one_issuance(self, s: Story) -> None:
        renew_due(clock=s.clock, limit=10)
        assert Issuance.objects.latest("id").state == Work.WAITING
        s.clock.forward(DAY)
        renew_due(clock=s.clock, limit=10)
        assert Issuance.objects.count() == 2
        s.work()
        s.to(s.clock.now + 3 * DAY)
        assert len(s.certificates) == 2

    def test_many_workers_make_one(self, s: Story) -> None:
        number = s.renewal.pk
        results = support.together([lambda: renew(renewal_id=number, clock=s.clock)] * 4)
        made, _refused = support.outcomes(results)
        assert sum(one is not None for one in made) == 1
        assert Issuance.objects.count() == 2

    def test_a_slow_process_does_not_act_on_what_another_has_done_meanwhile(
        self, s: Story, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def suspended(*_args: object) -> None:
            monkeypatch.undo()
            s.clock.forward(LEASE + HOUR)
            s.work()

        monkeypatch.setattr(renewing, "_suggestion", suspended)
        assert renew(renewal_id=s.renewal.pk, clock=s.clock) is None
        assert len(s.certificates) == 2

    def test_an_answer_that_was_lost_is_looked_up_and_never_asked_for_twice(self, s: Story) -> None:
        ca = FindingCa([OutcomeUnknown("lost"), signed], found=[Absent(), signed], inline=True)
        with configured(backends={ca.name: ca}):
            s.work()
            assert Issuance.objects.latest("id").state == Work.CLAIMED
            s.to(s.clock.now + 3 * DAY)
        assert len(s.certificates) == 2
        assert Issuance.objects.count() == 2

    def test_it_waits_its_turn_behind_what_a_person_asked_for(self, s: Story) -> None:
        with configured(backends={s.ca.name: replace(s.ca, inline=False)}):
            s.another("www.example.ac.uk")
            renew_due(clock=s.clock, limit=10)
            assert Issuance.objects.count() == 2
            s.to(s.clock.now + DAY)
        assert len(s.certificates) == 2  # the person's own has taken its place


class TestOver:
    """Nothing follows."""

    @pytest.mark.parametrize("by", ["alice's manager", "an officer"])
    def test_a_request_that_has_ended(self, s: Story, meg: Actor, by: str) -> None:
        s.ask()
        who = meg if by == "alice's manager" else s.w.olga
        end_request(actor=who, number=s.number, reason="No longer needed.", now=s.clock.now)
        s.to(BEGINS + 100 * DAY)
        assert len(s.certificates) == 1
        assert not s.renewal.next_attempt_at
        assert not s.notes()
        assert not s.mails()

    def test_one_that_ends_while_its_renewal_waits(self, s: Story, meg: Actor) -> None:
        s.ask()
        s.clock.now = due_at(s.certificates[0]) + HOUR
        renew_due(clock=s.clock, limit=10)
        end_request(actor=meg, number=s.number, reason="No longer needed.", now=s.clock.now)
        s.to(s.clock.now + 10 * DAY)
        assert len(s.certificates) == 1
        assert Issuance.objects.latest("id").state == Work.CANCELLED

    def test_one_that_ends_at_the_very_moment(self, s: Story, meg: Actor) -> None:
        s.ask()
        s.clock.now = due_at(s.certificates[0]) + HOUR
        number, now = s.renewal.pk, s.clock.now

        def end() -> None:
            end_request(actor=meg, number=s.number, reason="No longer needed.", now=now)

        support.outcomes(support.together([end, lambda: renew(renewal_id=number, clock=s.clock)]))
        s.to(now + 10 * DAY)
        assert len(s.certificates) == 1
        assert not Issuance.objects.exclude(state__in=(Work.ISSUED, Work.CANCELLED)).exists()

    @pytest.mark.parametrize("reason", list(RevocationReason))
    def test_a_certificate_that_somebody_has_revoked(self, s: Story, reason: RevocationReason) -> None:
        s.ask()
        s.clock.forward(DAY)
        revoke_certificate(actor=s.w.olga, certificate_id=s.certificates[0].pk, reason=reason, clock=s.clock)
        s.to(BEGINS + 100 * DAY)
        assert len(s.certificates) == 1
        assert not s.renewal.next_attempt_at

    def test_one_whose_successor_somebody_has_revoked(self, s: Story) -> None:
        """A person has put another in its place, and no longer wants that either."""
        s.ask()
        s.clock.forward(DAY)
        s.another()
        revoke_certificate(
            actor=s.w.alice,
            certificate_id=s.certificates[1].pk,
            reason=RevocationReason.CESSATION_OF_OPERATION,
            clock=s.clock,
        )
        s.to(BEGINS + 100 * DAY)
        assert len(s.certificates) == 2

    def test_one_whose_revocation_the_ca_has_not_done_yet(
        self, s: Story, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(_ca: ScriptedCa, **_told: object) -> None:
            raise Unavailable("away")

        s.ask()
        monkeypatch.setattr(ScriptedCa, "revoke", away)
        revoke_certificate(
            actor=s.w.alice,
            certificate_id=s.certificates[0].pk,
            reason=RevocationReason.CESSATION_OF_OPERATION,
            clock=s.clock,
        )
        s.to(BEGINS + 100 * DAY)
        assert len(s.certificates) == 1

    def test_one_that_ended_long_ago(self, s: Story) -> None:
        """Its validation had lapsed, and comes back when nobody remembers the server."""
        s.ask()
        ends = s.certificates[0].not_after
        with configured(profiles=profiles(same_key_days=0)):
            s.to(ends + 31 * DAY)
        assert not s.renewal.next_attempt_at
        s.to(ends + 60 * DAY)
        assert len(s.certificates) == 1

    def test_what_its_client_renews(self, s: Story) -> None:
        asked = replace(support.submission(s.w.university), renews_itself=True)
        made = submit_request(actor=s.w.alice, submission=asked, channel="api", clock=s.clock)
        assert Certificate.objects.filter(request_id=made.number).exists()
        assert not Renewal.objects.exists()
        # Over REST as well, for what follows under the request too.
        api = with_token(s.w.alice)
        number = api.upload("/requests", support.csr(NAME), renews_itself="true").json["id"]
        upload = {"csr": support.csr(NAME).decode()}
        assert api.post(f"/requests/{number}/certificates", {**upload, "renews_itself": True}).status == 201
        assert not Renewal.objects.exists()
        upload = {"csr": support.csr(NAME).decode()}
        assert api.post(f"/requests/{number}/certificates", upload).status == 201
        assert Renewal.objects.count() == 1


class TestHeldUp:
    """What can't be renewed is told, and tried again."""

    def test_a_ca_that_is_down_for_days_around_the_date(self, s: Story) -> None:
        s.ask()
        back = due_at(s.certificates[0]) + 6 * DAY

        def answer(intent: Intent) -> Issued:
            if s.clock.now < back:
                raise Unavailable("It is down.")
            return signed(intent)

        s.ca.answers = [answer]
        s.to(back + 2 * DAY, step=HOUR)
        assert len(s.certificates) == 2
        assert Issuance.objects.count() == 2
        told = [subject for subject, _to in s.mails()]
        assert told == [f"Certificate of request {s.number} renewed: install it"]
        assert not Renewal.objects.exclude(problem="").exists()

    def test_while_the_ca_is_down_people_are_told_what_holds_it_up(self, s: Story) -> None:
        s.ask()
        s.ca.answers = [Unavailable("It is down.")]
        s.to(due_at(s.certificates[0]) + 4 * DAY, step=HOUR)
        assert "on its way, but not here yet" in s.renewal.problem
        assert not s.renewal.needs_csr
        assert s.mails() == [(s.not_renewed(), ["alice@example.ac.uk"])]

    def test_a_ca_that_is_gone_for_good_is_given_up_and_tried_again(self, s: Story) -> None:
        s.ask()
        s.ca.answers = [Unavailable("It is down.")]
        s.to(due_at(s.certificates[0]) + 12 * DAY, step=6 * HOUR)
        first, second = Issuance.objects.filter(channel="renewal").order_by("id")
        assert (first.state, second.state) == (Work.REFUSED, Work.WAITING)
        assert "could not be reached in time" in first.detail

    def test_what_may_have_been_issued_already_is_never_asked_for_a_second_time(self, s: Story) -> None:
        s.ask()
        s.ca.answers = [OutcomeUnknown("lost")]  # and this CA can't be asked
        s.to(due_at(s.certificates[0]) + 25 * DAY, step=6 * HOUR)
        (only,) = Issuance.objects.filter(channel="renewal")
        assert only.state == Work.REFUSED
        assert len(s.ca.submitted) == 2
        assert "so we don't ask it again" in s.renewal.problem
        s.ca.answers = [signed]
        s.another()
        assert len(s.certificates) == 2

    def test_a_key_that_is_too_old_asks_for_a_new_csr_once_and_again_as_the_end_comes_near(
        self, s: Story
    ) -> None:
        with configured(profiles=profiles(same_key_days=40)):
            s.ask()
            (first,) = s.certificates
            s.to(first.not_before + 61 * DAY)
            assert s.renewal.needs_csr
            assert len(s.notes()) == 1
            assert "in use for 40 days" in s.notes()[0]
            (told,) = s.mails()
            assert "needs a new CSR" in told[0]
            assert "make a new key and CSR" in " ".join(mail.outbox[0].body.split())
            s.to(first.not_before + 74 * DAY)
            assert not s.mails()
            s.to(first.not_before + 77 * DAY)
            assert len(s.mails()) == 1
            s.to(first.not_before + 87 * DAY)
            assert len(s.mails()) == 1
            assert len(s.notes()) == 1
            assert Issuance.objects.count() == 1
            # A person sends one, and it goes on from there.
            s.another()
            s.to(first.not_before + 89 * DAY)
            assert len(s.certificates) == 2
            assert not Renewal.objects.get(certificate=first).problem
            assert not s.mails()
            s.to(s.clock.now + 65 * DAY)
            assert s.renewal.needs_csr

    def test_a_key_is_as_old_as_its_first_certificate(self, s: Story) -> None:
        with configured(profiles=profiles(same_key_days=100)):
            s.ask()
            s.to(BEGINS + 130 * DAY)
            assert len(s.certificates) == 2
            assert s.renewal.needs_csr

    def test_a_validation_that_has_lapsed(self, s: Story) -> None:
        support.validated("other.ac.uk", of=s.w.university, by=s.w.olga, at=BEGINS - 350 * DAY)
        s.ask("www.other.ac.uk")
        s.to(due_at(s.certificates[0]) + 2 * DAY)
        assert len(s.certificates) == 1
        assert len(s.notes()) == 1
        assert "www.other.ac.uk: nothing proves" in s.renewal.problem
        assert [subject for subject, _to in s.mails()] == [s.not_renewed()]
        page = support.signed_in("alice").page("requests-show", s.number)
        assert "Not renewed yet" in page
        support.validated("other.ac.uk", of=s.w.university, by=s.w.olga, at=s.clock.now)
        s.to(s.clock.now + 2 * DAY)
        assert len(s.certificates) == 2
        assert not Renewal.objects.exclude(problem="").exists()

    def test_an_organisation_that_is_disabled_and_enabled_again(self, s: Story) -> None:
        registrar = s.w.olga
        s.ask()
        disable_organisation(
            actor=registrar, organisation_id=s.w.university, reason="A dispute.", now=s.clock.now
        )
        s.to(due_at(s.certificates[0]) + 2 * DAY)
        assert len(s.certificates) == 1
        assert s.renewal.problem.startswith("This organisation may not request certificates")
        assert not s.renewal.needs_csr
        assert "key" not in s.renewal.problem
        enable_organisation(
            actor=registrar, organisation_id=s.w.university, reason="Settled.", now=s.clock.now
        )
        s.to(s.clock.now + 3 * DAY)
        assert len(s.certificates) == 2

    def test_a_person_who_has_left_may_have_the_key_and_the_managers_are_told(
        self, s: Story, meg: Actor
    ) -> None:
        s.ask()
        assert s.w.alice.user_id is not None
        disable_member(actor=meg, organisation_id=s.w.university, user_id=s.w.alice.user_id, now=s.clock.now)
        s.to(due_at(s.certificates[0]) + DAY)
        assert len(s.certificates) == 1
        assert s.renewal.needs_csr
        assert [to for _subject, to in s.mails()] == [["meg@example.ac.uk"]]
        upload = support.csr(NAME)
        submit_another(actor=meg, number=s.number, upload=upload, channel="portal", clock=s.clock)
        s.to(s.clock.now + 65 * DAY)
        assert len(s.certificates) == 3  # renewed for meg's key

    def test_a_person_who_has_to_change_the_password_has_not_left(self, s: Story, meg: Actor) -> None:
        s.ask()
        assert s.w.alice.user_id is not None
        issue_new_password(actor=meg, user_id=s.w.alice.user_id, now=s.clock.now)
        s.to(due_at(s.certificates[0]) + DAY)
        assert len(s.certificates) == 2

    def test_names_that_the_ra_has_stopped(self, s: Story) -> None:
        s.ask()
        first = s.number
        s.ask()
        end_request(actor=s.w.olga, number=s.number, reason="Not yours.", now=s.clock.now)
        s.number = first
        s.to(due_at(s.certificates[0]) + DAY)
        assert len(s.certificates) == 1
        assert "has stopped request" in s.renewal.problem

    def test_a_blocked_key(self, s: Story) -> None:
        s.ask()
        (first,) = s.certificates
        BlockedKey.objects.create(
            spki_sha256=first.spki_sha256, reason="seen", proof="officer", by="olga", at=s.clock.now
        )
        s.to(due_at(first) + DAY)
        assert len(s.certificates) == 1
        assert s.renewal.needs_csr

    def test_a_key_that_another_organisation_has_used_since(self, s: Story) -> None:
        """It has the private key, for it has signed a CSR with it."""
        key = ec.generate_private_key(ec.SECP256R1())
        asked = support.submission(s.w.university, upload=support.csr(NAME, key=key))
        made = submit_request(actor=s.w.alice, submission=asked, channel="portal", clock=s.clock)
        s.number = made.number
        support.sent(support.outsider("other.ac.uk"), support.csr("www.other.ac.uk", key=key))
        s.to(due_at(s.certificates[0]) + DAY)
        assert len(s.certificates) == 1
        assert s.renewal.needs_csr
        assert "not yours alone" in s.renewal.problem


@dataclass(slots=True)
class SuggestingCa(ScriptedCa):
    """One that says when to renew, or why it doesn't."""

    suggested: object = None
    asked: int = 0

    def suggested_window(self, *, certificate_der: bytes) -> Suggestion | None:
        """Answer as the test says."""
        assert certificate_der
        self.asked += 1
        if isinstance(self.suggested, Exception):
            raise self.suggested
        return self.suggested  # type: ignore[return-value]  # as the test says


class TestTheWordOfTheCa:
    """RFC 9773."""

    @pytest.fixture
    def ca(self, s: Story) -> Iterator[SuggestingCa]:
        one = SuggestingCa([signed], inline=True)
        s.ca = one
        with configured(backends={one.name: one}):
            yield one

    def test_it_is_asked_twice_a_day_and_its_word_counts(self, s: Story, ca: SuggestingCa) -> None:
        s.ask()
        s.to(BEGINS + 10 * DAY)
        assert 15 <= ca.asked <= 20
        window = Window(start=s.clock.now + DAY, end=s.clock.now + 2 * DAY)
        ca.suggested = Suggestion(window=window, ask_again_at=s.clock.now + 6 * HOUR)
        while len(s.certificates) < 2 and s.clock.now < window.end + HOUR:
            s.to(s.clock.now + HOUR)
        assert window.start <= s.certificates[1].created_at <= window.end + HOUR

    def test_a_ca_that_does_not_answer_is_asked_once_a_round(self, s: Story, ca: SuggestingCa) -> None:
        for name in ("a.example.ac.uk", "b.example.ac.uk", "c.example.ac.uk"):
            s.ask(name)
        ca.suggested = Unavailable("away")
        s.clock.forward(13 * HOUR)
        s.work()
        assert ca.asked == 1

    def test_a_ca_that_wants_every_renewal_at_once_does_not_have_us_run_in_circles(
        self, s: Story, ca: SuggestingCa
    ) -> None:
        s.ask()
        window = Window(start=BEGINS - 2 * DAY, end=BEGINS - DAY)
        ca.suggested = Suggestion(window=window, ask_again_at=BEGINS)
        s.to(BEGINS + 5 * DAY)
        assert len(s.certificates) <= 11

    def test_a_ca_that_wants_to_be_asked_next_year_is_asked_each_day(
        self, s: Story, ca: SuggestingCa
    ) -> None:
        s.ask()
        window = Window(start=BEGINS + 50 * DAY, end=BEGINS + 51 * DAY)
        ca.suggested = Suggestion(window=window, ask_again_at=BEGINS + 365 * DAY)
        s.to(BEGINS + 10 * DAY)
        assert 9 <= ca.asked <= 11

    def test_at_once_means_at_the_next_look(self, s: Story, ca: SuggestingCa) -> None:
        s.ask()
        ca.suggested = Suggestion(
            window=Window(start=BEGINS - 2 * DAY, end=BEGINS - DAY), ask_again_at=BEGINS + DAY
        )
        s.to(BEGINS + 12 * HOUR)
        assert len(s.certificates) == 2
        assert [intent.replaces for intent in ca.submitted] == [b"", bytes(s.certificates[0].der)]

    @pytest.mark.parametrize(
        "suggested", [Unavailable("away"), Misconfigured("no account"), RuntimeError("broken"), None]
    )
    def test_without_its_word_two_thirds_count(self, s: Story, ca: SuggestingCa, suggested: object) -> None:
        s.ask()
        ca.suggested = suggested
        s.to(due_at(s.certificates[0]) - HOUR)
        assert len(s.certificates) == 1
        s.to(s.clock.now + 2 * HOUR)
        assert len(s.certificates) == 2

    def test_an_operators_advice_counts_for_what_we_renew_too(self, s: Story) -> None:
        op = support.actor("op", ra=RaRole.OPERATOR)
        s.ask()
        advice = partial(
            advise_renewal,
            actor=op,
            starts_at=BEGINS + 5 * DAY,
            ends_at=BEGINS + 7 * DAY,
            reason="The CA revokes them.",
            now=BEGINS + DAY,
        )
        other = advice(matching=Matching(issuer="CN=Nobody"))
        s.to(BEGINS + 8 * DAY)
        assert len(s.certificates) == 1
        s.clock.now = BEGINS + DAY
        withdrawn = advice(matching=Matching())
        withdraw_advice(actor=op, advice_id=withdrawn, now=BEGINS + 2 * DAY)
        s.to(BEGINS + 8 * DAY)
        assert len(s.certificates) == 1
        s.clock.now = BEGINS + DAY
        advice(matching=Matching(spki_sha256=s.certificates[0].spki_sha256))
        s.to(BEGINS + 8 * DAY)
        assert len(s.certificates) == 2
        assert other


@dataclass(slots=True)
class ChoosingCa(ScriptedCa):
    """One that says itself how long a certificate lasts."""

    chooses_validity: bool = True


def test_a_ca_that_chooses_how_long_one_lasts_is_not_asked_for_what_would_outlast_the_term(s: Story) -> None:
    def its_own(intent: Intent) -> Issued:
        return signed(replace(intent, not_after=intent.not_before + 100 * DAY))

    ca = ChoosingCa([its_own], inline=True)
    with configured(backends={ca.name: ca}, limits={}):
        s.ask()
        s.to(BEGINS + 290 * DAY)
        ends_at = s.request.term_ends_at
    assert ends_at is not None
    assert all(one.not_after <= ends_at for one in s.certificates)
    assert not Certificate.objects.filter(withheld=True).exists()
    assert len(s.certificates) == 4
    assert "Make a new request" in s.renewal.problem


class TestTold:
    """Until when, about how many certificates, the next on which day: pages, REST and command line."""

    @pytest.fixture
    def day(self, s: Story) -> Iterator[Callable[[datetime], str]]:
        s.clock.now = support.NOW
        support.validated("example.ac.uk", of=s.w.university, by=s.w.olga, at=support.NOW - HOUR)
        with configured(limits={s.ca.name: CaLimits(max_days=90)}):
            yield times.day

    def test_the_preview(self, s: Story, day: Callable[[datetime], str]) -> None:
        form = {"csr_text": support.csr(NAME).decode(), "duration_years": 1, "server_software": "nginx"}
        page = support.signed_in("alice").sent("requests-preview", **form)
        seen = preview_request(
            actor=s.w.alice, submission=support.submission(s.w.university), now=support.NOW
        ).term
        assert seen is not None
        assert seen.next_at is not None
        assert f"{day(seen.ends_at)}, about 6 certificates, the next on {day(seen.next_at)}" in page
        assert "90 days for the first" in page
        assert "until its key has been in use for 398 days" in page
        with configured(limits={}):
            page = support.signed_in("alice").sent("requests-preview", **form)
        assert "one certificate for the whole term" in page
        assert "about" not in page.partition("Term, if accepted now")[2].partition("</dl>")[0]

    def test_the_request_s_page_rest_and_command_line(
        self, s: Story, day: Callable[[datetime], str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        s.ask()
        ends_at, due = s.request.term_ends_at, s.renewal.due_at
        assert ends_at is not None
        page = support.signed_in("alice").page("requests-show", s.number)
        assert f"Until {day(ends_at)}, about 6 certificates, the next on {day(due)}" in page
        told = with_token(s.w.alice).get(f"/requests/{s.number}").json
        expected = {"certificates": 6, "needs_csr": False, "problem": "", "duration_years": 1}
        assert told["term"] | expected == told["term"]
        show.request(told)
        seen = capsys.readouterr().out
        assert f"until {ends_at:%Y-%m-%d}, about 6 certificates, the next on {due:%Y-%m-%d}" in seen
        # A nudge says what to do.
        Renewal.objects.update(problem="The key has been in use for 398 days.", needs_csr=True)
        page = support.signed_in("alice").page("requests-show", s.number)
        assert "A new CSR is needed" in page
        assert "Send a new CSR" in page
        told = with_token(s.w.alice).get(f"/requests/{s.number}").json
        assert told["term"]["needs_csr"]
        show.request(told)
        assert "in use for 398 days. Send a new CSR." in capsys.readouterr().out

    def test_an_ended_request_says_nothing_of_renewals(self, s: Story, day: object, meg: Actor) -> None:
        del day
        s.ask()
        end_request(actor=meg, number=s.number, reason="Enough.", now=support.NOW)
        page = support.signed_in("alice").page("requests-show", s.number)
        assert "the next on" not in page
        told = with_token(s.w.alice).get(f"/requests/{s.number}").json
        assert (told["term"]["next_at"], told["term"]["certificates"]) == (None, 1)

    def test_another_certificate_s_preview_tells_both_ends(self, s: Story, day: object) -> None:
        del day
        s.ask()
        page = support.signed_in("alice").sent(
            "requests-another", s.number, csr_text=support.csr(NAME).decode()
        )
        assert "We renew it until the term of the request ends on" in page


def test_what_is_due_is_found_by_an_index() -> None:
    due = Renewal.objects.filter(next_attempt_at__lte=BEGINS).order_by("next_attempt_at")
    with transaction.atomic():
        if connection.vendor == "postgresql":  # which reads a small table as a whole
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL enable_seqscan = off")
        assert "renewal_due" in due.explain()
