"""Fixtures of the stories that are told in a browser, and of those that real ACME clients tell."""

import base64
import json
import os
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from playwright.sync_api import Browser, Page

from certdesk.cli.main import certdesk
from tests.acceptance.seed_support import Staff
from tests.acceptance.stories import Visitors
from tests.harness.acme_client import Reply, over_http
from tests.harness.acme_front import Front, acme_front, challenge_settings
from tests.harness.environment import steers_certdesk
from tests.harness.fixtures import DemoWith
from tests.harness.nameserver import NameServers, Zone, missing_programs
from tests.harness.ports import free_port
from tests.harness.server import DemoServer
from tests.personas import UNIVERSITY

#: Stories for which one demo does: of requests, credentials and domains with names of their own, which count
#: nothing of others. They change no setting, nobody's account, and no organisation that the demo has made.
_TOLD_TOGETHER = {
    *("test_browser_story", "test_revocation_browser", "test_seed_browser"),
    *("test_cli_acme", "test_cli_certificates", "test_cli_story", "test_install_guides"),
    *("test_seed_certificates", "test_seed_decisions", "test_seed_lists"),
}


@pytest.fixture(scope="session")
def common_server(demo_with: DemoWith) -> Iterator[DemoServer]:
    """The demo that those stories share: each start costs some four seconds of a core."""
    with demo_with() as running:
        yield running


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, demo_with: DemoWith) -> Iterator[DemoServer]:
    """The common demo, or one for the stories of this file alone."""
    if request.path.stem in _TOLD_TOGETHER:
        yield request.getfixturevalue("common_server")
    else:
        with demo_with() as running:
            yield running


@pytest.fixture(scope="module")
def visitors(browser: Browser, server: DemoServer) -> Visitors:
    """The people of one file's demo; their sessions last as long as its server."""
    return Visitors(browser=browser, server=server)


@pytest.fixture(scope="module")
def staff(server: DemoServer) -> Iterator[Staff]:
    """The same people over HTTP, each signed in once."""
    people = Staff(server)
    yield people
    people.close()


@pytest.fixture
def visit(visitors: Visitors) -> Iterator[Callable[..., Page]]:
    """Open a page as somebody: `visit("alice")`, `visit("alice", javascript=False)`, `visit(width=390)`.

    A script that fails, a broken policy, a missing file or a request to another host fails the test.
    """
    visitors.complaints.clear()
    yield visitors.visit
    visitors.close()
    assert not visitors.complaints, "\n".join(visitors.complaints)


#: A domain that nobody has validated, under a trusted suffix.
CHALLENGED = "challenged.ac.uk"
#: With this, clients change its zone (RFC 2136); the TSIG key has the zone's name.
UPDATE_SECRET = base64.b64encode(b"the tests' own name server").decode()
#: Fits no credential. Its halves differ: dehydrated's hexdump drops a line that repeats the one before.
WRONG_KEY = "B" * 42 + "A"
#: Debian's. PATH may find the newer one of the .venv first, of which test_acme_certbot_ari.py tells.
CERTBOT = Path("/usr/bin/certbot")


