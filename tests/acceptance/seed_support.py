"""What the tests of the seed's rows share: the portal by its forms, REST, OpenSSL's CSRs, the demo's mail.

No tests live here. The portal is used as a browser without scripts would: cookies, forms, redirects.
"""

import email
import html
import itertools
import re
import sqlite3
import subprocess
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx2

from tests.harness.server import DemoServer
from tests.harness.waiting import wait_until

ACCEPTED = "Accepted for automatic processing"
BY_CA = "Accepted by CA"
REFUSED = "Rejected by CA"
REJECTED = "Rejected by JTAG"
WAITING = "Waiting for manual approval"
AVAILABLE = "Certificate available for download"
WITHDRAWN = "Withdrawn"
STATUSES = (ACCEPTED, BY_CA, REFUSED, REJECTED, WAITING, AVAILABLE, WITHDRAWN)

SEEN = "RDAP names Example University as the registrant."
#: What was ever meant for a CA under a request: nothing reaches one without such a row.
INTENDED = "SELECT id FROM store_issuance WHERE intent_key IS NOT NULL AND request_id = ?"
_SILENT = frozenset({"script", "style", "head"})
_RULE = b"-" * 79  # what Django's file backend writes after each message
_numbers = itertools.count(1)


def new_name(domain: str = "example.ac.uk", *, prefix: str = "seed") -> str:
    """A name that no other test has asked for."""
    return f"{prefix}{next(_numbers)}.{domain}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Csr:
    """A CSR and its private key, as files that OpenSSL wrote."""

    path: Path
    key: Path

    @property
    def pem(self) -> str:
        """The PEM text."""
        return self.path.read_text()

    @property
    def der(self) -> bytes:
        """The same in DER, converted by OpenSSL."""
        binary = self.path.with_suffix(".der")
        run("openssl", "req", "-in", str(self.path), "-outform", "DER", "-out", str(binary))
        return binary.read_bytes()


