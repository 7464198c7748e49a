"""The page of findings in a browser: nothing to decide, several, and a decision by keyboard alone."""

import re

import pytest
from playwright.sync_api import expect

from tests.acceptance.looks import examine
from tests.acceptance.test_browser_pages import Visit, tab_to
from tests.acceptance.test_crash import run_script
from tests.harness.server import DemoServer

pytestmark = pytest.mark.slow
PAGE = "/service/cas/reconciliation/"


def test_an_operator_decides_about_what_only_the_ca_has(visit: Visit, server: DemoServer) -> None:
    operator, auditor = visit("op"), visit("rick")
    operator.goto("/service/cas/")
    operator.get_by_role("link", name="Reconciliation").click()
    expect(operator.get_by_role("heading", name="Nothing to decide")).to_be_visible()
    examine(operator, "reconciliation-empty")
    more = {"DATABASE_URL": server.database_url} if server.database_url else {}
    run_script("restored", server.data, "behind", "shop.example.ac.uk", "www.nobody.example.net", **more)
    assert run_script("restored", server.data, "reconcile", **more)["exit"] == 1

    # An auditor reads, from a room of their own.
    auditor.goto("/")
    auditor.get_by_role("navigation").get_by_role("link", name="CAs").click()
    expect(auditor.get_by_role("row").filter(has_text="shop.example.ac.uk")).to_be_visible()
    expect(auditor.get_by_text("Revoke at the CA")).to_have_count(0)
    examine(auditor, "reconciliation-auditor")

    # By keyboard: revoke the one, which takes a second step, and keep the other.
    operator.reload()
    examine(operator, "reconciliation-full")
    row = operator.get_by_role("row").filter(has_text="www.nobody.example.net")
    tab_to(operator, row.locator("summary").filter(has_text="Revoke at the CA"))
    operator.keyboard.press("Enter")
    tab_to(operator, row.get_by_label("Reason").first)
    operator.keyboard.type("Nobody knows it.")
    examine(operator, "reconciliation-asked")
    tab_to(operator, row.get_by_role("button", name=re.compile("^Revoke certificate")))
    operator.keyboard.press("Enter")
    expect(operator.get_by_role("status")).to_contain_text("The CA has revoked the certificate.")
    row = operator.get_by_role("row").filter(has_text="shop.example.ac.uk")
    tab_to(operator, row.locator("summary").filter(has_text="Keep it"))
    operator.keyboard.press("Enter")
    tab_to(operator, row.get_by_label("Reason").last)
    operator.keyboard.type("The shop is moved here in January.")
    operator.keyboard.press("Enter")
    expect(operator.get_by_role("heading", name="Nothing to decide")).to_be_visible()
    operator.get_by_role("link", name="Closed").click()
    expect(operator.get_by_text("The shop is moved here in January.")).to_be_visible()
    examine(operator, "reconciliation-closed")
