"""Small clients as Debian ships them: dehydrated, uacme, acme-tiny issue, revoke and say why they may not."""

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
#: Fits no credential. Its halves differ: dehydrated's hexdump drops a line that repeats the one before.
WRONG_KEY = "B" * 42 + "A"


def _needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian: {program})")


def _dehydrated(place: AcmePlace, folder: Path, *, hmac_key: str = "") -> tuple[str | Path, ...]:
    """The start of its commands, with a config in this folder."""
    _needs("dehydrated")
    kid, key = place.eab()
    (folder / "wellknown").mkdir(parents=True)
    (folder / "config").write_text(
        f'CA="{place.front.directory}"\nBASEDIR="{folder}"\nWELLKNOWN="{folder}/wellknown"\n'
        f'EAB_KID="{kid}"\nEAB_HMAC_KEY="{hmac_key or key}"\nCONTACT_EMAIL="webmaster@example.ac.uk"\n'
        f'OPENSSL_CNF="/etc/ssl/openssl.cnf"\nCURL_OPTS="--cacert {place.front.ca}"\n',
        encoding="utf-8",
    )
    return ("dehydrated", "-f", folder / "config")


def test_dehydrated_issues_and_revokes(acme_place: AcmePlace, tmp_path: Path) -> None:
    common = _dehydrated(acme_place, tmp_path)
    name = "dehydrated.example.ac.uk"
    acme_place.run(*common, "--register", "--accept-terms")
    acme_place.run(*common, "--cron", "--domain", name)
    chain = tmp_path / "certs" / name / "fullchain.pem"
    assert list(names_in(chain.read_bytes())) == [name]
    acme_place.run(*common, "--revoke", chain.parent / "cert.pem")


def test_dehydrated_shows_why_it_may_not(acme_place: AcmePlace, tmp_path: Path) -> None:
    wrong = _dehydrated(acme_place, tmp_path / "a", hmac_key=WRONG_KEY)
    said = acme_place.run(*wrong, "--register", "--accept-terms", ok=False)
    assert "does not fit a credential" in said
    right = _dehydrated(acme_place, tmp_path / "b")
    acme_place.run(*right, "--register", "--accept-terms")
    said = acme_place.run(*right, "--cron", "--domain", "dehydrated.example.org", ok=False)
    assert "Waiting for manual approval" in said


def _uacme(server: DemoServer, folder: Path, *command: str, hmac_key: str = "", ok: bool = True) -> str:
    """Run it over plain HTTP: its TLS library trusts nobody but the system's own list of CAs."""
    _needs("uacme")
    told = json.loads((server.data / "demo.json").read_text(encoding="utf-8"))
    kid, key = told["eab"][0]["kid"], hmac_key or told["eab"][0]["hmac_key"]
    common = ("uacme", "-v", "-c", str(folder), "-a", server.demo.acme_directory, "-e", f"{kid}:{key}", "-y")
    ran = subprocess.run((*common, *command), capture_output=True, text=True, timeout=120, check=False)
    said = ran.stdout + ran.stderr
    assert (ran.returncode == 0) is ok, said
    return said


def test_uacme_issues_and_revokes(server: DemoServer, tmp_path: Path) -> None:
    name = "uacme.example.ac.uk"
    _uacme(server, tmp_path, "new", "webmaster@example.ac.uk")
    _uacme(server, tmp_path, "-h", "/bin/true", "issue", name)
    assert list(names_in((tmp_path / name / "cert.pem").read_bytes())) == [name]
    _uacme(server, tmp_path, "revoke", str(tmp_path / name / "cert.pem"))


def test_uacme_shows_why_it_may_not(server: DemoServer, tmp_path: Path) -> None:
    said = _uacme(server, tmp_path / "a", "new", "webmaster@example.ac.uk", hmac_key=WRONG_KEY, ok=False)
    assert "does not fit a credential" in said
    _uacme(server, tmp_path / "b", "new", "webmaster@example.ac.uk")
    said = _uacme(server, tmp_path / "b", "-h", "/bin/true", "issue", "uacme.example.org", ok=False)
    assert "Waiting for manual approval" in said


def _acme_tiny(place: AcmePlace, folder: Path, name: str, *, ok: bool = True) -> str:
    (folder / "one.csr").write_bytes(_pem_csr(name))
    return place.run(
        "acme-tiny",
        *("--account-key", folder / "account.key"),
        *("--csr", folder / "one.csr"),
        *("--acme-dir", folder),
        *("--directory-url", place.front.directory),
        "--disable-check",
        ok=ok,
    )


def test_acme_tiny_issues_with_an_account_that_was_registered_elsewhere(
    acme_place: AcmePlace, tmp_path: Path
) -> None:
    """It knows no external account binding; any client may register its key."""
    _needs("acme-tiny")
    secret = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (tmp_path / "account.key").write_bytes(
        secret.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    name = "tiny.example.ac.uk"
    assert "externalAccountRequired" in _acme_tiny(acme_place, tmp_path, name, ok=False)
    one = AcmeClient(
        send=acme_place.transport,
        directory=acme_place.front.directory,
        key=RSAKey.import_key(secret),
        alg="RS256",
    )
    assert one.register(*acme_place.eab()).status == 201
    said = _acme_tiny(acme_place, tmp_path, name)
    chain = said[said.index("-----BEGIN CERTIFICATE-----") :]
    assert list(names_in(chain.encode())) == [name]
    said = _acme_tiny(acme_place, tmp_path, "tiny.example.org", ok=False)
    assert "Waiting for manual approval" in said


def _pem_csr(name: str) -> bytes:
    der = make_csr(name, key=ec.generate_private_key(ec.SECP256R1()))
    return x509.load_der_x509_csr(der).public_bytes(Encoding.PEM)
