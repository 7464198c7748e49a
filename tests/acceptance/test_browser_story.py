"""Alice's story in a real browser: from a CSR by OpenSSL to a zip that OpenSSL verifies."""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Error, Page, expect

from tests.acceptance import stories
from tests.acceptance.seed_support import AVAILABLE, make_csr, new_name
from tests.harness.browser import screenshot, sign_in
from tests.harness.server import DemoServer

pytestmark = pytest.mark.browser

Visit = Callable[..., Page]


def numbers_for(page: Page, name: str) -> list[str]:
    """The Request IDs that the list finds for a name."""
    page.goto(f"/requests/?q={name}")
    return page.locator("table.requests tbody th a").all_text_contents()


def test_the_whole_story(visit: Visit, server: DemoServer, tmp_path: Path) -> None:
    names = [new_name(), new_name(), new_name()]
    csr = make_csr(tmp_path, *names)
    page = visit()
    page.goto("/")
    expect(page).to_have_title(re.compile("Sign in"))
    sign_in(page, server, "alice")
    page.get_by_role("link", name="Request a certificate").first.click()
    stories.by_file(page, csr)
    page.get_by_label("1 year").check()
    page.get_by_label("Server software").select_option("Apache httpd")
    page.get_by_role("button", name="Upload CSR and preview").click()

    for name in names:
        expect(page.locator("ul.names")).to_contain_text(name)
    expect(page.locator("[data-decision=auto]")).to_be_visible()
    expect(page.locator("li.check").first).to_be_visible()
    assert page.locator("li.check").count() > 5
    screenshot(page, "story-preview-auto")
    page.get_by_role("button", name="Change").click()
    expect(page.get_by_label("Paste its text")).to_have_value(re.compile("BEGIN CERTIFICATE REQUEST"))
    expect(page.get_by_label("Server software")).to_have_value("Apache httpd")
    page.get_by_label("2 years").check()
    page.get_by_label("Server software").select_option("nginx")
    page.get_by_role("button", name="Upload CSR and preview").click()
    expect(page.get_by_label("Your choices")).to_contain_text("2 years")
    expect(page.get_by_label("Your choices")).to_contain_text("nginx")

    stories.confirm(page)
    stories.expect_status(page, AVAILABLE)
    for name in names:
        expect(page.locator("ul.names")).to_contain_text(name)
    screenshot(page, "story-issued")
    stories.assert_zip_proves_itself(stories.download(page, "Download .zip", tmp_path), csr, *names)


def test_the_same_story_without_javascript(visit: Visit, tmp_path: Path) -> None:
    name = new_name()
    csr = make_csr(tmp_path, name)
    page = visit("alice", javascript=False)
    page.goto("/requests/new/")
    stories.by_file(page, csr)
    page.get_by_label("1 year").check()
    page.get_by_label("Server software").select_option("nginx")
    page.get_by_role("button", name="Upload CSR and preview").click()
    page.get_by_role("button", name="Change").click()
    page.get_by_label("3 years").check()
    page.get_by_role("button", name="Upload CSR and preview").click()
    expect(page.get_by_label("Your choices")).to_contain_text("3 years")
    stories.confirm(page)
    stories.expect_status(page, AVAILABLE)
    stories.assert_zip_proves_itself(stories.download(page, "Download .zip", tmp_path), csr, name)


def test_a_csr_that_cannot_be_read_keeps_the_choices(visit: Visit, tmp_path: Path) -> None:
    broken = make_csr(tmp_path, new_name())
    broken.path.write_text(broken.pem.replace("M", "N", 3))
    page = visit("alice")
    page.goto("/requests/new/")
    stories.by_paste(page, broken)
    page.get_by_label("3 years").check()
    page.get_by_label("Server software").select_option("Caddy")
    page.get_by_role("button", name="Upload CSR and preview").click()
    expect(page.get_by_role("alert")).to_contain_text("CSR")
    expect(page.get_by_label("3 years")).to_be_checked()
    expect(page.get_by_label("Server software")).to_have_value("Caddy")
    expect(page.get_by_label("Paste its text")).to_have_value(broken.pem)


def test_going_back_and_confirming_again_makes_no_second_request(visit: Visit, tmp_path: Path) -> None:
    name = new_name()
    page = visit("alice")
    stories.preview(page, make_csr(tmp_path, name))
    number = stories.confirm(page)
    with contextlib.suppress(Error):  # pages are not kept (no-store): Chromium asks before it sends again
        page.go_back()
    page.wait_for_url("chrome-error://**")
    page.reload()
    page.get_by_role("button", name="Confirm request").click()
    page.wait_for_url(re.compile(r"/requests/\d+/$"))
    assert stories.number_of(page) == number
    assert numbers_for(page, name) == [str(number)]


def test_the_list_searches_filters_sorts_and_downloads(visit: Visit, tmp_path: Path) -> None:
    word = new_name("").strip(".")
    page = visit("alice")
    issued = stories.ask(page, make_csr(tmp_path, f"b-{word}.example.ac.uk"))
    waiting = stories.ask(page, make_csr(tmp_path, f"a-{word}.outside.org"))
    rows = page.locator("table.requests tbody th a")
    page.goto("/requests/")
    page.get_by_label("Search").fill(word)
    page.get_by_role("button", name="Show").click()
    expect(rows).to_have_text([str(waiting), str(issued)])
    page.get_by_label("Sort by").select_option("Oldest first")
    page.get_by_role("button", name="Show").click()
    expect(rows).to_have_text([str(issued), str(waiting)])
    page.get_by_label("Sort by").select_option("Name, A to Z")
    page.get_by_role("button", name="Show").click()
    expect(rows).to_have_text([str(waiting), str(issued)])
    page.get_by_label("Status").select_option(AVAILABLE)
    page.get_by_role("button", name="Show").click()
    expect(rows).to_have_text([str(issued)])
    lines = stories.download(page, "Download as CSV", tmp_path).read_text().splitlines()
    assert lines[0].startswith("Request ID,Common names")
    assert len(lines) == 2
    assert lines[1].startswith(f"{issued},b-{word}.example.ac.uk,1,{AVAILABLE},")
    page.goto(f"/requests/?q={waiting}")
    expect(page.locator("table.requests tbody th a", has_text=str(waiting)).first).to_be_visible()
