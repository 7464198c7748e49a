"""Domain control by e-mail: asking, confirming, and letting what waited for it move on (R4, V1 to V9).

The random value leaves this process in the mail alone; the store keeps its digest. Sending happens
outside any transaction: a challenge whose mail could not be sent says so and is sent anew.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.mail import EmailMessage

from certdesk.dcv.email import (
    ChallengeFacts,
    code_digest,
    mailboxes,
    message_text,
    normalised_code,
    secret_from,
)
from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.errors import (
    InvalidInput,
    InvariantViolated,
    NotAuthorized,
    NotFound,
    RateLimited,
    StateConflict,
)
from certdesk.domain.evidence import METHODS, Method, ownership_expiry
from certdesk.domain.findings import Check
from certdesk.domain.identifiers import is_under, parse_dns_name
from certdesk.domain.requests import OrganisationId, State
from certdesk.domain.rules import RuleId, in_force
from certdesk.services import runtime
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import (
    ChallengeOutcome,
    Domain,
    EmailChallenge,
    Organisation,
    Request,
    ValidationRecord,
)
from certdesk.store.selectors.facts import lock_organisation

MAX_AN_HOUR = 10  # mails for one domain: nobody's mailbox is flooded through us (A10)
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """An open challenge as its reader sees it; `facts` are what is confirmed (V2)."""

    id: int
    mailbox: str
    facts: ChallengeFacts


def add_domain(*, actor: Actor, organisation_id: OrganisationId, name: str, now: datetime) -> int:
    """Lists a domain for an organisation, with nothing proven yet; the same one again is the same row."""
    _may_ask(actor, organisation_id)
    adn = parse_dns_name(name.strip().lower(), allow_wildcard=False)
    with write_transaction():
        row, new = Domain.objects.get_or_create(
            organisation_id=organisation_id, adn=adn, defaults={"created_at": now}
        )
        if new:
            audit.record(
                actor=actor,
                action="domain.add",
                object_type="domain",
                object_id=row.pk,
                organisation_id=organisation_id,
                now=now,
                data={"adn": adn},
            )
    return row.pk


def ask_by_email(
    *, actor: Actor, organisation_id: OrganisationId, name: str, mailbox: str, now: datetime
) -> None:
    """Sends a fresh code to one of the constructed mailboxes of a name (R4); an earlier open one ends.

    `mailbox` only picks one of those that the server computes from the name (V3). Raises InvalidInput
    for another, RateLimited after ten mails an hour for one domain.
    """
    _may_ask(actor, organisation_id)
    bare = parse_dns_name(name.strip().lower().removeprefix("*."), allow_wildcard=False)
    adn = mailboxes(bare).get(mailbox)
    if adn is None:
        raise InvalidInput(
            f"A code for {bare} can't be sent there.", fields={"mailbox": "Choose a mailbox from the list."}
        )
    secret = secret_from(secrets.token_bytes(32))
    domain_id = add_domain(actor=actor, organisation_id=organisation_id, name=adn, now=now)
    with write_transaction():
        challenge = _open_challenge(actor, domain_id, adn, mailbox, secret.digest, now=now)
        _tell_waiting(organisation_id, adn, f"Waiting for {mailbox} to confirm.")
    _send(challenge, code=secret.code)
    with write_transaction():
        EmailChallenge.objects.filter(id=challenge.pk).update(sent_at=now)


def cancel_challenge(*, actor: Actor, challenge_id: int, now: datetime) -> None:
    """Ends an open challenge: its code no longer works. Raises NotFound for a foreign one."""
    row = EmailChallenge.objects.select_related("domain").filter(id=challenge_id).first()
    if row is None or not can(
        actor, Action.DOMAIN_READ, organisation_id=OrganisationId(row.domain.organisation_id)
    ):
        raise NotFound("There is no such confirmation.")
    _may_ask(actor, OrganisationId(row.domain.organisation_id))
    with write_transaction():
        _end(row, ChallengeOutcome.CANCELLED, now=now)
        _record(row, "domain.challenge_cancel", actor=actor, now=now)


def open_challenge(*, code: str, now: datetime) -> Challenge:
    """What a code would confirm, without confirming it (V2).

    Raises NotFound for an unknown, used, cancelled or expired code, all in the same words.
    """
    row = _by_code(code, now=now)
    return Challenge(id=row.pk, mailbox=row.mailbox, facts=_facts(row))


def confirm_by_email(*, code: str, remote_address: str, now: datetime) -> Challenge:
    """Confirms control of the challenged domain and lets what waited for it move on (R4).

    The record says what was asked, of whom, and what came back (V7). Single use: of two at once one
    wins, the other gets NotFound.
    """
    row = _by_code(code, now=now)
    reader = Actor(label=row.mailbox)
    organisation_id = OrganisationId(row.domain.organisation_id)
    with write_transaction():
        lock_organisation(organisation_id)
        _end(row, ChallengeOutcome.CONFIRMED, now=now)
        record = ValidationRecord.objects.create(
            domain_id=row.domain_id,
            method=Method.EMAIL_CONSTRUCTED,
            source=METHODS[Method.EMAIL_CONSTRUCTED].source,
            evidence={
                "how": f"{row.mailbox} confirmed",
                "asked": f"a 256-bit random value was mailed to {row.mailbox}",
                "asked_by": row.asked_by.username,
                "asked_at": row.created_at.isoformat(),
                "answered": "the same value was confirmed on our page",
                "answered_from": remote_address,
                "value_sha256": row.digest,
            },
            validated_at=now,
            expires_at=ownership_expiry(validated_at=now, days=runtime.current().ownership_days),
        )
        _record(row, "domain.validate", actor=reader, now=now, record=record.pk)
        _move_on(organisation_id, now=now)
    return Challenge(id=row.pk, mailbox=row.mailbox, facts=_facts(row))


def await_validation(request: Request, pending: Sequence[Check]) -> State:
    """An accepted request waits for its domains to be validated: nothing is due until somebody confirms.

    In the caller's transaction, under the organisation's lock: a confirmation comes wholly before or after.
    """
    asked = EmailChallenge.objects.filter(
        domain__organisation_id=request.organisation_id, outcome=ChallengeOutcome.OPEN
    ).values_list("adn", "mailbox")
    names = [name.removeprefix("*.") for name in request.names]
    awaited = sorted({box for adn, box in asked if any(is_under(name, adn) for name in names)})
    detail = " ".join(check.message for check in pending)
    if awaited:
        detail = f"Waiting for {' or '.join(awaited)} to confirm."
    Request.objects.filter(id=request.pk, state=State.ACCEPTED, version=request.version).update(
        next_attempt_at=None, detail=detail
    )
    return State.ACCEPTED


def _may_ask(actor: Actor, organisation_id: OrganisationId) -> None:
    if not can(actor, Action.DOMAIN_READ, organisation_id=organisation_id):
        raise NotFound("There is no such organisation.")
    if not can(actor, Action.DOMAIN_ASK, organisation_id=organisation_id):
        raise NotAuthorized("Only people of the organisation and RA officers ask for confirmations.")


def _open_challenge(
    actor: Actor, domain_id: int, adn: str, mailbox: str, digest: str, *, now: datetime
) -> EmailChallenge:
    recent = EmailChallenge.objects.filter(domain__adn=adn, created_at__gt=now - HOUR)
    if recent.count() >= MAX_AN_HOUR:
        raise RateLimited(
            f"Enough mails were sent about {adn} within the last hour. Try again later.",
            retry_after=int(HOUR.total_seconds()),
        )
    EmailChallenge.objects.filter(domain_id=domain_id, mailbox=mailbox, outcome=ChallengeOutcome.OPEN).update(
        outcome=ChallengeOutcome.REPLACED, ended_at=now
    )
    days = min(runtime.current().challenge_days, in_force(RuleId.RANDOM_VALUE_LIFE, now).value)
    if actor.user_id is None:
        raise InvariantViolated("a confirmation is asked for by a person")
    row = EmailChallenge.objects.create(
        domain_id=domain_id,
        adn=adn,
        mailbox=mailbox,
        digest=digest,
        asked_by_id=actor.user_id,
        created_at=now,
        expires_at=now + timedelta(days=days),
    )
    _record(row, "domain.challenge", actor=actor, now=now)
    return row


def _by_code(code: str, *, now: datetime) -> EmailChallenge:
    row = (
        EmailChallenge.objects.select_related("domain__organisation", "asked_by")
        .filter(digest=code_digest(code), outcome=ChallengeOutcome.OPEN, expires_at__gt=now)
        .first()
    )
    if row is None:
        raise NotFound("This code is not valid (any more). Whoever asked for it can send a new one.")
    return row


def _end(row: EmailChallenge, outcome: ChallengeOutcome, *, now: datetime) -> None:
    ended = EmailChallenge.objects.filter(
        id=row.pk, outcome=ChallengeOutcome.OPEN, expires_at__gt=now
    ).update(outcome=outcome, ended_at=now)
    if not ended:
        raise StateConflict("This code was used, cancelled or replaced in the meantime.")


def _facts(row: EmailChallenge) -> ChallengeFacts:
    organisation: Organisation = row.domain.organisation
    waiting = Request.objects.filter(organisation=organisation, state=State.ACCEPTED).order_by("id")
    names = [
        name
        for found in waiting.values_list("names", flat=True)[:20]
        for name in found
        if is_under(name.removeprefix("*."), row.adn)
    ]
    person = row.asked_by
    return ChallengeFacts(
        adn=row.adn,
        organisation=organisation.legal_name,
        asked_by=f"{person.get_full_name()} ({person.username})",
        names=tuple(names),
        expires_at=row.expires_at,
        service_name=runtime.current().service_name,
    )


def _send(row: EmailChallenge, *, code: str) -> None:
    rt, page = runtime.current(), f"{runtime.current().base_url}/dcv/"
    body = message_text(_facts(row), link=f"{page}{normalised_code(code)}/", code=code, page=page)
    EmailMessage(
        subject=f"[{rt.service_name}] Please confirm: certificates for {row.adn}",
        body=body,
        from_email=rt.mail_from,
        to=[row.mailbox],
        headers={"Auto-Submitted": "auto-generated"},
    ).send()


def _tell_waiting(organisation_id: OrganisationId, adn: str, detail: str) -> None:
    """The second line of what waits for this domain says who is awaited; no state changes (R25)."""
    waiting = Request.objects.filter(
        organisation_id=organisation_id, state=State.ACCEPTED, next_attempt_at__isnull=True
    )
    for number, names in waiting.values_list("id", "names"):
        if any(is_under(name.removeprefix("*."), adn) for name in names):
            Request.objects.filter(id=number, state=State.ACCEPTED).update(detail=detail)


def _move_on(organisation_id: OrganisationId, *, now: datetime) -> None:
    """Makes everything of the organisation that waits for a validation due: issuing looks again."""
    Request.objects.filter(
        organisation_id=organisation_id, state=State.ACCEPTED, next_attempt_at__isnull=True
    ).update(next_attempt_at=now)


def _record(
    row: EmailChallenge, action: str, *, actor: Actor, now: datetime, record: int | None = None
) -> None:
    audit.record(
        actor=actor,
        action=action,
        object_type="domain",
        object_id=row.domain_id,
        organisation_id=Domain.objects.values_list("organisation_id", flat=True).get(id=row.domain_id),
        now=now,
        data={"adn": row.adn, "mailbox": row.mailbox, "challenge": row.pk, "record": record},
    )
