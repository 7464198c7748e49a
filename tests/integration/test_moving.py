"""Moving from one CA to another: what stands in the way, batches, once each, and the way back."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from click.testing import CliRunner, Result
from django.db import connection, transaction

from certdesk.cli import ca_move
from certdesk.cli.ca import ca as commands
from certdesk.dcv.caa import CaaChecked, check_caa
from certdesk.dcv.conformance import ScriptedResolver
from certdesk.dcv.resolver import Answer
from certdesk.dcv.resolver import Status as DnsStatus
from certdesk.domain.actors import SYSTEM, Actor
from certdesk.domain.errors import InvalidInput, Misconfigured, NotAuthorized, StateConflict
from certdesk.domain.issuing.cas import CaLimits
from certdesk.domain.issuing.certificates import Refused
from certdesk.domain.issuing.profiles import BUILT_IN, Profile
from certdesk.domain.policy.file import read_policy
from certdesk.domain.policy.in_force import KeyType
from certdesk.domain.validation.caa import Question
from certdesk.domain.validation.evidence import Method
from certdesk.services.acme.renewal import Matching, advise_renewal
from certdesk.services.issuance import engine
from certdesk.services.issuance.move_plan import Plan, plan_move
from certdesk.services.issuance.moving import Batch, Scope, Stage, move_batch
from certdesk.services.people.membership import disable_member
from certdesk.services.requests import renewing
from certdesk.services.requests.asking import end_request
from certdesk.services.requests.confirm import submit_another, submit_request
from certdesk.services.requests.renewing import renew_due
from certdesk.services.system import runtime
from certdesk.services.system.runtime import CaaSettings
from certdesk.services.validation.by_email import add_domain
from certdesk.services.validation.ca_states import note_ca_state
from certdesk.services.validation.persistent import watch_due, watch_record
from certdesk.store.models import (
    AuditEvent,
    Certificate,
    Domain,
    Issuance,
    Renewal,
    Revocation,
    ValidationRecord,
)
from tests.harness.acme_client import AcmeClient
from tests.integration import support
from tests.integration.acme_support import AcmeWorld
from tests.integration.proving import Outside
from tests.integration.support import NOW, Clock, ScriptedCa, World, audit_problems, configured, signed

pytestmark = pytest.mark.django_db(transaction=True)
DAY = timedelta(days=1)
THERE = Scope(from_ca="old", to_ca="new")
BACK = Scope(from_ca="new", to_ca="old")


def listing(*cas: str, **changes: object) -> Mapping[str, Profile]:
    """The usual profile, which asks these CAs in this order."""
    usual = replace(BUILT_IN["tls-server"], cas=cas, **changes)  # type: ignore[arg-type]  # fields of all types
    return {**BUILT_IN, "tls-server": usual}


@dataclass(slots=True)
class Move:
    """Two CAs that answer at once, and what passes between them."""

    w: World
    clock: Clock
    old: ScriptedCa
    new: ScriptedCa

    def ask(self, *names: str, years: int = 1) -> int:
        """Ask for a certificate; the number of its request."""
        asked = support.submission(self.w.university, *names, years=years)
        done = submit_request(actor=self.w.alice, submission=asked, channel="portal", clock=self.clock)
        return done.number

    def plan(self, scope: Scope = THERE) -> Plan:
        return plan_move(actor=SYSTEM, scope=scope, now=self.clock.now)

    def run(self, limit: int = 100, scope: Scope = THERE) -> Batch:
        return move_batch(actor=SYSTEM, scope=scope, limit=limit, now=self.clock.now)

    def work(self) -> None:
        """What a worker does at this moment."""
        renew_due(clock=self.clock, limit=100)
        for number in engine.due_issuances(now=self.clock.now):
            engine.drive(issuance_id=number, clock=self.clock)

    def stages(self, scope: Scope = THERE) -> dict[int, Stage]:
        """How far each request's certificate is."""
        return {one.request: one.stage for one in self.plan(scope).standing}

    def cas(self, number: int) -> list[str]:
        """The CAs of a request's certificates, oldest first."""
        rows = Certificate.objects.filter(request_id=number, withheld=False).order_by("id")
        return list(rows.values_list("issuance__backend", flat=True))


