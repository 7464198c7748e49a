"""Findings of a reconciliation: opened once, told once, closed when they are gone, or decided by an operator.

A state moves by compare-and-swap, with its audit row in the same transaction. A CA is asked to revoke outside
any transaction, and again until it answers.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

import structlog
from django.db.models import QuerySet

from certdesk.backends.base import Listed
from certdesk.domain.actors import SYSTEM, Action, Actor, RaRole, require
from certdesk.domain.errors import (
    BackendError,
    BackendRefused,
    InvalidInput,
    NotAuthorized,
    StateConflict,
    existing,
)
from certdesk.domain.issuing.revocation import RevocationReason
from certdesk.services.mail.compose import letter, prose, table
from certdesk.services.people.permissions import actor_now
from certdesk.services.revocation.revoke import record_revoked
from certdesk.services.system import runtime
from certdesk.services.system.text_input import storable
from certdesk.store import audit, jobs
from certdesk.store.db import write_transaction
from certdesk.store.models import (
    Certificate,
    Finding,
    FindingKind,
    FindingState,
    Revocation,
    RevocationOutcome,
)
from certdesk.store.selectors.people import staff_mailboxes

log = structlog.get_logger()

Clock = Callable[[], datetime]

LEASE = timedelta(seconds=10)
RETRY = timedelta(minutes=5)
_LISTED = 20
_ONLY = "Only an operator decides about what a CA and the service do not agree on."
#: Reasons of a state that a CA may take back; everything else is final.
_ON_HOLD = "certificateHold"


def open_findings(found: Iterable[Finding], *, now: datetime) -> None:
    """Records what is new; what was gone and is there again is opened again, what was decided stays so."""
    rows = {(row.backend, row.kind, row.about): row for row in found}
    if not rows:
        return
    with write_transaction():
        known = Finding.objects.filter(
            backend__in={row.backend for row in rows.values()},
            kind__in={row.kind for row in rows.values()},
            about__in=[row.about for row in rows.values()],
        )
        for backend, kind, about in known.values_list("backend", "kind", "about"):
            rows.pop((backend, kind, about), None)
        again = list(known.filter(state=FindingState.GONE))
        for row in again:
            Finding.objects.filter(id=row.pk, state=FindingState.GONE).update(
                state=FindingState.OPEN, found_at=now, told_at=None, ended_at=None, note=""
            )
        Finding.objects.bulk_create(rows.values())
        audit.record_all([_deed("ca.find", row) for row in (*rows.values(), *again)], actor=SYSTEM, now=now)


def close(rows: QuerySet[Finding], why: str, *, now: datetime) -> None:
    """Ends what is no longer so, of rows that are open."""
    for row in list(rows):
        with write_transaction():
            gone = {"state": FindingState.GONE, "ended_at": now, "note": why}
            if Finding.objects.filter(id=row.pk, state=FindingState.OPEN).update(**gone):
                audit.record_all([_deed("ca.finding_gone", row, note=why)], actor=SYSTEM, now=now)


def revoked_there(ca: str, one: Listed, *, on_crl: bool, now: datetime) -> None:
    """Ends an open finding about a certificate that the CA has revoked, which its CRL tells, ours with it."""
    rows = Finding.objects.filter(
        backend=ca, kind=FindingKind.UNKNOWN, state=FindingState.OPEN, serial=f"{one.serial:x}"
    )
    if not on_crl:
        close(rows, "It is revoked at the CA.", now=now)
        return
    for row in rows:
        with write_transaction():
            told = {"revoked_at": one.revoked_at or now, "reason": known_reason(one), "ended_at": now}
            mine = Finding.objects.filter(id=row.pk, state=FindingState.OPEN)
            if mine.update(state=FindingState.REVOKED, **told):
                audit.record_all([_deed("ca.finding_revoked", row)], actor=SYSTEM, now=now)


def known_reason(one: Listed) -> RevocationReason:
    """A CA's reason where it is one of RFC 5280's that count here."""
    found = one.reason if one.reason in set(RevocationReason) else RevocationReason.UNSPECIFIED
    return RevocationReason(found)


def settle_revoked(certificate_id: int, one: Listed, *, ca: str, now: datetime) -> bool:
    """Takes a revocation at the CA for ours where it is final; one on hold is a finding. Whether it did.

    What we are about to revoke ourselves is left to that.
    """
    row = Certificate.objects.select_related("request").get(id=certificate_id)
    if Revocation.objects.filter(certificate=row, outcome=RevocationOutcome.OPEN).exists():
        return False
    names = list(row.names.values_list("name", flat=True)[:100])
    finding = Finding(
        backend=ca,
        kind=FindingKind.REVOKED,
        about=str(row.pk),
        serial=row.serial,
        issuer=row.issuer,
        names=names,
        names_count=row.names.count(),
        not_before=row.not_before,
        not_after=row.not_after,
        request_id=row.request_id,
        certificate=row,
        found_at=now,
        reason=known_reason(one),
        revoked_at=one.revoked_at,
    )
    if one.reason == _ON_HOLD:
        finding.detail = "The CA has put it on hold, which it may take back."
        open_findings([finding], now=now)
        return False
    reason = known_reason(one)
    at = min(one.revoked_at or now, now)
    finding.state, finding.ended_at = FindingState.SETTLED, now
    finding.note = "The certificate counts as revoked here as well."
    with write_transaction():
        note = f"Found by reconciliation: revoked at the CA on {at:%-d %B %Y, %H:%M} UTC, and not from here."
        if not record_revoked(certificate_id=row.pk, reason=reason, revoked_at=at, note=note, now=now):
            return False
        open_findings([finding], now=now)
    return True


def keep_finding(*, actor: Actor, finding_id: int, note: str, now: datetime) -> None:
    """Closes a finding: somebody has looked at it, and says why it may stay so.

    Raises NotAuthorized, NotFound, InvalidInput without a reason, StateConflict once it is closed.
    """
    require(actor, Action.SERVICE_OPERATE, _ONLY)
    note = _reason(note)
    with write_transaction():
        row = _mine(actor, finding_id)
        kept = {"state": FindingState.KEPT, "ended_at": now, "by": actor.label, "note": note}
        if not Finding.objects.filter(id=row.pk, state=FindingState.OPEN).update(**kept):
            raise StateConflict("Someone else has just dealt with this. Reload the page.")
        audit.record_all([_deed("ca.finding_keep", row, note=note)], actor=actor, now=now)


def revoke_finding(*, actor: Actor, finding_id: int, note: str, clock: Clock) -> FindingState:
    """Has a CA revoke a certificate that we do not have; how it stands then.

    Raises NotAuthorized, NotFound, InvalidInput without a reason or for what can't be revoked like this,
    StateConflict once it is closed, BackendRefused once the CA's no is recorded.
    """
    require(actor, Action.SERVICE_OPERATE, _ONLY)
    note, now = _reason(note), clock()
    with write_transaction():
        row = _mine(actor, finding_id)
        if row.kind != FindingKind.UNKNOWN or row.der is None:
            raise InvalidInput("This can't be revoked from here.", {"note": "Look at the CA."})
        wanted = {
            "state": FindingState.REVOKING,
            "by": actor.label,
            "note": note,
            "reason": RevocationReason.CESSATION_OF_OPERATION,
            "next_attempt_at": now + LEASE,
        }
        if not Finding.objects.filter(id=row.pk, state=FindingState.OPEN).update(**wanted):
            raise StateConflict("Someone else has just dealt with this. Reload the page.")
        audit.record_all([_deed("ca.finding_revoke", row, note=note)], actor=actor, now=now)
    return _ask(finding_id, clock=clock)


def revoking_due(*, now: datetime) -> bool:
    """Whether a CA is to be asked again to revoke something."""
    return Finding.objects.filter(next_attempt_at__lte=now).exists()


def drive_revoking(*, clock: Clock, limit: int = 20) -> None:
    """Asks CAs again about what they have not answered."""
    due = Finding.objects.filter(next_attempt_at__lte=clock()).order_by("next_attempt_at")
    for number, seen in list(due.values_list("id", "next_attempt_at")[:limit]):
        with write_transaction():
            mine = Finding.objects.filter(id=number, next_attempt_at=seen)
            taken = mine.update(next_attempt_at=clock() + LEASE)
        try:
            if taken:
                _ask(number, clock=clock)
        except BackendRefused:
            continue


def tell(ca: str, *, now: datetime) -> None:
    """Queues one mail about the findings of a CA that nobody was told of, in the caller's transaction."""
    new = Finding.objects.filter(backend=ca, told_at__isnull=True)
    if new.filter(state=FindingState.OPEN).exists():
        jobs.enqueue("mail_findings", due_at=now, ca=ca)
    new.update(told_at=now)


