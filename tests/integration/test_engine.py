"""The one engine: every channel, whatever the CA says (docs/issuance-cycle.md)."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from certdesk.backends.embedded import EmbeddedBackend
from certdesk.domain.errors import BackendRefused, CertdeskError, OutcomeUnknown, Postponed, Unavailable
from certdesk.domain.issuing.certificates import Absent, Accepted, Intent, Issued, Refused
from certdesk.domain.issuing.states import IssuanceId, Work
from certdesk.services.issuance import engine as issuance
from certdesk.store.models import Certificate, Issuance
from tests.integration.engine import CHANNELS, ORDERS, STANDING, Story, watching
from tests.integration.support import Clock, ScriptedCa, backend, signed

pytestmark = pytest.mark.django_db(transaction=True)

BUSY, LOST, NO = Unavailable("The line is busy."), OutcomeUnknown("The line broke."), "Not today."
FULL = Postponed("The next on Monday.")
HERE = Accepted(handle="order-7")
NONSENSE, OTHER_NAMES = Issued(chain=(b"nonsense",)), partial(signed, names=("www.evil.example",))
ISSUES, REFUSES, LATE = "claim ca_accept issue", "claim ca_refuse", "claim ca_accept ca_refuse"


@dataclass(frozen=True, kw_only=True)
class Case:
    """What the CA says, how often it may be sent the order, and what becomes of it."""

    answers: tuple[object, ...]
    polls: tuple[object, ...] = ()
    found: tuple[object, ...] | None = None
    trail: str = ISSUES
    sent: int = 1
    reason: str = NO
    kept: str = ""


CASES = {
    "issues at once": Case(answers=(signed,)),
    "accepts, issues": Case(answers=(HERE,), polls=(HERE, HERE, signed)),
    "accepts, refuses": Case(answers=(HERE,), polls=(Refused(reason=NO),), trail=LATE),
    "accepts, raises a refusal": Case(answers=(HERE,), polls=(BackendRefused(NO),), trail=LATE),
    "accepts, is out of reach": Case(answers=(HERE,), polls=(BUSY, LOST, RuntimeError("a bug"), signed)),
    "accepts, sends nonsense": Case(
        answers=(HERE,), polls=(NONSENSE,), trail=LATE, reason="can't be read", kept="received"
    ),
    "accepts, sends other names": Case(
        answers=(HERE,), polls=(OTHER_NAMES,), trail=LATE, reason="names", kept="withheld"
    ),
    "refuses": Case(answers=(Refused(reason=NO),), trail=REFUSES),
    "raises a refusal": Case(answers=(BackendRefused(NO),), trail=REFUSES),
    "is out of reach": Case(answers=(*[BUSY] * 4, signed), trail="claim release " * 4 + ISSUES, sent=5),
    "is lost, has issued": Case(answers=(LOST,), found=(signed,)),
    "is lost, has accepted": Case(answers=(LOST,), found=(HERE,), polls=(signed,)),
    "is lost, has refused": Case(answers=(LOST,), found=(BackendRefused(NO),), trail=REFUSES),
    "is lost, is out of reach, has issued": Case(
        answers=(LOST,), found=(BUSY, LOST, RuntimeError("a bug"), signed)
    ),
    "is lost, has nothing": Case(answers=(LOST, signed), found=(Absent(),), sent=2),
    "is lost, has nothing, is out of reach": Case(answers=(LOST, BUSY, signed), found=(Absent(),), sent=3),
    "breaks, has nothing": Case(answers=(RuntimeError("a bug"), signed), found=(Absent(),), sent=2),
    "is lost, sends other names": Case(
        answers=(LOST,), found=(OTHER_NAMES,), trail=REFUSES, reason="names", kept="withheld"
    ),
}


def _own_chain(intent: Intent) -> Issued:
    leaf = signed(intent).chain[0]
    return Issued(chain=(leaf, leaf))


WRONG: dict[str, tuple[object, str, str]] = {
    "other names": (OTHER_NAMES, "names", "withheld"),
    "one more name": (lambda i: signed(i, names=(*i.names, "evil.example")), "names", "withheld"),
    "no names": (partial(signed, nameless=True), "names", "withheld"),
    "another key": (partial(signed, other_key=True), "another key", "withheld"),
    "longer": (partial(signed, longer=timedelta(days=1)), "other times", "withheld"),
    "no chain": (lambda intent: Issued(chain=signed(intent).chain[:1]), "CA's own", "withheld"),
    "itself as its chain": (_own_chain, "not chain", "withheld"),
    "nonsense": (NONSENSE, "can't be read", "received"),
    "nothing": (Issued(chain=()), "no certificate", ""),
}
CASES |= {
    f"sends {what}": Case(answers=(answer,), trail=REFUSES, reason=reason, kept=kept)
    for what, (answer, reason, kept) in WRONG.items()
}


#: What `compare` finds is the same for every channel; what becomes of it is not.
SAID = [
    (channel, case)
    for case in CASES
    for channel in CHANNELS
    if channel == "first" or not case.startswith("sends ") or case == "sends nothing"
]


@pytest.mark.parametrize("channel, case", SAID)
def test_whatever_the_ca_says_is_recorded_and_nothing_is_sent_twice(channel: str, case: str) -> None:
    what, story = CASES[case], Story(channel)
    ca = watching(what.answers, polls=what.polls, found=what.found)
    with backend(ca):
        story.ask()
        story.run()
    assert len(ca.submitted) == what.sent
    # What nobody can vouch for is sent again unchanged; after a release it is judged and numbered anew.
    assert len({intent.idempotency_key for intent in ca.submitted}) == 1 + what.trail.count("release")
    assert set(ca.polled) <= {HERE.handle}
    end = Work.ISSUED if what.trail.endswith(" issue") else Work.REFUSED
    story.expect(end, trail=what.trail, reason=what.reason, kept=what.kept)


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize(
    "answer, state",
    [(BUSY, Work.WAITING), (FULL, Work.WAITING), (LOST, Work.CLAIMED), (HERE, Work.SUBMITTED)],
)
def test_a_ca_that_never_answers_is_asked_for_two_days_or_for_ever(
    channel: str, answer: object, state: Work
) -> None:
    """Later and later. A client under a standing request asks again; a request's own certificate waits."""
    story, ca = Story(channel), watching([answer], polls=[HERE])
    with backend(ca):
        story.ask()
        if channel in ORDERS:
            assert (story.order.status, story.row.state) == ("processing", state)
        pauses = [story.step() for _ in range(12)]
        assert pauses[0] <= timedelta(seconds=12)
        assert pauses[1:] == sorted(pauses[1:])
        assert pauses[-1] <= timedelta(minutes=15)
        asked = len(ca.submitted) + len(ca.polled)
        assert asked == (1 if answer is LOST else 13)
        story.clock.forward(timedelta(days=3))
        story.step()
        assert len(ca.submitted) + len(ca.polled) == asked + (answer is not LOST), "asked once more"
        if channel in STANDING + ORDERS:
            trail = {
                BUSY: "claim ca_refuse",
                FULL: "claim ca_refuse",
                LOST: "ca_refuse",
                HERE: "ca_accept ca_refuse",
            }[answer]
            told = "It did not take it in time" if answer is FULL else "in time"
            story.expect(Work.REFUSED, trail=trail if channel in STANDING else None, reason=told)
        else:
            assert story.row.state == state


