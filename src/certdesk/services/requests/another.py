"""Another certificate under a standing request: who may ask, its preview, and asking for it.

The request was decided already; everything that a certificate rests on is judged again.
"""

import secrets
from dataclasses import replace
from datetime import datetime

from django.db import IntegrityError

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.csr.csr import Csr
from certdesk.domain.errors import (
    IdempotencyMismatch,
    InvalidInput,
    NotAuthorized,
    PolicyRefused,
    StateConflict,
)
from certdesk.domain.findings import Verdict
from certdesk.domain.issuing.certificates import differences
from certdesk.domain.issuing.states import OPEN, IssuanceId, OrganisationId, RequestId, State, Status, Work
from certdesk.services.issuance.caa import CaaSeen, known_caa, record_caa
from certdesk.services.issuance.intents import OWN_KEY, record_issuance
from certdesk.services.people.permissions import refuse_former
from certdesk.services.requests.asking import (
    DOUBLE_SUBMISSION,
    MAX_KEY,
    UNCLAIMED,
    Created,
    Preview,
    created,
    intent_ahead,
    previewed,
    read_upload,
    refusal_text,
)
from certdesk.services.requests.preflight import certificate_checks, judged, obstacles_under, subject_of
from certdesk.services.system.text_input import storable
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import Issuance, Request
from certdesk.store.selectors.facts import lock_organisation, organisation_row
from certdesk.store.selectors.requests import RequestDetail, get_request

NOT_ENTITLED = "request.not_entitled"


def open_until(request: RequestDetail) -> datetime | None:
    """Until when certificates may follow under a request; None where none may, as far as its row says."""
    acme = request.channel == "acme"
    allowing = request.state is State.APPROVED and (acme or request.status is Status.ISSUED)
    return request.term_ends_at if allowing else None


def may_ask_another_until(actor: Actor, request: RequestDetail, *, now: datetime) -> datetime | None:
    """Until when the actor may ask for another certificate, as far as the row says; None for not at all."""
    until = open_until(request)
    is_theirs = can(actor, Action.REQUEST_CREATE, organisation_id=request.organisation_id)
    return until if is_theirs and until is not None and now < until else None


def preview_another(*, actor: Actor, number: int, upload: bytes, now: datetime) -> Preview:
    """What another certificate under request `number` would be, by the same checks; nothing is stored.

    Raises NotFound for a foreign request, NotAuthorized, BadCsr, InvalidInput for other names, StateConflict
    (`request.not_entitled`) where the request allows none.
    """
    csr, request = _read_another(actor, number, upload, now=now)
    subject = subject_of(request, request.organisation, csr)
    subject = replace(subject, caa=_known(request, csr, now=now).answers)
    decision = judged(subject, lint=True, now=now)[1]
    against = obstacles_under(request, subject, decision, now=now)
    return replace(previewed(subject, csr, decision, now=now), under=RequestId(number), against=against)


