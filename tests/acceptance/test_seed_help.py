"""The help of the seed over HTTP: support link, fields, FAQ, PDF, DCV, CSRs."""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.acceptance.seed_support import Page, Staff, make_csr, new_name
from tests.harness.fixtures import DemoWith
from tests.harness.pdf import assert_tagged, bookmarks, inside, title_of
from tests.harness.server import DemoServer

SUPPORT = "https://support.ca.example/help"
EVERYBODY = ("alice", "bob", "meg", "charlie", "olga", "otto", "rick", "op")
MAILBOXES = ("admin@", "administrator@", "webmaster@", "hostmaster@", "postmaster@")
_VOID = frozenset({"area", "br", "col", "hr", "img", "input", "link", "meta", "path", "use", "wbr"})
_CONTROLS = frozenset({"input", "select", "textarea"})
_NO_FIELD = frozenset({"hidden", "submit", "button", "reset", "image"})
_PRE = re.compile(r"<pre[^>]*>(.*?)</pre>", re.DOTALL)


@pytest.fixture(scope="module")
def server(demo_with: DemoWith) -> Iterator[DemoServer]:
    """A demo whose operator has told where the CA's own support page is."""
    with demo_with(CERTDESK_SUPPORT_URL=SUPPORT) as running:
        yield running


@dataclass(slots=True)
class Element:
    """An element of a page."""

    tag: str
    attributes: dict[str, str]
    parent: "Element | None" = None
    children: "list[Element]" = field(default_factory=list)

    def everything(self) -> "Iterator[Element]":
        """Itself and all below it."""
        yield self
        for child in self.children:
            yield from child.everything()

    @property
    def help_links(self) -> list[str]:
        """The links to help entries in it."""
        return [
            found.attributes.get("href", "")
            for found in self.everything()
            if found.tag == "a" and "help" in found.attributes.get("class", "").split()
        ]


class Tree(HTMLParser):
    """A page as elements; the templates close what they open."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.root = self._here = Element("", {})
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, self._here)
        self._here.children.append(element)
        if tag not in _VOID:
            self._here = element

    def handle_endtag(self, tag: str) -> None:
        while self._here.parent is not None and self._here.tag != tag:
            self._here = self._here.parent
        self._here = self._here.parent or self._here


def fields_with_help(source: str) -> dict[str, str]:
    """Every field of every form, with the help entry that stands at it; "" where none does.

    The box that searches the help itself is none: whoever sees it reads the help already.
    """
    found = {}
    for form in (e for e in Tree(source).root.everything() if e.tag == "form"):
        for control in form.everything():
            shown = control.attributes.get("type") not in _NO_FIELD and "hidden" not in control.attributes
            if control.tag in _CONTROLS and shown and control.attributes.get("id") != "help-q":
                around = control.parent
                while around is not None and around is not form and not around.help_links:
                    around = around.parent
                links = around.help_links if around is not None and around is not form else []
                found[control.attributes["name"]] = links[0] if len(links) == 1 else ""
    return found


def test_r01_help_pages_link_to_the_ca_s_support_page(staff: Staff) -> None:
    """The link is the operator's setting, for visitors and for everybody who signs in."""
    visitor = staff()
    slugs = help_slugs(staff)
    assert len(slugs) > 20
    for slug in slugs:
        assert f'href="{SUPPORT}"' in visitor.get(f"/help/{slug}/").html, slug
    assert f'href="{SUPPORT}"' in visitor.get("/help/").html
    for who in EVERYBODY:
        assert f'href="{SUPPORT}"' in staff(who).get("/help/certificates/").html, who


