"""Entitlements: what was decided once and may be issued many times, by whichever channel.

Here it is asked what a set of names may have, and a request is made where an ACME client needs one: for an
officer to decide, or on the spot where policy agrees. Nothing is signed here.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from certdesk.domain.acme.credentials import credential_obstacles
from certdesk.domain.actors import SYSTEM, Actor
from certdesk.domain.audit import digest
from certdesk.domain.csr.csr import Csr
from certdesk.domain.errors import InvariantViolated
from certdesk.domain.findings import Check, Verdict, as_record
from certdesk.domain.issuing.certificates import Intent, differences, subject_under
from certdesk.domain.issuing.profiles import validity
from certdesk.domain.issuing.states import (
    Event,
    OrganisationId,
    RequestId,
    State,
    Status,
    UserId,
    Work,
    status_of,
)
from certdesk.domain.names.identifiers import DnsName
from certdesk.domain.policy.decide import Decision, Outcome, decide
from certdesk.domain.policy.limits import CaaAnswer
from certdesk.domain.settings import OTHER
from certdesk.domain.validation.evidence import Validation, covering
from certdesk.services.acme.accounts import account_standing
from certdesk.services.requests.preflight import ACME, Subject, judged, obstacles_under, rules_for, subject_of
from certdesk.services.system import runtime
from certdesk.store.db import put_last
from certdesk.store.driver import insert, values_of
from certdesk.store.models import AcmeOrder, Approval, Issuance, Organisation, Request
from certdesk.store.selectors.facts import adns_of, known_facts, lock_names, organisation_row
from certdesk.store.sql import AccountNow, Arrival, FactsNow, account_and_facts, covering_requests
from certdesk.store.transitions import Change, Standing, Step, write_history

AWAITS_CLIENT = "Approved. Certificates are issued when an ACME client asks."
NOT_ALLOWED = "The request no longer allows certificates."
#: How many of the newest requests that might cover some names are looked at.
LOOKED_AT = 20
#: An officer's no stands for so long: a client that asks each night does not ask the officers each night.
REJECTION_STANDS = timedelta(days=30)
#: How long somebody may have waited for the organisation's lock, who is recorded with the time from before.
WAITED_AT_MOST = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked for, for whom, and in whose name a request would be made."""

    organisation: Organisation
    names: tuple[DnsName, ...]
    profile_id: str
    owner_id: UserId
    account_id: int
    asked_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entitled:
    """The names may be certified. `request` is None where policy agrees and no request exists yet.

    `validations` are the organisation's current proofs.
    """

    request: Request | None
    validations: tuple[Validation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedsApproval:
    """A human decides: the request that waits for it, or that was rejected (`said` is the reason)."""

    number: RequestId
    status: Status
    reasons: tuple[str, ...]
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotEntitled:
    """Policy refuses, whoever asks."""

    checks: tuple[Check, ...]


Answer = Entitled | NeedsApproval | NotEntitled


def entitlement_for(wanted: Wanted, *, actor: Actor, known: FactsNow, now: datetime) -> Answer:
    """What the organisation may have for these names, in the caller's transaction under its lock.

    Where a human has to decide, a request is made unless one like it waits already: the answer names it.
    `known` was read there.
    """
    subject = replace(subject_wanted(wanted), known=known)
    facts, decision = judged(subject, now=now)
    if decision.refusals:
        return NotEntitled(checks=decision.refusals)
    # A renewal is no new request, so that no cap on requests stands in its way.
    rules = rules_for(subject)
    renewed = decide(replace(facts, requests_last_day=0), rules, now=now) if rules.daily_cap else decision
    validations = facts.organisation.validations
    found = max(
        (
            request
            for request in covering_requests(
                wanted.organisation.pk, profile_id=wanted.profile_id, name=wanted.names[0], most=LOOKED_AT
            )
            if set(wanted.names) <= set(request.names)
            and not obstacles_under(request, subject, renewed, is_signing=False, now=now)
        ),
        key=lambda request: request.term_ends_at or now,
        default=None,
    )
    lasting = found is not None and found.term_ends_at is not None and found.term_ends_at > now + lifetime()
    if found is not None and (lasting or decision.outcome is not Outcome.AUTO):
        return Entitled(request=found, validations=validations)
    if decision.outcome is Outcome.AUTO:
        return Entitled(request=None, validations=validations)
    return _needs_approval(wanted, decision, actor=actor, now=now)


def subject_wanted(wanted: Wanted) -> Subject:
    """The names as they are judged before any CSR has come."""
    return Subject(
        organisation=wanted.organisation,
        profile=runtime.current().profile(wanted.profile_id),
        names=wanted.names,
        duration_years=term_years(),
        server_software=OTHER,
        channel=ACME,
    )


def record_request(
    *,
    subject: Subject,
    decision: Decision,
    actor: Actor,
    owner_id: UserId,
    account_id: int | None = None,
    channel: str,
    work: Work | None,
    detail: str,
    note: str = "",
    identity: tuple[str, str],
    notify: bool,
    then: Sequence[tuple[Event, Step]] = (),
    now: datetime,
) -> Request:
    """Inserts a request as policy decided about it, in the caller's transaction, with history and audit rows.

    Policy's own approval is recorded where it agrees, and the term begins. `work` is the state of the first
    issuance, which follows at once; `then` are its first steps, for the history. `identity` is the
    idempotency key and the digest of what was sent.
    """
    auto = decision.outcome is Outcome.AUTO
    state = State.APPROVED if auto else State.WAITING_FOR_APPROVAL
    status = status_of(state, work, has_certificate=False)
    term = validity(subject.profile, duration_years=subject.duration_years, now=now) if auto else (None, None)
    reasons = [check.message for check in decision.manual_reasons or decision.pending]
    request = insert(
        Request(
            organisation_id=subject.organisation.pk,
            requester_id=owner_id,
            acme_account_id=account_id,
            channel=channel,
            profile_id=subject.profile.id,
            profile_version=subject.profile.version,
            names=list(subject.names),
            common_names=subject.names[0],
            duration_years=subject.duration_years,
            term_starts_at=term[0],
            term_ends_at=term[1],
            server_software=subject.server_software,
            note=note,
            checks=[as_record(check) for check in decision.checks],
            policy_digest=decision.policy_digest,
            content_digest=decision.content_digest,
            idempotency_key=identity[0],
            submission_digest=identity[1],
            state=state,
            status=status,
            detail=then[-1][1].detail if then else detail,
            created_at=now,
            changed_at=now,
            search_text=" ".join([*subject.names, actor.label, subject.organisation.legal_name]).lower(),
        )
    )
    if auto:
        first = "" if channel == ACME else subject.csr_sha256
        approve(request, decision, by="policy", csr_sha256=first, now=now)
    step = Step(
        note="\n".join(reasons) or detail,  # a line each, in the history and in the mail
        data={
            "content_digest": decision.content_digest,
            "policy_digest": decision.policy_digest,
            "outcome": decision.outcome.value,
            "names": list(subject.names),
            "manual": sorted({check.code for check in decision.manual_reasons}),
        },
    )
    made = Change(
        request_id=request.pk,
        organisation_id=request.organisation_id,
        event=Event.CREATE,
        old=None,
        new=status,
        step=step,
    )
    following = [replace(made, event=event, old=status, step=step, actor=SYSTEM) for event, step in then]
    write_history(changes=[made, *following], actor=actor, now=now, notify=notify)
    return request


def approve(request: Request, decision: Decision, *, by: str, now: datetime, **columns: object) -> None:
    """Records a yes to exactly what was decided about, in the caller's transaction."""
    approval = Approval(
        request=request,
        verdict="approve",
        by=by,
        content_digest=decision.content_digest,
        policy_digest=decision.policy_digest,
        at=now,
        **columns,
    )
    put_last(Approval, [values_of(approval)])


def same_digest(wanted: Wanted) -> str:
    """What two asks for the same entitlement have in common."""
    return digest(
        {
            "entitlement": sorted(wanted.names),
            "organisation": wanted.organisation.pk,
            "profile": wanted.profile_id,
        }
    )


def new_identity(wanted: Wanted) -> tuple[str, str]:
    """The idempotency key and the digest of a request that an order makes."""
    return f"acme-{secrets.token_hex(16)}", same_digest(wanted)


def term_years() -> int:
    """How long an entitlement runs that no person chose a term for: the shortest on offer."""
    return min(runtime.current().rules.durations)


def lifetime() -> timedelta:
    """How long a certificate lasts that an ACME client renews; never beyond its term."""
    return timedelta(days=runtime.current().acme.certificate_days)


def standing_of(found: Arrival) -> tuple[Standing, str]:
    """Where the request stands, and why a certificate that comes now may not be handed out (or nothing)."""
    state, organisation, account = State(found.state), found.organisation, found.account
    at = Standing(
        state=state, status=Status(found.status), version=found.version, organisation_id=organisation.pk
    )
    reasons = [
        (NOT_ALLOWED, state is not State.APPROVED),
        ("The organisation is disabled.", not organisation.is_active),
        ("The key has been blocked.", found.is_key_blocked),
    ]
    if account is not None:
        reasons += [
            ("The ACME account's key has been blocked.", account.is_key_blocked),
            ("The ACME account has been deactivated.", account.account.deactivated_at is not None),
            ("The account's credential has been revoked.", account.account.credential.revoked_at is not None),
        ]
    return at, next((why for why, holds in reasons if holds), "")


def may_have_changed(issuance: Issuance, intent: Intent, found: Arrival, *, now: datetime) -> bool:
    """Whether what was judged a moment ago may look otherwise by now, so that it has to be judged again.

    For what `standing_of` does not tell: name and place, what the RA has stopped, proofs, the credential's
    limits. A tenth of what judging costs.
    """
    row = found.organisation
    facts, _key = known_facts(row, names=intent.names, known=found.known, now=now)
    subject = subject_under(
        intent.profile,
        names=intent.names,
        organisation=row.legal_name,
        country=row.country,
        locality=row.locality,
    )
    claimed = issuance.claimed_at or issuance.created_at
    return (
        intent.subject != subject
        or (row.ra_stopped_at is not None and row.ra_stopped_at > claimed - WAITED_AT_MOST)
        or any(covering(name, facts.validations, now=now) is None for name in intent.names)
        or bool(order_obstacles(issuance.order, found.account, now=now))
    )


def issuance_subject(issuance: Issuance, organisation: Organisation, csr: Csr) -> Subject:
    """An issuance as what is judged. An ACME order is for a client that renews, whoever made its request."""
    channel = ACME if issuance.order_id else issuance.request.channel
    return subject_of(issuance.request, organisation, csr, channel=channel)


def issuance_obstacles(
    issuance: Issuance,
    intent: Intent,
    csr: Csr,
    *,
    caa: tuple[CaaAnswer, ...] | None,
    is_first: bool,
    now: datetime,
) -> tuple[Check, ...]:
    """Everything that stands against an issuance now: account, policy, approval, what is signed.

    In the caller's transaction, under the organisation's lock; `issuance.request` has been read there.
    """
    request = issuance.request
    organisation, order = organisation_row(OrganisationId(issuance.organisation_id)), issuance.order
    adns, key = adns_of(issuance.names), issuance.spki_sha256
    account = None
    if order is not None:
        account = account_and_facts(order.account_id, adns=adns, key=key, before=issuance.pk, now=now)
    known = None if account is None else account.known
    subject = replace(issuance_subject(issuance, organisation, csr), before=issuance.pk, caa=caa, known=known)
    facts, decision = judged(subject, now=now)
    against = (
        *order_obstacles(order, account, now=now),
        *obstacles_under(request, subject, decision, is_first=is_first, now=now),
    )
    against = against or differences(intent, facts, csr=csr, ends_at=request.term_ends_at)
    return against or _other_ca(intent, subject, now=now)


def _other_ca(intent: Intent, subject: Subject, *, now: datetime) -> tuple[Check, ...]:
    """Whether the CA of an intent can no longer be used: file or day have changed since it was recorded.

    What it has issued already is handed out all the same, as its code says to who asks for that.
    """
    rt = runtime.current()
    if intent.backend in rt.cas_of(subject.profile) and not rt.objection(intent, at=now):
        return ()
    told = "The CA that was to issue it can no longer be used for it. Ask again, and another CA is used."
    return (Check("certificate.other_ca", Verdict.REFUSE, told),)


def order_obstacles(
    order: AcmeOrder | None, account: AccountNow | None, *, now: datetime
) -> tuple[Check, ...]:
    """What stands against an order's account, its key and credential; nothing without an order.

    `account` was read in the caller's transaction, under the organisation's lock.
    """
    if order is None:
        return ()
    if account is None:
        raise InvariantViolated("an account is never deleted, and this one is not there")
    refused = credential_obstacles(
        account_standing(account), names=order.identifiers, profile_id=order.profile_id, now=now
    )
    if refused is None:
        return ()
    rule, who = "ACME accounts (RFC 8555 7.3)", "organisation manager"
    return (Check("acme.account", Verdict.REFUSE, refused.detail, rule=rule, changed_by=who),)


def _needs_approval(wanted: Wanted, decision: Decision, *, actor: Actor, now: datetime) -> NeedsApproval:
    lock_names(same_digest(wanted))  # of orders at once for the same names, one makes the request
    reasons = tuple(check.message for check in decision.manual_reasons)
    same = Request.objects.filter(
        organisation_id=wanted.organisation.pk, channel=ACME, submission_digest=same_digest(wanted)
    ).order_by("-id")
    waiting = same.filter(state=State.WAITING_FOR_APPROVAL).first()
    ended = same.filter(
        state__in=(State.REJECTED, State.WITHDRAWN, State.ENDED), changed_at__gt=now - REJECTION_STANDS
    ).first()
    if waiting is None and ended is not None:
        return NeedsApproval(
            number=RequestId(ended.pk), status=Status(ended.status), reasons=reasons, said=ended.detail
        )
    if waiting is None:
        waiting = record_request(
            subject=subject_wanted(wanted),
            decision=decision,
            actor=actor,
            owner_id=wanted.owner_id,
            account_id=wanted.account_id,
            channel=ACME,
            work=None,
            detail=" ".join(reasons),
            identity=new_identity(wanted),
            notify=True,
            now=now,
        )
    return NeedsApproval(number=RequestId(waiting.pk), status=Status.WAITING_FOR_APPROVAL, reasons=reasons)
