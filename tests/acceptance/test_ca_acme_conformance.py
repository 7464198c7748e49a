"""The ACME back end against a real CA, Pebble, and the suite that every back end must pass.

Pebble refuses every fifth good nonce; names are validated by DNS updates at bind, and at knot.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from certdesk.backends.base import Backend
from certdesk.backends.conformance import BackendConformance, BackendFactory, FindsConformance, MakeIntent
from certdesk.domain.issuing import certificates
from certdesk.domain.issuing.certificates import Intent
from certdesk.domain.issuing.profiles import PROFILES
from tests.harness.acme_ca import AcmeCa, acme_ca, csr_intent

#: As tls-server, and for clients as well: Pebble 2.4 issues nothing else.
BOTH: Mapping[str, Any] = MappingProxyType(
    {
        name: replace(one, eku=(*one.eku, ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string))
        for name, one in PROFILES.items()
    }
)


@pytest.fixture(scope="module", params=["bind", "knot"])
def ca(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcmeCa]:
    with acme_ca(tmp_path_factory.mktemp(request.param), kind=request.param) as running:
        yield running


@pytest.fixture
def make_intent() -> MakeIntent:
    def make(*, names: tuple[str, ...] = ("www.example.ac.uk",)) -> Intent:
        return csr_intent(*names)

    return make


@pytest.mark.slow
class TestPebble(BackendConformance, FindsConformance):
    @pytest.fixture(autouse=True)
    def _profiles(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(certificates, "PROFILES", BOTH)

    @pytest.fixture
    def backend_factory(self, ca: AcmeCa, request: pytest.FixtureRequest) -> BackendFactory:
        start = datetime.now(UTC)
        looks = iter(range(10_000))

        def factory() -> Backend:
            # Ten seconds pass between any two looks: what the CA wants to be asked later is asked later.
            return ca.backend(request.node.name, clock=lambda: start + timedelta(seconds=10 * next(looks)))

        return factory
