"""Asking for a certificate and deciding about it: preview, create, withdraw, approve, reject.

Nothing is signed or sent in here; a request that is accepted is handed to `services.issuance`.
"""

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError

from certdesk.domain.actors import Action, Actor, OrgRole, can
from certdesk.domain.audit import digest
from certdesk.domain.csr import Csr, PrivateKeyPasted, read_csr
from certdesk.domain.errors import (
    IdempotencyMismatch,
    InvalidInput,
    NotAuthorized,
    NotFound,
    PolicyRefused,
    StateConflict,
)
from certdesk.domain.findings import Verdict, as_record
from certdesk.domain.policy import NOT_VALIDATED, Decision, Facts, Outcome, domains_to_validate
from certdesk.domain.profiles import profile, validity
from certdesk.domain.requests import ENDED, Event, OrganisationId, RequestId, State, UserId
from certdesk.services.organisations import Evidence, record_validation
from certdesk.services.preflight import Subject, judged
from certdesk.services.texts import storable
from certdesk.services.validation import second_line
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import Approval, BlockedKey, Organisation, Request
from certdesk.store.selectors.facts import Asked, lock_organisation, organisation_row
from certdesk.store.selectors.requests import RequestDetail, get_request
from certdesk.store.transitions import Change, Step, advance, write_history