@pytest.mark.parametrize(
    "answer, told",
    [
        (BUSY, "The CA can't be reached; trying again. The line is busy."),
        (FULL, "The next on Monday."),
    ],
)
def test_what_waits_says_for_what(answer: Unavailable, told: str) -> None:
    story, ca = Story(CHANNELS[0]), watching([answer, signed])
    with backend(ca):
        story.ask()
        assert (story.row.state, story.request.detail) == (Work.WAITING, told)
        story.step()
        assert story.row.state == Work.ISSUED


class Advising(ScriptedCa):
    """One that has a say in renewals."""

    def suggested_window(self, *, certificate_der: bytes) -> None:
        """Nothing, of any."""


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_ca_that_has_a_say_in_renewals_hears_what_is_renewed(channel: str) -> None:
    story, ca = Story(channel), Advising([signed], inline=True)
    with backend(ca):
        story.ask()
    earlier = [one.chain[0] for one in story.earlier] or [b""]
    assert [intent.replaces for intent in ca.submitted] == earlier


@pytest.mark.parametrize(
    "changed",
    [
        {"revoked_at": datetime(2026, 1, 1, tzinfo=UTC)},
        {"not_after": datetime(2026, 1, 1, tzinfo=UTC)},
        {"withheld": True},
    ],
)
def test_what_is_no_longer_in_use_is_not_renewed(changed: dict[str, object]) -> None:
    story, ca = Story("another"), Advising([signed], inline=True)
    Certificate.objects.update(**changed)
    with backend(ca):
        story.ask()
    assert [intent.replaces for intent in ca.submitted] == [b""]


