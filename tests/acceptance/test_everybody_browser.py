"""A working day of each account of the demo, in a browser, with what is typical of it.

One test for each person, named after it. The CA behaves as the beginning of a host name says, so that its
delays and refusals are part of the day. What the parts of the day show in detail has files of its own.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance import stories
from tests.acceptance.looks import assert_well_made
from tests.acceptance.seed_support import (
    AVAILABLE,
    BY_CA,
    REFUSED,
    REJECTED,
    WAITING,
    WITHDRAWN,
    make_csr,
    new_name,
)
from tests.harness.browser import look_at
from tests.harness.fixtures import DemoWith
from tests.harness.server import DemoServer

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Visit = Callable[..., Page]
NOT_FOR_RICK = re.compile("Withdraw|Decide|Add |Request a certificate")


@pytest.fixture(scope="module")
def server(demo_with: DemoWith) -> Iterator[DemoServer]:
    """A demo whose CA delays and refuses by the name of the host."""
    with demo_with(CERTDESK_DEMO_CA="scripted") as running:
        yield running


def test_every_account_of_the_demo_has_its_day(server: DemoServer) -> None:
    told = {name.split("_")[1] for name in globals() if re.fullmatch(r"test_[a-z]+_s_day_\w+", name)}
    assert told == set(server.demo.passwords)


def ask(page: Page, folder: Path, *names: str) -> int:
    """From the form to the request; its number."""
    return stories.ask(page, make_csr(folder, *names))


def go(page: Page, link: str) -> None:
    """By the menu, as a person would."""
    page.get_by_role("navigation").get_by_role("link", name=re.compile(rf"^{link}\b")).first.click()
    assert_well_made(page)


def find(page: Page, words: str, number: int) -> None:
    """Search the list for a certificate that is ready, and open its request."""
    go(page, "Certificates")
    page.get_by_label("Search").fill(words)
    page.get_by_role("button", name="Show").click()
    page.get_by_role("link", name=str(number), exact=True).click()
    stories.expect_status(page, AVAILABLE)


def test_alice_s_day_certificates_slow_refused_and_at_once(visit: Visit, tmp_path: Path) -> None:
    alice = visit("alice")
    alice.goto("/")
    go(alice, "Help")
    alice.get_by_label("Search", exact=False).first.fill("CSR nginx")
    alice.get_by_role("button", name="Search").first.click()
    expect(alice.get_by_role("main")).to_contain_text("nginx")

    slow, refused = new_name(prefix="slow-"), new_name(prefix="refuse-")
    waits = ask(alice, tmp_path, slow)
    stories.expect_status(alice, BY_CA)
    expect(alice.get_by_role("main")).to_contain_text("This CA usually takes")
    ask(alice, tmp_path, refused)
    stories.expect_status(alice, REFUSED)
    expect(alice.get_by_role("main")).to_contain_text("on this CA's list of risks")

    name = new_name()
    csr = make_csr(tmp_path, name)
    stories.ask(alice, csr)
    stories.expect_status(alice, AVAILABLE)
    stories.assert_zip_proves_itself(stories.download(alice, "Download .zip", tmp_path), csr, name)
    another = make_csr(tmp_path, name)
    alice.get_by_role("link", name="Request another certificate").click()
    assert_well_made(alice)
    stories.by_paste(alice, another)
    alice.get_by_role("button", name="Upload CSR and preview").click()
    expect(alice.get_by_role("heading", level=1)).to_have_text("Check the certificate")
    look_at(alice, "another-preview")
    alice.get_by_role("button", name="Get the certificate").click()
    expect(alice.get_by_role("status").first).to_contain_text("The new certificate is ready")
    shutil.rmtree(next(tmp_path.glob("*-20??-??-??")))
    stories.assert_zip_proves_itself(stories.download(alice, "Download .zip", tmp_path), another, name)
    go(alice, "Certificates")
    expect(alice.get_by_role("row", name=re.compile(rf"^{waits} "))).to_contain_text(BY_CA)


def test_bob_s_day_goes_on_with_what_alice_asked_for(visit: Visit, tmp_path: Path) -> None:
    name = new_name()
    csr = make_csr(tmp_path, name)
    number = stories.ask(visit("alice"), csr)
    bob = visit("bob")
    bob.goto("/")
    find(bob, name, number)
    expect(bob.get_by_label("About this request")).to_contain_text("alice")
    expect(bob.get_by_role("link", name="Withdraw this request")).to_have_count(0)
    stories.assert_zip_proves_itself(stories.download(bob, "Download .zip", tmp_path), csr, name)


def test_meg_s_day_people_domains_and_a_request_taken_back(visit: Visit, tmp_path: Path) -> None:
    number = ask(visit("alice"), tmp_path, new_name("taken-back.org"))
    meg = visit("meg")
    meg.goto(f"/requests/{number}/")
    meg.get_by_role("link", name="Withdraw this request").click()
    meg.get_by_role("button", name="Withdraw request").click()
    stories.expect_status(meg, WITHDRAWN)
    expect(meg.get_by_role("link", name="Withdraw this request")).to_have_count(0)
    go(meg, "Domains")
    expect(meg.get_by_role("row", name=re.compile("example.ac.uk")).first).to_contain_text("Validated")
    go(meg, "Organisation")
    stories.invite(meg, "nora", "Nora New")
    meg.goto("/organisations/example-university/")
    meg.get_by_text("Change Nora New").click()
    meg.get_by_role("button", name=re.compile("Disable")).first.click()
    expect(meg.get_by_role("status").first).to_contain_text("The person is disabled")
    expect(meg.get_by_role("row", name=re.compile("Nora New"))).to_contain_text("Disabled")


def test_charlie_s_day_waits_for_an_officer_and_sees_no_other_organisation(
    visit: Visit, tmp_path: Path
) -> None:
    own = new_name()
    foreign = ask(visit("alice"), tmp_path, own)
    charlie = visit("charlie")
    charlie.goto("/")
    expect(charlie.get_by_role("main")).not_to_contain_text("Example University")
    number = ask(charlie, tmp_path, new_name("other.ac.uk"))
    stories.expect_status(charlie, WAITING)
    expect(charlie.locator("[data-code='organisation.first_request']")).to_be_visible()
    answer = charlie.goto(f"/requests/{foreign}/")
    assert answer is not None
    assert answer.status == 404
    expect(charlie.get_by_role("heading", level=1)).to_have_text("There is nothing here")
    expect(charlie.locator("body")).not_to_contain_text(own)
    charlie.goto("/")
    go(charlie, "Certificates")
    expect(charlie.get_by_role("link", name=str(number), exact=True)).to_be_visible()
    expect(charlie.get_by_role("main")).not_to_contain_text(own)


def test_olga_s_day_vets_an_organisation_and_approves_with_evidence(visit: Visit, tmp_path: Path) -> None:
    number = ask(visit("alice"), tmp_path, new_name("evidence-day.org"))
    olga = visit("olga")
    olga.goto("/")
    go(olga, "Queue")
    olga.get_by_role("link", name=str(number), exact=True).click()
    stories.fill_evidence(olga, "evidence-day.org")
    olga.get_by_role("button", name="Approve request").click()
    olga.wait_for_url(f"**/requests/{number}/")
    stories.expect_status(olga, AVAILABLE)
    go(olga, "Domains")
    olga.get_by_role("link", name="evidence-day.org", exact=True).click()
    olga.get_by_text("Evidence", exact=True).first.click()
    expect(olga.get_by_role("main")).to_contain_text("The registry names them as the holder, today.")

    go(olga, "Organisations")
    olga.get_by_role("link", name=re.compile("Add an organisation|New organisation|Add")).first.click()
    olga.get_by_label("Legal name").fill("College of the Day")
    olga.get_by_label("Short name").fill("day-college")
    olga.get_by_label("Country").fill("GB")
    olga.get_by_role("button", name=re.compile("Add")).click()
    olga.wait_for_url("**/organisations/day-college/")
    vetting = olga.locator("form").filter(has=olga.get_by_role("button", name="Mark as vetted"))
    vetting.get_by_label("How it was checked").fill("Named in the register of colleges, today.")
    olga.get_by_role("button", name="Mark as vetted").click()
    expect(olga.get_by_label("History", exact=True)).to_contain_text("Named in the register of colleges")
    stories.invite(olga, "dana", "Dana Day", role="manager")


def test_otto_s_day_rejects_asks_the_ca_and_sends_again(visit: Visit, tmp_path: Path) -> None:
    alice, otto = visit("alice"), visit("otto")
    outside = ask(alice, tmp_path, new_name("not-theirs.org"))
    slow = ask(alice, tmp_path, new_name(prefix="slow-"))
    refused = ask(alice, tmp_path, new_name(prefix="refuse-"))
    stories.expect_status(alice, REFUSED)

    otto.goto("/")
    go(otto, "Queue")
    otto.get_by_role("link", name=str(outside), exact=True).click()
    otto.get_by_label("Details for the applicant").fill("The registry names somebody else.")
    otto.get_by_role("button", name="Reject request").click()
    stories.expect_status(otto, REJECTED)

    otto.goto(f"/requests/{slow}/")
    stories.expect_status(otto, BY_CA)
    otto.get_by_role("button", name="Ask the CA now").click()
    expect(otto.get_by_role("status").first).to_contain_text("We are asking the CA now")

    otto.goto(f"/requests/{refused}/")
    otto.get_by_label("Note").fill("The CA has taken the name off its list.")
    otto.get_by_role("button", name="Send to the CA again").click()
    expect(otto.get_by_label("History")).to_contain_text("The CA has taken the name off its list.")
    alice.goto(f"/requests/{refused}/")
    expect(alice.get_by_label("History")).to_contain_text("The CA has taken the name off its list.")
    expect(alice.get_by_role("button", name="Send to the CA again")).to_have_count(0)


def test_rick_s_day_reads_who_decided_on_what_and_changes_nothing(visit: Visit, tmp_path: Path) -> None:
    domain = "audited-day.org"
    alice, otto = visit("alice"), visit("otto")
    number, waiting = ask(alice, tmp_path, new_name(domain)), ask(alice, tmp_path, new_name("audited.org"))
    otto.goto(f"/queue/{number}/")
    stories.fill_evidence(otto, domain)
    otto.get_by_role("button", name="Approve request").click()
    otto.wait_for_url(f"**/requests/{number}/")

    rick = visit("rick")
    rick.goto("/")
    find(rick, domain, number)
    expect(rick.get_by_role("main")).to_contain_text("Approved by otto")
    go(rick, "Domains")
    rick.get_by_role("link", name=domain, exact=True).click()
    rick.get_by_text("Evidence", exact=True).first.click()
    expect(rick.get_by_role("main")).to_contain_text("The registry names them as the holder, today.")
    go(rick, "Settings")
    for address in (
        *("/", f"/requests/{number}/", f"/requests/{waiting}/", "/domains/", "/settings/"),
        *("/organisations/", "/organisations/example-university/", "/organisations/other-college/"),
    ):
        answer = rick.goto(address)
        assert answer is not None
        assert answer.status == 200, address
        # Signing out and searching are his own business; nothing else may be sent from any page.
        assert rick.locator("form[method=post]:not([action='/accounts/logout/'])").count() == 0, address
        expect(rick.get_by_role("link", name=NOT_FOR_RICK)).to_have_count(0)


def test_op_s_day_sets_the_contact_and_sees_no_request(visit: Visit, tmp_path: Path) -> None:
    alice, op = visit("alice"), visit("op")
    number = ask(alice, tmp_path, new_name())
    op.goto("/")
    links = op.locator("main a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    assert links
    for link in links:
        assert op.request.get(link).status == 200, link
    go(op, "Service")
    expect(op.get_by_role("main")).to_contain_text("Working")
    go(op, "Settings")
    op.get_by_label("Contact of the RA team").fill("jtag")
    op.get_by_role("button", name="Save the settings").click()
    expect(op.get_by_role("alert")).to_contain_text("Give an e-mail address")
    look_at(op, "settings-problem")
    op.get_by_label("Contact of the RA team").fill("jtag@ra.example.ac.uk")
    op.get_by_role("button", name="Save the settings").click()
    expect(op.get_by_role("main")).to_contain_text("none → jtag@ra.example.ac.uk")
    alice.goto("/help/certificates/")
    link = alice.get_by_role("contentinfo").get_by_role("link", name="Contact JTAG")
    expect(link).to_have_attribute("href", "mailto:jtag@ra.example.ac.uk")
    answer = op.goto(f"/requests/{number}/")
    assert answer is not None
    assert answer.status == 404