def with_cas(*cas: str, **changes: object) -> AbstractContextManager[None]:
    """The file of CAs says so from now on."""
    limits = changes.pop("limits", runtime.current().limits)
    return configured(profiles=listing(*cas, **changes), limits=limits)


@pytest.fixture
def m(w: World, meg: Actor) -> Iterator[Move]:
    """Certificates for a year from the old CA, and the new one is not in the profile yet."""
    del meg
    old = ScriptedCa([signed], name="old", title="The old CA", inline=True)
    new = ScriptedCa([signed], name="new", title="The new CA", inline=True)
    backends = {"old": old, "new": new}
    with configured(backends=backends, default_backend="old", profiles=listing("old")):
        yield Move(w, Clock(NOW), old, new)


def test_all_move_batch_by_batch_and_nothing_is_revoked(m: Move) -> None:
    numbers = [m.ask() for _ in range(3)]
    with with_cas("new", "old"):
        assert set(m.stages().values()) == {Stage.NOT_BEGUN}
        first = m.run(2)
        assert (len(first.begun), first.left) == (2, 1)
        assert sorted(m.stages().values()) == ["not_begun", "under_way", "under_way"]
        m.work()
        assert [m.cas(number) for number in numbers] == [["old", "new"], ["old", "new"], ["old"]]
        second = m.run(2)
        assert (len(second.begun), second.left) == (1, 0)
        m.work()
        assert [m.cas(number) for number in numbers] == [["old", "new"]] * 3
        assert (m.plan().moved, m.plan().standing) == (3, ())
        assert m.run(2) == Batch(begun=(), left=0)
        m.clock.forward(30 * DAY)
        m.work()
        assert [m.cas(number) for number in numbers] == [["old", "new"]] * 3
    assert not Certificate.objects.filter(revoked_at__isnull=False).exists()
    same = Certificate.objects.filter(request_id=numbers[0]).values_list("spki_sha256", flat=True)
    assert len(set(same)) == 1
    assert AuditEvent.objects.filter(action="certificate.move").count() == 3
    assert audit_problems() == []


def test_a_profile_has_to_put_the_new_ca_first(m: Move) -> None:
    m.ask()
    assert m.plan().lists == {"tls-server": 'cas = ["new", "old"]'}
    with pytest.raises(StateConflict, match=r'\[profiles.tls-server\] cas = \["new", "old"\]'):
        m.run()
    with with_cas("old", "new"), pytest.raises(StateConflict, match="does not come before"):
        m.run()
    assert not AuditEvent.objects.filter(action="certificate.move").exists()
    with with_cas("new"):
        assert m.plan().lists == {}
        assert len(m.run().begun) == 1


def test_two_runs_at_once_take_each_certificate_once(m: Move) -> None:
    numbers = [m.ask() for _ in range(4)]
    with with_cas("new", "old"):
        done = support.together([partial(m.run, 3)] * 3)
        batches = [one for one in done if isinstance(one, Batch)]
        assert len(batches) == 3, done
        taken = [number for batch in batches for number in batch.begun]
        assert len(taken) == len(set(taken)) == 4
        assert AuditEvent.objects.filter(action="certificate.move").count() == 4
        results = support.together([m.work] * 3)
        assert not [one for one in results if isinstance(one, Exception)]
        m.clock.forward(timedelta(minutes=30))
        m.work()
    assert [m.cas(number) for number in numbers] == [["old", "new"]] * 4
    assert len(m.new.submitted) == 4
    assert audit_problems() == []


