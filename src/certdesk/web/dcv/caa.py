"""What CAA records were found to say, in words, for a domain's page and a request's."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from certdesk.domain.rules import RuleId, in_force
from certdesk.domain.validation.caa import Code
from certdesk.store.selectors.caa import CaaRow

_WORDS = {True: ("ok", "Permits"), False: ("stop", "Forbids")}


def caa_views(rows: Iterable[CaaRow], *, now: datetime) -> list[tuple[CaaRow, str, str, bool]]:
    """The newest answers, each with icon, word and whether it is too old to sign by; obstacles come first."""
    young = timedelta(hours=in_force(RuleId.CAA_AGE, now).value)
    found = []
    for row in rows:
        look, word = _WORDS[row.allowed] if Code(row.code).is_answer else ("warn", "No answer")
        found.append((row, look, word, now - row.at > young))
    return sorted(found, key=lambda one: one[1] == "ok")
