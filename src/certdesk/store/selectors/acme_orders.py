"""An account's orders as people look at them: the computed status, the request, and what went wrong."""

from dataclasses import dataclass
from datetime import datetime

from certdesk.domain.acme.orders import (
    AuthorizationFacts,
    AuthorizationStatus,
    OrderFacts,
    OrderStatus,
    authorization_status,
    order_status,
)
from certdesk.domain.acme.problems import URN, ProblemType
from certdesk.domain.actors import Actor
from certdesk.domain.issuing.states import RequestId
from certdesk.store.copied import copied
from certdesk.store.models import AcmeAuthorization, AcmeOrder
from certdesk.store.selectors.acme import get_account


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What went wrong with an order. `name` and `challenge` are empty when it is about the order itself.

    `is_final` is False while it is being tried again. `kind` is None for a type that nobody here knows.
    """

    name: str
    challenge: str
    kind: ProblemType | None
    detail: str
    is_final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow:
    """An order. `request` is the entitlement it was made under, where there is one yet."""

    id: int
    names: tuple[str, ...]
    profile_id: str
    status: OrderStatus
    created_at: datetime
    expires_at: datetime
    request: RequestId | None
    certificate_id: int | None
    failures: tuple[Failure, ...]


def list_orders(
    *, actor: Actor, account_id: int, before: int | None = None, limit: int = 20, now: datetime
) -> list[OrderRow]:
    """The newest orders of an account, with an id below `before` only. Raises NotFound for a foreign one."""
    get_account(actor=actor, account_id=account_id)
    found = AcmeOrder.objects.filter(account_id=account_id)
    if before is not None:
        found = found.filter(id__lt=before)
    rows = found.prefetch_related("authorizations__challenges").order_by("-id")[:limit]
    return [_order(row, now=now) for row in rows]


def _order(row: AcmeOrder, *, now: datetime) -> OrderRow:
    authorizations = sorted(row.authorizations.all(), key=lambda one: one.pk)
    facts = OrderFacts(
        expires_at=row.expires_at,
        is_finalized=row.finalized_at is not None,
        has_certificate=row.certificate_id is not None,
        is_failed=row.problem is not None,
    )
    statuses = [_status(one, row, now=now) for one in authorizations]
    return copied(
        OrderRow,
        row,
        names=tuple(row.identifiers),
        status=order_status(facts, statuses, now=now),
        request=None if row.request_id is None else RequestId(row.request_id),
        failures=_failures(row, authorizations),
    )


def _status(row: AcmeAuthorization, order: AcmeOrder, *, now: datetime) -> AuthorizationStatus:
    facts = AuthorizationFacts(
        expires_at=order.expires_at,
        valid_until=row.valid_until,
        is_failed=row.failed_at is not None,
        is_deactivated=row.deactivated_at is not None,
    )
    return authorization_status(facts, now=now)


def _failures(row: AcmeOrder, authorizations: list[AcmeAuthorization]) -> tuple[Failure, ...]:
    found = [] if row.problem is None else [_failure(row.problem, is_final=True)]
    for one in authorizations:
        for challenge in one.challenges.all():
            if challenge.problem is not None and challenge.validated_at is None:
                name = f"*.{one.name}" if one.wildcard else one.name
                is_final = challenge.next_attempt_at is None
                found.append(
                    _failure(challenge.problem, name=name, challenge=challenge.type, is_final=is_final)
                )
    return tuple(found)


def _failure(problem: dict[str, object], *, name: str = "", challenge: str = "", is_final: bool) -> Failure:
    kind = str(problem.get("type", "")).removeprefix(URN)
    return Failure(
        name=name,
        challenge=challenge,
        kind=ProblemType(kind) if kind in set(ProblemType) else None,
        detail=str(problem.get("detail", "")),
        is_final=is_final,
    )
