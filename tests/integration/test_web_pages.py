"""The templates and static files: nothing inline, nothing foreign. Links to the help: `test_help`."""

import re
from pathlib import Path

import pytest

import certdesk.web
from certdesk.domain.issuing.states import Status
from certdesk.web.requests.rows import LOOK

WEB = Path(certdesk.web.__file__).parent
TEMPLATES = sorted((WEB / "templates").rglob("*.html"))
STATIC = WEB / "static" / "certdesk"


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.relative_to(WEB / "templates")))
def test_a_template_holds_nothing_that_the_policy_forbids(template: Path) -> None:
    text = template.read_text()
    # A block of JSON is data: no browser runs it, whatever the policy says.
    assert not re.search(r'<script(?![^>]*\b(?:src=|type="application/json"))', text), "inline script"
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", text), "inline style or handler"
    assert not re.search(r'(?:src|href|action)="(?:https?:)?//', text), "something from elsewhere"
    for form in re.findall(r'<form[^>]*method="post".*?</form>', text, re.DOTALL):
        assert "{% csrf_token %}" in form


def test_static_files_load_nothing_from_elsewhere() -> None:
    for file in STATIC.iterdir():
        text = re.sub(r"http://www\.w3\.org/2000/svg", "", file.read_text())
        assert "http:" not in text
        assert "https:" not in text
        assert "@import" not in text


def test_every_status_has_a_look() -> None:
    assert set(LOOK) == set(Status)
