"""The help pages: links lead somewhere, commands work, search, install guides."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse

from certdesk.conf.config import SERVER_SOFTWARE
from certdesk.domain.csr.csr import read_csr
from certdesk.domain.findings import Verdict
from certdesk.domain.issuing.downloads import FORMS
from certdesk.services.system import runtime
from certdesk.web.help import contents
from certdesk.web.help.documents import document
from certdesk.web.help.markdown import render, render_answer
from certdesk.web.help.words import Words, words_of_service
from certdesk.web.requests.install import form_for, guide_for
from tests.integration.support import signed_in, submit, world

pytestmark = pytest.mark.django_db

SOURCE = Path(contents.__file__).parents[2]
LINK = re.compile(r"/help/(?:([a-z0-9-]+)/)?(?:#([a-z0-9-]+))?")
COMMANDS = re.compile(r"^```sh run\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SERVERS = dict(contents.GROUPS)[contents.SERVERS]
TWELVE = (
    *("nginx", "Apache httpd", "HAProxy", "Caddy", "Microsoft IIS", "Apache Tomcat"),
    *("Microsoft Exchange", "Postfix or Dovecot", "F5 BIG-IP", "Citrix NetScaler", "Kubernetes", "Cisco"),
)


def said(monkeypatch: pytest.MonkeyPatch, **changed: object) -> None:
    """Run with other settings, as an operator would have made them."""
    now = runtime.current()
    other = replace(now, settings=replace(now.settings, **changed))  # type: ignore[arg-type] # as given
    monkeypatch.setattr(runtime, "current", lambda: other)


def anchors() -> dict[str, set[str]]:
    """Every page with its anchors."""
    words = words_of_service()
    return {slug: {s.anchor for s in document(slug, words=words).sections} for slug in contents.SLUGS}


def links_to_help() -> Iterator[tuple[str, str, str]]:
    """Every link to the help in templates, modules and the pages themselves: (file, page, anchor)."""
    for path in sorted(SOURCE.rglob("*")):
        if path.suffix in {".html", ".py", ".md"}:
            for page, anchor in LINK.findall(path.read_text(encoding="utf-8")):
                if page or anchor:
                    yield str(path.relative_to(SOURCE)), page, anchor


def test_r1_every_link_to_the_help_leads_to_an_entry() -> None:
    known = anchors()
    routes = {"search"}
    found = list(links_to_help())
    assert len(found) > 60
    broken = [
        f"{file}: /help/{page}/#{anchor}"
        for file, page, anchor in found
        if page not in routes and (page not in known or (anchor and anchor not in known[page]))
    ]
    assert not broken


def test_r1_links_within_a_page_lead_to_its_own_entries() -> None:
    known = anchors()
    for slug in contents.SLUGS:
        html = document(slug, words=words_of_service()).html
        for anchor in re.findall(r'href="#([^"]*)"', html):
            assert anchor in known[slug], slug


def test_r1_the_ca_s_support_page_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    said(monkeypatch, support_url="https://support.ca.example/?a=1&b=<x>")
    page = Client().get("/help/certificates/").content.decode()
    assert page.count('href="https://support.ca.example/?a=1&amp;b=&lt;x&gt;"') >= 2
    said(monkeypatch, support_url="")
    page = Client().get("/help/certificates/").content.decode()
    assert "support.ca.example" not in page
    assert "support pages of your CA" in page


@pytest.mark.parametrize("slug", contents.SLUGS)
def test_r1_every_page_is_public_and_says_all(slug: str) -> None:
    answer = Client().get(reverse("help-page", args=[slug]))
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "[[" not in page, "a placeholder that nobody fills"
    assert "{#" not in page
    assert 'style="' not in page
    assert page.count("<h1>") == 1
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_r1_whom_to_ask_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """“Write to JTAG” says where, in the help and at the foot of every page."""
    pages = ("/help/certificates/", "/help/requests/", "/help/dcv/", "/help/password/", "/help/faq/")
    said(monkeypatch, ra_contact="jtag@ra.example.ac.uk")
    for address in pages:
        page = Client().get(address).content.decode()
        assert '<a href="mailto:jtag@ra.example.ac.uk">JTAG</a>' in page, address
        assert '<a href="mailto:jtag@ra.example.ac.uk">Contact JTAG</a>' in page, address
    said(monkeypatch, ra_contact="https://tickets.example.ac.uk/?a=1&b=2")
    page = Client().get("/help/requests/").content.decode()
    assert '<a href="https://tickets.example.ac.uk/?a=1&amp;b=2">JTAG</a>' in page
    said(monkeypatch, ra_contact="")
    for address in pages:
        page = Client().get(address).content.decode()
        assert "Contact JTAG" not in page, address
        assert 'href=""' not in page, address


def test_r1_the_words_are_those_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    said(monkeypatch, ra="The <Desk> & Co", trusted_suffixes=("ac.uk", "edu.example"), challenge_days=9)
    page = Client().get("/help/requests/").content.decode()
    assert "Rejected by The &lt;Desk&gt; &amp; Co</span>" in page
    assert "not under .ac.uk or .edu.example" in page
    assert "<Desk>" not in page
    assert "works for 9 days" in Client().get("/help/dcv/").content.decode()


def test_r1_a_page_that_is_not_there_is_not_found() -> None:
    for address in ("/help/no-such-page/", "/help/no-such-page.pdf", "/help/..%2fconf/"):
        assert Client().get(address).status_code == 404


def test_r1_pages_follow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, address = [], reverse("help-page", args=[contents.SLUGS[0]])
    while address:
        page = Client().get(address).content.decode()
        seen.append(address.split("/")[2])
        following = re.search(r'rel="next"\s+href="([^"]+)"', page)
        address = following[1] if following else ""
    assert tuple(seen) == contents.SLUGS


# What the seed's pages speak of: a page has to say something about each.
TOPICS = {
    "certificates": ("What others have asked", "Who", "CSR", "root"),
    "requesting": (
        *("Choose the", "drag", "paste", "full path", "term", "200 days", "Other", "preview", "twice"),
    ),
    "requests": (
        *("List certificates", "Request ID", "Common names", "mailserver.example.ac.uk", "24 hours"),
        *("Accepted for automatic processing", "Accepted by CA", "Rejected by CA", "Rejected by JTAG"),
        *("Waiting for manual approval", "Certificate available for download", "30 seconds", "two to three"),
        *("very first request", "automatically", "regular interval", "Withdrawn"),
    ),
    "downloads": (".zip", ".crt", "root", "chaining", "PKCS#7", "private key"),
    "password": ("any time", "first sign-in", "choose your own"),
    "people": ("Applicant", "Manager", "Auditor", "leaves"),
    "officers": ("queue", "evidence", "Reject"),
    "api": ("certdesk request", "/api/v1", "Idempotency-Key"),
    "accessibility": ("Keyboard", "Screen reader"),
}


@pytest.mark.parametrize("slug", TOPICS)
def test_r1_every_topic_of_the_seed_is_there(slug: str) -> None:
    page = re.sub(r"\s+", " ", Client().get(reverse("help-page", args=[slug])).content.decode()).lower()
    assert not [topic for topic in TOPICS[slug] if topic.lower() not in page]


@pytest.mark.parametrize("slug", ["csr", *SERVERS])
def test_r12_the_commands_make_a_csr_that_is_accepted(slug: str, tmp_path: Path) -> None:
    blocks = COMMANDS.findall(contents.page(slug).source)
    tool = next((t for t in ("keytool", "certtool", "openssl") if any(t in b for b in blocks)), "")
    if tool and shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    if not blocks:
        assert slug in {"server-iis", "server-exchange", "server-f5", "server-netscaler", "server-cisco"}
        return
    made = 0
    for block in blocks:
        # keytool asks for the keystore's password, and for a new one twice; the others read nothing.
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=tmp_path,
            input="a long password\na long password\n",
            text=True,
            capture_output=True,
            check=True,
            timeout=120,
        )
        for path in tmp_path.glob("*.csr"):
            made += 1
            csr = read_csr(path.read_bytes())
            assert not [check for check in csr.findings if check.verdict is not Verdict.PASS], block
            assert len(csr.names) == 2
            path.unlink()
    assert made >= 1


@pytest.mark.parametrize("software", TWELVE)
def test_r12_each_server_has_its_instructions(software: str) -> None:
    page = contents.server_page(software)
    assert page.slug != "server-other"
    assert {"csr", "install", "check"} <= {s.anchor for s in render(page.source, words=Words()).sections}
    assert form_for(software) in {"zip", *FORMS}
    answer = Client().get(reverse("help-page", args=[page.slug])).content.decode()
    assert answer.count("<pre") >= 3


def test_r12_the_list_of_software_is_covered() -> None:
    assert set(TWELVE) == set(SERVER_SOFTWARE) - {"Other"}
    assert contents.server_page("Other").slug == "server-other"
    assert contents.server_page("Something that an operator added").slug == "server-other"


@pytest.mark.parametrize("software", SERVER_SOFTWARE)
def test_r12_a_guide_speaks_of_the_request_s_own_files(software: str) -> None:
    guide = guide_for(software, stem="shop_example_ac_uk-2027-01-08", host="shop.example.ac.uk")
    assert "[[" not in guide.install + guide.check
    assert "shop" in guide.install + guide.check
    assert "<h2" not in guide.install
    assert "Make the CSR" not in guide.install
    assert Client().get(guide.href).status_code == 200


def test_r12_the_request_s_page_shows_how_to_install() -> None:
    made = submit(world().alice, "install.example.ac.uk")
    page = signed_in("alice").get(reverse("requests-show", args=[made.number])).content.decode()
    assert "Install it on nginx" in page
    assert re.search(r"ssl_certificate +/etc/nginx/tls/install_example_ac_uk-[0-9-]+-fullchain\.pem;", page)
    assert "openssl s_client -connect install.example.ac.uk:443" in page
    assert '/help/server-nginx/"' in page


def test_search_finds_and_marks() -> None:
    page = Client().get("/help/search/", {"q": "KEYTOOL certreq"}).content.decode()
    assert "/help/server-tomcat/#csr" in page
    assert "<mark>keytool</mark>" in page
    first = re.search(r'<ol class="hits.*?<a href="([^"]+)">', page, re.DOTALL)
    assert first
    assert "tomcat" in first[1] or "csr" in first[1]


def test_search_looks_into_the_faq_and_for_the_settings_words(monkeypatch: pytest.MonkeyPatch) -> None:
    said(monkeypatch, ra="Zwicky Desk")
    page = Client().get("/help/search/", {"q": "zwicky wildcard"}).content.decode()
    assert "Nothing found" in page
    assert "/help/requests/" in Client().get("/help/search/", {"q": "rejected zwicky"}).content.decode()
    assert "/help/faq/#wildcards" in Client().get("/help/search/", {"q": "wildcard"}).content.decode()


@pytest.mark.parametrize(
    "query",
    ["<script>alert(1)</script>", "%s[[ra]]{{ x }}", "\0", "(", "a" * 5000, "   ", "&amp;", "mark lt"],
)
def test_search_bears_anything(query: str) -> None:
    answer = Client().get("/help/search/", {"q": query})
    assert answer.status_code == 200
    assert b"<script>alert" not in answer.content


@pytest.mark.parametrize(
    "text",
    [
        '<img src=x onerror="alert(1)">',
        "[a](javascript:alert(1))",
        '<a href="https://x" style="color:red" onclick="x">b</a>',
        "![picture](https://elsewhere.example/p.png)",
        "<style>body{}</style><script>x</script>",
        "[x](data:text/html;base64,AAAA)",
        "# Heading {#main}",
        '[x](https://e.example "title")',
    ],
)
def test_what_people_write_becomes_harmless(text: str) -> None:
    html = render_answer(text, words=Words(texts=(("ra", "<b>"),))).html
    assert not re.search(r"<(script|style|img|h\d|iframe|b)\b", html)
    assert not re.search(r"<[^>]+\b(on\w+|style|id|title)=", html)
    assert not re.search(r'href="(?!https?:|/|#|mailto:)', html)


def test_words_never_reach_an_attribute() -> None:
    words = Words(texts=(("ra", '"><script>x</script>'),))
    html = render_answer("[a](https://e.example/[[ra]]) [[ra]] `[[ra]]`", words=words).html
    assert "<script" not in html
    assert html.count("&quot;&gt;&lt;script&gt;") == 2
