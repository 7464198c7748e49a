"""Caddy fetches its own certificate with an EAB credential before it serves the first page."""

import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from tests.acceptance.conftest import AcmePlace
from tests.harness.ports import free_port
from tests.harness.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("caddy") is None, reason="Caddy is not installed (Debian: caddy)"),
]
NAME = "caddy.example.ac.uk"


def test_it_serves_a_certificate_of_its_own(acme_place: AcmePlace, tmp_path: Path) -> None:
    kid, key = acme_place.eab()
    port = free_port()
    config = tmp_path / "Caddyfile"
    config.write_text(
        "{\n  admin off\n  storage file_system " + str(tmp_path / "storage") + "\n"
        f"  http_port {free_port()}\n  https_port {port}\n  auto_https disable_redirects\n"
        "  email webmaster@example.ac.uk\n"
        f"  acme_ca {acme_place.front.directory}\n  acme_ca_root {acme_place.front.ca}\n"
        f"  acme_eab {{\n    key_id {kid}\n    mac_key {key}\n  }}\n}}\n"
        f"{NAME}:{port} {{\n  bind 127.0.0.1\n  respond hello\n}}\n",
        encoding="utf-8",
    )
    log = tmp_path / "caddy.log"
    with log.open("wb") as out:
        running = subprocess.Popen(
            ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"],
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **acme_place.front.environment},
            stdout=out,
            stderr=out,
        )
    try:
        wait_until(lambda: _names(port) == [NAME], seconds=60, what=f"Caddy to serve {NAME}")
    except AssertionError as error:
        raise AssertionError(log.read_text(encoding="utf-8")[-4000:]) from error
    finally:
        running.terminate()
        running.wait(timeout=20)


def _names(port: int) -> list[str]:
    """The names in the certificate that is served for NAME; none while there is none."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=2) as plain,
            context.wrap_socket(plain, server_hostname=NAME) as tls,
        ):
            der = tls.getpeercert(binary_form=True)
    except OSError:
        return []
    leaf = x509.load_der_x509_certificate(der or b"")
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return san.get_values_for_type(x509.DNSName)
