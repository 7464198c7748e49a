"""Revoking a certificate, safe against a crash at every point. What tells of it is made in `crl`.

As in issuing, the intent is recorded first; the CA is asked outside any transaction; whatever it answers is
recorded. Asking a CA twice to revoke the same certificate does no harm, so an open intent is simply asked
again by the tick until the CA has taken it or said no (docs/issuance-cycle.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import structlog
from django.core.mail import EmailMessage
from django.db import IntegrityError
from django.db.models import F

from certdesk.domain.actors import SYSTEM, Action, Actor, OrgRole, RaRole, can
from certdesk.domain.errors import (
    BackendError,
    BackendRefused,
    InvalidInput,
    NotAuthorized,
    NotFound,
    StateConflict,
    existing,
)
from certdesk.domain.issuing.revocation import ENDS_REQUEST, MAY_END_REQUEST, PLAIN, RA_ONLY, RevocationReason
from certdesk.domain.issuing.states import OrganisationId, RequestId, State, UserId
from certdesk.services.acme.accounts import refuse_ended
from certdesk.services.mail.compose import letter, prose, section, table
from certdesk.services.mail.notices import MAX_NAMES, recipients
from certdesk.services.people.permissions import actor_now
from certdesk.services.requests.asking import end_under_lock
from certdesk.services.revocation.blocked_keys import block_key
from certdesk.services.system import runtime
from certdesk.services.system.text_input import storable
from certdesk.store import audit, jobs
from certdesk.store.db import write_transaction
from certdesk.store.models import AcmeAccount, Certificate, KeyProof, Request, Revocation, RevocationOutcome
from certdesk.store.selectors.certificates import get_certificate
from certdesk.store.selectors.facts import lock_organisation
from certdesk.store.selectors.people import staff_mailboxes
from certdesk.store.transitions import REVOKED, note_line

log = structlog.get_logger()

Clock = Callable[[], datetime]

#: Whoever asks the CA has this long to finish before the tick takes over.
LEASE = timedelta(seconds=10)
RETRY_FIRST, RETRY_MOST = timedelta(seconds=5), timedelta(minutes=15)


class Progress(StrEnum):
    """How far a revocation has come: the CA has taken it, or will be asked until it answers."""

    REVOKED = "revoked"
    PENDING = "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldsKey:
    """Whoever signed with the certificate's own private key; SHA-256 of the public half (RFC 8555 7.6)."""

    spki_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldsAccount:
    """An ACME account, which acts for an organisation and may revoke what that holds."""

    account: AcmeAccount


def revoke_certificate(
    *,
    actor: Actor,
    certificate_id: int,
    reason: RevocationReason,
    note: str = "",
    end_request: bool = False,
    clock: Clock,
) -> Progress:
    """Revokes for a person: who asked for the certificate, a manager of the organisation, or an RA officer.

    A compromised key is blocked, whatever becomes of the revocation, and with it go the other certificates
    for that key: everybody's on an officer's word, else those of the organisation alone. A withdrawn
    privilege ends the request in the same transaction, and so does `end_request`, for some reasons and by
    whoever may end it. Raises NotFound, NotAuthorized, InvalidInput, StateConflict when it is revoked, being
    revoked or expired, and BackendRefused once the CA's no is recorded.
    """
    held = get_certificate(actor=actor, certificate_id=certificate_id, now=clock())
    row = Certificate.objects.select_related("request").get(id=held.id)
    key_proof, ends = KeyProof.OFFICER if _for_ra(actor) else KeyProof.CLAIM, reason in ENDS_REQUEST
    asked = _Asked(actor, reason, storable(note, field="note"), key_proof, ends_request=end_request or ends)
    _refuse_not_theirs(row, asked, actor)
    if end_request and reason not in ENDS_REQUEST | MAY_END_REQUEST:
        raise InvalidInput(
            f"A revocation for “{reason}” does not end the request.",
            {"end_request": f"Leave it out, or choose {' or '.join(sorted(MAY_END_REQUEST))}."},
        )
    return _revoke(row, asked, clock=clock)


