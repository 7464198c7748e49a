"""Settings of the thin clients: docs/cas.md has them all, and those that can't work are refused at once."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path

import pytest

from certdesk.backends.adcs import AdcsBackend, AdcsConfig
from certdesk.backends.digicert import DigiCertBackend, DigiCertConfig
from certdesk.backends.harica import HaricaBackend, HaricaConfig
from certdesk.backends.http.backend import HttpBackend
from certdesk.backends.http.config import HttpConfig, read_config
from certdesk.backends.sectigo import SectigoBackend, SectigoConfig
from certdesk.domain.errors import Misconfigured

PAGE = (Path(__file__).parents[2] / "docs/cas.md").read_text(encoding="utf-8")
CONFIGS: Mapping[str, type[HttpConfig]] = {
    "adcs": AdcsConfig,
    "digicert": DigiCertConfig,
    "harica": HaricaConfig,
    "sectigo": SectigoConfig,
}
BACKENDS: Mapping[str, type[HttpBackend[HttpConfig]]] = {
    "adcs": AdcsBackend,  # type: ignore[dict-item]  # each has a configuration of its own
    "digicert": DigiCertBackend,  # type: ignore[dict-item]  # as above
    "harica": HaricaBackend,  # type: ignore[dict-item]  # as above
    "sectigo": SectigoBackend,  # type: ignore[dict-item]  # as above
}


def _sections() -> Iterator[tuple[str, dict[str, object]]]:
    for block in re.findall(r"^```toml[^\n]*\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        for section in tomllib.loads(block).get("cas", {}).values():
            if section.get("kind") in CONFIGS:
                section.pop("max_days", None)  # of any kind of CA
                yield section.pop("kind"), section


EXAMPLES = dict(_sections())


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_example_loads(kind: str) -> None:
    settings = dict(EXAMPLES[kind])
    assert BACKENDS[kind].from_settings(name="ca", settings=settings).title == settings["title"]


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_setting_is_on_the_page(kind: str) -> None:
    own = {one.name for one in fields(CONFIGS[kind])} - {one.name for one in fields(HttpConfig)}
    _, _, section = PAGE.partition(f"## {_TITLES[kind]}\n")
    table = section.partition("\n## ")[0]
    assert own <= set(re.findall(r"`([a-z_]+)`", table))
    shared = PAGE.partition("## Vendors' APIs\n")[2].partition("\n## ")[0]
    assert {one.name for one in fields(HttpConfig)} - {"name"} <= set(re.findall(r"`([a-z_]+)`", shared))


_TITLES = {
    "adcs": "Active Directory Certificate Services",
    "digicert": "DigiCert",
    "harica": "HARICA",
    "sectigo": "Sectigo",
}

CASES: dict[str, tuple[str, dict[str, object], str]] = {
    "unknown": ("digicert", {"tokn": "x"}, "unknown settings tokn"),
    "plain http": ("harica", {"address": "http://cm.harica.gr"}, "use https"),
    "a path": ("digicert", {"address": "https://www.digicert.com/services"}, "host and port alone"),
    "a password in it": ("adcs", {"address": "https://me:secret@ca.example"}, "host and port alone"),
    "no port": ("adcs", {"address": "https://127.0.0.1:x"}, "host and port alone"),
    "too patient": ("sectigo", {"total_seconds": 30}, "9 at most"),
    "no time to connect": ("sectigo", {"connect_seconds": 8.0}, "more than connect_seconds"),
    "settled before it was sent": ("sectigo", {"settle_seconds": -1.0}, "settle_seconds"),
    "a title of two lines": ("digicert", {"title": "a\nb"}, "title"),
    "a product's path": ("digicert", {"product": "../account"}, "such as ssl_basic"),
    "an organization's name": ("digicert", {"organization_id": "Example"}, "a whole number above nought"),
    "a yes that is none": ("digicert", {"skip_approval": "yes"}, "true or false"),
    "no terms": ("sectigo", {"terms": []}, "a list of whole numbers"),
    "a term of nought": ("sectigo", {"terms": [0]}, "a list of whole numbers"),
    "a list for a table": ("sectigo", {"custom_fields": ["x"]}, "a table of texts"),
    "a header of two lines": ("sectigo", {"login": "a\nX-Other: b"}, "in ASCII, without blanks"),
    "another validation": ("harica", {"validation": "EV"}, "OV or DV"),
    "no address to sign in": ("harica", {"email": "certdesk"}, "signs in with"),
    "another way to sign in": ("adcs", {"authentication": "kerberos"}, "basic, ntlm, negotiate"),
    "a template's display name": ("adcs", {"template": "Web Server"}, "not its display name"),
    "a colon": ("adcs", {"authentication": "basic", "username": "a:b"}, "username"),
    "no such file of CAs": ("adcs", {"ca_file": "/nowhere.pem"}, "ca_file /nowhere.pem can't be used"),
    "no such chain": ("digicert", {"chain_file": "/nowhere.pem"}, "/nowhere.pem: No such file"),
}


@pytest.mark.parametrize("what", CASES)
def test_a_setting_that_cannot_work_is_named(what: str) -> None:
    kind, changes, told = CASES[what]
    with pytest.raises(Misconfigured, match=told) as refused:
        BACKENDS[kind].from_settings(name="vendor", settings={**EXAMPLES[kind], **changes})
    assert "vendor" in refused.value.detail
    assert "secret@" not in refused.value.detail


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_has_to_be_set_is_named(kind: str) -> None:
    with pytest.raises(Misconfigured, match=r"set .*_file and"):
        read_config(CONFIGS[kind], name="vendor", settings={})


def test_a_chain_file_without_certificates_is_named(tmp_path: Path) -> None:
    path = tmp_path / "chain.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", encoding="ascii")
    with pytest.raises(Misconfigured, match="holds no certificates in PEM"):
        DigiCertBackend.from_settings(name="ca", settings={**EXAMPLES["digicert"], "chain_file": path})
