"""A CA that has ended, or can't be used: the service starts, says why it can't issue, and publishes CRLs."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from django.test import Client

from certdesk.backends.base import Backend
from certdesk.backends.embedded import EmbeddedBackend, EmbeddedConfig, create_authority
from certdesk.backends.registry import UnusableBackend
from certdesk.conf import apps, server
from certdesk.conf.config import load_config
from certdesk.domain.errors import Misconfigured, PolicyRefused
from certdesk.domain.issuing.states import Status
from certdesk.services.requests.confirm import submit_request
from certdesk.store.models import Certificate, Issuance, Request
from tests.integration import support
from tests.integration.support import NOW, Clock, World, world

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ended(tmp_path: Path) -> EmbeddedBackend:
    """A CA that was made eleven years ago, for ten."""
    config = EmbeddedConfig(directory=tmp_path / "ca", root_directory=tmp_path / "root", passphrase=b"words")
    create_authority(config, NOW - timedelta(days=4000), may_create=lambda: True)
    return EmbeddedBackend(config)


def started() -> list[str]:
    """What a start tells of the CAs."""
    told: list[str] = []
    server._look_at_cas(told.append)
    return told


def ask(w: World) -> Request:
    sent = support.submission(w.university)
    made = submit_request(actor=w.alice, submission=sent, channel="portal", clock=Clock())
    return Request.objects.get(id=made.number)


def test_after_its_end_a_ca_only_publishes_its_crl(w: World, ended: EmbeddedBackend) -> None:
    with support.backend(ended):
        (told,) = started()
        assert "certificate has ended" in told
        with pytest.raises(PolicyRefused) as refused:
            ask(w)
        assert "own certificate ended" in str(refused.value.checks)
        answer = Client().get("/ca/embedded.crl")
    assert answer.status_code == 200
    assert (x509.load_der_x509_crl(answer.content).next_update_utc or NOW) > NOW
    assert not Issuance.objects.exists()


def test_beside_one_that_cannot_be_used_the_others_serve_and_it_is_waited_for(ended: EmbeddedBackend) -> None:
    w, broken = world(), UnusableBackend(name="broken", reason="Its passphrase is wrong.")
    with support.configured(backends={"broken": broken, "embedded": ended}, default_backend="broken"):
        assert started()[0] == "The CA “broken” can't issue certificates: Its passphrase is wrong."
        row = ask(w)
        support.drive(row.pk)
        row.refresh_from_db()
        assert row.status == Status.ACCEPTED
        assert "Its passphrase is wrong." in row.detail
        paths = ("broken.cer", "broken.crl", "nothing.crl", "embedded.cer", "embedded.crl")
        assert [Client().get(f"/ca/{path}").status_code for path in paths] == [404, 404, 404, 200, 200]


@pytest.fixture
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CERTDESK_DATA", str(tmp_path))
    return tmp_path


def test_a_lost_ca_is_not_made_anew_once_anything_was_issued(w: World, own_data: Path) -> None:
    """As a start on an empty folder beside the database of a service that has issued."""
    assert ask(w).status == Status.ISSUED
    assert Certificate.objects.exists()
    with pytest.raises(Misconfigured, match=r"issuing\.key.*from a backup"):
        apps.make_runtime(load_config())
    assert not list(own_data.rglob("*.key"))


def test_a_lost_ca_is_not_made_anew_once_it_has_published_a_crl(own_data: Path) -> None:
    started()
    with pytest.raises(Misconfigured, match=r"issuing\.key.*from a backup"):
        apps.make_runtime(load_config())
    assert not list(own_data.rglob("*.key"))


def test_the_files_of_another_ca_are_refused(own_data: Path) -> None:
    """As those of another service, or of a machine that had made its own at the very first start."""
    apps.make_runtime(load_config())
    started()
    with pytest.raises(Misconfigured, match="not those of the CA that this database knows"):
        apps.make_runtime(load_config())


def test_one_damaged_ca_of_two_stops_only_itself(own_data: Path) -> None:
    apps.make_runtime(load_config())
    (own_data / "ca" / "scripted" / "chain.pem").unlink()
    found: Mapping[str, Backend] = apps.make_runtime(load_config()).backends
    assert isinstance(found["embedded"], EmbeddedBackend)
    assert isinstance(found["scripted"], UnusableBackend)
