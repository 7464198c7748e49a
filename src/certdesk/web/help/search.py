"""Search over the help and the FAQ: every word has to occur; headings count for more. No index, no script."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from django.urls import reverse
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

from certdesk.web.help import contents
from certdesk.web.help.documents import document
from certdesk.web.help.markdown import Section
from certdesk.web.help.words import Words

MAX_QUERY = 100
MAX_WORDS = 8
MAX_HITS = 25
_BEFORE, _SHOWN = 70, 230
_IN_TITLE, _IN_PAGE_TITLE, _IN_TEXT = 10, 3, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A section that holds every word, with the words marked."""

    page: str
    title: SafeString
    excerpt: SafeString
    href: str
    score: int


def search(query: str, *, words: Words) -> list[Hit]:
    """The best sections for a query; none for an empty one."""
    wanted = list(dict.fromkeys(query[:MAX_QUERY].lower().split()))[:MAX_WORDS]
    if not wanted:
        return []
    hits = [hit for slug in contents.SLUGS for hit in _hits(slug, wanted, words)]
    return sorted(hits, key=lambda hit: -hit.score)[:MAX_HITS]


def _hits(slug: str, wanted: list[str], words: Words) -> Iterator[Hit]:
    page = contents.page(slug)
    for section in document(slug, words=words).sections:
        score = _score(page.title, section, wanted)
        if score:
            anchor = f"#{section.anchor}" if section.anchor else ""
            yield Hit(
                page=page.title,
                title=_marked(section.title or page.title, wanted),
                excerpt=_excerpt(section.text, wanted),
                href=reverse("help-page", args=[slug]) + anchor,
                score=score,
            )


def _score(page_title: str, section: Section, wanted: list[str]) -> int:
    """0 unless each word is somewhere in the section or its page's title."""
    title, text, page = section.title.lower(), section.text.lower(), page_title.lower()
    total = 0
    for word in wanted:
        points = _IN_TITLE * (word in title) + _IN_PAGE_TITLE * (word in page) + _IN_TEXT * (word in text)
        if not points:
            return 0
        total += points
    # The page's title alone would bring up each of its sections.
    return total if any(word in title or word in text for word in wanted) else 0


def _excerpt(text: str, wanted: list[str]) -> SafeString:
    folded = text.lower()
    places = [folded.find(word) for word in wanted if word in folded]
    start = max(0, min(places, default=0) - _BEFORE)
    start = text.find(" ", start) + 1 if start else 0
    shown = text[start : start + _SHOWN]
    cut = len(text) > start + _SHOWN
    if cut:
        shown = shown.rpartition(" ")[0]
    return format_html("{}{}{}", "… " if start else "", _marked(shown, wanted), " …" if cut else "")


def _marked(text: str, wanted: list[str]) -> SafeString:
    pattern = re.compile(
        "|".join(re.escape(word) for word in sorted(wanted, key=len, reverse=True)), re.IGNORECASE
    )
    parts, at = [], 0
    for found in pattern.finditer(text):
        parts += [escape(text[at : found.start()]), format_html("<mark>{}</mark>", found[0])]
        at = found.end()
    return mark_safe("".join([*parts, escape(text[at:])]))  # noqa: S308 - every part is escaped
