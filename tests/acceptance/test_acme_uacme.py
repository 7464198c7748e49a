"""uacme as Debian ships it: issue, renew, revoke, http-01, and what it says when it may not.

It speaks plain HTTP here, with an instance of its own: its TLS library trusts nobody but the system's list of
CAs, and the session's instance says that it is at an https address.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import CHALLENGED, WRONG_KEY
from tests.harness.acme_client import names_in
from tests.harness.acme_front import challenge_settings
from tests.harness.fixtures import DemoWith
from tests.harness.nameserver import NameServers
from tests.harness.ports import free_port
from tests.harness.server import DemoServer
from tests.harness.webroot import webroot

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("uacme") is None, reason="uacme is not installed (Debian: uacme)"),
]
#: Comes with it, and writes proofs where a web server has them.
HOOK = "/usr/share/uacme/uacme.sh"


@pytest.fixture(scope="module")
def server(demo_with: DemoWith, challenged_names: NameServers) -> Iterator[DemoServer]:
    """A demo that looks for proofs on the loopback."""
    settings = challenge_settings(
        name_server_port=challenged_names.recursive_port, http_port=free_port(), tls_port=free_port()
    )
    with demo_with(**settings) as running:
        yield running


def _uacme(server: DemoServer, folder: Path, *command: str, hmac_key: str = "", status: int = 0) -> str:
    told = json.loads((server.data / "demo.json").read_text(encoding="utf-8"))
    kid, key = told["eab"][0]["kid"], hmac_key or told["eab"][0]["hmac_key"]
    ran = subprocess.run(
        ["uacme", "-v", "-c", folder, "-a", server.demo.acme_directory, "-e", f"{kid}:{key}", "-y", *command],
        env={**os.environ, "UACME_CHALLENGE_PATH": str(folder / "www/.well-known/acme-challenge")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = ran.stdout + ran.stderr
    assert ran.returncode == status, said
    return said


def test_it_issues_renews_and_revokes_a_validated_name(server: DemoServer, tmp_path: Path) -> None:
    name = "uacme.example.ac.uk"
    chain = tmp_path / name / "cert.pem"
    _uacme(server, tmp_path, "new", "webmaster@example.ac.uk")
    _uacme(server, tmp_path, "issue", name)
    first = chain.read_bytes()
    assert list(names_in(first)) == [name]
    _uacme(server, tmp_path, "issue", name, status=1)  # which is how it says “not due”
    assert chain.read_bytes() == first
    _uacme(server, tmp_path, "--days", "1000", "issue", name)
    assert list(names_in(chain.read_bytes())) == [name]
    assert chain.read_bytes() != first
    _uacme(server, tmp_path, "revoke", str(chain))


def test_it_proves_an_unknown_name_by_http(server: DemoServer, tmp_path: Path) -> None:
    name = f"uacme.{CHALLENGED}"
    _uacme(server, tmp_path, "new", "webmaster@example.ac.uk")
    with webroot(tmp_path / "www", port=int(server.extra["CERTDESK_DCV_HTTP_PORT"])):
        _uacme(server, tmp_path, "--hook", HOOK, "issue", name)
    assert list(names_in((tmp_path / name / "cert.pem").read_bytes())) == [name]


def test_a_wrong_key_and_a_name_that_wants_an_officer_are_explained(
    server: DemoServer, tmp_path: Path
) -> None:
    said = _uacme(server, tmp_path / "a", "new", "webmaster@example.ac.uk", hmac_key=WRONG_KEY, status=2)
    assert "does not fit a credential" in said
    _uacme(server, tmp_path / "b", "new", "webmaster@example.ac.uk")
    said = _uacme(server, tmp_path / "b", "issue", "uacme.example.org", status=2)
    assert "Waiting for manual approval" in said
