"""A program that spoils the answers of a real CA: nothing is lost, signed twice, or handed out wrongly."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certdesk.backends.base import Finds
from certdesk.backends.command import CommandBackend
from certdesk.domain.errors import BackendRefused, OutcomeUnknown, Unavailable
from certdesk.domain.findings import Verdict, worst
from certdesk.domain.issuing.certificates import Absent, Issued, compare
from certdesk.domain.issuing.states import Status, Work
from certdesk.services.requests.confirm import submit_request
from certdesk.services.revocation.revoke import drive_revocation, due_revocations
from certdesk.store.models import Certificate, Request
from tests.harness.ca_command import openssl_ca
from tests.harness.processes import ended
from tests.harness.waiting import wait_until
from tests.integration import support
from tests.integration.openbao_support import intent_for
from tests.integration.support import Clock, World, configured, issuance_of, world

pytestmark = pytest.mark.django_db(transaction=True)

NAMES = ("www.example.ac.uk", "mail.example.ac.uk")
SECRET = "s3cret-of-the-site"
#: What happens after the CA has signed; it is for `find` to tell.
AFTER = (
    *("slow", "crash", "status", "nothing", "garbage", "list", "too-much"),
    *("no-certificate", "no-chain", "wrong-outcome", "long-handle"),
)

#: A service that has a program submit the intent that it is told.
SERVICE = """
import json, sys
from dataclasses import replace
from datetime import datetime
from certdesk.backends.command import CommandBackend
from certdesk.backends.conformance import server_intent
given = json.loads(sys.argv[1])
intent = server_intent(now=datetime.fromisoformat(given["now"]), names=tuple(given["names"]))
csr, spki = (bytes.fromhex(given[one]) for one in ("csr", "spki"))
intent = replace(intent, idempotency_key=given["key"], csr_der=csr, spki_der=spki)
CommandBackend.from_settings(name="ours", settings=given["settings"]).submit(intent)
"""


@dataclass(slots=True)
class Place:
    """A CA in a folder, and back ends to it through the program that spoils."""

    folder: Path
    settings: dict[str, object]
    clock: Clock = field(default_factory=lambda: Clock(now=datetime.now(UTC)))

    def backend(self, **changes: object) -> CommandBackend:
        """One that was just started: it remembers nothing of what another has done."""
        return CommandBackend.from_settings(name="ours", settings={**self.settings, **changes})

    def spoil(self, *faults: str) -> None:
        (self.folder / "faults").write_text("\n".join(faults), encoding="utf-8")

    def calls(self, act: str) -> int:
        return (self.folder / "calls").read_text(encoding="utf-8").split().count(act)

    def index(self) -> list[list[str]]:
        """What the CA has: status, end, revocation, serial, file and subject of each."""
        text = (self.folder / "ca" / "index.txt").read_text(encoding="utf-8")
        return [line.split("\t") for line in text.splitlines()]

    def made(self) -> set[int]:
        return {int(row[3], 16) for row in self.index()}

    def is_child_alive(self) -> bool:
        child = int((self.folder / "child").read_text(encoding="utf-8"))
        try:
            state = Path(f"/proc/{child}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        return state != "Z"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    own = openssl_ca(tmp_path)
    program = tmp_path / "spoilt"
    shutil.copyfile(Path(__file__).parents[1] / "harness" / "spoilt_program.py", program)
    program.chmod(0o755)
    (tmp_path / "calls").touch()
    (tmp_path / "ca" / "index.txt").touch()
    settings: dict[str, object] = {
        "program": program,
        "arguments": [str(tmp_path), str(tmp_path / "openssl-ca"), str(tmp_path / "ca")],
        "environment": {"DOMAINS": "example.ac.uk,example.org", "SECRET": SECRET},
        "can_find": own["can_find"],
    }
    place = Place(tmp_path, settings)
    place.spoil()
    return place


@pytest.fixture
def w() -> World:
    return world()


def asked(w: World, place: Place, backend: CommandBackend) -> Request:
    """A request for NAMES, taken as far as it goes while the applicant waits."""
    with configured(backends={"ours": backend}, default_backend="ours"):
        sent = support.submission(w.university, *NAMES)
        made = submit_request(actor=w.alice, submission=sent, channel="portal", clock=place.clock)
    return Request.objects.get(id=made.number)


def driven(row: Request, place: Place, backend: CommandBackend, *, later: timedelta) -> Status:
    """The status after the worker has looked at it, some time later."""
    place.clock.forward(later)
    with configured(backends={"ours": backend}, default_backend="ours"):
        support.drive(row.pk, clock=place.clock)
    return support.state_of(row.pk)


def serials() -> set[int]:
    return {int(one.serial, 16) for one in Certificate.objects.all()}


def test_a_request_is_issued_while_the_applicant_waits(w: World, place: Place) -> None:
    row = asked(w, place, place.backend())
    assert row.status == Status.ISSUED
    assert place.made() == serials()
    assert place.calls("submit") == place.calls("chain") == 1


@pytest.mark.parametrize("fault", AFTER)
def test_what_was_signed_and_not_answered_is_found_and_signed_once(
    w: World, place: Place, fault: str
) -> None:
    place.spoil(f"submit {fault}")
    row = asked(w, place, place.backend(timeout_seconds=3 if fault == "slow" else 8))
    assert issuance_of(row.pk).state == Work.CLAIMED
    assert "don't know the outcome" in row.detail
    assert driven(row, place, place.backend(), later=timedelta(seconds=20)) == Status.ISSUED
    assert place.made() == serials()
    assert len(place.index()) == place.calls("submit") == 1


def test_the_same_certificate_is_found_after_a_time_out_and_sent_again(place: Place) -> None:
    intent = intent_for(NAMES, now=place.clock())
    place.spoil("submit slow")
    backend = place.backend(timeout_seconds=3)
    with pytest.raises(OutcomeUnknown, match="took too long"):
        backend.submit(intent)
    wait_until(lambda: not place.is_child_alive(), what="the program's child to be stopped")
    restarted = place.backend()
    assert isinstance(restarted, Finds)
    found = restarted.find(intent)
    assert isinstance(found, Issued)
    assert restarted.submit(intent) == found
    assert worst(compare(found, intent)) is Verdict.PASS


def test_a_program_that_outlives_a_killed_service_is_waited_for(place: Place) -> None:
    intent = intent_for(NAMES, now=place.clock())
    given = {"now": place.clock().isoformat(), "settings": place.settings, "csr": intent.csr_der.hex()}
    given |= {"spki": intent.spki_der.hex(), "key": intent.idempotency_key, "names": NAMES}
    command = [sys.executable, "-c", SERVICE, json.dumps(given, default=str)]
    service = subprocess.Popen(command, cwd=Path(__file__).parents[2], start_new_session=True)
    wait_until(lambda: place.calls("submit"), what="the program to start")
    ended(service, seconds=10, by=signal.SIGKILL)
    restarted = place.backend()
    assert isinstance(restarted, Finds)
    sent = restarted.submit(intent)
    assert isinstance(sent, Issued)
    assert restarted.find(intent) == sent
    assert len(place.index()) == 1


def test_a_child_that_keeps_the_output_open_does_not_hold_it_up(place: Place) -> None:
    place.spoil("submit child")
    begun = time.monotonic()
    assert isinstance(place.backend().submit(intent_for(NAMES, now=place.clock())), Issued)
    assert time.monotonic() - begun < 5
    wait_until(lambda: not place.is_child_alive(), what="the child to be stopped")


def test_where_nothing_can_be_looked_up_it_is_an_operators(w: World, place: Place) -> None:
    place.spoil("submit crash")
    backend = place.backend(can_find=False)
    assert not isinstance(backend, Finds)
    row = asked(w, place, backend)
    for seconds in (20, 60, 3600):
        assert driven(row, place, backend, later=timedelta(seconds=seconds)) == Status.ACCEPTED
    assert place.calls("submit") == 1
    assert not Certificate.objects.exists()


@pytest.mark.parametrize("fault", ["nothing-sent", "unavailable"])
def test_what_never_reached_the_ca_is_sent_again(w: World, place: Place, fault: str) -> None:
    place.spoil(f"submit {fault}")
    row = asked(w, place, place.backend())
    assert issuance_of(row.pk).state == Work.WAITING
    assert not place.made()
    assert driven(row, place, place.backend(), later=timedelta(seconds=20)) == Status.ISSUED
    assert place.made() == serials()


def test_a_refusal_is_told_in_plain_words_without_secrets(w: World, place: Place) -> None:
    place.spoil("submit refuse")
    row = asked(w, place, place.backend())
    assert row.status == Status.REJECTED_BY_CA
    assert "No [31m, by …." in row.detail
    assert row.detail.isprintable()
    assert len(row.detail) < 500
    assert not place.made()


@pytest.mark.parametrize("fault, told", [("other-names", "names"), ("other-key", "another key")])
def test_a_certificate_that_was_not_asked_for_is_withheld_and_revoked(
    w: World, place: Place, fault: str, told: str
) -> None:
    other = x509.load_der_x509_csr(intent_for(NAMES, now=place.clock()).csr_der)
    (place.folder / "other.csr").write_bytes(other.public_bytes(Encoding.PEM))
    place.spoil(f"submit {fault}")
    backend = place.backend()
    row = asked(w, place, backend)
    assert row.status == Status.REJECTED_BY_CA
    assert told in row.detail
    assert Certificate.objects.get().withheld
    with configured(backends={"ours": backend}, default_backend="ours"):
        (revocation,) = due_revocations(now=place.clock())
        drive_revocation(revocation_id=revocation, clock=place.clock)
        assert not due_revocations(now=place.clock() + timedelta(days=1))
    assert [line[0] for line in place.index()] == ["R"]


def test_a_certificate_without_names_that_the_ca_does_not_know_is_withheld(w: World, place: Place) -> None:
    place.spoil("submit no-names")
    backend = place.backend()
    row = asked(w, place, backend)
    assert row.status == Status.REJECTED_BY_CA
    assert "names" in row.detail
    certificate = Certificate.objects.get()
    assert certificate.withheld
    with pytest.raises(BackendRefused, match="did not issue"):
        backend.revoke(certificate_der=bytes(certificate.der), reason="superseded")


def test_the_example_mends_what_openssl_leaves_when_it_is_stopped_between_two_renames(place: Place) -> None:
    intent = intent_for(NAMES, now=place.clock())
    sent = place.backend().submit(intent)
    index = place.folder / "ca" / "index.txt"
    index.rename(index.with_name("index.txt.new"))
    backend = place.backend()
    assert isinstance(backend, Finds)
    assert backend.find(intent) == sent


@pytest.mark.parametrize("reason", ["privilegeWithdrawn", "unspecified", "superseded"])
def test_every_reason_revokes(place: Place, reason: str) -> None:
    sent = place.backend().submit(intent_for(NAMES, now=place.clock()))
    assert isinstance(sent, Issued)
    place.backend().revoke(certificate_der=sent.chain[0], reason=reason)
    assert [line[0] for line in place.index()] == ["R"]


def test_an_accepted_request_is_polled_after_a_restart(w: World, place: Place) -> None:
    place.spoil("submit accept", "poll still", "poll garbage", "poll deliver")
    row = asked(w, place, place.backend())
    assert (issuance_of(row.pk).state, issuance_of(row.pk).handle) == (Work.SUBMITTED, "order 7")
    for _still_and_garbage in range(2):
        assert driven(row, place, place.backend(), later=timedelta(minutes=1)) == Status.SUBMITTED
    assert driven(row, place, place.backend(), later=timedelta(minutes=10)) == Status.ISSUED
    assert place.made() == serials()
    assert place.calls("submit") == 1


def test_find_that_fails_is_no_answer(place: Place) -> None:
    intent = intent_for(NAMES, now=place.clock())
    backend = place.backend()
    assert isinstance(backend, Finds)
    assert backend.find(intent) == Absent()
    for fault in ("garbage", "crash", "unavailable", "wrong-outcome"):
        place.spoil(f"find {fault}")
        with pytest.raises(Unavailable):
            backend.find(intent)


def test_a_certificate_alone_is_completed_and_never_withheld_for_want_of_the_cas(place: Place) -> None:
    intent = intent_for(NAMES, now=place.clock())
    whole = place.backend().submit(intent)
    assert isinstance(whole, Issued)
    ca = place.folder / "ca" / "ca.pem"
    chain = place.folder / "chain.pem"
    shutil.copyfile(ca, chain)
    with_file = place.backend(chain_file=chain)
    for told in (1, 2, 3):  # the leaf, with the issuing CA, with the root
        assert with_file._completed(whole.chain[:told], until=time.monotonic() + 8) == whole.chain
    place.spoil("chain garbage")
    with pytest.raises(Exception, match="certificate alone"):
        place.backend()._completed(whole.chain[:1], until=time.monotonic() + 8)


def test_revoking_twice_lost_answers_and_what_the_ca_has_revoked(place: Place) -> None:
    intent, backend = intent_for(NAMES, now=place.clock()), place.backend()
    sent = backend.submit(intent)
    assert isinstance(sent, Issued)
    place.spoil("revoke slow")
    with pytest.raises(OutcomeUnknown):
        place.backend(timeout_seconds=3).revoke(certificate_der=sent.chain[0], reason="keyCompromise")
    for _twice in range(2):
        place.backend().revoke(certificate_der=sent.chain[0], reason="keyCompromise")
    ((status, _ends, revoked, *_rest),) = place.index()
    assert (status, revoked.partition(",")[2]) == ("R", "keyCompromise")
    assert isinstance(backend, Finds)
    assert "revoked since" in getattr(backend.find(intent), "reason", "")
    place.spoil("revoke nothing-sent")
    with pytest.raises(Unavailable):
        backend.revoke(certificate_der=sent.chain[0], reason="keyCompromise")


def _made_writable(program: Path) -> None:
    program.chmod(0o777)


def _made_no_program(program: Path) -> None:
    program.chmod(0o644)


def _given_no_interpreter(program: Path) -> None:
    program.write_text("#!/nowhere/python\n", encoding="utf-8")


@pytest.mark.parametrize(
    "change, told",
    [
        (Path.unlink, "No such file"),
        (_made_writable, "others can write to"),
        (_made_no_program, "can't be run"),
        (_given_no_interpreter, "can't be started"),
    ],
)
def test_a_program_that_can_no_longer_be_used_is_waited_for(
    w: World, place: Place, change: Callable[[Path], None], told: str
) -> None:
    backend = place.backend()
    program = place.folder / "spoilt"
    text = program.read_bytes()
    change(program)
    row = asked(w, place, backend)
    assert issuance_of(row.pk).state == Work.WAITING
    assert told in row.detail
    (found,) = backend.check()
    assert found.verdict is Verdict.REFUSE
    assert told in found.message
    program.write_bytes(text)
    program.chmod(0o755)
    assert driven(row, place, backend, later=timedelta(seconds=20)) == Status.ISSUED


def test_it_gets_no_environment_but_its_own(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERTDESK_SECRET_KEY", "never")
    monkeypatch.setenv("LANG", "C.UTF-8")
    place.spoil("check environment")
    seen = next(one for one in place.backend().check() if one.code == "backend.program.seen")
    assert set(seen.message.split()) - {"LC_CTYPE"} == {"DOMAINS", "LANG", "PATH", "SECRET"}


def test_its_log_is_short_and_without_secrets(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    place.spoil("submit chatty")
    assert isinstance(place.backend().submit(intent_for(NAMES, now=place.clock())), Issued)
    (line,) = (one for one in "".join(capfd.readouterr()).splitlines() if '"submit"' in one)
    assert SECRET not in line
    assert "…" in json.loads(line)["said"]
    assert len(line) < 2500


def test_check_tells_what_the_program_finds_and_what_is_wrong_with_it(place: Place) -> None:
    def found() -> dict[str, Verdict]:
        return {one.code: one.verdict for one in place.backend().check()}

    assert found() == {"backend.program.key": Verdict.PASS, "backend.ready": Verdict.PASS}
    for fault in ("garbage", "crash", "nothing-sent", "wrong-outcome"):
        place.spoil(f"check {fault}")
        assert found() == {"backend.unreachable": Verdict.REFUSE}
    place.spoil("chain garbage")
    assert found() == {"backend.unreachable": Verdict.REFUSE}


def test_names_in_the_subject_are_signed_as_they_are(place: Place) -> None:
    """What openssl has other meanings for in its own notation."""
    for organisation in ("Grüße, GmbH + Co/KG = \\x", "#1 $ENV::HOME", "ЖЗ"):
        subject = (("2.5.4.6", "GB"), ("2.5.4.10", organisation), ("2.5.4.3", NAMES[0]))
        intent = replace(intent_for(NAMES, now=place.clock()), subject=subject)
        sent = place.backend().submit(intent)
        assert isinstance(sent, Issued), sent
        assert worst(compare(sent, intent)) is Verdict.PASS
        leaf = x509.load_der_x509_certificate(sent.chain[0])
        assert [(one.oid.dotted_string, one.value) for one in leaf.subject] == list(subject)
