"""The programs of the documentation, as they stand, against the suite that every back end must pass."""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certdesk.backends.base import Backend, Finds
from certdesk.backends.command import CommandBackend
from certdesk.backends.conformance import (
    BackendConformance,
    BackendFactory,
    FindsConformance,
    ListsConformance,
    MakeIntent,
    issued,
)
from certdesk.backends.registry import load_backends
from certdesk.domain.errors import OutcomeUnknown
from certdesk.domain.issuing.certificates import Absent, Intent
from tests.harness.ca_command import cfssl, openssl_ca
from tests.integration.openbao_support import intent_for

STOPS = 12


@pytest.fixture
def make_intent() -> MakeIntent:
    def make(*, names: tuple[str, ...] = ("www.example.ac.uk",)) -> Intent:
        return intent_for(names, now=datetime.now(UTC) - timedelta(minutes=3))

    return make


class TestOpensslCa(BackendConformance, FindsConformance, ListsConformance):
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


MAKERS = [
    openssl_ca,
    pytest.param(
        cfssl, marks=pytest.mark.skipif(shutil.which("cfssl") is None, reason="cfssl is not installed")
    ),
]


@pytest.mark.parametrize("made", MAKERS)
def test_the_same_intent_at_the_same_time_is_one_certificate(
    made: Callable[[Path], dict[str, object]], make_intent: MakeIntent, tmp_path: Path
) -> None:
    settings, intent = made(tmp_path), make_intent()
    with ThreadPoolExecutor(4) as threads:
        several = [load_backends({"ours": settings})["ours"] for _ in range(4)]
        first, *others = threads.map(lambda backend: issued(backend, intent), several)
    assert others == [first] * 3


@pytest.mark.parametrize("made", MAKERS)
def test_wherever_it_is_stopped_there_is_one_certificate(
    made: Callable[[Path], dict[str, object]], make_intent: MakeIntent, tmp_path: Path
) -> None:
    """Stopped after longer and longer times: before it signs, while openssl replaces its files, after it."""
    settings = made(tmp_path)
    patient = load_backends({"ours": settings})["ours"]
    assert isinstance(patient, Finds)
    issued(patient, make_intent())
    stopped = 0
    for step in range(STOPS):
        intent = make_intent()
        hasty = load_backends({"ours": {**settings, "timeout_seconds": 0.04 + 0.2 * step / STOPS}})["ours"]
        assert isinstance(hasty, CommandBackend)
        hasty._known_chain = patient.chain()  # else that is what takes its time
        hasty._read_again_at = time.monotonic() + 60
        with suppress(OutcomeUnknown):
            hasty.submit(intent)
            continue
        stopped += 1
        found = patient.find(intent)
        made_now = issued(patient, intent)
        assert found in (Absent(), made_now)
        assert patient.find(intent) == made_now
    assert stopped, "0.04 seconds are too short to sign"
