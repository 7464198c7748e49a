"""docs/cas-acme.md says what the code says: every setting, examples that load, what the tests run."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from certdesk.backends.acme import config as acme
from certdesk.backends.acme import limits
from certdesk.backends.acme.config import read_config
from certdesk.backends.acme.dcv import config as dcv
from tests.harness import updated_zones

PAGE = (Path(__file__).parents[2] / "docs/cas-acme.md").read_text(encoding="utf-8")


def _examples() -> Iterator[tuple[str, dict[str, object]]]:
    for block in re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        yield from tomllib.loads(block)["cas"].items()


def test_every_setting_is_in_its_table() -> None:
    settings = {
        *acme._KNOWN,
        *limits.KNOWN,
        *dcv._LOOKUP,
        *(key for keys in dcv._OWN.values() for key in keys),
    }
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", PAGE, re.MULTILINE)
    assert set(re.findall(r"`([a-z_]+)`", " ".join(rows))) == settings


@pytest.mark.parametrize("name, settings", list(_examples()))
def test_the_examples_load(name: str, settings: dict[str, object], tmp_path: Path) -> None:
    assert settings.pop("kind") == "acme"
    if "ca_file" in settings:
        settings["ca_file"] = tmp_path / "root.pem"
        (tmp_path / "root.pem").touch()
    assert read_config(name=name, settings=settings).name == name


def test_name_servers_are_set_up_in_the_tests_as_the_page_says() -> None:
    shown = {line.strip().replace("…", "{secret}") for line in PAGE.splitlines()}
    bind = ["update-policy {{ grant certdesk zonesub TXT; }};"]
    bind += [line for line in updated_zones._BIND.splitlines() if line.startswith("key ")]
    knot = updated_zones._KNOT.partition("key:\n")[2].partition("template:")[0].splitlines()
    assert bind[0] in updated_zones._BIND_ZONE
    for line in (*bind, *knot):
        assert line.strip().replace("{{", "{").replace("}}", "}") in shown, line
