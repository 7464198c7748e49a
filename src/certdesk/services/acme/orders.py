"""ACME orders and authorizations (RFC 8555 7.4, 7.5): made under policy, read by their own account alone.

Policy looks at the names when the order is made. One that a human has to decide is refused at once and names
the request that waits for it: no order ever waits for a person. Finalizing lives in `finalize`.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q

from certdesk.domain.acme.jws import encoded
from certdesk.domain.acme.orders import (
    ORDER_LIFE,
    AuthorizationFacts,
    AuthorizationStatus,
    ChallengeStatus,
    ChallengeType,
    OrderFacts,
    OrderStatus,
    authorization_status,
    challenge_status,
    challenge_types,
    order_status,
)
from certdesk.domain.acme.problems import AcmeRefused, ProblemType, problem_of
from certdesk.domain.actors import Action
from certdesk.domain.errors import RateLimited
from certdesk.domain.issuing.profiles import Profile
from certdesk.domain.issuing.states import OrganisationId, Status, UserId, status_text
from certdesk.domain.names.identifiers import DnsName
from certdesk.domain.validation.evidence import Method, Validation, covering
from certdesk.services.acme.accounts import (
    actor_of,
    judged_now,
    must_be_able,
    refuse_ended,
    refuse_obstacles,
)
from certdesk.services.acme.renewal import identifier_of
from certdesk.services.requests.entitlements import (
    Entitled,
    NeedsApproval,
    NotEntitled,
    Wanted,
    entitlement_for,
    subject_wanted,
)
from certdesk.services.requests.preflight import rules_for
from certdesk.services.system import runtime
from certdesk.store import audit
from certdesk.store.apart import apart
from certdesk.store.db import write_transaction
from certdesk.store.driver import insert, insert_all
from certdesk.store.models import AcmeAccount, AcmeAuthorization, AcmeChallenge, AcmeOrder, Certificate
from certdesk.store.selectors.facts import lock_organisation
from certdesk.store.sql import COUNT_ANEW, COUNT_ORDER, authorization_now, order_now

DEFAULT_PROFILE = "tls-server"
HOUR = timedelta(hours=1)
ORDERS_A_PAGE = 100
#: Orders that came to nothing are kept for so long, for people who look for the reason.
KEEP_ENDED = timedelta(days=30)
CLEARED_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderView:
    """An order as its account sees it. `authorizations` are ids, `problem` is the RFC 7807 object.

    `replaces` is empty or the unique identifier of a certificate (RFC 9773 4.1).
    """

    id: int
    status: OrderStatus
    expires_at: datetime
    names: tuple[str, ...]
    profile_id: str
    authorizations: tuple[int, ...]
    replaces: str
    certificate_id: int | None
    problem: Mapping[str, object] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengeView:
    """A challenge as its account sees it."""

    authorization_id: int
    type: ChallengeType
    token: str
    status: ChallengeStatus
    validated_at: datetime | None = None
    problem: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationView:
    """An authorization as its account sees it; `name` has no wildcard label."""

    id: int
    name: str
    wildcard: bool
    status: AuthorizationStatus
    expires_at: datetime
    challenges: tuple[ChallengeView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An order that is not made. A request may have been made in its place, so it is no exception."""

    problem: AcmeRefused


def new_order(
    *,
    account: AcmeAccount,
    names: tuple[DnsName, ...],
    profile_id: str = "",
    replaces: Certificate | None = None,
    now: datetime,
) -> OrderView | Refusal:
    """Makes an order, its names proven already where a current validation record covers them.

    Raises AcmeRefused for what the credential does not allow, RateLimited.
    """
    must_be_able(account, Action.ACME_ORDER)
    profile_id = ordered_profile(account, profile_id, now=now).id
    with write_transaction():
        rules = rules_for(subject_wanted(wanted_by(account, names, profile_id)))
        # An account's orders are counted, so they come one at a time.
        once = f"orders of account {account.pk}"
        lock_organisation(OrganisationId(account.organisation_id), once, shared=not rules.daily_cap)
        found = judged_now(account, names=names, profile_id=profile_id, now=now)
        account = found.account
        _count_order(account, now=now)
        wanted = wanted_by(account, names, profile_id)
        match entitlement_for(wanted, actor=actor_of(account), known=found.known, now=now):
            case Entitled() as entitled:
                return _create(account, wanted, entitled, replaces=replaces, now=now)
            case NeedsApproval() as waiting:
                return _refused(account, _needs_human(waiting), now=now)
            case NotEntitled(checks=checks):
                return _refused(account, problem_of(checks), now=now)


