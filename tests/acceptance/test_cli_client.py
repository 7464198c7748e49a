"""The client alone: what it imports, what it refuses before anything is sent, and how it writes files."""

import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import httpx2
import pytest
from click.testing import CliRunner, Result

from certdesk.cli.client import connection
from certdesk.cli.client.connection import Service
from certdesk.cli.client.exits import Exit, Failure
from certdesk.cli.client.files import file_name, read_csr, write_file
from certdesk.cli.main import certdesk

TARGET = "http://127.0.0.1:1", "cdk_test"
CSR = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"


def run(*arguments: str, **environment: str | None) -> Result:
    """Run the command in this process; nothing listens at port 1."""
    usual: dict[str, str | None] = {
        "CERTDESK_URL": "http://127.0.0.1:1",
        "CERTDESK_TOKEN": "cdk_test",
        "CERTDESK_TOKEN_FILE": None,
    }
    return CliRunner().invoke(certdesk, arguments, env=usual | environment)


def answering(status: int, body: object, **headers: str) -> Service:
    """A service that always answers the same."""

    def answer(_request: httpx2.Request) -> httpx2.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx2.Response(status, content=content, headers=headers)

    return Service(*TARGET, transport=httpx2.MockTransport(answer))


def test_the_client_imports_nothing_slow() -> None:
    """No Django at all; cryptography, HTTP and tables when a command comes to need them."""
    program = (
        "import sys, certdesk.cli.main\n"
        "from certdesk.cli.client import certificate, completion, domain, organisation, request\n"
        "print([m for m in sys.modules if m.partition('.')[0] in "
        "{'django', 'ninja', 'pydantic', 'cryptography', 'granian', 'httpx2', 'rich', 'idna'}])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    """The path of every command and group."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


@pytest.mark.parametrize("arguments", list(commands(certdesk)), ids=" ".join)
def test_every_command_explains_itself(arguments: tuple[str, ...]) -> None:
    done = run(*arguments, "--help")
    assert done.exit_code == 0
    assert "cdk_test" not in done.output


@pytest.mark.parametrize(
    "environment, says",
    [
        ({"CERTDESK_URL": None}, "CERTDESK_URL"),
        ({"CERTDESK_URL": "certdesk.example.ac.uk"}, "https://"),
        ({"CERTDESK_URL": "ftp://certdesk.example.ac.uk"}, "https://"),
        ({"CERTDESK_URL": "https://user:pass@certdesk.example.ac.uk"}, "https://"),
        ({"CERTDESK_URL": "http://[::1"}, "https://"),
        ({"CERTDESK_URL": "http://certdesk.example.ac.uk"}, "--insecure-http"),
        ({"CERTDESK_URL": "http://127.0.0.1.evil.example"}, "--insecure-http"),
        ({"CERTDESK_TOKEN": None}, "CERTDESK_TOKEN"),
    ],
)
def test_wrong_use_ends_with_2(environment: dict[str, str | None], says: str) -> None:
    done = run("request", "list", **environment)
    assert done.exit_code == Exit.USAGE
    assert says in done.stderr
    assert done.stdout == ""


def test_a_token_is_taken_from_a_file(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("cdk_from_file\n")
    done = run("request", "list", CERTDESK_TOKEN=None, CERTDESK_TOKEN_FILE=str(token))
    assert done.exit_code == Exit.RETRY_LATER  # past the options, and nobody answers at port 1
    missing = run("request", "list", "--token-file", str(tmp_path / "none"), CERTDESK_TOKEN=None)
    assert missing.exit_code == Exit.FAILED


def test_no_option_takes_a_token() -> None:
    done = run("request", "list", "--token", "cdk_secret")
    assert done.exit_code == Exit.USAGE


def test_nothing_listening_is_worth_another_try() -> None:
    done = run("request", "show", "1")
    assert done.exit_code == Exit.RETRY_LATER
    assert "can't be reached" in done.stderr
    assert (done.stdout, len(done.stderr.splitlines())) == ("", 1)


@pytest.mark.parametrize(
    "status, body, code",
    [
        (401, {"detail": "no"}, Exit.DENIED),
        (403, {"detail": "no"}, Exit.DENIED),
        (404, {"detail": "no"}, Exit.NOT_FOUND),
        (409, {"detail": "no"}, Exit.FAILED),
        (409, {"detail": "no", "request_status": "waiting_for_approval"}, Exit.NEEDS_APPROVAL),
        (409, {"detail": "no", "request_status": "submitted"}, Exit.RETRY_LATER),
        (409, {"detail": "no", "request_status": "withdrawn"}, Exit.FAILED),
        (422, {"detail": "no"}, Exit.FAILED),
        (429, {"detail": "no"}, Exit.RETRY_LATER),
        (500, {"detail": "no"}, Exit.FAILED),
        (503, {"detail": "no"}, Exit.RETRY_LATER),
        (502, b"<html>", Exit.RETRY_LATER),
        (502, {"detail": "no", "code": "backend.refused"}, Exit.FAILED),
        (404, b"<html>", Exit.FAILED),
        (302, b"", Exit.FAILED),
        (200, b"<html>", Exit.FAILED),
        (200, b"[]", Exit.FAILED),
    ],
)
def test_each_answer_has_its_exit_code(status: int, body: object, code: Exit) -> None:
    with answering(status, body) as service, pytest.raises(Failure) as failure:
        service.show("/requests/1")
    assert failure.value.exit_code == code


def test_a_problem_is_told_whole_and_without_control_characters() -> None:
    problem = {
        "detail": "Not \x1b[31mthis.",
        "errors": [{"pointer": "#/names", "detail": "Leave it out."}],
        "checks": [
            {"code": "key.weak", "verdict": "refuse", "message": "The key is weak."},
            {"code": "csr.readable", "verdict": "pass", "message": "Fine."},
        ],
    }
    with answering(422, problem) as service, pytest.raises(Failure) as failure:
        service.show("/requests")
    assert "\x1b" not in failure.value.message
    assert "names: Leave it out." in failure.value.message
    assert "key.weak: The key is weak." in failure.value.message
    assert "Fine." not in failure.value.message


def test_the_token_is_not_carried_to_another_address() -> None:
    seen: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(str(request.url.host))
        return httpx2.Response(307, headers={"Location": "https://evil.example/"})

    service = Service(*TARGET, transport=httpx2.MockTransport(answer))
    with pytest.raises(Failure):
        service.show("/requests")
    assert seen == ["127.0.0.1"]


def test_every_page_is_fetched_by_cursor() -> None:
    cursors: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        cursors.append(request.url.params.get("cursor", ""))
        following = {"": "b", "b": "c", "c": None}[cursors[-1]]
        return httpx2.Response(200, json={"items": [cursors[-1]], "next_cursor": following})

    service = Service(*TARGET, transport=httpx2.MockTransport(answer))
    assert [p["items"] for p in service.pages("/requests", every=True)] == [[""], ["b"], ["c"]]
    assert len(list(service.pages("/requests", every=False))) == 1


@pytest.mark.parametrize("url, loopback", [("http://127.0.0.2:1", True), ("http://[::1]:1", True)])
def test_loopback_is_known(url: str, *, loopback: bool) -> None:
    assert connection.is_loopback(url) is loopback
    assert not connection.is_loopback("http://localhost.example.org")


@pytest.mark.parametrize("label", ["PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"])
def test_a_private_key_never_leaves_this_machine(tmp_path: Path, label: str) -> None:
    path = tmp_path / "both.pem"
    path.write_text(f"-----BEGIN {label}-----\nsecret\n-----END {label}-----\n{CSR}")
    done = run("request", "submit", str(path))
    assert done.exit_code == Exit.FAILED
    assert "nothing was sent" in done.stderr
    assert "secret" not in done.output


BAD = Path(__file__).parent.parent / "vectors" / "bad"
GOOD = BAD.parent / "good"


@pytest.mark.parametrize(
    "path",
    sorted({*BAD.glob("private-key-*"), *BAD.glob("*.p12"), *BAD.glob("*.jks")}),
    ids=lambda path: path.name,
)
def test_no_form_of_private_key_is_read_for_sending(path: Path) -> None:
    with pytest.raises(Failure, match="nothing was sent"):
        read_csr(str(path))


@pytest.mark.parametrize("path", sorted(GOOD.iterdir()), ids=lambda path: path.name)
def test_every_form_of_csr_is_read_for_sending(path: Path) -> None:
    assert read_csr(str(path)) == path.read_bytes()


def test_a_wrong_path_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "large").write_bytes(b"A" * 65_537)
    for source, says in (
        (str(tmp_path / "none.csr"), "no file"),
        (str(tmp_path), "folder"),
        (str(tmp_path / "empty"), "nothing in it"),
        (str(tmp_path / "large"), "64 KB"),
        ("bad\0path", "can't be read"),
    ):
        with pytest.raises(Failure, match=says):
            read_csr(source)


@pytest.mark.parametrize(
    "given, name",
    [
        ('attachment; filename="www_example-2027-01-08.zip"', "www_example-2027-01-08.zip"),
        ('attachment; filename="../../etc/passwd"', "fallback"),
        ('attachment; filename=".bashrc"', "fallback"),
        ('attachment; filename="-rf"', "fallback"),
        ('attachment; filename="a/b\x1b.crt"', "a-b-.crt"),
        ("", "fallback"),
    ],
)
def test_a_file_name_can_t_leave_the_folder(given: str, name: str) -> None:
    assert file_name(given, default="fallback") == name


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.pem"
    for content in (b"old", b"new"):
        assert write_file(target.parent, "a.pem", content) == target
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [path.name for path in target.parent.iterdir()] == ["a.pem"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(Failure, match="can't be written"):
        write_file(tmp_path / "file", "a.pem", b"x")
