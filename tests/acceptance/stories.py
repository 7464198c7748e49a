"""What the browser's stories share: CSRs by OpenSSL, the request form, downloads, and a watchful page."""

import itertools
import json
import re
import subprocess
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response, expect

from tests.harness.browser import TIMEOUT_MS, WIDTHS, sign_in
from tests.harness.server import DemoServer

AVAILABLE = "Certificate available for download"
WAITING = "Waiting for manual approval"
REJECTED = "Rejected by JTAG"
WITHDRAWN = "Withdrawn"
_numbers = itertools.count(1)


def new_name(domain: str = "example.ac.uk") -> str:
    """A name that no other story has asked for."""
    return f"host{next(_numbers)}.{domain}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Csr:
    """A CSR and its private key, as files that OpenSSL wrote."""

    path: Path
    key: Path

    @property
    def text(self) -> str:
        """The PEM text."""
        return self.path.read_text()


def make_csr(folder: Path, *names: str) -> Csr:
    """A CSR from the OpenSSL command line, with a P-256 key of its own."""
    stem = folder / f"csr-{next(_numbers)}"
    csr, key = stem.with_suffix(".csr"), stem.with_suffix(".key")
    run(
        *("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-keyout", str(key), "-out", str(csr), "-subj", f"/CN={names[0]}"),
        *("-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)),
    )
    return Csr(path=csr, key=key)


def run(*command: str) -> str:
    """What a program wrote to stdout; its failure fails the test with what it wrote to stderr."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
    return ran.stdout


@dataclass(slots=True)
class Visitors:
    """Pages of the demo's people, each in a browser of its own, and all that they complain of.

    Everybody signs in once; further pages of the same person take up the session.
    """

    browser: Browser
    server: DemoServer
    complaints: list[str] = field(default_factory=list)
    sessions: dict[str, str] = field(default_factory=dict)
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
        if username and username not in self.sessions:
            sign_in(page, self.server, username)
            (cookie,) = (c for c in context.cookies() if c.get("name") == "certdesk")
            self.sessions[username] = cookie.get("value", "")
        elif username:
            session = self.sessions[username]
            context.add_cookies([{"name": "certdesk", "value": session, "url": self.server.base_url}])
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
    page.get_by_label("Paste its text").fill(csr.text)


def by_drop(page: Page, csr: Csr) -> None:
    """Drop the file onto its place."""
    transfer = page.evaluate_handle(
        """([text, name]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([text], name, {type: "application/pkcs10"}));
            return transfer;
        }""",
        [csr.text, csr.path.name],
    )
    zone = page.locator("[data-drop]")
    zone.dispatch_event("dragover", {"dataTransfer": transfer})
    zone.dispatch_event("drop", {"dataTransfer": transfer})
    expect(zone).to_contain_text(csr.path.name)


Way = Callable[[Page, Csr], None]


def preview(page: Page, csr: Csr, *, way: Way = by_paste, years: int = 1, software: str = "nginx") -> None:
    """Fill the form in and go on to the preview."""
    page.goto("/requests/new/")
    way(page, csr)
    page.get_by_label("1 year" if years == 1 else f"{years} years").check()
    page.get_by_label("Server software").select_option(software)
    page.get_by_role("button", name="Upload CSR and preview").click()
    expect(page).to_have_title(re.compile("Check your request"))


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
    call = urllib.request.Request(
        f"{server.base_url}/api/v1/organisations/example-university/domains",
        data=json.dumps(evidence).encode(),
        headers={
            "Authorization": f"Bearer {server.demo.api_tokens['olga']}",
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(call, timeout=30) as answer:
        assert answer.status == 201
