"""Warnings about proofs before anything lapses: vanished records, challenges that end, methods that end.

Each is told once: the audit event, in the transaction that queues the mail, remembers it. Lapsing proofs have
`services.validation.reminders`.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from django.db.models import OuterRef, QuerySet, Subquery

from certdesk.domain.validation.deadlines import EMAIL_METHODS, date_words, method_ends_at
from certdesk.domain.validation.evidence import METHODS, Method
from certdesk.services.mail.compose import letter, prose, quoted, section
from certdesk.services.system import runtime
from certdesk.services.validation.persistent import record_for
from certdesk.services.validation.reminders import people_of
from certdesk.store import audit
from certdesk.store.apart import apart
from certdesk.store.models import (
    ChallengeOutcome,
    Domain,
    MethodChallenge,
    Organisation,
    PersistentRecord,
    ValidationRecord,
)
from certdesk.store.once import tell_once

log = structlog.get_logger()

#: Days before public CAs stop accepting e-mail at which an organisation that relies on it is told.
SUNSET_STEPS = (7, 30, 90, 180)
SUNSET_TOLD = "organisation.warn_sunset"
#: A challenge of 30 days that nobody has met is called to mind this long before its end.
UNPROVEN_BEFORE = timedelta(days=3)
UNPROVEN_TOLD = "domain.warn_unproven"
NAMES_IN_A_MAIL = 30


def warn_ahead(*, now: datetime) -> None:
    """Queues what people have to be told now and have not been told yet."""
    apart([_warn_of_unproven, _warn_of_sunset], lambda steps: [step(now=now) for step in steps])


def sunset_step(*, now: datetime) -> int | None:
    """The step before the end of e-mail validation that has been reached; None before the first and after."""
    ends = method_ends_at(Method.EMAIL_CONSTRUCTED)
    if ends is None or ends <= now:
        return None
    return next((days for days in SUNSET_STEPS if ends - now <= timedelta(days=days)), None)


def mail_vanished(*, domain_id: int, missing_since: datetime, now: datetime) -> bool:
    """Tells managers and whoever asked; False when the record is back, or nobody has a mailbox."""
    row = (
        PersistentRecord.objects.select_related("domain__organisation", "asked_by")
        .filter(domain_id=domain_id, missing_since=missing_since, stopped_at__isnull=True)
        .first()
    )
    if row is None:
        return False
    rt, domain = runtime.newest(), row.domain
    record = record_for(domain, wildcard=row.wildcard)
    until = ValidationRecord.objects.filter(domain=domain, expires_at__gt=now).order_by("-expires_at").first()
    lapses = (
        f"The validation still counts until {until.expires_at:%-d %B %Y at %H:%M} UTC, and is not extended."
        if until
        else "The domain is no longer validated: new requests for it wait."
    )
    blocks = (
        prose(f"The persistent DNS record of {domain.adn} was there, and is gone."),
        prose(f"{lapses} Please have it published again, in one line:"),
        record.line,
        "If it was taken away on purpose, stop the watch on the domain's page:",
        f"{rt.base_url}/domains/{domain.pk}/",
        f"Organisation: {domain.organisation.legal_name}",
    )
    to = {*people_of(domain), row.asked_by.email if row.asked_by.is_active else ""} - {""}
    return _send(f"The persistent DNS record of {domain.adn} has vanished", blocks, to=to, about=domain.pk)


def mail_unproven(*, challenge_id: int, now: datetime) -> bool:
    """Tells whoever asked; False when it was met, cancelled, or has ended."""
    row = (
        MethodChallenge.objects.select_related("domain__organisation", "asked_by")
        .filter(id=challenge_id, outcome=ChallengeOutcome.OPEN, expires_at__gt=now)
        .first()
    )
    if row is None:
        return False
    rt, last = runtime.newest(), row.attempts.order_by("-id").first()
    blocks = (
        prose(
            f"You asked to prove control of {row.domain.adn} ({METHODS[Method(row.method)].title}). Nothing "
            f"was found yet, and the challenge ends on {row.expires_at:%-d %B %Y at %H:%M} UTC."
        ),
        "What to publish, and a button that looks at once, are here:",
        f"{rt.base_url}/domains/{row.domain_id}/",
        section("The last look", last.detail if last else ""),
        f"Organisation: {row.domain.organisation.legal_name}",
    )
    to = {row.asked_by.email if row.asked_by.is_active else ""} - {""}
    subject = f"{row.domain.adn} is not proven yet, and the challenge ends soon"
    return _send(subject, blocks, to=to or set(people_of(row.domain)), about=row.domain_id)


def mail_sunset(*, organisation_id: int, now: datetime) -> bool:
    """Tells managers which domains rest on e-mail, and until when public CAs accept that."""
    found = list(_on_email(now=now).filter(organisation_id=organisation_id).order_by("adn"))
    ends = method_ends_at(Method.EMAIL_CONSTRUCTED)
    if not found or ends is None:
        return False
    rt, more = runtime.newest(), len(found) - NAMES_IN_A_MAIL
    names = [domain.adn for domain in found[:NAMES_IN_A_MAIL]] + ([f"and {more} more"] if more > 0 else [])
    blocks = (
        prose(
            f"On {date_words(ends)} public CAs stop accepting validation by e-mail, and what was proven "
            "by e-mail before stops counting for them on the same day (BR 3.2.2.4.4)."
        ),
        prose(f"These domains of {found[0].organisation.legal_name} rest on e-mail:"),
        quoted("\n".join(names)),
        "What to do: publish a persistent DNS record for each, once. The list shows how:",
        f"{rt.base_url}/domains/?state=sunset",
        "For private CAs nothing changes.",
    )
    subject = f"Validation by e-mail ends for public CAs on {date_words(ends)}"
    return _send(subject, blocks, to=set(people_of(found[0])), about=found[0].pk)


def _warn_of_unproven(*, now: datetime) -> None:
    """Of challenges that nobody has met and that end soon."""
    soon = MethodChallenge.objects.filter(
        outcome=ChallengeOutcome.OPEN, expires_at__gt=now, expires_at__lte=now + UNPROVEN_BEFORE
    ).select_related("domain")

    def deed(row: MethodChallenge) -> audit.Deed:
        data = {"adn": row.adn, "method_challenge": row.pk}
        return audit.Deed(UNPROVEN_TOLD, "domain", row.domain_id, row.domain.organisation_id, data)

    tell_once(
        lambda: soon.order_by("expires_at"),
        deed,
        lambda told: [("mail_unproven", {"challenge_id": one.data["method_challenge"]}) for one in told],
        by="method_challenge",
        now=now,
    )


def _warn_of_sunset(*, now: datetime) -> None:
    """Has organisations with proofs by e-mail told, once a step before its end has been reached."""
    step = sunset_step(now=now)
    if step is None:
        return
    found = _on_email(now=now).order_by("organisation_id").values_list("organisation_id", flat=True)
    tell_once(
        found.distinct,
        lambda number: audit.Deed(SUNSET_TOLD, "organisation", number, number, {"days": step}),
        lambda told: [("mail_sunset", {"organisation_id": one.organisation_id}) for one in told],
        by="days",
        now=now,
    )


def _on_email(*, now: datetime) -> QuerySet[Domain]:
    """Domains whose proof that lasts longest came by e-mail."""
    longest = ValidationRecord.objects.filter(
        domain=OuterRef("pk"), validated_at__lte=now, expires_at__gt=now
    ).order_by("-expires_at", "-id")
    active = Organisation.objects.filter(is_active=True)
    return (
        Domain.objects.filter(organisation__in=active)
        .annotate(longest_method=Subquery(longest.values("method")[:1]))
        .filter(longest_method__in=[method.value for method in EMAIL_METHODS])
        .select_related("organisation")
    )


def _send(subject: str, blocks: Sequence[str], *, to: set[str], about: int) -> bool:
    if not to:
        log.error("domains.warning_untold", domain=about)
        return False
    letter(subject=subject, blocks=blocks, to=sorted(to)).send()
    return True
