"""Reconciliation: what a CA has and we don't, what we have and the CA doesn't, and what becomes of each."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings
from django.core import mail
from django.urls import reverse

from certdesk.backends.base import Backend, Listed
from certdesk.backends.conformance import issued, server_intent
from certdesk.backends.embedded import JournallingEmbeddedBackend
from certdesk.backends.registry import UnusableBackend
from certdesk.backends.scripted import ScriptedBackend, ScriptedConfig
from certdesk.cli import ca as commands
from certdesk.conf.apps import embedded_config
from certdesk.domain.actors import Actor, RaRole
from certdesk.domain.errors import (
    BackendRefused,
    InvalidInput,
    NotAuthorized,
    OutcomeUnknown,
    StateConflict,
    Unavailable,
)
from certdesk.domain.issuing.certificates import Absent, Intent, Issued, Outcome, Refused
from certdesk.domain.issuing.states import IssuanceId, Work
from certdesk.jobs.worker import Worker
from certdesk.services.issuance import engine, reconcile
from certdesk.services.issuance.findings import drive_revoking, keep_finding, revoke_finding
from certdesk.services.requests.asking import end_request
from certdesk.services.revocation.crl import current_crl
from certdesk.store.models import (
    AuditEvent,
    Certificate,
    Finding,
    FindingKind,
    FindingState,
    Issuance,
    Reconciliation,
    RequestEvent,
    Revocation,
)
from tests.integration.support import (
    NOW,
    Clock,
    ScriptedCa,
    World,
    actor,
    audit_problems,
    authority,
    backend,
    configured,
    issuance_of,
    outcomes,
    signed,
    signed_in,
    state_of,
    submit,
    together,
)

pytestmark = pytest.mark.django_db(transaction=True)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WHY = "The web team made it by hand, and knows."


@dataclass(slots=True)
class ListingCa(ScriptedCa):
    """A CA with a list: what is in `items`. With `breaks_after` it falls silent after so many."""

    items: list[Listed] = field(default_factory=list)
    lists_all: bool = True
    breaks_after: int | None = None
    sinces: list[datetime] = field(default_factory=list)
    revokes: list[object] = field(default_factory=list)
    revoked: list[bytes] = field(default_factory=list)

    def listed(self, *, since: datetime) -> Iterator[Listed]:
        self.sinces.append(since)
        for number, one in enumerate(self.items):
            if number == self.breaks_after:
                raise Unavailable("The line is busy.")
            yield one

    def fetch(self, listed: Listed) -> Listed | None:
        return next((one for one in self.items if one.serial == listed.serial), None)

    def revoke(self, *, certificate_der: bytes, reason: str) -> None:  # noqa: ARG002 - the protocol's
        answer = self.revokes.pop(0) if self.revokes else None
        if isinstance(answer, Exception):
            raise answer
        self.revoked.append(certificate_der)


@dataclass(slots=True)
class ListingFindingCa(ListingCa):
    """One that also finds, what is in `found`."""

    found: Issued | Absent = field(default_factory=Absent)
    looked_up: list[str] = field(default_factory=list)

    def find(self, intent: Intent) -> Outcome | Absent:
        self.looked_up.append(intent.idempotency_key)
        return self.found


@pytest.fixture(autouse=True)
def op(w: World) -> Actor:
    return actor("op", ra=RaRole.OPERATOR)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def listed(came: Issued | bytes, *, at: datetime = NOW, **more: object) -> Listed:
    der = came.chain[0] if isinstance(came, Issued) else came
    serial = x509.load_der_x509_certificate(der).serial_number
    return replace(Listed(serial=serial, der=der, issued_at=at), **more)  # type: ignore[arg-type]  # fields of all types


def foreign(*names: str, now: datetime = NOW) -> Issued:
    """A certificate of the tests' CA that nobody here has asked for."""
    return signed(server_intent(now=now, names=names or ("www.example.ac.uk",)))


def look(ca: Backend, clock: Clock, **more: datetime) -> reconcile.Look:
    return reconcile.reconcile(name=ca.name, clock=clock, **more)


def findings(state: FindingState = FindingState.OPEN) -> list[tuple[str, str, list[str]]]:
    rows = Finding.objects.filter(state=state).order_by("id")
    return [(row.kind, row.serial, row.names) for row in rows]


def told(action: str) -> int:
    assert audit_problems() == []
    return AuditEvent.objects.filter(action=action).count()


