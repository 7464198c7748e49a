"""Every page of the help in a browser, as test_browser_pages.py looks at the others; it runs beside it."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from certdesk.web.help.contents import SLUGS
from tests.acceptance.looks import examine

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("slug", SLUGS)
def test_a_page_of_the_help(visit: Callable[..., Page], slug: str) -> None:
    page = visit()
    answer = page.goto(f"/help/{slug}/")
    assert answer is not None
    assert answer.status == 200
    examine(page, f"help-{slug}")
