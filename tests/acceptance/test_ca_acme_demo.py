"""A running demo whose file of CAs names a real ACME CA: a request by REST, its certificate, `ca check`."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from tests.harness.acme_ca import ZONE, AcmeCa, acme_ca
from tests.harness.environment import certdesk
from tests.harness.fixtures import DemoWith
from tests.harness.waiting import wait_until
from tests.integration.support import csr

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcmeCa]:
    with acme_ca(tmp_path_factory.mktemp("demo-ca"), eab=True) as running:
        yield running


def _file_of_cas(ca: AcmeCa, folder: Path) -> Path:
    """As an operator would write it. JSON's strings, lists and numbers are TOML's."""
    settings = ca.settings(str(folder / "account"))
    dcv = settings.pop("dcv")
    assert isinstance(dcv, dict)
    lines = ["[cas.pebble]", 'kind = "acme"', *_lines(settings), "[cas.pebble.dcv]", *_lines(dcv)]
    # Pebble 2.4 certifies for clients as well.
    profile = {"title": "TLS server", "version": 2, "cas": ["pebble"], "usages": ["server", "client"]}
    lines += ["[profiles.tls-server]", *_lines(profile)]
    path = folder / "cas.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _lines(values: dict[str, Any]) -> list[str]:
    return [f"{key} = {json.dumps(value)}" for key, value in values.items()]


def test_a_demo_asks_the_ca_of_its_file(ca: AcmeCa, demo_with: DemoWith, tmp_path: Path) -> None:
    settings = {"CERTDESK_CAS": str(_file_of_cas(ca, tmp_path))}
    with demo_with(**settings) as server:
        token = server.demo.api_tokens["alice"]

        def call(path: str, told: object = None) -> bytes:
            request = urllib.request.Request(
                f"{server.base_url}/api/v1{path}",
                data=None if told is None else json.dumps(told).encode(),
                headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                content: bytes = answer.read()
            return content

        asked = {"csr": csr(f"demo.{ZONE}").decode(), "duration_years": 1, "server_software": "nginx"}
        made = json.loads(call("/requests", asked))
        here = f"/requests/{made['id']}"
        wait_until(
            lambda: json.loads(call(here))["status"] == "issued", seconds=120, what="the certificate to come"
        )
        leaf, *_above = x509.load_pem_x509_certificates(call(f"{here}/certificate?format=fullchain"))
        (issuer,) = leaf.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
        assert str(issuer.value).startswith("Pebble Intermediate")

        said = certdesk(
            *("ca", "check", "pebble"), CERTDESK_DEMO="1", CERTDESK_DATA=str(server.data), **settings
        )
        assert said.returncode == 0, said
        assert "pebble: ok: Our account is registered." in said.stdout
