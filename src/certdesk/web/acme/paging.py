"""Keyset paging of lists whose newest entries come first."""

from django.http import HttpRequest

_DIGITS = 18  # of a number that surely fits a row's id


def before(request: HttpRequest) -> int | None:
    """The id at which the page before ended; None for the first page, and for nonsense."""
    text = request.GET.get("before", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None
