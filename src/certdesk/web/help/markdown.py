"""Markdown to HTML for the help: headings with stable anchors, a strict list of what may stand in it.

Raw HTML is switched off, and nh3 removes whatever is not on the list all the same: the FAQ is written by
people, and the pages' Content-Security-Policy allows no inline style or script.
"""

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import nh3
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import slugify
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from certdesk.web.help.words import Words

_ANCHOR = re.compile(r"\s*\{#([a-z0-9-]+)(?: \.([a-z]+))?\}$")
_HEADINGS = ("h1", "h2", "h3", "h4")
_TAGS = {
    *_HEADINGS,
    *("a", "blockquote", "br", "code", "div", "em", "hr", "li", "ol", "p", "pre", "span", "strong", "ul"),
    *("table", "tbody", "td", "th", "thead", "tr"),
}
_ATTRIBUTES: dict[str, set[str]] = {
    "*": set(),  # not even lang and title, which nh3 allows by itself
    "a": {"href"},
    "code": {"data-copy"},
    "div": {"aria-label", "role", "tabindex"},
    "ol": {"start"},
    "pre": {"tabindex"},
    **{heading: {"id"} for heading in _HEADINGS},
}
_CLASSES = {"div": {"table"}, "span": {"pill", "large", "ok", "wait", "warn", "stop", "busy", "idle"}}
#: What a code block is called, by the language after its fence; the copy button says it.
_COPIED = {"sh": "the commands", "bat": "the commands", "powershell": "the commands", "text": "the text"}

Link = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the plain text below it, up to the next heading."""

    anchor: str
    title: str
    level: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """Safe HTML and what it holds, heading by heading."""

    html: SafeString
    sections: tuple[Section, ...]


def render(source: str, *, words: Words, prefix: str = "", link: Link = str) -> Rendered:
    """A page. `prefix` goes before each anchor; `link` may turn an address into another."""
    return _finish(_PAGE, _PAGE.parse(source), words=words, prefix=prefix, link=link)


def render_section(source: str, anchor: str, *, words: Words) -> SafeString:
    """What stands under one heading, without the heading; empty when there is none of that anchor."""
    return mark_safe(words.in_html(_section_html(source, anchor)))  # noqa: S308 - nh3 cleaned it


@functools.lru_cache(maxsize=256)
def _section_html(source: str, anchor: str) -> str:
    """The same with its placeholders: each view of a request fills in other words."""
    return _cleaned(_PAGE, list(_below(_PAGE.parse(source), anchor)))


def source_of_section(source: str, anchor: str) -> str:
    """The Markdown under one heading, without the heading; empty when there is none of that anchor."""
    lines = [token.map for token in _below(_PAGE.parse(source), anchor) if token.map]
    last = max((line[1] for line in lines), default=0)
    return "\n".join(source.splitlines()[lines[0][0] : last]).strip() if lines else ""


def render_answer(source: str, *, words: Words, link: Link = str) -> Rendered:
    """An answer of the FAQ: as a page, without headings, for the question is its heading."""
    return _finish(_ANSWER, _ANSWER.parse(source), words=words, prefix="", link=link)


def _take_anchors(state: StateCore) -> None:
    """Moves `{#anchor .look}` from a heading's text to its token."""
    for opened, inline in pairwise(state.tokens):
        if opened.type != "heading_open":
            continue
        found = _ANCHOR.search(inline.content)
        if found:
            inline.content = inline.content[: found.start()]
        opened.attrSet("id", found[1] if found else slugify(inline.content))
        opened.meta["look"] = found[2] if found else None


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.core.ruler.before("inline", "anchors", _take_anchors)
    return parser


_PAGE = _parser()
_ANSWER = _parser().disable(["heading", "lheading"])


def _finish(parser: MarkdownIt, tokens: list[Token], *, words: Words, prefix: str, link: Link) -> Rendered:
    sections = tuple(_sections(tokens, words=words))
    for token in tokens:
        if token.type == "heading_open":
            token.attrSet("id", f"{prefix}{token.attrGet('id')}")
        for child in token.children or ():
            if child.type == "link_open":
                child.attrSet("href", link(str(child.attrGet("href"))))
    html = words.in_html(_cleaned(parser, tokens))
    return Rendered(html=mark_safe(html), sections=sections)  # noqa: S308 - nh3 cleaned it


def _cleaned(parser: MarkdownIt, tokens: list[Token]) -> str:
    """Clean HTML, in which the placeholders still stand."""
    # A heading with a look shows as the status pill that the portal uses.
    for opened, inline in pairwise(tokens):
        if opened.type == "heading_open" and opened.meta.get("look"):
            before = Token("html_inline", "", 0, content=f'<span class="pill large {opened.meta["look"]}">')
            after = Token("html_inline", "", 0, content="</span>")
            inline.children = [before, *(inline.children or ()), after]
    html = parser.renderer.render([_shaped(token) for token in tokens], parser.options, {})
    return nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        allowed_classes=_CLASSES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener",
    )


def _shaped(token: Token) -> Token:
    """Code and wide tables scroll by keyboard too (WCAG 2.1.1), and code has the portal's copy button."""
    match token.type:
        case "fence":
            copied = _COPIED.get(token.info.partition(" ")[0], "the configuration")
            html = f'<pre tabindex="0"><code data-copy="{copied}">{escape(token.content)}</code></pre>\n'
        case "code_block":
            html = f'<pre tabindex="0"><code>{escape(token.content)}</code></pre>\n'
        case "table_open":
            html = '<div class="table" role="region" aria-label="Table" tabindex="0"><table>\n'
        case "table_close":
            html = "</table></div>\n"
        case _:
            return token
    return Token("html_block", "", 0, content=html)


def _below(tokens: list[Token], anchor: str) -> Iterator[Token]:
    level = ""
    heading = False
    for token in tokens:
        if token.type == "heading_open":
            if token.attrGet("id") == anchor:
                level, heading = token.tag, True
                continue
            if level and token.tag <= level:
                return
        if level and not heading:
            yield token
        if token.type == "heading_close":
            heading = False


def _sections(tokens: list[Token], *, words: Words) -> Iterator[Section]:
    heading: Token | None = None
    title = ""
    text: list[str] = []
    for position, token in enumerate(tokens):
        if token.type == "heading_open":
            if heading is not None or text:
                yield _section(heading, title, text, words)
            heading, title, text = token, _plain(tokens[position + 1]), []
        elif token.type in ("fence", "code_block"):
            text.append(token.content)
        elif token.type == "inline" and tokens[position - 1].type != "heading_open":
            text.append(_plain(token))
    if heading is not None or text:
        yield _section(heading, title, text, words)


def _section(heading: Token | None, title: str, text: list[str], words: Words) -> Section:
    return Section(
        anchor=str(heading.attrGet("id")) if heading else "",
        title=words.in_text(title),
        level=int(heading.tag[1:]) if heading else 0,
        text=words.in_text(" ".join(" ".join(text).split())),
    )


def _plain(inline: Token) -> str:
    kinds = {"text", "code_inline"}
    return "".join(
        child.content if child.type in kinds else " " if child.type in ("softbreak", "hardbreak") else ""
        for child in inline.children or ()
    )
