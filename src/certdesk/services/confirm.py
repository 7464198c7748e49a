"""Confirming and approving as people meet them: decide, then issue at once where the CA is quick (R23).

A fast CA is asked while the person waits; a slow one is left to the background. Whatever goes wrong
after the decision is stored, the reconcile tick takes it from there.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from certdesk.domain.actors import Actor
from certdesk.domain.errors import BackendError, StateConflict
from certdesk.domain.requests import RequestId, State
from certdesk.services import issuance, runtime
from certdesk.services.organisations import Evidence
from certdesk.services.requests import Created, Submission, approve_request, create_request


def submit_request(
    *,
    actor: Actor,
    submission: Submission,
    channel: str,
    idempotency_key: str = "",
    clock: Callable[[], datetime],
) -> Created:
    """Creates a request and, if policy accepts it and the CA is quick, has it issued.

    Raises as `create_request` does.
    """
    created = create_request(
        actor=actor, submission=submission, channel=channel, idempotency_key=idempotency_key, now=clock()
    )
    if created.replayed or created.pending or created.state is not State.ACCEPTED:
        return created
    return replace(created, state=_issue_now(created.number, clock=clock) or created.state)


def approve_and_issue(
    *,
    actor: Actor,
    number: int,
    evidence: Sequence[Evidence] = (),
    note: str = "",
    seen_version: int | None = None,
    clock: Callable[[], datetime],
) -> None:
    """Approves a request and, if the CA is quick, has it issued. Raises as `approve_request` does."""
    approve_request(
        actor=actor, number=number, evidence=evidence, note=note, seen_version=seen_version, now=clock()
    )
    _issue_now(RequestId(number), clock=clock)


def _issue_now(number: RequestId, *, clock: Callable[[], datetime]) -> State | None:
    rt = runtime.current()
    if not rt.backend(rt.default_backend).inline:
        return None
    try:
        return issuance.issue(request_id=number, clock=clock)
    except (StateConflict, BackendError):
        # The decision stands and is recorded; the tick goes on with it and says what is the matter.
        return None
