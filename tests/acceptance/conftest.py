"""Fixtures of the stories that are told in a browser."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.acceptance.stories import Visitors
from tests.harness.server import DemoServer


@pytest.fixture(scope="module")
def visitors(browser: Browser, server: DemoServer) -> Visitors:
    """The people of one file's demo; their sessions last as long as its server."""
    return Visitors(browser=browser, server=server)


@pytest.fixture
def visit(visitors: Visitors) -> Iterator[Callable[..., Page]]:
    """Open a page as somebody: `visit("alice")`, `visit("alice", javascript=False)`, `visit(width=390)`.

    A script that fails, a broken policy, a missing file or a request to another host fails the test.
    """
    visitors.complaints.clear()
    yield visitors.visit
    visitors.close()
    assert not visitors.complaints, "\n".join(visitors.complaints)
