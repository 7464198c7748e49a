"""Caddy fetches and renews its own certificates with an EAB credential, and its log says what failed."""

import contextlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.acceptance.conftest import CHALLENGED, WRONG_KEY, AcmePlace
from tests.harness.served import served_certificate
from tests.harness.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("caddy") is None, reason="Caddy is not installed (Debian: caddy)"),
]
KNOWN, PROVEN = "caddy.example.ac.uk", f"caddy.{CHALLENGED}"
UNKNOWN_KEY, WAITING = "wrong.caddy.example.ac.uk", "caddy.example.org"
RENEWED = "renewed.caddy.example.ac.uk"
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
    folder: Path

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")

    def served(self, name: str) -> bytes:
        """The certificate that is served for a name, DER; empty while there is none."""
        return served_certificate(self.port, name)

    def wait_served(self, name: str, *, instead_of: bytes = b"") -> bytes:
        """Wait until a name is served with a certificate for it alone, and another one than before."""
        last = b""

        def fetched() -> bool:
            nonlocal last
            last = self.served(name)
            return last not in (b"", instead_of) and _names(last) == [name]

        self._wait(fetched, what=f"Caddy to serve {name}")
        return last

    def wait_logged(self, words: str) -> None:
        """Wait until its log has these words."""
        self._wait(lambda: words in self.log, what=f"Caddy to log “{words}”")

    def stored(self, name: str, ending: str) -> Path:
        """The file in which it keeps a name's certificate (`crt`) or key (`key`)."""
        (found,) = (self.folder / "storage").rglob(f"{name}.{ending}")
        return found

    def _wait(self, until: Callable[[], bool], *, what: str) -> None:
        try:
            wait_until(until, seconds=60, what=what)
        except AssertionError as error:
            raise AssertionError(self.log[-4000:]) from error


def _names(der: bytes) -> list[str]:
    san = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return san.value.get_values_for_type(x509.DNSName)


def _config(place: AcmePlace, folder: Path, keys: Mapping[str, str]) -> dict[str, Any]:
    """Caddy's own form of a Caddyfile with these sites, each with the HMAC key that it binds with."""
    kid, _ = place.eab()
    sites = (
        _SITE.format(
            name=name,
            port=place.tls_port,
            directory=place.front.directory,
            ca=place.front.ca,
            kid=kid,
            key=key,
        )
        for name, key in keys.items()
    )
    (folder / "Caddyfile").write_text(
        f"{{\n  admin off\n  storage file_system {folder / 'storage'}\n  http_port {place.http_port}\n"
        f"  https_port {place.tls_port}\n  auto_https disable_redirects\n}}\n" + "".join(sites),
        encoding="utf-8",
    )
    adapted = subprocess.run(
        ["caddy", "adapt", "--config", folder / "Caddyfile", "--adapter", "caddyfile"],
        env=_environment(place, folder),
        capture_output=True,
        check=True,
    )
    return dict(json.loads(adapted.stdout))


def _environment(place: AcmePlace, folder: Path) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": str(folder), **place.front.environment}


@contextlib.contextmanager
def _running(place: AcmePlace, folder: Path, config: Mapping[str, Any]) -> Iterator[_Caddy]:
    """Caddy, on the port at which the service looks for proofs by TLS."""
    (folder / "caddy.json").write_text(json.dumps(config), encoding="utf-8")
    with (folder / "log").open("wb") as out:
        process = subprocess.Popen(
            ["caddy", "run", "--config", folder / "caddy.json"],
            env=_environment(place, folder),
            stdout=out,
            stderr=out,
        )
    try:
        yield _Caddy(port=place.tls_port, folder=folder)
    finally:
        process.terminate()
        process.wait(timeout=60)


def test_it_serves_validated_names_and_those_that_it_proves_and_logs_what_failed(
    acme_place: AcmePlace, tmp_path: Path
) -> None:
    _, right = acme_place.eab()
    keys = {KNOWN: right, PROVEN: right, WAITING: right, UNKNOWN_KEY: WRONG_KEY}
    with _running(acme_place, tmp_path, _config(acme_place, tmp_path, keys)) as caddy:
        caddy.wait_served(KNOWN)
        caddy.wait_served(PROVEN)
        caddy.wait_logged("does not fit a credential")
        caddy.wait_logged("Waiting for manual approval")


def test_it_renews_a_certificate_and_another_client_revokes_it(acme_place: AcmePlace, tmp_path: Path) -> None:
    """It looks every two seconds, and takes a certificate as due all its life: Caddy 2.6 asks nobody when.

    It has no command to revoke; certbot does so with the certificate's key.
    """
    _, right = acme_place.eab()
    config = _config(acme_place, tmp_path, {RENEWED: right})
    automation = config["apps"]["tls"]["automation"]
    automation["renew_interval"] = "2s"
    for policy in automation["policies"]:
        policy["renewal_window_ratio"] = 1
    with _running(acme_place, tmp_path, config) as caddy:
        first = caddy.wait_served(RENEWED)
        caddy.wait_served(RENEWED, instead_of=first)
    acme_place.revoke_by_key(
        tmp_path, certificate=caddy.stored(RENEWED, "crt"), key=caddy.stored(RENEWED, "key")
    )