def make_csr(folder: Path, *names: str, subject: str | None = None) -> Csr:
    """A CSR for these names with a key of its own; the subject is the first name unless one is given."""
    stem = folder / f"seed-{next(_numbers)}"
    csr, key = stem.with_suffix(".csr"), stem.with_suffix(".key")
    run(
        *("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-keyout", str(key), "-out", str(csr), "-subj", f"/CN={names[0]}" if subject is None else subject),
        *("-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)),
    )
    return Csr(path=csr, key=key)


def run(*command: str) -> str:
    """What a program wrote to stdout; its failure fails the test with what it wrote to stderr."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
    return ran.stdout


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self._silent += tag in _SILENT

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in _SILENT

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.found.append(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """An answer of the portal, after its redirects."""

    status: int
    path: str
    content: bytes = field(repr=False)
    headers: dict[str, str] = field(repr=False)

    @property
    def html(self) -> str:
        """The source."""
        return self.content.decode()

    @property
    def text(self) -> str:
        """What a person reads, in one line."""
        words = _Words()
        words.feed(self.html)
        return " ".join(" ".join(words.found).split())

    @property
    def number(self) -> int:
        """The Request ID in the address."""
        found = re.fullmatch(r"/requests/(\d+)/", self.path)
        assert found, f"{self.path}: {self.text[:2000]}"
        return int(found[1])

    @property
    def status_box(self) -> str:
        """Status and second line of a request's page."""
        found = re.search(r'<div class="stack-s" id="status".*?</div>', self.html, re.DOTALL)
        assert found, self.text[:2000]
        words = _Words()
        words.feed(found[0])
        return " ".join(" ".join(words.found).split())

    def field(self, name: str) -> str:
        """The value of a hidden field."""
        found = re.search(rf'name="{re.escape(name)}" value="([^"]*)"', self.html)
        assert found, f"{self.path} has no field {name}: {self.text[:2000]}"
        return html.unescape(found[1])


@dataclass(slots=True)
class Portal:
    """The portal in the hands of one person, or of a visitor."""

    server: DemoServer
    username: str = ""
    password: str = field(default="", repr=False)
    session: str = field(default="", repr=False)
    _client: httpx2.Client = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # A busy machine makes a PDF or signs in within a few seconds; the figure only bounds a hang.
        # A kept connection that the server is just closing would fail the next call: none is kept for long.
        kept = httpx2.Limits(keepalive_expiry=0.5)
        self._client = httpx2.Client(
            base_url=self.server.base_url, follow_redirects=True, timeout=90, limits=kept
        )
        if self.session:  # that of an earlier sign-in
            self._client.cookies.set("certdesk", self.session, domain="127.0.0.1")
            self.get("/accounts/password/change/")  # brings the cookie that forms need
        elif self.username:
            password = self.password or self.server.demo.passwords[self.username]
            self.get("/accounts/login/")
            page = self.post("/accounts/login/", login=self.username, password=password)
            assert not page.path.startswith("/accounts/login/"), page.text
            self.session = self._client.cookies["certdesk"]

    def get(self, path: str, *, follow: bool = True, **query: str) -> Page:
        """Open an address."""
        return _page(self._client.get(path, params=query or None, follow_redirects=follow))

    def post(
        self,
        path: str,
        *,
        follow: bool = True,
        upload: tuple[str, bytes] | None = None,
        csrf: bool = True,
        **fields: Any,
    ) -> Page:
        """Send a form, with a file in the field `csr` if one is given."""
        token = self._client.cookies.get("certdesk-csrf", default="") or ""
        response = self._client.post(
            path,
            data={k: v if isinstance(v, list) else str(v) for k, v in fields.items()},
            files={"csr": (upload[0], upload[1], "application/pkcs10")} if upload else None,
            headers={"X-CSRFToken": token} if csrf else {},
            follow_redirects=follow,
        )
        return _page(response)

    def close(self) -> None:
        """Give its connections back."""
        self._client.close()

    def preview(self, csr: Csr | str, *, years: int = 1, software: str = "nginx") -> Page:
        """Paste a CSR and look at the preview."""
        text = csr if isinstance(csr, str) else csr.pem
        return self.post("/requests/preview/", csr_text=text, duration_years=years, server_software=software)

    def confirm(self, previewed: Page) -> Page:
        """Confirm what was previewed."""
        return self.post("/requests/confirm/", preview=previewed.field("preview"))

    def ask(self, csr: Csr, *, years: int = 1, software: str = "nginx") -> int:
        """From the form to the request; its number."""
        return self.confirm(self.preview(csr, years=years, software=software)).number

    def request(self, number: int) -> Page:
        """A request's page."""
        return self.get(f"/requests/{number}/")

    def listed(self, query: str = "") -> list[int]:
        """The Request IDs of the list's first page."""
        page = self.get("/requests/", q=query)
        assert page.status == 200, page.text
        return [int(n) for n in re.findall(r'<th scope="row"[^>]*><a href="/requests/(\d+)/">', page.html)]

    def approve(
        self, number: int, form: Page | None = None, /, *, message: str = "", **evidence: str
    ) -> Page:
        """Approve, with the same words as evidence for every domain that the form asks about."""
        form = form or self.get(f"/queue/{number}/")
        fields: dict[str, Any] = {"shown": form.field("shown"), "message": message}
        for domain in re.findall(r'name="([^"]+)-how"', form.html):
            said = {"how": "registry", "evidence": SEEN, "reference": "RT-7", **evidence}
            fields |= {f"{domain}-{name}": value for name, value in said.items()}
        if 'name="vetting"' in form.html:
            fields["vetting"] = "The register of universities names it."
        return self.post(f"/queue/{number}/approve/", **fields)

    def reject(self, number: int, details: str) -> Page:
        """Reject with these details."""
        form = self.get(f"/queue/{number}/")
        return self.post(f"/queue/{number}/reject/", version=form.field("version"), details=details)

    def wait_for(self, number: int, status: str, *, seconds: float = 60) -> Page:
        """The request's page as soon as it says this status."""

        def look() -> Page | None:
            page = self.request(number)
            return page if page.status_box.startswith(status) else None

        found = wait_until(look, what=f"request {number} to be “{status}”", seconds=seconds)
        assert found
        return found


def _page(response: httpx2.Response) -> Page:
    return Page(
        status=response.status_code,
        path=response.url.path,
        content=response.content,
        headers={name.lower(): value for name, value in response.headers.items()},
    )


@dataclass(slots=True)
class Staff:
    """Everybody of one demo, each signed in once and only when needed."""

    server: DemoServer
    _portals: dict[str, Portal] = field(default_factory=dict)

    def __call__(self, username: str = "") -> Portal:
        """This person's portal; without a name, a visitor's."""
        if username not in self._portals:
            sessions = self.server.sessions
            portal = Portal(self.server, username, session=sessions.get(username, ""))
            if username:
                sessions[username] = portal.session
            self._portals[username] = portal
        return self._portals[username]

    def rest(self, who: str, method: str, path: str, body: object = None) -> httpx2.Response:
        """A call to REST v1 as somebody."""
        return httpx2.request(
            method,
            f"{self.server.base_url}/api/v1{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.server.demo.api_tokens[who]}"},
            timeout=120,
        )

    def told(self, who: str, number: int) -> dict[str, Any]:
        """A request as REST tells it."""
        answer = self.rest(who, "GET", f"/requests/{number}")
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def events(self, number: int) -> list[dict[str, Any]]:
        """The history of a request, oldest first, as the auditor sees it."""
        found: list[dict[str, Any]] = self.told("rick", number)["events"]
        return found

    def mail(self) -> list[EmailMessage]:
        """Every mail that the demo has sent."""
        files = sorted(self.server.demo.mailbox.glob("*.log"), key=lambda file: file.stat().st_mtime_ns)
        parts = (part.lstrip() for file in files for part in file.read_bytes().split(_RULE))
        return [email.message_from_bytes(part, policy=policy.default) for part in parts if part]

    def mail_about(self, *words: str) -> list[EmailMessage]:
        """The mails whose subject or body have all these words."""
        return [one for one in self.mail() if all(word in f"{one['Subject']}\n{body(one)}" for word in words)]

    def wait_for_mail(self, *words: str, seconds: float = 60) -> EmailMessage:
        """The first mail with all these words, once it is there."""
        return wait_until(lambda: self.mail_about(*words), what=f"a mail with {words}", seconds=seconds)[0]

    @staticmethod
    def added(adder: Portal, slug: str, username: str) -> str:
        """The password that is issued to a new person of an organisation."""
        page = adder.post(
            f"/organisations/{slug}/people/",
            username=username,
            name="New Comer",
            email=f"{username}@example.ac.uk",
            role="applicant",
        )
        issued = re.search(r'<p class="secret"[^>]*>([^<]+)</p>', page.html)
        assert issued, page.text
        return issued[1]

    def joined(self, adder: Portal, slug: str, username: str) -> Portal:
        """A new person of an organisation, signed in with a password of the person's own."""
        issued, own = self.added(adder, slug, username), "several unrelated words"
        portal = Portal(self.server, username, issued)
        portal.get("/accounts/password/change/")
        portal.post("/accounts/password/change/", oldpassword=issued, password1=own, password2=own)
        return portal

    def close(self) -> None:
        """Close everybody's portal."""
        for portal in self._portals.values():
            portal.close()


def body(message: EmailMessage) -> str:
    """The text of a mail."""
    content: str = message.get_content()
    return content


def rows_of(server: DemoServer, query: str, *values: object) -> list[tuple[Any, ...]]:
    """What a running demo's database says, read beside it: the proof that something did *not* happen."""
    connection = sqlite3.connect(f"file:{server.data / 'certdesk.sqlite3'}?mode=ro", uri=True)
    try:
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()
