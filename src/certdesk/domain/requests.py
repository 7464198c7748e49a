"""The life of a request: states, events and the one table that says which may follow which.

Only `certdesk.store.transitions.advance` writes a state, and only along this table.
`docs/states.md` is generated from it.
"""

from enum import StrEnum
from typing import NewType

RequestId = NewType("RequestId", int)
OrganisationId = NewType("OrganisationId", int)
UserId = NewType("UserId", int)


class State(StrEnum):
    """Where a request is. Exactly one at a time (R25)."""

    WAITING_FOR_APPROVAL = "waiting_for_approval"
    ACCEPTED = "accepted"
    SUBMITTING = "submitting"  # claimed for hand-over; the CA has not acknowledged yet (ADR 2)
    SUBMITTED = "submitted"
    ISSUED = "issued"
    REJECTED_BY_RA = "rejected_by_ra"
    REJECTED_BY_CA = "rejected_by_ca"
    WITHDRAWN = "withdrawn"


class Event(StrEnum):
    """What can happen to a request."""

    CREATE = "create"
    APPROVE = "approve"
    REJECT = "reject"
    WITHDRAW = "withdraw"
    REFER = "refer"
    CLAIM = "claim"
    RELEASE = "release"
    CA_ACCEPT = "ca_accept"
    CA_REFUSE = "ca_refuse"
    ISSUE = "issue"
    RETRY = "retry"
    REISSUE = "reissue"  # another certificate under an issued request: a line of history, no other state


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.WAITING_FOR_APPROVAL, Event.APPROVE): State.ACCEPTED,
    (State.WAITING_FOR_APPROVAL, Event.REJECT): State.REJECTED_BY_RA,
    (State.WAITING_FOR_APPROVAL, Event.WITHDRAW): State.WITHDRAWN,
    (State.ACCEPTED, Event.CLAIM): State.SUBMITTING,
    (State.ACCEPTED, Event.REFER): State.WAITING_FOR_APPROVAL,
    (State.ACCEPTED, Event.REJECT): State.REJECTED_BY_RA,
    (State.ACCEPTED, Event.WITHDRAW): State.WITHDRAWN,
    (State.SUBMITTING, Event.RELEASE): State.ACCEPTED,
    (State.SUBMITTING, Event.CA_ACCEPT): State.SUBMITTED,
    (State.SUBMITTING, Event.CA_REFUSE): State.REJECTED_BY_CA,
    (State.SUBMITTED, Event.CA_REFUSE): State.REJECTED_BY_CA,
    (State.SUBMITTED, Event.ISSUE): State.ISSUED,
    (State.REJECTED_BY_CA, Event.RETRY): State.ACCEPTED,
}

#: Who is told by e-mail, and what the applicant may still do, hangs on whether anything can still happen.
ENDED: frozenset[State] = frozenset(
    {State.ISSUED, State.REJECTED_BY_RA, State.REJECTED_BY_CA, State.WITHDRAWN}
)

_STATUS_TEXT: dict[State, str] = {
    State.WAITING_FOR_APPROVAL: "Waiting for manual approval",
    State.ACCEPTED: "Accepted for automatic processing",
    State.SUBMITTING: "Accepted for automatic processing",
    State.SUBMITTED: "Accepted by CA",
    State.ISSUED: "Certificate available for download",
    State.REJECTED_BY_RA: "Rejected by {ra}",
    State.REJECTED_BY_CA: "Rejected by CA",
    State.WITHDRAWN: "Withdrawn",
}


def status_text(state: State, *, ra: str) -> str:
    """The seed's words for a state (R25); `ra` is the RA team's name, such as JTAG."""
    return _STATUS_TEXT[state].format(ra=ra)


def public_status(state: State) -> str:
    """The state as the REST contract names it: a claimed request is still `accepted` to the outside."""
    return State.ACCEPTED.value if state is State.SUBMITTING else state.value


def states_with_status(status: str) -> tuple[State, ...]:
    """The states that show as one public status: the inverse of `public_status`; empty for an unknown one."""
    return tuple(state for state in State if public_status(state) == status)
