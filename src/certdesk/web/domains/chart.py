"""How many validations lapse in each month, as a drawing that the server makes; the same stands in a table.

Sizes are numbers of the SVG's own grid; colours come from the style sheet.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from certdesk.domain.rules import RULES, RuleId, begins_at
from certdesk.domain.validation.deadlines import EMAIL_METHODS, date_words, method_ends_at
from certdesk.store.selectors.domains import Month

WIDTH, HEIGHT = 900, 196
TOP, FLOOR, LEFT = 40, 158, 34
BAR, GAP = 27, 3
_MOST_TICKS = 4


def lapsing_chart(months: Sequence[Month], *, query: str) -> dict[str, Any] | None:
    """Everything that the template draws; None where nothing lapses in the months, which needs no drawing."""
    most = max((max(month.private, month.public) for month in months), default=0)
    if not most:
        return None
    step, scale = (WIDTH - LEFT) / len(months), (FLOOR - TOP) / most
    every = _round_up(max(most / _MOST_TICKS, 1))
    total = sum(month.private for month in months)
    first, last = months[0].begins_at, months[-1].begins_at
    busiest = max(months, key=lambda month: month.private)
    lapse = "validation lapses" if total == 1 else "validations lapse"
    text = f"From {first:%B %Y} to {last:%B %Y}, {total} {lapse}"
    if total > 1:
        text += f", most of them in {busiest.begins_at:%B %Y} ({busiest.private})"
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "floor": FLOOR,
        "left": LEFT,
        "bar": BAR,
        "columns": [
            _column(month, middle=LEFT + (n + 0.5) * step, scale=scale, query=query)
            for n, month in enumerate(months)
        ],
        "marks": _marks(months, step=step),
        "ticks": [(round(FLOOR - value * scale, 1), value) for value in range(every, most + 1, every)],
        "description": f"{text}. The table below the drawing has every figure.",
    }


def _column(month: Month, *, middle: float, scale: float, query: str) -> dict[str, Any]:
    """A month: its bars, for private and for public CAs, its names, and the list of what lapses in it."""
    pairs = {"q": query, "month": f"{month.begins_at:%Y-%m}"}
    return {
        "month": month,
        "label": f"{month.begins_at:%b}",
        "year": f"{month.begins_at:%Y}" if month.begins_at.month == 1 else "",
        "middle": round(middle, 1),
        "bars": [
            ("private", *_bar(month.private, x=middle - BAR - GAP / 2, scale=scale)),
            ("public", *_bar(month.public, x=middle + GAP / 2, scale=scale)),
        ],
        "name": f"{month.begins_at:%B %Y}",
        "href": f"{reverse('domains-list')}?{urlencode({k: v for k, v in pairs.items() if v})}",
    }


def _bar(count: int, *, x: float, scale: float) -> tuple[float, float, float, float, int]:
    """How far from the left and top, how high, where its middle is, and the figure above it."""
    height = max(count * scale, 2) if count else 0
    return round(x, 1), round(FLOOR - height, 1), round(height, 1), round(x + BAR / 2, 1), count


def _round_up(value: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50 … that is not smaller."""
    size = 1
    while True:
        for factor in (1, 2, 5):
            if size * factor >= value:
                return size * factor
        size *= 10


def _marks(months: Sequence[Month], *, step: float) -> list[tuple[float, str, bool]]:
    """Where a rule that shortens or ends proofs begins: its place, its text, and if it is near the end."""
    texts: dict[datetime, str] = {
        begins_at(rule): f"{rule.value}-day rule" for rule in RULES if rule.id is RuleId.PUBLIC_DCV_REUSE
    }
    ends = method_ends_at(min(EMAIL_METHODS))
    if ends is not None:
        texts[ends] = "e-mail ends"
    found = []
    for moment, text in texts.items():
        for n, month in enumerate(months):
            if (moment.year, moment.month) == (month.begins_at.year, month.begins_at.month):
                x = LEFT + (n + (moment.day - 1) / 31) * step
                found.append((round(x, 1), f"{date_words(moment)}: {text}", x > WIDTH * 2 / 3))
    return found
