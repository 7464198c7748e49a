"""`certdesk acme`: a credential made, used by a client, limited, rotated and revoked from a shell."""

import json
import re
from collections.abc import Callable

import pytest
from click.testing import Result

from certdesk.cli.client.exits import Exit
from tests.acceptance.seed_support import new_name
from tests.harness.acme_client import AcmeClient, over_http
from tests.harness.server import DemoServer

Cli = Callable[..., Result]


@pytest.fixture
def cli(cli: Cli) -> Cli:
    """`certdesk acme …` as one of the demo's people."""
    return lambda who, *arguments: cli(who, "acme", *arguments)


def ok(done: Result) -> str:
    """What it wrote to stdout; a failure fails the test."""
    assert done.exit_code == Exit.OK, done.stderr
    return done.stdout


def number_of(done: Result) -> str:
    """The id in what was said of a new credential."""
    found = re.search(r"Credential (\d+) is made", done.stderr)
    assert found, done.stderr
    return found[1]


def test_a_credential_from_a_shell_to_a_client_and_back(cli: Cli, server: DemoServer) -> None:
    made = cli("meg", "credential", "create", "shell", "--max-accounts", "1", "--until", "2090-03-31")
    kid, hmac_key = ok(made).split()
    number = number_of(made)
    shown = ok(cli("meg", "credential", "show", number))
    assert kid in shown
    assert "2090-04-01T00:00:00" in shown
    assert hmac_key not in shown
    assert hmac_key in ok(cli("meg", "credential", "show", number, "--key"))

    client = AcmeClient(send=over_http(), directory=server.demo.acme_directory)
    assert client.register(kid, hmac_key).status == 201
    client.issue(new_name())
    assert client.order("www.outside.org").status == 403
    (account,) = json.loads(ok(cli("meg", "account", "list", "--credential", number, "--json")))
    assert (account["status"], account["credential_name"]) == ("valid", "shell")
    assert "www.outside.org" in account["last_problem"]
    assert "webmaster@example.ac.uk" in ok(cli("meg", "account", "list", "--credential", number))
    (listed,) = json.loads(ok(cli("meg", "credential", "list", "-q", "shell", "--json")))
    assert (listed["kid"], listed["accounts"], listed["max_accounts"]) == (kid, 1, 1)
    assert "1 of 1" in ok(cli("meg", "credential", "list", "-q", "shell"))

    again_kid, again_key = ok(cli("meg", "credential", "rotate", number)).split()
    assert again_kid == kid
    assert again_key != hmac_key
    client.issue(new_name())  # whoever has registered goes on
    assert "meg" in ok(cli("meg", "credential", "show", number))
    ok(cli("meg", "credential", "rotate", number, "--end-accounts"))
    assert client.order(new_name()).status == 401

    assert "is revoked" in cli("meg", "credential", "revoke", number).stderr
    assert json.loads(ok(cli("meg", "credential", "show", number, "--json")))["is_usable"] is False
    assert cli("meg", "credential", "rotate", number).exit_code == Exit.FAILED


def test_a_key_for_a_script_is_made_once(cli: Cli) -> None:
    made = [
        json.loads(
            ok(
                cli(
                    *("meg", "credential", "create", "script", "--allow", "lab.example.ac.uk"),
                    *("--idempotency-key", "once", "--json"),
                )
            )
        )
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert made[0]["names"] == ["lab.example.ac.uk"]
    assert len(json.loads(ok(cli("meg", "credential", "list", "-q", "script", "--json")))) == 1


def test_who_does_not_look_after_them_learns_nothing(cli: Cli) -> None:
    made = cli("meg", "credential", "create", "private")
    ok(made)
    number = number_of(made)
    assert cli("charlie", "credential", "show", number).exit_code == Exit.NOT_FOUND
    assert cli("charlie", "credential", "revoke", number).exit_code == Exit.NOT_FOUND
    assert json.loads(ok(cli("charlie", "credential", "list", "--json"))) == []
    assert cli("alice", "credential", "create", "mine").exit_code == Exit.DENIED
    empty = cli("alice", "account", "list")
    assert (empty.stdout, empty.stderr) == ("", "There are no such accounts.\n")
