"""What CAA records were found to say, in words, for a domain's page and a request's."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.urls import reverse

from certdesk.domain.caa import Code
from certdesk.domain.rules import RuleId, in_force
from certdesk.store.selectors.caa import CaaRow
from certdesk.web import times

_WORDS = {True: ("ok", "Permits"), False: ("stop", "Forbids")}


@dataclass(frozen=True, slots=True, kw_only=True)
class CaaView:
    """The newest answer about one name; `found` are the records that decided, `line` the one to add."""

    name: str
    look: str
    word: str
    text: str
    where: str
    found: tuple[str, ...]
    line: str
    at: str
    at_iso: str
    source: str
    age: str
    request: str
    request_href: str


def caa_views(rows: Iterable[CaaRow], *, now: datetime, on_request: bool = False) -> list[CaaView]:
    """What stands in the way comes first. On a request's own page nothing leads to it."""
    found = [_view(row, now=now, on_request=on_request) for row in rows]
    return sorted(found, key=lambda one: one.look == "ok")


def _view(row: CaaRow, *, now: datetime, on_request: bool) -> CaaView:
    look, word = _WORDS[row.allowed] if Code(row.code).is_answer else ("warn", "No answer")
    number = "" if on_request or row.request is None else str(row.request)
    young = timedelta(hours=in_force(RuleId.CAA_AGE, now).value)
    return CaaView(
        name=row.name,
        look=look,
        word=word,
        text=row.detail,
        where=row.found_at,
        found=row.records,
        line=row.to_add,
        at=times.at(row.at),
        at_iso=times.iso(row.at),
        source=_source(row),
        age="" if now - row.at <= young else "It is looked up again before anything is signed.",
        request=number,
        request_href=reverse("requests-show", args=[number]) if number else "",
    )


def _source(row: CaaRow) -> str:
    """From whom the answer came."""
    if not row.servers:
        return "no server answered"
    signed = ", signed (DNSSEC)" if row.authenticated else ""
    return f"answered by {', '.join(row.servers)}{signed}"
