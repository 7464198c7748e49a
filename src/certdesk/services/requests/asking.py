"""Asking for a certificate: preview and create a request; withdraw it, or end what it allows.

Nothing is signed or sent in here: what may be issued is handed to `services.issuance.engine`.
"""

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError

from certdesk.backends.base import Backend
from certdesk.domain.actors import Action, Actor, OrgRole, Side, can
from certdesk.domain.audit import digest
from certdesk.domain.csr.csr import Csr, PrivateKeyPasted, read_csr
from certdesk.domain.errors import (
    BackendError,
    IdempotencyMismatch,
    InvalidInput,
    NotAuthorized,
    NotFound,
    PolicyRefused,
)
from certdesk.domain.findings import Check, Verdict, worst
from certdesk.domain.issuing.certificates import Intent, differences
from certdesk.domain.issuing.profiles import validity
from certdesk.domain.issuing.states import (
    Event,
    IssuanceId,
    OrganisationId,
    RequestId,
    State,
    Status,
    UserId,
    Work,
)
from certdesk.domain.policy.decide import Decision, Outcome
from certdesk.services.issuance.caa import CaaSeen, look_at_caa, record_caa
from certdesk.services.issuance.engine import Claimed, cancel_waiting
from certdesk.services.issuance.intents import CLIENT, OWN_KEY, claim_step, prepared, record_issuance
from certdesk.services.people.permissions import acting, actor_now, refuse_former
from certdesk.services.requests.entitlements import record_request
from certdesk.services.requests.preflight import Subject, certificate_checks, intent_of, judged, rules_for
from certdesk.services.requests.terms import Term, foreseen
from certdesk.services.revocation.blocked_keys import block_pasted
from certdesk.services.system import runtime
from certdesk.services.system.text_input import storable
from certdesk.services.validation.by_email import second_line
from certdesk.store.db import write_transaction
from certdesk.store.driver import first
from certdesk.store.models import Issuance, Organisation, Request, StoppedName
from certdesk.store.selectors.facts import lock_organisation, organisation_row
from certdesk.store.selectors.requests import RequestDetail, get_request
from certdesk.store.sql import SENT_BEFORE
from certdesk.store.transitions import Step, advance

#: The same person sending the same thing again within this time has pressed the button twice.
DOUBLE_SUBMISSION = timedelta(minutes=10)
PORTAL = "portal"
#: An accepted request that nobody has taken up by then was lost in a crash: the worker drives it on.
UNCLAIMED = timedelta(seconds=5)
MAX_KEY = 128  # the column's width


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What an applicant sends, from whichever channel. `upload` is the file or the pasted text.

    `names`, where given, are those that the CSR has to have. `renews_itself`: a client renews what comes of
    it, so that the service does not.
    """

    organisation_id: OrganisationId
    upload: bytes
    duration_years: int
    server_software: str
    profile_id: str = "tls-server"
    note: str = ""
    names: tuple[str, ...] | None = None
    renews_itself: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would become of a CSR; nothing of it is stored.

    `checks` are all of them, `decision` the policy's, `against` what stands in the way under a standing
    request (`under` is its number; None for a new one). From `not_before` to `not_after` the certificate
    would be valid, as one of those that fill the `term`.
    """

    organisation_id: OrganisationId
    organisation: str
    csr: Csr
    decision: Decision
    duration_years: int
    server_software: str
    profile_id: str
    not_before: datetime | None
    not_after: datetime | None
    term: Term | None = None
    under: RequestId | None = None
    against: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class Ahead:
    """What is to be signed, made before the transaction that judges it, and the CA that signs it."""

    intent: Intent
    backend: Backend


@dataclass(frozen=True, slots=True)
class Created:
    """What a submission became: a request, and the issuance under it.

    `replayed` when an earlier submission had made it; `claimed` when it was claimed at once, and only remains
    to be signed; `due` when it may be taken up now.
    """

    number: RequestId
    status: Status
    issuance_id: IssuanceId | None = None
    claimed: Claimed | None = None
    replayed: bool = False
    due: bool = False