def wanted_by(account: AcmeAccount, names: tuple[DnsName, ...], profile_id: str) -> Wanted:
    """What an account asks for, in the name of its credential's owner."""
    return Wanted(
        organisation=account.organisation,
        names=names,
        profile_id=profile_id,
        owner_id=UserId(account.credential.owner_id),
        account_id=account.pk,
        asked_by=actor_of(account).label,
    )


def get_order(*, account: AcmeAccount, order_id: int, now: datetime) -> OrderView:
    """One of the account's own orders. Raises AcmeRefused: 404 for any other; as `refuse_obstacles` does."""
    row, authorizations = own_order(account, order_id)
    refuse_obstacles(account, names=row.identifiers, profile_id=row.profile_id, now=now)
    return order_view(row, authorizations, now=now)


def own_order(account: AcmeAccount, order_id: int) -> tuple[AcmeOrder, list[AcmeAuthorization]]:
    """One of the account's orders with its authorizations. Raises AcmeRefused (404) for any other."""
    found = order_now(order_id, account_id=account.pk)
    if found is None:
        raise not_there()
    return found


def order_view(row: AcmeOrder, authorizations: Sequence[AcmeAuthorization], *, now: datetime) -> OrderView:
    """A row with its computed status."""
    statuses = [status_of(one, expires_at=row.expires_at, now=now) for one in authorizations]
    facts = OrderFacts(
        expires_at=row.expires_at,
        is_finalized=row.finalized_at is not None,
        has_certificate=row.certificate_id is not None,
        is_failed=row.problem is not None,
    )
    return OrderView(
        id=row.pk,
        status=order_status(facts, statuses, now=now),
        expires_at=row.expires_at,
        names=tuple(row.identifiers),
        profile_id=row.profile_id,
        authorizations=tuple(one.pk for one in authorizations),
        replaces=identifier_of(row.replaces) if row.replaces else "",
        certificate_id=row.certificate_id,
        problem=row.problem,
    )


def list_orders(*, account: AcmeAccount, before: int | None, now: datetime) -> list[int]:
    """The account's newest orders that are neither invalid nor expired (RFC 8555 7.1.2.1)."""
    found = AcmeOrder.objects.filter(account_id=account.pk, problem__isnull=True)
    if before is not None:
        found = found.filter(id__lt=before)
    alive = found.filter(Q(finalized_at__isnull=False) | Q(expires_at__gt=now))
    return list(alive.order_by("-id").values_list("id", flat=True)[:ORDERS_A_PAGE])


def get_authorization(*, account: AcmeAccount, authorization_id: int, now: datetime) -> AuthorizationView:
    """An authorization of one of the account's orders. Raises AcmeRefused (404) for any other."""
    row, answered = own_authorization(account, authorization_id)
    refuse_obstacles(account, names=[named(row)], profile_id=row.order.profile_id, now=now)
    return authorization_view(row, answered, now=now)


def named(row: AcmeAuthorization) -> str:
    """The name as it was ordered, a wildcard with its label."""
    return f"*.{row.name}" if row.wildcard else row.name


def own_authorization(
    account: AcmeAccount, authorization_id: int
) -> tuple[AcmeAuthorization, list[AcmeChallenge]]:
    """The row with its order, and the challenges that were answered. Raises AcmeRefused (404) for others."""
    found = authorization_now(authorization_id, account_id=account.pk)
    if found is None:
        raise not_there()
    return found


