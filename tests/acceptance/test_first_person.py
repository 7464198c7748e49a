"""A service outside the demo: how its first person comes to be, from the command line alone."""

import subprocess
from pathlib import Path

import pytest

from tests.harness.environment import certdesk


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    told = {"CERTDESK_DATA": str(tmp_path / "var")}
    for name in ("SECRET_KEY", "CA_PASSPHRASE"):
        (tmp_path / name).write_text("x" * 48)
        told[f"CERTDESK_{name}_FILE"] = str(tmp_path / name)
    return told


def _add(settings: dict[str, str], *, role: str = "operator") -> subprocess.CompletedProcess[str]:
    options = ("--name", "Anna Admin", "--email", "anna@example.ac.uk", "--role", role)
    return certdesk("admin", "add-person", "anna", *options, **settings)


def test_the_first_operator_is_added_on_the_command_line(settings: dict[str, str]) -> None:
    first = _add(settings)
    assert first.returncode == 0, first.stderr
    assert len(first.stdout.strip().replace("-", "")) == 20

    again = _add(settings)
    assert again.returncode == 1
    assert again.stdout == ""
    assert "username:" in again.stderr

    assert _add(settings, role="king").returncode == 2
