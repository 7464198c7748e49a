"""`openssl cmp` through a program, against OpenSSL's own server, which has one certificate for everybody."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certdesk.backends.command import CommandBackend
from certdesk.backends.command.backend import FindingCommandBackend
from certdesk.backends.registry import load_backends
from certdesk.domain.errors import OutcomeUnknown, Unavailable
from certdesk.domain.findings import Verdict, worst
from certdesk.domain.issuing.certificates import Absent, Issued, Refused, compare
from certdesk.domain.issuing.states import Status
from certdesk.services.requests.confirm import submit_request
from certdesk.store.models import Certificate, Request
from tests.harness.ca_command import cmp_server, openssl_cmp, signed_leaf
from tests.harness.ports import free_port
from tests.integration import support
from tests.integration.openbao_support import intent_for
from tests.integration.support import Clock, configured, world

NAMES = ("www.example.ac.uk", "mail.example.ac.uk")


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def settings(tmp_path: Path, port: int) -> dict[str, object]:
    return openssl_cmp(tmp_path, port)


def opened(settings: dict[str, object], **changes: object) -> FindingCommandBackend:
    """The back end as after a restart."""
    backend = load_backends({"cmp": {**settings, **changes}})["cmp"]
    assert isinstance(backend, FindingCommandBackend)
    return backend


def test_it_polls_issues_finds_and_revokes(settings: dict[str, object], tmp_path: Path, port: int) -> None:
    intent = intent_for(NAMES, now=datetime.now(UTC))
    leaf = signed_leaf(tmp_path / "cmp", intent)
    with cmp_server(tmp_path, port, leaf, "-poll_count", "1"):
        assert opened(settings).find(intent) == Absent()
        sent = opened(settings).submit(intent)
        assert isinstance(sent, Issued)
        assert sent.chain[0] == leaf
        assert worst(compare(sent, intent)) is Verdict.PASS
        assert opened(settings).submit(intent) == opened(settings).find(intent) == sent
        for _twice in range(2):
            opened(settings).revoke(certificate_der=leaf, reason="superseded")
        codes = {one.code: one.verdict for one in opened(settings).check()}
        assert codes == {"backend.program.server": Verdict.PASS, "backend.ready": Verdict.PASS}


@pytest.mark.django_db(transaction=True)
def test_a_certificate_for_other_names_is_withheld(
    settings: dict[str, object], tmp_path: Path, port: int
) -> None:
    w, clock = world(), Clock(now=datetime.now(UTC))
    key = ec.generate_private_key(ec.SECP256R1())
    other = intent_for(("other.example.ac.uk",), now=clock(), key=key)
    with cmp_server(tmp_path, port, signed_leaf(tmp_path / "cmp", other)):
        backends: dict[str, CommandBackend] = {"cmp": opened(settings)}
        with configured(backends=backends, default_backend="cmp"):
            sent = support.submission(w.university, upload=support.csr(*NAMES, key=key))
            made = submit_request(actor=w.alice, submission=sent, channel="portal", clock=clock)
    row = Request.objects.get(id=made.number)
    assert row.status == Status.REJECTED_BY_CA
    assert "names are not those" in row.detail
    assert Certificate.objects.get().withheld


def test_a_certificate_for_another_key_is_not_confirmed(
    settings: dict[str, object], tmp_path: Path, port: int
) -> None:
    intent, stranger = intent_for(NAMES, now=datetime.now(UTC)), ec.generate_private_key(ec.SECP256R1())
    spki = stranger.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with cmp_server(tmp_path, port, signed_leaf(tmp_path / "cmp", replace(intent, spki_der=spki))):
        outcome = opened(settings).submit(intent)
    assert isinstance(outcome, Refused)
    assert "another key" in outcome.reason
    assert "certificate rejected by client" in (tmp_path / "cmp.log").read_text(encoding="utf-8")


def test_what_the_server_rejects_and_what_never_reached_it(
    settings: dict[str, object], tmp_path: Path, port: int
) -> None:
    intent = intent_for(NAMES, now=datetime.now(UTC))
    leaf = signed_leaf(tmp_path / "cmp", intent)
    with pytest.raises(Unavailable):
        opened(settings).submit(intent)
    with cmp_server(tmp_path, port, leaf, "-pkistatus", "2", "-failure", "7", "-statusstring", "not you"):
        outcome = opened(settings).submit(intent)
    assert isinstance(outcome, Refused)
    assert "not you" in outcome.reason
    assert opened(settings).find(intent) == Absent()
    with cmp_server(tmp_path, port, leaf):
        assert isinstance(opened(settings).submit(intent), Issued)


def test_a_lost_answer_waits_for_somebody_who_looks(
    settings: dict[str, object], tmp_path: Path, port: int
) -> None:
    intent = intent_for(NAMES, now=datetime.now(UTC))
    leaf = signed_leaf(tmp_path / "cmp", intent)
    with cmp_server(tmp_path, port, leaf, "-poll_count", "100"), pytest.raises(OutcomeUnknown):
        opened(settings, timeout_seconds=3).submit(intent)
    with cmp_server(tmp_path, port, leaf), pytest.raises(OutcomeUnknown):  # nor is it sent again
        opened(settings).submit(intent)
    with pytest.raises(Unavailable, match="answer was lost"):
        opened(settings).find(intent)
    (tmp_path / "leaf.pem").rename(tmp_path / f"{intent.idempotency_key}.pem")
    found = opened(settings).find(intent)
    assert isinstance(found, Issued)
    assert found.chain[0] == leaf
