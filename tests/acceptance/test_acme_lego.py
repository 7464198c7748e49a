"""lego: issue, renew, revoke; http-01, tls-alpn-01 and dns-01 with a real name server; what refusals say."""

import shutil
from pathlib import Path

import pytest

from tests.acceptance.conftest import CHALLENGED, UPDATE_SECRET, AcmePlace
from tests.harness.acme_client import names_in

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("lego") is None, reason="lego is not installed (Debian: lego)"),
]


def _lego(
    place: AcmePlace,
    folder: Path,
    *command: str,
    name: str,
    solver: str = "http",
    hmac_key: str = "",
    ok: bool = True,
) -> str:
    kid, key = place.eab()
    return place.run(
        "lego",
        f"--path={folder}",
        f"--server={place.front.directory}",
        "--accept-tos",
        "--email=webmaster@example.ac.uk",
        "--eab",
        f"--kid={kid}",
        f"--hmac={hmac_key or key}",
        f"--domains={name}",
        *_solving(place, solver),
        *command,
        ok=ok,
    )


def _solving(place: AcmePlace, solver: str) -> tuple[str, ...]:
    """How it answers challenges. By DNS it can't watch the record spread: that wants port 53 everywhere."""
    if solver == "dns":
        server = f"127.0.0.1:{place.names.authoritative_port}"
        return ("--dns=rfc2136", "--dns.disable-cp", f"--dns.resolvers={server}")
    port = place.http_port if solver == "http" else place.tls_port
    return (f"--{solver}", f"--{solver}.port=127.0.0.1:{port}")


def _chain(folder: Path, name: str) -> bytes:
    return (folder / f"certificates/{name}.crt").read_bytes()


def test_it_issues_renews_and_revokes_a_validated_name(acme_place: AcmePlace, tmp_path: Path) -> None:
    name = "lego.example.ac.uk"
    _lego(acme_place, tmp_path, "run", name=name)
    first = _chain(tmp_path, name)
    assert list(names_in(first)) == [name]
    _lego(acme_place, tmp_path, "renew", "--days=1000", "--no-random-sleep", name=name)
    assert _chain(tmp_path, name) != first
    _lego(acme_place, tmp_path, "revoke", name=name)


@pytest.mark.parametrize("solver", ["http", "tls"])
def test_it_proves_an_unknown_name(acme_place: AcmePlace, tmp_path: Path, solver: str) -> None:
    name = f"{solver}.lego.{CHALLENGED}"
    _lego(acme_place, tmp_path, "run", name=name, solver=solver)
    assert list(names_in(_chain(tmp_path, name))) == [name]


def test_it_proves_a_wildcard_by_changing_its_zone(
    acme_place: AcmePlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dns-01 with a real name server: lego writes the record by dynamic update (RFC 2136), signed by TSIG."""
    monkeypatch.setenv("RFC2136_NAMESERVER", f"127.0.0.1:{acme_place.names.authoritative_port}")
    monkeypatch.setenv("RFC2136_TSIG_KEY", f"{CHALLENGED}.")
    monkeypatch.setenv("RFC2136_TSIG_ALGORITHM", "hmac-sha256.")
    monkeypatch.setenv("RFC2136_TSIG_SECRET", UPDATE_SECRET)
    name = f"*.lego.{CHALLENGED}"
    _lego(acme_place, tmp_path, "run", name=name, solver="dns")
    assert list(names_in(_chain(tmp_path, name.replace("*", "_")))) == [name]


def test_a_wrong_key_and_a_name_that_wants_an_officer_are_explained(
    acme_place: AcmePlace, tmp_path: Path
) -> None:
    name = "lego.example.ac.uk"
    assert "does not fit a credential" in _lego(
        acme_place, tmp_path / "a", "run", name=name, hmac_key="A" * 43, ok=False
    )
    said = _lego(acme_place, tmp_path / "b", "run", name="lego.example.org", ok=False)
    assert "/requests/" in said
    assert "Waiting for manual approval" in said
