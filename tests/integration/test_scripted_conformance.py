"""The scripted CA, quick, slow and losing its answers, against the suite that every back end must pass."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certdesk.backends.base import Backend, Finds
from certdesk.backends.conformance import (
    BackendConformance,
    BackendFactory,
    ListsConformance,
    MakeIntent,
    server_intent,
)
from certdesk.backends.registry import load_backends
from certdesk.backends.scripted import Behaviour, Rule, ScriptedBackend, ScriptedConfig
from certdesk.domain.errors import Misconfigured
from certdesk.domain.issuing.certificates import Intent


@pytest.fixture
def make_intent() -> MakeIntent:
    def make(*, names: tuple[str, ...] = ("www.example.ac.uk",)) -> Intent:
        return server_intent(now=datetime.now(UTC), names=names)

    return make


def impatient() -> Callable[[], datetime]:
    """A clock by which a second passes between any two looks."""
    start, looks = datetime.now(UTC), iter(range(10_000))
    return lambda: start + timedelta(seconds=next(looks))


class TestQuick(BackendConformance, ListsConformance):
    @pytest.fixture
    def backend_factory(self, tmp_path: Path) -> BackendFactory:
        settings = {"directory": tmp_path, "passphrase": "a passphrase", "tests_and_demo_only": True}

        def factory() -> Backend:
            return load_backends({"second": {"kind": "scripted", **settings}})["second"]

        return factory

    def test_it_finds(self, backend_factory: BackendFactory) -> None:
        assert isinstance(backend_factory(), Finds)


class TestSlow(BackendConformance, ListsConformance):
    @pytest.fixture
    def backend_factory(self, tmp_path: Path) -> BackendFactory:
        rule = Rule(behaviour=Behaviour.ACCEPT, delay=timedelta(seconds=5))
        config = ScriptedConfig(
            directory=tmp_path, passphrase=b"a passphrase", tests_and_demo_only=True, default=rule
        )
        clock = impatient()

        def factory() -> Backend:
            return ScriptedBackend(config, clock=clock)

        return factory


def test_it_is_an_installed_kind_that_has_to_be_meant(tmp_path: Path) -> None:
    settings = {"kind": "scripted", "directory": tmp_path, "passphrase": "a passphrase"}
    with pytest.raises(Misconfigured, match="tests and the demo"):
        load_backends({"second": settings})
