"""dehydrated as Debian ships it: issue, renew, revoke, http-01, and what it says when it may not."""

import shutil
from pathlib import Path

import pytest

from tests.acceptance.conftest import CHALLENGED, WRONG_KEY, AcmePlace
from tests.harness.acme_client import names_in
from tests.harness.webroot import webroot

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("dehydrated") is None, reason="dehydrated is not installed (Debian: dehydrated)"
    ),
]


def _dehydrated(place: AcmePlace, folder: Path, *, hmac_key: str = "") -> tuple[str | Path, ...]:
    """The start of its commands, with a config in this folder; keys that are quick to make."""
    kid, key = place.eab()
    wellknown = folder / ".well-known/acme-challenge"
    wellknown.mkdir(parents=True, exist_ok=True)
    (folder / "config").write_text(
        f'CA="{place.front.directory}"\nBASEDIR="{folder}"\nWELLKNOWN="{wellknown}"\n'
        f'EAB_KID="{kid}"\nEAB_HMAC_KEY="{hmac_key or key}"\nCONTACT_EMAIL="webmaster@example.ac.uk"\n'
        "KEYSIZE=2048\n"
        f'OPENSSL_CNF="/etc/ssl/openssl.cnf"\nCURL_OPTS="--cacert {place.front.ca}"\n',
        encoding="utf-8",
    )
    return ("dehydrated", "-f", folder / "config")


def test_it_issues_renews_and_revokes_a_validated_name(acme_place: AcmePlace, tmp_path: Path) -> None:
    common = _dehydrated(acme_place, tmp_path)
    name = "dehydrated.example.ac.uk"
    acme_place.run(*common, "--register", "--accept-terms")
    acme_place.run(*common, "--cron", "--domain", name)
    chain = tmp_path / "certs" / name / "fullchain.pem"
    first = chain.read_bytes()
    assert list(names_in(first)) == [name]
    acme_place.run(*common, "--cron", "--domain", name)
    assert chain.read_bytes() == first  # not due
    with (tmp_path / "config").open("a", encoding="utf-8") as config:
        config.write("RENEW_DAYS=1000\n")
    acme_place.run(*common, "--cron", "--domain", name)
    assert list(names_in(chain.read_bytes())) == [name]
    assert chain.read_bytes() != first
    acme_place.run(*common, "--revoke", chain.parent / "cert.pem")


def test_it_proves_an_unknown_name_by_http(acme_place: AcmePlace, tmp_path: Path) -> None:
    """It writes the proof where a web server has it; here that is the tests' own."""
    name = f"dehydrated.{CHALLENGED}"
    with webroot(tmp_path, port=acme_place.http_port):
        common = _dehydrated(acme_place, tmp_path)
        acme_place.run(*common, "--register", "--accept-terms")
        acme_place.run(*common, "--cron", "--domain", name)
    assert list(names_in((tmp_path / "certs" / name / "fullchain.pem").read_bytes())) == [name]


def test_a_wrong_key_and_a_name_that_wants_an_officer_are_explained(
    acme_place: AcmePlace, tmp_path: Path
) -> None:
    wrong = _dehydrated(acme_place, tmp_path / "a", hmac_key=WRONG_KEY)
    said = acme_place.run(*wrong, "--register", "--accept-terms", ok=False)
    assert "does not fit a credential" in said
    right = _dehydrated(acme_place, tmp_path / "b")
    acme_place.run(*right, "--register", "--accept-terms")
    said = acme_place.run(*right, "--cron", "--domain", "dehydrated.example.org", ok=False)
    assert "Waiting for manual approval" in said
