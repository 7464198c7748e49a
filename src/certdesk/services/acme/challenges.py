"""Challenges of ACME (RFC 8555 7.5.1, 8): answered by the client, looked at outside any transaction.

A challenge that was answered is a due row until it has its outcome, so that a crash only costs time: the
worker's tick takes over. A proof that was found becomes a validation record like any other (V7), and so
counts for the portal as well.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from certdesk.dcv.base import Challenge, NotValidated, Outcome, Problem, Record, Validated
from certdesk.domain.acme.credentials import credential_obstacles
from certdesk.domain.acme.jws import key_authorization
from certdesk.domain.acme.orders import (
    CHALLENGE_TYPES,
    AuthorizationStatus,
    ChallengeType,
    challenge_types,
)
from certdesk.domain.acme.problems import URN, AcmeRefused, ProblemType, problem_json
from certdesk.domain.actors import Action
from certdesk.domain.issuing.states import OrganisationId
from certdesk.domain.validation.deadlines import PERSISTENT_METHODS
from certdesk.domain.validation.evidence import Validation
from certdesk.services.acme.accounts import (
    actor_of,
    judged_now,
    must_be_able,
    refuse_obstacles,
    standing_now,
)
from certdesk.services.acme.addresses import account_hash_prefix, account_url
from certdesk.services.acme.orders import (
    ChallengeView,
    available_methods,
    challenge_token,
    challenge_view,
    named,
    not_there,
    note_problem,
    own_authorization,
    status_of,
)
from certdesk.services.system import runtime
from certdesk.services.validation.by_email import record_proof
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.driver import first, insert, swap
from certdesk.store.models import (
    AcmeAccount,
    AcmeAuthorization,
    AcmeChallenge,
    Domain,
)
from certdesk.store.selectors.acme import former_thumbprints
from certdesk.store.selectors.facts import lock_organisation

log = structlog.get_logger()

#: Whoever looks has this long; a look may take 20 s (V4), perspectives 25 s more. Then the tick takes over.
LEASE = timedelta(seconds=75)
#: What may come right by itself is looked at again, later and later (RFC 8555 8.2) …
FIRST_RETRY = timedelta(seconds=2)
#: … while this has not passed since the answer: clients give up soon, and have to learn why before they do.
PATIENCE = timedelta(seconds=20)
#: What is recorded about these counts; the others have ended.
_OPEN = (AuthorizationStatus.PENDING, AuthorizationStatus.VALID)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A challenge that is to be looked at now; whoever holds this holds its lease."""

    challenge_id: int
    started_at: datetime
    tries: int
    account: AcmeAccount
    authorization: AcmeAuthorization
    type: ChallengeType


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A challenge as its account sees it, and what is to be looked at; None when nothing is."""

    view: ChallengeView
    look: Look | None


def get_challenge(
    *, account: AcmeAccount, authorization_id: int, type_name: str, now: datetime
) -> ChallengeView:
    """One challenge of the account. Raises AcmeRefused: 404 for any other, or as `refuse_obstacles` does."""
    row, kind, answered = _own(account, authorization_id, type_name, now=now)
    status = status_of(row, expires_at=row.order.expires_at, now=now)
    return challenge_view(row, kind, answered, status=status)


def answer_challenge(
    *, account: AcmeAccount, authorization_id: int, type_name: str, now: datetime
) -> Answered:
    """The client says that its proof is in place. Answering twice is answering once.

    Raises AcmeRefused: 404 for a challenge of another account, or one that is not on offer; as
    `refuse_obstacles` does.
    """
    must_be_able(account, Action.ACME_ORDER)
    with write_transaction():
        once = f"challenge {authorization_id} {type_name}"
        lock_organisation(OrganisationId(account.organisation_id), once, shared=True)
        row, kind, answered = _own(account, authorization_id, type_name, now=now)
        account = judged_now(account, names=[named(row)], profile_id=row.order.profile_id, now=now).account
        status = status_of(row, expires_at=row.order.expires_at, now=now)
        if answered is not None or status is not AuthorizationStatus.PENDING:
            return Answered(view=challenge_view(row, kind, answered, status=status), look=None)
        answered = AcmeChallenge(
            authorization=row, type=kind.name, started_at=now, tries=1, next_attempt_at=now + LEASE
        )
        insert(answered)
    look = Look(
        challenge_id=answered.pk, started_at=now, tries=1, account=account, authorization=row, type=kind
    )
    return Answered(view=challenge_view(row, kind, answered, status=status), look=look)


def take_look(look: Look, *, now: datetime) -> Outcome:
    """Asks the network for the proof, outside any transaction. What breaks here is looked at again."""
    rt = runtime.current()
    validator = rt.validators.get(look.type.method)
    challenge = _challenge(look)
    if validator is None or rt.network is None:
        return _not_looked(challenge, "This kind of challenge can no longer be checked here.", now=now)
    try:
        return validator.validate(challenge, network=rt.network, now=now)
    except Exception:  # plug-in boundary: a method that is broken proves nothing, and others go on
        log.exception("acme.validator_broke", type=look.type.name, challenge=look.challenge_id)
        return _not_looked(challenge, "The check broke on our side; it is being repeated.", now=now)


def record_look(look: Look, outcome: Outcome, *, now: datetime) -> None:
    """Records what came back, in one transaction: a validation record, or the problem.

    A proof that was found for an account that may not have the name by now, or for an authorization that was
    given up, proves nothing.
    """
    organisation_id = OrganisationId(look.account.organisation_id)
    with write_transaction(durable=False):  # the order's finalize is durable, and with it what came before
        lock_organisation(organisation_id)
        match outcome:
            case Validated(record=record) if _reaches(look, record, now=now):
                if (obstacle := _obstacle(look, now=now)) is not None:
                    _record_failure(look, obstacle.kind, obstacle.detail, may_retry=False, now=now)
                else:
                    _record_proof(look, record, now=now)
            case Validated():
                detail = "What was found proves another name than the one that was asked for."
                _record_failure(look, ProblemType.UNAUTHORIZED, detail, may_retry=False, now=now)
            case NotValidated(problem=problem):
                _record_failure(look, _type(problem), problem.detail, may_retry=problem.retry, now=now)


def view_of(look: Look, *, now: datetime) -> ChallengeView:
    """The challenge as it stands after a look."""
    return get_challenge(
        account=look.account, authorization_id=look.authorization.pk, type_name=look.type.name, now=now
    )


def due_looks(*, now: datetime, limit: int = 20) -> list[int]:
    """The challenges that have to be looked at (again), longest overdue first."""
    due = AcmeChallenge.objects.filter(next_attempt_at__lte=now).order_by("next_attempt_at")
    return list(due.values_list("id", flat=True)[:limit])


def drive_look(*, challenge_id: int, clock: Callable[[], datetime]) -> None:
    """Takes and records one look that is due. Harmless in two processes at once: one gets the lease."""
    now = clock()
    row = (
        AcmeChallenge.objects.select_related(
            "authorization__order__account__credential", "authorization__order__account__organisation"
        )
        .filter(id=challenge_id, next_attempt_at__lte=now)
        .first()
    )
    if row is None:
        return
    with write_transaction():
        claimed = AcmeChallenge.objects.filter(id=row.pk, next_attempt_at=row.next_attempt_at).update(
            next_attempt_at=now + LEASE, tries=row.tries + 1
        )
    if not claimed:
        return
    look = Look(
        challenge_id=row.pk,
        started_at=row.started_at,
        tries=row.tries + 1,
        account=row.authorization.order.account,
        authorization=row.authorization,
        type=CHALLENGE_TYPES[row.type],
    )
    if row.problem is not None and now > row.started_at + PATIENCE:
        # Too late for another look: what was found last is final.
        kind = row.problem["type"].removeprefix(URN)
        outcome: Outcome = _not_looked(_challenge(look), row.problem["detail"], kind=kind, now=now)
    else:
        outcome = take_look(look, now=now)
    record_look(look, outcome, now=clock())


def account_uri(account: AcmeAccount) -> str:
    """The account's address: its `kid`, and what CAA's accounturi and persistent records name (RFC 8657)."""
    return account_url(account.pk)


def issuer_names() -> tuple[str, ...]:
    """The names by which CAA and persistent records may name this service; its own host by default."""
    rt = runtime.current()
    host = rt.base_url.partition("://")[2].partition("/")[0].partition(":")[0]
    return rt.acme.caa_identities or (host,)


def _own(
    account: AcmeAccount, authorization_id: int, type_name: str, *, now: datetime
) -> tuple[AcmeAuthorization, ChallengeType, AcmeChallenge | None]:
    row, answered = own_authorization(account, authorization_id)
    refuse_obstacles(account, names=[named(row)], profile_id=row.order.profile_id, now=now)
    offered = challenge_types(row.name, wildcard=row.wildcard, available=available_methods())
    kind = next((one for one in offered if one.name == type_name), None)
    if kind is None:
        raise not_there()
    return row, kind, next((one for one in answered if one.type == kind.name), None)


def _obstacle(look: Look, *, now: datetime) -> AcmeRefused | None:
    """Why what was found may not be recorded, as things are under the organisation's lock."""
    row, _answered = own_authorization(look.account, look.authorization.pk)
    if status_of(row, expires_at=row.order.expires_at, now=now) not in _OPEN:
        return AcmeRefused(ProblemType.MALFORMED, "The authorization was given up or has ended.")
    names, profile_id = [named(row)], row.order.profile_id
    return credential_obstacles(standing_now(look.account.pk), names=names, profile_id=profile_id, now=now)