def create_another(
    *,
    actor: Actor,
    number: int,
    upload: bytes,
    channel: str,
    idempotency_key: str = "",
    at_once: bool = False,
    now: datetime,
) -> Created:
    """Records another issuance under request `number`, for its names or some of them.

    The same key, or without one the same CSR within ten minutes, makes one certificate, however often sent.
    Raises as `preview_another` does, PolicyRefused for what stands against it now, and IdempotencyMismatch.
    """
    # 1. Look, before the transaction, which is no place for DNS, encoding and lint.
    csr, request = _read_another(actor, number, upload, now=now)
    key = storable(idempotency_key, field="idempotency_key", limit=MAX_KEY)
    if (before := _earlier_issuance(actor, key, number, csr, now=now)) is not None:
        return _replayed(before)
    subject = subject_of(request, request.organisation, csr)
    ahead = intent_ahead(subject, csr, now=now) if at_once else None
    certificate = None if ahead is not None else certificate_checks(subject, now=now)
    caa = _known(request, csr, now=now)
    try:
        with write_transaction():
            # 2. Judge, under the lock.
            once = (csr.key.spki_sha256, f"request {number}")
            lock_organisation(OrganisationId(request.organisation_id), *once, shared=True)
            if (before := _earlier_issuance(actor, key, number, csr, now=now)) is not None:
                return _replayed(before)
            request = Request.objects.get(id=number)
            row = organisation_row(OrganisationId(request.organisation_id))
            subject = replace(subject_of(request, row, csr), caa=caa.answers, certificate=certificate)
            facts, decision = judged(subject, now=now)
            if against := obstacles_under(request, subject, decision, now=now):
                if any(check.code.startswith("approval.") for check in against):  # it allows no more
                    told = f"Request {number} allows no further certificate: {against[0].message}"
                    raise StateConflict(told, code=NOT_ENTITLED)
                raise PolicyRefused(" ".join(check.message for check in against[:3]), checks=against)
            refuse_former(row.pk, actor, action=Action.REQUEST_CREATE)
            open_ones = Issuance.objects.filter(request_id=number, order__isnull=True, state__in=OPEN)
            if open_ones.exists():
                told = f"A certificate is already being issued under request {number}. Try again in a minute."
                raise StateConflict(told)
            ends_at = request.term_ends_at
            if ahead is not None and differences(ahead.intent, facts, csr=csr, ends_at=ends_at):
                ahead = None

            # 3. Record the issuance; claimed where it may be signed at once.
            record_caa(caa, organisation_id=row.pk, request_id=request.pk)
            issuance = record_issuance(
                request=request,
                csr=csr,
                actor=actor,
                channel=channel,
                intent=None if ahead is None else ahead.intent,
                claimed_by=None if ahead is None else ahead.backend,
                idempotency_key=key or f"auto-{secrets.token_hex(16)}",
                next_attempt_at=now + UNCLAIMED,
                now=now,
            )
            data = {"request": request.pk, "csr_sha256": csr.sha256}
            audit.record(actor, "issuance.create", issuance.pk, row.pk, now=now, data=data)
    except IntegrityError:
        # The same key at the same moment for another organisation's request: the first is there by now.
        earlier = _earlier_issuance(actor, key, number, csr, now=now)
        if earlier is None:
            raise
        return _replayed(earlier)
    return created(request, issuance, ahead, due=True)


def _read_another(actor: Actor, number: int, upload: bytes, *, now: datetime) -> tuple[Csr, Request]:
    """The CSR and the request that allows a certificate for it, as far as can be told without a judgement."""
    seen = get_request(actor=actor, number=number)
    if not can(actor, Action.REQUEST_CREATE, organisation_id=seen.organisation_id):
        raise NotAuthorized(f"Only people of {seen.organisation} ask for certificates under its requests.")
    csr = read_upload(upload, profile_id=seen.profile_id, actor=actor, now=now)
    if refused := tuple(check for check in csr.findings if check.verdict is Verdict.REFUSE):
        raise PolicyRefused(refusal_text(refused), checks=csr.findings)
    if open_until(seen) is None:
        raise StateConflict(
            f"Request {number} allows no further certificate: it has none yet, or it has ended. "
            "Make a new request.",
            code=NOT_ENTITLED,
        )
    if not csr.names or not set(csr.names) <= set(seen.names):
        raise InvalidInput(
            f"Request {number} is for {', '.join(seen.names[:5])}; the CSR is for "
            f"{', '.join(csr.names[:5]) or 'no name at all'}.",
            {"csr": "Make a CSR for names of the request alone, or make a new request."},
        )
    return csr, Request.objects.select_related("organisation").get(id=number)


def _known(request: Request, csr: Csr, *, now: datetime) -> CaaSeen:
    return known_caa(
        request_id=request.pk,
        organisation=request.organisation,
        profile_id=request.profile_id,
        names=csr.names,
        now=now,
    )


def _earlier_issuance(actor: Actor, key: str, number: int, csr: Csr, *, now: datetime) -> Issuance | None:
    """What an earlier call with this key, or this CSR, has made."""
    own = Issuance.objects.filter(user_id=actor.user_id or 0, order__isnull=True)
    if key:
        found = own.filter(idempotency_key=key).first()
        if found is not None and (found.request_id, found.csr_sha256) != (number, csr.sha256):
            told = "This Idempotency-Key was used for something else. Use a new key for a new certificate."
            raise IdempotencyMismatch(told)
        return found
    since = now - DOUBLE_SUBMISSION
    same = own.filter(request_id=number, csr_sha256=csr.sha256, created_at__gt=since)
    living = same.exclude(state__in=(Work.REFUSED, Work.CANCELLED))
    return living.exclude(idempotency_key__startswith=OWN_KEY).order_by("-id").first()


def _replayed(row: Issuance) -> Created:
    number, status = RequestId(row.request_id), Status(row.request.status)
    return Created(number, status, IssuanceId(row.pk), replayed=True)
