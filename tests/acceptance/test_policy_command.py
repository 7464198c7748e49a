"""`certdesk policy` as an operator runs it: checked, shown, replayed; a bad file stops the start."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest

from tests.harness.environment import certdesk


@pytest.mark.slow
def test_a_policy_is_checked_shown_and_replayed(demo_template: Path, tmp_path: Path) -> None:
    data = shutil.copytree(demo_template, tmp_path / "var")
    run = partial(certdesk, CERTDESK_DEMO="1", CERTDESK_DATA=str(data), CERTDESK_LOG_LEVEL="ERROR")
    file = tmp_path / "policy.toml"
    file.write_text("version = 2\n[default]\nwildcard = 'manual'\n")
    bad = run("policy", "check", str(file))
    assert (bad.returncode, bad.stdout) == (1, "")
    assert "line 3, [default] wildcard: There is no such rule. Do you mean wildcards?" in bad.stderr

    assert run("admin", "migrate").returncode == 0
    refused = run("policy", "show", CERTDESK_POLICY=str(file))
    assert refused.returncode == 1
    assert "Do you mean wildcards?" in refused.stderr

    file.write_text("version = 2\n[default]\nwildcards = 'manual'\n")
    good = run("policy", "check", str(file))
    assert (good.returncode, good.stderr) == (0, "")
    shown = run("policy", "show", "--json", CERTDESK_POLICY=str(file))
    assert json.loads(shown.stdout)["rules"]["wildcards"] == "manual", shown.stderr
    replayed = run("policy", "replay", str(file), "--json")
    assert json.loads(replayed.stdout)["summary"]["requests"] == 1, replayed.stderr
