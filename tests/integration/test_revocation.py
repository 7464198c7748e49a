"""Revoking: who may, the intent before the CA is asked, every outcome, crashes, races, and the CRL."""

from collections.abc import Callable
from copy import copy
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from django.core import mail

from certdesk.backends.embedded import EmbeddedBackend, EmbeddedConfig, create_authority
from certdesk.backends.scripted import Behaviour, Revoking, Rule, ScriptedBackend, ScriptedConfig
from certdesk.domain.actors import Actor
from certdesk.domain.errors import (
    BackendRefused,
    CertdeskError,
    InvalidInput,
    Misconfigured,
    NotAuthorized,
    NotFound,
    StateConflict,
    Unavailable,
)
from certdesk.domain.issuing.revocation import CertificateStatus, RevocationReason
from certdesk.domain.issuing.states import RequestId
from certdesk.jobs.worker import Worker
from certdesk.services.requests.asking import end_request
from certdesk.services.requests.confirm import submit_request
from certdesk.services.revocation import revoke as revocation
from certdesk.services.revocation.crl import KEPT_FOR, VALID_FOR, current_crl
from certdesk.services.revocation.revoke import (
    HoldsAccount,
    HoldsKey,
    Progress,
    drive_revocation,
    due_revocations,
    mail_revocation,
    revoke_by_proof,
    revoke_certificate,
)
from certdesk.store.models import (
    AcmeAccount,
    AuditEvent,
    BlockedKey,
    Certificate,
    PublishedCrl,
    Request,
    Revocation,
)
from certdesk.store.selectors.certificates import Filters, get_certificate, list_certificates
from tests.integration import support
from tests.integration.acme_support import acme_world
from tests.integration.api_calls import Reply, callers
from tests.integration.support import (
    NOW,
    Clock,
    World,
    approve,
    audit_problems,
    events_of,
    issue,
    outcomes,
    together,
    world,
)

pytestmark = pytest.mark.django_db(transaction=True)
WHY = RevocationReason
MakeCa = Callable[..., ScriptedBackend]
MACHINE = Actor(label="ACME account 17")


def issued(w: World, *names: str, who: Actor | None = None, **more: Any) -> Certificate:
    """A certificate that alice, or somebody else, has asked for."""
    sent = support.submission(w.university, *names, **more)
    made = submit_request(actor=who or w.alice, submission=sent, channel="portal", clock=Clock())
    return Certificate.objects.get(request_id=made.number)


def revoke(
    who: Actor, certificate: Certificate, why: RevocationReason = WHY.SUPERSEDED, **more: Any
) -> Progress:
    """Revoke it as a person, now."""
    return revoke_certificate(
        actor=who, certificate_id=certificate.pk, reason=why, **{"clock": Clock(), **more}
    )


def by_proof(
    certificate: Certificate,
    proof: HoldsKey | HoldsAccount,
    why: RevocationReason = WHY.CESSATION_OF_OPERATION,
) -> Progress:
    """Revoke it as a machine."""
    return revoke_by_proof(
        actor=MACHINE, certificate_id=certificate.pk, proof=proof, reason=why, clock=Clock()
    )


def actions() -> list[str]:
    """The audit log's last words on certificates and keys."""
    rows = AuditEvent.objects.filter(object_type__in=["certificate", "key"])
    return list(rows.order_by("seq").values_list("action", flat=True))


def on_crl(*, backend: str = "embedded", at: Clock | None = None) -> x509.CertificateRevocationList:
    """The CRL as it is served at this time."""
    return x509.load_der_x509_crl(current_crl(backend_name=backend, now=(at or Clock())()))


def reason_of(entry: x509.RevokedCertificate) -> str:
    return entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value


def test_a_revoked_certificate_is_recorded_told_and_on_the_crl(w: World) -> None:
    """The next CRL has it."""
    certificate = issued(w)
    version = certificate.request.version
    assert revoke(w.alice, certificate, note="We have moved.") is Progress.REVOKED
    certificate.refresh_from_db()
    assert (certificate.revoked_at, certificate.revocation_reason) == (NOW, "superseded")
    row = Revocation.objects.get()
    assert (row.outcome, row.actor, row.next_attempt_at) == ("done", "alice", None)
    assert actions() == ["certificate.ask_revocation", "certificate.revoke"]
    assert audit_problems() == []
    assert events_of(certificate.request_id)[-1] == "revoke"
    assert Request.objects.get(id=certificate.request_id).version == version + 1  # the ETag moves on
    (entry,) = on_crl()
    assert f"{entry.serial_number:x}" == certificate.serial
    assert reason_of(entry) == "superseded"


