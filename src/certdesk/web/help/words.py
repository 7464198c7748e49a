"""The words of this service in the help's text: `[[ra]]` and the like, put in after sanitising.

Values go into text only, never into an attribute: Markdown encodes the brackets in an address.
"""

import re
from dataclasses import dataclass

from django.utils.html import escape, format_html

from certdesk.domain.settings import contact_link
from certdesk.services.system import runtime

_PLACE = re.compile(r"\[\[([a-z_]+)\]\]")
#: What the pages show where a request's page has the real names.
EXAMPLE_HOST = "www.example.ac.uk"
EXAMPLE_STEM = "www_example_ac_uk-2027-03-31"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Pairs of placeholder and text, hashable; `links` has those whose text is a link too."""

    texts: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()

    def in_html(self, html: str) -> str:
        """Clean HTML with every known placeholder filled in; an unknown one stays as it is."""
        texts = dict(self.texts)
        return _PLACE.sub(lambda found: self._html(found, texts), html)

    def in_text(self, text: str) -> str:
        """The same for plain text."""
        texts = dict(self.texts)
        return _PLACE.sub(lambda found: texts.get(found[1], found[0]), text)

    def _html(self, found: re.Match[str], texts: dict[str, str]) -> str:
        text, href = texts.get(found[1], found[0]), dict(self.links).get(found[1], "")
        return format_html('<a href="{}">{}</a>', href, text) if href else escape(text)


def words_of_service(*, host: str = EXAMPLE_HOST, stem: str = EXAMPLE_STEM) -> Words:
    """The words of the running service; `host` and `stem` name a server and its certificate's files."""
    rt = runtime.current()
    suffixes = [f".{suffix}" for suffix in rt.rules.trusted_suffixes]
    texts = {
        "ra": rt.rules.ra,
        "contact": rt.rules.ra,
        "service": rt.settings.service_name,
        "support": "support pages of the CA" if rt.settings.support_url else "support pages of your CA",
        "suffixes": " or ".join(suffixes),
        "ownership_days": str(rt.ownership_days),
        "challenge_days": "one day"
        if rt.settings.challenge_days == 1
        else f"{rt.settings.challenge_days} days",
        "password_length": str(rt.settings.password_min_length),
        "url": rt.base_url,
        "host": host,
        "stem": stem,
    }
    links = (("support", rt.settings.support_url), ("contact", contact_link(rt.settings.ra_contact)))
    return Words(links=links, texts=tuple(texts.items()))
