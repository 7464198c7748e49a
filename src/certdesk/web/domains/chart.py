"""How many validations lapse in each month, as a drawing that the server makes; the same stands in a table.

Sizes are numbers of the SVG's own grid; colours come from the style sheet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from django.urls import reverse

from certdesk.domain.deadlines import EMAIL_METHODS, date_words, method_ends_at
from certdesk.domain.rules import RULES, RuleId, begins_at
from certdesk.store.selectors.domains import Month

WIDTH, HEIGHT = 900, 196
TOP, FLOOR, LEFT = 40, 158, 34
BAR, GAP = 27, 3
_MOST_TICKS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A bar: how far from the left and top, how high, and the figure above it."""

    x: float
    y: float
    height: float
    middle: float
    figure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A month: both bars, its name, and the list of what lapses in it."""

    label: str
    year: str
    middle: float
    private: Bar
    public: Bar
    name: str
    private_count: int
    public_count: int
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A day on which a rule changes, as a line through the drawing."""

    x: float
    text: str
    near_the_end: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A line across, with its figure."""

    y: float
    figure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Everything that the template draws."""

    width: int
    height: int
    floor: int
    left: int
    bar: int
    columns: tuple[Column, ...]
    marks: tuple[Mark, ...]
    ticks: tuple[Tick, ...]
    description: str
    total: int


def lapsing_chart(months: Sequence[Month], *, query: str) -> Chart | None:
    """The drawing; None where nothing lapses in its months, which needs no drawing."""
    most = max((max(month.private, month.public) for month in months), default=0)
    if not most:
        return None
    step = (WIDTH - LEFT) / len(months)
    scale = (FLOOR - TOP) / most
    columns = tuple(
        _column(month, left=LEFT + n * step, step=step, scale=scale, query=query)
        for n, month in enumerate(months)
    )
    return Chart(
        width=WIDTH,
        height=HEIGHT,
        floor=FLOOR,
        left=LEFT,
        bar=BAR,
        columns=columns,
        marks=tuple(_marks(months, step=step)),
        ticks=tuple(_ticks(most, scale=scale)),
        description=_description(months),
        total=sum(month.private for month in months),
    )


def _column(month: Month, *, left: float, step: float, scale: float, query: str) -> Column:
    middle = left + step / 2
    pairs = {"q": query, "month": f"{month.begins_at:%Y-%m}"}
    return Column(
        label=f"{month.begins_at:%b}",
        year=f"{month.begins_at:%Y}" if month.begins_at.month == 1 else "",
        middle=round(middle, 1),
        private=_bar(month.private, x=middle - BAR - GAP / 2, scale=scale),
        public=_bar(month.public, x=middle + GAP / 2, scale=scale),
        name=f"{month.begins_at:%B %Y}",
        private_count=month.private,
        public_count=month.public,
        href=f"{reverse('domains-list')}?{urlencode({k: v for k, v in pairs.items() if v})}",
    )


def _bar(count: int, *, x: float, scale: float) -> Bar:
    height = max(count * scale, 2) if count else 0
    return Bar(
        x=round(x, 1),
        y=round(FLOOR - height, 1),
        height=round(height, 1),
        middle=round(x + BAR / 2, 1),
        figure=str(count) if count else "",
    )


def _ticks(most: int, *, scale: float) -> list[Tick]:
    every = _round_up(max(most / _MOST_TICKS, 1))
    return [
        Tick(y=round(FLOOR - value * scale, 1), figure=str(value)) for value in range(every, most + 1, every)
    ]


def _round_up(value: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50 … that is not smaller."""
    size = 1
    while True:
        for factor in (1, 2, 5):
            if size * factor >= value:
                return size * factor
        size *= 10


def _marks(months: Sequence[Month], *, step: float) -> list[Mark]:
    """Where a rule that shortens or ends proofs begins."""
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
                found.append(
                    Mark(x=round(x, 1), text=f"{date_words(moment)}: {text}", near_the_end=x > WIDTH * 2 / 3)
                )
    return found


def _description(months: Sequence[Month]) -> str:
    """The drawing in a sentence or two, for who does not see it."""
    total = sum(month.private for month in months)
    first, last = months[0].begins_at, months[-1].begins_at
    busiest = max(months, key=lambda month: month.private)
    lapse = "validation lapses" if total == 1 else "validations lapse"
    text = f"From {first:%B %Y} to {last:%B %Y}, {total} {lapse}"
    if total > 1:
        text += f", most of them in {busiest.begins_at:%B %Y} ({busiest.private})"
    return f"{text}. The table below the drawing has every figure."
