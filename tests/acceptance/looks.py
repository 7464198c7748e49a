"""What holds for every page, in both widths and both schemes: WCAG 2.2 AA, one heading, no overflow."""

import itertools
import re
from pathlib import Path
from typing import Literal

import axe_playwright_python
from playwright.sync_api import Page

from tests.harness.browser import WIDTHS, screenshot, show_in

PHONE = 390
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
RULES_ABOUT_LOOKS = ["color-contrast", "target-size", "scrollable-region-focusable", "link-in-text-block"]
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def assert_well_made(page: Page) -> None:
    """One heading, a title, a language, no sideways scrolling on a phone, nothing inline."""
    assert page.locator("h1:visible").count() == 1, f"{page.url}: not one h1"
    assert re.fullmatch(r"\S.* – \S.*", page.title()), f"{page.url}: {page.title()!r}"
    assert page.locator("html").get_attribute("lang") == "en-GB"
    for width in (PHONE, 1280):
        page.set_viewport_size({"width": width, "height": WIDTHS[width]})
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{page.url}: {wide} px too wide at {width} px"


def violations(page: Page) -> list[str]:
    """What axe finds at both widths and in both schemes.

    Markup is the same in all four, so after the first look only what depends on looks is looked at again.
    """
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE)
    found: list[str] = []
    options: dict[str, object] = {"runOnly": {"type": "tag", "values": RULES}}
    for width, scheme in itertools.product((1280, PHONE), SCHEMES):
        page.set_viewport_size({"width": width, "height": WIDTHS[width]})
        show_in(page, scheme)
        result = page.evaluate(
            "options => axe.run(document, {...options, resultTypes: ['violations']})", options
        )
        found += [
            f"{width} {scheme}: {violation['id']}: {violation['help']}: {node['html']} ({node['target']})"
            for violation in result["violations"]
            for node in violation["nodes"]
        ]
        options = {"runOnly": {"type": "rule", "values": RULES_ABOUT_LOOKS}}
    return found


def examine(page: Page, name: str) -> None:
    """Everything that holds for every page, at both widths and in both schemes."""
    assert_well_made(page)
    found = violations(page)
    assert not found, f"{page.url}\n" + "\n".join(found)
    screenshot(page, name)
