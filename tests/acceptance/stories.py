"""What the browser's stories share: CSRs by OpenSSL, the request form, downloads, and a watchful page."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response, expect

from tests.acceptance.seed_support import Csr, Staff, run
from tests.harness.browser import TIMEOUT_MS, WIDTHS, sign_in
from tests.harness.server import DemoServer


@dataclass(slots=True)
class Visitors:
    """Pages of the demo's people, each in a browser of its own, and all that they complain of.

    Everybody signs in once; further pages of the same person take up the session.
    """

    browser: Browser
    server: DemoServer
    complaints: list[str] = field(default_factory=list)
    _open: list[BrowserContext] = field(default_factory=list)

    def visit(self, username: str = "", *, javascript: bool = True, width: int = 1280) -> Page:
        """A page of this person, or of a visitor who has not signed in."""
        context = self.browser.new_context(
            viewport={"width": width, "height": WIDTHS[width]},
            locale="en-GB",
            accept_downloads=True,
            java_script_enabled=javascript,
            base_url=self.server.base_url,
        )
        context.set_default_timeout(TIMEOUT_MS)
        self._open.append(context)
        page = context.new_page()
        self._watch(page)
        sessions = self.server.sessions
        if username and username not in sessions:
            sign_in(page, self.server, username)
            (cookie,) = (c for c in context.cookies() if c.get("name") == "certdesk")
            sessions[username] = cookie.get("value", "")
        elif username:
            taken_up = sessions[username]
            context.add_cookies([{"name": "certdesk", "value": taken_up, "url": self.server.base_url}])
        return page

    def close(self) -> None:
        """Close every page."""
        while self._open:
            self._open.pop().close()

    def _watch(self, page: Page) -> None:
        def on_console(message: ConsoleMessage) -> None:
            # Chromium also reports each page that is an error page on purpose; pages have tests of their own.
            if message.type == "error" and "Failed to load resource" not in message.text:
                self.complaints.append(f"{page.url}: {message.text}")

        def on_request(request: Request) -> None:
            if not request.url.startswith((self.server.base_url + "/", "data:")):
                self.complaints.append(f"{page.url} asks another host: {request.url}")

        def on_response(response: Response) -> None:
            if response.status >= 400 and not response.request.is_navigation_request():
                self.complaints.append(f"{page.url}: {response.status} for {response.url}")

        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        page.on("console", on_console)
        page.on("request", on_request)
        page.on("response", on_response)


def by_file(page: Page, csr: Csr) -> None:
    """Choose the file."""
    page.get_by_label("Choose the file, or drop it here").set_input_files(csr.path)


def by_paste(page: Page, csr: Csr) -> None:
    """Paste the text."""
    page.get_by_label("Paste its text").fill(csr.pem)


def preview(page: Page, csr: Csr, *, years: int = 1, software: str = "nginx") -> None:
    """Fill the form in and go on to the preview."""
    page.goto("/requests/new/")
    by_paste(page, csr)
    page.get_by_label("1 year" if years == 1 else f"{years} years").check()
    page.get_by_label("Server software").select_option(software)
    page.get_by_role("button", name="Upload CSR and preview").click()
    expect(page).to_have_title(re.compile("Check your request"))


def fill_evidence(officer: Page, domain: str) -> None:
    """Say how the ownership of a domain was checked."""
    group = officer.get_by_role("group", name=f"Ownership of {domain}")
    group.get_by_label("How it was checked").select_option("registry")
    group.get_by_label("What you saw").fill("The registry names them as the holder, today.")
    group.get_by_label("Reference").fill("TICKET-1")


def confirm(page: Page) -> int:
    """Confirm what is previewed; the number of the request."""
    page.get_by_role("button", name="Confirm request").click()
    page.wait_for_url(re.compile(r"/requests/\d+/$"))
    return number_of(page)


def ask(page: Page, csr: Csr) -> int:
    """From the form to the request's page."""
    preview(page, csr)
    return confirm(page)


def invite(page: Page, username: str, name: str, *, role: str = "applicant") -> str:
    """Add a person on an organisation's page, and return the password that is shown this once."""
    form = page.locator("#add")
    form.get_by_label("Username").fill(username)
    form.get_by_label("Name", exact=True).fill(name)
    form.get_by_label("E-mail address").fill(f"{username}@example.ac.uk")
    form.get_by_label("Role").select_option(role)
    form.get_by_role("button", name="Add and invite").click()
    expect(page.get_by_text(f"{username} can sign in")).to_be_visible()
    return page.locator(".secret").inner_text().strip()


def number_of(page: Page) -> int:
    """The Request ID in the address."""
    found = re.search(r"/requests/(\d+)/", page.url)
    assert found, page.url
    return int(found[1])


def expect_status(page: Page, status: str) -> None:
    """The page says this status, now or as soon as it refreshes itself."""
    expect(page.locator("#status")).to_contain_text(status)


def download(page: Page, link: str, folder: Path) -> Path:
    """Follow a link that downloads; where the file is now."""
    with page.expect_download() as started:
        page.get_by_role("link", name=link).first.click()
    path = folder / started.value.suggested_filename
    started.value.save_as(path)
    return path


def assert_zip_proves_itself(bundle: Path, csr: Csr, *names: str) -> None:
    """Unpacked by `unzip`: the leaf is for this key and these names, chains to the root; no key is there."""
    folder = bundle.with_suffix("")
    run("unzip", "-q", str(bundle), "-d", str(folder))
    (root,) = folder.glob("root-*.crt")
    chain = sorted(folder.glob("chain-*.crt"))
    (leaf,) = {*folder.glob("*.crt")} - {root, *chain}
    untrusted = [argument for path in chain for argument in ("-untrusted", str(path))]
    verdict = run("openssl", "verify", "-x509_strict", "-CAfile", str(root), *untrusted, str(leaf))
    assert verdict.strip().endswith("OK")
    certified = run("openssl", "x509", "-in", str(leaf), "-noout", "-pubkey")
    assert certified == run("openssl", "req", "-in", str(csr.path), "-noout", "-pubkey")
    told = run("openssl", "x509", "-in", str(leaf), "-noout", "-ext", "subjectAltName")
    assert set(re.findall(r"DNS:([^,\s]+)", told)) == set(names)
    assert not any(b"PRIVATE KEY" in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def validated_by_olga(server: DemoServer, name: str) -> None:
    """An officer's check over REST: pages for that have stories of their own."""
    evidence = {"domain": name, "how": "registry", "details": "The registry names them."}
    answer = Staff(server).rest("olga", "POST", "/organisations/example-university/domains", evidence)
    assert answer.status_code == 201