#: The same person sending the same thing again within this time has pressed the button twice (R17).
DOUBLE_SUBMISSION = timedelta(minutes=10)
PORTAL = "portal"
#: An accepted request that nobody has taken up by then was lost in a crash: the tick re-drives it.
UNCLAIMED = timedelta(seconds=5)
MAX_KEY = 128  # the column's width


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
    a domain to be validated.
    """

    number: RequestId
    state: State
    replayed: bool
    pending: bool = False


def preview_request(*, actor: Actor, submission: Submission, now: datetime) -> Preview:
    """What the service sees in a CSR and what policy says, without a trace (R15, R16).

    Raises NotFound for a foreign organisation, BadCsr for what can't be read as one CSR.
    """
    _may_ask(actor, submission.organisation_id)
    csr = _read(submission.upload, actor=actor, now=now)
    row = organisation_row(submission.organisation_id)
    decision = _judge(submission, csr, row, lint=True, now=now)
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
    *, actor: Actor, submission: Submission, channel: str, idempotency_key: str = "", now: datetime
) -> Created:
    """Records a request and what policy decided about it (R17 to R19).

    With `idempotency_key` the same key makes the same request, and another body under it raises
    IdempotencyMismatch. Without one, the same submission by the same person within ten minutes is
    the same request. Raises PolicyRefused with every check, BadCsr, NotFound.
    """
    _may_ask(actor, submission.organisation_id)
    csr = _read(submission.upload, actor=actor, now=now)
    storable(submission.note, field="note")
    storable(idempotency_key, field="idempotency_key", limit=MAX_KEY)
    same = _submission_digest(submission, csr)
    try:
        return _create(actor, submission, csr, channel=channel, identity=(idempotency_key, same), now=now)
    except IntegrityError:
        # The same key at the same moment for two organisations: the first is there by now.
        earlier = _earlier(actor, idempotency_key, same, channel=channel, now=now)
        if earlier is None:
            raise
        return earlier


def _create(
    actor: Actor, submission: Submission, csr: Csr, *, channel: str, identity: tuple[str, str], now: datetime
) -> Created:
    idempotency_key, same = identity
    with write_transaction():
        lock_organisation(submission.organisation_id)
        if (earlier := _earlier(actor, idempotency_key, same, channel=channel, now=now)) is not None:
            return earlier
        row = organisation_row(submission.organisation_id)
        decision = _judge(submission, csr, row, now=now)
        if decision.outcome is Outcome.REFUSE:
            raise PolicyRefused(_refusal(decision), checks=decision.checks)
        request = _insert(
            actor=actor,
            submission=submission,
            csr=csr,
            decision=decision,
            channel=channel,
            identity=(idempotency_key or f"auto-{secrets.token_hex(16)}", same),
            organisation=row,
            now=now,
        )
    return Created(
        number=RequestId(request.pk),
        state=State(request.state),
        replayed=False,
        pending=bool(decision.pending),
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


def approve_request(
    *,
    actor: Actor,
    number: int,
    evidence: Sequence[Evidence] = (),
    note: str = "",
    seen_version: int | None = None,
    now: datetime,
) -> None:
    """Approves exactly what the officer saw; the request goes on towards the CA (R31 to R33).

    For every domain that nothing proves yet, `evidence` says how ownership was checked. One under a
    trusted suffix may go without: its own people then confirm by e-mail before anything is signed.
    Raises InvalidInput naming the domains without evidence, NotAuthorized for an own request,
    StateConflict when somebody was faster, before anything else is judged.
    """
    shown = _may_decide(actor, number)
    note = storable(note, field="note")
    seen = shown.version if seen_version is None else seen_version
    with write_transaction():
        lock_organisation(shown.organisation_id)
        request = Request.objects.get(id=shown.number)
        if request.version != seen or request.state != State.WAITING_FOR_APPROVAL:
            raise StateConflict("Somebody else has decided about this request already. Look at it again.")
        row = organisation_row(shown.organisation_id)
        facts, decision = facts_of(request, row, now=now)
        if decision.refusals:
            raise PolicyRefused(_refusal(decision), checks=decision.checks)
        waived = sorted({check.code for check in decision.manual_reasons})
        proofs = _complete(evidence, facts, decision, now=now)
        # The claim comes first: whoever loses the race writes no evidence at all.
        advance(
            request_id=shown.number,
            event=Event.APPROVE,
            actor=actor,
            now=now,
            seen_version=seen,
            step=Step(
                detail="Approved; about to be handed to the CA.",
                note=note,
                next_attempt_at=now + UNCLAIMED,
                data={"waived": waived, "domains": [p.domain for p in proofs]},
            ),
        )
        for proof in proofs:
            record_validation(actor=actor, organisation=row, evidence=proof, request_id=shown.number, now=now)
        Approval.objects.create(
            request_id=shown.number,
            verdict="approve",
            by=actor.label,
            user_id=actor.user_id,
            content_digest=decision.content_digest,
            policy_digest=decision.policy_digest,
            waived=waived,
            note=note,
            at=now,
        )
        Organisation.objects.filter(id=row.pk, first_approved_at__isnull=True).update(first_approved_at=now)
        Organisation.objects.filter(id=row.pk, vetted_at__isnull=True).update(vetted_at=now)


def reject_request(
    *, actor: Actor, number: int, details: str, seen_version: int | None = None, now: datetime
) -> None:
    """Rejects with details, which the applicant reads and is sent (R29). Raises InvalidInput without any.

    An accepted request is stopped only by somebody who has seen it accepted: without `seen_version`
    a yes and a no at the same time would both win.
    """
    shown = _may_decide(actor, number)
    details = storable(details, field="details")
    if not details:
        raise InvalidInput(
            "Say why the request is rejected: the applicant is told.", fields={"details": "Give the details."}
        )
    if seen_version is None and shown.state is State.ACCEPTED:
        raise StateConflict("Somebody else has accepted this request already. Look at it again.")
    with write_transaction():
        advance(
            request_id=shown.number,
            event=Event.REJECT,
            actor=actor,
            now=now,
            seen_version=shown.version if seen_version is None else seen_version,
            step=Step(detail=details, note=details),
        )
        content, policy = Request.objects.values_list("content_digest", "policy_digest").get(id=shown.number)
        Approval.objects.create(
            request_id=shown.number,
            verdict="reject",
            by=actor.label,
            user_id=actor.user_id,
            content_digest=content,
            policy_digest=policy,
            note=details,
            at=now,
        )


def facts_of(
    request: Request, organisation: Organisation, *, lint: bool = False, now: datetime
) -> tuple[Facts, Decision]:
    """The facts of a stored request as they are now, and what policy says about them now.

    `lint` is for whoever looks at the list: what goes on to the CA is linted there anyway.
    """
    kind = profile(request.profile_id)
    subject = Subject(
        csr=read_csr(bytes(request.csr_der)), organisation=organisation, profile=kind, request=request
    )
    asked = Asked(duration_years=request.duration_years, server_software=request.server_software)
    return judged(subject, asked=asked, lint=lint, now=now)


def domains_awaiting_evidence(*, actor: Actor, number: int, now: datetime) -> dict[str, tuple[str, ...]]:
    """Domain → names below it for which an approving officer may give evidence (R31)."""
    facts, _decision = _judged_now(actor, number, now=now)
    return {domain: tuple(names) for domain, names in domains_to_validate(facts, now=now).items()}


def domains_requiring_evidence(*, actor: Actor, number: int, now: datetime) -> frozenset[str]:
    """The domains that nobody but an approving officer can validate (R30, R31)."""
    _facts_now, decision = _judged_now(actor, number, now=now)
    return _required(decision)


def _judged_now(actor: Actor, number: int, *, now: datetime) -> tuple[Facts, Decision]:
    shown = get_request(actor=actor, number=number)
    row = organisation_row(shown.organisation_id)
    return facts_of(Request.objects.get(id=shown.number), row, now=now)


def _required(decision: Decision) -> frozenset[str]:
    return frozenset(check.seen for check in decision.manual_reasons if check.code == NOT_VALIDATED)


def _may_ask(actor: Actor, organisation_id: OrganisationId) -> None:
    if not can(actor, Action.REQUEST_CREATE, organisation_id=organisation_id):
        raise NotFound("You don't belong to an organisation of that name, so you can't request for it.")


def _may_decide(actor: Actor, number: int) -> RequestDetail:
    request = get_request(actor=actor, number=number)
    if not can(actor, Action.REQUEST_DECIDE):
        raise NotAuthorized("Only an RA officer decides about requests.")
    if request.requester_id == actor.user_id:
        raise NotAuthorized("You asked for this yourself, so another officer has to decide (W3).")
    return request


def _read(upload: bytes, *, actor: Actor, now: datetime) -> Csr:
    try:
        return read_csr(upload)
    except PrivateKeyPasted as pasted:
        _block(pasted.spki_sha256, actor=actor, now=now)
        raise


def _block(keys: tuple[str, ...], *, actor: Actor, now: datetime) -> None:
    """Blocks the public half of a private key that somebody sent; of the key itself nothing is kept (S11)."""
    with write_transaction():
        for key in keys:
            _row, new = BlockedKey.objects.get_or_create(
                spki_sha256=key, defaults={"reason": "The private key was sent to the service.", "at": now}
            )
            if new:
                audit.record(actor=actor, action="key.block", object_type="key", object_id=key, now=now)


def _judge(
    submission: Submission, csr: Csr, row: Organisation, *, lint: bool = False, now: datetime
) -> Decision:
    subject = Subject(csr=csr, organisation=row, profile=profile(submission.profile_id))
    asked = Asked(duration_years=submission.duration_years, server_software=submission.server_software)
    return judged(subject, asked=asked, lint=lint, now=now)[1]


def _submission_digest(submission: Submission, csr: Csr) -> str:
    return digest({**asdict(submission), "upload": csr.sha256})


def _earlier(actor: Actor, key: str, same: str, *, channel: str, now: datetime) -> Created | None:
    mine = Request.objects.filter(requester_id=actor.user_id)
    row = mine.filter(idempotency_key=key).first() if key else None
    if row is not None and row.submission_digest != same:
        raise IdempotencyMismatch(
            "This Idempotency-Key was used for a different request. Use a new key for a new request."
        )
    # A browser's Back makes a new preview, and with it a new key, of what was confirmed already (R17).
    if row is None and (not key or channel == PORTAL):
        row = (
            mine.filter(submission_digest=same, created_at__gt=now - DOUBLE_SUBMISSION)
            .exclude(state__in=ENDED - {State.ISSUED})
            .order_by("-id")
            .first()
        )
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
    now: datetime,
) -> Request:
    auto, pending = decision.outcome is Outcome.AUTO, decision.pending
    state = State.ACCEPTED if auto else State.WAITING_FOR_APPROVAL
    reasons = " ".join(check.message for check in decision.manual_reasons or pending)
    detail = reasons
    if auto:
        detail = "Passed every check; about to be handed to the CA."
    if auto and pending:
        detail = second_line(submission.organisation_id, csr.names, now=now)
    assert actor.user_id is not None  # noqa: S101 - `_may_ask` lets only members of an organisation through
    request = Request.objects.create(
        organisation_id=organisation.pk,
        requester_id=UserId(actor.user_id),
        channel=channel,
        profile_id=submission.profile_id,
        profile_version=profile(submission.profile_id).version,
        csr_der=csr.der,
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
        state=state,
        detail=detail,
        created_at=now,
        changed_at=now,
        next_attempt_at=now + UNCLAIMED if auto and not pending else None,
        search_text=" ".join([*csr.names, actor.label, organisation.legal_name]).lower(),
    )
    if auto:
        Approval.objects.create(
            request=request,
            verdict="approve",
            by="policy",
            content_digest=decision.content_digest,
            policy_digest=decision.policy_digest,
            at=now,
        )
    step = Step(
        note=reasons or detail,
        data={
            "content_digest": decision.content_digest,
            "policy_digest": decision.policy_digest,
            "outcome": decision.outcome.value,
            "names": list(csr.names),
            "manual": sorted({c.code for c in decision.manual_reasons}),
        },
    )
    change = Change(
        request_id=RequestId(request.pk),
        organisation_id=organisation.pk,
        event=Event.CREATE,
        old=None,
        new=state,
        step=step,
    )
    write_history(changes=[change], actor=actor, now=now, notify=not auto or bool(pending))
    return request


def describe_key(csr: Csr) -> str:
    """The key in a few words, such as `RSA 2048` or `EC P-256`."""
    return f"{csr.key.algorithm} {csr.key.curve or csr.key.size}"


def _refusal(decision: Decision) -> str:
    refused = [c.message for c in decision.checks if c.verdict is Verdict.REFUSE]
    return " ".join(refused[:3])


def _complete(
    evidence: Sequence[Evidence], facts: Facts, decision: Decision, *, now: datetime
) -> list[Evidence]:
    needed = domains_to_validate(facts, now=now)
    given = {item.domain: item for item in evidence if item.details.strip()}
    if strange := set(given) - set(needed):
        raise InvalidInput(
            f"No evidence is needed for {', '.join(sorted(strange))}.", fields={"evidence": "Leave it out."}
        )
    if missing := sorted(_required(decision) - set(given)):
        raise InvalidInput(
            f"Say how ownership was checked for {', '.join(missing)}.",
            fields={f"evidence.{domain}": "Say what was checked, and where." for domain in missing},
        )
    return [given[domain] for domain in needed if domain in given]