def preview_request(*, actor: Actor, submission: Submission, now: datetime) -> Preview:
    """What the service sees in a CSR and what policy says, without a trace.

    Raises NotFound for a foreign organisation, BadCsr for what can't be read as one CSR, InvalidInput.
    """
    _may_ask(actor, submission.organisation_id)
    csr = _read(submission, actor=actor, now=now)
    row = organisation_row(submission.organisation_id)
    subject = replace(_subject(submission, csr, row), caa=_look(submission, csr, now=now).answers)
    decision = judged(subject, lint=True, now=now)[1]
    return previewed(subject, csr, decision, now=now)


def create_request(
    *,
    actor: Actor,
    submission: Submission,
    channel: str,
    idempotency_key: str = "",
    at_once: bool = False,
    now: datetime,
) -> Created:
    """Records a request, its issuance and what policy decided about them, in one transaction.

    With `at_once`, what a quick CA may sign is claimed in the same transaction. With `idempotency_key`
    the same key makes the same request, and another body under it raises IdempotencyMismatch. Without one,
    the same submission by the same person within ten minutes is the same request. Raises PolicyRefused with
    every check, BadCsr, NotFound, InvalidInput.
    """
    # 1. Look, before the transaction, which is no place for DNS, encoding and lint.
    _may_ask(actor, submission.organisation_id)
    assert actor.user_id is not None  # noqa: S101 - `_may_ask` lets only members of an organisation through
    csr = _read(submission, actor=actor, now=now)
    storable(submission.note, field="note")
    storable(idempotency_key, field="idempotency_key", limit=MAX_KEY)
    same = digest({**asdict(submission), "upload": csr.sha256})
    subject = _subject(submission, csr, organisation_row(submission.organisation_id))
    ahead = intent_ahead(subject, csr, now=now) if at_once else None
    certificate = None if ahead is not None else certificate_checks(subject, now=now)
    caa = _look(submission, csr, now=now)
    try:
        with write_transaction():
            # 2. Judge, under the lock.
            once = (csr.key.spki_sha256, f"{actor.user_id} {idempotency_key or same}")
            lock_organisation(submission.organisation_id, *once, shared=not rules_for(subject).daily_cap)
            if (earlier := _earlier(actor, idempotency_key, same, channel=channel, now=now)) is not None:
                return earlier
            row = organisation_row(submission.organisation_id)
            subject = replace(subject, organisation=row, caa=caa.answers, certificate=certificate)
            facts, decision = judged(subject, now=now)
            if decision.outcome is Outcome.REFUSE:
                raise PolicyRefused(refusal_text(decision.checks), checks=decision.checks)
            refuse_former(submission.organisation_id, actor, action=Action.REQUEST_CREATE)
            auto, pending = decision.outcome is Outcome.AUTO, bool(decision.pending)
            if ahead is not None and (
                not auto or pending or differences(ahead.intent, facts, csr=csr, ends_at=None)
            ):
                ahead = None

            # 3. Record the request, its approval and its issuance; claim it where it may be signed at once.
            detail, action_needed = " ".join(check.message for check in decision.manual_reasons), False
            if auto:
                detail = "Passed every check; about to be handed to the CA."
            if auto and pending:
                detail, action_needed = second_line(submission.organisation_id, csr.names, now=now)
            claim = () if ahead is None else ((Event.CLAIM, claim_step(ahead.backend, ahead.intent)),)
            request = record_request(
                subject=subject,
                decision=decision,
                actor=actor,
                owner_id=UserId(actor.user_id),
                channel=channel,
                work=Work.CLAIMED if claim else Work.WAITING,
                detail=detail,
                note=submission.note,
                identity=(idempotency_key or f"auto-{secrets.token_hex(16)}", same),
                notify=not auto or pending,
                then=claim,
                now=now,
            )
            issuance = record_issuance(
                request=request,
                csr=csr,
                actor=actor,
                channel=CLIENT if submission.renews_itself else channel,
                intent=None if ahead is None else ahead.intent,
                idempotency_key=f"{OWN_KEY}{request.pk}",
                next_attempt_at=now + UNCLAIMED if auto and not pending else None,
                now=now,
            )
            if action_needed:
                Request.objects.filter(id=request.pk).update(action_needed=True)
            record_caa(caa, organisation_id=row.pk, request_id=request.pk)
    except IntegrityError:
        # The same key at the same moment for two organisations: the first is there by now.
        earlier = _earlier(actor, idempotency_key, same, channel=channel, now=now)
        if earlier is None:
            raise
        return earlier
    return created(request, issuance, ahead, due=auto and not pending)


