"""The public help: pages, search, PDFs. Form fields link to entries; anchors are stable."""

from dataclasses import dataclass

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.cache import get_conditional_response
from django.utils.text import slugify
from django.views.decorators.http import require_safe

from certdesk.services.help import may_edit_faq
from certdesk.web.access import public
from certdesk.web.actor import actor_of, signed_in_user
from certdesk.web.context import crumbs
from certdesk.web.help import contents
from certdesk.web.help.contents import HelpPage
from certdesk.web.help.documents import document
from certdesk.web.help.markdown import Section
from certdesk.web.help.pdf import NoPdf, page_html, pdf_of, whole_html
from certdesk.web.help.search import MAX_QUERY, search
from certdesk.web.help.words import words_of_service

UNAVAILABLE = 503
TOP_LEVEL = 2
#: A table of contents of one or two lines tells nobody anything.
WORTH_LISTING = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLink:
    """A line of the table of contents."""

    label: str
    text: str
    href: str
    current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PageGroup:
    """Pages that belong together; shown open where one of them is being read."""

    title: str
    links: tuple[PageLink, ...]

    @property
    def current(self) -> bool:
        """Whether the page being read is one of them."""
        return any(link.current for link in self.links)


@public
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """The front page of the help."""
    return render(request, "help/index.html", {"groups": groups(), "pdf_href": reverse("help-pdf")})


@public
@require_safe
def page(request: HttpRequest, slug: str) -> HttpResponse:
    """One help page."""
    found = _page(slug)
    rendered = document(slug, words=words_of_service())
    before, after = contents.neighbours(slug)
    context = {
        **frame(slug),
        "title": found.title,
        "html": rendered.html,
        "empty": not rendered.html,
        "sections": _listed(rendered.sections),
        "before": _link(before),
        "after": _link(after),
        "may_edit": slug == contents.FAQ and _may_edit(request),
    }
    return render(request, "help/page.html", context)


@public
@require_safe
def find(request: HttpRequest) -> HttpResponse:
    """What the help says about something."""
    query = " ".join(request.GET.get("q", "")[:MAX_QUERY].split())
    context = {
        "groups": groups(),
        "crumbs": crumbs(("Help", reverse("help")), ("Search", "")),
        "query": query,
        "hits": search(query, words=words_of_service()),
    }
    return render(request, "help/search.html", context)


@public
@require_safe
def page_pdf(request: HttpRequest, slug: str) -> HttpResponse:
    """One page as PDF."""
    return _pdf(request, page_html(_page(slug).slug), f"help-{slug}")


@public
@require_safe
def whole_pdf(request: HttpRequest) -> HttpResponse:
    """The whole help as PDF."""
    return _pdf(request, whole_html(), "help")


def frame(slug: str, *, last: str = "") -> dict[str, object]:
    """What every page of the help shows around its text; `last` ends the trail below the page."""
    title = contents.page(slug).title
    steps = [("Help", reverse("help")), (title, reverse("help-page", args=[slug]) if last else "")]
    return {
        "groups": groups(slug),
        "crumbs": crumbs(*steps, *([(last, "")] if last else [])),
        "pdf_href": reverse("help-page-pdf", args=[slug]),
    }


def groups(current: str = "") -> list[PageGroup]:
    """The table of contents."""
    return [
        PageGroup(title=title, links=tuple(_entry(contents.page(slug), current) for slug in slugs))
        for title, slugs in contents.GROUPS
    ]


def _entry(found: HelpPage, current: str) -> PageLink:
    return PageLink(
        label=found.title,
        text=words_of_service().in_text(found.summary),
        href=reverse("help-page", args=[found.slug]),
        current=found.slug == current,
    )


def _link(found: HelpPage | None) -> PageLink | None:
    return _entry(found, "") if found else None


def _listed(sections: tuple[Section, ...]) -> tuple[Section, ...]:
    top = tuple(section for section in sections if section.level == TOP_LEVEL)
    return top if len(top) >= WORTH_LISTING else ()


def _page(slug: str) -> HelpPage:
    if slug not in contents.SLUGS:
        raise Http404
    return contents.page(slug)


def _may_edit(request: HttpRequest) -> bool:
    return signed_in_user(request) is not None and may_edit_faq(actor_of(request))


def _pdf(request: HttpRequest, html: str, name: str) -> HttpResponse:
    made = pdf_of(html)
    if isinstance(made, NoPdf):
        context = {"reason": made.reason, "later": made.retry_after, "groups": groups()}
        refused = render(request, "help/no_pdf.html", context, status=UNAVAILABLE)
        if made.retry_after:
            refused["Retry-After"] = str(made.retry_after)
        return refused
    etag = f'"{made.digest}"'
    response = HttpResponse(made.content, content_type="application/pdf")
    service = slugify(dict(words_of_service().texts)["service"]) or "certificates"
    response["Content-Disposition"] = f'inline; filename="{service}-{name}.pdf"'
    response["ETag"] = etag
    response["Cache-Control"] = "no-cache, private"
    return get_conditional_response(request, etag=etag, response=response) or response
