"""`certdesk person` against REST itself: who may disable and enable whom, and what a shell is told."""

from collections.abc import Callable
from functools import partial

import httpx2
import pytest
from click.testing import CliRunner, Result
from django.core.handlers.wsgi import WSGIHandler
from structlog.testing import capture_logs

from certdesk.cli.client import connection
from certdesk.cli.client.connection import Service
from certdesk.cli.client.exits import Exit
from certdesk.cli.main import certdesk
from certdesk.store.models import User
from tests.integration.api_calls import Caller, Callers

Cli = Callable[..., Result]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`certdesk person …` by somebody's token; the service answers in this process."""
    within = partial(Service, transport=httpx2.WSGITransport(app=WSGIHandler()))
    monkeypatch.setattr(connection, "Service", within)

    def run(who: Caller, *arguments: str) -> Result:
        told = {"CERTDESK_URL": "http://127.0.0.1", "CERTDESK_TOKEN": who.token, "CERTDESK_TOKEN_FILE": None}
        with capture_logs():  # they would be on the command's stdout
            return CliRunner().invoke(certdesk, ("person", *arguments), env=told)

    return run


def test_a_manager_disables_and_enables_an_own_person(cli: Cli, users: Callers) -> None:
    assert cli(users.meg, "list").stdout.count("active") == 3
    gone = cli(users.meg, "disable", "alice")
    assert (gone.exit_code, gone.stdout) == (Exit.OK, "")
    assert "alice is disabled" in gone.stderr
    assert "account disabled" in cli(users.meg, "list").stdout
    assert users.alice.get("/requests").status == 401
    assert cli(users.meg, "disable", "alice").exit_code == Exit.FAILED
    back = cli(users.meg, "enable", "alice")
    assert back.exit_code == Exit.OK, back.stderr
    assert User.objects.get(username="alice").check_password(back.stdout.strip())


def test_an_officer_names_the_organisation(cli: Cli, users: Callers) -> None:
    assert cli(users.olga, "disable", "charlie").exit_code == Exit.USAGE
    named = ("--organisation", "other-college")
    assert cli(users.olga, "disable", "charlie", *named).exit_code == Exit.OK
    assert '"password"' in cli(users.olga, "enable", "charlie", *named, "--json").stdout


def test_nobody_else_does(cli: Cli, users: Callers) -> None:
    for who in (users.alice, users.bob, users.rick):
        named = ("--organisation", "example-university")
        assert cli(who, "disable", "alice", *named).exit_code == Exit.DENIED
    assert cli(users.charlie, "list", "--organisation", "example-university").exit_code == Exit.NOT_FOUND
    assert cli(users.meg, "disable", "charlie").exit_code == Exit.NOT_FOUND
    assert users.alice.get("/requests").status == 200
