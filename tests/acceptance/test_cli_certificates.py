"""The client on a server's own machine: key made there, renewed by cron, revoked; OpenSSL is the judge."""

import json
import os
import re
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from tests.acceptance.seed_support import new_name, run

Cli = Callable[..., Result]


def facts(path: Path, *what: str) -> str:
    """What OpenSSL reads in a certificate."""
    return run("openssl", "x509", "-in", str(path), "-noout", *what)


def ask(cli: Cli, who: str, host: str, *more: str) -> Result:
    """Ask with a key of this machine."""
    return cli(who, "request", "submit", "--new-key", host, "--software", "nginx", *more)


def test_a_key_of_this_machine_from_the_first_certificate_to_the_renewal(cli: Cli, tmp_path: Path) -> None:
    host, second = new_name(), new_name()
    out = tmp_path / "hook"
    hook = f'echo "$DOMAINS $FULLCHAIN_PATH" >> {out}; test "$(stat -c %a "$KEY_PATH")" = 600'
    done = ask(cli, "alice", host, "--name", second, "--key-type", "p384", "--deploy-hook", hook, "--wait")
    assert done.exit_code == 0, done.stderr
    number = int(done.stdout)
    live = tmp_path / "home" / "live" / host
    assert str(live) in done.stderr
    assert out.read_text() == f"{host} {second} {live}/fullchain.pem\n"

    first_key, first_serial = (live / "privkey.pem").read_bytes(), facts(live / "cert.pem", "-serial")
    assert stat.S_IMODE((live / "privkey.pem").stat().st_mode) == 0o600
    assert facts(live / "cert.pem", "-pubkey") == run(
        "openssl", "pkey", "-in", str(live / "privkey.pem"), "-pubout"
    )
    assert set(re.findall(r"DNS:([^,\s]+)", facts(live / "cert.pem", "-ext", "subjectAltName"))) == {
        host,
        second,
    }
    chained = run(
        *("openssl", "verify", "-partial_chain", "-trusted", str(live / "chain.pem")), str(live / "cert.pem")
    )
    assert chained.rstrip().endswith("OK")

    for _cron in range(2):  # nothing is due: silent, and nothing is touched
        quiet = cli("alice", "certificate", "renew")
        assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", "")
    assert facts(live / "cert.pem", "-serial") == first_serial
    away = cli("alice", "certificate", "renew", "--force", CERTDESK_URL="http://127.0.0.1:9")
    assert away.exit_code == 75
    renewed = cli("alice", "certificate", "renew", host, "--days", "400", "-v")  # it runs for 365
    assert renewed.exit_code == 0, renewed.stderr
    assert host in renewed.stderr
    assert facts(live / "cert.pem", "-serial") != first_serial
    assert (live / "privkey.pem").read_bytes() != first_key
    assert facts(live / "cert.pem", "-pubkey") == run(
        "openssl", "pkey", "-in", str(live / "privkey.pem"), "-pubout"
    )
    assert f"another certificate under request {number}" in renewed.stderr  # half of its term is left
    assert len(out.read_text().splitlines()) == 2
    shown = cli("alice", "request", "show", str(number), "--json")
    assert "PRIVATE" not in shown.stdout
    told = json.loads(shown.stdout)
    assert [event["event"] for event in told["events"]][-1] == "issue"
    assert len(told["certificates"]) == 2


def test_one_that_was_revoked_is_replaced_by_the_next_run_of_cron(cli: Cli, tmp_path: Path) -> None:
    host, out = new_name(), tmp_path / "hook"
    done = ask(cli, "alice", host, "--deploy-hook", f"echo again >> {out}", "--wait")
    assert done.exit_code == 0, done.stderr
    live = tmp_path / "home" / "live" / host
    first = facts(live / "cert.pem", "-serial")
    revoked = cli(
        *("alice", "certificate", "revoke", str(live / "cert.pem"), "--reason", "superseded", "--yes")
    )
    assert revoked.exit_code == 0, revoked.stderr
    renewed = cli("alice", "certificate", "renew", "-v")
    assert f"under request {done.stdout.strip()}" in renewed.stderr
    assert facts(live / "cert.pem", "-serial") != first
    assert len(out.read_text().splitlines()) == 2
    quiet = cli("alice", "certificate", "renew", "-v")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", "")


def test_one_that_waits_for_an_officer_is_fetched_by_cron(cli: Cli, tmp_path: Path) -> None:
    host = new_name("approved-by-cli.org")
    done = ask(cli, "alice", host, "--wait")
    assert done.exit_code == 5
    number = done.stdout.strip()
    live = tmp_path / "home" / "live" / host
    waiting = cli("alice", "certificate", "renew")
    assert waiting.exit_code == 5
    assert f"request {number}" in waiting.stderr
    assert not live.exists()
    approved = cli("olga", "request", "approve", number, "--evidence", "approved-by-cli.org=RDAP names them")
    assert approved.exit_code == 0, approved.stderr
    assert cli("alice", "certificate", "renew").exit_code == 0
    assert facts(live / "cert.pem", "-pubkey") == run(
        "openssl", "pkey", "-in", str(live / "privkey.pem"), "-pubout"
    )


