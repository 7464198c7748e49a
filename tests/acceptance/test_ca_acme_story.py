"""A request whose CA is a real ACME CA: asked for by REST, validated by DNS, issued by Pebble, revoked there.

The worker's clock is moved on; everything else is as in production, but for Pebble's usage for clients.
"""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from certdesk.domain.issuing.certificates import certificate_facts
from certdesk.domain.issuing.revocation import RevocationReason
from certdesk.domain.issuing.states import Status, Work
from certdesk.jobs.worker import Worker
from certdesk.services.revocation.revoke import revoke_certificate
from certdesk.store.models import Certificate
from tests.harness.acme_ca import FOR_CLIENTS_TOO, ZONE, AcmeCa, acme_ca
from tests.harness.updated_zones import updated_zones
from tests.integration import support
from tests.integration.api_calls import Callers, body, callers
from tests.integration.engine import Story
from tests.integration.support import (
    NOW,
    Clock,
    audit_problems,
    backend,
    configured,
    events_of,
    issuance_of,
    state_of,
)

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcmeCa]:
    with acme_ca(tmp_path_factory.mktemp("story"), eab=True) as running:
        yield running


@pytest.fixture(autouse=True)
def _profiles() -> Iterator[None]:
    with configured(profiles=FOR_CLIENTS_TOO):
        yield


@pytest.fixture
def users() -> Callers:
    return callers()


def work_until(number: int, *wanted: Work, clock: Clock) -> None:
    """Let the worker work, and time pass, until the request's issuance is in one of these states."""
    for _ in range(40):
        if issuance_of(number).state in wanted:
            return
        clock.forward(timedelta(seconds=30))
        Worker(clock=clock).tick(now=clock.now)
        threading.Event().wait(0.05)  # the CA's own work takes real time
    raise AssertionError(f"it is {issuance_of(number).state}: {issuance_of(number).detail}")


def test_a_request_gets_its_certificate_from_the_ca(ca: AcmeCa, users: Callers, tmp_path: Path) -> None:
    clock, name, before = Clock(NOW), f"mail.{ZONE}", ca.pebble.issued
    with backend(ca.backend(str(tmp_path / "account"))):
        # 1. Asked for. The CA is not asked while the person waits.
        created = users.alice.post("/requests", body(name))
        assert created.status == 201, created.json
        number = created.json["id"]
        assert created.json["status"] != "issued"
        # 2. The order is recorded before anything is finalized; a restart in between loses nothing.
        work_until(number, Work.SUBMITTED, clock=clock)
        assert "/my-order/" in issuance_of(number).handle
        assert ca.pebble.issued == before
    with backend(ca.backend(str(tmp_path / "account"))):
        work_until(number, Work.ISSUED, clock=clock)
        assert (state_of(number), ca.pebble.issued) == (Status.ISSUED, before + 1)
        assert events_of(number) == ["create", "claim", "ca_accept", "issue"]
        # 3. Downloaded with the CA's chain.
        chain = x509.load_pem_x509_certificates(
            users.alice.get(f"/requests/{number}/certificate?format=fullchain").content
        )
        chain[0].verify_directly_issued_by(chain[1])
        assert certificate_facts(chain[0].public_bytes(Encoding.DER)).names == (name,)
        (issuer,) = chain[0].issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
        assert str(issuer.value).startswith("Pebble Intermediate")
        assert ca.zones.texts(f"_acme-challenge.{name}") == set()
        # 4. Revoked at the CA.
        kept = Certificate.objects.get()
        assert ca.pebble.status(bytes(kept.der)) == "Valid"
        revoke_certificate(
            actor=support.actor("alice"),
            certificate_id=kept.pk,
            reason=RevocationReason.SUPERSEDED,
            note="",
            clock=clock,
        )
        Worker(clock=clock).tick(now=clock.now)
        assert ca.pebble.status(bytes(kept.der)) == "Revoked"
    assert audit_problems() == []


def test_a_refusal_reaches_the_applicant_in_words(ca: AcmeCa, users: Callers, tmp_path: Path) -> None:
    clock, before = Clock(NOW), ca.pebble.issued
    # The record goes to a server that the CA does not ask.
    with updated_zones("knot", tmp_path / "knot", {ZONE: ""}) as lost:
        elsewhere = ca.dcv(server=lost.address, servers=[lost.address], key_file=str(lost.key_file))
        with backend(ca.backend(str(tmp_path / "account"), dcv=elsewhere)):
            number = users.alice.post("/requests", body(f"refused.{ZONE}")).json["id"]
            work_until(number, Work.REFUSED, clock=clock)
    told = users.alice.get(f"/requests/{number}").json
    assert (state_of(number), ca.pebble.issued) == (Status.REJECTED_BY_CA, before)
    assert f"The CA could not validate refused.{ZONE}." in told["events"][-1]["note"], told


def test_while_the_ca_is_down_the_request_waits(ca: AcmeCa, users: Callers, tmp_path: Path) -> None:
    clock, before = Clock(NOW), ca.pebble.issued
    with backend(ca.backend(str(tmp_path / "down"), directory_url="https://127.0.0.1:9/dir")):
        number = users.alice.post("/requests", body(f"waits.{ZONE}")).json["id"]
        for _ in range(3):
            clock.forward(timedelta(minutes=20))
            Worker(clock=clock).tick(now=clock.now)
        assert issuance_of(number).state == Work.WAITING
    with backend(ca.backend(str(tmp_path / "account"))):
        work_until(number, Work.ISSUED, clock=clock)
    assert ca.pebble.issued == before + 1


def test_an_acme_client_gets_its_certificate_from_the_ca(ca: AcmeCa, tmp_path: Path) -> None:
    before = ca.pebble.issued
    # Both take 90 days as the usual time, and ours began five minutes ago.
    with backend(ca.backend(str(tmp_path / "account"), send_not_after=True)):
        story = Story("order")
        story.ask()
        assert story.order.status == "processing"
        story.run()
    assert story.order.status == "valid", story.row.detail
    (kept,) = Certificate.objects.all()
    assert ca.pebble.status(bytes(kept.der)) == "Valid"
    assert ca.pebble.issued == before + 1
