"""The public help: pages, search, PDFs. Form fields link to entries; anchors are stable."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.cache import get_conditional_response
from django.utils.text import slugify
from django.views.decorators.http import require_safe

from certdesk.services.system.faq import may_edit_faq
from certdesk.web.access import public
from certdesk.web.actor import actor_of, signed_in_user
from certdesk.web.help import contents
from certdesk.web.help.contents import HelpPage
from certdesk.web.help.documents import document
from certdesk.web.help.pdf import NoPdf, page_html, pdf_of, whole_html
from certdesk.web.help.search import MAX_QUERY, search
from certdesk.web.help.words import words_of_service

UNAVAILABLE = 503
TOP_LEVEL = 2
#: A table of contents of one or two lines tells nobody anything.
WORTH_LISTING = 3


@public
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """The front page of the help."""
    words = words_of_service()
    summaries = [
        (title, [(page, words.in_text(page.summary)) for page in pages]) for title, pages, _ in groups()
    ]
    return render(request, "help/index.html", {"summaries": summaries, "pdf_href": reverse("help-pdf")})


@public
@require_safe
def page(request: HttpRequest, slug: str) -> HttpResponse:
    """One help page."""
    found = _page(slug)
    rendered = document(slug, words=words_of_service())
    sections = [section for section in rendered.sections if section.level == TOP_LEVEL]
    before, after = contents.neighbours(slug)
    knows = slug == contents.FAQ and signed_in_user(request) is not None
    context = {
        **frame(slug),
        "title": found.title,
        "html": rendered.html,
        "empty": not rendered.html,
        "sections": sections if len(sections) >= WORTH_LISTING else [],
        "before": before,
        "after": after,
        "may_edit": knows and may_edit_faq(actor_of(request)),
    }
    return render(request, "help/page.html", context)


@public
@require_safe
def find(request: HttpRequest) -> HttpResponse:
    """What the help says about something."""
    query = " ".join(request.GET.get("q", "")[:MAX_QUERY].split())
    context = {
        "groups": groups(),
        "crumbs": [("Help", reverse("help")), ("Search", "")],
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
        "slug": slug,
        "crumbs": [*steps, *([(last, "")] if last else [])],
        "pdf_href": reverse("help-page-pdf", args=[slug]),
    }


def groups(current: str = "") -> list[tuple[str, list[HelpPage], bool]]:
    """The table of contents: groups of pages, and whether the page being read is one of them."""
    return [
        (title, [contents.page(slug) for slug in slugs], current in slugs) for title, slugs in contents.GROUPS
    ]


def _page(slug: str) -> HelpPage:
    if slug not in contents.SLUGS:
        raise Http404
    return contents.page(slug)


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
