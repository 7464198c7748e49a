"""Issuances as they are written down: a new one, the intent with its claim, and the intent read again.

Nothing here decides whether anything may be signed.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from certdesk.backends.base import Backend, Prepares, SuggestsRenewal
from certdesk.domain.actors import SYSTEM, Actor
from certdesk.domain.csr.csr import Csr, read_csr
from certdesk.domain.csr.keys import describe_key
from certdesk.domain.errors import BackendError, BackendRefused, InvariantViolated, StateConflict, Unavailable
from certdesk.domain.issuing.certificates import Intent
from certdesk.domain.issuing.profiles import no_longer_offered
from certdesk.domain.issuing.states import Event, OrganisationId, Status, UserId, Work
from certdesk.services.system import runtime
from certdesk.services.system.sealing import csr_from_store, csr_to_store
from certdesk.store.driver import insert, swap
from certdesk.store.models import Certificate, Issuance, Request
from certdesk.store.selectors.facts import lock_organisation
from certdesk.store.transitions import Change, Step, write_history

log = structlog.get_logger()

#: The service's own idempotency keys begin so: with a blank, as no caller's does.
OWN_KEY = "request "
#: The channels of what is renewed without anybody's doing, and of what a client asks for that renews it.
RENEWAL, CLIENT = "renewal", "client"
#: What follows under a standing request ends without a certificate after this long: its client asks again.
#: Nobody waits at a terminal for a renewal, and asking again might make two.
GIVE_UP_AFTER, GIVE_UP_RENEWAL_AFTER = timedelta(days=2), timedelta(days=10)
#: Why one ends of which the CA may have something all the same.
NOT_IN_TIME = "It has not issued in time."
#: Whoever claimed an issuance has this long to finish before the worker takes over.
LEASE = timedelta(seconds=10)


def patience(issuance: Issuance) -> timedelta:
    """How long one that is not a request's own first is waited for."""
    return GIVE_UP_RENEWAL_AFTER if issuance.channel == RENEWAL else GIVE_UP_AFTER


def refuse_stopped(intent: Intent) -> None:
    """Raises Unavailable while issuing is stopped, by this CA, under this profile or altogether; in a write
    transaction, by what holds at that moment.
    """
    if runtime.current().settings.why_stopped(ca=intent.backend, profile=intent.profile.id):
        raise Unavailable("Issuing is stopped for now. It goes on when an operator allows it again.")


def prepared(backend: Backend, intent: Intent) -> Intent:
    """The intent as the back end fixes it before anything is signed. Raises BackendError."""
    refuse_stopped(intent)
    if objection := runtime.current().objection(intent):
        raise BackendRefused(objection)
    if not isinstance(backend, Prepares):
        return intent
    try:
        return backend.prepare(intent)
    except BackendError:
        raise
    except Exception as error:  # plug-in boundary: nothing was claimed or sent, so a later try is safe
        log.exception("issuance.prepare_broke", backend=backend.name)
        raise Unavailable("The CA could not take it; trying again.") from error


def record_issuance(
    *,
    request: Request,
    csr: Csr,
    actor: Actor,
    channel: str,
    intent: Intent | None = None,
    order_id: int | None = None,
    idempotency_key: str = "",
    next_attempt_at: datetime | None = None,
    claimed_by: Backend | None = None,
    now: datetime,
) -> Issuance:
    """Inserts one, in the transaction that judged it: claimed where there is an intent, else waiting.

    With `claimed_by` the history of a request that has no certificate yet says so; one that was made in the
    same transaction has that line already. Raises Unavailable for an intent, where issuing is stopped.
    """
    if intent is not None:
        refuse_stopped(intent)
    due = next_attempt_at if intent is None else now + LEASE
    row = Issuance(
        request=request,
        organisation_id=request.organisation_id,
        channel=channel,
        asked_by=actor.label,
        user_id=actor.user_id,
        order_id=order_id,
        idempotency_key=idempotency_key,
        csr_der=csr_to_store(csr.der),
        csr_sha256=csr.sha256,
        spki_der=csr.key.spki_der,
        spki_sha256=csr.key.spki_sha256,
        key=describe_key(csr.key),
        csr_subject=[[attribute.name, attribute.value] for attribute in csr.subject],
        profile_id=request.profile_id,
        names=list(csr.names),
        created_at=now,
        state=Work.WAITING if intent is None else Work.CLAIMED,
        next_attempt_at=due,
        **({} if intent is None else claimed(intent, now=now)),
    )
    insert(row)
    if claimed_by is not None and intent is not None and request.status != Status.ISSUED:
        line = Change(
            request_id=request.pk,
            organisation_id=request.organisation_id,
            event=Event.CLAIM,
            old=Status(request.status),
            new=Status(request.status),
            step=claim_step(claimed_by, intent),
            issuance_id=row.pk,
        )
        write_history(changes=[line], actor=SYSTEM, now=now, notify=False)
    return row


