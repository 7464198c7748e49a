"""A power cut at each step of an ACME order on SQLite: nothing decided is lost, no certificate doubled."""

import shutil
from pathlib import Path

import pytest

from tests.acceptance.test_crash import run_script

pytestmark = pytest.mark.slow


def test_a_power_cut_loses_what_a_client_repeats_and_nothing_else(
    demo_template: Path, tmp_path: Path
) -> None:
    shutil.copytree(demo_template, tmp_path / "var")
    assert run_script("power_cuts", tmp_path / "var", str(tmp_path)) == {
        "account is kept": 200,
        "an order waits for the disk": 0,
        "the next one does": True,  # whoever writes past our own transactions, such as sessions
        "orders kept": 0,
        "claimed": ["claimed"],
        "signed before and after": True,
        "finalize waits for the disk": 2,  # the intent before it is signed, the certificate before it is told
        "chain": 200,
        "nonces spent and lost": True,
        "sent again": "badNonce",
        "certificates kept": 1,
        "revoked": True,
        "audit": [],
        "doubled": 0,
    }