def mail_findings(*, ca: str, now: datetime) -> bool:
    """Tells the operators what waits for them at a CA; False where nothing does, or nobody has a mailbox."""
    del now
    rows = Finding.objects.filter(backend=ca, state=FindingState.OPEN).order_by("-id")
    count, to, rt = rows.count(), staff_mailboxes(RaRole.OPERATOR), runtime.newest()
    if count and not to:
        log.error("reconciliation.untold", backend=ca, findings=count)
    if not count or not to:
        return False
    title = rt.backends[ca].title if ca in rt.backends else ca
    told = {kind: rows.filter(kind=kind).count() for kind in FindingKind}
    letter(
        subject=f"Reconciliation with {title}: {count} to look at",
        blocks=(
            prose(f"{title} and {rt.settings.service_name} do not agree on everything."),
            table({WORDS[kind]: number for kind, number in told.items() if number}),
            "What each is, and what to do:",
            f"{rt.base_url}/service/cas/reconciliation/",
        ),
        to=to,
    ).send()
    return True


#: Kind → what they are, in words.
WORDS: Mapping[str, str] = {
    FindingKind.UNKNOWN: "Certificates that only the CA has",
    FindingKind.MISSING: "Certificates that the CA does not have",
    FindingKind.REVOKED: "Certificates that the CA has put on hold",
    FindingKind.ATTEMPT: "Requests to the CA without an answer",
}


