"""The issuing cycle against CAs that are slow, unsure, wrong or broken, and against changed facts (W2)."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection

from certdesk.domain.actors import SYSTEM
from certdesk.domain.certificates import Accepted, Intent, Issued, Refused, certificate_facts
from certdesk.domain.csr import read_csr
from certdesk.domain.errors import (
    BackendRefused,
    OutcomeUnknown,
    PolicyRefused,
    StateConflict,
    Unavailable,
)
from certdesk.domain.requests import Event, RequestId, State, Status, Work
from certdesk.services import runtime
from certdesk.services.decisions import reject_request
from certdesk.services.organisations import Evidence
from certdesk.services.requests import create_request
from certdesk.store.models import (
    AuditEvent,
    BlockedKey,
    Certificate,
    Issuance,
    Organisation,
    Request,
    RequestEvent,
    Revocation,
    ValidationRecord,
)
from certdesk.store.selectors.certificates import Filters, list_certificates
from tests.integration.support import (
    NOW,
    Clock,
    FindingCa,
    ScriptedCa,
    World,
    approve_only,
    audit_problems,
    backend,
    csr,
    drive,
    due,
    events_of,
    issuance_of,
    issue,
    signed,
    state_of,
    submission,
    submit,
    validated,
    world,
)

pytestmark = pytest.mark.django_db(transaction=True)


def _accepted(w: World, *names: str) -> RequestId:
    """A request for three years that policy has accepted and that nobody has handed to a CA."""
    asked = submission(w.university, *names, years=3)
    made = create_request(actor=w.alice, submission=asked, channel="portal", now=NOW)
    assert made.status is Status.ACCEPTED
    return made.number


def _row(number: int) -> Request:
    return Request.objects.get(id=number)


def _due(clock: Clock, number: int) -> bool:
    return number in due(now=clock.now)


def _pass_until_due(clock: Clock, number: int) -> timedelta:
    due = issuance_of(number).next_attempt_at
    assert due is not None
    waited = due - clock.now
    clock.now = due
    return waited


def _expect_nothing_sent(number: int) -> None:
    assert not Certificate.objects.exists()
    issuance = issuance_of(number)
    assert (issuance.state, issuance.intent_key) == (Work.WAITING, None)


def _expect_withheld(number: int) -> None:
    """What came is kept, nobody can have it, and the CA is told to revoke it."""
    certificate = Certificate.objects.get()
    assert certificate.withheld
    assert Revocation.objects.get().certificate_id == certificate.pk
    assert list_certificates(actor=SYSTEM, filters=Filters(), now=NOW) == []
    assert "issue" not in events_of(number)


def _reasons(number: int) -> str:
    return _row(number).detail


class TestTheEmbeddedCa:
    def test_issues_in_one_straight_line(self) -> None:
        w = world()
        made = submit(w.alice, "www.example.ac.uk", "example.ac.uk")
        assert made.status is Status.ISSUED
        certificate = Certificate.objects.get(request=made.number)
        facts = certificate_facts(bytes(certificate.der))
        assert sorted(facts.names) == ["example.ac.uk", "www.example.ac.uk"]
        assert sorted(certificate.names.values_list("name", flat=True)) == sorted(facts.names)
        issuance = Issuance.objects.get()
        assert (issuance.state, issuance.serial) == ("issued", certificate.serial)
        assert certificate.issuance_id == issuance.pk
        assert issuance.next_attempt_at is None
        assert audit_problems() == []

    def test_lint_stops_it_before_anything_is_signed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        w = world()
        number = _accepted(w)
        embedded = runtime.current().backend("embedded")

        def refuse(_self: object, _intent: Intent) -> Intent:
            raise BackendRefused("The certificate would break rules and is not signed: BR 7.1.2.7")

        monkeypatch.setattr(type(embedded), "prepare", refuse)
        monkeypatch.setattr(type(embedded), "submit", lambda *_args: pytest.fail("it was signed"))
        assert issue(number, clock=Clock()) is Status.REJECTED_BY_CA
        assert "BR 7.1.2.7" in _reasons(number)
        assert Issuance.objects.get().intent_key is None
        assert not Certificate.objects.exists()
        assert events_of(number) == ["create", "claim", "ca_refuse"]
        assert not _due(Clock(NOW + timedelta(days=9)), number)

    def test_another_serial_is_never_offered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        w = world()
        number = _accepted(w)
        monkeypatch.setattr(
            type(runtime.current().backend("embedded")), "submit", lambda _self, intent: signed(intent)
        )
        assert issue(number, clock=Clock()) is Status.REJECTED_BY_CA
        _expect_withheld(number)
        assert "serial number" in Issuance.objects.get().detail


class TestWhatWasApprovedIsWhatIsSigned:
    """W2: whoever changes a row between approval and signing gets a person to look at it, no certificate."""

    @pytest.mark.parametrize(
        "change",
        [
            {"names": ["evil.example.ac.uk"]},
            {"names": ["evil.example"]},
            {"names": []},
            {"duration_years": 2},
        ],
        ids=["names", "names outside", "no names", "duration"],
    )
    def test_a_changed_request(self, change: dict[str, object]) -> None:
        w = world()
        number = _accepted(w, "www.example.ac.uk")
        Request.objects.filter(id=number).update(**change)
        assert drive(number, clock=Clock()) is Status.WAITING_FOR_APPROVAL
        assert "not what was approved" in _reasons(number)
        _expect_nothing_sent(number)

    @pytest.mark.parametrize("name", ["evil.example.ac.uk", "www.example.ac.uk"])
    def test_a_changed_csr(self, name: str) -> None:
        w = world()
        number = _accepted(w, "www.example.ac.uk")
        Issuance.objects.filter(request=number).update(csr_der=read_csr(csr(name)).der)
        assert drive(number, clock=Clock()) is Status.WAITING_FOR_APPROVAL
        assert "not what was approved" in _reasons(number)
        _expect_nothing_sent(number)

    @pytest.mark.parametrize("names", [["evil.example.ac.uk"], ["evil.example"]])
    def test_changed_names_are_not_signed_after_a_second_approval_either(self, names: list[str]) -> None:
        """What is approved is the CSR; names that are not in it have no business in the certificate."""
        w = world()
        number = _accepted(w, "www.example.ac.uk")
        Request.objects.filter(id=number).update(names=names)
        drive(number, clock=Clock())
        approve_only(w.olga, number, note="Seen.", now=NOW)
        assert drive(number, clock=Clock()) is not Status.ISSUED
        assert not Certificate.objects.exists()

    def test_a_changed_legal_name(self) -> None:
        w = world()
        number = _accepted(w)
        Organisation.objects.filter(id=w.university).update(legal_name="Evil University")
        assert drive(number, clock=Clock()) is Status.WAITING_FOR_APPROVAL
        _expect_nothing_sent(number)

    def test_a_missing_approval(self) -> None:
        w = world()
        number = submit(w.alice, "www.outside.example").number
        Request.objects.filter(id=number).update(
            state=State.APPROVED, status=Status.ACCEPTED, term_ends_at=NOW + timedelta(days=9)
        )
        Issuance.objects.filter(request=number).update(state=Work.WAITING, next_attempt_at=NOW)
        assert drive(number, clock=Clock()) is Status.WAITING_FOR_APPROVAL
        assert "Nobody has approved" in _reasons(number)
        _expect_nothing_sent(number)

    def test_a_rejection_is_no_approval(self) -> None:
        w = world()
        number = submit(w.alice, "www.outside.example").number
        reject_request(actor=w.olga, number=number, details="No.", now=NOW)
        Request.objects.filter(id=number).update(
            state=State.APPROVED, status=Status.ACCEPTED, term_ends_at=NOW + timedelta(days=9)
        )
        Issuance.objects.filter(request=number).update(state=Work.WAITING, next_attempt_at=NOW)
        assert drive(number, clock=Clock()) is Status.WAITING_FOR_APPROVAL
        assert not Certificate.objects.exists()

    def test_an_approval_of_another_request(self) -> None:
        w = world()
        one, two = _accepted(w, "a.example.ac.uk"), _accepted(w, "b.example.ac.uk")
        Issuance.objects.filter(request=one).update(csr_der=issuance_of(two).csr_der)
        Request.objects.filter(id=one).update(names=_row(two).names)
        assert drive(one, clock=Clock()) is Status.WAITING_FOR_APPROVAL
        assert drive(two, clock=Clock()) is Status.ISSUED


class TestWhatChangedSinceTheApproval:
    def test_a_validation_that_lapsed_has_to_be_confirmed_again(self) -> None:
        """Freshness is judged at decision and again at signing (DESIGN §2)."""
        w = world()
        number = _accepted(w)
        late = Clock(NOW + timedelta(days=runtime.current().ownership_days))
        assert drive(number, clock=late) is Status.ACCEPTED
        assert "Waiting for somebody at example.ac.uk" in _reasons(number)
        assert issuance_of(number).next_attempt_at is None
        _expect_nothing_sent(number)

    def test_an_officers_validation_that_lapsed_sends_it_back_with_the_reason(self) -> None:
        """R34: outside the trusted suffixes a person looks again."""
        w = world()
        validated("outside.example", of=w.university, by=w.olga)
        number = _accepted(w, "www.outside.example")
        late = Clock(NOW + timedelta(days=runtime.current().ownership_days))
        assert drive(number, clock=late) is Status.WAITING_FOR_APPROVAL
        line = RequestEvent.objects.get(request=number, event="refer")
        first, second = line.note.splitlines()  # a reason each; the second line of the page has both
        assert f"{first} {second}" == _reasons(number)
        refer = AuditEvent.objects.get(action="request.refer")
        assert refer.data["codes"] == ["domain.not_validated", "names.outside_trusted_suffix"]
        _expect_nothing_sent(number)

    def test_and_is_issued_once_an_officer_has_checked_again(self) -> None:
        w = world()
        validated("outside.example", of=w.university, by=w.olga)
        number = _accepted(w, "www.outside.example")
        late = Clock(NOW + timedelta(days=500))
        drive(number, clock=late)
        again = Evidence(domain="outside.example", how="registry", details="Looked it up again.")
        approve_only(w.olga, number, evidence=[again], now=late.now)
        assert drive(number, clock=late) is Status.ISSUED, _reasons(number)
        assert ValidationRecord.objects.filter(request=number).count() == 1

    def test_the_same_validation_a_moment_before_its_end_is_enough(self) -> None:
        w = world()
        number = _accepted(w)
        end = ValidationRecord.objects.get().expires_at
        assert drive(number, clock=Clock(end - timedelta(seconds=1))) is Status.ISSUED

    def test_a_key_that_was_blocked_is_not_certified(self) -> None:
        w = world()
        number = _accepted(w)
        BlockedKey.objects.create(spki_sha256=issuance_of(number).spki_sha256, reason="found", at=NOW)
        assert drive(number, clock=Clock()) is Status.WAITING_FOR_APPROVAL
        assert "compromised" in _reasons(number)
        with pytest.raises(PolicyRefused):
            approve_only(w.olga, number, note="Whatever.", now=NOW)
        assert not Certificate.objects.exists()

    def test_an_organisation_that_was_disabled_gets_nothing(self) -> None:
        w = world()
        number = _accepted(w)
        Organisation.objects.filter(id=w.university).update(is_active=False)
        assert drive(number, clock=Clock()) is Status.WAITING_FOR_APPROVAL
        _expect_nothing_sent(number)


class TestACaThatCannotBeReached:
    def test_is_tried_again_later_and_later_and_then_issues(self) -> None:
        w, clock = world(), Clock()
        ca = ScriptedCa([*[Unavailable("The line is busy.")] * 12, signed])
        with backend(ca):
            number = _accepted(w)
            waits = []
            for _ in range(12):
                assert drive(number, clock=clock) is Status.ACCEPTED
                assert "The line is busy." in _reasons(number)
                assert not _due(clock, number)
                waits.append(_pass_until_due(clock, number))
                assert _due(clock, number)
            assert drive(number, clock=clock) is Status.ISSUED
        assert waits[0] == timedelta(seconds=5)
        assert waits == sorted(waits)
        assert waits[-1] == timedelta(minutes=15)
        assert Certificate.objects.count() == 1
        assert events_of(number) == ["create", *["claim", "release"] * 12, "claim", "ca_accept", "issue"]
        assert len({intent.idempotency_key for intent in ca.submitted}) == 13

    def test_can_be_withdrawn_from_meanwhile(self) -> None:
        w, clock = world(), Clock()
        with backend(ScriptedCa([Unavailable("Busy.")])):
            number = _accepted(w)
            drive(number, clock=clock)
            reject_request(
                actor=w.olga, number=number, details="Stop.", seen_version=_row(number).version, now=NOW
            )
            assert drive(number, clock=Clock(NOW + timedelta(days=1))) is None
        assert state_of(number) is Status.REJECTED_BY_RA


class TestACaOfWhichNobodyKnows:
    def test_is_looked_up_and_never_asked_twice(self) -> None:
        w, clock = world(), Clock()
        ca = FindingCa([OutcomeUnknown("The line broke.")], found=[])
        with backend(ca):
            number = _accepted(w)
            assert drive(number, clock=clock) is Status.ACCEPTED
            ca.found = [signed(ca.submitted[0])]
            assert drive(number, clock=clock) is None
            _pass_until_due(clock, number)
            assert drive(number, clock=clock) is Status.ISSUED
        assert ca.looked_up == [ca.submitted[0].idempotency_key]
        assert len(ca.submitted) == 1
        assert Issuance.objects.count() == Certificate.objects.count() == 1

    def test_that_has_it_in_hand_is_polled_from_then_on(self) -> None:
        w, clock = world(), Clock()
        ca = FindingCa([OutcomeUnknown("The line broke.")], found=[Accepted(handle="77")], polls=[signed])
        with backend(ca):
            number = _accepted(w)
            drive(number, clock=clock)
            _pass_until_due(clock, number)
            assert drive(number, clock=clock) is Status.SUBMITTED
            _pass_until_due(clock, number)
            assert drive(number, clock=clock) is Status.ISSUED
        assert ca.polled == ["77"]

    def test_that_never_got_it_is_asked_for_the_same_thing_again(self) -> None:
        w, clock = world(), Clock()
        ca = FindingCa([OutcomeUnknown("The line broke."), signed])
        with backend(ca):
            number = _accepted(w)
            drive(number, clock=clock)
            _pass_until_due(clock, number)
            assert drive(number, clock=clock) is Status.ISSUED
        first, second = ca.submitted
        assert first == second
        assert Issuance.objects.count() == 1

    def test_that_can_not_tell_is_not_asked_again(self) -> None:
        w, clock = world(), Clock()
        ca = ScriptedCa([OutcomeUnknown("The line broke."), signed])
        with backend(ca):
            number = _accepted(w)
            drive(number, clock=clock)
            waits = []
            for _ in range(12):
                waits.append(_pass_until_due(clock, number))
                assert drive(number, clock=clock) is Status.ACCEPTED
        assert len(ca.submitted) == 1
        assert waits == sorted(waits)
        assert waits[-1] == timedelta(minutes=15)
        assert not Certificate.objects.exists()

    def test_that_is_asked_while_the_answer_is_on_its_way_conflicts(self) -> None:
        """A second worker has recorded the certificate before the first one comes back."""
        w, clock = world(), Clock()
        number = _accepted(w)

        def late(intent: Intent) -> Issued:
            later = Clock(NOW + timedelta(minutes=5))
            assert drive(number, clock=later) is Status.ISSUED
            return signed(intent)

        ca = FindingCa([late], found=[signed])
        with backend(ca), pytest.raises(StateConflict):
            issue(number, clock=clock)
        assert Certificate.objects.count() == 1
        assert events_of(number) == ["create", "claim", "ca_accept", "issue"]


class TestACaThatSaysNo:
    @pytest.mark.parametrize("answer", [Refused(reason="Not today."), BackendRefused("Not today.")])
    def test_is_believed_and_quoted(self, answer: object) -> None:
        """R28."""
        w = world()
        with backend(ScriptedCa([answer])):
            number = _accepted(w)
            assert drive(number, clock=Clock()) is Status.REJECTED_BY_CA
            assert drive(number, clock=Clock(NOW + timedelta(days=1))) is None
        assert _reasons(number) == "Not today."
        assert RequestEvent.objects.get(request=number, event="ca_refuse").note == "Not today."
        assert Issuance.objects.get().state == "refused"

    @pytest.mark.parametrize("answer", [Refused(reason="Not today."), BackendRefused("Not today.")])
    def test_after_a_while_is_believed_as_well(self, answer: object) -> None:
        w, clock = world(), Clock()
        with backend(ScriptedCa([Accepted(handle="7")], polls=[answer])):
            number = _accepted(w)
            drive(number, clock=clock)
            _pass_until_due(clock, number)
            assert drive(number, clock=clock) is Status.REJECTED_BY_CA
        assert _reasons(number) == "Not today."

    def test_when_it_is_looked_up_is_believed_as_well(self) -> None:
        w, clock = world(), Clock()
        ca = FindingCa([OutcomeUnknown("The line broke.")], found=[BackendRefused("Not today.")])
        with backend(ca):
            number = _accepted(w)
            drive(number, clock=clock)
            _pass_until_due(clock, number)
            assert drive(number, clock=clock) is Status.REJECTED_BY_CA


class TestACaThatGetsItWrong:
    @pytest.mark.parametrize(
        "answer, what",
        [
            (lambda intent: signed(intent, names=("evil.example",)), "names"),
            (lambda intent: signed(intent, names=(*intent.names, "evil.example")), "names"),
            (lambda intent: signed(intent, other_key=True), "another key"),
            (lambda intent: Issued(chain=signed(intent).chain[:1]), "CA's own"),
            (lambda _intent: Issued(chain=(b"nonsense",)), "can't be read"),
            (lambda _intent: Issued(chain=()), "no certificate"),
        ],
        ids=["other names", "one more name", "other key", "no chain", "nonsense", "nothing"],
    )
    @pytest.mark.parametrize("slow", [False, True], ids=["at once", "when polled"])
    def test_is_never_believed(self, answer: Callable[[Intent], Issued], what: str, *, slow: bool) -> None:
        """R36: what came is kept, to be revoked, and never offered."""
        w, clock = world(), Clock()
        ca = ScriptedCa([Accepted(handle="7")], polls=[answer]) if slow else ScriptedCa([answer])
        with backend(ca):
            number = _accepted(w)
            drive(number, clock=clock)
            if slow:
                _pass_until_due(clock, number)
                drive(number, clock=clock)
        assert state_of(number) is Status.REJECTED_BY_CA
        assert what in _reasons(number)
        assert events_of(number)[-1] == Event.CA_REFUSE
        if what == "no certificate":
            assert not Certificate.objects.exists()
        elif what == "can't be read":
            assert Issuance.objects.get().received == b"nonsense"
        else:
            _expect_withheld(number)


class TestASlowCa:
    def test_acknowledges_is_polled_and_issues(self) -> None:
        """R23, R27: "Accepted by CA" on its acknowledgement alone, with its number."""
        w, clock = world(), Clock()
        ca = ScriptedCa([Accepted(handle="order-7")], polls=[Accepted(handle="order-7"), signed])
        with backend(ca):
            number = _accepted(w)
            assert drive(number, clock=clock) is Status.SUBMITTED
            assert "order-7" in _reasons(number)
            assert Issuance.objects.get().handle == "order-7"
            _pass_until_due(clock, number)
            assert drive(number, clock=clock) is Status.SUBMITTED
            assert drive(number, clock=clock) is None
            _pass_until_due(clock, number)
            assert drive(number, clock=clock) is Status.ISSUED
        assert ca.polled == ["order-7", "order-7"]
        assert len(ca.submitted) == 1
        assert events_of(number) == ["create", "claim", "ca_accept", "issue"]
        assert Certificate.objects.count() == 1

    def test_is_polled_for_days_later_and_later(self) -> None:
        """R24."""
        w, clock = world(), Clock()
        ca = ScriptedCa([Accepted(handle="7")], polls=[Accepted(handle="7")])
        with backend(ca):
            number = _accepted(w)
            drive(number, clock=clock)
            waits = []
            while clock.now - NOW < timedelta(hours=30):
                waits.append(_pass_until_due(clock, number))
                assert drive(number, clock=clock) is Status.SUBMITTED
            ca.polls = [signed]
            _pass_until_due(clock, number)
            assert drive(number, clock=clock) is Status.ISSUED
        assert waits[0] == timedelta(seconds=10)
        assert waits == sorted(waits)
        assert waits[-1] == timedelta(minutes=15)
        assert len(waits) < 200

    def test_may_be_out_of_reach_for_a_while(self) -> None:
        w, clock = world(), Clock()
        troubles = [Unavailable("Busy."), OutcomeUnknown("Broke."), signed]
        with backend(ScriptedCa([Accepted(handle="7")], polls=troubles)):
            number = _accepted(w)
            drive(number, clock=clock)
            states = []
            for _ in range(3):
                _pass_until_due(clock, number)
                states.append(drive(number, clock=clock))
        assert states == [Status.SUBMITTED, Status.SUBMITTED, Status.ISSUED]

    def test_is_not_asked_while_the_applicant_waits(self) -> None:
        w = world()
        ca = ScriptedCa([signed])
        with backend(ca):
            made = submit(w.alice)
        assert made.status is Status.ACCEPTED
        assert not ca.submitted


class TestABrokenBackEnd:
    """A plug-in that raises what it may not: the request stays where it is found again."""

    def test_in_submit_leaves_the_attempt_open_and_the_applicant_unharmed(self) -> None:
        w = world()
        ca = FindingCa([RuntimeError("a bug"), signed], inline=True)
        with backend(ca):
            made = submit(w.alice)  # the request is recorded: the applicant gets its number, not an error
            assert state_of(made.number) is Status.ACCEPTED
            assert "a bug" not in _reasons(made.number)
            later = Clock(NOW + timedelta(minutes=1))
            assert drive(made.number, clock=later) is Status.ISSUED
        assert ca.looked_up
        assert Certificate.objects.count() == 1

    def test_in_prepare_leaves_the_request_accepted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        w = world()
        embedded = type(runtime.current().backend("embedded"))

        def broken(_self: object, _intent: Intent) -> Intent:
            raise RuntimeError("a bug")

        with monkeypatch.context() as patched:
            patched.setattr(embedded, "prepare", broken)
            made = submit(w.alice)
        assert state_of(made.number) is Status.ACCEPTED
        _expect_nothing_sent(made.number)
        assert drive(made.number, clock=Clock(NOW + timedelta(minutes=1))) is Status.ISSUED


def test_the_intent_is_recorded_before_anything_is_sent() -> None:
    w = world()
    seen: list[tuple[str, list[str], str]] = []

    def look(intent: Intent) -> Issued:
        issuance = Issuance.objects.get(intent_key=intent.idempotency_key)
        assert bytes(issuance.spki_der) == intent.spki_der
        seen.append((issuance.state, issuance.names, state_of(issuance.request_id)))
        return signed(intent)

    with backend(ScriptedCa([look])):
        number = _accepted(w, "www.example.ac.uk")
        drive(number, clock=Clock())
    assert seen == [("claimed", ["www.example.ac.uk"], Status.ACCEPTED)]


def test_nothing_is_sent_or_signed_inside_a_transaction() -> None:
    w = world()

    def look(intent: Intent) -> Issued:
        assert not connection.in_atomic_block
        return signed(intent)

    with backend(ScriptedCa([look])):
        number = _accepted(w)
        assert drive(number, clock=Clock()) is Status.ISSUED