def asked(w: World, ca: Backend, clock: Clock, name: str = "www.example.ac.uk") -> Issuance:
    """A certificate that was asked for, as far as the CA takes it at once."""
    del ca  # the one that is set up
    return issuance_of(submit(w.alice, name, clock=clock).number)


# What the CA has and we don't


def test_what_was_issued_behind_our_back_is_found_and_told_once(
    w: World, tmp_path: Path, clock: Clock
) -> None:
    config = ScriptedConfig(directory=tmp_path / "ca", passphrase=b"a passphrase", tests_and_demo_only=True)
    ca = ScriptedBackend(config, clock=clock)
    with backend(ca):
        ours = asked(w, ca, clock)
        assert ours.state == Work.ISSUED
        for names in (("mail.example.ac.uk", "imap.example.ac.uk"), ("nobody.example.net",)):
            assert isinstance(ca.submit(server_intent(now=clock(), names=names)), Issued)
        clock.forward(HOUR)
        for _again in range(2):
            done = look(ca, clock)
            assert (done.listed, done.problem, done.adopted) == (3, "", 0)
            clock.forward(DAY)
        found = list(Finding.objects.order_by("id"))
        assert [(row.kind, row.names) for row in found] == [
            ("unknown", ["mail.example.ac.uk", "imap.example.ac.uk"]),
            ("unknown", ["nobody.example.net"]),
        ]
        assert found[0].detail == "Its names are under domains of Example University."
        assert found[1].detail == "Its names belong to no organisation here."
        assert told("ca.find") == 2
        mail.outbox.clear()
        worker = Worker(clock=clock)
        worker.tick(now=clock())
        worker._reconciliation.wait(seconds=20)
        worker.tick(now=clock())
    (message,) = [one for one in mail.outbox if "Reconciliation" in one.subject]
    assert message.to == ["op@example.ac.uk"]
    assert "2 to look at" in message.subject
    assert "/service/cas/reconciliation/" in message.body
    # Revoked at the CA, or expired, there is nothing left to decide.
    with backend(ca):
        ca.revoke(certificate_der=bytes(found[0].der or b""), reason="superseded")
        look(ca, clock)
        assert findings() == [("unknown", found[1].serial, ["nobody.example.net"])]
        clock.now = (found[1].not_after or clock.now) + HOUR
        look(ca, clock)
    assert findings() == []
    assert told("ca.finding_gone") == 2


def test_a_key_of_ours_names_the_request(w: World, clock: Clock) -> None:
    twice: list[Issued] = []

    def two(intent: Intent) -> Issued:
        twice.extend((signed(intent), signed(intent)))
        return twice[0]

    ca = ListingCa(answers=[two], inline=True)
    with backend(ca):
        row = asked(w, ca, clock)
        ca.items = [listed(one) for one in twice]
        clock.forward(HOUR)
        look(ca, clock)
    finding = Finding.objects.get()
    assert finding.request_id == row.request_id
    assert bytes(finding.der or b"") == twice[1].chain[0]


@pytest.mark.parametrize("kind", [ListingCa, ListingFindingCa])
def test_a_certificate_of_an_attempt_goes_to_the_engine(
    w: World, clock: Clock, kind: type[ListingCa]
) -> None:
    ca = kind(answers=[OutcomeUnknown("Its answer was lost.")], inline=True)
    made: list[Issued] = []
    with backend(ca):
        row = asked(w, ca, clock)
        assert row.state == Work.CLAIMED
        made.append(signed(ca.submitted[0]))
        ca.items = [listed(made[0])]
        clock.forward(HOUR)
        assert look(ca, clock).adopted == 1
        row.refresh_from_db()
        assert row.state == Work.ISSUED
        assert bytes(Certificate.objects.get(withheld=False).der) == made[0].chain[0]
        assert look(ca, clock).adopted == 0
    assert len(ca.submitted) == 1
    assert findings() == []
    assert audit_problems() == []


def test_one_whose_permission_has_ended_is_withheld_and_revoked(w: World, clock: Clock) -> None:
    ca = ListingCa(answers=[OutcomeUnknown("Its answer was lost.")], inline=True)
    with backend(ca):
        row = asked(w, ca, clock)
        end_request(actor=w.olga, number=row.request_id, reason="They have left.", now=clock())
        ca.items = [listed(signed(ca.submitted[0]))]
        clock.forward(HOUR)
        assert look(ca, clock).adopted == 1
        row.refresh_from_db()
    assert row.state == Work.CANCELLED
    assert Certificate.objects.get().withheld
    assert Revocation.objects.count() == 1


