"""Every page of the help in a browser, as test_browser_pages.py looks at the others; it runs beside it."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from certdesk.web.help import contents
from tests.acceptance.looks import examine

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("slug", contents.SLUGS)
def test_r1_r5_r12_a_visitor_reads_the_help(visit: Callable[..., Page], slug: str) -> None:
    page = visit()
    answer = page.goto(f"/help/{slug}/")
    assert answer is not None
    assert answer.status == 200
    expect(page.get_by_role("heading", level=1)).to_have_text(contents.page(slug).title)
    examine(page, f"help-{slug}")
