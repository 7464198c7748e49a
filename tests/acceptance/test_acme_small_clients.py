"""Small clients as Debian ships them: dehydrated, uacme and acme-tiny issue and revoke."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import RSAKey

from tests.acceptance.conftest import AcmePlace
from tests.harness.acme_client import AcmeClient, make_csr, names_in
from tests.harness.server import DemoServer

pytestmark = pytest.mark.slow


def _needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian: {program})")


def test_dehydrated_issues_and_revokes(acme_place: AcmePlace, tmp_path: Path) -> None:
    _needs("dehydrated")
    kid, key = acme_place.eab()
    name = "dehydrated.example.ac.uk"
    (tmp_path / "wellknown").mkdir()
    (tmp_path / "config").write_text(
        f'CA="{acme_place.front.directory}"\nBASEDIR="{tmp_path}"\nWELLKNOWN="{tmp_path}/wellknown"\n'
        f'EAB_KID="{kid}"\nEAB_HMAC_KEY="{key}"\nCONTACT_EMAIL="webmaster@example.ac.uk"\n'
        f'OPENSSL_CNF="/etc/ssl/openssl.cnf"\nCURL_OPTS="--cacert {acme_place.front.ca}"\n',
        encoding="utf-8",
    )
    acme_place.run("dehydrated", "-f", tmp_path / "config", "--register", "--accept-terms")
    acme_place.run("dehydrated", "-f", tmp_path / "config", "--cron", "--domain", name)
    chain = tmp_path / "certs" / name / "fullchain.pem"
    assert list(names_in(chain.read_bytes())) == [name]
    acme_place.run("dehydrated", "-f", tmp_path / "config", "--revoke", chain.parent / "cert.pem")


def test_uacme_issues_and_revokes(server: DemoServer, tmp_path: Path) -> None:
    """Over plain HTTP: its TLS library trusts nobody but the system's own list of CAs."""
    _needs("uacme")
    told = json.loads((server.data / "demo.json").read_text(encoding="utf-8"))
    kid, key = told["eab"][0]["kid"], told["eab"][0]["hmac_key"]
    name = "uacme.example.ac.uk"
    common = ("uacme", "-v", "-c", str(tmp_path), "-a", server.demo.acme_directory)
    for command in (
        (*common, "-e", f"{kid}:{key}", "-y", "new", "webmaster@example.ac.uk"),
        (*common, "-h", "/bin/true", "issue", name),
        (*common, "revoke", str(tmp_path / name / "cert.pem")),
    ):
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        if "issue" in command:
            assert list(names_in((tmp_path / name / "cert.pem").read_bytes())) == [name]


def test_acme_tiny_issues_with_an_account_that_was_registered_elsewhere(
    acme_place: AcmePlace, tmp_path: Path
) -> None:
    """It knows no external account binding; any client may register its key."""
    _needs("acme-tiny")
    secret = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = "tiny.example.ac.uk"
    (tmp_path / "account.key").write_bytes(
        secret.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    one = AcmeClient(
        send=acme_place.transport,
        directory=acme_place.front.directory,
        key=RSAKey.import_key(secret),
        alg="RS256",
    )
    assert one.register(*acme_place.eab()).status == 201
    (tmp_path / "one.csr").write_bytes(_pem_csr(name))
    said = acme_place.run(
        "acme-tiny",
        "--account-key",
        tmp_path / "account.key",
        "--csr",
        tmp_path / "one.csr",
        "--acme-dir",
        tmp_path,
        "--directory-url",
        acme_place.front.directory,
        "--disable-check",
    )
    chain = said[said.index("-----BEGIN CERTIFICATE-----") :]
    assert list(names_in(chain.encode())) == [name]


def _pem_csr(name: str) -> bytes:
    der = make_csr(name, key=ec.generate_private_key(ec.SECP256R1()))
    return x509.load_der_x509_csr(der).public_bytes(Encoding.PEM)
