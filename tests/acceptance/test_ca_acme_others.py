"""The ACME back end against further real CAs: Caddy's (smallstep's code) and OpenBao's, which wants EAB."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from certdesk.backends.acme import AcmeBackend
from certdesk.backends.conformance import settled
from certdesk.domain.errors import BackendRefused, Misconfigured
from certdesk.domain.findings import Verdict
from certdesk.domain.issuing.certificates import Accepted, Intent, Issued, compare
from tests.harness.acme_ca import ZONE, ZONES, AcmeCa, csr_intent, resolver_of
from tests.harness.acme_servers import AcmeServer, caddy_ca, openbao_acme_ca
from tests.harness.pebble import Pebble
from tests.harness.updated_zones import UpdatedZones, updated_zones

pytestmark = pytest.mark.slow
CAS = {"caddy": caddy_ca, "openbao": openbao_acme_ca}


@pytest.fixture(scope="module", params=sorted(CAS))
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, AcmeServer, UpdatedZones, int]]:
    folder = tmp_path_factory.mktemp(request.param)
    with (
        updated_zones("bind", folder / "bind", ZONES) as zones,
        resolver_of(zones, folder / "unbound") as resolver,
        CAS[request.param](folder / "ca", resolver=resolver) as server,
    ):
        yield request.param, server, zones, resolver


@pytest.fixture
def backend(place: tuple[str, AcmeServer, UpdatedZones, int], tmp_path: Path) -> AcmeBackend:
    return _opened(place, tmp_path)


def _opened(place: tuple[str, AcmeServer, UpdatedZones, int], folder: Path) -> AcmeBackend:
    # OpenBao's credential serves one account, so one folder is used by all tests of a CA.
    _name, server, zones, resolver = place
    secret = server.ca.parent / "eab.hmac"
    secret.write_text(server.hmac, encoding="ascii")
    bound: dict[str, Any] = {"eab_kid": server.kid, "eab_hmac_file": str(secret)} if server.kid else {}
    front = AcmeCa(pebble=Pebble(folder=folder / "unused"), zones=zones, resolver=resolver, folder=folder)
    account = str(server.ca.parent / "account")
    return front.backend(account, directory_url=server.directory, ca_file=str(server.ca), **bound)


def issued(backend: AcmeBackend, intent: Intent) -> Issued:
    outcome = settled(backend, intent)
    assert isinstance(outcome, Issued), outcome
    return outcome


def wrong(outcome: Issued, intent: Intent) -> set[str]:
    return {check.code for check in compare(outcome, intent) if check.verdict is Verdict.REFUSE}


def test_it_issues_once_and_revokes(
    place: tuple[str, AcmeServer, UpdatedZones, int], backend: AcmeBackend, tmp_path: Path
) -> None:
    name, _server, zones, _resolver = place
    intent = csr_intent(f"www.{ZONE}", f"moved.{ZONE}", f"own.{ZONE}")
    accepted = backend.submit(intent)
    assert isinstance(accepted, Accepted)
    again = _opened(place, tmp_path)  # a restart between order and certificate
    outcome = issued(again, intent)
    # Caddy adds the usage for clients, whatever one asks for.
    assert wrong(outcome, intent) == ({"issuance.mismatch.eku"} if name == "caddy" else set())
    assert issued(_opened(place, tmp_path), intent) == outcome
    assert zones.texts(f"_acme-challenge.www.{ZONE}") == set()
    assert backend.chain() == outcome.chain[1:]
    for reason in ("superseded", "superseded", "keyCompromise"):
        backend.revoke(certificate_der=outcome.chain[0], reason=reason)
    found = {check.code: check.verdict for check in backend.check()}
    assert set(found.values()) == {Verdict.PASS}, found


def test_a_name_outside_its_policy_is_refused(backend: AcmeBackend) -> None:
    with pytest.raises(BackendRefused, match=r"The CA doesn't issue for this name\. It says: "):
        settled(backend, csr_intent("www.example.org"))


def test_a_profile_is_not_on_offer(place: tuple[str, AcmeServer, UpdatedZones, int], tmp_path: Path) -> None:
    shaped = AcmeBackend(replace(_opened(place, tmp_path)._config, profile="tlsserver"))
    assert {check.code: check.verdict for check in shaped.check()}["backend.profile"] is Verdict.REFUSE
    with pytest.raises(Misconfigured, match="doesn't offer the profile tlsserver"):
        shaped.submit(csr_intent(f"www.{ZONE}"))