def test_one_whose_attempt_was_given_up_is_withheld_and_revoked(w: World, clock: Clock) -> None:
    ca = ListingCa(answers=[signed, OutcomeUnknown("Its answer was lost.")], inline=True)
    with backend(ca):
        row = asked(w, ca, clock)
        assert row.state == Work.ISSUED
        asked(w, ca, clock, "mail.example.ac.uk")
        row = Issuance.objects.latest("id")
        Issuance.objects.filter(id=row.pk).update(state=Work.REFUSED, ended_at=clock(), next_attempt_at=None)
        ca.items = [listed(signed(ca.submitted[1])), listed(bytes(Certificate.objects.get().der))]
        clock.forward(HOUR)
        assert look(ca, clock).adopted == 1
        assert look(ca, clock).adopted == 0
    late = Certificate.objects.get(issuance=row)
    assert late.withheld
    assert Revocation.objects.get().certificate == late
    assert told("ca.withhold") == 1
    assert findings() == []


def test_what_was_made_by_hand_after_a_refusal_is_not_revoked(w: World, clock: Clock) -> None:
    ca = ListingCa(answers=[Refused(reason="Not today.")], inline=True)
    with backend(ca):
        row = asked(w, ca, clock)
        assert row.state == Work.REFUSED
        by_hand = replace(ca.submitted[0], not_after=ca.submitted[0].not_after - DAY)
        ca.items = [listed(signed(by_hand))]
        clock.forward(HOUR)
        assert look(ca, clock).adopted == 0
    assert Finding.objects.get().request_id == row.request_id
    assert not Revocation.objects.exists()


def test_what_is_not_what_was_asked_for_is_no_attempts_and_is_not_revoked(w: World, clock: Clock) -> None:
    ca = ListingCa(answers=[OutcomeUnknown("Its answer was lost.")], inline=True)
    with backend(ca):
        row = asked(w, ca, clock)
        ca.items = [listed(signed(ca.submitted[0], longer=timedelta(days=9)))]
        clock.forward(HOUR)
        look(ca, clock)
        row.refresh_from_db()
    assert row.state == Work.CLAIMED
    unknown = Finding.objects.get(kind=FindingKind.UNKNOWN)
    assert unknown.request_id == row.request_id
    assert "is not its certificate" in unknown.detail
    assert not Certificate.objects.exists()


def test_what_waits_to_be_sent_again_takes_no_certificate_from_a_list(w: World, clock: Clock) -> None:
    """Released between the look at the list and the engine's turn: it is judged and sent by that alone."""
    ca = ListingCa(answers=[Unavailable("Busy.")], inline=True)
    with backend(ca):
        row = asked(w, ca, clock)
        assert row.state == Work.WAITING
        clock.forward(HOUR)
        with pytest.raises(StateConflict):
            engine.issue(issuance_id=IssuanceId(row.pk), clock=clock, already=foreign())
    assert len(ca.submitted) == 1


def test_what_is_just_being_issued_is_left_to_the_engine(w: World, clock: Clock) -> None:
    ca = ListingCa(answers=[OutcomeUnknown("Its answer was lost.")], inline=True)
    with backend(ca):
        asked(w, ca, clock)
        ca.items = [listed(signed(ca.submitted[0]))]
        done = look(ca, clock)
        assert (done.listed, done.adopted, findings()) == (1, 0, [])
        clock.forward(HOUR)
        assert look(ca, clock).adopted == 1, "the overlap has it in the next look"


# What we have and the CA doesn't


def test_an_attempt_that_the_ca_does_not_know_is_never_sent_twice_blindly(w: World, clock: Clock) -> None:
    ca = ListingCa(answers=[OutcomeUnknown("Its answer was lost.")], inline=True)
    with backend(ca):
        row = asked(w, ca, clock)
        look(ca, clock)
        assert findings() == [], "it may be on its way"
        clock.forward(HOUR)
        for _again in range(2):
            look(ca, clock)
            clock.forward(DAY)
        assert findings() == [("attempt", "", ["www.example.ac.uk"])]
        assert len(ca.submitted) == 1
        assert Finding.objects.get().request_id == row.request_id
        # The CA has it after all.
        ca.items = [listed(signed(ca.submitted[0]), at=clock() - HOUR)]
        assert look(ca, clock).adopted == 1
    assert findings() == []
    assert findings(FindingState.GONE) == [("attempt", "", ["www.example.ac.uk"])]
    assert len(ca.submitted) == 1


