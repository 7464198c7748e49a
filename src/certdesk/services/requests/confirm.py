"""Confirming and approving as people meet them: decide, then issue at once where the CA is quick.

A fast CA is asked while the person waits; a slow one is left to the background. If anything goes wrong after
the decision is stored, the worker takes it from there.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from certdesk.domain.actors import Actor
from certdesk.domain.errors import BackendError, BackendRefused, StateConflict
from certdesk.domain.issuing.states import Status, Work
from certdesk.services.issuance import engine as issuance
from certdesk.services.people.organisations import Evidence
from certdesk.services.requests.another import create_another
from certdesk.services.requests.asking import Created, Submission, create_request
from certdesk.services.requests.decisions import Shown, approve_request
from certdesk.services.system import runtime
from certdesk.store.models import Issuance, Request

Clock = Callable[[], datetime]


def submit_request(
    *, actor: Actor, submission: Submission, channel: str, idempotency_key: str = "", clock: Clock
) -> Created:
    """Creates a request and, if policy accepts it and the CA is quick, has it issued.

    Raises as `create_request` does.
    """
    made = create_request(
        actor=actor,
        submission=submission,
        channel=channel,
        idempotency_key=idempotency_key,
        at_once=True,
        now=clock(),
    )
    return _issued_at_once(made, clock=clock)


def submit_another(
    *, actor: Actor, number: int, upload: bytes, channel: str, idempotency_key: str = "", clock: Clock
) -> tuple[Created, int | None]:
    """Has another certificate issued under a request; its id is None while the CA is at work.

    Raises as `create_another` does, and BackendRefused where it ended without a certificate.
    """
    made = create_another(
        actor=actor,
        number=number,
        upload=upload,
        channel=channel,
        idempotency_key=idempotency_key,
        at_once=True,
        now=clock(),
    )
    _issued_at_once(made, clock=clock)
    row = Issuance.objects.select_related("certificate").get(id=made.issuance_id or 0)
    if row.state in (Work.REFUSED, Work.CANCELLED):
        raise BackendRefused(row.detail)
    return made, row.certificate.pk if row.state == Work.ISSUED else None


def approve_and_issue(
    *,
    actor: Actor,
    number: int,
    shown: Shown,
    evidence: Sequence[Evidence] = (),
    vetting: str = "",
    note: str = "",
    message: str = "",
    clock: Clock,
) -> None:
    """Approves a request and, if the CA is quick, has it issued. Raises as `approve_request` does."""
    due = approve_request(
        actor=actor,
        number=number,
        shown=shown,
        evidence=evidence,
        vetting=vetting,
        note=note,
        message=message,
        now=clock(),
    )
    if due is not None and _is_quick(number):
        _at_once(lambda: issuance.issue(issuance_id=due, clock=clock))


def _is_quick(number: int) -> bool:
    """Whether each CA that may issue under a request answers while a person waits."""
    rt = runtime.current()
    profile_id = Request.objects.values_list("profile_id", flat=True).get(id=number)
    return all(rt.backend(name).inline for name in rt.cas_of(rt.standing_profile(profile_id)))


def _issued_at_once(made: Created, *, clock: Clock) -> Created:
    number, claimed = made.issuance_id, made.claimed
    if number is None or not made.due:
        return made
    if not (_is_quick(made.number) if claimed is None else claimed.backend.inline):
        return made
    work = _at_once(lambda: issuance.issue(issuance_id=number, clock=clock, already=claimed))
    if work is Work.ISSUED:
        return replace(made, status=Status.ISSUED)
    return replace(made, status=Status(Request.objects.values_list("status", flat=True).get(id=made.number)))


def _at_once(issue: Callable[[], Work]) -> Work | None:
    try:
        return issue()
    except (StateConflict, BackendError):
        # The decision stands and is recorded; the worker goes on with it and says what is the matter.
        return None
