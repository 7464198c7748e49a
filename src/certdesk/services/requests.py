"""Asking for a certificate and deciding about it: preview, create, withdraw, approve, reject.

Nothing is signed or sent in here; a request that is accepted is handed to `services.issuance`.
"""

import secrets
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError

from certdesk.backends.base import Backend
from certdesk.domain.actors import Action, Actor, OrgRole, can
from certdesk.domain.audit import digest
from certdesk.domain.csr import Csr, PrivateKeyPasted, read_csr
from certdesk.domain.errors import (
    IdempotencyMismatch,
    NotAuthorized,
    NotFound,
    PolicyRefused,
)
from certdesk.domain.findings import Check, Verdict, as_record, worst
from certdesk.domain.policy import Decision, Outcome
from certdesk.domain.profiles import allows_ip_addresses, profile, validity
from certdesk.domain.requests import ENDED, Event, OrganisationId, RequestId, State, UserId
from certdesk.services.caa import CaaSeen, look_at_caa, record_caa
from certdesk.services.intents import Ahead, Claimed, claim_step, prepare_ahead, record_intent
from certdesk.services.keys import block_pasted
from certdesk.services.preflight import Subject, certificate_checks, judged
from certdesk.services.sealing import csr_to_store
from certdesk.services.texts import storable
from certdesk.services.validation import second_line
from certdesk.store.db import write_transaction
from certdesk.store.models import Approval, Organisation, Request
from certdesk.store.prepared import Prepared, insert
from certdesk.store.selectors.facts import Asked, lock_organisation, organisation_row, unproven_facts
from certdesk.store.selectors.requests import get_request
from certdesk.store.transitions import Known, Step, advance, begin, write_history