@pytest.mark.parametrize("act", ["a batch", "advice"])
def test_what_begins_while_a_worker_looks_is_not_lost(
    m: Move, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    """What the worker writes of a certificate that is not due yet puts off neither a move nor an advice."""
    limits = {name: CaLimits(max_days=90) for name in ("old", "new")}
    with with_cas("old", limits=limits):
        number = m.ask()
    with with_cas("new", "old", limits=limits):
        m.clock.forward(timedelta(hours=1))
        Renewal.objects.update(next_attempt_at=m.clock.now)
        now, usual = m.clock.now, renewing._next_look

        def run() -> None:
            if act == "advice":
                soon = now + timedelta(seconds=1)
                why = "The CA is about to revoke."
                advise_renewal(
                    actor=SYSTEM, starts_at=now, ends_at=soon, reason=why, matching=Matching(), now=now
                )
            else:
                m.run()
            connection.close()

        other = threading.Thread(target=run)

        def meanwhile(*args: Any, **more: Any) -> datetime:
            other.start()
            other.join(timeout=0.5)  # as far as it comes while the worker is amid its transaction
            return usual(*args, **more)

        monkeypatch.setattr(renewing, "_next_look", meanwhile)
        m.work()
        other.join(timeout=60)
        monkeypatch.undo()
        m.clock.forward(timedelta(minutes=1))
        m.work()
        assert m.cas(number) == ["old", "new"]


def test_a_crash_between_batch_and_worker_loses_nothing(m: Move) -> None:
    number = m.ask()
    with with_cas("new", "old"):
        m.run()
        assert m.run().begun == ()  # the same again, before any worker has looked
        m.clock.forward(DAY)
        m.work()
        assert m.cas(number) == ["old", "new"]


def test_the_way_back(m: Move) -> None:
    moved, waits = m.ask(), m.ask()
    with with_cas("new", "old"):
        m.run(1)
        m.work()
        m.run(1)  # no worker looks
    with with_cas("old", "new"):
        m.work()
        assert (m.cas(moved), m.cas(waits)) == (["old", "new"], ["old"])
        done = m.run(scope=BACK)
        assert len(done.begun) == 1
        m.work()
        assert (m.cas(moved), m.cas(waits)) == (["old", "new", "old"], ["old"])
        assert m.plan(BACK).moved == 1
        # What fills its term and is not to move any more is left in peace.
        m.clock.forward(300 * DAY)
        m.work()
        assert m.cas(waits) == ["old"]
        assert not Renewal.objects.filter(next_attempt_at__isnull=False).exists()
    assert AuditEvent.objects.filter(action="ca.move_undone").count() == 1
    with with_cas("new", "old"):
        assert m.stages() == {moved: Stage.NOT_BEGUN, waits: Stage.NOT_BEGUN}
    assert audit_problems() == []


def test_nothing_moves_while_the_file_says_otherwise_or_the_ca_is_stopped(m: Move) -> None:
    number = m.ask()
    with with_cas("new", "old"):
        m.run()
    with with_cas("old", "new"):
        m.work()
        assert m.cas(number) == ["old"]
        m.clock.forward(300 * DAY)  # it fills its term, so that nothing else would follow
        m.work()
        assert m.cas(number) == ["old"]
    with with_cas("new", "old"):
        m.clock.forward(timedelta(hours=2))
        m.work()
    assert m.cas(number) == ["old", "new"]


def test_what_has_ended_was_replaced_or_is_revoked_does_not_move(m: Move) -> None:
    ended, replaced, revoked = m.ask(), m.ask("www.example.ac.uk"), m.ask()
    Revocation.objects.create(
        certificate=Certificate.objects.get(request_id=revoked),
        reason="unspecified",
        actor="alice",
        requested_at=NOW,
        next_attempt_at=NOW,
    )
    end_request(actor=m.w.olga, number=ended, reason="The host is gone.", now=NOW)
    with with_cas("new", "old"):
        upload = support.csr("www.example.ac.uk")
        submit_another(actor=m.w.alice, number=replaced, upload=upload, channel="portal", clock=m.clock)
        assert m.cas(replaced) == ["old", "new"]
        plan = m.plan()
        assert plan.moved == 1
        assert {one.request: one.stage for one in plan.standing} == {ended: Stage.ENDS}
        assert m.run().begun == ()


def test_a_key_that_is_too_old_needs_a_new_csr_and_so_does_one_of_who_has_left(m: Move) -> None:
    number = m.ask()
    with with_cas("new", "old", same_key_days=0):
        assert m.stages() == {number: Stage.NEW_CSR}
        assert not m.plan().is_clear
        assert m.run().begun == ()
    meg = support.manager(m.w)
    user = m.w.alice.user_id
    assert user is not None
    disable_member(actor=meg, organisation_id=m.w.university, user_id=user, now=NOW)
    with with_cas("new", "old"):
        (one,) = m.plan().standing
        assert one.stage is Stage.NEW_CSR
        assert "alice" in one.against[0]


def test_what_the_new_ca_does_not_take_is_said_before(m: Move) -> None:
    number = m.ask(years=2)
    limits = {"new": CaLimits(key_types=(KeyType.RSA,))}
    with with_cas("old", limits=limits):
        (one,) = m.plan().standing
        assert one.stage is Stage.HELD_UP
        assert "RSA" in " ".join(one.against)
    # The old one alone reaches to the end of the term: it has to leave the list.
    limits = {"new": CaLimits(max_days=90)}
    with with_cas("old", limits=limits):
        assert m.plan().lists == {"tls-server": 'cas = ["new"]'}
        assert m.stages() == {number: Stage.NOT_BEGUN}
    with with_cas("new", "old", limits=limits):
        (one,) = m.plan().standing
        assert (one.stage, one.rolls_days) == (Stage.HELD_UP, 90)
        assert "out of the profile’s list" in one.against[0]
        assert m.run().begun == ()
    with with_cas("new", limits=limits):
        assert m.stages() == {number: Stage.NOT_BEGUN}
        assert m.plan().rolls == {90: 1}
        m.run()
        m.work()
    assert m.cas(number) == ["old", "new"]


def test_a_ca_that_refuses_holds_it_up_with_its_reason(m: Move) -> None:
    number = m.ask()
    m.new.answers = [Refused(reason="The name is not validated here."), signed]
    with with_cas("new", "old"):
        m.run()
        m.work()
        m.clock.forward(timedelta(hours=1))
        m.new.answers.insert(0, Refused(reason="The name is not validated here."))
        m.work()
        (one,) = m.plan().standing
        assert (one.stage, one.against) == (Stage.HELD_UP, ("The name is not validated here.",))
        m.clock.forward(DAY)
        m.work()
    assert m.cas(number) == ["old", "new"]
    assert not Issuance.objects.filter(request_id=number, state="claimed").exists()


def test_a_public_ca_takes_no_officers_word(m: Move) -> None:
    m.ask("www.example.ac.uk")
    m.ask()
    assert m.plan().validations == ()
    limits = {"new": CaLimits(public=True)}
    with with_cas("old", limits=limits):
        (one,) = m.plan().validations
        assert (one.organisation, one.domain, one.certificates) == ("example-university", "example.ac.uk", 2)
        assert one.why == "Ownership checked by an RA officer: that does not count for a public CA."


def test_a_policy_of_the_new_ca_holds_in_the_plan_before_it_is_asked(m: Move) -> None:
    m.ask("www.example.ac.uk", "mail.example.ac.uk")
    assert m.plan().is_clear
    with configured(policy=read_policy("version = 1\n[ca.new]\nmax_names = 1")), with_cas("old"):
        (one,) = m.plan().standing
        assert one.stage is Stage.HELD_UP
        assert "at most 1 are accepted here" in one.against[0]


def test_only_operators_and_only_what_there_is(m: Move) -> None:
    with pytest.raises(NotAuthorized):
        plan_move(actor=m.w.alice, scope=THERE, now=NOW)
    with pytest.raises(NotAuthorized):
        move_batch(actor=m.w.olga, scope=THERE, limit=1, now=NOW)
    for scope in (
        replace(THERE, organisation="nobody"),
        replace(THERE, profile_id="nothing"),
        replace(THERE, to_ca="old"),
        replace(THERE, from_ca="odl"),
    ):
        with pytest.raises(InvalidInput):
            plan_move(actor=SYSTEM, scope=scope, now=NOW)


def test_one_organisation_or_profile_alone(m: Move) -> None:
    m.ask()
    for scope, count in (
        (replace(THERE, organisation="example-university"), 1),
        (replace(THERE, profile_id="tls-server-ip"), 0),
        (replace(THERE, profile_id="tls-server"), 1),
    ):
        assert len(m.plan(scope).standing) == count


def test_acme_clients_and_those_that_renew_themselves_are_left_to_them(
    here: AcmeWorld, one: AcmeClient
) -> None:
    old = ScriptedCa([signed], name="old", inline=True)
    new = ScriptedCa([signed], name="new", inline=True)
    with configured(backends={"old": old, "new": new}, default_backend="old", profiles=listing("old")):
        m = Move(here.world, Clock(NOW), old, new)
        one.issue("www.example.ac.uk")
        number = Certificate.objects.get().request_id
        assert m.stages() == {number: Stage.CLIENT}
        limits = {"new": CaLimits(public=True)}
        with with_cas("old", limits=limits):
            assert m.plan().validations == ()  # its client proves the name with each order
        with with_cas("new", "old"):
            assert m.run() == Batch(begun=(), left=0)
            assert m.plan().is_clear
            one.issue("www.example.ac.uk")
            assert m.cas(number) == ["old", "new"]
            assert (m.plan().moved, m.plan().standing) == (1, ())
        ValidationRecord.objects.update(expires_at=NOW)
        assert m.stages(BACK) == {number: Stage.CLIENT}


def test_from_the_embedded_ca_and_back(w: World) -> None:
    new = ScriptedCa([signed], name="new", inline=True)
    backends = {**runtime.current().backends, "new": new}
    there = Scope(from_ca="embedded", to_ca="new")
    with configured(backends=backends, profiles=listing("embedded")):
        m = Move(w, Clock(NOW), new, new)
        number = m.ask()
        plan = m.plan(there)
        assert len(plan.chain_from) == 2
        assert {link.pin for link in plan.chain_from}.isdisjoint(link.pin for link in plan.chain_to)
        with with_cas("new", "embedded"):
            m.run(scope=there)
            m.work()
        with with_cas("embedded", "new"):
            m.run(scope=Scope(from_ca="new", to_ca="embedded"))
            m.work()
        assert m.cas(number) == ["embedded", "new", "embedded"]


def test_caa_records_that_let_only_the_old_ca_issue_are_to_be_changed(m: Move) -> None:
    m.ask("www.example.ac.uk", "mail.example.ac.uk")
    answer = Answer(status=DnsStatus.OK, values=('0 issue "old.example"',), server="192.0.2.53#53")
    resolver = ScriptedResolver(answers={("www.example.ac.uk", "CAA"): answer})
    depths = set[bool]()

    def ask(question: Question, now: datetime) -> CaaChecked:
        depths.add(transaction.get_connection().in_atomic_block)
        return check_caa(question, resolver=resolver, now=now)

    asked = partial(plan_move, actor=SYSTEM, scope=THERE, now=NOW)
    with configured(caa=CaaSettings(ask=ask)), with_cas("new", "old"):
        (one,) = asked(issuer="new.example", asks_dns=True).records
        assert (one.name, one.line) == ("www.example.ac.uk", 'www.example.ac.uk. CAA 0 issue "new.example"')
        assert not asked(issuer="new.example", asks_dns=True).is_clear
        assert asked(issuer="old.example", asks_dns=True).records == ()
        assert asked(issuer="new.example").records == ()
    assert depths == {False}
    with configured(caa=CaaSettings(ask=None)), pytest.raises(InvalidInput, match="DNS"):
        asked(asks_dns=True)


def test_persistent_records_have_to_name_the_new_ca(m: Move, net: Outside) -> None:
    added = add_domain(actor=m.w.alice, organisation_id=m.w.university, name="new.ac.uk", now=NOW)
    watch_record(actor=m.w.alice, domain_id=added, wildcard=True, now=NOW)
    net.persistent["new.ac.uk"] = Method.DNS_PERSIST_WILDCARD
    watch_due(clock=m.clock, limit=10)
    m.ask("www.new.ac.uk")
    assert m.plan().records == ()
    (one,) = plan_move(actor=SYSTEM, scope=THERE, issuer="new.example", now=NOW).records
    assert one.line.startswith("_validation-persist.new.ac.uk. ")
    assert "new.example; accounturi=" in one.line
    # It is looked at every day, so that nobody has to do anything about its end.
    assert m.plan().validations == ()


def test_a_proof_that_ends_soon_and_what_the_ca_itself_says(m: Move) -> None:
    m.ask(years=3)
    m.clock.now = ValidationRecord.objects.get().expires_at - 20 * DAY
    (one,) = m.plan().validations
    assert one.why == "Ownership checked by an RA officer: it ends amid the move."
    domain = Domain.objects.get(adn="example.ac.uk").pk
    noted = partial(note_ca_state, actor=m.w.olga, domain_id=domain, ca="The new CA")
    noted(valid_until=None, now=NOW)
    assert any("said on" in one.why for one in m.plan().validations)
    noted(valid_until=m.clock.now + 90 * DAY, now=NOW)
    assert not any("said on" in one.why for one in m.plan().validations)


class TestCommand:
    """`certdesk ca move`: what it prints, and how it ends."""

    @pytest.fixture(autouse=True)
    def django_is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The test run has set Django up; the command's own logging would outlive it."""
        monkeypatch.setattr(ca_move, "_set_up", lambda: None)

    @staticmethod
    def call(*arguments: str) -> Result:
        return CliRunner().invoke(commands, ["move", *arguments])

    def test_a_plan_a_run_and_how_far_it_is(self, m: Move) -> None:
        number = m.ask()
        done = self.call("plan", "old", "new")
        assert (done.exit_code, "Nothing stands in the way." in done.stdout) == (0, True)
        assert '  [profiles.tls-server] cas = ["new", "old"]' in done.stdout
        assert "1 not begun: the next batches renew them for the same CSR." in done.stdout
        assert "  new: CN=Scripted root, pin-sha256 " in done.stdout
        assert isinstance(self.call("run", "old", "new").exception, StateConflict)
        with with_cas("new", "old"):
            assert "[profiles" not in self.call("plan", "old", "new").stdout
            found = json.loads(self.call("plan", "old", "new", "--json").stdout)
            assert found["counts"] == {"not_begun": 1}
            assert found["standing"][0]["request"] == number
            done = self.call("run", "old", "new", "--batch", "10", "--organisation", "example-university")
            assert done.stdout == "Begun: 1. To be looked at by the next batches: 0.\n"
            done = self.call("status", "old", "new")
            assert done.stdout == "Moved: 0.\n1 under way: the worker renews them.\n"
            m.clock.now = Renewal.objects.get().next_attempt_at or NOW
            m.work()
            assert self.call("status", "old", "new").stdout == "Moved: 1.\n"
            assert json.loads(self.call("status", "old", "new", "--json").stdout)["moved"] == 1

    def test_what_holds_it_up_is_said_with_its_requests(self, m: Move) -> None:
        number = m.ask()
        with with_cas("new", "old", same_key_days=0):
            done = self.call("plan", "old", "new", "--profile", "tls-server")
        assert done.exit_code == 1
        assert "1 need a new CSR from a person." in done.stdout
        reason = "Each certificate of this kind has a key of its own. Send a CSR with a new key."
        assert f"  1: {reason} (requests {number})" in done.stdout
        assert isinstance(self.call("plan", "old", "nobody").exception, Misconfigured)
        assert isinstance(self.call("run", "old", "old").exception, InvalidInput)
