"""The public help pages. Form fields link to entries on them, so their anchors are stable (R1)."""

from dataclasses import dataclass

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from certdesk.web.access import public
from certdesk.web.context import crumbs

PAGES: dict[str, tuple[str, str]] = {
    "requesting": ("Requesting a certificate", "the CSR, duration, server software, preview and confirming"),
    "requests": ("Your requests", "the list, Request IDs, what each status means, downloading"),
    "csr": ("Making a CSR", "commands for OpenSSL, keytool, Windows and certtool"),
    "dcv": ("Domain control validation", "why and how a domain is validated"),
    "password": ("Signing in and passwords", "the first sign-in, changing a password, losing it"),
    "people": ("Organisations and people", "who may do what, adding and disabling people"),
    "officers": ("For officers", "deciding on requests, evidence, rejecting"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLink:
    """A line of the table of contents."""

    label: str
    text: str
    href: str
    current: bool


@public
@require_GET
def index(request: HttpRequest) -> HttpResponse:
    """The front page of the help."""
    return render(request, "help/index.html", {"help_pages": _contents("")})


@public
@require_GET
def page(request: HttpRequest, slug: str) -> HttpResponse:
    """One help page."""
    if slug not in PAGES:
        raise Http404
    trail = crumbs(("Help", reverse("help")), (PAGES[slug][0], ""))
    return render(request, f"help/{slug}.html", {"help_pages": _contents(slug), "crumbs": trail})


def _contents(current: str) -> list[PageLink]:
    return [
        PageLink(label=label, text=text, href=reverse("help-page", args=[slug]), current=slug == current)
        for slug, (label, text) in PAGES.items()
    ]
