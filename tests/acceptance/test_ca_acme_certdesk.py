"""One Certdesk as the CA of another: account binding, a profile, renewal information, names proven by DNS."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from certdesk.backends.acme import AcmeBackend
from certdesk.backends.base import SuggestsRenewal
from certdesk.backends.conformance import settled
from certdesk.domain.acme.renewal import renewal_identifier
from certdesk.domain.errors import BackendRefused, Misconfigured, Unavailable
from certdesk.domain.findings import Verdict
from certdesk.domain.issuing.certificates import Accepted, Issued, compare
from tests.acceptance.conftest import CHALLENGED, UPDATE_SECRET, WRONG_KEY, AcmePlace
from tests.harness.acme_ca import PatientBackend, csr_intent

pytestmark = pytest.mark.slow


@pytest.fixture
def open_backend(acme_place: AcmePlace, tmp_path: Path) -> Callable[..., AcmeBackend]:
    kid, hmac = acme_place.eab()
    (tmp_path / "eab").write_text(hmac, encoding="ascii")
    (tmp_path / "tsig").write_text(UPDATE_SECRET, encoding="ascii")
    at = f"127.0.0.1:{acme_place.names.authoritative_port}"
    dcv = {
        "driver": "rfc2136",
        "server": at,
        "resolvers": [at],
        "port": acme_place.names.authoritative_port,
        "key_name": CHALLENGED,
        "key_file": str(tmp_path / "tsig"),
    }

    def opened(**changes: Any) -> AcmeBackend:
        told = {
            "directory_url": acme_place.front.directory,
            "folder": str(tmp_path / "account"),
            "ca_file": str(acme_place.front.ca),
            "eab_kid": kid,
            "eab_hmac_file": str(tmp_path / "eab"),
            "profile": "tls-server",
            "terms_agreed": True,
            "dcv": dcv,
            **changes,
        }
        return PatientBackend.from_settings(name="certdesk", settings=told)

    return opened


def test_it_issues_for_names_known_and_unknown(open_backend: Callable[..., AcmeBackend]) -> None:
    for name in ("upstream.example.ac.uk", f"upstream.{CHALLENGED}"):
        backend, intent = open_backend(), csr_intent(name)
        outcome = settled(backend, intent)
        assert isinstance(outcome, Issued), outcome
        assert [check.verdict for check in compare(outcome, intent)] == [Verdict.PASS]
        backend.revoke(certificate_der=outcome.chain[0], reason="superseded")
        backend.revoke(certificate_der=outcome.chain[0], reason="superseded")
    found = {check.code: check for check in open_backend().check()}
    assert {check.verdict for check in found.values()} == {Verdict.PASS}, found
    assert found["backend.profile"].message == "The CA offers the profile tls-server."


def test_it_says_when_to_renew(acme_place: AcmePlace, open_backend: Callable[..., AcmeBackend]) -> None:
    backend, now = open_backend(), datetime.now(UTC)
    assert isinstance(backend, SuggestsRenewal)
    outcome = settled(backend, csr_intent("renewed.upstream.example.ac.uk"))
    assert isinstance(outcome, Issued)
    leaf = x509.load_der_x509_certificate(outcome.chain[0])
    usual = backend.suggested_window(certificate_der=outcome.chain[0])
    assert usual is not None
    assert now < usual.window.start < usual.window.end < leaf.not_valid_after_utc
    assert timedelta(hours=5) < usual.ask_again_at - now < timedelta(hours=7)
    backend.revoke(certificate_der=outcome.chain[0], reason="superseded")
    revoked = backend.suggested_window(certificate_der=outcome.chain[0])
    assert revoked is not None
    assert revoked.window.end < datetime.now(UTC) + timedelta(minutes=1)
    with pytest.raises(Unavailable, match="There is no such certificate here"):
        backend.suggested_window(certificate_der=outcome.chain[1])


def test_a_renewal_says_what_it_replaces_once(open_backend: Callable[..., AcmeBackend]) -> None:
    name = "replaced.upstream.example.ac.uk"
    backend = open_backend()
    first = settled(backend, csr_intent(name))
    assert isinstance(first, Issued)
    named = renewal_identifier(x509.load_der_x509_certificate(first.chain[0]))
    told = []
    for days in (0, 300, 300):  # before its window, in it, and once more when it has been replaced
        later = datetime.now(UTC) + timedelta(days=days)
        backend._clock = lambda later=later: later  # type: ignore[misc]  # the default binds it
        intent = replace(csr_intent(name), replaces=first.chain[0])
        accepted = backend.submit(intent)
        assert isinstance(accepted, Accepted)
        told.append(backend._connection().post(accepted.handle, None).json().get("replaces"))
        backend._clock = lambda: datetime.now(UTC)
        assert isinstance(settled(backend, intent), Issued)
    assert told == [None, named, None]


def test_a_name_that_nobody_may_have_is_refused(open_backend: Callable[..., AcmeBackend]) -> None:
    backend = open_backend()
    with pytest.raises(BackendRefused):
        settled(backend, csr_intent("upstream.invalid"))


def test_a_wrong_credential(open_backend: Callable[..., AcmeBackend], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text(WRONG_KEY, encoding="ascii")
    with pytest.raises(Misconfigured):
        open_backend(folder=str(tmp_path / "other"), eab_hmac_file=str(wrong)).register()
