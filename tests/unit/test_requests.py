"""The transition table: nothing leaves it, everything in it can be reached, and what is over is over."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certdesk.domain.requests import (
    FINAL,
    TRANSITIONS,
    Event,
    State,
    Status,
    public_status,
    states_with_status,
    status_text,
)

#: A request begins in one of these: policy decides which (R26, R30).
BEGINNINGS = (Status.WAITING_FOR_APPROVAL, Status.ACCEPTED)
#: An applicant or officer can't take these back: the CA has it, or had it.
WITH_THE_CA = (Status.ACCEPTED, Status.SUBMITTED, Status.ISSUED, Status.REJECTED_BY_CA)


def _after(state: State, events: list[Event]) -> list[State]:
    """The states passed through; an event that the table does not know changes nothing."""
    passed = [state]
    for event in events:
        passed.append(TRANSITIONS.get((passed[-1], event), passed[-1]))
    return passed


@given(st.sampled_from(BEGINNINGS), st.lists(st.sampled_from(Event), max_size=40))
def test_whatever_happens_an_issued_request_went_through_acceptance_and_the_ca(
    beginning: State, events: list[Event]
) -> None:
    passed = _after(beginning, events)
    if Status.ISSUED in passed:
        before = passed[: passed.index(Status.ISSUED)]
        assert [s for s in before if s in (Status.ACCEPTED, Status.ACCEPTED, Status.SUBMITTED)][-1] is (
            Status.SUBMITTED
        )
        assert Status.ACCEPTED in before
        assert Status.ACCEPTED in before


@given(st.sampled_from(BEGINNINGS), st.lists(st.sampled_from(Event), max_size=40))
def test_what_is_over_stays_over_but_for_a_retry_at_the_ca(beginning: State, events: list[Event]) -> None:
    passed = _after(beginning, events)
    for (old, new), event in zip(itertools.pairwise(passed), events, strict=True):
        if old in FINAL and new is not old:
            assert (old, event, new) == (Status.REJECTED_BY_CA, Event.RETRY, Status.ACCEPTED)


@given(st.sampled_from(BEGINNINGS), st.lists(st.sampled_from(Event), max_size=40))
def test_what_the_ra_rejected_or_the_applicant_withdrew_never_reaches_the_ca(
    beginning: State, events: list[Event]
) -> None:
    passed = _after(beginning, events)
    for final in (Status.REJECTED_BY_RA, Status.WITHDRAWN, Status.ISSUED):
        if final in passed:
            assert set(passed[passed.index(final) :]) == {final}


def test_every_state_can_be_reached_and_every_unfinished_one_can_end() -> None:
    reached = set(BEGINNINGS)
    for _ in State:
        reached |= {new for (old, _event), new in TRANSITIONS.items() if old in reached}
    assert reached == set(State)
    for state in set(State) - FINAL:
        ways = {new for (old, _event), new in TRANSITIONS.items() if old is state}
        assert ways, f"{state} is a dead end"


def test_only_ended_states_have_no_way_on() -> None:
    with_way_on = {old for old, _event in TRANSITIONS}
    assert set(State) - with_way_on == FINAL - {Status.REJECTED_BY_CA}


def test_creating_and_reissuing_are_no_transitions_and_every_other_event_has_one() -> None:
    assert {event for _old, event in TRANSITIONS} == set(Event) - {Event.CREATE, Event.REISSUE}


@pytest.mark.parametrize("event", [Event.WITHDRAW, Event.REJECT, Event.APPROVE, Event.REFER])
def test_people_can_change_nothing_that_the_ca_may_have(event: Event) -> None:
    assert not [old for (old, e) in TRANSITIONS if e is event and old in WITH_THE_CA]


def test_only_the_cas_acceptance_leads_to_issued() -> None:
    """R27, R36: `issued` follows `submitted`, which only the CA's acknowledgement makes."""
    assert [(old, e) for (old, e), new in TRANSITIONS.items() if new is Status.ISSUED] == [
        (Status.SUBMITTED, Event.ISSUE)
    ]
    assert [(old, e) for (old, e), new in TRANSITIONS.items() if new is Status.SUBMITTED] == [
        (Status.ACCEPTED, Event.CA_ACCEPT)
    ]


@pytest.mark.parametrize("state", State)
def test_a_state_is_found_again_under_its_public_status(state: State) -> None:
    assert state in states_with_status(public_status(state))


def test_public_statuses_divide_the_states_among_them() -> None:
    statuses = {public_status(state) for state in State}
    found = [state for status in statuses for state in states_with_status(status)]
    assert sorted(found) == sorted(State)
    assert statuses == {state.value for state in State} - {"submitting"}


@pytest.mark.parametrize("status", ["", "submitting", "ISSUED", "no such", "accepted ", "issued\0"])
def test_an_unknown_status_has_no_states(status: str) -> None:
    assert states_with_status(status) == ()


def test_the_words_are_the_seeds() -> None:
    """R25, with the RA team's own name."""
    shown = {status_text(state, ra="JTAG") for state in State}
    assert shown == {
        "Accepted for automatic processing",
        "Accepted by CA",
        "Rejected by CA",
        "Rejected by JTAG",
        "Waiting for manual approval",
        "Certificate available for download",
        "Withdrawn",
    }
    assert status_text(Status.REJECTED_BY_RA, ra="The {team}") == "Rejected by The {team}"
    assert status_text(Status.ACCEPTED, ra="x") == status_text(Status.ACCEPTED, ra="x")
