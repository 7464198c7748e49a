"""acme-tiny as Debian ships it: issue, renew, http-01, what it can't do, and what it says when it may not."""

import shutil
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import RSAKey

from tests.acceptance.conftest import CHALLENGED, WRONG_KEY, AcmePlace
from tests.harness.acme_client import AcmeClient, make_csr, names_in
from tests.harness.webroot import webroot

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("acme-tiny") is None, reason="acme-tiny is not installed (Debian: acme-tiny)"
    ),
]


@pytest.fixture
def account(tmp_path: Path) -> RSAKey:
    """A new account key; acme-tiny finds it in the test's folder."""
    secret = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (tmp_path / "account.key").write_bytes(
        secret.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    return RSAKey.import_key(secret)


def _another_client(place: AcmePlace, account: RSAKey) -> AcmeClient:
    return AcmeClient(send=place.transport, directory=place.front.directory, key=account, alg="RS256")


def _register(place: AcmePlace, account: RSAKey) -> None:
    """By another client: acme-tiny knows no external account binding."""
    assert _another_client(place, account).register(*place.eab()).status == 201


def _write_csr(folder: Path, name: str) -> None:
    """What it is given; its key stays beside it."""
    secret = ec.generate_private_key(ec.SECP256R1())
    pem = x509.load_der_x509_csr(make_csr(name, key=secret)).public_bytes(Encoding.PEM)
    (folder / "one.csr").write_bytes(pem)
    (folder / "one.key").write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _acme_tiny(place: AcmePlace, folder: Path, *, proofs: Path | None = None, ok: bool = True) -> str:
    """What it wrote: the chain on stdout, then its log."""
    return place.run(
        "acme-tiny",
        *("--account-key", folder / "account.key"),
        *("--csr", folder / "one.csr"),
        *("--acme-dir", proofs or folder),
        *("--directory-url", place.front.directory),
        "--disable-check",  # it would look at port 80
        ok=ok,
    )


def _chain(said: str) -> bytes:
    end = "-----END CERTIFICATE-----"
    return said[said.index("-----BEGIN CERTIFICATE-----") : said.rindex(end) + len(end)].encode()


def test_it_issues_and_renews_with_an_account_that_was_registered_elsewhere(
    acme_place: AcmePlace, tmp_path: Path, account: RSAKey
) -> None:
    """To renew is to run it again. It can't revoke; certbot does so with the certificate's key."""
    name = "tiny.example.ac.uk"
    _write_csr(tmp_path, name)
    assert "externalAccountRequired" in _acme_tiny(acme_place, tmp_path, ok=False)
    _register(acme_place, account)
    first, second = (_chain(_acme_tiny(acme_place, tmp_path)) for _ in range(2))
    assert first != second
    assert list(names_in(first)) == list(names_in(second)) == [name]
    (tmp_path / "one.pem").write_bytes(first)
    acme_place.revoke_by_key(tmp_path, certificate=tmp_path / "one.pem", key=tmp_path / "one.key")


def test_it_proves_an_unknown_name_by_http(acme_place: AcmePlace, tmp_path: Path, account: RSAKey) -> None:
    name = f"tiny.{CHALLENGED}"
    _write_csr(tmp_path, name)
    _register(acme_place, account)
    with webroot(tmp_path / "www", port=acme_place.http_port) as proofs:
        said = _acme_tiny(acme_place, tmp_path, proofs=proofs)
    assert list(names_in(_chain(said))) == [name]


def test_a_name_that_wants_an_officer_is_explained(
    acme_place: AcmePlace, tmp_path: Path, account: RSAKey
) -> None:
    """A wrong key is the other client's to meet: acme-tiny's account then is none."""
    kid, _ = acme_place.eab()
    assert _another_client(acme_place, account).register(kid, WRONG_KEY).status == 401
    _write_csr(tmp_path, "tiny.example.org")
    assert "externalAccountRequired" in _acme_tiny(acme_place, tmp_path, ok=False)
    _register(acme_place, account)
    assert "Waiting for manual approval" in _acme_tiny(acme_place, tmp_path, ok=False)