def test_the_applicant_is_told_once_what_became_of_it(w: World) -> None:
    certificate = issued(w, "a.example.ac.uk")
    revoke(w.olga, certificate, WHY.PRIVILEGE_WITHDRAWN, note="See ticket 5.")
    row = Revocation.objects.get()
    mail.outbox.clear()
    assert mail_revocation(revocation_id=row.pk, now=NOW)
    assert not mail_revocation(revocation_id=row.pk, now=NOW)
    (message,) = mail.outbox
    assert message.to == ["alice@example.ac.uk"]
    for shown in (
        "a.example.ac.uk",
        certificate.serial,
        "The holder broke the rules",
        "olga",
        "See ticket 5.",
    ):
        assert shown in message.body
    assert "was revoked" in message.subject
    # V9: the applicant's words come after our own link.
    assert message.body.index("/requests/") < message.body.index("See ticket 5.")


def test_the_ras_own_reason_is_the_ras_alone(w: World) -> None:
    certificate = issued(w)
    with pytest.raises(NotAuthorized, match="RA officers"):
        revoke(w.alice, certificate, WHY.PRIVILEGE_WITHDRAWN)
    with pytest.raises(InvalidInput):
        by_proof(certificate, HoldsKey(spki_sha256=certificate.spki_sha256), WHY.PRIVILEGE_WITHDRAWN)
    assert revoke(w.olga, certificate, WHY.PRIVILEGE_WITHDRAWN) is Progress.REVOKED


def test_twenty_at_once_are_one_revocation(w: World) -> None:
    certificate = issued(w)
    calls = [partial(revoke, who, certificate) for who in (w.alice, w.olga) * 10]
    won, refused = outcomes(together(calls))
    assert won == [Progress.REVOKED]
    assert {(type(error), error.code) for error in refused} == {
        (StateConflict, "certificate.already_revoked")
    }
    assert Revocation.objects.count() == 1
    assert actions() == ["certificate.ask_revocation", "certificate.revoke"]
    assert events_of(certificate.request_id).count("revoke") == 1
    assert len(list(on_crl())) == 1
    assert audit_problems() == []


def test_an_expired_one_is_not_revoked_but_its_bad_key_is_blocked(w: World) -> None:
    """The report counts even where there is nothing left to revoke."""
    certificate = issued(w)
    later = Clock(certificate.not_after + timedelta(seconds=1))
    for why in (WHY.SUPERSEDED, WHY.KEY_COMPROMISE):
        with pytest.raises(StateConflict) as refused:
            revoke(w.alice, certificate, why, clock=later)
        assert refused.value.code == "certificate.expired"
    assert BlockedKey.objects.get().spki_sha256 == certificate.spki_sha256
    assert not Revocation.objects.exists()
    assert actions() == ["key.block"]


def test_a_compromised_key_is_blocked_and_takes_its_other_certificates_along() -> None:
    """BR 4.9.1.1."""
    w, key = world(), ec.generate_private_key(ec.SECP256R1())
    first, second = (issued(w, upload=support.csr(f"{word}.example.ac.uk", key=key)) for word in ("a", "b"))
    bystander = issued(w)
    assert revoke(w.alice, first, WHY.KEY_COMPROMISE) is Progress.REVOKED
    (other,) = due_revocations(now=NOW)
    assert drive_revocation(revocation_id=other, clock=Clock()) is Progress.REVOKED
    second.refresh_from_db()
    assert second.revocation_reason == "keyCompromise"
    bystander.refresh_from_db()
    assert bystander.revoked_at is None
    with pytest.raises(CertdeskError, match="key"):
        issued(w, upload=support.csr("c.example.ac.uk", key=key))


@pytest.mark.parametrize("reporter, falls", [("alice", 0), ("olga", 1)])
def test_a_foreign_certificate_for_the_key_falls_on_the_ras_word_alone(reporter: str, falls: int) -> None:
    w, key = world(), ec.generate_private_key(ec.SECP256R1())
    ours = issued(w, upload=support.csr("a.example.ac.uk", key=key))
    theirs = support.sent(support.outsider("other.ac.uk"), support.csr("www.other.ac.uk", key=key)).number
    approve(w.otto, theirs, note="A shared load balancer.", clock=Clock())
    assert Certificate.objects.filter(request_id=theirs, spki_sha256=ours.spki_sha256).exists()
    revoke(getattr(w, reporter), ours, WHY.KEY_COMPROMISE)
    assert len(due_revocations(now=NOW)) == falls
    assert Revocation.objects.filter(certificate__request_id=theirs).count() == falls


