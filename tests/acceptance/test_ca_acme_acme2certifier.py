"""acme2certifier as the CA: binding, a profile, renewal information and the change of a key at one server."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from certdesk.backends.acme import AcmeBackend
from certdesk.backends.conformance import settled
from certdesk.domain.errors import Misconfigured
from certdesk.domain.findings import Verdict
from certdesk.domain.issuing.certificates import Accepted, Intent, Issued, compare
from tests.harness.acme_ca import PatientBackend, csr_intent
from tests.harness.acme_servers import AcmeServer, acme2certifier_ca

pytestmark = pytest.mark.slow
WWW = "www.example.ac.uk"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcmeServer]:
    with acme2certifier_ca(tmp_path_factory.mktemp("ca") / "server") as running:
        yield running


def opened(server: AcmeServer, tmp_path: Path, **changes: object) -> AcmeBackend:
    """Names are validated beforehand there: no way to do so is set up."""
    (tmp_path / "hmac").write_text(server.hmac, encoding="ascii")
    told = {
        "directory_url": server.directory,
        "folder": str(tmp_path / "account"),
        "ca_file": str(server.ca),
        "eab_kid": server.kid,
        "eab_hmac_file": str(tmp_path / "hmac"),
        "contact": ["mailto:ra@example.ac.uk"],
        "profile": "tlsserver",
    }
    return PatientBackend.from_settings(name="ca", settings={**told, **changes})


def issued(backend: AcmeBackend, intent: Intent) -> bytes:
    outcome = settled(backend, intent)
    assert isinstance(outcome, Issued), outcome
    assert [one.verdict for one in compare(outcome, intent)] == [Verdict.PASS]
    return outcome.chain[0]


def test_a_certificate_its_renewal_and_its_end(server: AcmeServer, tmp_path: Path) -> None:
    backend, now = opened(server, tmp_path), datetime.now(UTC)
    first = issued(backend, csr_intent(WWW))
    told = backend.suggested_window(certificate_der=first)
    assert told is not None
    leaf = x509.load_der_x509_certificate(first)
    assert now < told.window.start < told.window.end <= leaf.not_valid_after_utc
    for days, replaces in ((0, False), (89, True)):
        backend._clock = lambda days=days: now + timedelta(days=days)  # type: ignore[misc]  # the default binds it
        renewal = replace(csr_intent(WWW), replaces=first)
        assert isinstance(backend.submit(renewal), Accepted)
        assert bool(_replacing(backend)) is replaces
        assert issued(backend, renewal) != first
    backend._clock = lambda: datetime.now(UTC)
    for _ in range(2):
        backend.revoke(certificate_der=first, reason="superseded")
    found = {one.code: one.verdict for one in backend.check()}
    assert found.pop("backend.validation") is Verdict.WARN
    assert set(found.values()) == {Verdict.PASS}, found


def _replacing(backend: AcmeBackend) -> list[object]:
    with backend._journal._transaction() as connection:
        return connection.execute("SELECT url FROM replacing").fetchall()


def test_the_accounts_key_is_changed(server: AcmeServer, tmp_path: Path) -> None:
    running = opened(server, tmp_path)
    leaf = issued(running, csr_intent(WWW))
    done = opened(server, tmp_path).roll_account_key()
    assert done.former != done.current
    for backend in (running, opened(server, tmp_path)):
        issued(backend, csr_intent(WWW))
    running.revoke(certificate_der=leaf, reason="keyCompromise")


def test_what_it_does_not_take(server: AcmeServer, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="external account binding"):
        opened(server, tmp_path, eab_kid="", eab_hmac_file=None).register()
    with pytest.raises(Misconfigured, match="invalid eab credentials"):
        opened(server, tmp_path, eab_kid="kid-2").register()
    with pytest.raises(Misconfigured, match="doesn't offer the profile"):
        opened(server, tmp_path, profile="tlsclient").submit(csr_intent(WWW))