def revoke_by_proof(
    *,
    actor: Actor,
    certificate_id: int,
    proof: HoldsKey | HoldsAccount,
    reason: RevocationReason,
    clock: Clock,
) -> Progress:
    """Revokes for whoever has shown, without being a person of the portal, that the certificate is theirs.

    The caller has checked the signature that the proof stands for; `actor` carries the label for the history.
    Raises as `revoke_certificate` does; NotFound for another organisation's certificate.
    """
    found = Certificate.objects.select_related("request").filter(id=certificate_id)
    row = existing(found.first(), "There is no such certificate.")
    match proof:
        case HoldsKey(spki_sha256=shown):
            if shown != row.spki_sha256:
                raise NotAuthorized("The key is not that of the certificate.")
        case HoldsAccount(account=account):
            if account.organisation_id != row.request.organisation_id:
                raise NotFound("There is no such certificate.")
    if reason in RA_ONLY:
        told = f"“{reason}” is for RA officers to say."
        raise InvalidInput(told, {"reason": "Choose another reason."}, code="revocation.bad_reason")
    key_proof = KeyProof.POSSESSION if isinstance(proof, HoldsKey) else KeyProof.CLAIM
    by = proof.account if isinstance(proof, HoldsAccount) else None
    return _revoke(row, _Asked(actor, reason, "", key_proof, account=by), clock=clock)


def may_revoke(actor: Actor, *, organisation_id: OrganisationId, requester_id: UserId) -> bool:
    """Whether this person may revoke a certificate that somebody of this organisation asked for."""
    if _for_ra(actor):
        return True
    if not can(actor, Action.CERTIFICATE_REVOKE, organisation_id=organisation_id):
        return False
    manager = actor.memberships.get(organisation_id) is OrgRole.MANAGER
    return manager or actor.user_id == requester_id


def reasons_for(actor: Actor) -> tuple[RevocationReason, ...]:
    """The reasons that this person may give, in the order in which they are shown."""
    return tuple(r for r in RevocationReason if r not in RA_ONLY or _for_ra(actor))


def due_revocations(*, now: datetime, limit: int = 20) -> list[int]:
    """The intents that the tick has to put to a CA, longest overdue first."""
    due = Revocation.objects.filter(next_attempt_at__lte=now).order_by("next_attempt_at")
    return list(due.values_list("id", flat=True)[:limit])


def drive_revocation(*, revocation_id: int, clock: Clock) -> Progress | None:
    """Asks the CA about an open intent again. Idempotent; None when nothing was due, or the CA said no."""
    now = clock()
    seen = Revocation.objects.values_list("next_attempt_at", flat=True).get(id=revocation_id)
    if seen is None or seen > now:
        return None
    with write_transaction():
        claimed = Revocation.objects.filter(id=revocation_id, next_attempt_at=seen).update(
            next_attempt_at=now + LEASE
        )
    if not claimed:
        return None
    try:
        return _ask(revocation_id, clock=clock)
    except BackendRefused:
        return None


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who wants it revoked, why, and on what proof; a claim touches no other organisation."""

    actor: Actor
    reason: RevocationReason
    note: str
    proof: KeyProof
    ends_request: bool = False
    account: AcmeAccount | None = None

    @property
    def everywhere(self) -> bool:
        return self.proof is not KeyProof.CLAIM

    @property
    def compromised(self) -> bool:
        return self.reason is RevocationReason.KEY_COMPROMISE


def _for_ra(actor: Actor) -> bool:
    return can(actor, Action.CERTIFICATE_REVOKE)


def _refuse_not_theirs(row: Certificate, asked: _Asked, actor: Actor) -> None:
    """Raises NotAuthorized where a person may not revoke this certificate in this way."""
    organisation_id = OrganisationId(row.request.organisation_id)
    if not may_revoke(actor, organisation_id=organisation_id, requester_id=UserId(row.request.requester_id)):
        raise NotAuthorized(
            "Only the person who asked for this certificate, a manager of the organisation or an RA officer "
            "may revoke it."
        )
    if asked.reason not in reasons_for(actor) or (asked.proof is KeyProof.OFFICER and not _for_ra(actor)):
        raise NotAuthorized(f"“{asked.reason}” is for RA officers to say.")
    if asked.ends_request and not can(actor, Action.REQUEST_END, organisation_id=organisation_id):
        raise NotAuthorized(
            "You may revoke this certificate, but only a manager of the organisation or an RA officer may "
            "end its request. Revoke it without ending the request, or ask one of them."
        )


def _lock(row: Certificate, asked: _Asked) -> None:
    """Takes the organisation's lock, and judges under it whether whoever asked still may."""
    lock_organisation(OrganisationId(row.request.organisation_id))
    if asked.account is not None:
        refuse_ended(asked.account)
    elif asked.actor.user_id is not None:
        _refuse_not_theirs(row, asked, actor_now(asked.actor))