def test_a_later_report_of_compromise_replaces_the_reason(w: World) -> None:
    certificate = issued(w)
    revoke(w.alice, certificate)
    later = Clock(NOW + timedelta(hours=1))
    assert revoke(w.alice, certificate, WHY.KEY_COMPROMISE, clock=later) is Progress.REVOKED
    certificate.refresh_from_db()
    assert (certificate.revoked_at, certificate.revocation_reason) == (NOW, "keyCompromise")
    for why in (WHY.KEY_COMPROMISE, WHY.UNSPECIFIED):
        with pytest.raises(StateConflict):
            revoke(w.alice, certificate, why, clock=later)


def test_a_machine_shows_that_the_certificate_is_its_own() -> None:
    """What an ACME server has checked: the certificate's own key, or an account of the organisation."""
    here = acme_world()
    w, college = here.world, support.organisation("Other College")
    here.registered()
    account, certificate = AcmeAccount.objects.get(), issued(w)
    elsewhere = copy(account)
    elsewhere.organisation_id = college
    by = partial(by_proof, certificate)
    with pytest.raises(NotAuthorized):
        by(HoldsKey(spki_sha256="0" * 64))
    with pytest.raises(NotFound):
        by(HoldsAccount(account=elsewhere))
    assert by(HoldsAccount(account=account)) is Progress.REVOKED
    assert Revocation.objects.get().actor == "ACME account 17"
    with pytest.raises(StateConflict) as again:
        by(HoldsKey(spki_sha256=certificate.spki_sha256))
    assert again.value.code == "certificate.already_revoked"


@pytest.fixture
def ca(tmp_path: Path) -> MakeCa:
    """A CA that revokes as it is told."""

    def make(
        revoking: Revoking = Revoking.AT_ONCE, *, ca_name: str = "scripted", **more: Any
    ) -> ScriptedBackend:
        rule = Rule(behaviour=Behaviour.ISSUE, revoking=revoking, reason="By telephone only.", **more)
        folder = tmp_path / "ca"
        return ScriptedBackend(
            ScriptedConfig(
                directory=folder, passphrase=b"words", tests_and_demo_only=True, name=ca_name, default=rule
            )
        )

    return make


def test_a_refusal_is_recorded_and_told_to_the_officers_too(w: World, ca: MakeCa) -> None:
    with support.backend(ca(Revoking.REFUSE)):
        certificate = issued(w)
        with pytest.raises(BackendRefused, match="telephone"):
            revoke(w.alice, certificate)
        row = Revocation.objects.get()
        assert (row.outcome, row.detail) == ("refused", "By telephone only.")
        assert actions() == ["certificate.ask_revocation", "certificate.revocation_refused"]
        shown = get_certificate(actor=w.alice, certificate_id=certificate.pk, now=NOW)
        assert shown.status is CertificateStatus.VALID
        assert shown.revocation is not None
        assert shown.revocation.outcome == "refused"
        mail.outbox.clear()
        mail_revocation(revocation_id=row.pk, now=NOW)
        assert mail.outbox[0].to == ["alice@example.ac.uk", "olga@example.ac.uk", "otto@example.ac.uk"]
    with support.backend(ca()):  # somebody has talked to the CA
        assert revoke(w.alice, certificate) is Progress.REVOKED


@pytest.mark.parametrize("revoking", [Revoking.UNAVAILABLE, Revoking.ANSWER_LOST])
def test_a_ca_that_does_not_answer_is_asked_until_it_does(ca: MakeCa, revoking: Revoking) -> None:
    w, clock = world(), Clock()
    with support.backend(ca(revoking, tries=2)):
        certificate = issued(w)
        assert revoke(w.alice, certificate, clock=clock) is Progress.PENDING
        with pytest.raises(StateConflict):
            revoke(w.olga, certificate, clock=clock)
        row = Revocation.objects.get()
        assert drive_revocation(revocation_id=row.pk, clock=clock) is None  # not due yet
        for expected in (Progress.PENDING, Progress.REVOKED):
            clock.forward(timedelta(minutes=1))
            assert due_revocations(now=clock()) == [row.pk]
            assert drive_revocation(revocation_id=row.pk, clock=clock) is expected
        certificate.refresh_from_db()
        assert certificate.revoked_at == clock()
        assert due_revocations(now=clock() + timedelta(days=1)) == []
    assert audit_problems() == []


