"""The gravest verdict counts, in whatever order the checks come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certdesk.domain.findings import Check, Verdict, worst

VERDICTS = st.sampled_from(Verdict)


def _checks(verdicts: list[Verdict]) -> list[Check]:
    return [Check(code="x", verdict=verdict, message="") for verdict in verdicts]


def test_nothing_looked_at_is_for_a_person_to_judge() -> None:
    assert worst([]) is Verdict.MANUAL


@pytest.mark.parametrize(
    "found, gravest",
    [
        ([Verdict.PASS], Verdict.PASS),
        ([Verdict.PASS, Verdict.WARN], Verdict.WARN),
        ([Verdict.MANUAL, Verdict.WARN, Verdict.PASS], Verdict.MANUAL),
        ([Verdict.MANUAL, Verdict.REFUSE, Verdict.PASS], Verdict.REFUSE),
    ],
)
def test_the_gravest_counts(found: list[Verdict], gravest: Verdict) -> None:
    assert worst(_checks(found)) is gravest


@given(st.lists(VERDICTS, min_size=1))
def test_order_does_not_matter(verdicts: list[Verdict]) -> None:
    assert worst(_checks(verdicts)) is worst(_checks(sorted(verdicts)))


@given(st.lists(VERDICTS, min_size=1), VERDICTS)
def test_one_more_check_never_makes_it_milder(verdicts: list[Verdict], more: Verdict) -> None:
    order = list(Verdict)
    before, after = worst(_checks(verdicts)), worst(_checks([*verdicts, more]))
    assert order.index(after) == max(order.index(before), order.index(more))
