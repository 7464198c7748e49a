"""Lists as CSV files, row by row from page after page."""

import csv
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TypeVar

from django.http import StreamingHttpResponse

from certdesk.store.keyset import Page

_DANGEROUS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would take these for formulas
_Row = TypeVar("_Row")


class _Line:
    """What csv.writer writes to: hands each line back."""

    def write(self, line: str) -> str:
        return line


def csv_file(name: str, header: Iterable[str], rows: Iterable[Iterable[object]]) -> StreamingHttpResponse:
    """A download of these rows; a text that a spreadsheet would run is quoted."""
    writer = csv.writer(_Line())
    content = (writer.writerow(map(_harmless, row)) for row in chain([header], rows))
    response = StreamingHttpResponse(content, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def every_row(page_after: Callable[[str], Page[_Row]], *, pages: int) -> Iterator[_Row]:
    """The rows of the first `pages` pages, each page found by the cursor of the one before."""
    cursor = ""
    for _ in range(pages):
        page = page_after(cursor)
        yield from page.rows
        if not (cursor := page.next_cursor):
            return


def _harmless(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_DANGEROUS) else cell
