"""Charlie's first certificate in a browser: an officer says yes, the domain's own people confirm."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance import stories
from tests.acceptance.seed_support import AVAILABLE, WAITING, Csr, Staff, body, make_csr
from tests.harness.browser import look_at, screenshot
from tests.harness.server import DemoServer
from tests.harness.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Visit = Callable[..., Page]
BOX = "hostmaster@other.ac.uk"


def mails_to(server: DemoServer, address: str) -> list[str]:
    """The bodies of the mails to one address, oldest first."""
    return [body(one) for one in Staff(server).mail() if one["To"] == address]


def ask_for_the_first_time(charlie: Page, csr: Csr) -> int:
    """The request that waits for an officer."""
    charlie.goto("/domains/")
    stories.preview(charlie, csr)
    look_at(charlie, "dcv-preview")
    number = stories.confirm(charlie)
    stories.expect_status(charlie, WAITING)
    return number


def approve_without_evidence(olga: Page, number: int) -> None:
    """The officer knows the college, and leaves the domain to its own people."""
    olga.goto(f"/queue/{number}/")
    expect(olga.get_by_text("Leave this empty to have the domain’s own people confirm")).to_be_visible()
    olga.get_by_label("How the organisation was vetted").fill("The register of colleges names it.")
    olga.get_by_role("button", name="Approve request").click()
    olga.wait_for_url(re.compile(rf"/requests/{number}/$"))


def choose_a_mailbox(charlie: Page) -> None:
    """On the page that has turned by itself."""
    stories.expect_status(charlie, "Waiting for someone at other.ac.uk to confirm")
    look_at(charlie, "dcv-request-choose")
    charlie.get_by_label("Mailbox to ask").select_option(BOX)
    charlie.get_by_role("button", name="Send the mail").click()
    stories.expect_status(charlie, f"Waiting for {BOX} to confirm.")
    expect(charlie.get_by_text(f"We emailed {BOX}")).to_be_visible()
    look_at(charlie, "dcv-request-asked")


def link_and_code(server: DemoServer) -> tuple[str, str]:
    """From the one mail that went to the mailbox."""
    wait_until(lambda: bool(mails_to(server, BOX)), what="the mail")
    (mail,) = mails_to(server, BOX)
    (link,) = re.findall(rf"{re.escape(server.base_url)}/dcv/[A-Z2-7]{{52}}/", mail)
    (code,) = re.findall(r"(?:[A-Z2-7]{4}-){12}[A-Z2-7]{4}", mail)
    return link, code


def open_by_code_and_by_link(reader: Page, link: str, code: str) -> None:
    """Both show the same, and nothing has happened."""
    reader.goto("/dcv/")
    reader.get_by_label("Code from the mail").fill(code.lower())
    reader.get_by_role("button", name="Show what it confirms").click()
    expect(reader.get_by_role("heading", level=1)).to_contain_text("May Other College have certificates")
    reader.goto(link)
    expect(reader.get_by_role("heading", level=1)).to_contain_text("other.ac.uk")
    look_at(reader, "dcv-confirm")


def test_r4_charlies_first_certificate(visit: Visit, server: DemoServer, tmp_path: Path) -> None:
    csr = make_csr(tmp_path, "www.other.ac.uk")
    charlie, olga, reader = visit("charlie"), visit("olga"), visit()
    approve_without_evidence(olga, ask_for_the_first_time(charlie, csr))
    choose_a_mailbox(charlie)
    link, code = link_and_code(server)
    open_by_code_and_by_link(reader, link, code)
    stories.expect_status(charlie, f"Waiting for {BOX} to confirm.")
    reader.get_by_role("button", name="Confirm other.ac.uk").click()
    expect(reader.get_by_role("heading", level=1)).to_have_text("Confirmed: thank you")
    look_at(reader, "dcv-done")

    expect(charlie.locator("#status")).to_contain_text(AVAILABLE, timeout=40_000)
    bundle = stories.download(charlie, "Download .zip", tmp_path)
    stories.assert_zip_proves_itself(bundle, csr, "www.other.ac.uk")

    reader.goto(link)
    expect(reader.get_by_role("heading", level=1)).to_have_text("This code is not valid")
    look_at(reader, "dcv-gone")
    look_at_the_domain(charlie, olga)


def look_at_the_domain(charlie: Page, olga: Page) -> None:
    """The proof is on the domain's page; its evidence is for the RA."""
    charlie.goto("/domains/")
    charlie.get_by_role("link", name="other.ac.uk", exact=True).click()
    expect(charlie.get_by_text("Confirmed by e-mail").first).to_be_visible()
    olga.goto(charlie.url)
    olga.get_by_text("Evidence", exact=True).click()
    expect(olga.get_by_text(f"a 256-bit random value was mailed to {BOX}")).to_be_visible()
    olga.get_by_text("Validate by hand").click()
    look_at(olga, "dcv-domain-officer")
    olga.goto("/domains/")


def test_r4_asking_again_and_cancelling_without_a_script(visit: Visit, server: DemoServer) -> None:
    alice = visit("alice", javascript=False)
    alice.goto("/domains/")
    alice.get_by_label("Domain", exact=True).fill("new.example.com")
    alice.get_by_role("button", name="Add domain").click()
    alice.locator("details.way > summary", has_text="E-mail").click()
    alice.get_by_label("Mailbox to ask").select_option("postmaster@example.com")
    alice.get_by_role("button", name="Send the mail").click()
    expect(alice.get_by_role("heading", level=1)).to_have_text("example.com")
    alice.get_by_role("button", name="Send again").click()
    expect(alice.get_by_text("We emailed postmaster@example.com")).to_be_visible()
    assert len(mails_to(server, "postmaster@example.com")) == 2
    screenshot(alice, "dcv-domain-asked")
    alice.get_by_role("button", name="Cancel").click()
    expect(alice.get_by_text("The confirmation is cancelled")).to_be_visible()
    expect(alice.get_by_role("button", name="Send again")).to_have_count(0)