@dataclass(frozen=True, slots=True, kw_only=True)
class AcmePlace:
    """An instance behind TLS for real ACME clients; names below CHALLENGED are on the loopback address."""

    front: Front
    server: DemoServer
    http_port: int
    tls_port: int
    names: NameServers

    def eab(self, organisation: str = UNIVERSITY) -> tuple[str, str]:
        """The demo's credential of an organisation: kid and HMAC key."""
        told = json.loads((self.server.data / "demo.json").read_text(encoding="utf-8"))
        found = next(one for one in told["eab"] if one["organisation"] == organisation)
        return found["kid"], found["hmac_key"]

    def certonly(self, *names: str, hmac_key: str = "") -> tuple[str, ...]:
        """What certbot is told to get a certificate here, proving names by a web server of its own."""
        kid, key = self.eab()
        return (
            "certonly",
            "--standalone",
            f"--http-01-port={self.http_port}",
            "--http-01-address=127.0.0.1",
            f"--server={self.front.directory}",
            "--agree-tos",
            "--email=webmaster@example.ac.uk",
            "--no-eff-email",
            f"--eab-kid={kid}",
            f"--eab-hmac-key={hmac_key or key}",
            *(f"--domain={name}" for name in names),
        )

    def transport(self, method: str, url: str, *, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send one request as the tests' own ACME client does."""
        trusting = over_http(ssl.create_default_context(cafile=str(self.front.ca)))
        return trusting(method, url, body=body, headers=headers)

    def run(self, *command: str | Path, ok: bool = True) -> str:
        """Run a client's command; everything it wrote. Fails the test unless it ends as expected."""
        ran = subprocess.run(
            [str(part) for part in command],
            env={**os.environ, **self.front.environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        said = ran.stdout + ran.stderr
        assert (ran.returncode == 0) is ok, f"{command} ended with {ran.returncode}:\n{said}"
        return said

    def revoke_by_key(self, folder: Path, *, certificate: Path, key: Path) -> None:
        """Revoke with the certificate's own key, by certbot: for clients that have no command for it."""
        if not CERTBOT.exists():
            pytest.skip("certbot is not installed (Debian: certbot)")
        said = self.run(
            CERTBOT,
            *("revoke", "--non-interactive", "--no-delete-after-revoke", "--reason=superseded"),
            *(f"--cert-path={certificate}", f"--key-path={key}", f"--server={self.front.directory}"),
            *(f"--{kind}-dir={folder / kind}" for kind in ("config", "work", "logs")),
        )
        assert "successfully revoked" in said


@pytest.fixture(scope="session")
def challenged_names() -> Iterator[NameServers]:
    """Name servers that have CHALLENGED and all below it on the loopback address."""
    if missing := missing_programs():
        pytest.skip(f"not installed: {', '.join(missing)} (Debian: apt-get install knot unbound)")
    zone = Zone(name=CHALLENGED, lines="@ 60 IN A 127.0.0.1\n* 60 IN A 127.0.0.1\n", secret=UPDATE_SECRET)
    names = NameServers(zones=(zone,))
    try:
        names.start()
        yield names
    finally:
        names.stop()


@pytest.fixture(scope="session")
def acme_place(
    tmp_path_factory: pytest.TempPathFactory, demo_template: Path, challenged_names: NameServers
) -> Iterator[AcmePlace]:
    """One instance and its front, for the clients of this run."""
    folder = tmp_path_factory.mktemp("acme")
    names, http_port, tls_port = challenged_names, free_port(), free_port()
    settings = challenge_settings(
        name_server_port=names.recursive_port, http_port=http_port, tls_port=tls_port
    )
    with acme_front(folder / "front", template=demo_template, extra=settings) as (front, server):
        yield AcmePlace(front=front, server=server, http_port=http_port, tls_port=tls_port, names=names)


@pytest.fixture
def cli(server: DemoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`certdesk …` as one of the demo's people, with a home of the test's own.

    Within this process, for starting an interpreter takes longer than most commands; test_seed_browser.py
    starts one. Who is not of the demo is taken for a token.
    """
    monkeypatch.chdir(tmp_path)
    usual: dict[str, str | None] = dict.fromkeys(filter(steers_certdesk, os.environ))

    def invoke(who: str, *arguments: str, stdin: str = "", **more: str) -> Result:
        environment = usual | {
            "CERTDESK_URL": server.base_url,
            "CERTDESK_TOKEN": server.demo.api_tokens.get(who, who),
            "CERTDESK_HOME": str(tmp_path / "home"),
            **more,
        }
        done = CliRunner().invoke(certdesk, arguments, stdin, env=environment, prog_name="certdesk")
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return done

    return invoke
