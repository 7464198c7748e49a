"""The guide to OpenBao, word for word, then a demo that issues there, revokes and says what is wrong."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx2
import pytest
from cryptography import x509

from tests.harness.environment import certdesk
from tests.harness.openbao import OpenBao, bao_program, openbao_server
from tests.harness.ports import free_port
from tests.harness.processes import ended, started
from tests.harness.server import read_demo
from tests.harness.waiting import wait_until
from tests.integration.support import csr

pytestmark = pytest.mark.slow

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "cas.md"


@pytest.fixture
def bao(tmp_path: Path) -> Iterator[OpenBao]:
    with openbao_server(tmp_path / "bao") as server:
        yield server


def test_the_guide_leads_to_a_certificate(bao: OpenBao, demo_template: Path, tmp_path: Path) -> None:
    # 1. The commands, as they stand there.
    guide = GUIDE.read_text(encoding="utf-8").partition("\n## OpenBao\n")[2]
    (script,) = re.findall(r"^```sh run\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    path = f"{bao_program().parent}:{os.environ['PATH']}"
    env = {"PATH": path, "HOME": str(tmp_path), "BAO_ADDR": bao.address, "BAO_TOKEN": bao.token}
    done = subprocess.run(["sh", "-eu"], input=script, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    role_id, secret_id = re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", done.stdout)[-2:]

    # 2. The file, with this server's address and IDs.
    (file,) = re.findall(r"^```toml\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    file = file.replace("https://bao.example.ac.uk:8200", bao.address)
    file = re.sub(r'role_id = "[^"]+"', f'role_id = "{role_id}"', file)
    (tmp_path / "cas.toml").write_text(file, encoding="utf-8")
    (tmp_path / "bao.secret").write_text(f"{secret_id}\n", encoding="utf-8")
    (tmp_path / "bao.secret").chmod(0o600)

    # 3. What an operator does then.
    data = shutil.copytree(demo_template, tmp_path / "var")
    settings = {"CERTDESK_DEMO": "1", "CERTDESK_DATA": str(data), "CERTDESK_LOG_LEVEL": "ERROR"}
    run = partial(certdesk, **settings, CERTDESK_CAS=str(tmp_path / "cas.toml"))
    assert run("admin", "migrate").returncode == 0
    assert "TLS server: bao" in run("ca", "list").stdout
    checked = run("ca", "check", "bao", "--json")
    assert checked.returncode == 0, checked.stdout
    assert {one["code"]: one["verdict"] for one in json.loads(checked.stdout)["bao"]} == {
        "backend.credentials": "pass",
        "backend.role": "pass",
        "backend.ready": "pass",
    }
    tried = run("ca", "test-issue", "www.example.ac.uk")
    assert (tried.returncode, tried.stderr) == (0, "Revoked.\n"), tried.stdout
    assert "(issuance.match)" in tried.stdout
    compared = run("ca", "reconcile", "bao")
    assert compared.returncode == 0, compared.stderr
    assert "In its list: 1; matched" in compared.stdout

    # 4. A mistake in the file is told with its place; a role that is not there by the check.
    (tmp_path / "cas.toml").write_text(file + "common_nam = true\n", encoding="utf-8")
    assert "[profiles.tls-server] common_nam: There is no such key" in run("ca", "list").stderr
    (tmp_path / "cas.toml").write_text(file.replace('role = "web"', 'role = "wed"'), encoding="utf-8")
    checked = run("ca", "check", "bao")
    assert checked.returncode == 1
    assert "update on pki/sign/wed" in checked.stdout


def test_the_demo_with_openbao_issues_there_and_leaves_nothing(tmp_path: Path) -> None:
    port, bao_port = free_port(), free_port()
    env = {**os.environ, "TMPDIR": str(tmp_path), "PORT": str(port), "BAO_PORT": str(bao_port)}
    script = GUIDE.parents[1] / "scripts" / "demo-openbao"
    demo = started([script], log=tmp_path / "log", env=env)
    try:

        def sign_ins() -> list[Path]:
            assert demo.poll() is None, (tmp_path / "log").read_text(encoding="utf-8")
            return list(tmp_path.glob("certdesk-openbao.*/var/demo.json"))

        (path,) = wait_until(sign_ins, what="the demo's sign-ins", seconds=150)
        told = read_demo(path)
        wait_until(lambda: _is_ready(told.base_url), what="the demo to answer", seconds=60)
        body = {"csr": csr("bao.example.ac.uk").decode(), "duration_years": 1, "server_software": "nginx"}
        with httpx2.Client(base_url=told.base_url, trust_env=False, timeout=60) as client:
            client.headers["Authorization"] = f"Bearer {told.api_tokens['alice']}"
            made = client.post("/api/v1/requests", json=body).json()
            assert made["status"] == "issued", made
            pem = client.get(f"/api/v1/requests/{made['id']}/certificate?format=pem").content
        issuer = x509.load_pem_x509_certificate(pem).issuer
        assert issuer.rfc4514_string() == "CN=Example University CA"
    finally:
        ended(demo, seconds=60)
    assert not list(tmp_path.glob("certdesk-openbao.*"))
    assert not _is_ready(f"http://127.0.0.1:{bao_port}")


def _is_ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz", trust_env=False, timeout=5).status_code > 0
    except httpx2.TransportError:
        return False