def created(request: Request, issuance: Issuance, ahead: Ahead | None, *, due: bool) -> Created:
    """What was just recorded; with an intent it is claimed for its CA, and only remains to be signed."""
    claimed = None
    if ahead is not None:
        claimed = Claimed(issuance=issuance, intent=ahead.intent, backend=ahead.backend)
    number, status = RequestId(request.pk), Status(request.status)
    return Created(number, status, IssuanceId(issuance.pk), claimed, due=due)


def withdraw_request(*, actor: Actor, number: int, seen_version: int | None = None, now: datetime) -> None:
    """Ends a request before anything was issued; its requester or a manager may. Raises StateConflict."""
    request = get_request(actor=actor, number=number)
    _refuse_not_theirs(actor, request)
    said = f"Withdrawn by {actor.label}."
    with write_transaction():
        lock_organisation(request.organisation_id)
        _refuse_not_theirs(actor_now(actor), request)
        advance(
            request_id=request.number,
            event=Event.WITHDRAW,
            actor=actor,
            now=now,
            seen_version=seen_version,
            step=Step(detail=said),
        )
        cancel_waiting(request_id=request.number, actor=actor, reason=said, now=now)


def _refuse_not_theirs(actor: Actor, request: RequestDetail) -> None:
    own = request.requester_id == actor.user_id
    manager = actor.memberships.get(request.organisation_id) is OrgRole.MANAGER
    allowed = can(actor, Action.REQUEST_WITHDRAW, organisation_id=request.organisation_id)
    if not allowed or not (own or manager):
        told = "Only the person who asked, or a manager of the organisation, may withdraw a request."
        raise NotAuthorized(told)


def may_end(actor: Actor, request: RequestDetail) -> bool:
    """Whether the actor may end what a request allows: officers any, managers their organisation's."""
    if request.state is not State.APPROVED:
        return False
    return can(actor, Action.REQUEST_END, organisation_id=request.organisation_id)


def end_request(
    *, actor: Actor, number: int, reason: str, seen_version: int | None = None, now: datetime
) -> None:
    """Ends what a request allows: no certificate follows under it any more, by any channel.

    Certificates that are there stay valid until they are revoked or end. Where the RA ends it, the next
    request for these names waits for an officer. Raises NotAuthorized, StateConflict, InvalidInput.
    """
    request = get_request(actor=actor, number=number)
    if not can(actor, Action.REQUEST_END, organisation_id=request.organisation_id):
        raise NotAuthorized("Only a manager of the organisation, or an RA officer, may end a request.")
    reason = storable(reason, field="reason")
    if not reason:
        raise InvalidInput("Say why the request ends.", {"reason": "The applicant reads this."})
    with acting(actor, Action.REQUEST_END, request.organisation_id):
        end_under_lock(
            request_id=request.number, actor=actor, reason=reason, seen_version=seen_version, now=now
        )


def end_under_lock(
    *, request_id: RequestId, actor: Actor, reason: str, seen_version: int | None = None, now: datetime
) -> None:
    """The same in the caller's transaction, where it has been judged that the actor may."""
    advance(
        request_id=request_id,
        event=Event.END,
        actor=actor,
        now=now,
        seen_version=seen_version,
        step=Step(detail=reason, note=reason),
    )
    if actor.side is Side.RA and not actor.is_system:
        stop_names(request_id=request_id, now=now)
    cancel_waiting(request_id=request_id, actor=actor, reason=reason, now=now)


def stop_names(*, request_id: RequestId, now: datetime) -> None:
    """Has the next request for a request's names wait for an officer, in the caller's transaction."""
    organisation, names = Request.objects.values_list("organisation_id", "names").get(id=request_id)
    StoppedName.objects.bulk_create(
        [StoppedName(organisation_id=organisation, name=name, request_id=request_id) for name in names],
        update_conflicts=True,
        unique_fields=["organisation", "name"],
        update_fields=["request"],
    )
    Organisation.objects.filter(id=organisation).update(ra_stopped_at=now)


def read_upload(upload: bytes, *, profile_id: str, actor: Actor, now: datetime) -> Csr:
    """The one CSR in what was sent; a private key is refused, and blocked if it is proven. Raises BadCsr.

    IP addresses are names where the profile has them.
    """
    try:
        kind = runtime.current().profiles.get(profile_id)
        return read_csr(upload, ip_addresses=kind is not None and kind.ip_addresses)
    except PrivateKeyPasted as pasted:
        block_pasted(pasted, actor=actor, now=now)
        raise


