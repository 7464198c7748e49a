"""Each page, and the whole help, as PDF: what goes in, what is kept, and how much may be made at once.

Anybody may ask for them, so the work is bounded: a finished file is kept under the digest of what it
was made from, visitors can't vary that, and only a few are made at a time.
"""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.template.loader import render_to_string

from certdesk.domain.settings import contact_link
from certdesk.services.system import runtime
from certdesk.web.help import contents
from certdesk.web.help.documents import document_for_pdf, link_in_page, link_in_whole, whole_prefix
from certdesk.web.help.words import Words, words_of_service

log = structlog.get_logger()

AT_ONCE = 1  # setting the whole help keeps a processor busy for seconds
WAIT_SECONDS = 4.0
RETRY_AFTER = 30
TOP_LEVEL = 2
KEPT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Pdf:
    """A finished file; `digest` names what it was made from."""

    content: bytes
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoPdf:
    """Why there is none now. `retry_after` is in seconds, 0 where trying again is no use."""

    reason: str
    retry_after: int = 0


@dataclass(frozen=True, slots=True)
class Shelf:
    """Finished files by digest, oldest use first, up to KEPT_BYTES."""

    files: OrderedDict[str, bytes] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, digest: str) -> bytes | None:
        """A kept file."""
        with self.lock:
            if digest in self.files:
                self.files.move_to_end(digest)
            return self.files.get(digest)

    def put(self, digest: str, content: bytes) -> None:
        """Keeps a file and lets go of those that nobody has asked for the longest."""
        with self.lock:
            self.files[digest] = content
            while sum(map(len, self.files.values())) > KEPT_BYTES:
                self.files.popitem(last=False)


_shelf = Shelf()
_makers = threading.BoundedSemaphore(AT_ONCE)


def page_html(slug: str) -> str:
    """One page as the document that is set."""
    words = words_of_service()
    return _html([_chapter(slug, words=words, whole=False)], title=contents.page(slug).title, words=words)


def whole_html() -> str:
    """The whole help as the document that is set: cover, contents, every page."""
    words = words_of_service()
    return _html(
        [_chapter(slug, words=words, whole=True) for slug in contents.SLUGS], title="Help", words=words
    )


def pdf_of(html: str) -> Pdf | NoPdf:
    """The PDF of a document, made now unless it is kept."""
    digest = hashlib.sha256(html.encode()).hexdigest()
    kept = _shelf.get(digest)
    if kept is not None:
        return Pdf(content=kept, digest=digest)
    if not _makers.acquire(timeout=WAIT_SECONDS):
        return NoPdf(reason="Other PDFs are being made right now.", retry_after=RETRY_AFTER)
    try:
        # Whoever held the place before may have made the same file.
        made = _shelf.get(digest) or _typeset(html)
    finally:
        _makers.release()
    if isinstance(made, NoPdf):
        return made
    _shelf.put(digest, made)
    return Pdf(content=made, digest=digest)


def _typeset(html: str) -> bytes | NoPdf:
    # WeasyPrint loads Pango from the system. A machine without it must serve everything but the PDFs,
    # and nobody who never asks for one should pay for loading it.
    try:
        from certdesk.web.help.typeset import typeset  # noqa: PLC0415 - as the comment above says
    except (ImportError, OSError) as error:
        log.warning("help.pdf_unavailable", reason=str(error)[:200])
        return NoPdf(reason="This server lacks a library for making PDFs (Pango).")
    return typeset(html)


def _chapter(slug: str, *, words: Words, whole: bool) -> dict[str, Any]:
    """A page as it stands in a PDF; `listed` are the headings that the table of contents shows."""
    base_url, prefix = runtime.current().base_url, whole_prefix(slug) if whole else ""
    link = link_in_whole(slug, base_url=base_url) if whole else link_in_page(base_url=base_url)
    group = next(title for title, slugs in contents.GROUPS if slug in slugs)
    rendered = document_for_pdf(slug, words=words, prefix=prefix, link=link)
    # Each server's page has the same three headings: listing them would fill pages and tell nothing.
    lists = not (whole and group == contents.SERVERS)
    return {
        "anchor": f"{prefix}top",
        "title": contents.page(slug).title,
        "html": rendered.html,
        "listed": [one for one in rendered.sections if lists and one.level == TOP_LEVEL],
        "prefix": prefix,
        "group": group,
    }


def _html(chapters: list[dict[str, Any]], *, title: str, words: Words) -> str:
    rt = runtime.current()
    return render_to_string(
        "help/pdf.html",
        {
            "title": title,
            "stylesheet": "static:certdesk/help-print.css",
            "chapters": chapters,
            "whole": len(chapters) > 1,
            "service_name": rt.settings.service_name,
            "ra": rt.rules.ra,
            "contact": contact_link(rt.settings.ra_contact),
            "address": f"{rt.base_url}/help/",
        },
    )
