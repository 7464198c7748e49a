"""Alice proves domains by DNS in a browser: copying, checking, a record that stays and one that vanishes."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.stories import validated_by_olga
from tests.harness.browser import assert_accessible, look_at, screenshot
from tests.harness.fixtures import DemoWith
from tests.harness.responder import Responder, responder
from tests.harness.server import DemoServer
from tests.harness.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow]
NEW = "new.example.org"


@pytest.fixture(scope="module")
def dns() -> Iterator[Responder]:
    """The name server that the demo asks."""
    with responder() as one:
        yield one


@pytest.fixture(scope="module")
def server(demo_with: DemoWith, dns: Responder) -> Iterator[DemoServer]:
    """A demo that asks it."""
    with demo_with(CERTDESK_DNS_SERVERS=f'["{dns.address}"]') as running:
        yield running


def add(page: Page, name: str) -> None:
    """Lists a domain."""
    page.goto("/domains/")
    page.get_by_role("textbox", name="Domain").fill(name)
    page.get_by_role("button", name="Add domain").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)


def choose(page: Page, way: str, button: str) -> None:
    """Opens a way and begins with it."""
    page.locator("details.way > summary", has_text=way).click()
    page.get_by_role("button", name=re.compile(f"^{button}.*{way}$")).click()
    expect(page.get_by_role("heading", name="Under way")).to_be_visible()


def shown(page: Page, label: str) -> str:
    """What stands beside a copy button."""
    return page.locator(f"code[data-copy='{label}']").first.inner_text()


def check_now(page: Page) -> None:
    """Presses the button."""
    page.get_by_role("button", name=re.compile("^Check now")).first.click()


def test_a_domain_is_proven_by_a_txt_record(visit, dns: Responder) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001 - as in every story
    alice = visit("alice")
    add(alice, NEW)
    look_at(alice, "domain-ways")
    choose(alice, "DNS TXT record", "Make the value")
    name, value = shown(alice, "name"), shown(alice, "value")
    assert name == f"_certdesk-challenge.{NEW}"
    assert alice.get_by_role("button", name="Copy value").is_visible()
    check_now(alice)
    expect(alice.get_by_text("Not found yet.")).to_be_visible()
    expect(alice.get_by_text("Looked and not found: DNS TXT record")).to_be_visible()
    look_at(alice, "domain-under-way")
    dns.records[name, "TXT"] = [f'"{value}"']

    def is_found() -> bool:
        """Looks at one challenge keep a distance of seconds, whoever asks."""
        if alice.get_by_text("a moment ago").count() or alice.get_by_text("Not found yet.").count():
            check_now(alice)
        return bool(alice.get_by_text(f"Found: {NEW} is validated.").count())

    wait_until(is_found, seconds=20, what="the proof")
    expect(alice.locator(".pill.large")).to_have_text("Validated")
    expect(alice.get_by_role("heading", name="For public CAs", exact=True)).to_be_visible()
    look_at(alice, "domain-proven")


def test_a_persistent_record_without_a_script_and_what_the_list_says(visit, dns: Responder) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001 - as in every story
    alice = visit("alice", javascript=False)
    add(alice, "stays.example.org")
    choose(alice, "Persistent DNS record", "Show the record")
    name, value = shown(alice, "name"), shown(alice, "value")
    assert value.endswith("; policy=wildcard")
    dns.records[name, "TXT"] = [f'"{value}"']
    here = alice.url

    def is_seen() -> bool:
        """We look by ourselves as well, and whoever is faster finds it."""
        alice.goto(here)
        if alice.get_by_text("renews automatically").count():
            return True
        check_now(alice)
        return False

    wait_until(is_seen, seconds=20, what="the record to be seen")
    screenshot(alice, "domain-persistent")  # axe needs scripts
    alice.goto("/domains/")
    row = alice.get_by_role("row", name=re.compile("stays.example.org"))
    expect(row).to_contain_text("Renews automatically")
    screenshot(alice, "domains-list")


def test_a_list_of_many_shows_what_lapses_when(visit, server: DemoServer) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001 - as in every story
    for n in range(4):
        validated_by_olga(server, f"n{n}.example.org")
    alice = visit("alice")
    alice.goto("/domains/")
    expect(alice.get_by_role("img", name=re.compile("Validations that lapse"))).to_be_visible()
    alice.get_by_text("The same as a table").click()
    look_at(alice, "domains-many")
    alice.set_viewport_size({"width": 390, "height": 844})
    assert alice.evaluate("document.documentElement.scrollWidth") <= 390
    assert_accessible(alice)


def test_an_officer_ends_a_validation(visit, server: DemoServer) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001 - as in every story
    validated_by_olga(server, "sold.example.org")
    olga = visit("olga")
    olga.goto("/domains/?q=sold.example.org")
    olga.get_by_role("link", name="sold.example.org").click()
    olga.get_by_role("link", name=re.compile("^End validation")).click()
    look_at(olga, "domain-end")
    olga.get_by_role("textbox", name="Reason").fill("The domain was sold.")
    olga.get_by_role("button", name="End validation").click()
    expect(olga.get_by_text("Its validation was ended by olga")).to_be_visible()
    look_at(olga, "domain-ended")