def test_found_and_fetched(cli: Cli, tmp_path: Path) -> None:
    host = new_name()
    number = ask(cli, "alice", host, "--wait").stdout.strip()
    live = tmp_path / "home" / "live" / host
    (found,) = json.loads(cli("bob", "certificate", "list", "--name", host, "--json").stdout)
    assert found["status"] == "valid"
    table = cli("alice", "certificate", "list", "--request", number).stdout
    assert found["serial"] in table
    assert host in cli("alice", "certificate", "list", "--expiring", "366").stdout
    assert host not in cli("alice", "certificate", "list", "--expiring", "300").stdout

    # By number, serial number, fingerprint and file.
    for which in (str(found["id"]), found["serial"], found["sha256"].upper(), str(live / "cert.pem")):
        shown = cli("alice", "certificate", "show", which)
        assert shown.exit_code == 0, (which, shown.stderr)
        assert found["sha256"] in shown.stdout
    assert cli("charlie", "certificate", "show", str(found["id"])).exit_code == 3
    assert cli("charlie", "certificate", "show", found["serial"]).exit_code == 3
    assert cli("alice", "certificate", "show", "no-such-file").exit_code == 2

    three = cli("alice", "certificate", "download", found["serial"], "-o", "three").stdout.split()
    assert three == ["three/cert.pem", "three/chain.pem", "three/fullchain.pem"]
    for name in ("cert.pem", "chain.pem", "fullchain.pem"):
        assert (tmp_path / "three" / name).read_bytes() == (live / name).read_bytes()
        assert stat.S_IMODE((tmp_path / "three" / name).stat().st_mode) == 0o600
    for form in ("pem", "fullchain", "chain", "der", "p7b", "truststore", "zip"):
        got = cli("alice", "certificate", "download", str(found["id"]), "--format", form)
        assert got.exit_code == 0, got.stderr
        path = tmp_path / got.stdout.strip()
        assert path.stat().st_size > 300
        assert path.suffix == {"fullchain": ".pem", "chain": ".pem", "truststore": ".p12"}.get(
            form, f".{form}"
        )
        assert zipfile.is_zipfile(path) is (form == "zip")
    piped = cli("alice", "certificate", "download", str(found["id"]), "-o", "-")
    assert piped.stdout == (live / "fullchain.pem").read_text()


def test_watched_and_revoked(cli: Cli, tmp_path: Path) -> None:
    host = new_name()
    number = ask(cli, "alice", host, "--wait").stdout.strip()
    live = tmp_path / "home" / "live" / host
    serial = facts(live / "cert.pem", "-serial").strip().partition("=")[2]
    for target in (str(live), str(live / "fullchain.pem"), number):
        watched = cli("alice", "certificate", "check", target)
        assert watched.exit_code == 0, watched.stdout
        assert f"{host} ends in 364 days" in watched.stdout
    assert cli("alice", "certificate", "check", number, "--warning", "365").exit_code == 1
    assert cli("charlie", "certificate", "check", number).exit_code == 3

    assert cli("bob", "certificate", "revoke", serial, "--reason", "superseded").exit_code == 4
    ending = cli("alice", "certificate", "revoke", serial, "--reason", "cessationOfOperation", "--end")
    assert (ending.exit_code, "Revoke it without ending the request" in ending.stderr) == (4, True)
    done = cli("alice", "certificate", "revoke", str(live / "cert.pem"), "--reason", "superseded", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["revocation"]["outcome"] == "done"
    again = cli("alice", "certificate", "revoke", serial, "--reason", "superseded")
    assert again.exit_code == 1
    assert "revoked already" in again.stderr
    watched = cli("alice", "certificate", "check", number)
    assert watched.exit_code == 2
    assert "is revoked (superseded)" in watched.stdout
    assert "superseded" in cli("alice", "certificate", "show", serial).stdout


def test_what_is_wrong_makes_no_key_and_no_request(cli: Cli, tmp_path: Path) -> None:
    for arguments, code in (
        (("--new-key", "a b.example.ac.uk"), 2),
        (("--new-key", "x.example.ac.uk", "some.csr"), 2),
        ((), 2),
        (("--new-key", "x.example.ac.uk", "--cert-name", "../x"), 2),
        (("--new-key", "localhost"), 1),
    ):
        done = cli("alice", "request", "submit", *arguments)
        assert done.exit_code == code, (arguments, done.stderr)
        assert done.stdout == ""
    assert not list((tmp_path / "home").rglob("*.pem"))


def test_shells_complete_commands_and_names(cli: Cli, tmp_path: Path) -> None:
    for shell in ("bash", "zsh", "fish"):
        script = cli("alice", "completion", shell)
        assert script.exit_code == 0
        assert "_CERTDESK_COMPLETE" in script.stdout
    (tmp_path / "home" / "renewal").mkdir(parents=True)
    (tmp_path / "home" / "renewal" / "www.example.ac.uk.json").write_text("{}")
    asked = {
        "_CERTDESK_COMPLETE": "bash_complete",
        "COMP_WORDS": "certdesk certificate renew w",
        "COMP_CWORD": "3",
        "CERTDESK_HOME": str(tmp_path / "home"),
    }
    told = subprocess.run(
        [sys.executable, "-c", "from certdesk.cli.main import main; main()"],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "plain,www.example.ac.uk\n"