def test_a_certificate_of_another_ca_is_not_renewed_at_this_one() -> None:
    story, ca = Story("another"), Advising([signed], inline=True)
    Issuance.objects.update(backend="another")
    with backend(ca):
        story.ask()
    assert [intent.replaces for intent in ca.submitted] == [b""]


@pytest.mark.parametrize("channel", CHANNELS)
def test_an_answer_that_comes_after_another_worker_has_recorded_it_changes_nothing(channel: str) -> None:
    story = Story(channel)

    def late(intent: Intent) -> Issued:
        later = Clock(story.clock.now + timedelta(minutes=5))
        assert issuance.drive(issuance_id=IssuanceId(story.row.pk), clock=later) is Work.ISSUED
        return signed(intent)

    with backend(watching([late], found=[signed])):
        story.ask()
    assert story.reply is None or story.reply.status == 200
    story.expect(Work.ISSUED, trail=ISSUES)


@pytest.mark.parametrize("channel, reason", [("another", "before"), ("renewal", "other times")])
def test_a_certificate_that_came_before_is_not_taken_for_a_new_one(channel: str, reason: str) -> None:
    """A CA that answers the same key with the same certificate, as some do."""
    story = Story(channel)
    with backend(watching([story.earlier[0]])):
        story.ask()
    story.expect(Work.REFUSED, trail=REFUSES, reason=reason, kept="received")


class TestWhatCanNotBePrepared:
    """By a CA that fixes and lints what it will sign: nothing is claimed, nothing is signed."""

    @pytest.mark.parametrize("channel", CHANNELS)
    def test_because_it_breaks_a_rule_ends_there(self, channel: str, monkeypatch: pytest.MonkeyPatch) -> None:
        story = Story(channel)

        def refuse(_self: object, _intent: Intent) -> Intent:
            raise BackendRefused("It would break BR 7.1.2.7.")

        monkeypatch.setattr(EmbeddedBackend, "prepare", refuse)
        monkeypatch.setattr(EmbeddedBackend, "submit", lambda *_args: pytest.fail("it was signed"))
        story.ask()
        if channel in ORDERS:
            assert story.reply is not None
            assert (story.reply.problem, story.order.status) == ("badCSR", "ready")
            return
        story.expect(Work.REFUSED, trail=REFUSES, reason="BR 7.1.2.7")
        assert story.row.intent_key is None

    @pytest.mark.parametrize("channel", CHANNELS)
    @pytest.mark.parametrize("error", [BUSY, RuntimeError("a bug")])
    def test_for_now_is_tried_again(
        self, channel: str, error: Exception, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        story = Story(channel)

        def broken(_self: object, _intent: Intent) -> Intent:
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(EmbeddedBackend, "prepare", broken)
            try:
                story.ask()
            except CertdeskError:
                assert channel == "worker"  # where the worker's loop puts it off
        if channel in ORDERS:
            assert story.order.status == "ready"
            return
        assert (story.row.state, story.row.intent_key) == (Work.WAITING, None)
        assert "a bug" not in story.request.detail
        story.run()
        story.expect(Work.ISSUED, trail=ISSUES)


def test_a_serial_that_was_not_recorded_is_never_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story("first")
    monkeypatch.setattr(EmbeddedBackend, "submit", lambda _self, intent: signed(intent))
    story.ask()
    story.expect(Work.REFUSED, trail=REFUSES, reason="serial number", kept="withheld")


def test_a_slow_ca_is_not_asked_while_the_applicant_waits() -> None:
    story, ca = Story("first"), ScriptedCa([signed])
    with backend(ca):
        story.ask()
        assert not ca.submitted
        story.run()
    story.expect(Work.ISSUED, trail=ISSUES)
    assert Issuance.objects.count() == Certificate.objects.count() == 1
