"""Counting what other places have seen: BR 3.2.2.9."""

from datetime import UTC, datetime

import pytest

from certdesk.domain.errors import InvariantViolated
from certdesk.domain.validation.corroboration import (
    WARN_AHEAD,
    Quorum,
    Verdict,
    Vote,
    allowed_dissent,
    coming_shortfall,
    count,
    public_quorum,
)

_PLACES = ("ripe.a", "arin.b", "ripe.c", "apnic.d", "arin.e", "lacnic.f", "afrinic.g")


def _votes(pattern: str) -> list[Vote]:
    return [
        Vote(perspective=place, agrees=said == "y") for place, said in zip(_PLACES, pattern, strict=False)
    ]


@pytest.mark.parametrize(
    "day,perspectives,regions",
    [
        ((2025, 3, 14), 0, 1),
        ((2025, 3, 15), 2, 1),
        ((2026, 3, 14), 2, 1),
        ((2026, 3, 15), 3, 2),
        ((2026, 6, 15), 4, 2),
        ((2026, 11, 24), 4, 2),
        ((2026, 12, 14), 4, 2),
        ((2026, 12, 15), 5, 2),
    ],
)
def test_what_a_public_ca_has_to_ask(day: tuple[int, int, int], perspectives: int, regions: int) -> None:
    assert public_quorum(datetime(*day, tzinfo=UTC)) == Quorum(perspectives=perspectives, regions=regions)


@pytest.mark.parametrize("asked,allowed", [(0, 0), (1, 0), (2, 1), (5, 1), (6, 2), (40, 2)])
def test_how_many_may_disagree(asked: int, allowed: int) -> None:
    assert allowed_dissent(asked) == allowed


@pytest.mark.parametrize(
    "pattern,quorum,verdict",
    [
        ("yyyy", Quorum(perspectives=4, regions=2), Verdict.CORROBORATED),
        ("yyyn", Quorum(perspectives=4, regions=2), Verdict.CORROBORATED),
        ("yynn", Quorum(perspectives=4, regions=2), Verdict.DISSENT),
        ("nnnn", Quorum(perspectives=4, regions=2), Verdict.DISSENT),
        ("yyy", Quorum(perspectives=4, regions=2), Verdict.TOO_FEW),
        ("yyyyyynn", Quorum(perspectives=5, regions=2), Verdict.CORROBORATED),
        ("yyyynnn", Quorum(perspectives=5, regions=2), Verdict.DISSENT),
        ("yn", Quorum(perspectives=2, regions=2), Verdict.REGIONS),
        ("yn", Quorum(perspectives=2, regions=1), Verdict.CORROBORATED),
        ("n", Quorum(perspectives=1), Verdict.DISSENT),
        ("", Quorum(perspectives=1), Verdict.TOO_FEW),
    ],
)
def test_the_count(pattern: str, quorum: Quorum, verdict: Verdict) -> None:
    counted = count(_votes(pattern), quorum=quorum)
    assert counted.verdict is verdict
    assert counted.reached == (verdict is Verdict.CORROBORATED)


def test_nobody_votes_twice() -> None:
    with pytest.raises(InvariantViolated):
        count([Vote(perspective="ripe.a", agrees=True)] * 2, quorum=Quorum(perspectives=2))


@pytest.mark.parametrize(
    "codes, today, expected",
    [
        (_PLACES[:4], (2026, 9, 15), None),  # 91 days before
        (_PLACES[:4], (2026, 9, 16), ((2026, 12, 15), 5, 2)),
        (_PLACES[:4], (2026, 12, 14), ((2026, 12, 15), 5, 2)),
        (_PLACES[:4], (2026, 12, 15), None),  # begun: the start refuses, nothing is coming
        (_PLACES[:5], (2026, 12, 14), None),
        (_PLACES[:2], (2026, 1, 1), ((2026, 3, 15), 3, 2)),  # the first of two steps
        (("ripe.a", "ripe.b", "ripe.c", "ripe.d"), (2026, 3, 1), ((2026, 3, 15), 3, 2)),  # regions
        ((), (2026, 12, 14), None),
    ],
)
def test_what_a_coming_rule_lacks_is_known_ninety_days_before(
    codes: tuple[str, ...],
    today: tuple[int, int, int],
    expected: tuple[tuple[int, int, int], int, int] | None,
) -> None:
    found = coming_shortfall(codes, now=datetime(*today, tzinfo=UTC), ahead=WARN_AHEAD)
    if expected is None:
        assert found is None
        return
    assert found is not None
    day, perspectives, regions = expected
    assert (found.on, found.needed) == (
        datetime(*day, tzinfo=UTC),
        Quorum(perspectives=perspectives, regions=regions),
    )
    assert found.day in found.message
    assert "CERTDESK_PERSPECTIVES" in found.to_do