def test_a_ca_that_can_look_up_is_asked_and_only_then_sent_again(w: World, clock: Clock) -> None:
    ca = ListingFindingCa(answers=[OutcomeUnknown("Its answer was lost."), signed], inline=True)
    with backend(ca):
        row = asked(w, ca, clock)
        clock.forward(HOUR)
        Issuance.objects.update(next_attempt_at=clock() + HOUR)  # later and later
        look(ca, clock)
        assert (len(ca.submitted), findings()) == (1, []), "nothing is sent here"
        Worker(clock=clock).tick(now=clock())
        row.refresh_from_db()
    assert ca.looked_up == [ca.submitted[0].idempotency_key]
    assert row.state == Work.ISSUED


def test_what_it_can_not_clear_up_in_a_day_is_found(w: World, clock: Clock) -> None:
    ca = ListingFindingCa(answers=[OutcomeUnknown("Its answer was lost.")], inline=True)
    with backend(ca):
        asked(w, ca, clock)
        for expected in (0, 0, 1):
            look(ca, clock)
            assert len(findings()) == expected
            clock.forward(timedelta(hours=13))


def test_a_certificate_that_the_ca_does_not_have_is_found(w: World, clock: Clock) -> None:
    ca = ListingCa(answers=[signed], inline=True)
    with backend(ca):
        asked(w, ca, clock)
        own = Certificate.objects.get()
        clock.forward(HOUR)
        look(ca, clock)
        assert findings() == [("missing", own.serial, ["www.example.ac.uk"])]
        ca.items = [listed(bytes(own.der))]
        look(ca, clock)
        assert findings() == []
        ca.items = []
        look(ca, clock)
        assert findings() == [("missing", own.serial, ["www.example.ac.uk"])], "opened again"
    assert Finding.objects.count() == 1
    assert told("ca.find") == 2
    own.refresh_from_db()
    assert own.revoked_at is None


def test_a_list_that_is_not_complete_says_nothing_of_what_is_not_in_it(w: World, clock: Clock) -> None:
    ca = ListingCa(answers=[signed, OutcomeUnknown("Lost.")], inline=True, lists_all=False)
    with backend(ca):
        asked(w, ca, clock)
        asked(w, ca, clock, "mail.example.ac.uk")
        clock.forward(HOUR)
        look(ca, clock)
    assert findings() == []


def test_the_cas_word_that_a_certificate_is_revoked_is_final(w: World, clock: Clock) -> None:
    ca = ListingCa(answers=[signed], inline=True)
    with backend(ca):
        row = asked(w, ca, clock)
        own = Certificate.objects.get()
        clock.forward(DAY)
        at = clock() - HOUR
        ca.items = [listed(bytes(own.der), is_revoked=True, revoked_at=at, reason="keyCompromise")]
        assert [look(ca, clock).settled for _again in range(2)] == [1, 0]
        Worker(clock=clock).tick(now=clock())
    own.refresh_from_db()
    assert (own.revoked_at, own.revocation_reason) == (at, "keyCompromise")
    assert "Found by reconciliation" in RequestEvent.objects.filter(request=row.request_id).latest("id").note
    assert [one.subject for one in mail.outbox if "was revoked" in one.subject]
    assert findings(FindingState.SETTLED) == [("revoked", own.serial, ["www.example.ac.uk"])]
    assert told("certificate.revoke") == 1


def test_one_on_hold_is_left_to_somebody(w: World, clock: Clock) -> None:
    ca = ListingCa(answers=[signed], inline=True)
    with backend(ca):
        asked(w, ca, clock)
        own = Certificate.objects.get()
        clock.forward(DAY)
        ca.items = [listed(bytes(own.der), is_revoked=True, revoked_at=clock(), reason="certificateHold")]
        assert look(ca, clock).settled == 0
    own.refresh_from_db()
    assert own.revoked_at is None
    assert findings() == [("revoked", own.serial, ["www.example.ac.uk"])]


# How far, how often


