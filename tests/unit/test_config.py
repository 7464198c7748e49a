"""The configuration, as far as it needs no database: the address in certificates, and the demo's."""

import os
from collections.abc import Callable

import pytest

from certdesk.conf.config import Config, load_config
from certdesk.domain.errors import Misconfigured
from tests.harness.environment import steers_certdesk

Load = Callable[..., Config]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    for name in [name for name in os.environ if steers_certdesk(name)]:
        monkeypatch.delenv(name)

    def load(**settings: str) -> Config:
        usual = {"secret_key": "s" * 40, "ca_passphrase": "p" * 40}
        for name, value in (usual | settings).items():
            monkeypatch.setenv(f"CERTDESK_{name.upper()}", value)
        return load_config()

    return load


@pytest.mark.parametrize(
    "settings, status",
    [
        ({}, "http://127.0.0.1:8000"),
        ({"host": "::1", "port": "9000"}, "http://[::1]:9000"),
        ({"base_url": "http://certs.example.ac.uk:8080/"}, "http://certs.example.ac.uk:8080"),
        # The port of https serves no plain HTTP; port 80 of that host can.
        ({"base_url": "https://certs.example.ac.uk:8443"}, "http://certs.example.ac.uk"),
        ({"base_url": "https://[2001:db8::1]:8443"}, "http://[2001:db8::1]"),
        # Nobody but this machine reaches it: this process, by an address that certificates may name.
        ({"base_url": "https://localhost:8443"}, "http://127.0.0.1:8000"),
        ({"base_url": "http://localhost:9000", "port": "9000"}, "http://127.0.0.1:9000"),
        ({"base_url": "https://127.0.0.1:8443", "host": "::1"}, "http://[::1]:8000"),
        (
            {"base_url": "https://c.example.ac.uk", "status_url": "http://pki.example.ac.uk/x/"},
            "http://pki.example.ac.uk/x",
        ),
    ],
)
def test_where_certificates_say_that_their_crl_is(load: Load, settings: dict[str, str], status: str) -> None:
    assert load(**settings).status == status


@pytest.mark.parametrize(
    "settings",
    [
        *(
            {"status_url": url}
            for url in ("https://pki.example.ac.uk", "pki.example.ac.uk", "http://", "ftp://a.example")
        ),
        *(
            {"status_url": f"http://{url}"}
            for url in ("pki", "localhost:8000", "a.example:port", "a.example:99999", "[::1")
        ),
        *({"status_url": f"http://a.example{rest}"} for rest in ("/a b", "/ü", "?a", "/#a", "./")),
        *({"status_url": f"http://{host}"} for host in ("u@a.example", "[fe80::1%25eth0]", "a_b.example")),
        {"base_url": "https://certdesk"},
    ],
)
def test_an_address_that_certificates_could_not_name_stops_the_start(
    load: Load, settings: dict[str, str]
) -> None:
    with pytest.raises(Misconfigured, match=r"CERTDESK_STATUS_URL.*such as http://pki\.example\.ac\.uk"):
        load(**settings)


@pytest.mark.parametrize("url", ["certs.example.ac.uk", "ftp://certs.example.ac.uk", "https://"])
def test_a_base_url_that_nobody_can_open_stops_the_start(load: Load, url: str) -> None:
    with pytest.raises(Misconfigured, match=r"CERTDESK_BASE_URL.*such as https://"):
        load(base_url=url)


@pytest.mark.parametrize("figure", ["2", "0", "-3"])
def test_three_is_the_lowest_minimum_of_passwords(load: Load, figure: str) -> None:
    with pytest.raises(Misconfigured, match="password_min_length"):
        load(password_min_length=figure)


@pytest.mark.parametrize(
    "base_url", ["", "http://127.0.0.1:8000", "https://localhost:8443", "http://[::1]:8000"]
)
def test_the_demo_serves_this_machine(load: Load, base_url: str) -> None:
    assert load(demo="1", base_url=base_url).demo


@pytest.mark.parametrize(
    "settings",
    [
        {"behind_proxy": "1"},
        {"host": "192.0.2.1"},
        {"host": "::", "base_url": "http://127.0.0.1:8000"},
        {"base_url": "https://certs.example.ac.uk"},
        {"base_url": "http://192.0.2.1:8000"},
    ],
)
def test_the_demo_serves_nobody_else(load: Load, settings: dict[str, str]) -> None:
    with pytest.raises(Misconfigured, match="serves this machine alone"):
        load(demo="1", **settings)
