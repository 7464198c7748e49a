"""`certdesk policy`: what it prints, where, and how it ends."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from certdesk.cli import policy as commands
from certdesk.domain.actors import RaRole
from certdesk.domain.errors import InvalidInput, Misconfigured
from certdesk.domain.policy.file import RULE_NAMES, read_policy
from certdesk.services.requests.asking import create_request
from certdesk.services.system import runtime
from certdesk.services.system.settings import change_settings
from certdesk.store.models import Request
from tests.integration.support import NOW, actor, configured, submission, validated, world

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("as_configured")]


@pytest.fixture(autouse=True)
def django_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test run has set Django up; the command's own logging would outlive it."""
    monkeypatch.setattr(commands, "_set_up", lambda: None)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(commands.policy, arguments)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text("version = '2027-03'\ntitle = 'Fewer'\n[default]\nwildcards = 'manual'\n")
    return path


class TestCheck:
    def test_names_version_and_digest_of_a_good_file(self, file: Path) -> None:
        done = run("check", str(file))
        assert done.exit_code == 0
        assert "version 2027-03" in done.stdout
        assert read_policy(file.read_text()).digest in done.stdout

    def test_of_a_file_that_is_not_text(self, file: Path) -> None:
        file.write_bytes(b"\xff\xfe")
        assert isinstance(run("check", str(file)).exception, InvalidInput)

    def test_of_a_file_that_is_not_there_is_a_wrong_usage(self, tmp_path: Path) -> None:
        assert run("check", str(tmp_path / "none")).exit_code == 2


class TestShow:
    def test_without_a_file(self) -> None:
        done = run("show")
        assert done.exit_code == 0
        assert "Policy file   none" in done.stdout
        assert "every" in done.stdout
        assert all(name in done.stdout for name in RULE_NAMES)

    def test_prints_what_holds_for_one_organisation(self, file: Path) -> None:
        file.write_text(file.read_text() + "[organisation.example-university]\ndaily_cap = 7\n")
        world()
        with configured(policy=read_policy(file.read_text())):
            rules = runtime.current().rules_for(organisation="example-university", profile="tls-server")
            done = run("show", "--organisation", "example-university", "--json")
            everybody = json.loads(run("show", "--json").stdout)
        told = json.loads(done.stdout)
        assert (told["version"], told["title"]) == ("2027-03", "Fewer")
        assert (told["rules"]["daily_cap"], told["rules"]["wildcards"]) == (7, "manual")
        assert told["digest"] == rules.digest != everybody["digest"]
        assert everybody["rules"]["daily_cap"] == 0
        assert list(told["rules"]) == list(RULE_NAMES)

    def test_says_what_in_the_file_has_no_effect(self) -> None:
        operator = actor("op", ra=RaRole.OPERATOR)
        text = (
            "version = 1\n[default]\ntrusted_suffixes = ['x.example']\n[organisation.typo]\nmax_names = 1\n"
        )
        change_settings(actor=operator, values={"trusted_suffixes": ["y.example"]}, seen_version=0, now=NOW)
        with configured(policy=read_policy(text)):
            done = run("show")
        assert "trusted_suffixes has no effect" in done.stderr
        assert "[organisation.typo] has no effect" in done.stderr


class TestReplay:
    def _requests(self) -> list[int]:
        w = world()
        validated("example.ac.uk", of=w.university, by=w.olga, at=NOW - timedelta(days=30))
        numbers = []
        for name, days in (("*.a.example.ac.uk", 20), ("b.example.ac.uk", 5), ("*.c.example.ac.uk", 1)):
            asked = submission(w.university, name)
            made = create_request(actor=w.alice, submission=asked, channel="api", now=NOW)
            # The CA of the tests is no older than NOW.
            Request.objects.filter(id=made.number).update(created_at=NOW - timedelta(days=days))
            numbers.append(int(made.number))
        return numbers

    def test_lists_each_difference_and_sums_up_on_the_side(self, file: Path) -> None:
        old, _same, new = self._requests()
        done = run("replay", str(file))
        assert done.exit_code == 0, done.output
        lines = done.stdout.splitlines()
        assert [int(line.split()[0]) for line in lines] == [old, new]
        assert "auto → manual  (names.wildcard_policy)" in lines[0]
        assert "3 requests, 2 would be decided otherwise." in done.stderr
        assert "auto → manual: 2" in done.stderr
        assert "not stored" in done.stderr

    def test_looks_back_as_far_as_asked(self, file: Path) -> None:
        *_, new = self._requests()
        done = run("replay", str(file), "--since", "1w", "--json")
        difference, summary = (json.loads(line) for line in done.stdout.splitlines())
        assert (difference["number"], difference["old"]["outcome"], difference["new"]) == (
            new,
            "auto",
            {"outcome": "manual", "codes": ["names.wildcard_policy"]},
        )
        assert summary["summary"]["requests"] == 2
        assert summary["summary"]["moves"] == [{"old": "auto", "new": "manual", "requests": 1}]

    @pytest.mark.parametrize("since", ["", "d", "1", "1y", "-1d", "1.5d", "999999d", "²d"])
    def test_refuses_a_period_that_is_none(self, file: Path, since: str) -> None:
        assert run("replay", str(file), "--since", since).exit_code == 2

    def test_refuses_a_file_that_could_not_be_put_in_force(self, file: Path) -> None:
        file.write_text("version = 1\n[ca.nobody]\nmax_names = 1")
        assert isinstance(run("replay", str(file)).exception, Misconfigured)

    def test_a_default_counts_only_where_the_portal_has_not_spoken(self, file: Path) -> None:
        """ADR 12: the old and the new side have the same portal."""
        self._requests()
        file.write_text("version = 1\n[default]\ntrusted_suffixes = ['elsewhere.example']\n")
        # What is validated goes through outside the suffixes too.
        assert run("replay", str(file)).stdout == ""
        file.write_text("version = 1\n[default]\ndurations = [2]\n")
        assert len(run("replay", str(file)).stdout.splitlines()) == 3
        operator = actor("op", ra=RaRole.OPERATOR)
        change_settings(actor=operator, values={"durations": [1, 2]}, seen_version=0, now=NOW)
        done = run("replay", str(file))
        assert done.stdout == ""
        assert "durations has no effect" in done.stderr
