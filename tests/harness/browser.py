"""Debian's Chromium under Playwright: pages, sign-in, accessibility, pictures."""

import os
import re
import shutil
from pathlib import Path
from typing import Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.harness.server import DemoServer

# `--no-sandbox`: CI runs as root, and every page comes from the server under test.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# What turns for ever, to show that something is going on, is never finished. Neither is an animation on a
# page that Chromium has stopped painting, and `evaluate` knows no time-out of its own: hence the two seconds.
_SETTLE = """() => Promise.race([
    Promise.allSettled(
        document.getAnimations()
            .filter(one => one.effect.getComputedTiming().iterations !== Infinity)
            .map(one => one.finished)
    ),
    new Promise(done => setTimeout(done, 2000)),
])"""
TIMEOUT_MS = 30_000
WIDTHS = {1280: 900, 390: 844}
_SCHEMES: tuple[Literal["dark", "light"], ...] = ("dark", "light")
#: axe's tags, and those rules among them that depend on the colours.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
RULES_ABOUT_COLOURS = ["color-contrast", "link-in-text-block"]


def find_chromium() -> str | None:
    """Where Chromium is, or None; Playwright's own download is never used.

    Its headless shell comes first: the same engine with no window around each visitor's pages, of whose
    address field, buttons and menus, web pages themselves, nobody sees anything. It takes half the time.
    """
    programs = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, programs)), None)


def sign_in(page: Page, server: DemoServer, username: str) -> None:
    """Sign in through the portal's own page as one of the demo's people."""
    page.goto(f"{server.base_url}/accounts/login/")
    page.locator("[name=login]").fill(username)
    page.locator("[name=password]").fill(server.demo.passwords[username])
    page.locator("form:has([name=password]) [type=submit]").click()
    page.wait_for_url(lambda url: "/accounts/login/" not in url)


def show_in(page: Page, scheme: Literal["dark", "light"]) -> None:
    """Change the colours of a page, and wait until it has them."""
    # Colours may fade into each other, and half-way there they are neither scheme's. Who wants less motion
    # does not wait for that.
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.evaluate(_SETTLE)


def assert_accessible(page: Page) -> None:
    """No violation of WCAG 2.2 A or AA on the page as it stands, in light and in dark colours."""
    found: list[str] = []
    rules = {"type": "tag", "values": RULES}
    for scheme in _SCHEMES:
        show_in(page, scheme)
        results = Axe().run(page, options={"runOnly": rules}).response
        rules = {"type": "rule", "values": RULES_ABOUT_COLOURS}  # the rest is the same in all colours
        found += [
            f"{scheme}: {violation['id']}: {violation['help']}: {node['html']} ({node['target']})"
            for violation in results["violations"]
            for node in violation["nodes"]
        ]
    assert not found, f"{page.url}\n" + "\n".join(found)


def screenshot(page: Page, name: str) -> None:
    """Take the page at 1280 and 390 pixels, light and dark, if CERTDESK_TEST_SCREENSHOTS names a folder."""
    folder = os.environ.get("CERTDESK_TEST_SCREENSHOTS")
    if not folder:
        return
    safe_name = re.sub(r"[^a-z0-9-]+", "-", name.lower())
    for width, height in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": height})
        for scheme in _SCHEMES:
            show_in(page, scheme)
            page.screenshot(path=Path(folder) / f"{safe_name}-{width}-{scheme}.png", full_page=True)
    page.set_viewport_size({"width": 1280, "height": WIDTHS[1280]})


def look_at(page: Page, name: str) -> None:
    """No violation of WCAG, and a picture."""
    assert_accessible(page)
    screenshot(page, name)
