"""Another certificate under a request that was decided already, for a CSR with a key of its own (ADR 11).

For people and their clients over REST what an order is for ACME: no new request, so no new decision, and
everything is judged again when it is signed. Signing and recording are in `under_request`.
"""

import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

from django.db import IntegrityError

from certdesk.backends.base import Backend
from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.certificates import Intent
from certdesk.domain.csr import Csr
from certdesk.domain.errors import (
    BackendRefused,
    IdempotencyMismatch,
    InvalidInput,
    NotAuthorized,
    PolicyRefused,
    StateConflict,
)
from certdesk.domain.findings import Check, Verdict
from certdesk.domain.profiles import profile, validity
from certdesk.domain.requests import OrganisationId, RequestId, State
from certdesk.services import runtime, under_request
from certdesk.services.caa import CaaSeen, look_at_caa, record_caa
from certdesk.services.entitlements import (
    certificate_validity,
    entitled_until,
    is_open,
    obstacles_to,
)
from certdesk.services.entitlements import under_request as entitled_under
from certdesk.services.intents import LEASE, intent_for, prepared, record_intent
from certdesk.services.preflight import Subject, judged
from certdesk.services.requests import DOUBLE_SUBMISSION, MAX_KEY, read_upload
from certdesk.services.texts import storable
from certdesk.services.under_request import Clock
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import AttemptOutcome, Certificate, IssuanceAttempt, Reissue, Request
from certdesk.store.prepared import insert
from certdesk.store.selectors.facts import Asked, lock_organisation, organisation_row
from certdesk.store.selectors.people import actor_for_user
from certdesk.store.selectors.requests import RequestDetail, get_request

NOT_ENTITLED = "request.not_entitled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reissued:
    """What became of it: `certificate_id` is None while the CA is at work. `replayed` as for a request."""

    certificate_id: int | None
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReissuePreview:
    """What would be issued now: the CSR as it was read, every check, and when the certificate would end."""

    csr: Csr
    checks: tuple[Check, ...]
    ends_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """Everything that was made and looked up before the transaction, which is no place for it."""

    request: Request
    csr: Csr
    intent: Intent
    backend: Backend
    caa: CaaSeen


def reissue(*, actor: Actor, number: int, upload: bytes, idempotency_key: str = "", clock: Clock) -> Reissued:
    """Issues another certificate under request `number`, for the names of a CSR or some of the request's.

    The same key, or without one the same CSR within ten minutes, makes one certificate, however often sent.
    Raises NotFound for a foreign request, NotAuthorized, BadCsr, InvalidInput for other names, PolicyRefused
    for what stands against it now, StateConflict (`request.not_entitled` where the request allows none),
    BackendRefused where the CA refuses, IdempotencyMismatch.
    """
    now = clock()
    csr = _read(actor, number, upload, now=now)
    key = storable(idempotency_key, field="idempotency_key", limit=MAX_KEY)
    if (earlier := _earlier(actor, key, number, csr, now=now)) is not None:
        return _answer(earlier, replayed=True)
    ready = _made_ready(Request.objects.select_related("organisation").get(id=number), csr, now=now)
    row, is_new = _claimed(ready, actor=actor, key=key, clock=clock)
    if is_new:
        holder = _Holder(row)
        under_request.complete(row.attempt, ready.intent, ready.backend, holder=holder, clock=clock)
    return _answer(Reissue.objects.get(id=row.pk), replayed=not is_new)


def preview_reissue(*, actor: Actor, number: int, upload: bytes, now: datetime) -> ReissuePreview:
    """What `reissue` would do with this CSR now; nothing is stored. Raises as it does, but for the CA."""
    csr = _read(actor, number, upload, now=now)
    ready = _made_ready(Request.objects.select_related("organisation").get(id=number), csr, now=now)
    checks = _expect_signable(ready, now=now)
    return ReissuePreview(csr=csr, checks=checks, ends_at=ready.intent.not_after)


def may_reissue_until(actor: Actor, request: RequestDetail, *, now: datetime) -> datetime | None:
    """Until when the actor may ask for another certificate, as far as the row tells; None for not at all."""
    until = open_until(request)
    is_theirs = can(actor, Action.REQUEST_CREATE, organisation_id=request.organisation_id)
    return until if is_theirs and until is not None and now < until else None


def _read(actor: Actor, number: int, upload: bytes, *, now: datetime) -> Csr:
    seen = get_request(actor=actor, number=number)
    if not can(actor, Action.REQUEST_CREATE, organisation_id=seen.organisation_id):
        raise NotAuthorized(f"Only people of {seen.organisation} ask for certificates under its requests.")
    return read_upload(upload, profile_id=seen.profile_id, actor=actor, now=now)


