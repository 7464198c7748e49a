"""The two lives behind a certificate: a request's decision, an issuance's work, and the status that follows.

A request is what somebody asked for and what was decided about it; an issuance is one CSR on its way to one
certificate. Only `certdesk.store.transitions` writes a state, and only along these two tables;
`docs/states.md` is generated from them.
"""

from enum import StrEnum
from typing import NewType

RequestId = NewType("RequestId", int)
IssuanceId = NewType("IssuanceId", int)
OrganisationId = NewType("OrganisationId", int)
UserId = NewType("UserId", int)


class State(StrEnum):
    """How a request was decided. Exactly one at a time."""

    WAITING_FOR_APPROVAL = "waiting_for_approval"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    ENDED = "ended"  # certificates were allowed, and are no longer


class Work(StrEnum):
    """How far an issuance has come."""

    WAITING = "waiting"  # for approval, validation, the DNS, or a CA that can't be reached
    CLAIMED = "claimed"  # the intent is recorded; the CA may have it, or not
    SUBMITTED = "submitted"  # the CA has acknowledged it
    ISSUED = "issued"
    REFUSED = "refused"
    CANCELLED = "cancelled"  # a permission ended before there was a certificate to hand out


class Status(StrEnum):
    """What people read. It follows from a request's state and its issuances, and is never decided on."""

    WAITING_FOR_APPROVAL = "waiting_for_approval"
    ACCEPTED = "accepted"
    SUBMITTED = "submitted"
    ISSUED = "issued"
    REJECTED_BY_RA = "rejected_by_ra"
    REJECTED_BY_CA = "rejected_by_ca"
    WITHDRAWN = "withdrawn"


class Event(StrEnum):
    CREATE = "create"
    APPROVE = "approve"
    REJECT = "reject"
    WITHDRAW = "withdraw"
    REFER = "refer"
    RETRY = "retry"  # the CA refused; an officer has the same CSR sent again
    END = "end"
    CLAIM = "claim"
    RELEASE = "release"
    CA_ACCEPT = "ca_accept"
    CA_REFUSE = "ca_refuse"
    ISSUE = "issue"
    CANCEL = "cancel"


#: A request's decision.
REQUEST_TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.WAITING_FOR_APPROVAL, Event.APPROVE): State.APPROVED,
    (State.WAITING_FOR_APPROVAL, Event.REJECT): State.REJECTED,
    (State.WAITING_FOR_APPROVAL, Event.WITHDRAW): State.WITHDRAWN,
    (State.APPROVED, Event.REFER): State.WAITING_FOR_APPROVAL,
    (State.APPROVED, Event.RETRY): State.APPROVED,
    (State.APPROVED, Event.REJECT): State.REJECTED,
    (State.APPROVED, Event.WITHDRAW): State.WITHDRAWN,
    (State.APPROVED, Event.END): State.ENDED,
}
#: Once there is a certificate, a request can only be ended: nobody can unsay what was issued.
NEEDS_NO_CERTIFICATE = frozenset({Event.REJECT, Event.WITHDRAW, Event.REFER, Event.RETRY})

#: An issuance's work.
ISSUANCE_TRANSITIONS: dict[tuple[Work, Event], Work] = {
    (Work.WAITING, Event.CLAIM): Work.CLAIMED,
    (Work.WAITING, Event.CANCEL): Work.CANCELLED,
    (Work.CLAIMED, Event.RELEASE): Work.WAITING,
    (Work.CLAIMED, Event.CA_ACCEPT): Work.SUBMITTED,
    (Work.CLAIMED, Event.CA_REFUSE): Work.REFUSED,
    (Work.CLAIMED, Event.CANCEL): Work.CANCELLED,
    (Work.SUBMITTED, Event.ISSUE): Work.ISSUED,
    (Work.SUBMITTED, Event.CA_REFUSE): Work.REFUSED,
    (Work.SUBMITTED, Event.CANCEL): Work.CANCELLED,
}
#: Nothing further happens to these.
DONE: frozenset[Work] = frozenset({Work.ISSUED, Work.REFUSED, Work.CANCELLED})
OPEN: frozenset[Work] = frozenset(Work) - DONE

#: The statuses in which nothing more happens unless somebody asks for it.
FINAL: frozenset[Status] = frozenset(
    {Status.ISSUED, Status.REJECTED_BY_RA, Status.REJECTED_BY_CA, Status.WITHDRAWN}
)

_DECIDED: dict[State, Status] = {
    State.WAITING_FOR_APPROVAL: Status.WAITING_FOR_APPROVAL,
    State.REJECTED: Status.REJECTED_BY_RA,
    State.WITHDRAWN: Status.WITHDRAWN,
}
_WORKING: dict[Work, Status] = {Work.SUBMITTED: Status.SUBMITTED, Work.REFUSED: Status.REJECTED_BY_CA}

_STATUS_TEXT: dict[Status, str] = {
    Status.WAITING_FOR_APPROVAL: "Waiting for manual approval",
    Status.ACCEPTED: "Accepted for automatic processing",
    Status.SUBMITTED: "Accepted by CA",
    Status.ISSUED: "Certificate available for download",
    Status.REJECTED_BY_RA: "Rejected by {ra}",
    Status.REJECTED_BY_CA: "Rejected by CA",
    Status.WITHDRAWN: "Withdrawn",
}


def status_of(state: State, newest: Work | None, *, has_certificate: bool) -> Status:
    """The status that follows from a request's state and its newest issuance. Total."""
    if state in _DECIDED:
        return _DECIDED[state]
    if has_certificate:
        return Status.ISSUED
    if state is State.ENDED:
        return Status.WITHDRAWN
    return Status.ACCEPTED if newest is None else _WORKING.get(newest, Status.ACCEPTED)


def status_text(status: Status, *, state: State | None = None, ra: str) -> str:
    """The words for a status; `ra` is the RA team's name, such as JTAG.

    With `state`, a request that has ended says so, whatever it had come to before.
    """
    return "Ended" if state is State.ENDED else _STATUS_TEXT[status].format(ra=ra)
