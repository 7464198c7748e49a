"""`certdesk serve` from the outside: what the demo writes, what is refused, how it ends."""

import json
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509

from tests.acceptance.seed_support import Staff, make_csr, new_name
from tests.harness.environment import certdesk
from tests.harness.fixtures import DemoWith
from tests.harness.ports import free_port
from tests.harness.server import DemoServer, read_demo
from tests.harness.waiting import wait_until
from tests.personas import EVERYBODY, OTHER_DOMAIN, UNIVERSITY

LONG_ENOUGH = "x" * 48


def mode(path: Path) -> str:
    """The permissions, as in 0600."""
    return f"{stat.S_IMODE(path.stat().st_mode):04o}"


def serve(*arguments: str, **environment: str) -> str:
    """What `certdesk serve` writes where it refuses to start, in words."""
    ran = certdesk("serve", *arguments, **{"PORT": str(free_port()), **environment})
    assert ran.returncode not in (0, -signal.SIGTERM)
    assert "Traceback" not in ran.stderr
    return ran.stderr


@pytest.fixture(scope="module")
def started(demo_template: Path, demo_with: DemoWith) -> Iterator[DemoServer]:
    """A demo as it was made, and started again at another port; `demo_template` did not exist before."""
    with demo_with() as one:
        made = read_demo(demo_template / "demo.json")
        assert one.demo.base_url == one.base_url != made.base_url
        assert (one.demo.passwords, one.demo.api_tokens) == (made.passwords, made.api_tokens)
        yield one


def test_the_demo_tells_its_address_and_sign_ins(started: DemoServer) -> None:
    told = started.log()
    assert f"Certdesk demo at {started.base_url}" in told
    for username, password in started.demo.passwords.items():
        assert re.search(rf"^\s*{username}\s+{password}\s", told, re.MULTILINE), username
    assert str(started.data / "demo.json") in told


def test_demo_json_keeps_to_the_contract(started: DemoServer) -> None:
    path = started.data / "demo.json"
    assert mode(path) == "0600"
    told = json.loads(path.read_text())
    assert set(told) == {"base_url", "acme_directory", "ra", "users", "api_tokens", "eab", "mailbox"}
    assert told["base_url"] == started.base_url
    assert told["acme_directory"] == f"{started.base_url}/acme/directory"
    assert told["ra"] == "JTAG"
    assert {(u["username"], u["role"]) for u in told["users"]} == {(p.username, p.role) for p in EVERYBODY}
    for user in told["users"]:
        assert set(user) == {"username", "password", "organisation", "role"}
    organisations = started.demo.organisations
    assert {organisations[name] for name in ("alice", "bob", "meg")} == {UNIVERSITY}
    assert organisations["charlie"] not in ("", UNIVERSITY)
    assert {organisations[name] for name in ("olga", "otto", "rick", "op")} == {""}
    assert set(told["api_tokens"]) == set(organisations)
    assert all(token.startswith("cdk_") for token in told["api_tokens"].values())
    assert len({*told["api_tokens"].values(), *(u["password"] for u in told["users"])}) == 2 * len(EVERYBODY)
    assert OTHER_DOMAIN not in told["mailbox"]
    assert Path(told["mailbox"]).is_dir() or (started.data / "mail").is_dir()


def test_what_is_stored_is_for_its_owner_alone(started: DemoServer) -> None:
    found = [started.data, *started.data.rglob("*")]
    assert {path.name for path in found} >= {"secret_key", "ca_passphrase", "root.key", "issuing.key"}
    for path in found:
        assert mode(path) == ("0700" if path.is_dir() else "0600"), path


def test_the_keys_of_the_ca_are_encrypted(started: DemoServer) -> None:
    keys = list((started.data / "ca").rglob("*.key"))
    assert len(keys) >= 2
    for key in keys:
        assert "ENCRYPTED PRIVATE KEY" in key.read_text()
        assert "BEGIN PRIVATE KEY" not in key.read_text()
    root, issuing = (next((started.data / "ca").rglob(name)) for name in ("root.key", "issuing.key"))
    assert root.parent != issuing.parent


def test_the_log_holds_no_token_and_no_secret(started: DemoServer) -> None:
    told = started.log()
    for secret in (started.data / "secrets").iterdir():
        assert secret.read_text() not in told
    for token in started.demo.api_tokens.values():
        assert token not in told