def _thumbprints(look: Look) -> tuple[str, ...]:
    """Of the account's present key and, where records outlive keys, of those before it."""
    present = look.account.thumbprint
    if look.type.method not in PERSISTENT_METHODS:
        return (present,)
    return (present, *former_thumbprints(account_id=look.account.pk))


def _challenge(look: Look) -> Challenge:
    token = challenge_token(look.authorization, look.type)
    return Challenge(
        method=look.type.method,
        adn=look.authorization.name,
        expected=key_authorization(token, look.account.thumbprint),
        token=token,
        wildcard=look.authorization.wildcard,
        account_uri=account_uri(look.account),
        issuers=issuer_names(),
        thumbprints=_thumbprints(look),
        hash_prefix=account_hash_prefix(),
    )


def _not_looked(
    challenge: Challenge, detail: str, *, kind: str = ProblemType.SERVER_INTERNAL, now: datetime
) -> NotValidated:
    return NotValidated(
        problem=Problem(code="dcv.broken", detail=detail, acme_type=kind, retry=True),
        record=Record(
            method=challenge.method, adn=challenge.adn, asked="nothing", answered="nothing", at=now
        ),
    )


def _reaches(look: Look, record: Record, *, now: datetime) -> bool:
    """Whether the proof found covers what was asked: the ADN challenged is the one that is granted (V3)."""
    proof = Validation(adn=record.adn, method=record.method, validated_at=now, expires_at=now)
    return proof.covers(named(look.authorization))


