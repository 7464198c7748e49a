"""What is to be pasted into ACME clients: complete, harmless, and accepted by the clients that are here."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from certdesk.domain.acme.advice import ADVICE, advice_for, request_in, without_address
from certdesk.domain.acme.problems import ProblemType
from certdesk.web.acme.snippets import HIDDEN_KEY, Setup, records_for, snippets

SETUP = Setup(
    directory="https://certdesk.example.ac.uk/acme/directory",
    kid="example-university-0123456789ab",
    hmac_key="q7-Jm_4sYk1v0bYh3rA5cT8eWx2LzPq9dUoNfGiHjKM",
    name="www.example.ac.uk",
    contact="hostmaster@example.ac.uk",
)
CLIENTS = {"certbot", "lego", "acme-sh", "caddy", "traefik", "cert-manager", "mod-md", "haproxy"}


def _one(slug: str) -> dict[str, Any]:
    return next(one for one in snippets(SETUP) if one["slug"] == slug)


def _config(slug: str) -> str:
    return str(_one(slug)["blocks"][0]["text"])


def test_every_client_gets_directory_credential_and_name() -> None:
    assert {one["slug"] for one in snippets(SETUP)} == CLIENTS
    for one in snippets(SETUP):
        text = "".join(block["text"] for block in one["blocks"])
        for value in (SETUP.directory, SETUP.kid, SETUP.hmac_key, SETUP.name):
            assert value in text, one["slug"]
        assert HIDDEN_KEY not in text


@pytest.mark.parametrize("wrong", ["a b", "$(id)", "a;b", "`id`", 'a"b', "a'b", "a\nb", ""])
def test_nothing_that_needs_quoting_gets_into_a_command(wrong: str) -> None:
    with pytest.raises(ValueError, match="quoted"):
        Setup(directory=SETUP.directory, kid=SETUP.kid, hmac_key=SETUP.hmac_key, name=wrong, contact="a@b.uk")


@pytest.mark.skipif(shutil.which("caddy") is None, reason="caddy is not installed")
def test_caddy_takes_its_file(tmp_path: Path) -> None:
    path = tmp_path / "Caddyfile"
    path.write_text(_config("caddy"))
    ran = subprocess.run(
        ("caddy", "adapt", "--adapter", "caddyfile", "--config", str(path)),
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert ran.returncode == 0, ran.stderr
    assert f'"key_id":"{SETUP.kid}","mac_key":"{SETUP.hmac_key}"' in ran.stdout


@pytest.mark.skipif(shutil.which("apache2") is None, reason="apache2 is not installed")
def test_apache_takes_its_lines(tmp_path: Path) -> None:
    modules = ("mpm_event", "authz_core", "socache_shmcb", "ssl", "watchdog", "md")
    load = [f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in modules]
    built_in = subprocess.run(("apache2", "-l"), capture_output=True, text=True, check=True).stdout
    load = [line for line, name in zip(load, modules, strict=True) if f"mod_{name}.c" not in built_in]
    (tmp_path / "md").mkdir()
    path = tmp_path / "httpd.conf"
    head = [f"ServerRoot {tmp_path}", "Listen 127.0.0.1:8443", f"ErrorLog {tmp_path}/error.log"]
    text = _config("mod-md").replace("*:443", "*:8443").replace("/var/www/html", str(tmp_path))
    path.write_text("\n".join([*load, *head, f"MDStoreDir {tmp_path}/md", "ServerName localhost", text]))
    ran = subprocess.run(("apache2", "-t", "-f", str(path)), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_records_name_the_account() -> None:
    url = "https://certdesk.example.ac.uk/acme/acct/7"
    found = records_for(domain="example.ac.uk", issuer="certdesk.example.ac.uk", account_url=url)
    assert found["persistent"] == (
        '_validation-persist.example.ac.uk. IN TXT "certdesk.example.ac.uk; '
        f'accounturi={url}; policy=wildcard"'
    )
    assert found["caa"].splitlines() == [
        f'example.ac.uk. IN CAA 0 issue "certdesk.example.ac.uk; accounturi={url}"',
        f'example.ac.uk. IN CAA 0 issuewild "certdesk.example.ac.uk; accounturi={url}"',
    ]


def test_there_is_advice_for_every_error() -> None:
    assert set(ADVICE) == set(ProblemType)
    assert all(advice_for(kind).endswith(".") for kind in (*ProblemType, None))


def test_a_refusal_leads_to_the_request_that_it_names() -> None:
    assert request_in("Request 42 (https://x.example/requests/42/) is “Waiting”: why.") == 42
    assert request_in("www.x.org is outside.") is None


def test_a_page_with_a_link_needs_no_address_in_the_words() -> None:
    said = "Request 7 (https://certdesk.example.ac.uk/requests/7/) is waiting."
    assert (request_in(said), without_address(said)) == (7, "Request 7 is waiting.")
