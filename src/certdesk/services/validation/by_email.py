"""Domain control by e-mail: asking, confirming, and letting what waited for it move on.

The random value leaves this process in the mail alone; the store keeps its digest. Sending happens
outside any transaction: a challenge whose mail could not be sent says so and is sent anew.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from smtplib import SMTPException

import structlog
from django.db.models import Q, QuerySet

from certdesk.dcv.email_challenge import (
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
    Unavailable,
    existing,
)
from certdesk.domain.issuing.states import OrganisationId, State, Status, Work
from certdesk.domain.names.identifiers import is_ip_address, is_under, parse_dns_name, registrable_domain
from certdesk.domain.rules import RuleId, in_force
from certdesk.domain.validation.evidence import METHODS, Method, covering, ownership_expiry
from certdesk.services.mail.compose import letter, prose
from certdesk.services.people.permissions import acting, refuse_withdrawn
from certdesk.services.system import runtime
from certdesk.store import audit
from certdesk.store.apart import apart
from certdesk.store.db import write_transaction
from certdesk.store.driver import insert
from certdesk.store.models import (
    ChallengeOutcome,
    Domain,
    EmailChallenge,
    Issuance,
    MethodChallenge,
    Organisation,
    PersistentRecord,
    Request,
    ValidationRecord,
)
from certdesk.store.selectors.facts import lock_organisation, organisation_facts, organisation_row
from certdesk.store.sql import IDLE

log = structlog.get_logger()

MAX_AN_HOUR = 10  # mails to one domain and all below it: nobody's mailbox is flooded through us
MAX_BY_ONE_PERSON = 30  # an hour, whatever the domains
HOUR = timedelta(hours=1)
GONE = "This code is not valid. The person who asked for it can send a new one."
PROVEN = "Every domain is validated; about to be handed to the CA."
LINES = 1000  # second lines that one round of housekeeping looks at


class MailNotSent(Unavailable):
    """The mail server did not take the mail: the challenge stays, marked as unsent, and can be sent anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A challenge that was mailed: which domain it would confirm, and where the mail went."""

    challenge_id: int
    domain_id: int
    adn: str
    mailbox: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """An open challenge as its reader sees it; `facts` are what is confirmed."""

    id: int
    mailbox: str
    facts: ChallengeFacts


def add_domain(*, actor: Actor, organisation_id: OrganisationId, name: str, now: datetime) -> int:
    """Lists a domain for an organisation, with nothing proven yet; the same one again is the same row."""
    _may_ask(actor, organisation_id)
    adn = parse_dns_name(name.strip().lower(), allow_wildcard=False)
    with acting(actor, Action.DOMAIN_ASK, organisation_id):
        return _listed(actor, organisation_id, adn, now=now)


def ask_by_email(
    *, actor: Actor, organisation_id: OrganisationId, name: str, mailbox: str, now: datetime
) -> Asked:
    """Sends a fresh code to one of the constructed mailboxes of a name; an earlier open one ends.

    `mailbox` only picks one of those that the server computes from the name. Raises InvalidInput
    for another, RateLimited beyond the limits an hour, MailNotSent when the mail server fails.
    """
    _may_ask(actor, organisation_id)
    bare = parse_dns_name(name.strip().lower().removeprefix("*."), allow_wildcard=False)
    adn = mailboxes(bare).get(mailbox)
    if adn is None:
        told = f"A code for {bare} can't be sent there."
        raise InvalidInput(told, {"mailbox": "Choose a mailbox from the list."})
    if actor.user_id is None:
        raise InvariantViolated("a confirmation is asked for by a person")
    secret = secret_from(secrets.token_bytes(32))
    days = min(runtime.current().settings.challenge_days, in_force(RuleId.RANDOM_VALUE_LIFE, now).value)
    with write_transaction():
        lock_organisation(organisation_id)
        refuse_withdrawn(organisation_id, actor)

        # 1. Limits by person and by registrable domain: one mail server often reads for all names below it.
        recent, domain = EmailChallenge.objects.filter(created_at__gt=now - HOUR), registrable_domain(adn)
        there = recent.filter(Q(adn=domain) | Q(adn__endswith=f".{domain}"))
        by_person = recent.filter(asked_by_id=actor.user_id)
        if there.count() >= MAX_AN_HOUR or by_person.count() >= MAX_BY_ONE_PERSON:
            told = f"Enough mails were sent about {domain} within the last hour. Try again later."
            raise RateLimited(told, retry_after=int(HOUR.total_seconds()))

        # 2. The new challenge takes the place of an open one.
        domain_id = _listed(actor, organisation_id, adn, now=now)
        earlier = EmailChallenge.objects.filter(domain_id=domain_id, mailbox=mailbox)
        earlier.filter(outcome=ChallengeOutcome.OPEN).update(outcome=ChallengeOutcome.REPLACED, ended_at=now)
        row = EmailChallenge.objects.create(
            domain_id=domain_id,
            adn=adn,
            mailbox=mailbox,
            digest=secret.digest,
            asked_by_id=actor.user_id,
            created_at=now,
            expires_at=now + timedelta(days=days),
        )
        data = {"mailbox": mailbox, "challenge": row.pk}
        audit_domain(row.domain, "domain.challenge", actor=actor, now=now, **data)
        tell_waiting(organisation_id, now=now)

    # 3. Sending waits for a mail server, and so holds no transaction.
    _send(row, code=secret.code)
    with write_transaction():
        lock_organisation(organisation_id)
        EmailChallenge.objects.filter(id=row.pk).update(sent_at=now)
        tell_waiting(organisation_id, now=now)
    return Asked(challenge_id=row.pk, domain_id=domain_id, adn=adn, mailbox=mailbox)


def cancel_challenge(*, actor: Actor, challenge_id: int, now: datetime) -> None:
    """Ends an open challenge: its code no longer works.

    Raises NotFound for a foreign one, StateConflict for one that has ended.
    """
    row = EmailChallenge.objects.select_related("domain").filter(id=challenge_id).first()
    if row is None or not can(
        actor, Action.DOMAIN_READ, organisation_id=OrganisationId(row.domain.organisation_id)
    ):
        raise NotFound("There is no such confirmation.")
    organisation_id = OrganisationId(row.domain.organisation_id)
    _may_ask(actor, organisation_id)
    with acting(actor, Action.DOMAIN_ASK, organisation_id):
        if not _end(row, ChallengeOutcome.CANCELLED, now=now):
            raise StateConflict("This confirmation was used, cancelled or replaced in the meantime.")
        audit_domain(
            row.domain, "domain.challenge_cancel", actor=actor, now=now, mailbox=row.mailbox, challenge=row.pk
        )
        tell_waiting(organisation_id, now=now)


def open_challenge(*, code: str, now: datetime) -> Challenge:
    """What a code would confirm, without confirming it.

    Raises NotFound for an unknown, used, cancelled or expired code, all in the same words.
    """
    row = _by_code(code, now=now)
    return Challenge(id=row.pk, mailbox=row.mailbox, facts=_facts(row))


def confirm_by_email(*, code: str, remote_address: str, now: datetime) -> Challenge:
    """Confirms control of the challenged domain and lets what waited for it move on.

    The record says what was asked, of whom, and what came back. Single use: of two at once one
    wins, the other gets NotFound.
    """
    row = _by_code(code, now=now)
    reader = Actor(label=row.mailbox)
    organisation_id = OrganisationId(row.domain.organisation_id)
    confirmed = Challenge(id=row.pk, mailbox=row.mailbox, facts=_facts(row))
    with write_transaction():
        lock_organisation(organisation_id)
        _refuse_gone(row)
        if not _end(row, ChallengeOutcome.CONFIRMED, now=now):
            raise NotFound(GONE)
        record_proof(
            actor=reader,
            domain=row.domain,
            method=Method.EMAIL_CONSTRUCTED,
            evidence={
                "how": f"{row.mailbox} confirmed",
                "adn": row.adn,
                "asked": f"a 256-bit random value was mailed to {row.mailbox}",
                "asked_by": row.asked_by.username,
                "asked_at": row.created_at.isoformat(),
                "answered": "the same value was confirmed on our page",
                "answered_from": remote_address,
                "value_sha256": row.digest,
            },
            days=runtime.current().ownership_days,
            now=now,
            noted={"mailbox": row.mailbox, "challenge": row.pk},
        )
    return confirmed


def record_proof(
    *,
    actor: Actor,
    domain: Domain,
    method: Method,
    evidence: Mapping[str, object],
    days: int,
    until: datetime | None = None,
    request_id: int | None = None,
    now: datetime,
    noted: Mapping[str, object],
) -> ValidationRecord:
    """Inserts a validation record that counts `days`, and makes due whatever waited for it.

    `until` ends it sooner, where what was found says so; `request_id` is what it was checked for.
    In the caller's transaction, under the organisation's lock. `noted` goes into the audit event.
    """
    expires = ownership_expiry(validated_at=now, days=days)
    record = ValidationRecord(
        domain=domain,
        method=method,
        source=METHODS[method].source,
        evidence=dict(evidence),
        validated_by_id=actor.user_id if method is Method.MANUAL_OWNERSHIP else None,
        request_id=request_id,
        validated_at=now,
        expires_at=min(expires, until or expires),
    )
    insert(record)
    audit_domain(
        domain, "domain.validate", actor=actor, now=now, method=method.value, **noted, record=record.pk
    )
    wake_waiting(OrganisationId(domain.organisation_id), now=now)
    return record


def wake_waiting(organisation_id: OrganisationId, *, now: datetime) -> None:
    """Makes everything of the organisation that waits for a validation due: issuing looks again.

    In the transaction of the new proof, under the organisation's lock.
    """
    for number, _request in IDLE.rows(organisation=organisation_id):
        Issuance.objects.filter(id=number, state=Work.WAITING, next_attempt_at__isnull=True).update(
            next_attempt_at=now
        )
        Request.objects.filter(issuances=number).update(action_needed=False)


def _idle(organisation_id: int) -> QuerySet[Issuance]:
    """Issuances under approved requests for which nothing is due: they wait for a validation.

    `IDLE` finds the same where a proof is recorded, which each challenge does.
    """
    return Issuance.objects.filter(
        organisation_id=organisation_id,
        state=Work.WAITING,
        next_attempt_at__isnull=True,
        request__state=State.APPROVED,
    )


def names_to_confirm(
    organisation_id: OrganisationId, names: Iterable[str], *, now: datetime
) -> dict[str, tuple[str, ...]]:
    """Registrable domain → the names below it, without wildcards, that no current proof reaches."""
    names = tuple(names)
    facts = organisation_facts(organisation_row(organisation_id), names=names, now=now)
    missing: dict[str, dict[str, None]] = {}
    for name in names:
        if covering(name, facts.validations, now=now) is None:
            bare = name.removeprefix("*.")
            missing.setdefault(registrable_domain(bare), {})[bare] = None
    return {domain: tuple(found) for domain, found in missing.items()}


def second_line(organisation_id: OrganisationId, names: Iterable[str], *, now: datetime) -> tuple[str, bool]:
    """What a request for these names waits for, and whether it waits for somebody to be asked."""
    awaited = _awaited(organisation_id, now=now)
    lines, action_needed = [], False
    for domain, missing in names_to_confirm(organisation_id, names, now=now).items():
        found = [what for adn, what in awaited if any(is_under(name, adn) for name in missing)]
        action_needed |= not found
        if found:
            lines.append(f"Waiting for {' or '.join(found)}.")
        elif is_ip_address(domain):
            lines.append(f"Waiting for the server at {domain} to prove itself: by ACME, or by a file on it.")
        else:
            told = f"Waiting for someone at {domain} to confirm by e-mail: choose a mailbox to ask."
            lines.append(told)
    return " ".join(lines) or PROVEN, action_needed


def _awaited(organisation_id: OrganisationId, *, now: datetime) -> list[tuple[str, str]]:
    """ADN → what is awaited there: mailboxes that were asked, records and files that were to be published."""
    running = {"outcome": ChallengeOutcome.OPEN, "expires_at__gt": now}
    asked = EmailChallenge.objects.filter(
        domain__organisation_id=organisation_id, sent_at__isnull=False, **running
    ).order_by("mailbox")
    boxes: dict[str, list[str]] = {}
    for adn, mailbox in asked.values_list("adn", "mailbox"):
        boxes.setdefault(adn, []).append(mailbox)
    found = [(adn, f"{' or '.join(of_it)} to confirm") for adn, of_it in boxes.items()]
    published = MethodChallenge.objects.filter(domain__organisation_id=organisation_id, **running)
    for adn, method in published.order_by("adn", "method").values_list("adn", "method"):
        what = "file on" if Method(method) is Method.HTTP_FILE else "DNS record of"
        found.append((adn, f"the {what} {adn} to appear"))
    watched = PersistentRecord.objects.filter(
        domain__organisation_id=organisation_id, stopped_at__isnull=True, next_look_at__isnull=False
    )
    return found + [
        (adn, f"the persistent DNS record of {adn} to appear")
        for adn in watched.order_by("adn").values_list("adn", flat=True)
    ]


def refresh_waiting(*, now: datetime) -> None:
    """Brings the second lines of all that waits up to date: a code that has expired is no longer awaited."""
    waiting = Issuance.objects.filter(
        state=Work.WAITING, next_attempt_at__isnull=True, request__state=State.APPROVED
    )
    found = waiting.order_by("organisation_id").values_list("organisation_id", flat=True).distinct()[:LINES]

    def refresh(organisation_id: OrganisationId, issuances: Sequence[int]) -> None:
        with write_transaction():
            lock_organisation(organisation_id)
            tell_waiting(organisation_id, only=issuances, now=now)

    def refresh_all(organisations: Sequence[int]) -> None:
        for one in map(OrganisationId, organisations):
            apart(list(_idle(one).values_list("id", flat=True)[:LINES]), partial(refresh, one))

    apart(list(found), refresh_all)


def _may_ask(actor: Actor, organisation_id: OrganisationId) -> None:
    if not can(actor, Action.DOMAIN_READ, organisation_id=organisation_id):
        raise NotFound("There is no such organisation.")
    if not can(actor, Action.DOMAIN_ASK, organisation_id=organisation_id):
        raise NotAuthorized("Only people of the organisation and RA officers ask for confirmations.")


def _listed(actor: Actor, organisation_id: OrganisationId, adn: str, *, now: datetime) -> int:
    row, new = Domain.objects.get_or_create(
        organisation_id=organisation_id, adn=adn, defaults={"created_at": now}
    )
    if new:
        audit_domain(row, "domain.add", actor=actor, now=now)
    return row.pk


def _by_code(code: str, *, now: datetime) -> EmailChallenge:
    running = EmailChallenge.objects.filter(outcome=ChallengeOutcome.OPEN, expires_at__gt=now)
    found = running.select_related("domain__organisation", "asked_by").filter(digest=code_digest(code))
    row = existing(found.first(), GONE)
    _refuse_gone(row)
    return row


def _refuse_gone(row: EmailChallenge) -> None:
    """Raises NotFound, like for any other code that is no good, where whoever asked may no longer ask."""
    try:
        refuse_withdrawn(row.domain.organisation_id, row.asked_by_id)
    except (NotAuthorized, StateConflict):
        raise NotFound(GONE) from None


def _end(row: EmailChallenge, outcome: ChallengeOutcome, *, now: datetime) -> bool:
    """Ends an open challenge; False when somebody else has, or when it is too old."""
    ended = EmailChallenge.objects.filter(
        id=row.pk, outcome=ChallengeOutcome.OPEN, expires_at__gt=now
    ).update(outcome=outcome, ended_at=now)
    return bool(ended)


def _facts(row: EmailChallenge) -> ChallengeFacts:
    organisation: Organisation = row.domain.organisation
    waiting = Request.objects.filter(
        organisation=organisation, status__in=(Status.ACCEPTED, Status.WAITING_FOR_APPROVAL)
    ).order_by("-id")
    names = {
        name: None
        for found in waiting.values_list("names", flat=True)[:20]
        for name in found
        if is_under(name.removeprefix("*."), row.adn)
    }
    person = row.asked_by
    return ChallengeFacts(
        adn=row.adn,
        organisation=organisation.legal_name,
        asked_by=f"{person.get_full_name()} ({person.username})".strip(),
        names=tuple(names),
        expires_at=row.expires_at,
        service_name=runtime.newest().settings.service_name,
    )


def _send(row: EmailChallenge, *, code: str) -> None:
    page = f"{runtime.current().base_url}/dcv/"
    text = message_text(_facts(row), link=f"{page}{normalised_code(code)}/", code=code, page=page)
    subject = f"Please confirm: certificates for {row.adn}"
    mail = letter(subject=subject, blocks=map(prose, text.split("\n\n")), to=[row.mailbox])
    try:
        mail.send()
    except (OSError, SMTPException) as error:
        # What the server answered may quote the mail: only the kind of failure is logged.
        log.warning("dcv.mail_not_sent", challenge=row.pk, error=type(error).__name__)
        raise MailNotSent(
            f"The mail to {row.mailbox} could not be sent. "
            "Send it again in a while, or choose another mailbox."
        ) from None


def tell_waiting(
    organisation_id: OrganisationId, *, only: Sequence[int] | None = None, now: datetime
) -> None:
    """Second lines of what waits for a validation, as things stand now; no state changes.

    What has nothing left to wait for is due: a request that was being made while the proof came would else
    wait for ever, since it was judged by a time before the proof's. `only` are some of the issuances.
    """
    waiting = _idle(organisation_id)
    if only is not None:
        waiting = waiting.filter(id__in=only)
    columns = ("id", "request_id", "request__names", "request__detail", "request__action_needed")
    for number, request, names, *shown in waiting.values_list(*columns)[:LINES]:
        detail, action_needed = second_line(organisation_id, names, now=now)
        if detail == PROVEN:
            waiting.filter(id=number).update(next_attempt_at=now)
        if [detail, action_needed] != shown:
            Request.objects.filter(id=request, state=State.APPROVED).update(
                detail=detail, action_needed=action_needed
            )


def audit_domain(domain: Domain, action: str, *, actor: Actor, now: datetime, **data: object) -> None:
    """An audit event about a domain, in the caller's transaction; `adn` is in its data."""
    data = {"adn": domain.adn, **data}
    audit.record(actor, action, domain.pk, domain.organisation_id, now=now, data=data)
