"""The help in a browser: every page looks well, visitors search, an officer edits the FAQ."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from certdesk.web.help import contents
from tests.acceptance.looks import examine
from tests.harness.browser import look_at, sign_in
from tests.harness.server import DemoServer

pytestmark = pytest.mark.browser


def test_r1_a_visitor_searches_the_help_and_comes_to_the_place(page: Page, server: DemoServer) -> None:
    page.goto(f"{server.base_url}/help/")
    page.get_by_role("searchbox", name="Search the help").fill("keytool keystore")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("mark").first).to_be_visible()
    page.locator(".hits a").first.click()
    assert "#" in page.url
    page.goto(f"{server.base_url}/help/search/?q=zzzz")
    expect(page.get_by_role("status")).to_contain_text("Nothing found")


def test_r1_the_form_s_help_links_open_their_entries(page: Page, server: DemoServer) -> None:
    sign_in(page, server, "alice")
    page.goto(f"{server.base_url}/requests/new/")
    addresses = page.eval_on_selector_all("a.help", "links => links.map(link => link.href)")
    assert len(addresses) >= 4
    for address in addresses:
        page.goto(address)
        expect(page.locator(f"[id='{address.partition('#')[2]}']")).to_be_in_viewport()


def test_r2_an_officer_edits_the_questions(page: Page, server: DemoServer) -> None:
    sign_in(page, server, "olga")
    page.goto(f"{server.base_url}/help/faq/")
    page.get_by_role("link", name="Edit", exact=True).click()
    page.get_by_role("link", name="Add a question").click()
    page.get_by_label("Question").fill("May I ring you?")
    page.get_by_label("Answer").fill(
        "Yes, **in the morning**:\n\n- ask for [[ra]]\n- have the Request ID ready"
    )
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("strong", has_text="in the morning")).to_be_visible()
    expect(page.get_by_text("ask for JTAG")).to_be_visible()
    look_at(page, "help-faq-preview")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Move up: May I ring you?").click()
    page.get_by_role("link", name="History of May I ring you?").click()
    expect(page.get_by_role("heading", name="Version 2")).to_be_visible()
    page.goto(f"{server.base_url}/help/faq/")
    expect(page.get_by_role("heading", name="May I ring you?")).to_be_visible()


@pytest.mark.parametrize("slug", contents.SLUGS)
def test_r1_r5_r12_a_visitor_reads_the_help(visit: Callable[..., Page], slug: str) -> None:
    page = visit()
    answer = page.goto(f"/help/{slug}/")
    assert answer is not None
    assert answer.status == 200
    expect(page.get_by_role("heading", level=1)).to_have_text(contents.page(slug).title)
    examine(page, f"help-{slug}")
