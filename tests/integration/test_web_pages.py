"""The templates and static files: nothing inline, nothing foreign, every help link leads somewhere."""

import re
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

import certdesk.web
from certdesk.domain.requests import State
from certdesk.web.help.views import PAGES
from certdesk.web.requests.install import HINTS, hint_for
from certdesk.web.requests.rows import LOOK

WEB = Path(certdesk.web.__file__).parent
TEMPLATES = sorted((WEB / "templates").rglob("*.html"))
STATIC = WEB / "static" / "certdesk"


@pytest.fixture(autouse=True)
def plain_static_files(settings: Settings) -> None:
    """Pages name static files without the manifest that only `collectstatic` makes."""
    backend = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": backend}
    Path(settings.STATIC_ROOT).mkdir(exist_ok=True)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.relative_to(WEB / "templates")))
def test_a_template_holds_nothing_that_the_policy_forbids(template: Path) -> None:
    text = template.read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)", text), "inline script"
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


def test_every_help_link_leads_to_an_entry() -> None:
    anchors = {
        page: set(re.findall(r'\sid="([^"]+)"', (WEB / "templates" / "help" / f"{page}.html").read_text()))
        for page in PAGES
    }
    links = [link for template in TEMPLATES for link in re.findall(r'"/help/([^"]*)"', template.read_text())]
    assert len(links) > 20
    for link in links:
        page, _hash, anchor = link.partition("#")
        page = page.strip("/")
        assert page == "" or page in PAGES, link
        assert not anchor or anchor in anchors[page], link


@pytest.mark.django_db
@pytest.mark.parametrize("page", ["", *PAGES])
def test_help_is_open_to_everybody(page: str) -> None:
    answer = Client().get(f"/help/{page}/" if page else "/help/")
    assert answer.status_code == 200
    assert "<h1>" in answer.content.decode()


@pytest.mark.django_db
def test_a_help_page_that_is_not_there_is_404() -> None:
    assert Client().get("/help/nonsense/").status_code == 404


def test_every_state_has_a_look() -> None:
    assert set(LOOK) == set(State)


def test_every_hint_can_be_filled_in() -> None:
    for software in (*HINTS, "Other"):
        hint_for(software).lines.format(stem="www")
