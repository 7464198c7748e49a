"""The ACME back end against a real CA, Pebble, and the suite that every back end must pass.

Pebble refuses every fifth good nonce; names are validated by DNS updates at bind, and at knot.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from certdesk.backends.base import Backend
from certdesk.backends.conformance import BackendConformance, BackendFactory, FindsConformance, MakeIntent
from certdesk.domain.issuing import certificates
from certdesk.domain.issuing.certificates import Intent
from tests.harness.acme_ca import FOR_CLIENTS_TOO, AcmeCa, acme_ca, csr_intent


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
        monkeypatch.setattr(certificates, "PROFILES", FOR_CLIENTS_TOO)

    @pytest.fixture
    def backend_factory(self, ca: AcmeCa, request: pytest.FixtureRequest) -> BackendFactory:
        start = datetime.now(UTC)
        looks = iter(range(10_000))

        def factory() -> Backend:
            # Ten seconds pass between any two looks: what the CA wants to be asked later is asked later.
            return ca.backend(request.node.name, clock=lambda: start + timedelta(seconds=10 * next(looks)))

        return factory