def test_a_ca_that_falls_silent_leaves_the_last_result_and_says_so(w: World, clock: Clock) -> None:
    ca = ListingCa(answers=[signed], items=[listed(foreign())], inline=True)
    with backend(ca):
        clock.forward(HOUR)
        look(ca, clock)
        before = Reconciliation.objects.values("complete_at", "since", "listed").get()
        clock.forward(DAY)
        ca.items.append(listed(foreign("mail.example.ac.uk"), at=clock() - HOUR))
        ca.breaks_after = 1
        assert look(ca, clock).problem == "The line is busy."
        row = Reconciliation.objects.get()
        assert row.problem == "The line is busy."
        assert Reconciliation.objects.values("complete_at", "since", "listed").get() == before
        assert row.next_at == clock() + HOUR, "sooner than the next night"
        ca.breaks_after = None
        clock.forward(HOUR)
        look(ca, clock)
        row.refresh_from_db()
    assert (row.problem, row.listed, row.complete_at) == ("", 2, clock())
    assert before["complete_at"] is not None
    assert ca.sinces[1] == ca.sinces[2] == before["complete_at"] - reconcile.OVERLAP
    assert len(findings()) == 2


def test_a_ca_that_breaks_is_told_without_its_inside(w: World, clock: Clock) -> None:
    ca = ListingCa(answers=[signed], items=["no certificate at all"], inline=True)  # type: ignore[list-item]  # on purpose
    with backend(ca):
        assert look(ca, clock).problem == "The look broke on our side; the log of the worker says where."


def test_only_one_process_looks_at_a_ca(w: World, clock: Clock) -> None:
    ca = ListingCa(answers=[signed], items=[listed(foreign())], inline=True)
    clock.forward(HOUR)
    with backend(ca):
        done, refused = outcomes(together([lambda: look(ca, clock)] * 3))
        assert len(done) + len(refused) == 3
        assert done
        Reconciliation.objects.update(leased_until=clock() + HOUR)
        with pytest.raises(StateConflict):
            look(ca, clock)
        clock.forward(2 * HOUR)
        look(ca, clock)
    assert len(findings()) == 1


def test_the_worker_looks_every_night(w: World, clock: Clock) -> None:
    ca = ListingCa(answers=[signed], items=[listed(foreign())], inline=True)
    clock.now = NOW.replace(hour=12, minute=0)
    plain = ScriptedCa(answers=[signed], name="plain")
    with configured(backends={"scripted": ca, "plain": plain}, default_backend="scripted"):
        worker = Worker(clock=clock)
        looks = []
        for _hours in range(48):
            worker.tick(now=clock())
            worker._reconciliation.wait(seconds=20)
            worker._cas.wait(seconds=20)
            looks.append(len(ca.sinces))
            clock.forward(HOUR)
    assert looks[:2] == [0, 1], "a minute after the start, where it was never done"
    assert looks[14] == 1
    assert looks[15] == 2, "at half past two"
    assert looks[-1] == 3
    assert Reconciliation.objects.get().backend == "scripted"


def test_what_the_ca_had_issued_before_it_was_ours_is_none_of_ours(w: World, clock: Clock) -> None:
    ca = ListingCa(answers=[signed], inline=True)
    with backend(ca):
        asked(w, ca, clock)
        look(ca, clock)
        assert ca.sinces == [clock() - reconcile.OVERLAP]
        long_ago = clock() - 99 * DAY
        look(ca, clock, since=long_ago)
    assert ca.sinces[-1] == long_ago


# Attacks


def garbage(clock: Clock) -> list[Listed]:
    nul = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a\0b\n")])
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.DNSName("a\0.example"), x509.DNSName("\x07" * 200)])
    odd = (
        x509.CertificateBuilder(extensions=[x509.Extension(names.oid, False, names)])
        .subject_name(nul)
        .issuer_name(nul)
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(clock() - DAY)
        .not_valid_after(clock() + DAY)
        .sign(key, hashes.SHA256())
    )
    return [
        Listed(serial=7, der=b"no DER", issued_at=NOW),
        Listed(serial=16**90, der=b"\0", issued_at=NOW),
        Listed(number="x\0" * 300, der=b"\xff" * 100_000, issued_at=NOW),
        Listed(number="", issued_at=NOW),
        Listed(serial=3, is_revoked=True),
        listed(odd.public_bytes(Encoding.DER)),
    ]


def test_garbage_is_found_and_stops_nothing(w: World, op: Actor, clock: Clock) -> None:
    ca = ListingCa(answers=[signed], inline=True)
    clock.forward(HOUR)
    ca.items = [*garbage(clock), listed(foreign())]
    with backend(ca):
        for _again in range(2):
            assert look(ca, clock).problem == ""
        assert Finding.objects.count() == 6
        assert ["www.example.ac.uk"] in [names for _kind, _serial, names in findings()]
        page = signed_in("op").get(reverse("cas-reconciliation"))
        assert page.status_code == 200
        assert "can&#x27;t be read as a certificate" in page.content.decode()