def test_the_pauses_grow_and_end_at_a_quarter_of_an_hour(ca: MakeCa) -> None:
    w, clock = world(), Clock()
    with support.backend(ca(Revoking.UNAVAILABLE, tries=1000)):
        revoke(w.alice, issued(w), clock=clock)
        row, pauses = Revocation.objects.get(), []
        for _ in range(12):
            row.refresh_from_db()
            assert row.next_attempt_at is not None
            pauses.append((row.next_attempt_at - clock()).total_seconds())
            clock.now = row.next_attempt_at
            drive_revocation(revocation_id=row.pk, clock=clock)
    assert pauses[:3] == [5, 10, 20]
    assert pauses[-1] == 900


@pytest.mark.parametrize("broken", ["before", "after"])
def test_a_crash_around_the_question_is_taken_up_by_the_tick(ca: MakeCa, broken: str) -> None:
    """As kill -9 would: nothing after the crash happens, not even a handler."""
    w, clock = world(), Clock()
    with support.backend(one := ca()):
        certificate = issued(w)
        where, name = (one, "revoke") if broken == "before" else (revocation, "_close")
        with mock.patch.object(where, name, side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
            revoke(w.alice, certificate, clock=clock)
        assert Revocation.objects.get().outcome == "open"
        assert due_revocations(now=clock()) == []  # its lease is running
        clock.forward(revocation.LEASE)
        (row,) = due_revocations(now=clock())
        assert drive_revocation(revocation_id=row, clock=clock) is Progress.REVOKED
    assert actions() == ["certificate.ask_revocation", "certificate.revoke"]


def test_ten_ticks_at_once_record_it_once(ca: MakeCa) -> None:
    w, clock = world(), Clock()
    with support.backend(ca(Revoking.UNAVAILABLE)):
        certificate = issued(w)
        revoke(w.alice, certificate, clock=clock)
        clock.forward(timedelta(minutes=1))
        row = Revocation.objects.get()
        calls = [partial(drive_revocation, revocation_id=row.pk, clock=clock)] * 10
        done, refused = outcomes(together(calls))
    assert not refused
    assert done.count(Progress.REVOKED) == 1
    assert actions() == ["certificate.ask_revocation", "certificate.revoke"]


def test_a_slow_ca_is_left_to_the_tick(w: World) -> None:
    asked: list[str] = []

    class Slow(support.ScriptedCa):
        def revoke(self, *, certificate_der: bytes, reason: str) -> None:
            del certificate_der
            asked.append(reason)

    with support.backend(Slow(answers=[support.signed])):
        number = support.create(w.alice).number
        issue(number, clock=Clock())
        certificate = Certificate.objects.get(request_id=number)
        assert revoke(w.alice, certificate) is Progress.PENDING
        assert asked == []
        (row,) = due_revocations(now=NOW)
        assert drive_revocation(revocation_id=row, clock=Clock()) is Progress.REVOKED
        assert asked == ["superseded"]


def test_a_ca_that_is_no_longer_set_up_is_waited_for(w: World, ca: MakeCa) -> None:
    with support.backend(ca(ca_name="gone")):
        certificate = issued(w)
    assert revoke(w.alice, certificate) is Progress.PENDING
    (row,) = due_revocations(now=NOW)
    assert drive_revocation(revocation_id=row, clock=Clock()) is Progress.PENDING
    assert "not set up" in Revocation.objects.get().detail


def crl_number(crl: x509.CertificateRevocationList) -> int:
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def test_the_crl_keeps_what_has_expired_until_a_later_crl_has_told_it(w: World) -> None:
    """RFC 5280 3.3."""
    certificate = issued(w)
    revoke(w.alice, certificate)
    end = certificate.not_after
    assert len(list(on_crl(at=Clock(end + timedelta(hours=1))))) == 1
    assert len(list(on_crl(at=Clock(end + VALID_FOR)))) == 0


def test_a_crl_is_made_anew_with_each_revocation_and_each_hour_and_its_number_grows() -> None:
    """RFC 5280 5.2.3. In between it is the same, for anybody may fetch it."""
    w, clock = world(), Clock()
    first, second = issued(w), issued(w)
    empty = on_crl(at=clock)
    revoke(w.alice, first)
    clock.forward(timedelta(milliseconds=1))
    one = on_crl(at=clock)
    clock.forward(timedelta(minutes=1))
    assert on_crl(at=clock) == one
    revoke(w.alice, second)
    two = on_crl(at=clock)
    clock.forward(KEPT_FOR)
    later = on_crl(at=clock)
    assert [len(list(crl)) for crl in (empty, one, two, later)] == [0, 1, 2, 2]
    numbers = [crl_number(crl) for crl in (empty, one, two, later)]
    assert numbers == sorted(set(numbers))
    assert later.next_update_utc == (clock() + VALID_FOR).replace(microsecond=0)
    revoke(w.alice, first, WHY.KEY_COMPROMISE)  # only the reason changes
    assert "keyCompromise" in {reason_of(entry) for entry in on_crl(at=clock)}


def test_the_status_of_each_certificate_of_a_request(w: World) -> None:
    old = issued(w, "a.example.ac.uk")
    # As a rolling series would: another certificate of the same request.
    new = Certificate.objects.get(id=old.pk)
    another = old.issuance
    another.pk, another.idempotency_key, another.intent_key, another.serial = None, "another", "another", None
    another.save()
    new.pk, new.issuance, new.sha256, new.serial = None, another, "f" * 64, "abc"
    new.save()

    def shown(at: Clock | None = None) -> list[str]:
        filters = Filters(request=old.request_id)
        return [c.status for c in list_certificates(actor=w.bob, filters=filters, now=(at or Clock())())]

    assert shown() == ["valid", "superseded"]
    assert shown(Clock(old.not_after + timedelta(seconds=1))) == ["expired", "expired"]
    Certificate.objects.filter(id=new.pk).update(revoked_at=NOW, revocation_reason="superseded")
    assert shown() == ["revoked", "valid"]


def test_certificates_are_found_by_what_is_known_of_them(w: World) -> None:
    first, second = issued(w, "a.example.ac.uk", years=1), issued(w, "b.example.ac.uk", years=2)

    def found(**filters: Any) -> list[int]:
        return [c.id for c in list_certificates(actor=w.alice, filters=Filters(**filters), now=NOW)]

    assert found() == [second.pk, first.pk]
    assert found(name="A.example.ac.uk ") == [first.pk]
    assert found(serial="00:" + first.serial.upper()) == [first.pk]
    assert found(sha256=":".join([second.sha256[:2].upper(), second.sha256[2:]])) == [second.pk]
    assert found(organisation_id=w.university) == [second.pk, first.pk]
    assert found(organisation_id=w.university + 1) == []
    assert found(expires_before=NOW + timedelta(days=500)) == [first.pk]
    assert found(expires_from=NOW + timedelta(days=500)) == [second.pk]
    assert found(before=second.pk, limit=1) == [first.pk]
    assert list_certificates(actor=support.outsider(), filters=Filters(), now=NOW) == []


def test_a_ca_that_breaks_is_asked_again(w: World, ca: MakeCa) -> None:
    with support.backend(one := ca()):
        certificate = issued(w)
        for problem in (RuntimeError("a bug"), Unavailable("not there")):
            Revocation.objects.all().delete()
            with mock.patch.object(one, "revoke", side_effect=problem):
                assert revoke(w.alice, certificate) is Progress.PENDING


def test_the_worker_asks_and_has_the_applicant_told(ca: MakeCa) -> None:
    w, clock = world(), Clock()
    with support.backend(ca(Revoking.UNAVAILABLE)):
        certificate = issued(w)
        revoke(w.alice, certificate, clock=clock)
        clock.forward(timedelta(minutes=1))
        worker = Worker(clock=clock)
        while worker.tick(now=clock()):
            pass
    certificate.refresh_from_db()
    assert certificate.revoked_at == clock()
    assert any("was revoked" in message.subject for message in mail.outbox)


def test_rest_says_how_far_a_revocation_has_come(ca: MakeCa) -> None:
    """200 done, 202 while the CA is awaited, 502 with its reason, 409 with a code of its own."""
    people, alice = callers(), support.actor("alice")
    w = World(university=min(alice.organisation_ids), alice=alice, bob=alice, olga=alice, otto=alice)

    def post(certificate: Certificate, **body: str) -> Reply:
        return people.alice.post(f"/certificates/{certificate.pk}/revoke", {"reason": "superseded", **body})

    with support.backend(ca(Revoking.REFUSE)):
        refused = post(issued(w))
        assert (refused.status, refused.json["code"]) == (502, "backend.refused")
        assert "telephone" in refused.json["detail"]
    with support.backend(ca(Revoking.UNAVAILABLE)):
        certificate = issued(w)
        pending, again = post(certificate), post(certificate)
        assert (pending.status, pending.json["revocation"]["outcome"]) == (202, "open")
        assert pending.json["status"] == "valid"
        assert (again.status, again.json["code"]) == (409, "certificate.already_revoked")
    done = post(issued(w), note="Moved.")
    assert (done.status, done.json["status"], done.json["revocation"]["note"]) == (200, "revoked", "Moved.")
    for body in ({"reason": "certificateHold"}, {"reason": "superseded", "when": "now"}):
        wrong = post(issued(w), **body)
        assert wrong.status == 422, body
        assert wrong.json["errors"]


def test_rfc5280_5_2_3_crl_numbers_grow_whatever_the_clock_does() -> None:
    """Nor does thisUpdate fall with a small step back, or lie in the future after a large one."""
    w, clock = world(), Clock()
    seen = [on_crl(at=clock)]
    for step in (timedelta(minutes=-2), timedelta(days=-400), timedelta(seconds=1), timedelta(days=4000)):
        clock.forward(step)
        revoke(w.alice, issued(w))
        seen.append(on_crl(at=clock))
        assert seen[-1].last_update_utc <= clock() < (seen[-1].next_update_utc or clock()) - KEPT_FOR
        assert len(list(seen[-1])) == (0 if step > timedelta(days=1) else len(seen) - 1)
    assert seen[1].last_update_utc == seen[0].last_update_utc
    numbers = [crl_number(crl) for crl in seen]
    assert numbers == sorted(set(numbers))


def test_a_database_from_a_backup_gives_no_crl_number_again() -> None:
    clock = Clock()
    on_crl(at=clock)
    backup = PublishedCrl.objects.get()
    numbers: list[int] = []
    for _ in range(4):
        if len(numbers) == 3:
            backup.save()
        clock.forward(KEPT_FOR)
        numbers.append(crl_number(on_crl(at=clock)))
    assert numbers == sorted(set(numbers))


def test_what_one_process_has_published_every_other_serves(w: World) -> None:
    """Else their numbers fall from one answer to the next."""
    clocks = [Clock(NOW + timedelta(milliseconds=number)) for number in range(6)]
    for _ in range(2):
        fetched, refused = outcomes(together([partial(on_crl, at=clock) for clock in clocks]))
        assert (len(fetched), refused) == (6, [])
        published = x509.load_der_x509_crl(bytes(PublishedCrl.objects.get().der))
        assert [crl == published for crl in fetched] == [True] * 6
        revoke(w.alice, issued(w))


def test_another_ca_of_the_same_name_publishes_nothing(tmp_path: Path) -> None:
    """Its list could not be verified by whoever has a certificate of the first."""
    before = on_crl()
    config = EmbeddedConfig(directory=tmp_path / "ca", root_directory=tmp_path / "root", passphrase=b"words")
    create_authority(config, NOW, may_create=lambda: True)
    with support.backend(EmbeddedBackend(config)), pytest.raises(Misconfigured, match="from a backup"):
        on_crl()
    assert on_crl() == before


def test_the_ca_s_answer_and_a_change_of_the_request_at_once_are_both_recorded(w: World) -> None:
    for _ in range(4):
        certificate = issued(w)
        number = RequestId(certificate.request_id)
        calls: list[Callable[[], object]] = [
            partial(revoke, w.alice, certificate),
            partial(end_request, actor=w.olga, number=number, reason="Ticket 5.", now=NOW),
        ]
        _done, refused = outcomes(together(calls))
        assert not refused
        assert {"revoke", "end"} <= set(events_of(number))
        assert Revocation.objects.get(certificate=certificate).outcome == "done"


def test_only_the_table_of_states_writes_to_a_request_s_history() -> None:
    """Every line moves the request's version on by compare-and-swap, so that no reader's ETag survives it."""
    service = Path(revocation.__file__).parents[2]
    writers = {
        path.relative_to(service).as_posix()
        for path in service.rglob("*.py")
        if "RequestEvent(" in path.read_text() or "RequestEvent.objects.create" in path.read_text()
    }
    assert writers - {"store/models/requests.py"} == {"store/transitions.py"}
