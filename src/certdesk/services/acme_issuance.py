"""ACME orders on the way to their certificate, driven by the order's own row (docs/issuance-cycle.md).

The order's intent was recorded by `acme_finalize`; signing, comparing and recording are in `under_request`.
No policy is decided here.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from certdesk.backends.base import Backend
from certdesk.domain.acme_problems import ProblemType, problem_json
from certdesk.domain.actors import Actor
from certdesk.domain.certificates import Intent
from certdesk.domain.errors import InvariantViolated
from certdesk.services import under_request
from certdesk.services.acme_accounts import actor_of
from certdesk.services.acme_orders import note_problem
from certdesk.services.intents import LEASE
from certdesk.services.under_request import Clock
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import AcmeOrder, AttemptOutcome, IssuanceAttempt
from certdesk.store.prepared import Prepared, Swap

_CERTIFY = Swap(AcmeOrder, where=("id",), to=("certificate", "next_attempt_at"))
_ORDER = Prepared(
    lambda number: AcmeOrder.objects.select_related("account__credential").filter(id=number), int
)


def complete(
    attempt: IssuanceAttempt, intent: Intent, backend: Backend, *, order: AcmeOrder, clock: Clock
) -> None:
    """Has the CA sign, outside any transaction, and records what came; the tick drives on what is open.

    `order` is the attempt's, with the account that made it.
    """
    holder = _OrderHolder(attempt=attempt, order=order)
    under_request.complete(attempt, intent, backend, holder=holder, clock=clock)


def due_orders(*, now: datetime, limit: int = 20) -> list[int]:
    """The orders that the worker's tick has to look at, longest overdue first."""
    due = AcmeOrder.objects.filter(next_attempt_at__lte=now).order_by("next_attempt_at")
    return list(due.values_list("id", flat=True)[:limit])


def drive_order(*, order_id: int, clock: Clock) -> None:
    """Takes an order one step on from wherever a crash or a slow CA has left it. Idempotent."""
    now = clock()
    seen = AcmeOrder.objects.filter(id=order_id).values_list("next_attempt_at", flat=True).first()
    if seen is None or seen > now:
        return
    with write_transaction():
        leased = AcmeOrder.objects.filter(id=order_id, next_attempt_at=seen).update(
            next_attempt_at=now + LEASE
        )
    if not leased:
        return
    attempt = IssuanceAttempt.objects.filter(order_id=order_id, outcome=AttemptOutcome.OPEN).first()
    if attempt is None:
        _look_again(order_id, at=None)
        return
    order = _ORDER.first(order_id)
    if order is None:
        raise InvariantViolated("an attempt outlived its order")
    under_request.resume(attempt, holder=_OrderHolder(attempt=attempt, order=order), clock=clock)


def postpone_order(*, order_id: int, now: datetime) -> None:
    """Puts off an order that can't be driven at present, so that it does not hold up the others."""
    _look_again(order_id, at=now + timedelta(minutes=1))


@dataclass
class _OrderHolder:
    """An order as `under_request` sees it, with the account that made it."""

    attempt: IssuanceAttempt
    order: AcmeOrder
    kind: str = "order"

    @property
    def number(self) -> int:
        """Its number."""
        return self.order.pk

    @property
    def organisation_id(self) -> int:
        """Whose it is."""
        return self.order.organisation_id

    @cached_property
    def actor(self) -> Actor:
        """The account."""
        return actor_of(self.order.account)

    def look_again(self, *, at: datetime | None) -> None:
        """Says when the tick is to look at it, unless it has ended by now."""
        _look_again(self.number, at=at)

    def certified(self, *, certificate_id: int) -> None:
        """The order is valid."""
        _CERTIFY((self.number,), (certificate_id, None))

    def failed(self, *, outcome: AttemptOutcome, reason: str, now: datetime) -> None:
        """The order is invalid, and the client reads why."""
        problem = problem_json(ProblemType.SERVER_INTERNAL, reason)
        AcmeOrder.objects.filter(id=self.number).update(problem=problem, next_attempt_at=None)
        note_problem(self.order.account, reason, now=now)
        audit.record(
            actor=self.actor,
            action="acme_order.fail",
            object_type="acme_order",
            object_id=self.number,
            organisation_id=self.organisation_id,
            now=now,
            data={"outcome": outcome.value, "reason": reason, "request": self.attempt.request_id},
        )


def _look_again(order_id: int, *, at: datetime | None) -> None:
    with write_transaction():
        AcmeOrder.objects.filter(id=order_id, certificate__isnull=True, problem__isnull=True).update(
            next_attempt_at=at
        )
