"""HTML to PDF with WeasyPrint. Only `web.help.pdf` imports this, when first needed: see there why.

Tagged for PDF/UA-1. Nothing is fetched from anywhere: only our own static files can be drawn.
"""

from pathlib import Path

import weasyprint
from django.contrib.staticfiles import finders
from weasyprint.urls import FatalURLFetchingError, URLFetcher, URLFetcherResponse

_OURS = "static:certdesk/"
_TYPES = {".svg": "image/svg+xml", ".css": "text/css"}


class NotOurs(FatalURLFetchingError):  # type: ignore[misc] # as below
    """The document names something that is not a static file of ours; it is not set at all."""


class OwnFilesOnly(URLFetcher):  # type: ignore[misc] # WeasyPrint ships no types
    """Hands out our static files under `static:certdesk/…` and refuses every other address."""

    def fetch(self, url: str, headers: dict[str, str] | None = None) -> URLFetcherResponse:
        """The file. Raises NotOurs."""
        del headers
        name = url.removeprefix("static:")
        found = finders.find(name) if url.startswith(_OURS) and ".." not in name else None
        if not isinstance(found, str) or Path(found).suffix not in _TYPES:
            raise NotOurs(f"not a static file of ours: {url[:100]}")
        path = Path(found)
        return URLFetcherResponse(url, path.read_bytes(), {"Content-Type": _TYPES[path.suffix]})


def typeset(html: str) -> bytes:
    """The PDF of a whole HTML document. Raises NotOurs."""
    document = weasyprint.HTML(string=html, base_url="about:blank", url_fetcher=OwnFilesOnly())
    made: bytes = document.write_pdf(pdf_variant="pdf/ua-1")
    return made
