"""`scripts/demo` plays its story to the end and leaves nothing behind; it says itself how long it took."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "demo"
#: For a busy machine; an idle one needs a quarter of a minute.
LONGEST_SECONDS = 240


def _play(temporary: Path, **more: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [str(SCRIPT)],
        env={**os.environ, "PATH": path, "TMPDIR": str(temporary), **more},
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )


@pytest.mark.slow
def test_the_demo_ends_well_and_tidies_up(tmp_path: Path) -> None:
    done = _play(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ".crt: OK" in done.stdout
    assert "(exit code 5)" in done.stdout
    assert "(exit code 3)" in done.stdout
    assert "Done in" in done.stdout
    assert "\x1b[" not in done.stdout, "colours are for terminals"
    assert "cdk_" not in done.stdout + done.stderr, "a token was printed"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_demo_that_fails_says_so_and_tidies_up(tmp_path: Path) -> None:
    fake = tmp_path / "fake"
    fake.mkdir()
    (fake / "openssl").write_text("#!/bin/sh\nexit 7\n")
    (fake / "openssl").chmod(0o755)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    # The script puts the .venv first, and that has no openssl.
    done = _play(scratch, PATH=f"{fake}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert done.returncode == 7
    assert "stopped" in done.stderr
    assert list(scratch.iterdir()) == []
