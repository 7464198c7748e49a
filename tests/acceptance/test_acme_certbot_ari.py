"""certbot from PyPI asks when to renew (ARI, RFC 9773), and renews early when an operator asks for it."""

import hashlib
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.acceptance.conftest import AcmePlace
from tests.harness.acme_client import names_in
from tests.harness.portal import signed_in
from tests.personas import OP

#: Beside this Python; Debian's is too old to ask (4.1 was the first).
CERTBOT = Path(sys.executable).with_name("certbot")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not CERTBOT.exists(), reason="certbot is not in the .venv (make removes and makes it)"
    ),
]

NAME = "ari.bot.example.ac.uk"
_MOMENT = "%Y-%m-%dT%H:%M"


def _certbot(place: AcmePlace, folder: Path, *arguments: str) -> str:
    folders = [f"--{kind}-dir={folder / kind}" for kind in ("config", "work", "logs")]
    return place.run(CERTBOT, *arguments, "--non-interactive", *folders)


def _renew(place: AcmePlace, folder: Path) -> str:
    """What cron does."""
    return _certbot(place, folder, "renew", "--no-random-sleep-on-renew")


def _issue(place: AcmePlace, folder: Path) -> None:
    _certbot(place, folder, *place.certonly(NAME))


def _chain(folder: Path) -> bytes:
    return (folder / f"config/live/{NAME}/fullchain.pem").read_bytes()


def _move_renewal_forward(place: AcmePlace, chain: bytes) -> None:
    """In the portal, for this one's key alone: the instance is shared with other tests.

    Clients pick a moment within a part of the period. It began long ago, so that the moment is past.
    """
    public = x509.load_pem_x509_certificates(chain)[0].public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    now = datetime.now(UTC)
    password = place.server.demo.passwords[OP.username]
    wanted = {
        "spki_sha256": hashlib.sha256(spki).hexdigest(),
        "starts_at": f"{now - timedelta(days=100):{_MOMENT}}",
        "ends_at": f"{now + timedelta(hours=2):{_MOMENT}}",
        "reason": "The CA has to revoke it.",
        "confirmed": "yes",
    }
    with signed_in(place.front.url, username=OP.username, password=password, ca=place.front.ca) as operator:
        said = operator.submit("/service/renewals/", wanted)
    assert "clients that ask get the new time" in said


def _hours_pass(folder: Path) -> None:
    """The moment is over before which certbot asks no more: six hours by our Retry-After, in its config."""
    kept = folder / f"config/renewal/{NAME}.conf"
    text, changed = re.subn(
        r"(?m)^ari_retry_after = .*$", "ari_retry_after = 2026-01-01T00:00:00", kept.read_text()
    )
    assert changed == 1, text
    kept.write_text(text)


def test_it_renews_when_an_operator_moves_the_renewal_forward(acme_place: AcmePlace, tmp_path: Path) -> None:
    _issue(acme_place, tmp_path)
    first = _chain(tmp_path)
    assert list(names_in(first)) == [NAME]
    assert "not due for renewal yet" in _renew(acme_place, tmp_path)
    assert _chain(tmp_path) == first
    _move_renewal_forward(acme_place, first)
    _hours_pass(tmp_path)
    said = _renew(acme_place, tmp_path)
    second = _chain(tmp_path)
    assert second != first, said
    left = x509.load_pem_x509_certificates(first)[0].not_valid_after_utc - datetime.now(UTC)
    assert left > timedelta(days=60)  # by its age it was not due
    assert list(names_in(second)) == [NAME]