def _revoke(row: Certificate, asked: _Asked, *, clock: Clock) -> Progress:
    now = clock()
    if asked.compromised:
        # First and by itself: the key is bad even if this certificate is revoked or expired already.
        with write_transaction():
            _lock(row, asked)
            block_key(
                row.spki_sha256,
                proof=asked.proof,
                reason=f"Reported as compromised with certificate {row.serial}.",
                organisation_id=None if asked.everywhere else row.request.organisation_id,
                actor=asked.actor,
                now=now,
            )
    backend = runtime.current().backends.get(row.issuance.backend)
    at_once = backend is not None and backend.inline
    try:
        with write_transaction():
            # The row comes first: while it stands, its unique index keeps everybody else out, so that what is
            # then read of the certificate can't change under us.
            _lock(row, asked)
            revocation = _intent(row, asked, due_at=now + LEASE if at_once else now, now=now)
            revocation.save(force_insert=True)
            _refuse_ended(row, asked, now=now)
            if (
                asked.ends_request
                and Request.objects.filter(id=row.request_id, state=State.APPROVED).exists()
            ):
                why = f"Its certificate is being revoked: {PLAIN[asked.reason].lower()}. {asked.note}".strip()
                end_under_lock(request_id=RequestId(row.request_id), actor=asked.actor, reason=why, now=now)
            # What else falls with a compromised key: other organisations' only on the RA's word or on proof.
            others = Certificate.objects.filter(
                spki_sha256=row.spki_sha256, revoked_at__isnull=True, not_after__gte=now
            ).exclude(id=row.pk)
            if not asked.everywhere:
                others = others.filter(organisation_id=row.request.organisation_id)
            same_key = list(others.order_by("id")) if asked.compromised else []
            Revocation.objects.bulk_create(
                [_intent(other, asked, due_at=now, now=now) for other in same_key],
                ignore_conflicts=True,  # one that is being revoked already
            )
            data = {
                "serial": row.serial,
                "reason": asked.reason.value,
                "note": asked.note,
                "same_key": [other.pk for other in same_key],
                "ends_request": asked.ends_request,
            }
            owner = row.request.organisation_id
            audit.record(asked.actor, "certificate.ask_revocation", row.pk, owner, now=now, data=data)
    except IntegrityError:
        told = "This certificate is being revoked already."
        raise StateConflict(told, code="certificate.already_revoked") from None
    return _ask(revocation.pk, clock=clock) if at_once else Progress.PENDING


def _intent(row: Certificate, asked: _Asked, *, due_at: datetime, now: datetime) -> Revocation:
    return Revocation(
        certificate=row,
        reason=asked.reason.value,
        note=asked.note,
        actor=asked.actor.label,
        user_id=asked.actor.user_id,
        requested_at=now,
        next_attempt_at=due_at,
    )


