"""Caddy fetches its own certificates with an EAB credential, and its log says what failed."""

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from tests.acceptance.conftest import CHALLENGED, AcmePlace
from tests.harness.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("caddy") is None, reason="Caddy is not installed (Debian: caddy)"),
]
KNOWN, PROVEN = "caddy.example.ac.uk", f"caddy.{CHALLENGED}"
UNKNOWN_KEY, WAITING = "wrong.caddy.example.ac.uk", "caddy.example.org"
_SITE = """{name}:{port} {{
  bind 127.0.0.1
  respond hello
  tls {{
    issuer acme {directory} {{
      trusted_roots {ca}
      email webmaster@example.ac.uk
      eab {kid} {key}
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Caddy:
    port: int
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")

    def names(self, name: str) -> list[str]:
        """The names in the certificate that is served for one; none while there is none."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with (
                socket.create_connection(("127.0.0.1", self.port), timeout=2) as plain,
                context.wrap_socket(plain, server_hostname=name) as tls,
            ):
                der = tls.getpeercert(binary_form=True)
        except OSError:
            return []
        leaf = x509.load_der_x509_certificate(der or b"")
        san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return san.get_values_for_type(x509.DNSName)


@pytest.fixture(scope="module")
def caddy(acme_place: AcmePlace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Caddy]:
    """One Caddy with this file's sites, on the port at which the service looks for proofs by TLS."""
    folder = tmp_path_factory.mktemp("caddy")
    kid, right = acme_place.eab()
    keys = {KNOWN: right, PROVEN: right, WAITING: right, UNKNOWN_KEY: "A" * 43}
    sites = (
        _SITE.format(
            name=name,
            port=acme_place.tls_port,
            directory=acme_place.front.directory,
            ca=acme_place.front.ca,
            kid=kid,
            key=key,
        )
        for name, key in keys.items()
    )
    (folder / "Caddyfile").write_text(
        f"{{\n  admin off\n  storage file_system {folder / 'storage'}\n  http_port {acme_place.http_port}\n"
        f"  https_port {acme_place.tls_port}\n  auto_https disable_redirects\n}}\n" + "".join(sites),
        encoding="utf-8",
    )
    with (folder / "log").open("wb") as out:
        running = subprocess.Popen(
            ["caddy", "run", "--config", folder / "Caddyfile", "--adapter", "caddyfile"],
            env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **acme_place.front.environment},
            stdout=out,
            stderr=out,
        )
    try:
        yield _Caddy(port=acme_place.tls_port, log_file=folder / "log")
    finally:
        running.terminate()
        running.wait(timeout=60)


@pytest.mark.parametrize("name", [KNOWN, PROVEN])
def test_it_serves_validated_names_and_those_that_it_proves(caddy: _Caddy, name: str) -> None:
    try:
        wait_until(lambda: caddy.names(name) == [name], seconds=60, what=f"Caddy to serve {name}")
    except AssertionError as error:
        raise AssertionError(caddy.log[-4000:]) from error


@pytest.mark.parametrize("words", ["does not fit a credential", "Waiting for manual approval"])
def test_its_log_explains_what_failed(caddy: _Caddy, words: str) -> None:
    try:
        wait_until(lambda: words in caddy.log, seconds=60, what=f"Caddy to log “{words}”")
    except AssertionError as error:
        raise AssertionError(caddy.log[-4000:]) from error