def open_until(request: RequestDetail) -> datetime | None:
    """Until when certificates may follow under a request; None where none may, as far as its row tells."""
    approved = [approval.at for approval in request.approvals if approval.verdict == "approve"]
    if not approved or not is_open(request.state, request.csr_sha256):
        return None
    kind = profile(request.profile_id)
    return validity(kind, duration_years=request.duration_years, now=approved[-1])[1]


def due_reissues(*, now: datetime, limit: int = 20) -> list[int]:
    """Those that the worker's tick has to look at, longest overdue first."""
    due = Reissue.objects.filter(next_attempt_at__lte=now).order_by("next_attempt_at")
    return list(due.values_list("id", flat=True)[:limit])


def drive_reissue(*, reissue_id: int, clock: Clock) -> None:
    """Takes one a step on from wherever a crash or a slow CA has left it. Idempotent."""
    now = clock()
    row = Reissue.objects.select_related("attempt", "requester").get(id=reissue_id)
    if row.next_attempt_at is None or row.next_attempt_at > now:
        return
    with write_transaction():
        leased = Reissue.objects.filter(id=row.pk, next_attempt_at=row.next_attempt_at).update(
            next_attempt_at=now + LEASE
        )
    if leased:
        under_request.resume(row.attempt, holder=_Holder(row), clock=clock)


def postpone_reissue(*, reissue_id: int, now: datetime) -> None:
    """Puts off one that can't be driven at present, so that it does not hold up the others."""
    _look_again(reissue_id, at=now + timedelta(minutes=1))


def _earlier(actor: Actor, key: str, number: int, csr: Csr, *, now: datetime) -> Reissue | None:
    """What an earlier call with this key, or this CSR, has made."""
    own = Reissue.objects.filter(requester_id=actor.user_id)
    if key:
        found = own.filter(idempotency_key=key).first()
        if found is not None and (found.request_id, found.csr_sha256) != (number, csr.sha256):
            raise IdempotencyMismatch(
                "This Idempotency-Key was used for something else. Use a new key for a new certificate."
            )
        return found
    since = now - DOUBLE_SUBMISSION
    same = own.filter(request_id=number, csr_sha256=csr.sha256, created_at__gt=since, problem="")
    return same.order_by("-id").first()


def _made_ready(request: Request, csr: Csr, *, now: datetime) -> _Ready:
    """What would be signed, linted, and what CAA says of it."""
    refused = tuple(check for check in csr.findings if check.verdict is Verdict.REFUSE)
    if refused:
        raise PolicyRefused(" ".join(check.message for check in refused[:3]), checks=csr.findings)
    _expect_entitled(request, csr)
    rt = runtime.current()
    backend = rt.backend(rt.default_backend)
    try:
        intent = prepared(backend, _intent(request, csr, backend, now=now))
    except BackendRefused as error:
        raise PolicyRefused(error.detail) from None
    caa = look_at_caa(
        organisation_id=OrganisationId(request.organisation_id),
        profile_id=request.profile_id,
        names=csr.names,
        now=now,
    )
    return _Ready(request=request, csr=csr, intent=intent, backend=backend, caa=caa)


def _expect_entitled(request: Request, csr: Csr) -> None:
    """What can be told without a judgement: the request's state, and whether the names are its own."""
    if not is_open(State(request.state), request.csr_sha256):
        raise StateConflict(
            f"Request {request.pk} has no certificate, so there is none to follow it yet.", code=NOT_ENTITLED
        )
    if not csr.names or not set(csr.names) <= set(request.names):
        raise InvalidInput(
            f"Request {request.pk} is for {', '.join(request.names[:5])}; the CSR is for "
            f"{', '.join(csr.names[:5]) or 'no name at all'}.",
            fields={"csr": "Make a CSR for names of the request alone, or make a new request."},
        )


def _intent(request: Request, csr: Csr, backend: Backend, *, now: datetime) -> Intent:
    """What is to be signed. It ends with the term, as the certificate that it follows; where the request
    has no CSR and its clients renew by themselves, after their usual time.
    """
    kind = profile(request.profile_id)
    ends_at = entitled_until(request, kind, now=now)
    if not request.csr_sha256:
        ends_at = certificate_validity(kind, ends_at=ends_at, now=now)[1]
    if ends_at <= now:
        raise _not_entitled(request)
    intent = intent_for(
        backend,
        profile_id=request.profile_id,
        csr_der=csr.der,
        names=tuple(csr.names),
        duration_years=request.duration_years,
        server_software=request.server_software,
        organisation=request.organisation,
        now=now,
    )
    return replace(intent, not_after=ends_at)


def _claimed(ready: _Ready, *, actor: Actor, key: str, clock: Clock) -> tuple[Reissue, bool]:
    try:
        return _claim(ready, actor=actor, key=key, clock=clock)
    except IntegrityError:
        # The same key at the same moment for another organisation's request: the first is there by now.
        earlier = _earlier(actor, key, ready.request.pk, ready.csr, now=clock())
        if earlier is None:
            raise
        return earlier, False