def record_again(
    last: Issuance, *, actor: Actor | None = None, next_attempt_at: datetime | None = None, now: datetime
) -> None:
    """Inserts one for the same CSR and, unless told otherwise, the same person: the last one failed."""
    user = None if last.user_id is None else UserId(last.user_id)
    record_issuance(
        request=Request.objects.get(id=last.request_id),
        csr=kept_csr(last),
        actor=actor or Actor(label=last.asked_by, user_id=user),
        channel=last.channel,
        idempotency_key=f"{OWN_KEY}{last.request_id} {last.pk}",
        next_attempt_at=next_attempt_at,
        now=now,
    )


def claimed(intent: Intent, *, now: datetime) -> dict[str, Any]:
    """What a claim writes down beside the state: the whole intent, and until when its claimer has time."""
    return {
        "backend": intent.backend,
        "intent_key": intent.idempotency_key,
        "profile_version": intent.profile_version,
        "subject": [list(pair) for pair in intent.subject],
        "not_before": intent.not_before,
        "not_after": intent.not_after,
        "serial": None if intent.serial is None else f"{intent.serial:x}",
        "tbs": intent.tbs,
        "claimed_at": now,
    }


def for_whom(issuance: Issuance) -> str:
    """What the history says of one more certificate under a request."""
    who = f"For {issuance.asked_by}"
    return f"{who}: renewed automatically, with the same CSR." if issuance.channel == RENEWAL else f"{who}."


def claim_step(backend: Backend, intent: Intent) -> Step:
    """What a claim tells people; the history has it where another CA than the profile's first is asked."""
    told = f"Being handed to {backend.title}."
    first = runtime.current().cas_of(intent.profile)[0]
    return (
        Step(detail=told)
        if backend.name == first
        else Step(detail=told, note=told, data={"ca": backend.name})
    )


def lock_issuance(issuance: Issuance, *came: bytes) -> None:
    """Locks what an issuance rests on: its request, and the keys that may be blocked meanwhile, which are the
    certificate's and, with an order, its account's. Other issuances of the organisation go on.

    `came` is the certificate, in DER, where one has come: a CA may answer several with the same.
    """
    once = [f"request {issuance.request_id}", issuance.spki_sha256, *(der.hex() for der in came)]
    if issuance.order is not None:
        once.append(issuance.order.account.spki_sha256)
    lock_organisation(OrganisationId(issuance.organisation_id), *once, shared=True)


def outrun(issuance: Issuance) -> None:
    """Has whoever claimed it lose the race, in the transaction before it is sent a second time.

    That process may have been suspended, and what it hears would be of its own attempt alone: that nothing
    reached the CA, or a refusal. Raises StateConflict where another was faster. One that waits has no such.
    """
    if issuance.state == Work.WAITING:
        return
    if not swap(Issuance, {"id": issuance.pk, "version": issuance.version}, {}, counted=("version",)):
        raise StateConflict("Another worker is already processing this.")
    issuance.version += 1


def with_replaced(intent: Intent, issuance: Issuance, backend: Backend, *, now: datetime) -> Intent:
    """The intent with the certificate that it renews, for a CA that says when to renew: one of its own, of
    the same request, with a name in common; best one of the same key, else of the same names, else the last.
    """
    if not isinstance(backend, SuggestsRenewal):
        return intent
    valid = Certificate.objects.filter(request_id=issuance.request_id, withheld=False, not_after__gt=now)
    own = valid.filter(issuance__backend=intent.backend, revoked_at__isnull=True)
    in_common = own.select_related("issuance").order_by("-id").filter(names__name__in=intent.names).distinct()
    last = max(
        in_common,
        key=lambda one: (
            one.spki_sha256 == issuance.spki_sha256,
            set(one.issuance.names) == set(intent.names),
            one.pk,
        ),
        default=None,
    )
    return intent if last is None else replace(intent, replaces=bytes(last.der))


def kept_csr(issuance: Issuance) -> Csr:
    der = csr_from_store(bytes(issuance.csr_der))
    return read_csr(der, ip_addresses=runtime.current().standing_profile(issuance.profile_id).ip_addresses)


def recorded_intent(issuance: Issuance, *, server_software: str) -> Intent:
    """The intent that an issuance holds, to be taken up again after a crash."""
    if issuance.intent_key is None or issuance.not_before is None or issuance.not_after is None:
        raise InvariantViolated("a claimed issuance holds no intent")
    assert issuance.profile_version is not None  # noqa: S101 - written with the other columns of the intent
    kind = runtime.current().profiles.get(issuance.profile_id)
    if kind is None or kind.version != issuance.profile_version:
        # A profile never changes under its version, so only the very version of the intent will do.
        kind = no_longer_offered(issuance.profile_id, issuance.profile_version)
    return Intent(
        idempotency_key=issuance.intent_key,
        backend=issuance.backend,
        profile=kind,
        csr_der=csr_from_store(bytes(issuance.csr_der)),
        spki_der=bytes(issuance.spki_der),
        names=tuple(issuance.names),
        subject=tuple((oid, value) for oid, value in issuance.subject),
        not_before=issuance.not_before,
        not_after=issuance.not_after,
        serial=None if issuance.serial is None else int(issuance.serial, 16),
        tbs=None if issuance.tbs is None else bytes(issuance.tbs),
        server_software=server_software,
    )
