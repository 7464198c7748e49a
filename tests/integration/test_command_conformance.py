"""The programs of the documentation, as they stand, against the suite that every back end must pass."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certdesk.backends.base import Backend
from certdesk.backends.conformance import (
    BackendConformance,
    BackendFactory,
    FindsConformance,
    MakeIntent,
)
from certdesk.backends.registry import load_backends
from certdesk.domain.issuing.certificates import Intent
from tests.harness.ca_command import cfssl, openssl_ca
from tests.integration.openbao_support import intent_for


@pytest.fixture
def make_intent() -> MakeIntent:
    def make(*, names: tuple[str, ...] = ("www.example.ac.uk",)) -> Intent:
        return intent_for(names, now=datetime.now(UTC) - timedelta(minutes=3))

    return make


class TestOpensslCa(BackendConformance, FindsConformance):
    @pytest.fixture
    def backend_factory(self, tmp_path: Path) -> BackendFactory:
        settings = openssl_ca(tmp_path)

        def factory() -> Backend:
            return load_backends({"ours": settings})["ours"]

        return factory


@pytest.mark.skipif(shutil.which("cfssl") is None, reason="cfssl is not installed")
class TestCfssl(BackendConformance, FindsConformance):
    @pytest.fixture
    def backend_factory(self, tmp_path: Path) -> BackendFactory:
        settings = cfssl(tmp_path)

        def factory() -> Backend:
            return load_backends({"cfssl": settings})["cfssl"]

        return factory