def authorization_view(
    row: AcmeAuthorization, answered: Sequence[AcmeChallenge], *, now: datetime
) -> AuthorizationView:
    """A row with its computed status and the challenges that matter to it (RFC 8555 7.1.4)."""
    status = status_of(row, expires_at=row.order.expires_at, now=now)
    rows = {one.type: one for one in answered}
    offered = challenge_types(row.name, wildcard=row.wildcard, available=available_methods())
    views = [challenge_view(row, kind, rows.get(kind.name), status=status) for kind in offered]
    if status is AuthorizationStatus.VALID:
        views = [view for view in views if view.status is ChallengeStatus.VALID]
    elif status is not AuthorizationStatus.PENDING:
        views = [view for view in views if view.type.name in rows] or views
    expires_at = row.order.expires_at if row.valid_until is None else row.valid_until
    return AuthorizationView(
        id=row.pk,
        name=row.name,
        wildcard=row.wildcard,
        status=status,
        expires_at=expires_at,
        challenges=tuple(views),
    )


def challenge_view(
    row: AcmeAuthorization,
    kind: ChallengeType,
    answered: AcmeChallenge | None,
    *,
    status: AuthorizationStatus,
) -> ChallengeView:
    """A challenge, answered or not."""
    return ChallengeView(
        authorization_id=row.pk,
        type=kind,
        token=challenge_token(row, kind),
        status=challenge_status(
            is_started=answered is not None,
            is_due=answered is not None and answered.next_attempt_at is not None,
            is_validated=answered is not None and answered.validated_at is not None,
            authorization=status,
        ),
        validated_at=answered.validated_at if answered else None,
        problem=answered.problem if answered else None,
    )


def challenge_token(row: AcmeAuthorization, kind: ChallengeType) -> str:
    """The token of a challenge: 256 bits that follow from the authorization's own 256 random ones."""
    return encoded(hashlib.sha256(f"{row.token} {kind.name}".encode()).digest())


def deactivate_authorization(
    *, account: AcmeAccount, authorization_id: int, now: datetime
) -> AuthorizationView:
    """Gives an authorization up (RFC 8555 7.5.2): its order can't be finalized any more."""
    must_be_able(account, Action.ACME_ORDER)
    row, answered = own_authorization(account, authorization_id)
    with write_transaction():
        lock_organisation(OrganisationId(account.organisation_id))
        refuse_ended(account)
        changed = AcmeAuthorization.objects.filter(id=row.pk, deactivated_at__isnull=True).update(
            deactivated_at=now
        )
        if changed:
            row.deactivated_at = now
            audit.record(
                actor=actor_of(account),
                action="acme_authorization.deactivate",
                object_type="acme_order",
                object_id=row.order_id,
                organisation_id=account.organisation_id,
                now=now,
                data={"name": row.name},
            )
    return authorization_view(row, answered, now=now)


def status_of(row: AcmeAuthorization, *, expires_at: datetime, now: datetime) -> AuthorizationStatus:
    """The computed status of an authorization; `expires_at` is its order's."""
    facts = AuthorizationFacts(
        expires_at=expires_at,
        valid_until=row.valid_until,
        is_failed=row.failed_at is not None,
        is_deactivated=row.deactivated_at is not None,
    )
    return authorization_status(facts, now=now)


def available_methods() -> frozenset[Method]:
    """The validation methods that can be tried here."""
    rt = runtime.current()
    return frozenset(rt.validators) if rt.network is not None else frozenset()


def clear_orders(*, now: datetime) -> None:
    """Deletes orders that were never finalized, a while after they expired."""
    old = AcmeOrder.objects.filter(finalized_at__isnull=True, expires_at__lt=now - KEEP_ENDED)

    def clear(numbers: Sequence[int]) -> None:
        with write_transaction():
            old.filter(id__in=numbers).delete()

    apart(list(old.order_by("id").values_list("id", flat=True)[:CLEARED_AT_ONCE]), clear)


def not_there() -> AcmeRefused:
    """What is answered about objects of others, and about those that are none."""
    return AcmeRefused(ProblemType.MALFORMED, "There is no such object of this account.", status=404)