def _refuse_ended(row: Certificate, asked: _Asked, *, now: datetime) -> None:
    """Only a compromised key may replace the reason of an earlier revocation (BR 4.9.1.1, 7.2.2)."""
    revoked_at, reason, not_after = Certificate.objects.values_list(
        "revoked_at", "revocation_reason", "not_after"
    ).get(id=row.pk)
    if revoked_at is not None and (not asked.compromised or reason == asked.reason):
        raise StateConflict("This certificate was revoked already.", code="certificate.already_revoked")
    if now > not_after:
        raise StateConflict(
            "This certificate has expired, so there is nothing left to revoke."
            + (" Its key is blocked." if asked.compromised else ""),
            code="certificate.expired",
        )


def _ask(revocation_id: int, *, clock: Clock) -> Progress:
    """Outside any transaction. Raises BackendRefused once that is recorded."""
    revocation = Revocation.objects.select_related("certificate__issuance", "certificate__request").get(
        id=revocation_id
    )
    certificate = revocation.certificate
    try:
        backend = runtime.current().backend(certificate.issuance.backend)
        backend.revoke(certificate_der=bytes(certificate.der), reason=revocation.reason)
    except BackendRefused as error:
        now = clock()
        with write_transaction():
            if _close(revocation, RevocationOutcome.REFUSED, detail=error.detail, now=now):
                _audit(revocation, "certificate.revocation_refused", detail=error.detail, now=now)
                jobs.enqueue("mail_revocation", due_at=now, revocation_id=revocation.pk)
        raise
    except BackendError as error:
        return _ask_later(revocation, error.detail, now=clock())
    except Exception:  # plug-in boundary: nobody knows how far it got, and asking again does no harm
        log.exception("revocation.broke", certificate=certificate.pk, backend=certificate.issuance.backend)
        return _ask_later(revocation, "The connection to the CA broke.", now=clock())
    now = clock()
    with write_transaction():
        lock_organisation(OrganisationId(certificate.request.organisation_id))
        if not _close(revocation, RevocationOutcome.DONE, detail="", now=now):
            return Progress.REVOKED  # another process has heard the same answer, and recorded it
        rows = Certificate.objects.filter(id=certificate.pk)
        fresh = rows.filter(revoked_at__isnull=True)
        if not fresh.update(revoked_at=now, revocation_reason=revocation.reason):
            rows.update(revocation_reason=revocation.reason)
        why = PLAIN[RevocationReason(revocation.reason)]
        note = f"{why}. Serial number: {certificate.serial}. {revocation.note}".strip()
        number = RequestId(certificate.request_id)
        note_line(request_id=number, event=REVOKED, actor=_asker(revocation), note=note, now=now)
        _audit(revocation, "certificate.revoke", now=now)
        jobs.enqueue("mail_revocation", due_at=now, revocation_id=revocation.pk)
    return Progress.REVOKED


def record_revoked(
    *, certificate_id: int, reason: RevocationReason, revoked_at: datetime, note: str, now: datetime
) -> bool:
    """Takes down, in the caller's transaction, that a CA has revoked by itself; False where that is known.

    Nobody is asked. Applicants are told as of any other revocation.
    """
    row = Certificate.objects.select_related("request").get(id=certificate_id)
    lock_organisation(OrganisationId(row.request.organisation_id))
    if Revocation.objects.filter(certificate=row, outcome=RevocationOutcome.OPEN).exists():
        return False
    fresh = Certificate.objects.filter(id=row.pk, revoked_at__isnull=True)
    if not fresh.update(revoked_at=revoked_at, revocation_reason=reason):
        return False
    revocation = Revocation.objects.create(
        certificate=row,
        reason=reason,
        note=note,
        actor=SYSTEM.label,
        outcome=RevocationOutcome.DONE,
        requested_at=now,
        ended_at=now,
    )
    told = f"{PLAIN[reason]}. Serial number: {row.serial}. {note}"
    note_line(request_id=RequestId(row.request_id), event=REVOKED, actor=SYSTEM, note=told, now=now)
    _audit(revocation, "certificate.revoke", detail=note, now=now)
    jobs.enqueue("mail_revocation", due_at=now, revocation_id=revocation.pk)
    return True