def _claim(ready: _Ready, *, actor: Actor, key: str, clock: Clock) -> tuple[Reissue, bool]:
    """Judges again under the organisation's lock and records the intent; False where an earlier call had."""
    request = ready.request
    assert actor.user_id is not None  # noqa: S101 - only members of an organisation come this far
    with write_transaction():
        lock_organisation(OrganisationId(request.organisation_id))
        now = clock()
        if (earlier := _earlier(actor, key, request.pk, ready.csr, now=now)) is not None:
            return earlier, False
        _expect_signable(ready, now=now)
        under_way = IssuanceAttempt.objects.filter(
            request_id=request.pk, order__isnull=True, outcome=AttemptOutcome.OPEN
        )
        if under_way.exists():
            raise StateConflict(
                f"A certificate is just being issued under request {request.pk}. Try again in a minute."
            )
        record_caa(ready.caa, organisation_id=request.organisation_id, request_id=request.pk)
        row = Reissue(
            request_id=request.pk,
            requester_id=actor.user_id,
            attempt=record_intent(RequestId(request.pk), ready.intent, now=now),
            idempotency_key=key or f"auto-{secrets.token_hex(16)}",
            csr_sha256=ready.csr.sha256,
            created_at=now,
            next_attempt_at=now + LEASE,
        )
        _record(insert(row), "reissue.create", actor, {"csr_sha256": ready.csr.sha256}, now=now)
    return row, True


def _expect_signable(ready: _Ready, *, now: datetime) -> tuple[Check, ...]:
    """Every check. Raises StateConflict or PolicyRefused with whatever stands against signing now (W2)."""
    request = Request.objects.get(id=ready.request.pk)
    organisation = organisation_row(OrganisationId(request.organisation_id))
    subject = Subject(
        csr=ready.csr,
        organisation=organisation,
        profile=profile(request.profile_id),
        request=request,
        caa=ready.caa.answers,
    )
    asked = Asked(duration_years=request.duration_years, server_software=request.server_software)
    facts, decision = judged(subject, asked=asked, now=now)
    entitled = entitled_under(request, facts.organisation, now=now)
    if entitled is None or ready.intent.not_after > entitled.ends_at:
        raise _not_entitled(request)
    if obstacles := obstacles_to(decision, waived=entitled.waived, is_signing=True):
        raise PolicyRefused(" ".join(check.message for check in obstacles[:3]), checks=obstacles)
    return decision.checks


def _not_entitled(request: Request) -> StateConflict:
    return StateConflict(
        f"Request {request.pk} allows no further certificate: its term has ended, or it has changed since it "
        "was approved. Make a new request.",
        code=NOT_ENTITLED,
    )


def _answer(row: Reissue, *, replayed: bool) -> Reissued:
    """Raises BackendRefused for one that came to nothing."""
    if row.problem:
        raise BackendRefused(row.problem)
    number = Certificate.objects.filter(attempt_id=row.attempt_id).values_list("id", flat=True).first()
    return Reissued(certificate_id=number, replayed=replayed)


class _Holder:
    """A reissue as `under_request` sees it."""

    kind = "reissue"

    def __init__(self, row: Reissue) -> None:
        self._row = row
        self.number = row.pk

    @cached_property
    def organisation_id(self) -> int:
        """Whose it is."""
        return self._row.request.organisation_id

    @cached_property
    def actor(self) -> Actor:
        """Who asked, as after a crash too."""
        return actor_for_user(self._row.requester)

    def look_again(self, *, at: datetime | None) -> None:
        """Says when the tick is to look at it, unless it has ended by now."""
        _look_again(self.number, at=at)

    def certified(self, *, certificate_id: int) -> None:
        """Ends it; the certificate names the attempt."""
        del certificate_id
        Reissue.objects.filter(id=self.number).update(next_attempt_at=None)

    def failed(self, *, outcome: AttemptOutcome, reason: str, now: datetime) -> None:
        """Ends it, and keeps why."""
        Reissue.objects.filter(id=self.number).update(next_attempt_at=None, problem=reason)
        data: dict[str, object] = {"outcome": outcome.value, "reason": reason}
        _record(self._row, "reissue.fail", self.actor, data, now=now)


def _look_again(reissue_id: int, *, at: datetime | None) -> None:
    with write_transaction():
        Reissue.objects.filter(id=reissue_id, next_attempt_at__isnull=False).update(next_attempt_at=at)


def _record(row: Reissue, action: str, actor: Actor, data: dict[str, object], *, now: datetime) -> None:
    audit.record(
        actor=actor,
        action=action,
        object_type="reissue",
        object_id=row.pk,
        organisation_id=row.request.organisation_id,
        now=now,
        data={"request": row.request_id, **data},
    )
