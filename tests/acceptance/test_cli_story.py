"""The main story on the command line: a live service, the `certdesk` client, and openssl as the judge."""

import http.client
import json
import os
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.stories import validated_by_olga
from tests.harness.environment import steers_certdesk
from tests.harness.server import DemoServer

Cli = Callable[..., subprocess.CompletedProcess[str]]
EVIDENCE = "RDAP names the university"


@pytest.fixture
def cli(server: DemoServer, tmp_path: Path) -> Cli:
    """Run `certdesk …` as one of the demo's people, in a folder of the test's own."""
    told = {name: value for name, value in os.environ.items() if not steers_certdesk(name)}
    tokens = server.demo.api_tokens

    def run(who: str, *arguments: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        environment = told | {"CERTDESK_URL": server.base_url, "CERTDESK_TOKEN": tokens.get(who, who)} | more
        return subprocess.run(
            [sys.executable, "-m", "certdesk", *arguments],
            env=environment,
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def make_csr(folder: Path, *names: str) -> Path:
    """A key and a CSR as an administrator makes them."""
    path = folder / f"{names[0]}.csr"
    sans = ",".join(f"DNS:{name}" for name in names)
    subprocess.run(
        [
            *("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", str(path.with_suffix(".key")), "-out", str(path)),
            *("-subj", f"/CN={names[0]}", "-addext", f"subjectAltName={sans}"),
        ],
        check=True,
        capture_output=True,
    )
    return path


def verify(leaf: Path, chain: Path, root: Path) -> None:
    """Openssl has to accept the chain."""
    done = subprocess.run(
        [
            *("openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", str(root)),
            *("-untrusted", str(chain), str(leaf)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_token_makes_a_narrower_one_that_is_told_what_it_lacks(cli: Cli, tmp_path: Path) -> None:
    csr = make_csr(tmp_path, "narrow.example.ac.uk")
    made = cli("alice", "token", "create", "reads", "--days", "1")
    assert (made.returncode, made.stderr.split(", until")[0][-8:]) == (0, "may read"), made.stderr
    token = made.stdout.strip()
    assert cli(token, "request", "list").returncode == 0
    refused = cli(token, "request", "submit", str(csr), "--years", "1", "--software", "nginx")
    assert (refused.returncode, "lacks the scope “request”" in refused.stderr) == (4, True), refused.stderr
    assert cli("alice", "token", "create", "decides", "--scope", "decide").returncode == 1
    (line,) = [one for one in cli("alice", "token", "list").stdout.splitlines() if " reads " in one]
    assert cli("alice", "token", "end", line.split()[0]).returncode == 0
    assert cli(token, "request", "list").returncode == 4


def test_preview_submit_download(cli: Cli, tmp_path: Path) -> None:
    csr = make_csr(tmp_path, "cli.example.ac.uk", "www.cli.example.ac.uk")
    before = cli("alice", "request", "list", "--all", "--json")
    foreseen = cli("alice", "request", "preview", str(csr), "--software", "nginx", "--years", "2")
    assert foreseen.returncode == 0, foreseen.stderr
    assert "[ok]" in foreseen.stdout
    assert "www.cli.example.ac.uk" in foreseen.stdout
    assert "2 years" in foreseen.stdout
    assert cli("alice", "request", "list", "--all", "--json").stdout == before.stdout

    submitted = cli("alice", "request", "submit", str(csr), "--software", "nginx", "--wait")
    assert submitted.returncode == 0, submitted.stderr
    number = submitted.stdout.strip()
    assert number.isdecimal()
    assert "Certificate available for download" in submitted.stderr
    again = cli("alice", "request", "submit", "-", "--software", "nginx", stdin=csr.read_text())
    assert again.stdout.strip() == number

    downloaded = cli("alice", "request", "download", number, "-o", "new/folder")
    assert downloaded.returncode == 0, downloaded.stderr
    bundle = tmp_path / downloaded.stdout.strip()
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o600
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path / "files")
    files = tmp_path / "files"
    (leaf,), (chain,), (root,) = (list(files.glob(g)) for g in ("cli_*.crt", "chain-*.crt", "root-*.crt"))
    verify(leaf, chain, root)
    for form in ("pem", "fullchain", "chain", "der", "p7b", "truststore"):
        one = cli("alice", "request", "download", number, "--format", form)
        assert one.returncode == 0, one.stderr
        assert (tmp_path / one.stdout.strip()).stat().st_size > 500
    piped = cli("alice", "request", "download", number, "--format", "pem", "-o", "-")
    assert piped.stdout == leaf.read_text()

    shown = cli("bob", "request", "show", number)
    assert "cli.example.ac.uk" in shown.stdout
    assert "Certificate available for download" in shown.stdout
    told = json.loads(cli("bob", "request", "show", number, "--json").stdout)
    assert told["status"] == "issued"


def test_a_name_outside_waits_for_olga(cli: Cli, tmp_path: Path) -> None:
    csr = make_csr(tmp_path, "shop.example.org")
    assert cli("alice", "request", "preview", str(csr)).returncode == 5
    submitted = cli("alice", "request", "submit", str(csr), "--wait")
    assert submitted.returncode == 5
    number = submitted.stdout.strip()
    assert cli("alice", "request", "download", number).returncode == 5
    queue = json.loads(cli("olga", "request", "list", "--status", "waiting_for_approval", "--json").stdout)
    assert number in {str(item["id"]) for item in queue}

    for arguments in (("show", number), ("download", number), ("withdraw", number)):
        denied = cli("charlie", "request", *arguments)
        assert (denied.returncode, denied.stdout) == (3, "")
    assert cli("alice", "request", "approve", number, "--note", "mine").returncode == 4
    assert cli("olga", "request", "approve", number).returncode == 1
    stale = cli("olga", "request", "approve", number, "--note", "x", "--seen-version", "9")
    assert stale.returncode == 1
    approved = cli("olga", "request", "approve", number, "--evidence", f"Example.org={EVIDENCE}")
    assert approved.returncode == 0, approved.stderr
    assert cli("alice", "request", "download", number).returncode == 0
    following = cli("alice", "request", "submit", str(make_csr(tmp_path, "api.example.org")), "--wait")
    assert following.returncode == 0, following.stderr


def test_reject_and_withdraw(cli: Cli, tmp_path: Path) -> None:
    first = cli("alice", "request", "submit", str(make_csr(tmp_path, "a.example.net"))).stdout.strip()
    rejected = cli("olga", "request", "reject", first, "--details", "Not\x1b[31m yours")
    assert rejected.returncode == 0
    shown = cli("alice", "request", "show", first)
    assert "Rejected by JTAG" in shown.stdout
    assert "\x1b" not in shown.stdout
    second = cli("alice", "request", "submit", str(make_csr(tmp_path, "b.example.net"))).stdout.strip()
    assert cli("bob", "request", "withdraw", second).returncode == 4
    assert cli("alice", "request", "withdraw", second).returncode == 0
    assert cli("alice", "request", "withdraw", second).returncode == 1
    assert cli("alice", "request", "download", second).returncode == 1


def test_end(cli: Cli, tmp_path: Path) -> None:
    csr = make_csr(tmp_path, "ends.example.ac.uk")
    number = cli("alice", "request", "submit", str(csr), "--wait").stdout.strip()
    for who, code in (("alice", 4), ("charlie", 3), ("meg", 0), ("meg", 1)):
        ended = cli(who, "request", "end", number, "--reason", "The server is switched off.")
        assert ended.returncode == code, (who, ended.stderr)
    assert json.loads(cli("bob", "request", "show", number, "--json").stdout)["entitled_until"] is None


def test_lists_page_and_print(cli: Cli, tmp_path: Path) -> None:
    for host in ("l1", "l2", "l3"):
        cli("alice", "request", "submit", str(make_csr(tmp_path, f"{host}.example.ac.uk")))
    one = cli("alice", "request", "list", "--limit", "1", "--json")
    assert len(json.loads(one.stdout)) == 1
    assert "--all" in one.stderr
    every = json.loads(cli("alice", "request", "list", "--limit", "1", "--all", "--json").stdout)
    numbers = [item["id"] for item in every]
    assert len(numbers) >= 4
    assert numbers == sorted(set(numbers), reverse=True)
    table = cli("alice", "request", "list", "-q", "l2.example", "--sort", "name")
    assert "l2.example.ac.uk" in table.stdout
    assert "l1.example.ac.uk" not in table.stdout
    organisations = cli("alice", "organisation", "list")
    assert "example-university" in organisations.stdout
    assert "other-college" not in organisations.stdout


def test_an_upload_far_too_large_hears_why(server: DemoServer) -> None:
    """Through a real server, whose callers finish sending before they listen."""
    headers = {
        "Authorization": f"Bearer {server.demo.api_tokens['alice']}",
        "Content-Type": "application/json",
    }
    for size in (200_000, 10_000_000):
        started = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request("POST", "/api/v1/requests/preview", b"x" * size, headers)
        answer = connection.getresponse()
        assert answer.status == 413
        assert json.loads(answer.read())["code"] == "request.too_large"
        assert time.monotonic() - started < 5
        connection.close()


def test_what_goes_wrong_says_what_to_do(cli: Cli, server: DemoServer, tmp_path: Path) -> None:
    csr = make_csr(tmp_path, "wrong.example.ac.uk")
    refused = cli("alice", "request", "submit", str(make_csr(tmp_path, "mail.localhost")))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "mail.localhost" in refused.stderr
    preview = cli("alice", "request", "preview", str(tmp_path / "mail.localhost.csr"))
    assert preview.returncode == 1
    assert "[REFUSED]" in preview.stdout
    token = cli("cdk_wrong", "request", "list")
    assert token.returncode == 4
    assert "token" in token.stderr
    gone = cli("alice", "request", "list", CERTDESK_URL="http://127.0.0.1:1")
    assert gone.returncode == 75
    assert "can't be reached" in gone.stderr
    elsewhere = cli("alice", "request", "list", "--url", f"{server.base_url}/help")
    assert elsewhere.returncode == 1
    assert "Certdesk service" in elsewhere.stderr
    staff = cli("olga", "request", "submit", str(csr))
    assert staff.returncode == 4
    assert "Traceback" not in "".join(r.stderr for r in (refused, preview, token, gone, elsewhere, staff))


def test_a_domain_is_added_and_asked_about(cli: Cli, server: DemoServer) -> None:
    added = cli("alice", "domain", "add", "cli-lab.ac.uk")
    assert (added.returncode, added.stdout) == (0, "cli-lab.ac.uk\n")
    choices = cli("alice", "domain", "validate", "cli-lab.ac.uk")
    assert choices.returncode == 2
    assert "hostmaster@cli-lab.ac.uk" in choices.stdout.splitlines()
    asked = cli("alice", "domain", "validate", "cli-lab.ac.uk", "--mailbox", "hostmaster@cli-lab.ac.uk")
    assert asked.returncode == 0, asked.stderr
    assert "We emailed hostmaster@cli-lab.ac.uk" in asked.stderr
    shown = cli("bob", "domain", "show", "CLI-lab.ac.uk", "--json")
    assert [c["mailbox"] for c in json.loads(shown.stdout)["challenges"]] == ["hostmaster@cli-lab.ac.uk"]
    sent = "".join(file.read_text() for file in server.demo.mailbox.glob("*.log"))
    assert "hostmaster@cli-lab.ac.uk" in sent
    taken_back = cli("bob", "domain", "cancel", "cli-lab.ac.uk", "--mailbox", "hostmaster@cli-lab.ac.uk")
    assert taken_back.returncode == 0, taken_back.stderr
    again = cli("bob", "domain", "cancel", "cli-lab.ac.uk", "--mailbox", "hostmaster@cli-lab.ac.uk")
    assert again.returncode == 3
    assert "cli-lab.ac.uk" in cli("alice", "domain", "list").stdout
    for who, name, code in (
        ("charlie", "cli-lab.ac.uk", 3),
        ("alice", "nothing.ac.uk", 3),
        ("rick", "cli-lab.ac.uk", 0),
    ):
        assert cli(who, "domain", "show", name).returncode == code, who
    wrong = cli("alice", "domain", "validate", "cli-lab.ac.uk", "--mailbox", "me@elsewhere.org")
    assert (wrong.returncode, "mailbox" in wrong.stderr) == (1, True)
    assert cli("rick", "domain", "add", "x.ac.uk", "--organisation", "example-university").returncode == 4


def test_a_validation_is_ended(cli: Cli, server: DemoServer) -> None:
    validated_by_olga(server, "cli-sold.ac.uk")
    (proof,) = json.loads(cli("alice", "domain", "show", "cli-sold.ac.uk", "--json").stdout)["validations"]
    command = ("domain", "end", "cli-sold.ac.uk", str(proof["id"]), "--reason", "The domain was sold.")
    assert cli("alice", *command).returncode == 4
    ended = cli("olga", *command)
    assert (ended.returncode, "no longer proves anything" in ended.stderr) == (0, True)
    assert "olga: The domain was sold." in cli("alice", "domain", "show", "cli-sold.ac.uk").stdout
    assert cli("olga", *command).returncode == 1