def test_the_same_certificate_twice_is_one_finding(w: World, clock: Clock) -> None:
    one = listed(foreign())
    ca = ListingCa(answers=[signed], items=[one] * 3 + [one] * reconcile.BATCH, inline=True)
    clock.forward(HOUR)
    with backend(ca):
        assert look(ca, clock).problem == ""
    assert len(findings()) == 1


def test_anothers_certificate_with_the_serial_number_of_ours_is_unknown(w: World, clock: Clock) -> None:
    ca = ListingCa(answers=[signed], inline=True)
    with backend(ca):
        asked(w, ca, clock)
        own = Certificate.objects.get()
        other = x509.load_der_x509_certificate(foreign("mail.example.ac.uk").chain[0])
        key, issuer = authority()
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Another CA")])
        twin = (
            x509.CertificateBuilder(extensions=list(other.extensions))
            .subject_name(other.subject)
            .issuer_name(name)
            .public_key(issuer.public_key())
            .serial_number(int(own.serial, 16))
            .not_valid_before(other.not_valid_before_utc)
            .not_valid_after(other.not_valid_after_utc)
            .sign(key, hashes.SHA256())
        )
        der = twin.public_bytes(Encoding.DER)
        ca.items = [listed(der, is_revoked=True, revoked_at=NOW), listed(der), listed(bytes(own.der))]
        clock.forward(HOUR)
        assert look(ca, clock).settled == 0
    own.refresh_from_db()
    assert own.revoked_at is None, "what the CA says of the other tells nothing of ours"
    assert findings() == [("unknown", own.serial, ["mail.example.ac.uk"])]


def test_the_same_content_signed_again_is_the_same_certificate(w: World, clock: Clock) -> None:
    """A key in an HSM draws random numbers; after a crash the journal may have both signatures."""
    ca = ListingCa(answers=[signed], inline=True)
    with backend(ca):
        asked(w, ca, clock)
        own = x509.load_der_x509_certificate(bytes(Certificate.objects.get().der))
        key, _issuer = authority()
        again = (
            x509.CertificateBuilder(extensions=list(own.extensions))
            .subject_name(own.subject)
            .issuer_name(own.issuer)
            .public_key(own.public_key())
            .serial_number(own.serial_number)
            .not_valid_before(own.not_valid_before_utc)
            .not_valid_after(own.not_valid_after_utc)
            .sign(key, hashes.SHA256())
        )
        assert again != own
        assert again.tbs_certificate_bytes == own.tbs_certificate_bytes
        ca.items = [listed(again.public_bytes(Encoding.DER)), listed(own.public_bytes(Encoding.DER))]
        clock.forward(HOUR)
        look(ca, clock)
    assert findings() == []