def test_r01_every_form_field_links_to_its_own_help_entry(staff: Staff, tmp_path: Path) -> None:
    """On each page with a form: the link leads to an entry, and no other field of the page has the same."""
    number = staff("alice").ask(make_csr(tmp_path, new_name("fields.org"), new_name("fields.org")))
    pages = {
        ("", "/accounts/login/"): {"login", "password"},
        ("", "/accounts/password/reset/"): {"email"},
        ("", "/dcv/"): {"code"},
        ("alice", "/requests/new/"): {"csr", "csr_text", "duration_years", "server_software", "note"},
        ("alice", "/requests/"): {"q", "status", "sort"},
        ("alice", "/domains/"): {"domain"},
        ("alice", "/accounts/password/change/"): {"oldpassword", "password1", "password2"},
        ("meg", "/organisations/example-university/"): {"username", "name", "email", "role", "leaver"},
        ("olga", "/organisations/other-college/"): {"domain", "how", "evidence", "reference", "reason"},
        ("olga", "/organisations/new/"): {"legal_name", "slug", "country", "locality"},
        ("olga", f"/queue/{number}/"): {"fields.org-how", "fields.org-evidence", "note", "details"},
        ("otto", "/help/faq/edit/new/"): {"question", "answer"},
        ("op", "/settings/"): {"ra", "trusted_suffixes", "durations", "password_min_length"},
    }
    for (who, address), expected in pages.items():
        page = staff(who).get(address)
        found = fields_with_help(page.html)
        assert expected <= set(found), f"{address}: {set(found)}"
        without = [name for name, href in found.items() if not href]
        assert not without, f"{address}: no help of its own at {without}"
        for href in set(found.values()):
            path, _hash, anchor = href.partition("#")
            assert anchor, f"{address}: {href} is no entry"
            assert f'id="{anchor}"' in staff().get(path).html, f"{address}: {href} leads nowhere"
        # The same field in two forms of a page, such as evidence for two domains, has the same entry.
        fields = {(name.rpartition("-")[2], href) for name, href in found.items()}
        assert len(fields) == len({href for _name, href in fields}), f"{address}: two fields share an entry"


def help_slugs(staff: Staff) -> list[str]:
    """Every help page, as the front page of the help lists them."""
    return sorted(set(re.findall(r'href="/help/([a-z-]+)/"', staff().get("/help/").html)) - {"search"})


def test_r03_each_help_page_downloads_as_pdf(staff: Staff) -> None:
    visitor = staff()
    for slug in help_slugs(staff):
        assert f'href="/help/{slug}.pdf"' in visitor.get(f"/help/{slug}/").html, slug
        pdf = visitor.get(f"/help/{slug}.pdf")
        assert pdf.status == 200, slug
        assert pdf.headers["content-type"] == "application/pdf"
        assert pdf.headers["content-disposition"] == f'inline; filename="certdesk-help-{slug}.pdf"'
        assert_tagged(pdf.content)
        assert title_of(pdf.content).startswith(heading_of(visitor.get(f"/help/{slug}/"))), slug
    assert visitor.get("/help/no-such-page.pdf").status == 404


def test_r03_the_whole_help_downloads_as_pdf(staff: Staff) -> None:
    visitor = staff()
    assert 'href="/help/help.pdf"' in visitor.get("/help/").html
    whole = visitor.get("/help/help.pdf")
    assert (whole.status, whole.headers["content-type"]) == (200, "application/pdf")
    assert_tagged(whole.content)
    assert title_of(whole.content) == "Help – Certdesk"
    slugs = help_slugs(staff)
    assert len(re.findall(rb"/Type */Page\b", inside(whole.content))) > len(slugs)
    titles = {heading_of(visitor.get(f"/help/{slug}/")) for slug in slugs}
    assert titles <= bookmarks(whole.content), "every page is in the whole, and found by its bookmark"


def heading_of(page: Page) -> str:
    """What a page is called."""
    found = re.search(r"<h1[^>]*>(.*?)</h1>", page.html, re.DOTALL)
    assert found
    return html.unescape(found[1]).strip()


def test_r05_a_help_page_explains_dcv(staff: Staff) -> None:
    page = staff().get("/help/dcv/")
    assert page.status == 200
    said = ("code", "once", "7 days", "e-mail", "Opening it confirms nothing", "only pressing Confirm does")
    for word in (*MAILBOXES, *said, "15 March 2028"):
        assert word.lower() in page.text.lower(), word
    assert "/help/dcv/" in staff("alice").get("/organisations/example-university/").html
    assert "/help/dcv/" in staff().get("/help/").html
