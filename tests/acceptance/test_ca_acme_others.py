"""The ACME back end against further real CAs: Caddy's (smallstep's code) and OpenBao's, which wants EAB."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from certdesk.backends.acme import AcmeBackend
from certdesk.backends.conformance import settled
from certdesk.domain.errors import BackendRefused, Misconfigured
from certdesk.domain.findings import Verdict
from certdesk.domain.issuing.certificates import Accepted, Intent, Issued, compare
from tests.harness.acme_ca import ZONE, AcmeCa, at_server, csr_intent
from tests.harness.acme_servers import StartServer, caddy_ca, openbao_acme_ca

pytestmark = pytest.mark.slow
CAS: dict[str, StartServer] = {"caddy": caddy_ca, "openbao": openbao_acme_ca}


@pytest.fixture(scope="module", params=sorted(CAS))
def ca(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcmeCa]:
    with at_server(CAS[request.param], tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture
def backend(ca: AcmeCa) -> AcmeBackend:
    return ca.backend()


def issued(backend: AcmeBackend, intent: Intent) -> Issued:
    outcome = settled(backend, intent)
    assert isinstance(outcome, Issued), outcome
    return outcome


def wrong(outcome: Issued, intent: Intent) -> set[str]:
    return {check.code for check in compare(outcome, intent) if check.verdict is Verdict.REFUSE}


def test_it_issues_once_and_revokes(ca: AcmeCa, backend: AcmeBackend) -> None:
    intent = csr_intent(f"www.{ZONE}", f"moved.{ZONE}", f"own.{ZONE}")
    accepted = backend.submit(intent)
    assert isinstance(accepted, Accepted)
    again = ca.backend()  # a restart between order and certificate
    outcome = issued(again, intent)
    assert wrong(outcome, intent) == ({"issuance.mismatch.eku"} if ca.server.for_clients_too else set())
    assert issued(ca.backend(), intent) == outcome
    assert ca.zones.texts(f"_acme-challenge.www.{ZONE}") == set()
    assert backend.chain() == outcome.chain[1:]
    for reason in ("superseded", "superseded", "keyCompromise"):
        backend.revoke(certificate_der=outcome.chain[0], reason=reason)
    found = {check.code: check.verdict for check in backend.check()}
    assert set(found.values()) == {Verdict.PASS}, found


def test_a_name_outside_its_policy_is_refused(backend: AcmeBackend) -> None:
    with pytest.raises(BackendRefused, match=r"The CA doesn't issue for this name\. It says: "):
        settled(backend, csr_intent("www.example.org"))


def test_an_order_that_says_when_the_certificate_ends(ca: AcmeCa) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    intent = replace(csr_intent(f"www.{ZONE}"), not_after=ends)
    backend = ca.backend(send_not_after=True)
    if ca.server.kid:  # OpenBao, as Let's Encrypt
        with pytest.raises(BackendRefused, match="NotBefore and NotAfter are not supported"):
            settled(backend, intent)
    else:
        leaf = x509.load_der_x509_certificate(issued(backend, intent).chain[0])
        assert leaf.not_valid_after_utc == ends


def test_a_profile_is_not_on_offer(ca: AcmeCa) -> None:
    shaped = ca.backend(profile="tlsserver")
    assert {check.code: check.verdict for check in shaped.check()}["backend.profile"] is Verdict.REFUSE
    with pytest.raises(Misconfigured, match="doesn't offer the profile tlsserver"):
        shaped.submit(csr_intent(f"www.{ZONE}"))
