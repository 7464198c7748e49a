"""Every fixture of the harness; `tests/conftest.py` offers them to all tests.

The browser lives for one test file, not for the whole run: while Playwright's loop stands, Django refuses
to touch the database in the same thread, and other files do so.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.harness.browser import FLAGS, TIMEOUT_MS, WIDTHS, find_chromium
from tests.harness.dns_world import dns_world
from tests.harness.nameserver import NameServers, missing_programs
from tests.harness.postgres import Cluster, find_programs, start_cluster
from tests.harness.server import DemoServer, running_demo

#: `with demo_with(CERTDESK_SUPPORT_URL=…) as server:`
DemoWith = Callable[..., AbstractContextManager[DemoServer]]


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """A PostgreSQL server for this run; the test is skipped where PostgreSQL is not installed."""
    if find_programs() is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    cluster = start_cluster()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def demo_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a demo that was made once for the whole run: copying it saves making it anew.

    Workers of xdist share it; whoever comes first makes it.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own
    made = shared / "demo-template" / "var"
    with (shared / "demo-template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made / "demo.json").exists():
            first = DemoServer(data=made)
            try:
                first.start()
            finally:
                first.stop()
    return made


@pytest.fixture(scope="session")
def name_servers() -> Iterator[NameServers]:
    """Knot and unbound with the zones of `dns_world`; skipped where they are not installed."""
    missing = missing_programs()
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed (Debian: apt-get install knot unbound)")
    running = dns_world()
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def demo_with(tmp_path_factory: pytest.TempPathFactory, demo_template: Path) -> DemoWith:
    """Start a demo with further settings, on a copy of the data that were made without them."""

    @contextmanager
    def run(**settings: str) -> Iterator[DemoServer]:
        data = tmp_path_factory.mktemp("demo") / "var"
        with running_demo(data, template=demo_template, extra=settings) as running:
            yield running

    return run


@pytest.fixture
def start_server(tmp_path: Path, demo_template: Path) -> Iterator[Callable[..., DemoServer]]:
    """Start further instances, each with data of its own: `start_server(database_url=…, extra={…})`.

    They are killed at the end of the test, whatever became of it.
    """
    started: list[DemoServer] = []

    def start(*, database_url: str | None = None, extra: dict[str, str] | None = None) -> DemoServer:
        data = tmp_path / f"server-{len(started)}"
        if database_url is None and not extra:
            shutil.copytree(demo_template, data)
        one = DemoServer(data=data, database_url=database_url, extra=extra or {})
        started.append(one)
        one.start()
        return one

    yield start
    for one in started:
        one.kill9()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; the test is skipped where it is not installed."""
    program = find_chromium()
    if program is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=FLAGS, headless=True)
        yield running
        running.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A visitor with no cookies, under the site's own Content-Security-Policy."""
    visitor = browser.new_context(
        viewport={"width": 1280, "height": WIDTHS[1280]}, locale="en-GB", accept_downloads=True
    )
    visitor.set_default_timeout(TIMEOUT_MS)
    yield visitor
    visitor.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page on which no script may fail and no policy may be broken: either fails the test."""
    complaints: list[str] = []
    opened = context.new_page()
    opened.on("pageerror", lambda error: complaints.append(f"script error: {error}"))
    opened.on(
        "console",
        lambda message: (
            complaints.append(message.text) if "Content Security Policy" in message.text else None
        ),
    )
    yield opened
    assert not complaints, complaints
