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
from certdesk.services.decisions import approve_request
from certdesk.services.organisations import Evidence
from certdesk.services.requests import Created, Submission, create_request


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
    rt = runtime.current()
    backend = rt.backend(rt.default_backend)
    created = create_request(
        actor=actor,
        submission=submission,
        channel=channel,
        idempotency_key=idempotency_key,
        at_once=backend if backend.inline else None,
        now=clock(),
    )
    if created.claimed is not None:
        claimed = created.claimed
        state = _at_once(lambda: issuance.finish(claimed, clock=clock))
    elif backend.inline and not created.replayed and not created.pending and created.state is State.ACCEPTED:
        state = _at_once(lambda: issuance.issue(request_id=created.number, clock=clock))
    else:
        return created
    return replace(created, state=state or created.state)


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
    rt = runtime.current()
    if rt.backend(rt.default_backend).inline:
        _at_once(lambda: issuance.issue(request_id=RequestId(number), clock=clock))


def _at_once(issue: Callable[[], State]) -> State | None:
    try:
        return issue()
    except (StateConflict, BackendError):
        # The decision stands and is recorded; the tick goes on with it and says what is the matter.
        return None