def _ask_later(revocation: Revocation, detail: str, *, now: datetime) -> Progress:
    pause = min(RETRY_FIRST * 2 ** min(revocation.attempts, 10), RETRY_MOST)
    log.warning(
        "revocation.put_off",
        certificate=revocation.certificate_id,
        detail=detail,
        age=str(now - revocation.requested_at),
    )
    with write_transaction():
        Revocation.objects.filter(id=revocation.pk, outcome=RevocationOutcome.OPEN).update(
            next_attempt_at=now + pause, attempts=F("attempts") + 1, detail=detail
        )
    return Progress.PENDING


def _close(revocation: Revocation, outcome: RevocationOutcome, *, detail: str, now: datetime) -> bool:
    """Ends an open intent, once."""
    closed = Revocation.objects.filter(id=revocation.pk, outcome=RevocationOutcome.OPEN).update(
        outcome=outcome, detail=detail, next_attempt_at=None, ended_at=now
    )
    return bool(closed)


def _asker(revocation: Revocation) -> Actor:
    user_id = None if revocation.user_id is None else UserId(revocation.user_id)
    return Actor(label=revocation.actor, user_id=user_id)


def _audit(revocation: Revocation, action: str, *, detail: str = "", now: datetime) -> None:
    certificate, actor = revocation.certificate, _asker(revocation)
    data = {
        "serial": certificate.serial,
        "reason": revocation.reason,
        "asked_at": revocation.requested_at.isoformat(),
        **({"detail": detail} if detail else {}),
    }
    audit.record(actor, action, certificate.pk, certificate.request.organisation_id, now=now, data=data)


_REVOKED = (
    "One of your certificates was revoked. Browsers and other clients reject it from now on: a server "
    "that still uses it needs another certificate."
)
_REFUSED = "The CA refused to revoke one of your certificates. It is still valid."


def mail_revocation(*, revocation_id: int, now: datetime) -> bool:
    """Says what became of a revocation; False when it is still open, or was told before.

    A refusal goes to the RA officers as well, for somebody has to talk to the CA. At least once, as all mail.
    """
    row = Revocation.objects.select_related(
        "certificate__request__requester", "certificate__request__organisation"
    ).get(id=revocation_id)
    if row.notified_at is not None or row.outcome == RevocationOutcome.OPEN:
        return False
    to = recipients(row.certificate.request)
    if row.outcome == RevocationOutcome.REFUSED:
        to += [address for address in staff_mailboxes(RaRole.OFFICER) if address not in to]
    if to:
        message(row, to=to).send()
    with write_transaction():
        Revocation.objects.filter(id=revocation_id).update(notified_at=now)
    return True


def message(row: Revocation, *, to: list[str]) -> EmailMessage:
    """The mail about one revocation. What other people wrote comes after the link."""
    rt, certificate = runtime.newest(), row.certificate
    request = certificate.request
    names = sorted(name.name for name in certificate.names.all())
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    refused = row.outcome == RevocationOutcome.REFUSED
    became = "was not revoked" if refused else "was revoked"
    return letter(
        subject=f"Certificate of request {request.pk} {became}",
        blocks=(
            prose(_REFUSED if refused else _REVOKED),
            table(
                {
                    "Names": f"{', '.join(names[:MAX_NAMES])}{more}",
                    "Serial number": certificate.serial,
                    "Organisation": request.organisation.legal_name,
                    "Request ID": request.pk,
                    "Reason": PLAIN[RevocationReason(row.reason)],
                    "Asked by": row.actor,
                }
            ),
            f"See the request:\n{rt.base_url}/requests/{request.pk}/",
            section("What the CA says", row.detail),
            section("Note", row.note),
        ),
        to=to,
        headers={"X-Certdesk-Request": str(request.pk)},
    )
