"""Settings of a CA behind a program that could only fail later stop it at the start."""

from collections.abc import Callable
from pathlib import Path

import pytest

from certdesk.backends.base import Finds
from certdesk.backends.command import CommandBackend
from certdesk.domain.errors import Misconfigured

CASES: dict[str, tuple[dict[str, object], str]] = {
    "unknown": ({"shell": True}, "unknown settings shell"),
    "no whole path": ({"program": "ca-program"}, "give the whole path"),
    "not there": ({"program": "/nowhere/ca"}, "No such file"),
    "a NUL in its path": ({"program": "/usr/bin/\0"}, "no path that can be followed"),
    "a folder": ({"program": "/usr"}, "can't be run"),
    "too patient": ({"timeout_seconds": 30}, "9 at most"),
    "no time": ({"timeout_seconds": 0}, "9 at most"),
    "a text for a number": ({"timeout_seconds": "8"}, "must be a number"),
    "a truth for a number": ({"timeout_seconds": True}, "must be a number"),
    "a number for a truth": ({"can_find": 1}, "must be true or false"),
    "a command line": ({"arguments": "--profile web"}, "must be a list of texts"),
    "a NUL": ({"arguments": ["a\0b"]}, "no NUL"),
    "a number in the environment": ({"environment": {"CA_PORT": 8}}, "must be a table of texts"),
    "a wrong variable": ({"environment": {"CA-PORT": "8"}}, "no name of a variable"),
    "too many variables": ({"environment": {f"A{n}": "x" for n in range(21)}}, "20 variables at most"),
    "no such chain": ({"chain_file": "/nowhere.pem"}, "chain_file /nowhere.pem can't be used"),
    "no chain": ({"chain_file": "/etc/hostname"}, "holds no certificates in PEM"),
}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "ca-program"
    path.write_text("#!/bin/sh\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("what", CASES)
def test_a_setting_that_cannot_work_is_named(what: str, program: Path) -> None:
    changes, told = CASES[what]
    with pytest.raises(Misconfigured, match=told) as refused:
        CommandBackend.from_settings(name="ours", settings={"program": program, **changes})
    assert "ours" in refused.value.detail


def test_the_program_has_to_be_set() -> None:
    with pytest.raises(Misconfigured, match="set program"):
        CommandBackend.from_settings(name="ours", settings={})


def _others_write(program: Path) -> None:
    program.chmod(0o757)


def _group_writes(program: Path) -> None:
    program.chmod(0o775)


def _others_write_above(program: Path) -> None:
    program.parent.chmod(0o777)


def _no_program(program: Path) -> None:
    program.chmod(0o644)


def _linked_to_writable(program: Path) -> None:
    real = program.with_name("real")
    program.rename(real)
    program.symlink_to(real)
    real.chmod(0o777)


def _circle(program: Path) -> None:
    program.unlink()
    program.symlink_to(program)


@pytest.mark.parametrize(
    "change, told",
    [
        (_others_write, "others can write to .*ca-program"),
        (_group_writes, "others can write to .*ca-program"),
        (_others_write_above, "others can write to"),
        (_linked_to_writable, "others can write to .*real"),
        (_no_program, "Make it executable"),
        (_circle, "ca-program"),
    ],
)
def test_a_program_that_others_can_change_is_refused(
    change: Callable[[Path], None], told: str, program: Path
) -> None:
    CommandBackend.from_settings(name="ours", settings={"program": program})
    change(program)
    with pytest.raises(Misconfigured, match=told):
        CommandBackend.from_settings(name="ours", settings={"program": program})


def test_it_finds_only_where_the_settings_say_so(program: Path) -> None:
    settings: dict[str, object] = {"program": program}
    assert not isinstance(CommandBackend.from_settings(name="ours", settings=settings), Finds)
    finding = CommandBackend.from_settings(name="ours", settings={**settings, "can_find": True})
    assert isinstance(finding, Finds)
    assert finding.title == "ours"


def test_no_secret_stands_in_what_is_printed_of_it(program: Path) -> None:
    settings = {"program": program, "environment": {"CMP_SECRET": "hush-hush"}}
    backend = CommandBackend.from_settings(name="ours", settings=settings)
    assert "hush" not in repr(backend._config)
