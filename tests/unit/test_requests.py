"""The two tables and the status: nothing leaves them, all in them can be reached, what is over is over."""

import itertools
from collections.abc import Sequence
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certdesk.domain.issuing.states import (
    DONE,
    FINAL,
    ISSUANCE_TRANSITIONS,
    NEEDS_NO_CERTIFICATE,
    REQUEST_TRANSITIONS,
    Event,
    State,
    Status,
    Work,
    status_of,
    status_text,
)

#: A request begins in one of these: policy decides which. An issuance begins with its wait.
BEGINNINGS = (State.WAITING_FOR_APPROVAL, State.APPROVED)
OVER = frozenset({State.REJECTED, State.WITHDRAWN, State.ENDED})
EVENTS = st.lists(st.sampled_from(Event), max_size=40)
TABLES = pytest.mark.parametrize(
    "table, beginnings, over, members",
    [(REQUEST_TRANSITIONS, set(BEGINNINGS), OVER, State), (ISSUANCE_TRANSITIONS, {Work.WAITING}, DONE, Work)],
    ids=["request", "issuance"],
)


def _works(events: Sequence[Event]) -> list[Work]:
    """The states an issuance passes through; an event that the table does not know changes nothing."""
    passed = [Work.WAITING]
    for event in events:
        passed.append(ISSUANCE_TRANSITIONS.get((passed[-1], event), passed[-1]))
    return passed


def _statuses(beginning: State, events: Sequence[Event]) -> list[tuple[State, Status]]:
    """What people read while a request and its one issuance go along both tables.

    Only under an approved request is anything claimed, and only there does a certificate count.
    """
    state, work, passed = beginning, Work.WAITING, list[tuple[State, Status]]()
    for event in (None, *events):
        certified = work is Work.ISSUED
        if event is not None and not (certified and event in NEEDS_NO_CERTIFICATE):
            state = REQUEST_TRANSITIONS.get((state, event), state)
        if event is not None and (event not in (Event.CLAIM, Event.ISSUE) or state is State.APPROVED):
            work = ISSUANCE_TRANSITIONS.get((work, event), work)
        passed.append((state, status_of(state, work, has_certificate=work is Work.ISSUED)))
    return passed


@given(EVENTS)
def test_whatever_happens_an_issued_one_was_claimed_and_acknowledged_by_the_ca(events: list[Event]) -> None:
    passed = _works(events)
    if Work.ISSUED in passed:
        before = [work for work, _same in itertools.groupby(passed[: passed.index(Work.ISSUED)])]
        assert before[-3:] == [Work.WAITING, Work.CLAIMED, Work.SUBMITTED]


@given(EVENTS, st.sampled_from(BEGINNINGS))
def test_what_is_over_stays_over(events: list[Event], beginning: State) -> None:
    works, states = _works(events), [state for state, _status in _statuses(beginning, events)]
    for done in DONE & set(works):
        assert set(works[works.index(done) :]) == {done}
    for over in OVER & set(states):
        assert set(states[states.index(over) :]) == {over}


@given(EVENTS, st.sampled_from(BEGINNINGS))
def test_what_the_ra_rejected_or_the_applicant_withdrew_is_never_shown_as_issued(
    events: list[Event], beginning: State
) -> None:
    shown = [status for _state, status in _statuses(beginning, events)]
    for over in (Status.REJECTED_BY_RA, Status.WITHDRAWN, Status.ISSUED):
        if over in shown:
            assert set(shown[shown.index(over) :]) == {over}


@TABLES
def test_every_state_can_be_reached_and_only_what_is_over_has_no_way_on(
    table: dict[tuple[StrEnum, Event], StrEnum],
    beginnings: set[StrEnum],
    over: frozenset[StrEnum],
    members: type[StrEnum],
) -> None:
    reached = set(beginnings)
    for _ in members:
        reached |= {new for (old, _event), new in table.items() if old in reached}
    assert reached == set(members)
    assert set(members) - {old for old, _event in table} == over


def test_creating_is_no_transition_and_every_other_event_has_one() -> None:
    known = {event for _old, event in (*REQUEST_TRANSITIONS, *ISSUANCE_TRANSITIONS)}
    assert known == set(Event) - {Event.CREATE}


def test_an_event_is_about_the_decision_or_about_the_work() -> None:
    assert not {e for _old, e in REQUEST_TRANSITIONS} & {e for _old, e in ISSUANCE_TRANSITIONS}


def test_with_a_certificate_a_request_can_only_be_ended() -> None:
    assert {e for old, e in REQUEST_TRANSITIONS if old is State.APPROVED} - NEEDS_NO_CERTIFICATE == {
        Event.END
    }


def test_only_the_cas_acceptance_leads_to_issued() -> None:
    """`issued` follows `submitted`, which only the CA's acknowledgement makes."""
    ways = {new: [key for key, to in ISSUANCE_TRANSITIONS.items() if to is new] for new in Work}
    assert ways[Work.ISSUED] == [(Work.SUBMITTED, Event.ISSUE)]
    assert ways[Work.SUBMITTED] == [(Work.CLAIMED, Event.CA_ACCEPT)]
    assert ways[Work.CLAIMED] == [(Work.WAITING, Event.CLAIM)]


@pytest.mark.parametrize("has_certificate", [False, True])
@pytest.mark.parametrize("newest", [None, *Work])
@pytest.mark.parametrize("state", State)
def test_every_state_and_work_have_one_status(
    state: State, newest: Work | None, *, has_certificate: bool
) -> None:
    working = {Work.SUBMITTED: Status.SUBMITTED, Work.REFUSED: Status.REJECTED_BY_CA}
    expected = {
        State.WAITING_FOR_APPROVAL: Status.WAITING_FOR_APPROVAL,
        State.REJECTED: Status.REJECTED_BY_RA,
        State.WITHDRAWN: Status.WITHDRAWN,
        State.ENDED: Status.ISSUED if has_certificate else Status.WITHDRAWN,
        State.APPROVED: Status.ISSUED
        if has_certificate
        else working.get(newest or Work.WAITING, Status.ACCEPTED),
    }
    assert status_of(state, newest, has_certificate=has_certificate) is expected[state]


def test_the_statuses_that_are_final_are_those_that_nothing_leaves_by_itself() -> None:
    over = {status_of(state, Work.CANCELLED, has_certificate=False) for state in OVER}
    ended = {status_of(State.APPROVED, work, has_certificate=work is Work.ISSUED) for work in DONE}
    assert over | ended - {Status.ACCEPTED} == FINAL


def test_the_words_are_the_seeds() -> None:
    """With the RA team's own name."""
    shown = {status_text(status, ra="JTAG") for status in Status}
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
