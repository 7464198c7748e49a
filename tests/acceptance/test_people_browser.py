"""People in a browser: invited, signed in, requesting, handing over."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance import stories
from tests.acceptance.seed_support import AVAILABLE, Staff, body, make_csr, new_name
from tests.harness.browser import look_at
from tests.harness.server import DemoServer

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Visit = Callable[..., Page]
PAGE = "/organisations/example-university/"


def invite(manager: Page, username: str, name: str) -> str:
    """Add a person, and return the password that is shown this once."""
    manager.goto(PAGE)
    return stories.invite(manager, username, name)


def sign_in(page: Page, username: str, password: str) -> None:
    """Sign in on the portal's page."""
    page.goto("/accounts/login/")
    page.locator("[name=login]").fill(username)
    page.locator("[name=password]").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def test_r8_r38_an_invited_person_changes_the_password_and_requests(visit: Visit, tmp_path: Path) -> None:
    meg, pia = visit("meg"), visit()
    meg.goto("/organisations/")
    meg.wait_for_url(f"**{PAGE}")
    for username in ("alice", "bob", "meg"):
        expect(meg.get_by_label("People", exact=True)).to_contain_text(username)
    issued = invite(meg, "pia", "Pia Person")
    look_at(meg, "people-invited")
    sign_in(pia, "pia", issued)
    pia.wait_for_url("**/accounts/password/change/")
    chosen = "several unrelated words of pia"
    pia.get_by_label("Current password").fill(issued)
    pia.get_by_label("New password", exact=True).fill(chosen)
    pia.get_by_label("New password again").fill(chosen)
    pia.get_by_role("button", name="Change password").click()
    pia.wait_for_url(lambda url: "/password/change/" not in url)
    stories.ask(pia, make_csr(tmp_path, new_name()))
    stories.expect_status(pia, AVAILABLE)


def test_an_invited_person_follows_the_link_in_the_mail(visit: Visit, server: DemoServer) -> None:
    meg, quinn = visit("meg"), visit()
    invite(meg, "quinn", "Quinn Question")
    mail = body(Staff(server).wait_for_mail("/accounts/invitation/", "quinn"))
    address = mail[mail.index("/accounts/invitation/") :].split()[0]
    quinn.goto(address)
    look_at(quinn, "invitation")
    quinn.get_by_label("New password", exact=True).fill("short")
    quinn.get_by_label("New password again").fill("short")
    quinn.get_by_role("button", name="Set my password").click()
    expect(quinn.get_by_role("alert")).to_contain_text("15")
    chosen = "several unrelated words of quinn"
    quinn.get_by_label("New password", exact=True).fill(chosen)
    quinn.get_by_label("New password again").fill(chosen)
    quinn.get_by_role("button", name="Set my password").click()
    quinn.wait_for_url("**/accounts/login/")
    expect(quinn.get_by_role("status")).to_contain_text("Sign in as quinn")
    sign_in(quinn, "quinn", chosen)
    expect(quinn.get_by_role("heading", level=1)).to_contain_text("Quinn")
    quinn.goto("/accounts/tokens/")
    quinn.get_by_label("Name", exact=True).fill("backup script")
    quinn.get_by_role("button", name="Make the token").click()
    expect(quinn.locator(".secret")).to_contain_text("cdk_")
    look_at(quinn, "token-made")
    assert quinn.goto(address).status == 404  # type: ignore[union-attr] # there is an answer


def test_r38_meg_hands_over_and_her_access_ends(visit: Visit, server: DemoServer) -> None:
    olga, mia, meg = visit("olga"), visit(), visit("meg")
    issued = invite(meg, "mia", "Mia Manager")
    meg.goto(PAGE)
    meg.get_by_label("People", exact=True).get_by_text("Change Mia Manager").click()
    look_at(meg, "people-change")
    meg.get_by_role("button", name=re.compile("Make a manager ?: Mia Manager")).click()
    expect(meg.get_by_role("status")).to_contain_text("mia is a manager now")
    meg.get_by_text("Someone leaves").click()
    look_at(meg, "people-hand-over")
    expect(meg.get_by_label("Who leaves")).to_contain_text("(meg)")  # she is chosen already
    meg.get_by_label("Who takes over").select_option(label="Mia Manager (mia)")
    meg.get_by_role("button", name="Hand over and end access").click()
    meg.wait_for_url("**/accounts/login/**")
    del server.sessions["meg"]  # it ended with her access, and the next visit signs in anew

    olga.goto(PAGE)
    row = olga.get_by_role("row").filter(has_text="mia@example.ac.uk")
    expect(row).to_contain_text("Manager")
    gone = olga.get_by_role("row").filter(has_text="Enable again")
    expect(gone).to_contain_text("meg")
    look_at(olga, "organisation-for-officers")
    sign_in(mia, "mia", issued)
    mia.wait_for_url("**/accounts/password/change/")
    # The other stories of this server need meg as she was.
    gone.get_by_role("button", name=re.compile("Enable again")).click()
    olga.get_by_text("Change Meg").click()
    olga.get_by_role("button", name=re.compile("Make a manager ?: Meg")).click()
    expect(olga.get_by_role("status")).to_contain_text("meg is a manager now")