#: The same person sending the same thing again within this time has pressed the button twice (R17).
DOUBLE_SUBMISSION = timedelta(minutes=10)
PORTAL = "portal"
#: An accepted request that nobody has taken up by then was lost in a crash: the tick re-drives it.
UNCLAIMED = timedelta(seconds=5)
MAX_KEY = 128  # the column's width
_BY_KEY = Prepared(lambda user, key: Request.objects.filter(requester_id=user, idempotency_key=key), int, str)
_SAME = Prepared(
    lambda user, same, since: (
        Request.objects.filter(requester_id=user, submission_digest=same, created_at__gt=since)
        .exclude(state__in=ENDED - {State.ISSUED})
        .order_by("-id")[:1]
    ),
    int,
    str,
    datetime,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What an applicant sends, from whichever channel. `upload` is the file or the pasted text."""

    organisation_id: OrganisationId
    upload: bytes
    duration_years: int
    server_software: str
    profile_id: str = "tls-server"
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would become of a submission; nothing of it is stored (R16)."""

    organisation_id: OrganisationId
    organisation: str
    csr: Csr
    decision: Decision
    duration_years: int
    server_software: str
    profile_id: str
    not_before: datetime | None
    not_after: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """The request that a submission became.

    `replayed` when an earlier submission had made it; `pending` when an accepted one still waits for
    a domain to be validated; `claimed` when it was claimed at once, and only remains to be signed.
    """

    number: RequestId
    state: State
    replayed: bool
    pending: bool = False
    claimed: Claimed | None = None


def preview_request(*, actor: Actor, submission: Submission, now: datetime) -> Preview:
    """What the service sees in a CSR and what policy says, without a trace (R15, R16).

    Raises NotFound for a foreign organisation, BadCsr for what can't be read as one CSR.
    """
    _may_ask(actor, submission.organisation_id)
    csr = _read(submission, actor=actor, now=now)
    row = organisation_row(submission.organisation_id)
    seen = _look(submission, csr, now=now)
    decision = _judge(submission, csr, row, lint=True, caa=seen, now=now)
    kind = profile(submission.profile_id)
    not_before, not_after = (
        validity(kind, duration_years=submission.duration_years, now=now)
        if submission.duration_years in kind.term_years
        else (None, None)
    )
    return Preview(
        organisation_id=submission.organisation_id,
        organisation=row.legal_name,
        csr=csr,
        decision=decision,
        duration_years=submission.duration_years,
        server_software=submission.server_software,
        profile_id=submission.profile_id,
        not_before=not_before,
        not_after=not_after,
    )


def create_request(
    *,
    actor: Actor,
    submission: Submission,
    channel: str,
    idempotency_key: str = "",
    at_once: Backend | None = None,
    now: datetime,
) -> Created:
    """Records a request and what policy decided about it (R17 to R19).

    With `at_once`, a request that may be signed is claimed for that CA in the same transaction.
    With `idempotency_key` the same key makes the same request, and another body under it raises
    IdempotencyMismatch. Without one, the same submission by the same person within ten minutes is
    the same request. Raises PolicyRefused with every check, BadCsr, NotFound.
    """
    _may_ask(actor, submission.organisation_id)
    csr = _read(submission, actor=actor, now=now)
    storable(submission.note, field="note")
    storable(idempotency_key, field="idempotency_key", limit=MAX_KEY)
    same = _submission_digest(submission, csr)
    identity = (idempotency_key, same)
    ahead = None if at_once is None else _ahead(submission, csr, at_once, now=now)
    ready = _Ready(
        ahead=ahead,
        caa=_look(submission, csr, now=now),
        certificate=None if ahead is not None else _certificate(submission, csr, now=now),
    )
    try:
        return _create(actor, submission, csr, channel=channel, identity=identity, ready=ready, now=now)
    except IntegrityError:
        # The same key at the same moment for two organisations: the first is there by now.
        earlier = _earlier(actor, idempotency_key, same, channel=channel, now=now)
        if earlier is None:
            raise
        return earlier


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """What was made and looked up before the transaction, which is no place for either."""

    ahead: Ahead | None
    caa: CaaSeen
    certificate: tuple[Check, ...] | None  # None where `ahead` was linted


def _look(submission: Submission, csr: Csr, *, now: datetime) -> CaaSeen:
    return look_at_caa(
        organisation_id=submission.organisation_id,
        profile_id=submission.profile_id,
        names=csr.names,
        now=now,
    )


def _ahead(submission: Submission, csr: Csr, backend: Backend, *, now: datetime) -> Ahead | None:
    """What would be signed: made before the transaction, which is no place for encoding and lint."""
    if worst(csr.findings) in (Verdict.REFUSE, Verdict.MANUAL) or not csr.names:
        return None
    kind = profile(submission.profile_id)
    if submission.duration_years not in kind.term_years:
        return None
    row = organisation_row(submission.organisation_id)
    facts = unproven_facts(csr=csr, organisation=row, profile=kind, asked=_asked(submission))
    return prepare_ahead(facts=facts, csr_der=csr.der, organisation=row, backend=backend, now=now)


def _certificate(submission: Submission, csr: Csr, *, now: datetime) -> tuple[Check, ...]:
    """What the preview says of the certificate, where nothing was linted to be claimed."""
    row = organisation_row(submission.organisation_id)
    subject = Subject(csr=csr, organisation=row, profile=profile(submission.profile_id))
    return certificate_checks(subject, asked=_asked(submission), now=now)


def _create(
    actor: Actor,
    submission: Submission,
    csr: Csr,
    *,
    channel: str,
    identity: tuple[str, str],
    ready: _Ready,
    now: datetime,
) -> Created:
    (idempotency_key, same), ahead = identity, ready.ahead
    with write_transaction():
        lock_organisation(submission.organisation_id)
        if (earlier := _earlier(actor, idempotency_key, same, channel=channel, now=now)) is not None:
            return earlier
        row = organisation_row(submission.organisation_id)
        decision = _judge(submission, csr, row, caa=ready.caa, certificate=ready.certificate, now=now)
        if decision.outcome is Outcome.REFUSE:
            raise PolicyRefused(refusal_text(decision), checks=decision.checks)
        # Signed is what the decision under the lock is about, and nothing else (W2).
        may = decision.outcome is Outcome.AUTO and not decision.pending
        claim = ahead if ahead and may and ahead.content_digest == decision.content_digest else None
        request = _insert(
            actor=actor,
            submission=submission,
            csr=csr,
            decision=decision,
            channel=channel,
            identity=(idempotency_key or f"auto-{secrets.token_hex(16)}", same),
            organisation=row,
            claim=claim,
            now=now,
        )
        record_caa(ready.caa, organisation_id=row.pk, request_id=request.pk)
        claimed = None if claim is None else _claimed(request, claim, now=now)
    return Created(
        number=RequestId(request.pk),
        state=State(request.state),
        replayed=False,
        pending=bool(decision.pending),
        claimed=claimed,
    )


def _claimed(request: Request, ahead: Ahead, *, now: datetime) -> Claimed:
    return Claimed(
        attempt=record_intent(RequestId(request.pk), ahead.intent, now=now),
        intent=ahead.intent,
        backend=ahead.backend,
        known=Known(
            state=State(request.state), version=request.version, organisation_id=request.organisation_id
        ),
    )


def withdraw_request(*, actor: Actor, number: int, now: datetime) -> None:
    """Ends a request before anything was issued; its requester or a manager may. Raises StateConflict."""
    request = get_request(actor=actor, number=number)
    own = request.requester_id == actor.user_id
    manager = actor.memberships.get(request.organisation_id) is OrgRole.MANAGER
    allowed = can(actor, Action.REQUEST_WITHDRAW, organisation_id=request.organisation_id)
    if not allowed or not (own or manager):
        raise NotAuthorized(
            "Only the person who asked, or a manager of the organisation, may withdraw a request."
        )
    advance(
        request_id=request.number,
        event=Event.WITHDRAW,
        actor=actor,
        now=now,
        step=Step(detail=f"Withdrawn by {actor.label}."),
    )


def _may_ask(actor: Actor, organisation_id: OrganisationId) -> None:
    if not can(actor, Action.REQUEST_CREATE, organisation_id=organisation_id):
        raise NotFound("You don't belong to an organisation of that name, so you can't request for it.")


def _read(submission: Submission, *, actor: Actor, now: datetime) -> Csr:
    return read_upload(submission.upload, profile_id=submission.profile_id, actor=actor, now=now)


def read_upload(upload: bytes, *, profile_id: str, actor: Actor, now: datetime) -> Csr:
    """The one CSR in what was sent; a private key is refused, and blocked if it is proven. Raises BadCsr.

    IP addresses are names where the profile has them.
    """
    try:
        return read_csr(upload, ip_addresses=allows_ip_addresses(profile_id))
    except PrivateKeyPasted as pasted:
        block_pasted(pasted, actor=actor, now=now)
        raise


def _judge(
    submission: Submission,
    csr: Csr,
    row: Organisation,
    *,
    lint: bool = False,
    caa: CaaSeen,
    certificate: tuple[Check, ...] | None = None,
    now: datetime,
) -> Decision:
    kind = profile(submission.profile_id)
    subject = Subject(csr=csr, organisation=row, profile=kind, caa=caa.answers, certificate=certificate)
    return judged(subject, asked=_asked(submission), lint=lint, now=now)[1]


def _asked(submission: Submission) -> Asked:
    return Asked(duration_years=submission.duration_years, server_software=submission.server_software)


def _submission_digest(submission: Submission, csr: Csr) -> str:
    return digest({**asdict(submission), "upload": csr.sha256})


def _earlier(actor: Actor, key: str, same: str, *, channel: str, now: datetime) -> Created | None:
    assert actor.user_id is not None  # noqa: S101 - `_may_ask` lets only members of an organisation through
    row = _BY_KEY.first(actor.user_id, key) if key else None
    if row is not None and row.submission_digest != same:
        raise IdempotencyMismatch(
            "This Idempotency-Key was used for a different request. Use a new key for a new request."
        )
    # A browser's Back makes a new preview, and with it a new key, of what was confirmed already (R17).
    if row is None and (not key or channel == PORTAL):
        row = _SAME.first(actor.user_id, same, now - DOUBLE_SUBMISSION)
    return None if row is None else Created(number=RequestId(row.pk), state=State(row.state), replayed=True)


def _insert(
    *,
    actor: Actor,
    submission: Submission,
    csr: Csr,
    decision: Decision,
    channel: str,
    identity: tuple[str, str],
    organisation: Organisation,
    claim: Ahead | None,
    now: datetime,
) -> Request:
    auto, pending = decision.outcome is Outcome.AUTO, decision.pending
    made = State.ACCEPTED if auto else State.WAITING_FOR_APPROVAL
    reasons = [check.message for check in decision.manual_reasons or pending]
    detail = " ".join(reasons)
    if auto:
        detail = "Passed every check; about to be handed to the CA."
    if auto and pending:
        detail = second_line(submission.organisation_id, csr.names, now=now)
    first = Step(
        detail=detail,
        note="\n".join(reasons) or detail,  # a line each, in the history and in the mail
        next_attempt_at=now + UNCLAIMED if auto and not pending else None,
        data={
            "content_digest": decision.content_digest,
            "policy_digest": decision.policy_digest,
            "outcome": decision.outcome.value,
            "names": list(csr.names),
            "manual": sorted({c.code for c in decision.manual_reasons}),
        },
    )
    then = () if claim is None else ((Event.CLAIM, claim_step(claim.backend, now=now)),)
    beginning = begin(made=made, first=first, then=then)
    assert actor.user_id is not None  # noqa: S101 - `_may_ask` lets only members of an organisation through
    request = Request(
        organisation_id=organisation.pk,
        requester_id=UserId(actor.user_id),
        channel=channel,
        profile_id=submission.profile_id,
        profile_version=profile(submission.profile_id).version,
        csr_der=csr_to_store(csr.der),
        csr_sha256=csr.sha256,
        spki_sha256=csr.key.spki_sha256,
        names=list(csr.names),
        common_names=csr.names[0],
        subject=[[a.name, a.value] for a in csr.subject],
        key=describe_key(csr),
        duration_years=submission.duration_years,
        server_software=submission.server_software,
        note=submission.note,
        checks=[as_record(check) for check in decision.checks],
        policy_digest=decision.policy_digest,
        content_digest=decision.content_digest,
        idempotency_key=identity[0],
        submission_digest=identity[1],
        created_at=now,
        changed_at=now,
        search_text=" ".join([*csr.names, actor.label, organisation.legal_name]).lower(),
        **beginning.columns,
    )
    insert(request)
    if auto:
        approved = Approval(
            request=request,
            verdict="approve",
            by="policy",
            content_digest=decision.content_digest,
            policy_digest=decision.policy_digest,
            at=now,
        )
        insert(approved)
    changes = beginning.changes(request_id=RequestId(request.pk), organisation_id=organisation.pk)
    write_history(changes=changes, actor=actor, now=now, notify=not auto or bool(pending))
    return request


def describe_key(csr: Csr) -> str:
    """The key in a few words, such as `RSA 2048` or `EC P-256`."""
    return f"{csr.key.algorithm} {csr.key.curve or csr.key.size}"


def refusal_text(decision: Decision) -> str:
    """Why policy refuses, for people: the first few reasons."""
    refused = [c.message for c in decision.checks if c.verdict is Verdict.REFUSE]
    return " ".join(refused[:3])
