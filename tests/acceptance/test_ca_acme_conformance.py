"""The ACME back end against real CAs, and the suite that every back end must pass.

Pebble refuses every fifth good nonce; names are validated by DNS updates, for Pebble at bind and at knot.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from certdesk.backends.base import Backend
from certdesk.backends.conformance import (
    BackendConformance,
    BackendFactory,
    FindsConformance,
    ListsConformance,
    MakeIntent,
)
from certdesk.domain.issuing.certificates import Intent
from tests.harness.acme_ca import FOR_CLIENTS_TOO, AcmeCa, acme_ca, at_server, csr_intent
from tests.harness.acme_servers import acme2certifier_ca, caddy_ca, openbao_acme_ca

pytestmark = pytest.mark.slow


CAS: dict[str, Callable[[Path], AbstractContextManager[AcmeCa]]] = {
    "pebble with bind": acme_ca,
    "pebble with knot": partial(acme_ca, kind="knot"),
    "caddy": partial(at_server, caddy_ca),
    "openbao": partial(at_server, openbao_acme_ca),
    "acme2certifier": partial(at_server, acme2certifier_ca),
}


@pytest.fixture(scope="module", params=list(CAS))
def ca(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcmeCa]:
    with CAS[request.param](tmp_path_factory.mktemp("ca")) as running:
        yield running


@pytest.fixture
def make_intent(ca: AcmeCa) -> MakeIntent:
    def make(*, names: tuple[str, ...] = ("www.example.ac.uk",)) -> Intent:
        intent = csr_intent(*names)
        return replace(intent, profile=FOR_CLIENTS_TOO["tls-server"]) if ca.server.for_clients_too else intent

    return make


class TestAcme(BackendConformance, FindsConformance, ListsConformance):
    @pytest.fixture
    def backend_factory(self, ca: AcmeCa, request: pytest.FixtureRequest) -> BackendFactory:
        start = datetime.now(UTC)
        looks = iter(range(10_000))
        # One account for each test; OpenBao's credential is used up by the first.
        folder = "account" if ca.server.kid else request.node.name

        def factory() -> Backend:
            # Ten seconds pass between any two looks: what the CA wants to be asked later is asked later.
            return ca.backend(folder, clock=lambda: start + timedelta(seconds=10 * next(looks)))

        return factory
