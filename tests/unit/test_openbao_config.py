"""Settings of an OpenBao CA that could only fail later stop it at the start."""

from pathlib import Path

import pytest

from certdesk.backends.openbao import OpenBaoBackend
from certdesk.domain.errors import Misconfigured

GOOD: dict[str, object] = {"address": "https://bao.example.ac.uk:8200", "role": "web", "token_file": "/t"}
APPROLE: dict[str, object] = {"role_id": "r", "secret_id_file": Path("/s")}
CASES: dict[str, tuple[dict[str, object], str]] = {
    "unknown": ({"roll": "web"}, "unknown settings roll"),
    "plain http": ({"address": "http://bao.example.ac.uk:8200"}, "use https"),
    "a path": ({"address": "https://bao.example.ac.uk/v1"}, "host and port alone"),
    "a password": ({"address": "https://me:secret@bao.example.ac.uk"}, "host and port alone"),
    "no host": ({"address": "bao"}, "host and port alone"),
    "no IPv6 address": ({"address": "http://[::1"}, "host and port alone"),
    "no port": ({"address": "http://127.0.0.1:x"}, "host and port alone"),
    "a port too high": ({"address": "https://bao.example:99999"}, "host and port alone"),
    "a line break": ({"address": "https://bao.exam\nple"}, "host and port alone"),
    "a blank": ({"address": "https://bao example"}, "host and port alone"),
    "a fragment": ({"address": "https://bao.example#x"}, "host and port alone"),
    "letters beyond ASCII": ({"address": "https://b\u00fccher.example"}, "host and port alone"),
    "a namespace of two lines": ({"namespace": "a\nX-Vault-Token: b"}, "namespace"),
    "a namespace beyond ASCII": ({"namespace": "b\u00fccher"}, "namespace"),
    "a title that can't be stored": ({"title": "Our\x00CA"}, "title"),
    "a title without end": ({"title": "x" * 101}, "title"),
    "settled before it was sent": ({"settle_seconds": -1}, "settle_seconds"),
    "never settled": ({"settle_seconds": float("nan")}, "settle_seconds"),
    "a mount with slashes": ({"mount": "/pki/"}, "without slashes"),
    "a mount that climbs": ({"mount": "pki/../sys"}, "without slashes"),
    "a role's path": ({"role": "roles/web"}, "names of role and issuer"),
    "two credentials": (APPROLE, "not all three"),
    "too patient": ({"total_seconds": 30}, "9 at most"),
    "no time to connect": ({"connect_seconds": 8.0}, "more than connect_seconds"),
    "a number for a text": ({"title": 7}, "title must be a text"),
    "a text for a number": ({"total_seconds": "8"}, "total_seconds must be a number"),
    "no such file of CAs": ({"ca_file": "/nowhere.pem"}, "ca_file /nowhere.pem can't be used"),
}


@pytest.mark.parametrize("what", CASES)
def test_a_setting_that_cannot_work_is_named(what: str) -> None:
    changes, told = CASES[what]
    with pytest.raises(Misconfigured, match=told) as refused:
        OpenBaoBackend.from_settings(name="vault", settings={**GOOD, **changes})
    assert "vault" in refused.value.detail
    assert "secret@" not in refused.value.detail


@pytest.mark.parametrize("gone", ["address", "role", "token_file"])
def test_what_has_to_be_set_is_named(gone: str) -> None:
    settings = {key: value for key, value in GOOD.items() if key != gone}
    with pytest.raises(Misconfigured, match=gone):
        OpenBaoBackend.from_settings(name="vault", settings=settings)


def test_half_an_approle_is_none() -> None:
    settings = {key: value for key, value in GOOD.items() if key != "token_file"}
    with pytest.raises(Misconfigured, match="role_id and secret_id_file"):
        OpenBaoBackend.from_settings(name="vault", settings={**settings, "role_id": "r"})
    assert OpenBaoBackend.from_settings(name="vault", settings={**settings, **APPROLE}).title == "vault"


def test_loopback_needs_no_tls() -> None:
    OpenBaoBackend.from_settings(name="vault", settings={**GOOD, "address": "http://127.0.0.1:8200"})