def note_problem(account: AcmeAccount, detail: str, *, now: datetime) -> None:
    """Keeps what a client was told last, for the people who look after it."""
    AcmeAccount.objects.filter(id=account.pk).update(last_problem=detail[:2000], last_problem_at=now)


def ordered_profile(account: AcmeAccount, profile_id: str, *, now: datetime) -> Profile:
    """The profile of an order that names this one, or none. Raises AcmeRefused as `refuse_obstacles` does."""
    wanted = profile_id or account.credential.profile_id or DEFAULT_PROFILE
    refuse_obstacles(account, names=(), profile_id=wanted, now=now)
    return runtime.current().profiles[wanted]


def _count_order(account: AcmeAccount, *, now: datetime) -> None:
    """Counts an order in the account's present hour, in one statement. Raises RateLimited."""
    acme = runtime.current().acme
    limit, most = acme.orders_per_hour, acme.pending_orders
    counted = COUNT_ORDER.change(
        account=account.pk, hour_ago=now - HOUR, most=limit, most_pending=most, now=now
    )
    if counted:
        return
    open_now = AcmeOrder.objects.filter(account=account, finalized_at__isnull=True, expires_at__gt=now)
    if open_now[:most].count() >= most:
        raise RateLimited(
            f"The account has {most} unfinished orders. Finalize them, or let them expire.",
            retry_after=int(HOUR.total_seconds()),
        )
    if COUNT_ANEW.change(account=account.pk, hour_ago=now - HOUR, now=now):
        return
    wait = account.window_started_at + HOUR - now
    raise RateLimited(
        f"An account may make {limit} orders an hour. Try again later.",
        retry_after=max(1, int(wait.total_seconds())),
    )


def _create(
    account: AcmeAccount,
    wanted: Wanted,
    entitled: Entitled,
    *,
    replaces: Certificate | None,
    now: datetime,
) -> OrderView:
    order = AcmeOrder(
        account=account,
        organisation_id=account.organisation_id,
        identifiers=list(wanted.names),
        profile_id=wanted.profile_id,
        request=entitled.request,
        replaces=replaces,
        created_at=now,
        expires_at=now + ORDER_LIFE,
    )
    insert(order)
    rows = insert_all(_authorization(order, name, entitled.validations, now=now) for name in wanted.names)
    audit.record(
        actor=actor_of(account),
        action="acme_order.create",
        object_type="acme_order",
        object_id=order.pk,
        organisation_id=account.organisation_id,
        now=now,
        data={"names": list(wanted.names), "request": entitled.request.pk if entitled.request else None},
    )
    return order_view(order, rows, now=now)


def _authorization(
    order: AcmeOrder, name: str, proofs: Sequence[Validation], *, now: datetime
) -> AcmeAuthorization:
    proof = covering(name, proofs, now=now)
    return AcmeAuthorization(
        order=order,
        name=name.removeprefix("*."),
        wildcard=name.startswith("*."),
        token=secrets.token_urlsafe(32),
        valid_until=None if proof is None else proof.expires_at,
    )


def _refused(account: AcmeAccount, problem: AcmeRefused, *, now: datetime) -> Refusal:
    note_problem(account, problem.detail, now=now)
    return Refusal(problem=problem)


def _needs_human(waiting: NeedsApproval) -> AcmeRefused:
    """What a client is told when a person decides: which request, where, and what to do afterwards."""
    rt = runtime.current()
    address = f"{rt.base_url}/requests/{waiting.number}/"
    status = status_text(waiting.status, ra=rt.settings.ra)
    what = f"Request {waiting.number} ({address}) is “{status}”"
    if waiting.status is Status.WAITING_FOR_APPROVAL:
        detail = f"{what}: {' '.join(waiting.reasons)} Once it is approved, run the client again."
    else:
        detail = f"{what}: {waiting.said} Talk to the RA team, or make a new request in the portal."
    kind = ProblemType.REJECTED_IDENTIFIER
    return AcmeRefused(kind, detail, extra={"request": int(waiting.number), "instance": address})
