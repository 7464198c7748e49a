"""Reminders before a domain's validation lapses: to the organisation, and to officers where they check.

The audit event is what remembers that somebody was told of a step; a fresh proof silences the rest.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import structlog
from django.db.models import Max

from certdesk.domain.actors import OrgRole, RaRole
from certdesk.domain.names.identifiers import is_under
from certdesk.domain.validation.evidence import Method
from certdesk.services.mail.compose import letter, prose
from certdesk.services.system import runtime
from certdesk.store import audit
from certdesk.store.models import Domain, Membership, ValidationRecord
from certdesk.store.once import tell_once
from certdesk.store.selectors.people import staff_mailboxes

log = structlog.get_logger()

#: Days before the end at which people are told, latest step first.
STEPS = (1, 7, 14, 30, 60)
REMINDED = "domain.remind"


class Audience(StrEnum):
    ORGANISATION = "organisation"
    OFFICERS = "officers"


def step_of(*, expires_at: datetime, now: datetime) -> int | None:
    """The step that has been reached, in days before the end; None before the first one and after the end."""
    left = expires_at - now
    if left <= timedelta():
        return None
    return next((days for days in STEPS if left <= timedelta(days=days)), None)


def remind_lapsing(*, now: datetime) -> list[int]:
    """Has people told of validations that lapse soon, of each step of each proof once.

    Returns the numbers of the domains that they are newly told of.
    """

    def mails(new: Sequence[audit.Deed]) -> Iterator[tuple[str, dict[str, object]]]:
        for deed in new:
            domain_id, until = int(str(deed.object_id)), str(deed.data["expires_at"])
            for audience in _audiences(domain_id, datetime.fromisoformat(until)):
                to_whom = {"domain_id": domain_id, "expires_at": until, "audience": audience.value}
                yield "mail_lapsing", to_whom

    new = tell_once(lambda: _due(now=now), _deed, mails, by="step", now=now)
    told = [int(str(deed.object_id)) for deed in new]
    if told:
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
    to = staff_mailboxes(RaRole.OFFICER) if audience is Audience.OFFICERS else people_of(domain)
    if not to:
        log.error("domains.lapsing_untold", domain=domain_id, audience=audience.value)
        return False
    rt, left = runtime.newest(), max((expires_at - now).days, 0)
    days = {0: "today", 1: "tomorrow"}.get(left, f"in {left} days")
    to_do = (
        f"Please check again who owns {domain.adn}, and record it there."
        if audience is Audience.OFFICERS
        else "To renew it, publish a DNS record or have the domain's own people confirm by e-mail, which "
        f"takes a minute there, or ask {rt.rules.ra} to check it by hand."
    )
    letter(
        subject=f"The validation of {domain.adn} lapses {days}",
        blocks=(
            f"The validation of {domain.adn} lapses {days}:\non {expires_at:%-d %B %Y at %H:%M} UTC.",
            prose(
                "Certificates that were issued go on working. From then on, new requests for names at or "
                "below this domain wait until it is validated again."
            ),
            prose(to_do),
            f"{rt.base_url}/domains/{domain.pk}/",
            f"Organisation: {domain.organisation.legal_name}",
        ),
        to=to,
    ).send()
    return True


_Row = tuple[Domain, datetime]


def _lapsing(*, now: datetime, only: Sequence[int] | None = None) -> list[_Row]:
    """Domains whose longest proof ends within the first step, unless a parent's proof lasts longer."""
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
    rows = list(
        found.annotate(until=Max("validations__expires_at"))
        .filter(until__gt=now, until__lte=horizon)
        .select_related("organisation")
        .order_by("until", "id")
    )
    others: dict[int, list[tuple[str, datetime]]] = {}
    for organisation_id, adn, end in ValidationRecord.objects.filter(
        domain__organisation__in={row.organisation_id for row in rows},
        expires_at__gt=now,
        validated_at__lte=now,
    ).values_list("domain__organisation_id", "domain__adn", "expires_at"):
        others.setdefault(organisation_id, []).append((adn, end))
    return [
        (row, row.until)
        for row in rows
        if not any(
            end > row.until and is_under(row.adn, adn) for adn, end in others.get(row.organisation_id, [])
        )
    ]


def _due(*, now: datetime) -> Iterator[tuple[Domain, datetime, int]]:
    """Each domain and end of its proof for which a step has been reached, in days."""
    for domain, until in _lapsing(now=now):
        if (days := step_of(expires_at=until, now=now)) is not None:
            yield domain, until, days


def _deed(due: tuple[Domain, datetime, int]) -> audit.Deed:
    """`step` tells it from those of other steps and proofs."""
    domain, until, days = due
    end = until.isoformat()
    data = {"adn": domain.adn, "expires_at": end, "days": days, "step": f"{end} -{days}"}
    return audit.Deed(REMINDED, "domain", domain.pk, domain.organisation_id, data)


def _audiences(domain_id: int, until: datetime) -> tuple[Audience, ...]:
    """Officers are told of what they checked themselves."""
    by_hand = ValidationRecord.objects.filter(
        domain_id=domain_id, expires_at=until, method=Method.MANUAL_OWNERSHIP
    )
    return tuple(Audience) if by_hand.exists() else (Audience.ORGANISATION,)


def people_of(domain: Domain) -> list[str]:
    """The mailboxes of the organisation's managers; without any, of its applicants."""
    members = Membership.objects.filter(
        organisation_id=domain.organisation_id, is_active=True, user__is_active=True
    ).exclude(user__email="")
    managers = _addresses(members.filter(role=OrgRole.MANAGER).values_list("user__email", flat=True))
    return managers or _addresses(members.values_list("user__email", flat=True))


def _addresses(found: Iterable[str]) -> list[str]:
    return sorted(dict.fromkeys(found))
