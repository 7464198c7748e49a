"""Intents: what is to be signed, put together and prepared before anything is claimed, signed or sent.

An intent is recorded as an issuance attempt in the transaction of the claim (DESIGN §5). Nothing here
decides whether it may be signed.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certdesk.backends.base import Backend, Prepares
from certdesk.domain.certificates import Intent, server_subject
from certdesk.domain.errors import BackendError, Unavailable
from certdesk.domain.policy import Facts, content_digest
from certdesk.domain.profiles import profile, validity
from certdesk.domain.requests import RequestId
from certdesk.services.sealing import csr_from_store, csr_to_store
from certdesk.store.models import IssuanceAttempt, Organisation, Request
from certdesk.store.prepared import insert
from certdesk.store.transitions import Known, Step

log = structlog.get_logger()

#: Whoever claimed a request has this long to finish before the tick takes over.
LEASE = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """An intent for a request that does not exist yet, and the digest of exactly what it is for (W2)."""

    intent: Intent
    backend: Backend
    content_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A request that was claimed in the transaction that made it, and what is to be signed for it."""

    attempt: IssuanceAttempt
    intent: Intent
    backend: Backend
    known: Known


def intent_of(request: Request, backend: Backend, *, now: datetime) -> Intent:
    """What is to be signed for a stored request, from this moment on."""
    return intent_for(
        backend,
        profile_id=request.profile_id,
        csr_der=csr_from_store(bytes(request.csr_der)),
        names=tuple(request.names),
        duration_years=request.duration_years,
        server_software=request.server_software,
        organisation=request.organisation,
        now=now,
    )


def prepare_ahead(
    *, facts: Facts, csr_der: bytes, organisation: Organisation, backend: Backend, now: datetime
) -> Ahead | None:
    """The prepared intent for what is being asked, so that a yes can be claimed in the same transaction.

    None when the back end can't prepare it: the request then takes the longer way, which says why.
    """
    intent = intent_for(
        backend,
        profile_id=facts.profile_id,
        csr_der=csr_der,
        names=facts.names,
        duration_years=facts.duration_years,
        server_software=facts.server_software,
        organisation=organisation,
        now=now,
    )
    try:
        ready = prepared(backend, intent)
    except BackendError:
        return None
    return Ahead(intent=ready, backend=backend, content_digest=content_digest(facts))


def intent_for(
    backend: Backend,
    *,
    profile_id: str,
    csr_der: bytes,
    names: tuple[str, ...],
    duration_years: int,
    server_software: str,
    organisation: Organisation,
    now: datetime,
) -> Intent:
    """What a back end would be asked for from this moment on; the pre-flight lints the same (BR 4.3.1.2)."""
    kind = profile(profile_id)
    not_before, not_after = validity(kind, duration_years=duration_years, now=now)
    csr = x509.load_der_x509_csr(csr_der)
    return Intent(
        idempotency_key=secrets.token_hex(16),
        backend=backend.name,
        profile_id=kind.id,
        profile_version=kind.version,
        csr_der=csr_der,
        spki_der=csr.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        names=names,
        subject=server_subject(
            names=names,
            organisation=organisation.legal_name,
            country=organisation.country,
            locality=organisation.locality,
        ),
        not_before=not_before,
        not_after=not_after,
        server_software=server_software,
    )


def prepared(backend: Backend, intent: Intent) -> Intent:
    """The intent as the back end fixes it before anything is signed. Raises BackendError."""
    if not isinstance(backend, Prepares):
        return intent
    try:
        return backend.prepare(intent)
    except BackendError:
        raise
    except Exception as error:  # plug-in boundary: nothing was claimed or sent, so a later try is safe
        log.exception("issuance.prepare_broke", backend=backend.name)
        raise Unavailable("The CA could not take it; trying again.") from error


def claim_step(backend: Backend, *, now: datetime) -> Step:
    """What a claim writes beside the state."""
    return Step(detail=f"Being handed to {backend.title}.", next_attempt_at=now + LEASE)


def record_intent(
    request_id: RequestId, intent: Intent, *, order_id: int | None = None, now: datetime
) -> IssuanceAttempt:
    """Writes the intent down, in the transaction of the claim of a request, or of an ACME order under it."""
    attempt = IssuanceAttempt(
        request_id=request_id,
        order_id=order_id,
        backend=intent.backend,
        idempotency_key=intent.idempotency_key,
        profile_id=intent.profile_id,
        profile_version=intent.profile_version,
        csr_der=csr_to_store(intent.csr_der),
        spki_der=intent.spki_der,
        names=list(intent.names),
        subject=[list(pair) for pair in intent.subject],
        not_before=intent.not_before,
        not_after=intent.not_after,
        serial=None if intent.serial is None else f"{intent.serial:x}",
        tbs=intent.tbs,
        created_at=now,
    )
    return insert(attempt)


def recorded_intent(attempt: IssuanceAttempt) -> Intent:
    """The intent that an attempt holds, to be taken up again after a crash."""
    return Intent(
        idempotency_key=attempt.idempotency_key,
        backend=attempt.backend,
        profile_id=attempt.profile_id,
        profile_version=attempt.profile_version,
        csr_der=csr_from_store(bytes(attempt.csr_der)),
        spki_der=bytes(attempt.spki_der),
        names=tuple(attempt.names),
        subject=tuple((oid, value) for oid, value in attempt.subject),
        not_before=attempt.not_before,
        not_after=attempt.not_after,
        serial=None if attempt.serial is None else int(attempt.serial, 16),
        tbs=None if attempt.tbs is None else bytes(attempt.tbs),
        server_software=attempt.request.server_software,
    )
