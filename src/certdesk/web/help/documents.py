"""A help page made ready to show: the shipped ones from Markdown, the FAQ from its entries.

On screen, addresses stay as they are. In a PDF they become places within it, or full addresses.
"""

from functools import lru_cache

from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from certdesk.services.system.faq import FaqEntry, list_faq
from certdesk.web.help import contents
from certdesk.web.help.markdown import Link, Rendered, Section, render, render_answer
from certdesk.web.help.words import Words

#: Every page, in the words of the day and of a change before it.
_KEPT = 2 * len(contents.SLUGS)


def document(slug: str, *, words: Words) -> Rendered:
    """One page of the table of contents as it stands on screen, without its title."""
    return _kept_faq(list_faq(), words) if slug == contents.FAQ else _kept_page(slug, words)


def document_for_pdf(slug: str, *, words: Words, prefix: str, link: Link) -> Rendered:
    """The same page with other anchors and addresses."""
    if slug == contents.FAQ:
        return faq_document(list_faq(), words=words, prefix=prefix, link=link)
    return render(contents.page(slug).source, words=words, prefix=prefix, link=link)


@lru_cache(maxsize=_KEPT)
def _kept_page(slug: str, words: Words) -> Rendered:
    return render(contents.page(slug).source, words=words)


@lru_cache(maxsize=2)
def _kept_faq(entries: tuple[FaqEntry, ...], words: Words) -> Rendered:
    return faq_document(entries, words=words)


def faq_document(
    entries: tuple[FaqEntry, ...], *, words: Words, prefix: str = "", link: Link = str
) -> Rendered:
    """The FAQ: each question a heading."""
    answers = [(entry, render_answer(entry.answer, words=words, link=link)) for entry in entries]
    html: SafeString = format_html_join(
        "\n",
        '<h2 id="{}{}">{}</h2>\n{}',
        ((prefix, entry.key, words.in_text(entry.question), answer.html) for entry, answer in answers),
    )
    sections = tuple(
        Section(
            entry.key, words.in_text(entry.question), 2, " ".join(section.text for section in answer.sections)
        )
        for entry, answer in answers
    )
    return Rendered(html=html, sections=sections)


def whole_prefix(slug: str) -> str:
    """What goes before an anchor where all pages stand in one document."""
    return f"{slug}--"


def link_in_whole(slug: str, *, base_url: str) -> Link:
    """For a page within the whole help: addresses of help pages become places in the same document."""

    def turn(href: str) -> str:
        path, _, anchor = href.partition("#")
        target = path.removeprefix("/help/").strip("/") if path else slug
        if (not path or path.startswith("/help/")) and target in contents.SLUGS:
            return f"#{whole_prefix(target)}{anchor}" if anchor else f"#{whole_prefix(target)}top"
        return f"{base_url}{href}" if href.startswith("/") else href

    return turn


def link_in_page(*, base_url: str) -> Link:
    """For a page by itself: whatever lies elsewhere gets its full address."""
    return lambda href: f"{base_url}{href}" if href.startswith("/") else href
