"""Reminders before a domain's validation lapses (R34): to the organisation, and to officers where they check.

The audit event is what remembers that somebody was told of a step; a fresh proof silences the rest.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import structlog
from django.core.mail import EmailMessage
from django.db.models import Max, QuerySet

from certdesk.domain.actors import SYSTEM, OrgRole, RaRole
from certdesk.domain.evidence import Method
from certdesk.domain.identifiers import is_under
from certdesk.services import runtime
from certdesk.services.apart import apart
from certdesk.services.letters import letter, prose
from certdesk.store import audit, jobs
from certdesk.store.db import write_transaction
from certdesk.store.models import AuditEvent, Domain, Membership, User, ValidationRecord

log = structlog.get_logger()

#: Days before the end at which people are told, latest step first.
STEPS = (1, 7, 14, 30, 60)
REMINDED = "domain.remind"
#: Many lapse at once after a migration; the rest follow with the next tick.
AT_ONCE = 200


class Audience(StrEnum):
    """Who is told."""

    ORGANISATION = "organisation"
    OFFICERS = "officers"


def step_of(*, expires_at: datetime, now: datetime) -> int | None:
    """The step that has been reached, in days before the end; None before the first one and after the end."""
    left = expires_at - now
    if left <= timedelta():
        return None
    return next((days for days in STEPS if left <= timedelta(days=days)), None)


def remind_lapsing(*, now: datetime) -> list[int]:
    """Has people told of validations that lapse soon; returns the domains that they are newly told of.

    Each step of each proof is told once, however many processes look: the rows are locked, looked at
    again, and the audit events and the mails' jobs are written in the same transaction.
    """
    told: list[int] = []
    found = list(_ending(now=now).values_list("id", flat=True))
    apart(found, lambda some: told.extend(_remind(some if len(some) < len(found) else None, now=now)))
    return told


def _remind(only: Sequence[int] | None, *, now: datetime) -> list[int]:
    candidates = [row[0].pk for row in _untold(_lapsing(now=now, only=only), now=now)][:AT_ONCE]
    if not candidates:
        return []
    with write_transaction():
        locked = Domain.objects.select_for_update().filter(id__in=candidates).order_by("id")
        still = set(locked.values_list("id", flat=True))
        rows = [row for row in _untold(_lapsing(now=now, only=candidates), now=now) if row[0].pk in still]
        if not rows:
            return []
        audit.record_all([_deed(*row) for row in rows], actor=SYSTEM, now=now)
        for domain, until, _step in rows:
            for audience in _audiences(domain, until):
                jobs.enqueue(
                    "mail_lapsing",
                    due_at=now,
                    domain_id=domain.pk,
                    expires_at=until.isoformat(),
                    audience=audience.value,
                )
    told = [domain.pk for domain, _until, _step in rows]
    log.info("domains.lapsing", domains=told)
    return told


def mail_lapsing(*, domain_id: int, expires_at: datetime, audience: Audience, now: datetime) -> bool:
    """Sends one reminder; False when a fresh proof has made it pointless, or nobody has a mailbox.

    At least once: a crash between sending and noting it sends again, which is harmless.
    """
    found = [row for row in _lapsing(now=now, only=[domain_id]) if row[1] == expires_at]
    if not found:
        return False
    domain = found[0][0]
    to = _officers() if audience is Audience.OFFICERS else people_of(domain)
    if not to:
        log.error("domains.lapsing_untold", domain=domain_id, audience=audience.value)
        return False
    message(domain, until=expires_at, audience=audience, to=to, now=now).send()
    return True


def message(
    domain: Domain, *, until: datetime, audience: Audience, to: list[str], now: datetime
) -> EmailMessage:
    """The mail: what lapses when, what that means, what to do. The link is our own (V9)."""
    rt, left = runtime.newest(), max((until - now).days, 0)
    days = {0: "today", 1: "tomorrow"}.get(left, f"in {left} days")
    to_do = (
        f"Please check again who owns {domain.adn}, and record it there."
        if audience is Audience.OFFICERS
        else "To renew it, publish a DNS record or have the domain's own people confirm by e-mail, which "
        f"takes a minute there, or ask {rt.rules.ra} to check it by hand."
    )
    return letter(
        subject=f"The validation of {domain.adn} lapses {days}",
        blocks=(
            f"The validation of {domain.adn} lapses {days}:\non {until:%-d %B %Y at %H:%M} UTC.",
            prose(
                "Certificates that were issued go on working. From then on, new requests for names at or "
                "below this domain wait until it is validated again."
            ),
            prose(to_do),
            f"{rt.base_url}/domains/{domain.pk}/",
            f"Organisation: {domain.organisation.legal_name}",
        ),
        to=to,
    )


_Row = tuple[Domain, datetime]


def _lapsing(*, now: datetime, only: Sequence[int] | None = None) -> list[_Row]:
    """Domains whose longest proof ends within the first step, unless a parent's proof lasts longer."""
    rows = list(_ending(now=now, only=only).select_related("organisation"))
    others: dict[int, list[tuple[str, datetime]]] = {}
    for organisation_id, adn, end in ValidationRecord.objects.filter(
        domain__organisation__in={row.organisation_id for row in rows},
        expires_at__gt=now,
        validated_at__lte=now,
    ).values_list("domain__organisation_id", "domain__adn", "expires_at"):
        others.setdefault(organisation_id, []).append((adn, end))
    return [(row, row.until) for row in rows if not _outlasted(row, others.get(row.organisation_id, []))]