def _ask(finding_id: int, *, clock: Clock) -> FindingState:
    """Outside any transaction. Raises BackendRefused once that is recorded."""
    row = Finding.objects.get(id=finding_id)
    try:
        backend = runtime.current().backend(row.backend)
        backend.revoke(certificate_der=bytes(row.der or b""), reason=row.reason)
    except BackendRefused as error:
        back = {"state": FindingState.OPEN, "next_attempt_at": None}
        _move(row, "ca.finding_refused", now=clock(), note=error.detail, detail=error.detail, **back)
        raise
    except BackendError as error:
        return _ask_later(row, error.detail, now=clock())
    except Exception:  # plug-in boundary: asking again does no harm
        log.exception("reconciliation.revoke_broke", backend=row.backend, finding=row.pk)
        return _ask_later(row, "The connection to the CA broke.", now=clock())
    now = clock()
    done = {"state": FindingState.REVOKED, "revoked_at": now, "ended_at": now, "next_attempt_at": None}
    _move(row, "ca.finding_revoked", now=now, note=row.note, **done)
    return FindingState.REVOKED


def _ask_later(row: Finding, detail: str, *, now: datetime) -> FindingState:
    with write_transaction():
        still = Finding.objects.filter(id=row.pk, state=FindingState.REVOKING)
        still.update(next_attempt_at=now + RETRY, detail=detail)
    return FindingState.REVOKING


def _move(row: Finding, action: str, *, now: datetime, note: str, **columns: object) -> None:
    """From REVOKING on, once; who wanted it is in the audit row."""
    with write_transaction():
        if Finding.objects.filter(id=row.pk, state=FindingState.REVOKING).update(**columns):
            audit.record_all([_deed(action, row, note=note, by=row.by)], actor=SYSTEM, now=now)


def _mine(actor: Actor, finding_id: int) -> Finding:
    """The row, once it is known that the actor still may."""
    require(actor_now(actor), Action.SERVICE_OPERATE, _ONLY, refuse=NotAuthorized)
    return existing(Finding.objects.filter(id=finding_id).first(), "There is no such finding.")


def _reason(text: str) -> str:
    text = storable(text, field="note", limit=2000)
    if not text:
        advice = "Write what you know; an auditor relies on it."
        raise InvalidInput(f"A reason is needed. {advice}", {"note": advice})
    return text


def _deed(action: str, row: Finding, **more: object) -> audit.Deed:
    data = {"kind": str(row.kind), "about": row.about, "serial": row.serial, "names": row.names[:10], **more}
    return audit.Deed(action, "ca", row.backend, data=data)
