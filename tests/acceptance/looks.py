"""What holds for every page, in both widths and both schemes: WCAG 2.2 AA, one heading, no overflow."""

import re
from pathlib import Path
from typing import Literal

import axe_playwright_python
from playwright.sync_api import Page

from tests.harness.browser import RULES, RULES_ABOUT_COLOURS, WIDTHS, screenshot, show_in

PHONE = 390
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
#: What depends on more than the markup.
RULES_ABOUT_LOOKS = [*RULES_ABOUT_COLOURS, "target-size", "scrollable-region-focusable"]


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

    Markup is the same in all four, and sizes are in both schemes: no look repeats what it cannot change.
    """
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE)
    found: list[str] = []
    looks: list[tuple[int, Literal["light", "dark"], str, list[str]]] = [
        (1280, "light", "tag", RULES),
        (1280, "dark", "rule", RULES_ABOUT_COLOURS),
        (PHONE, "dark", "rule", RULES_ABOUT_COLOURS),
        (PHONE, "light", "rule", RULES_ABOUT_LOOKS),
    ]
    for width, scheme, kind, rules in looks:
        page.set_viewport_size({"width": width, "height": WIDTHS[width]})
        show_in(page, scheme)
        options = {"runOnly": {"type": kind, "values": rules}, "resultTypes": ["violations"]}
        result = page.evaluate("options => axe.run(document, options)", options)
        found += [
            f"{width} {scheme}: {violation['id']}: {violation['help']}: {node['html']} ({node['target']})"
            for violation in result["violations"]
            for node in violation["nodes"]
        ]
    return found


def examine(page: Page, name: str) -> None:
    """Everything that holds for every page, at both widths and in both schemes."""
    assert_well_made(page)
    found = violations(page)
    assert not found, f"{page.url}\n" + "\n".join(found)
    screenshot(page, name)