def test_a_list_without_end_is_counted_and_not_written_down(
    w: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100,000 certificates: as many findings as somebody could look at, and no more is fetched."""
    monkeypatch.setattr(reconcile, "MOST_OPEN", 20)
    ca, one = ListingCa(answers=[signed], inline=True), foreign().chain[0]
    ca.items = [Listed(serial=2**80 + number, issued_at=NOW) for number in range(100_000)]
    fetched: list[Listed] = []

    def fetch(_self: ListingCa, what: Listed) -> Listed:
        fetched.append(what)
        return replace(what, der=one)

    monkeypatch.setattr(ListingCa, "fetch", fetch)
    clock.forward(HOUR)
    with backend(ca):
        done = look(ca, clock)
    assert (done.listed, done.left_out, done.problem) == (100_000, 100_000 - 20, "")
    assert len(fetched) == len(findings()) == 20


# What is decided


@pytest.fixture
def unknown(w: World, clock: Clock) -> Iterator[tuple[ListingCa, Finding]]:
    ca = ListingCa(answers=[signed], items=[listed(foreign("mail.example.ac.uk"))], inline=True)
    clock.forward(HOUR)
    with backend(ca):
        look(ca, clock)
        yield ca, Finding.objects.get()


def test_what_somebody_keeps_stays_kept(unknown: tuple[ListingCa, Finding], op: Actor, clock: Clock) -> None:
    ca, row = unknown
    with pytest.raises(InvalidInput):
        keep_finding(actor=op, finding_id=row.pk, note="  ", now=clock())
    keep_finding(actor=op, finding_id=row.pk, note=WHY, now=clock())
    look(ca, clock)
    row.refresh_from_db()
    assert (row.state, row.by, row.note) == (FindingState.KEPT, "op", WHY)
    assert told("ca.finding_keep") == 1
    with pytest.raises(StateConflict):
        revoke_finding(actor=op, finding_id=row.pk, note=WHY, clock=clock)
    assert ca.revoked == []


def test_of_two_who_decide_at_once_one_succeeds(
    unknown: tuple[ListingCa, Finding], op: Actor, clock: Clock
) -> None:
    ca, row = unknown
    calls = [
        lambda: keep_finding(actor=op, finding_id=row.pk, note=WHY, now=clock()),
        lambda: revoke_finding(actor=op, finding_id=row.pk, note=WHY, clock=clock),
    ]
    done, refused = outcomes(together(calls * 2))
    assert (len(done), len(refused)) == (1, 3)
    row.refresh_from_db()
    assert (row.state == FindingState.REVOKED) is (len(ca.revoked) == 1)
    assert told("ca.finding_keep") + told("ca.finding_revoke") == 1


def test_revoking_is_recorded_first_and_asked_until_the_ca_answers(
    unknown: tuple[ListingCa, Finding], op: Actor, clock: Clock
) -> None:
    ca, row = unknown
    ca.revokes = [Unavailable("Busy."), OutcomeUnknown("Lost."), RuntimeError("secret")]
    state = revoke_finding(actor=op, finding_id=row.pk, note=WHY, clock=clock)
    assert state is FindingState.REVOKING
    for _try in range(3):
        drive_revoking(clock=clock)
        clock.forward(HOUR)
    drive_revoking(clock=clock)
    row.refresh_from_db()
    assert (row.state, row.note, row.revoked_at is not None) == (FindingState.REVOKED, WHY, True)
    assert ca.revoked == [bytes(row.der or b"")]
    assert told("ca.finding_revoke") == told("ca.finding_revoked") == 1


def test_a_ca_that_refuses_to_revoke_leaves_it_to_be_decided(
    unknown: tuple[ListingCa, Finding], op: Actor, clock: Clock
) -> None:
    ca, row = unknown
    ca.revokes = [BackendRefused("Ask us by telephone.")]
    with pytest.raises(BackendRefused):
        revoke_finding(actor=op, finding_id=row.pk, note=WHY, clock=clock)
    row.refresh_from_db()
    assert (row.state, row.detail) == (FindingState.OPEN, "Ask us by telephone.")
    assert told("ca.finding_refused") == 1


def test_only_operators_decide(unknown: tuple[ListingCa, Finding], w: World, clock: Clock) -> None:
    _ca, row = unknown
    for who in (w.alice, w.olga, actor("rick", ra=RaRole.AUDITOR), Actor(label="nobody")):
        with pytest.raises(NotAuthorized):
            keep_finding(actor=who, finding_id=row.pk, note=WHY, now=clock())
        with pytest.raises(NotAuthorized):
            revoke_finding(actor=who, finding_id=row.pk, note=WHY, clock=clock)
    row.refresh_from_db()
    assert row.state == FindingState.OPEN


def test_what_only_the_ca_has_cannot_be_missing_and_revoked_from_here(
    w: World, op: Actor, clock: Clock
) -> None:
    ca = ListingCa(answers=[signed], inline=True)
    with backend(ca):
        asked(w, ca, clock)
        clock.forward(HOUR)
        look(ca, clock)
        with pytest.raises(InvalidInput):
            revoke_finding(actor=op, finding_id=Finding.objects.get().pk, note=WHY, clock=clock)


# Pages and the command


def test_the_page_says_what_each_is_and_who_may_do_what(
    unknown: tuple[ListingCa, Finding], w: World, op: Actor
) -> None:
    _ca, row = unknown
    actor("rick", ra=RaRole.AUDITOR)
    address = reverse("cas-reconciliation")
    for person, buttons in (("op", True), ("rick", False)):
        text = signed_in(person).get(address).content.decode()
        assert "mail.example.ac.uk" in text
        assert "Only the CA has it" in text
        assert ("Revoke at the CA" in text) is buttons
        assert ("Keep it" in text) is buttons
    assert signed_in("alice").get(address).status_code == 404
    client = signed_in("op")
    assert "1 to decide" in client.get(reverse("cas")).content.decode()
    assert client.post(reverse("cas-finding-keep", args=[row.pk]), {"note": ""}).status_code == 302
    assert "A reason is needed." in client.get(address).content.decode()
    assert client.post(reverse("cas-finding-revoke", args=[row.pk]), {"note": WHY}).status_code == 302
    text = client.get(address).content.decode()
    assert "The CA has revoked the certificate." in text
    assert "Nothing to decide" in text
    closed = client.get(f"{address}?ended=1").content.decode()
    assert WHY in closed
    assert "Revoked" in closed


def run(*arguments: str) -> Result:
    return CliRunner().invoke(commands.ca, ["reconcile", *arguments])


def test_the_command_prints_what_differs(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_set_up", lambda: None)
    ca = ListingCa(answers=[signed], inline=True)
    plain = ScriptedCa(answers=[signed], name="plain")
    with configured(backends={"scripted": ca, "plain": plain}, default_backend="scripted"):
        done = run()
        assert (done.exit_code, done.stdout.splitlines()[-1]) == (
            0,
            "plain: keeps no list that can be compared.",
        )
        assert run("plain").exit_code == 2
        broken = UnusableBackend(name="broken", reason="Its passphrase is wrong.")
        with configured(backends={"broken": broken, "scripted": ca}):
            done = run()
            assert (done.exit_code, "Its passphrase is wrong." in done.stderr) == (2, True)
            actor("op", ra=RaRole.OPERATOR)
            page = signed_in("op").get(reverse("cas-reconciliation")).content.decode()
            assert "Its passphrase is wrong." in page
        ca.items = [listed(foreign("mail.example.ac.uk"), at=NOW - HOUR)]
        done = run()
        assert done.exit_code == 1
        assert "In its list: 1; matched" in done.stdout
        assert "Certificates that only the CA has: " in done.stdout
        assert "mail.example.ac.uk" in done.stdout
        printed = run("--json").stdout  # the log of a test run comes first
        (found, _plain) = json.loads(printed[printed.index("\n[") :])
        assert found["findings"][0]["names"] == ["mail.example.ac.uk"]
        assert run("scripted", "--since", "2020-01-01").exit_code == 1
        assert ca.sinces[-1].year == 2020
        ca.breaks_after = 0
        done = run("scripted")
        assert (done.exit_code, "could not be compared. The line is busy." in done.stderr) == (2, True)


# The embedded CA, by its journal


def test_after_a_restore_the_embedded_cas_journal_tells_what_the_database_lost(
    w: World,
    op: Actor,
    clock: Clock,
    as_configured: None,
    tmp_path: Path,
) -> None:
    """As a restore leaves it: two certificates of the gap are in the journal alone, one of them revoked."""
    config = replace(embedded_config(settings.CERTDESK), journal=tmp_path / "journal")
    ca = JournallingEmbeddedBackend(config)
    with backend(ca):
        clock.now = datetime.now(NOW.tzinfo)
        kept = submit(w.alice, "www.example.ac.uk", clock=clock).number
        lost = [
            ca.prepare(server_intent(now=clock(), names=(name,)))
            for name in ("lost.example.ac.uk", "gone.example.ac.uk")
        ]
        ders = [issued(ca, intent).chain[0] for intent in lost]
        ca.revoke(certificate_der=ders[1], reason="keyCompromise")
        clock.forward(HOUR)
        look(ca, clock)
        assert [names for _kind, _serial, names in findings()] == [["lost.example.ac.uk"]]
        assert [names for *_told, names in findings(FindingState.REVOKED)] == [["gone.example.ac.uk"]]
        assert state_of(kept) == "issued"

        def on_crl() -> set[int]:
            clock.forward(timedelta(minutes=1))
            return {
                one.serial_number
                for one in x509.load_der_x509_crl(current_crl(backend_name="embedded", now=clock()))
            }

        assert on_crl() == {lost[1].serial}
        state = revoke_finding(
            actor=op, finding_id=Finding.objects.get(state="open").pk, note=WHY, clock=clock
        )
        assert state is FindingState.REVOKED
        assert on_crl() == {one.serial for one in lost}
        # A revocation that the database lost is taken over.
        own = Certificate.objects.get()
        ca.revoke(certificate_der=bytes(own.der), reason="superseded")
        assert look(ca, clock).settled == 1
        assert on_crl() == {int(own.serial, 16), *(one.serial for one in lost)}
