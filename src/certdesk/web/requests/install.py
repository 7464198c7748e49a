"""Which form of a certificate suits which server software, and how it is installed there.

The words are those of the help page of that software: its sections “Install” and “Check”, with the names of
the request's own files and host.
"""

import re
from dataclasses import dataclass

from django.urls import reverse
from django.utils.safestring import SafeString

from certdesk.services.system import runtime
from certdesk.web.help.contents import server_page
from certdesk.web.help.markdown import render_section, source_of_section
from certdesk.web.help.words import words_of_service


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """How to install and check a certificate; `href` is the help page that says the same in general."""

    install: SafeString
    check: SafeString
    href: str


def form_for(software: str) -> str:
    """The form to take: a key of FORMS, or zip."""
    return server_page(software).form


def guide_for(software: str, *, stem: str, host: str) -> Guide:
    """The guide for a server software; `stem` is the files' name without its extension."""
    page = server_page(software)
    words = words_of_service(stem=stem, host=host)
    return Guide(
        install=render_section(page.source, "install", words=words),
        check=render_section(page.source, "check", words=words),
        href=reverse("help-page", args=[page.slug]),
    )


def instructions(software: str, *, stem: str, host: str) -> str:
    """The same as a text to go with the files; addresses are complete, for it is read elsewhere."""
    page, base = server_page(software), runtime.current().base_url
    words = words_of_service(stem=stem, host=host)
    parts = [
        f"{title}\n{'=' * len(title)}\n\n{source_of_section(page.source, anchor)}"
        for title, anchor in (
            (f"Installing the certificate for {host}: {page.title}", "install"),
            ("Checking it", "check"),
        )
    ]
    text = re.sub(r"\]\(/", f"]({base}/", "\n\n".join(parts))
    more = f"The newest version of these instructions: {base}{reverse('help-page', args=[page.slug])}"
    return f"{words.in_text(text)}\n\n{more}\n"
