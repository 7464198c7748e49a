"""The guide to a program of one's own, word for word: a CA by `openssl ca`, checked, tried, and its CRL."""

import json
import os
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509

from tests.harness.environment import certdesk

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_guide_leads_to_a_certificate(demo_template: Path, tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "cas.md").read_text(encoding="utf-8")
    for there, here in (("/usr/local/lib", tmp_path / "lib"), ("/var/lib", tmp_path / "state")):
        guide = guide.replace(there, str(here))
    script, file = (
        re.search(rf"^```{kind} ca-command\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
        for kind in ("sh", "toml")
    )
    assert script
    assert file

    # 1. The commands. There is no account of that name here.
    commands = re.sub(r"^chown .*\n", "", script[1], flags=re.MULTILINE)
    subprocess.run(["sh", "-eu"], input=commands, text=True, cwd=ROOT, check=True, capture_output=True)
    (tmp_path / "cas.toml").write_text(file[1], encoding="utf-8")

    # 2. What an operator does then.
    data = shutil.copytree(demo_template, tmp_path / "var")
    settings = {"CERTDESK_DEMO": "1", "CERTDESK_DATA": str(data), "CERTDESK_LOG_LEVEL": "ERROR"}
    run = partial(certdesk, **settings, CERTDESK_CAS=str(tmp_path / "cas.toml"))
    assert run("admin", "migrate").returncode == 0
    checked = run("ca", "check", "ours", "--json")
    assert checked.returncode == 0, checked.stdout
    assert {one["code"]: one["verdict"] for one in json.loads(checked.stdout)["ours"]} == {
        "backend.program.key": "pass",
        "backend.ready": "pass",
    }
    tried = run("ca", "test-issue", "www.example.ac.uk")
    assert (tried.returncode, tried.stderr) == (0, "Revoked.\n"), tried.stdout
    assert "(issuance.match)" in tried.stdout
    refused = run("ca", "test-issue", "www.elsewhere.example")
    assert "does not certify www.elsewhere.example" in refused.stderr

    # 3. The certificate names the CRL, which lists it.
    ca = tmp_path / "state" / "certdesk-ca"
    (issued,) = (ca / "newcerts").glob("*.pem")
    leaf = x509.load_pem_x509_certificate(issued.read_bytes())
    (point,) = leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert point.full_name == [x509.UniformResourceIdentifier("http://pki.example.ac.uk/ca.crl")]
    program = tmp_path / "lib" / "certdesk" / "openssl-ca"
    env = {**os.environ, "DOMAINS": "-"}
    printed = subprocess.run([program, ca, "crl"], env=env, check=True, capture_output=True).stdout
    crl = x509.load_pem_x509_crl(printed)
    assert [one.serial_number for one in crl] == [leaf.serial_number]
    issuer = x509.load_pem_x509_certificate((ca / "ca.pem").read_bytes())
    assert crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # a CA's key can verify


def test_every_example_is_in_the_guide() -> None:
    guide = (ROOT / "docs" / "cas.md").read_text(encoding="utf-8")
    examples = sorted(one.name for one in (ROOT / "docs" / "examples" / "ca-command").iterdir())
    assert examples == ["cfssl-sign", "openssl-ca", "openssl-cmp"]
    for one in examples:
        assert f"(examples/ca-command/{one})" in guide
