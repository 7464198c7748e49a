"""The main story on the command line: a live service, the `certdesk` client, and openssl as the judge."""

import http.client
import json
import stat
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from tests.acceptance.seed_support import make_csr, run
from tests.acceptance.stories import validated_by_olga
from tests.harness.server import DemoServer

Cli = Callable[..., Result]
EVIDENCE = "RDAP names the university"


def csr_file(folder: Path, *names: str) -> str:
    """Where a new CSR is that an administrator made."""
    return str(make_csr(folder, *names).path)


def test_a_token_makes_a_narrower_one_that_is_told_what_it_lacks(cli: Cli, tmp_path: Path) -> None:
    csr = csr_file(tmp_path, "narrow.example.ac.uk")
    made = cli("alice", "token", "create", "reads", "--days", "1")
    assert (made.exit_code, made.stderr.split(", until")[0][-8:]) == (0, "may read"), made.stderr
    token = made.stdout.strip()
    assert cli(token, "request", "list").exit_code == 0
    refused = cli(token, "request", "submit", csr, "--years", "1", "--software", "nginx")
    assert (refused.exit_code, "lacks the scope “request”" in refused.stderr) == (4, True), refused.stderr
    assert cli("alice", "token", "create", "decides", "--scope", "decide").exit_code == 1
    (line,) = [one for one in cli("alice", "token", "list").stdout.splitlines() if " reads " in one]
    assert cli("alice", "token", "end", line.split()[0]).exit_code == 0
    assert cli(token, "request", "list").exit_code == 4


def test_preview_submit_download(cli: Cli, tmp_path: Path) -> None:
    csr = csr_file(tmp_path, "cli.example.ac.uk", "www.cli.example.ac.uk")
    before = cli("alice", "request", "list", "--all", "--json")
    foreseen = cli("alice", "request", "preview", csr, "--software", "nginx", "--years", "2")
    assert foreseen.exit_code == 0, foreseen.stderr
    assert "[ok]" in foreseen.stdout
    assert "www.cli.example.ac.uk" in foreseen.stdout
    assert "2 years" in foreseen.stdout
    assert cli("alice", "request", "list", "--all", "--json").stdout == before.stdout

    submitted = cli("alice", "request", "submit", csr, "--software", "nginx", "--wait")
    assert submitted.exit_code == 0, submitted.stderr
    number = submitted.stdout.strip()
    assert number.isdecimal()
    assert "Certificate available for download" in submitted.stderr
    again = cli("alice", "request", "submit", "-", "--software", "nginx", stdin=Path(csr).read_text())
    assert again.stdout.strip() == number

    downloaded = cli("alice", "request", "download", number, "-o", "new/folder")
    assert downloaded.exit_code == 0, downloaded.stderr
    bundle = tmp_path / downloaded.stdout.strip()
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o600
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path / "files")
    files = tmp_path / "files"
    (leaf,), (chain,), (root,) = (list(files.glob(g)) for g in ("cli_*.crt", "chain-*.crt", "root-*.crt"))
    verified = ("-x509_strict", "-purpose", "sslserver", "-CAfile", str(root), "-untrusted", str(chain))
    assert run("openssl", "verify", *verified, str(leaf)).rstrip().endswith("OK")
    for form in ("pem", "fullchain", "chain", "der", "p7b", "truststore"):
        one = cli("alice", "request", "download", number, "--format", form)
        assert one.exit_code == 0, one.stderr
        assert (tmp_path / one.stdout.strip()).stat().st_size > 500
    piped = cli("alice", "request", "download", number, "--format", "pem", "-o", "-")
    assert piped.stdout == leaf.read_text()

    shown = cli("bob", "request", "show", number)
    assert "cli.example.ac.uk" in shown.stdout
    assert "Certificate available for download" in shown.stdout
    told = json.loads(cli("bob", "request", "show", number, "--json").stdout)
    assert told["status"] == "issued"


def test_a_name_outside_waits_for_olga(cli: Cli, tmp_path: Path) -> None:
    csr = csr_file(tmp_path, "shop.example.org")
    assert cli("alice", "request", "preview", csr).exit_code == 5
    submitted = cli("alice", "request", "submit", csr, "--wait")
    assert submitted.exit_code == 5
    number = submitted.stdout.strip()
    assert cli("alice", "request", "download", number).exit_code == 5
    queue = json.loads(cli("olga", "request", "list", "--status", "waiting_for_approval", "--json").stdout)
    assert number in {str(item["id"]) for item in queue}

    for arguments in (("show", number), ("download", number), ("withdraw", number)):
        denied = cli("charlie", "request", *arguments)
        assert (denied.exit_code, denied.stdout) == (3, "")
    assert cli("alice", "request", "approve", number, "--note", "mine").exit_code == 4
    assert cli("olga", "request", "approve", number).exit_code == 1
    stale = cli("olga", "request", "approve", number, "--note", "x", "--seen-version", "9")
    assert stale.exit_code == 1
    approved = cli("olga", "request", "approve", number, "--evidence", f"Example.org={EVIDENCE}")
    assert approved.exit_code == 0, approved.stderr
    assert cli("alice", "request", "download", number).exit_code == 0
    following = cli("alice", "request", "submit", csr_file(tmp_path, "api.example.org"), "--wait")
    assert following.exit_code == 0, following.stderr


