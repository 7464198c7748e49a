"""kill -9 at random moments while certificates are on their way from a real ACME CA: one each, none lost."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from certdesk.domain.issuing.certificates import certificate_facts
from tests.acceptance.killed_acme import as_record
from tests.harness.acme_ca import ZONE, acme_ca, csr_intent

pytestmark = pytest.mark.slow
CERTIFICATES, KILLS = 60, 25


def test_killed_at_random_moments(tmp_path: Path) -> None:
    # Seeded by pytest-randomly: a run that fails can be repeated with its seed.
    moments = [random.uniform(0, 0.3) for _ in range(KILLS)]  # noqa: S311 - no secret
    with acme_ca(tmp_path / "ca", eab=True) as ca:
        intents = [csr_intent(f"killed{number}.{ZONE}", f"moved.{ZONE}") for number in range(CERTIFICATES)]
        (tmp_path / "settings.json").write_text(json.dumps(ca.settings()), encoding="utf-8")
        records = json.dumps([as_record(intent) for intent in intents])
        (tmp_path / "intents.json").write_text(records, encoding="utf-8")
        killed = 0
        for moment in [*moments, 120]:
            worker = subprocess.Popen(
                [sys.executable, "-m", "tests.acceptance.killed_acme", tmp_path], stdout=subprocess.PIPE
            )
            assert worker.stdout is not None
            with worker.stdout:
                assert worker.stdout.readline() == b"ready\n"
            try:
                assert worker.wait(timeout=moment) == 0
                break
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
                killed += 1
        leaves = [certificate_facts((tmp_path / f"{n}.issued").read_bytes()) for n in range(CERTIFICATES)]
        assert ca.pebble.issued == CERTIFICATES == len({leaf.serial for leaf in leaves})
        for intent, leaf in zip(intents, leaves, strict=True):
            assert sorted(leaf.names) == sorted(intent.names)
        for name in (*(f"_acme-challenge.{intent.names[0]}" for intent in intents), "moved.acme.example.org"):
            assert ca.zones.texts(name) == set(), f"{name}: a record of ours is left"
        assert killed == KILLS