def _record_proof(look: Look, record: Record, *, now: datetime) -> None:
    organisation_id = look.account.organisation_id
    # Under the organisation's lock nobody else adds the domain in between.
    domain = first(Domain, organisation_id=organisation_id, adn=record.adn) or insert(
        Domain(organisation_id=organisation_id, adn=record.adn, created_at=now)
    )
    proof = record_proof(
        actor=actor_of(look.account),
        domain=domain,
        method=record.method,
        evidence={
            "how": f"ACME {look.type.name}",
            "adn": record.adn,
            "asked": record.asked,
            "answered": record.answered,
            "account": look.account.pk,
            "order": look.authorization.order_id,
            "details": dict(record.details),
        },
        days=runtime.current().ownership_days,
        until=_until(record, now=now),
        now=now,
        noted={},
    )
    answered = {"validated_at": now, "next_attempt_at": None, "problem": None}
    swap(AcmeChallenge, {"id": look.challenge_id}, answered)
    alive = {"id": look.authorization.pk, "failed_at": None, "deactivated_at": None}
    swap(AcmeAuthorization, alive, {"valid_until": proof.expires_at, "record_id": proof.pk})


def _until(record: Record, *, now: datetime) -> datetime | None:
    """How long the owner of a persistent record allows, if that is what was found and says so."""
    until = record.details.get("persist_until")
    if not isinstance(until, str) or not until:
        return None
    return max(datetime.fromisoformat(until), now + timedelta(seconds=1))


def _record_failure(look: Look, kind: ProblemType, detail: str, *, may_retry: bool, now: datetime) -> None:
    again = now + FIRST_RETRY * 2 ** (look.tries - 1)
    may_retry = may_retry and again <= look.started_at + PATIENCE
    AcmeChallenge.objects.filter(id=look.challenge_id).update(
        problem=problem_json(kind, detail), next_attempt_at=again if may_retry else None
    )
    if may_retry:
        return
    AcmeAuthorization.objects.filter(id=look.authorization.pk, valid_until__isnull=True).update(failed_at=now)
    note_problem(look.account, f"{look.authorization.name} ({look.type.name}): {detail}", now=now)
    audit.record(
        actor=actor_of(look.account),
        action="acme_challenge.fail",
        object_type="acme_order",
        object_id=look.authorization.order_id,
        organisation_id=look.account.organisation_id,
        now=now,
        data={"name": look.authorization.name, "type": look.type.name, "problem": kind.value},
    )


def _type(problem: Problem) -> ProblemType:
    try:
        return ProblemType(problem.acme_type)
    except ValueError:
        return ProblemType.UNAUTHORIZED