def test_reject_and_withdraw(cli: Cli, tmp_path: Path) -> None:
    first = cli("alice", "request", "submit", csr_file(tmp_path, "a.example.net")).stdout.strip()
    rejected = cli("olga", "request", "reject", first, "--details", "Not\x1b[31m yours")
    assert rejected.exit_code == 0
    shown = cli("alice", "request", "show", first)
    assert "Rejected by JTAG" in shown.stdout
    assert "\x1b" not in shown.stdout
    second = cli("alice", "request", "submit", csr_file(tmp_path, "b.example.net")).stdout.strip()
    assert cli("bob", "request", "withdraw", second).exit_code == 4
    assert cli("alice", "request", "withdraw", second).exit_code == 0
    assert cli("alice", "request", "withdraw", second).exit_code == 1
    assert cli("alice", "request", "download", second).exit_code == 1


def test_end(cli: Cli, tmp_path: Path) -> None:
    csr = csr_file(tmp_path, "ends.example.ac.uk")
    number = cli("alice", "request", "submit", csr, "--wait").stdout.strip()
    for who, code in (("alice", 4), ("charlie", 3), ("meg", 0), ("meg", 1)):
        ended = cli(who, "request", "end", number, "--reason", "The server is switched off.")
        assert ended.exit_code == code, (who, ended.stderr)
    assert json.loads(cli("bob", "request", "show", number, "--json").stdout)["entitled_until"] is None


def test_lists_page_and_print(cli: Cli, tmp_path: Path) -> None:
    for host in ("l1", "l2", "l3"):
        cli("alice", "request", "submit", csr_file(tmp_path, f"{host}.example.ac.uk"))
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
    csr = csr_file(tmp_path, "wrong.example.ac.uk")
    local = csr_file(tmp_path, "mail.localhost")
    refused = cli("alice", "request", "submit", local)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "mail.localhost" in refused.stderr
    preview = cli("alice", "request", "preview", local)
    assert preview.exit_code == 1
    assert "[REFUSED]" in preview.stdout
    token = cli("cdk_wrong", "request", "list")
    assert token.exit_code == 4
    assert "token" in token.stderr
    gone = cli("alice", "request", "list", CERTDESK_URL="http://127.0.0.1:1")
    assert gone.exit_code == 75
    assert "can't be reached" in gone.stderr
    elsewhere = cli("alice", "request", "list", "--url", f"{server.base_url}/help")
    assert elsewhere.exit_code == 1
    assert "Certdesk service" in elsewhere.stderr
    staff = cli("olga", "request", "submit", csr)
    assert staff.exit_code == 4
    assert "Traceback" not in "".join(r.stderr for r in (refused, preview, token, gone, elsewhere, staff))


def test_a_domain_is_added_and_asked_about(cli: Cli, server: DemoServer) -> None:
    added = cli("alice", "domain", "add", "cli-lab.ac.uk")
    assert (added.exit_code, added.stdout) == (0, "cli-lab.ac.uk\n")
    choices = cli("alice", "domain", "validate", "cli-lab.ac.uk")
    assert choices.exit_code == 2
    assert "hostmaster@cli-lab.ac.uk" in choices.stdout.splitlines()
    asked = cli("alice", "domain", "validate", "cli-lab.ac.uk", "--mailbox", "hostmaster@cli-lab.ac.uk")
    assert asked.exit_code == 0, asked.stderr
    assert "We emailed hostmaster@cli-lab.ac.uk" in asked.stderr
    shown = cli("bob", "domain", "show", "CLI-lab.ac.uk", "--json")
    assert [c["mailbox"] for c in json.loads(shown.stdout)["challenges"]] == ["hostmaster@cli-lab.ac.uk"]
    sent = "".join(file.read_text() for file in server.demo.mailbox.glob("*.log"))
    assert "hostmaster@cli-lab.ac.uk" in sent
    taken_back = cli("bob", "domain", "cancel", "cli-lab.ac.uk", "--mailbox", "hostmaster@cli-lab.ac.uk")
    assert taken_back.exit_code == 0, taken_back.stderr
    again = cli("bob", "domain", "cancel", "cli-lab.ac.uk", "--mailbox", "hostmaster@cli-lab.ac.uk")
    assert again.exit_code == 3
    assert "cli-lab.ac.uk" in cli("alice", "domain", "list").stdout
    for who, name, code in (
        ("charlie", "cli-lab.ac.uk", 3),
        ("alice", "nothing.ac.uk", 3),
        ("rick", "cli-lab.ac.uk", 0),
    ):
        assert cli(who, "domain", "show", name).exit_code == code, who
    wrong = cli("alice", "domain", "validate", "cli-lab.ac.uk", "--mailbox", "me@elsewhere.org")
    assert (wrong.exit_code, "mailbox" in wrong.stderr) == (1, True)
    assert cli("rick", "domain", "add", "x.ac.uk", "--organisation", "example-university").exit_code == 4


def test_a_validation_is_ended(cli: Cli, server: DemoServer) -> None:
    validated_by_olga(server, "cli-sold.ac.uk")
    (proof,) = json.loads(cli("alice", "domain", "show", "cli-sold.ac.uk", "--json").stdout)["validations"]
    command = ("domain", "end", "cli-sold.ac.uk", str(proof["id"]), "--reason", "The domain was sold.")
    assert cli("alice", *command).exit_code == 4
    ended = cli("olga", *command)
    assert (ended.exit_code, "no longer proves anything" in ended.stderr) == (0, True)
    assert "olga: The domain was sold." in cli("alice", "domain", "show", "cli-sold.ac.uk").stdout
    assert cli("olga", *command).exit_code == 1
