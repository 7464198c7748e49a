"""certbot as Debian ships it: issue, renew, revoke, and what it says when it may not."""

from pathlib import Path

import pytest
from cryptography import x509

from tests.acceptance.conftest import CERTBOT, CHALLENGED, AcmePlace
from tests.harness.acme_client import names_in

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CERTBOT.exists(), reason="certbot is not installed (Debian: certbot)"),
]


def _certbot(place: AcmePlace, folder: Path, *arguments: str, ok: bool = True) -> str:
    folders = [f"--{kind}-dir={folder / kind}" for kind in ("config", "work", "logs")]
    return place.run(CERTBOT, *arguments, "--non-interactive", *folders, ok=ok)


def _certonly(place: AcmePlace, folder: Path, *names: str, hmac_key: str = "", ok: bool = True) -> str:
    told = place.certonly(*names, hmac_key=hmac_key)
    return _certbot(place, folder, *told, "--cert-name=one", ok=ok)


def _chain(folder: Path) -> bytes:
    return (folder / "config/live/one/fullchain.pem").read_bytes()


def test_it_issues_renews_and_revokes_a_validated_name(acme_place: AcmePlace, tmp_path: Path) -> None:
    _certonly(acme_place, tmp_path, "bot.example.ac.uk", "bot2.example.ac.uk")
    first = _chain(tmp_path)
    assert set(names_in(first)) == {"bot.example.ac.uk", "bot2.example.ac.uk"}
    assert len(x509.load_pem_x509_certificates(first)) == 2
    _certbot(acme_place, tmp_path, "renew", "--force-renewal", "--no-random-sleep-on-renew")
    assert _chain(tmp_path) != first
    _certbot(
        acme_place,
        tmp_path,
        "revoke",
        "--cert-name=one",
        "--reason=superseded",
        f"--server={acme_place.front.directory}",
        "--no-delete-after-revoke",
    )


def test_it_proves_an_unknown_name_by_http(acme_place: AcmePlace, tmp_path: Path) -> None:
    name = f"bot.{CHALLENGED}"
    _certonly(acme_place, tmp_path, name)
    assert list(names_in(_chain(tmp_path))) == [name]


def test_a_wrong_key_and_a_name_that_wants_an_officer_are_explained(
    acme_place: AcmePlace, tmp_path: Path
) -> None:
    said = _certonly(acme_place, tmp_path / "a", "bot.example.ac.uk", hmac_key="A" * 43, ok=False)
    assert "does not fit a credential" in " ".join(said.split())
    _certonly(acme_place, tmp_path / "b", "bot.example.org", ok=False)
    # This version of certbot fails on showing an order's error (Python 3.11), and has it in its log.
    said = (tmp_path / "b/logs/letsencrypt.log").read_text(encoding="utf-8")
    assert "/requests/" in said
    assert "Waiting for manual approval" in said
