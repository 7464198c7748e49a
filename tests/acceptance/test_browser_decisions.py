"""Requests that need a human, in a real browser: evidence, approval, rejection, stale pages (R29 to R33)."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance import stories
from tests.acceptance.seed_support import AVAILABLE, REJECTED, WAITING, Staff, make_csr
from tests.acceptance.stories import new_name
from tests.harness.browser import screenshot
from tests.harness.server import DemoServer

pytestmark = pytest.mark.browser

Visit = Callable[..., Page]
CONFLICT = 409
UNPROCESSABLE = 422


def open_from_queue(officer: Page, number: int) -> None:
    """Find a request in the queue and open it."""
    officer.goto("/queue/")
    officer.get_by_role("link", name=str(number), exact=True).click()
    officer.wait_for_url(f"**/queue/{number}/")


def test_charlies_first_request_waits_and_olga_approves(visit: Visit, staff: Staff, tmp_path: Path) -> None:
    name = "www.other.ac.uk"
    csr = make_csr(tmp_path, name)
    charlie, olga = visit("charlie"), visit("olga")
    stories.preview(charlie, csr)
    expect(charlie.locator("[data-decision=manual]")).to_contain_text("first request")
    screenshot(charlie, "story-preview-manual")
    number = stories.confirm(charlie)
    stories.expect_status(charlie, WAITING)
    for code in ("organisation.first_request", "domain.not_validated"):
        expect(charlie.locator(f"[data-code='{code}']")).to_be_visible()
    screenshot(charlie, "story-waiting")

    olga.goto("/queue/")
    expect(olga.get_by_role("row", name=re.compile(rf"{number} .*{re.escape(name)}"))).to_contain_text(
        "Other College"
    )
    screenshot(olga, "queue-full")
    open_from_queue(olga, number)
    expect(olga.get_by_label("About this request")).to_contain_text("Other College")
    screenshot(olga, "queue-decide")
    olga.get_by_label("What you saw").fill("The registry names them.")  # half of it
    olga.get_by_role("button", name="Approve request").click()
    expect(olga.get_by_role("alert")).to_contain_text("Choose how it was checked")
    screenshot(olga, "queue-decide-problem")
    stories.fill_evidence(olga, "other.ac.uk")
    olga.get_by_label("How the organisation was vetted").fill("The register of colleges names it.")
    olga.get_by_label("Message to the applicant").fill("Known to us since 1994.")
    olga.get_by_role("button", name="Approve request").click()
    olga.wait_for_url(f"**/requests/{number}/")
    expect(olga.get_by_label("History")).to_contain_text("Known to us since 1994.")

    stories.expect_status(charlie, AVAILABLE)  # the page refreshes itself
    stories.assert_zip_proves_itself(stories.download(charlie, "Download .zip", tmp_path), csr, name)
    ready = staff.wait_for_mail(f"Request {number}", AVAILABLE)
    assert ready["To"] == "charlie@other.ac.uk"

    again = make_csr(tmp_path, new_name("other.ac.uk"))  # remembered: no human any more (R33)
    stories.ask(charlie, again)
    stories.expect_status(charlie, AVAILABLE)


def test_a_rejection_needs_details_and_they_reach_the_applicant(
    visit: Visit, server: DemoServer, staff: Staff, tmp_path: Path
) -> None:
    details = "The registry names somebody else. Ask them, or choose a name below other.ac.uk."
    charlie, olga = visit("charlie"), visit("olga", javascript=False)
    number = stories.ask(charlie, make_csr(tmp_path, new_name("rejected.org")))
    stories.expect_status(charlie, WAITING)
    open_from_queue(olga, number)
    olga.get_by_role("button", name="Reject request").click()
    expect(olga.get_by_role("alert")).to_contain_text("Write why the request is rejected")
    olga.get_by_label("Details for the applicant").fill("   ")
    olga.get_by_role("button", name="Reject request").click()
    expect(olga.get_by_role("alert")).to_contain_text("Write why the request is rejected")
    charlie.reload()
    stories.expect_status(charlie, WAITING)
    olga.get_by_label("Details for the applicant").fill(details)
    olga.get_by_role("button", name="Reject request").click()
    olga.wait_for_url(f"**/requests/{number}/")

    stories.expect_status(charlie, REJECTED)
    expect(charlie.get_by_text(details).first).to_be_visible()
    expect(charlie.get_by_role("link", name="Download .zip")).to_have_count(0)
    screenshot(charlie, "story-rejected")
    mail = staff.wait_for_mail(f"{server.base_url}/requests/{number}/", "The registry names somebody else.")
    assert (mail["To"], REJECTED in mail["Subject"]) == ("charlie@other.ac.uk", True)


@pytest.mark.parametrize("button", ["Approve request", "Reject request"])
def test_a_stale_page_changes_nothing_and_explains(visit: Visit, tmp_path: Path, button: str) -> None:
    alice, olga, otto = visit("alice"), visit("olga"), visit("otto")
    domain = new_name("stale.org").replace(".stale", "-stale")
    number = stories.ask(alice, make_csr(tmp_path, f"www.{domain}"))
    for officer in (olga, otto):
        open_from_queue(officer, number)
        stories.fill_evidence(officer, domain)
        officer.get_by_label("Details for the applicant").fill("Otto was slower.")
    olga.get_by_role("button", name="Approve request").click()
    olga.wait_for_url(f"**/requests/{number}/")
    with otto.expect_response(re.compile(rf"/queue/{number}/(approve|reject)/")) as answered:
        otto.get_by_role("button", name=button).click()
    assert answered.value.status == CONFLICT
    alert = otto.get_by_role("alert")
    expect(alert).to_contain_text("This request has changed since you opened the page")
    expect(alert).to_contain_text("Approved by olga")
    expect(alert).to_contain_text("Nothing was done")
    if button == "Reject request":
        expect(alert).to_contain_text("Otto was slower.")
    screenshot(otto, "stale-decision")
    alice.goto(f"/requests/{number}/")
    stories.expect_status(alice, AVAILABLE)
    expect(alice.get_by_text("Otto was slower.")).to_have_count(0)


def test_ops_home_works_and_leads_somewhere(visit: Visit) -> None:
    op = visit("op")
    op.goto("/")
    expect(op.get_by_role("heading", level=1)).to_contain_text("Op")
    links = op.locator("main a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    assert links
    for link in links:
        assert op.request.get(link).status == 200, link