def _ending(*, now: datetime, only: Sequence[int] | None = None) -> QuerySet[Any]:
    """The same by the domain alone, in the order in which they end."""
    found = Domain.objects.filter(organisation__is_active=True, validations__validated_at__lte=now)
    if only is not None:
        found = found.filter(id__in=only)
    # What a persistent record keeps alive is short-lived on purpose: the watcher says when that ends.
    found = found.exclude(
        persistent__stopped_at__isnull=True,
        persistent__seen_at__isnull=False,
        persistent__missing_since__isnull=True,
    )
    horizon = now + timedelta(days=max(STEPS))
    ending = found.annotate(until=Max("validations__expires_at"))
    return ending.filter(until__gt=now, until__lte=horizon).order_by("until", "id")


def _outlasted(row: Domain, proofs: Iterable[tuple[str, datetime]]) -> bool:
    until = row.until  # type: ignore[attr-defined] # annotated in `_ending`
    return any(end > until and is_under(row.adn, adn) for adn, end in proofs)


def _untold(rows: list[_Row], *, now: datetime) -> list[tuple[Domain, datetime, int]]:
    events = AuditEvent.objects.filter(
        object_type="domain", object_id__in=[str(domain.pk) for domain, _until in rows], action=REMINDED
    ).values_list("object_id", "data")
    told = {(key, data["expires_at"], data["days"]) for key, data in events}
    found = []
    for domain, until in rows:
        step = step_of(expires_at=until, now=now)
        if step is not None and (str(domain.pk), until.isoformat(), step) not in told:
            found.append((domain, until, step))
    return found


def _deed(domain: Domain, until: datetime, step: int) -> audit.Deed:
    return audit.Deed(
        action=REMINDED,
        object_type="domain",
        object_id=domain.pk,
        organisation_id=domain.organisation_id,
        data={"adn": domain.adn, "expires_at": until.isoformat(), "days": step},
    )


def _audiences(domain: Domain, until: datetime) -> tuple[Audience, ...]:
    """Officers are told of what they checked themselves."""
    methods = ValidationRecord.objects.filter(domain=domain, expires_at=until).values_list(
        "method", flat=True
    )
    by_hand = Method.MANUAL_OWNERSHIP in {Method(method) for method in methods}
    return (Audience.ORGANISATION, Audience.OFFICERS) if by_hand else (Audience.ORGANISATION,)


def people_of(domain: Domain) -> list[str]:
    """The mailboxes of the organisation's managers; without any, of its applicants."""
    members = Membership.objects.filter(
        organisation_id=domain.organisation_id, is_active=True, user__is_active=True
    ).exclude(user__email="")
    managers = _addresses(members.filter(role=OrgRole.MANAGER).values_list("user__email", flat=True))
    return managers or _addresses(members.values_list("user__email", flat=True))


def _officers() -> list[str]:
    officers = User.objects.filter(ra_role=RaRole.OFFICER, is_active=True).exclude(email="")
    return _addresses(officers.values_list("email", flat=True))


def _addresses(found: Iterable[str]) -> list[str]:
    return sorted(dict.fromkeys(found))