def refusal_text(checks: Sequence[Check]) -> str:
    """Why it is refused, for people: the first few reasons."""
    return " ".join([check.message for check in checks if check.verdict is Verdict.REFUSE][:3])


def _may_ask(actor: Actor, organisation_id: OrganisationId) -> None:
    if not can(actor, Action.REQUEST_CREATE, organisation_id=organisation_id):
        raise NotFound("You don't belong to an organisation of that name, so you can't request for it.")


def _read(submission: Submission, *, actor: Actor, now: datetime) -> Csr:
    csr = read_upload(submission.upload, profile_id=submission.profile_id, actor=actor, now=now)
    if submission.names is not None and {name.strip().lower() for name in submission.names} != set(csr.names):
        told = f"“names” is not what the CSR has: {', '.join(csr.names) or 'no name at all'}."
        raise InvalidInput(told, {"names": "Leave it out, or make a CSR with exactly these names."})
    return csr


def _subject(submission: Submission, csr: Csr, organisation: Organisation) -> Subject:
    return Subject(
        organisation=organisation,
        profile=runtime.current().profile(submission.profile_id),
        names=csr.names,
        duration_years=submission.duration_years,
        server_software=submission.server_software,
        csr=csr,
    )


def _look(submission: Submission, csr: Csr, *, now: datetime) -> CaaSeen:
    return look_at_caa(
        organisation_id=submission.organisation_id, profile_id=submission.profile_id, names=csr.names, now=now
    )


def previewed(subject: Subject, csr: Csr, decision: Decision, *, now: datetime) -> Preview:
    rt, kind, term = runtime.current(), subject.profile, None
    if subject.duration_years in kind.term_years:
        can_be_made = csr.names and worst(csr.findings) is not Verdict.REFUSE
        ca = intent_of(subject, now=now).backend if can_be_made else rt.cas_of(kind)[0]
        begins, ends_at = validity(kind, duration_years=subject.duration_years, now=now)
        if subject.request is not None and subject.request.term_ends_at is not None:
            ends_at = subject.request.term_ends_at
        term = foreseen(kind, ca=ca, begins=begins, ends_at=ends_at)
    first = (None, None) if term is None or term.first is None else term.first
    return Preview(
        organisation_id=OrganisationId(subject.organisation.pk),
        organisation=subject.organisation.legal_name,
        csr=csr,
        decision=decision,
        duration_years=subject.duration_years,
        server_software=subject.server_software,
        profile_id=subject.profile.id,
        not_before=first[0],
        not_after=first[1],
        term=term,
    )


def intent_ahead(subject: Subject, csr: Csr, *, now: datetime) -> Ahead | None:
    """What would be signed, fixed and linted; None where it can't be, and the longer way says why.

    None as well where the CA does not answer while a person waits.
    """
    if worst(csr.findings) in (Verdict.REFUSE, Verdict.MANUAL) or not csr.names:
        return None
    if subject.duration_years not in subject.profile.term_years:
        return None
    try:
        intent = intent_of(subject, now=now)
        backend = runtime.current().backend(intent.backend)
        return Ahead(prepared(backend, intent), backend) if backend.inline else None
    except BackendError:
        return None


def _earlier(actor: Actor, key: str, same: str, *, channel: str, now: datetime) -> Created | None:
    assert actor.user_id is not None  # noqa: S101 - `_may_ask` lets only members of an organisation through
    row = first(Request, requester_id=actor.user_id, idempotency_key=key) if key else None
    if row is not None and row.submission_digest != same:
        told = "This Idempotency-Key was used for a different request. Use a new key for a new request."
        raise IdempotencyMismatch(told)
    # A browser's Back makes a new preview, and with it a new key, of what was confirmed already.
    sent: Sequence[Any] | None = None if row is None else (row.pk, row.status)
    if row is None and (not key or channel == PORTAL):
        sent = SENT_BEFORE.row(user=actor.user_id, digest=same, since=now - DOUBLE_SUBMISSION)
    return None if sent is None else Created(number=RequestId(sent[0]), status=Status(sent[1]), replayed=True)
