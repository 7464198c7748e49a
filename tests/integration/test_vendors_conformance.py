"""The thin clients against the suite that every back end must pass, each with a stand-in for its CA."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from certdesk.backends.base import Backend, ChoosesValidity, Finds
from certdesk.backends.conformance import (
    BackendConformance,
    BackendFactory,
    FindsConformance,
    MakeIntent,
    issued,
)
from certdesk.backends.registry import load_backends
from certdesk.domain.errors import BackendRefused, OutcomeUnknown
from certdesk.domain.issuing.certificates import Intent
from tests.integration.vendors_support import Vendor, intent_for, vendor


@pytest.fixture(scope="module", params=["digicert", "sectigo", "harica"])
def finding(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with vendor(request.param, tmp_path_factory.mktemp("vendor")) as one:
        chain = tmp_path_factory.mktemp("chain") / "chain.pem"
        chain.write_bytes(one.server.chain_pem)
        more = {} if one.kind == "harica" else {"chain_file": chain}
        yield replace(one, settings={**one.settings, **more})


@pytest.fixture(scope="module")
def adcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with vendor("adcs", tmp_path_factory.mktemp("vendor")) as one:
        yield one


class TestFinding(BackendConformance, FindsConformance):
    @pytest.fixture
    def backend_factory(self, finding: Vendor) -> BackendFactory:
        def factory() -> Backend:
            return load_backends({"ca": {"kind": finding.kind, **finding.settings}})["ca"]

        return factory

    @pytest.fixture
    def make_intent(self) -> MakeIntent:
        def make(*, names: tuple[str, ...] = ("www.example.ac.uk",)) -> Intent:
            return intent_for(*names)

        return make

    def test_it_takes_its_time(self, backend_factory: BackendFactory, finding: Vendor) -> None:
        backend = backend_factory()
        assert not backend.inline
        assert isinstance(backend, ChoosesValidity) is (finding.kind == "harica")


class TestAdcs(BackendConformance):
    """Its pages can't look up, nor revoke: what the suite asks of that, it must refuse."""

    @pytest.fixture
    def backend_factory(self, adcs: Vendor) -> BackendFactory:
        def factory() -> Backend:
            return load_backends({"ca": {"kind": "adcs", **adcs.settings}})["ca"]

        return factory

    @pytest.fixture
    def make_intent(self) -> MakeIntent:
        def make(*, names: tuple[str, ...] = ("www.example.ac.uk",)) -> Intent:
            return intent_for(*names, age=timedelta(0))

        return make

    def test_a_repeat_after_a_restart_yields_the_same_certificate(
        self,
        backend_factory: BackendFactory,
        make_intent: MakeIntent,  # noqa: ARG002 - as the suite has it
    ) -> None:
        """It yields none at all, once another process may have sent it."""
        aged = intent_for(age=timedelta(seconds=11))
        with pytest.raises(OutcomeUnknown, match="officer"):
            backend_factory().submit(aged)
        assert not isinstance(backend_factory(), Finds)

    def test_revokes_its_own_certificate_and_no_other(
        self, backend_factory: BackendFactory, make_intent: MakeIntent
    ) -> None:
        """It says how an administrator of the CA does."""
        backend = backend_factory()
        leaf = issued(backend, make_intent()).chain[0]
        with pytest.raises(BackendRefused, match=r"certutil -revoke [0-9a-f]+ 4$"):
            backend.revoke(certificate_der=leaf, reason="superseded")
        with pytest.raises(BackendRefused, match="not a reason"):
            backend.revoke(certificate_der=leaf, reason="no such reason")


@pytest.mark.parametrize("kind", ["digicert", "sectigo", "harica", "adcs"])
def test_it_is_an_installed_kind(kind: str, tmp_path: Path) -> None:
    with vendor(kind, tmp_path) as one:
        assert load_backends({"ca": {"kind": kind, **one.settings}})["ca"].name == "ca"
