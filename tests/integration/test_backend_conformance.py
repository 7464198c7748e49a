"""The back ends that ship, against the suite that every back end must pass."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from certdesk.backends.base import Backend
from certdesk.backends.conformance import (
    BackendConformance,
    BackendFactory,
    ListsConformance,
    MakeIntent,
    PreparesConformance,
    PublishesCrlConformance,
    server_intent,
)
from certdesk.backends.embedded import (
    EmbeddedBackend,
    EmbeddedConfig,
    JournallingEmbeddedBackend,
    create_authority,
)
from certdesk.domain.issuing.certificates import Intent


@pytest.fixture
def make_intent() -> MakeIntent:
    def make(*, names: tuple[str, ...] = ("www.example.ac.uk",)) -> Intent:
        return server_intent(now=datetime.now(UTC), names=names)

    return make


class TestEmbedded(BackendConformance, PreparesConformance, PublishesCrlConformance):
    @pytest.fixture
    def backend_factory(self, tmp_path: Path) -> BackendFactory:
        config = EmbeddedConfig(
            directory=tmp_path / "issuing", root_directory=tmp_path / "root", passphrase=b"a passphrase"
        )
        create_authority(config, datetime.now(UTC), may_create=lambda: True)

        def factory() -> Backend:
            return EmbeddedBackend(config)

        return factory


class TestEmbeddedWithAJournal(
    BackendConformance, PreparesConformance, PublishesCrlConformance, ListsConformance
):
    @pytest.fixture
    def backend_factory(self, tmp_path: Path) -> BackendFactory:
        config = EmbeddedConfig(
            directory=tmp_path / "issuing",
            root_directory=tmp_path / "root",
            passphrase=b"a passphrase",
            journal=tmp_path / "journal",
        )
        create_authority(config, datetime.now(UTC), may_create=lambda: True)
        return lambda: JournallingEmbeddedBackend(config)
