"""Rows that are about a browser: files, drag and drop, pasted paths, double clicks."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.seed_support import AVAILABLE, Csr, Staff, make_csr, new_name
from tests.harness.browser import screenshot, sign_in
from tests.harness.environment import certdesk
from tests.harness.server import DemoServer

pytestmark = pytest.mark.browser
DROP = """([content, name]) => {
    const transfer = new DataTransfer();
    const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
    transfer.items.add(new File([bytes], name, {type: "application/pkcs10"}));
    return transfer;
}"""
PATHS = (
    r"C:\Users\alice\server.csr",
    "/etc/ssl/server.csr",
    "~/server.csr",
    r"\\files\alice\my.csr",
    "a.csr",
)


def open_form(page: Page, server: DemoServer) -> None:
    """The form of a new request, as alice."""
    sign_in(page, server, "alice")
    page.goto(f"{server.base_url}/requests/new/")


def go_on(page: Page) -> None:
    """Choose what else there is to choose, and preview."""
    page.get_by_label("1 year").check()
    page.get_by_label("Server software").select_option("nginx")
    page.get_by_role("button", name="Upload CSR and preview").click()


def saved(csr: Csr, form: str) -> Path:
    """The CSR as a `.csr` file in PEM or DER."""
    if form == "PEM":
        return csr.path
    binary = csr.path.with_name(f"binary-{csr.path.name}")
    binary.write_bytes(csr.der)
    return binary


@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_r10_choose_a_csr_file(page: Page, server: DemoServer, tmp_path: Path, form: str) -> None:
    name = new_name()
    open_form(page, server)
    page.get_by_label("Choose the file, or drop it here").set_input_files(
        saved(make_csr(tmp_path, name), form)
    )
    go_on(page)
    expect(page).to_have_title(re.compile("Check your request"))
    expect(page.locator("ul.names")).to_contain_text(name)


@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_r10_drag_and_drop(page: Page, server: DemoServer, tmp_path: Path, form: str) -> None:
    name = new_name()
    path = saved(make_csr(tmp_path, name), form)
    open_form(page, server)
    content = page.evaluate("bytes => btoa(String.fromCharCode(...bytes))", list(path.read_bytes()))
    transfer = page.evaluate_handle(DROP, [content, path.name])
    zone = page.locator("[data-drop]")
    zone.dispatch_event("dragover", {"dataTransfer": transfer})
    zone.dispatch_event("drop", {"dataTransfer": transfer})
    expect(zone).to_contain_text(path.name)
    go_on(page)
    expect(page).to_have_title(re.compile("Check your request"))
    expect(page.locator("ul.names")).to_contain_text(name)


def test_r11_paste_the_pem_text(page: Page, server: DemoServer, tmp_path: Path) -> None:
    name = new_name()
    open_form(page, server)
    page.get_by_label("Paste its text").fill(make_csr(tmp_path, name).pem)
    go_on(page)
    expect(page.locator("ul.names")).to_contain_text(name)


def test_r11_a_pasted_path_gets_a_helpful_answer(page: Page, server: DemoServer) -> None:
    open_form(page, server)
    for path in PATHS:
        page.get_by_label("Paste its text").fill(path)
        expect(page.locator("#path-answer")).to_be_visible()
        expect(page.locator("#path-answer")).to_contain_text("choose the file above")
    go_on(page)
    expect(page.get_by_role("alert")).to_contain_text("looks like the name of a file")
    expect(page).to_have_title(re.compile("^Problem"))
    screenshot(page, "request-problem")


def test_r11_the_command_line_takes_a_full_path(server: DemoServer, tmp_path: Path) -> None:
    name = new_name()
    csr = make_csr(tmp_path, name)
    service = {"CERTDESK_URL": server.base_url, "CERTDESK_TOKEN": server.demo.api_tokens["alice"]}
    ran = certdesk("request", "preview", str(csr.path.resolve()), "--json", **service)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["names"] == [name]


def test_r17_a_double_click_on_confirm_makes_one_request(
    page: Page, server: DemoServer, staff: Staff, tmp_path: Path
) -> None:
    name = new_name()
    open_form(page, server)
    page.get_by_label("Paste its text").fill(make_csr(tmp_path, name).pem)
    go_on(page)
    page.get_by_role("button", name="Confirm request").dblclick()
    page.wait_for_url(re.compile(r"/requests/\d+/$"))
    expect(page.locator("#status")).to_contain_text(AVAILABLE)
    assert len(staff("alice").listed(name)) == 1
