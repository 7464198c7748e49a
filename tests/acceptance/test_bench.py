"""The benchmarks run, with as little as they can be given: what they print is read on a quiet machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "program, few",
    [
        ("bench_dcv", ["--names", "5"]),
        ("bench_issue", ["--rounds", "10"]),
        ("bench_list", ["--rows", "200"]),
        ("bench_polling", ["--issuances", "5"]),
    ],
)
def test_a_benchmark_runs_and_prints_its_table(program: str, few: list[str], tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "bench" / f"{program}.py"), *few]
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    environment["TMPDIR"] = str(tmp_path)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "|---|" in done.stdout