def test_a_second_start_keeps_everything(started: DemoServer) -> None:
    kept = ["demo.json", *(str(p.relative_to(started.data)) for p in (started.data / "ca").rglob("*.*"))]
    before = {name: (started.data / name).read_bytes() for name in kept}
    secrets = {p.name: p.read_text() for p in (started.data / "secrets").iterdir()}
    started.restart()
    assert {name: (started.data / name).read_bytes() for name in kept} == before
    assert {p.name: p.read_text() for p in (started.data / "secrets").iterdir()} == secrets
    api = [
        "curl",
        "--silent",
        "--fail",
        "--header",
        f"Authorization: Bearer {started.demo.api_tokens['alice']}",
    ]
    listed = subprocess.run(
        [*api, f"{started.base_url}/api/v1/requests"], capture_output=True, text=True, check=True
    )
    names = [item["common_names"] for item in json.loads(listed.stdout)["items"]]
    assert names == ["www.example.ac.uk"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(start_server: Callable[..., DemoServer], number: signal.Signals) -> None:
    one = start_server()
    process = one.process
    assert process is not None
    group = os.getpgid(process.pid)
    process.send_signal(number)  # to the first process alone, as a service manager or `kill` would
    assert one.wait_for_exit(seconds=60) == 0
    assert "Traceback" not in one.log()

    def nobody_left() -> bool:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        return False

    wait_until(nobody_left, what="its processes to end")


def test_without_secrets_it_refuses_and_says_what_to_do(tmp_path: Path) -> None:
    said = serve(DATA=str(tmp_path / "var"))
    assert "CERTDESK_SECRET_KEY" in said
    assert "openssl rand" in said
    assert not (tmp_path / "var" / "secrets").exists()


def test_a_short_secret_is_none(tmp_path: Path) -> None:
    said = serve(DATA=str(tmp_path / "var"), CERTDESK_SECRET_KEY="short", CERTDESK_CA_PASSPHRASE=LONG_ENOUGH)
    assert "CERTDESK_SECRET_KEY" in said
    assert "short\n" not in said


def test_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    said = serve("--demo", DATA=str(tmp_path / "var"), CERTDESK_TRUSTED_SUFIXES='["ac.uk"]')
    assert "CERTDESK_TRUSTED_SUFIXES is not a setting" in said


SECRETS = {"CERTDESK_SECRET_KEY": LONG_ENOUGH, "CERTDESK_CA_PASSPHRASE": LONG_ENOUGH}
EVERYWHERE = ("--host", "0.0.0.0")  # noqa: S104 - it is refused


@pytest.mark.parametrize(
    "arguments, environment, told",
    [
        (EVERYWHERE, SECRETS, "--behind-proxy"),
        ((*EVERYWHERE, "--behind-proxy"), SECRETS, "Set CERTDESK_BASE_URL"),
        (("--demo", *EVERYWHERE), {}, "serves this machine alone"),
        (("--demo", "--behind-proxy"), {}, "serves this machine alone"),
    ],
)
def test_an_unsafe_start_is_refused_before_anything_is_made(
    tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str], told: str
) -> None:
    said = serve(*arguments, DATA=str(tmp_path / "var"), **environment)
    assert told in said
    assert not (tmp_path / "var").exists()


def test_what_the_demo_has_made_is_served_by_the_demo_alone(demo_template: Path, tmp_path: Path) -> None:
    """By its folder, and by its database on another one. The demo takes nobody else's database either."""
    demo = shutil.copytree(demo_template, tmp_path / "demo")
    database = {"DATABASE_URL": f"sqlite:///{demo / 'certdesk.sqlite3'}"}
    for folder, more in (("demo", {}), ("new", database)):
        said = serve(DATA=str(tmp_path / folder), **SECRETS, **more)
        assert "The demo has made what is in" in said
    with closing(sqlite3.connect(demo / "certdesk.sqlite3")) as rows, rows:
        rows.execute("DELETE FROM store_auditevent")
    (demo / "demo.json").unlink()
    said = serve("--demo", DATA=str(demo))
    assert "people whom the demo did not make" in said


def test_a_start_without_its_ca_is_refused_and_a_new_one_is_not_made(
    demo_template: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(demo_template, tmp_path / "var")
    lost = data / "ca" / "issuing" / "issuing.crt"
    lost.unlink()
    kept = {path: path.read_bytes() for path in (data / "ca").rglob("*.*")}
    said = serve("--demo", DATA=str(data))
    assert str(lost) in said
    assert "from a backup" in said
    assert {path: path.read_bytes() for path in (data / "ca").rglob("*.*")} == kept


def test_certificates_of_a_demo_behind_tls_name_a_crl_that_it_serves(
    demo_with: DemoWith, tmp_path: Path
) -> None:
    """The proxy's port serves no plain HTTP, and `localhost` can't stand in a certificate."""
    asked = {"csr": make_csr(tmp_path, new_name()).pem, "duration_years": 1, "server_software": "nginx"}
    with demo_with(CERTDESK_BASE_URL="https://localhost:8443") as one:
        answer = Staff(one).rest("alice", "POST", "/requests", asked)
        assert answer.json()["status"] == "issued", answer.text
        with closing(sqlite3.connect(one.data / "certdesk.sqlite3")) as rows:
            (der,) = rows.execute("SELECT der FROM store_certificate ORDER BY id DESC").fetchone()
        assert_its_crl_is_served(der, one)


def assert_its_crl_is_served(der: bytes, one: DemoServer) -> None:
    points = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(
        x509.CRLDistributionPoints
    )
    name = (next(iter(points.value)).full_name or [])[0]
    assert name.value == f"{one.base_url}/ca/embedded.crl"
    fetched = subprocess.run(["curl", "--silent", "--fail", name.value], capture_output=True, check=True)
    assert x509.load_der_x509_crl(fetched.stdout).next_update_utc


def test_a_port_that_is_taken_is_said(started: DemoServer, tmp_path: Path) -> None:
    said = serve("--demo", DATA=str(tmp_path / "var"), PORT=str(started.port))
    assert f"127.0.0.1:{started.port} can't be used" in said
