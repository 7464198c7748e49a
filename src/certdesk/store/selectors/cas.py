"""What is known of each CA without asking it: its last report, how long it takes, what it refused last."""

import base64
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from django.db.models.aggregates import Max

from certdesk.domain.actors import Action, Actor, require
from certdesk.domain.errors import NotFound
from certdesk.domain.findings import Check, from_record
from certdesk.domain.issuing.states import Work
from certdesk.store.models import CaReport, Certificate, Issuance, Revocation
from certdesk.store.selectors.waiting import REACH

#: Certificates of which it is told how long they took.
SAMPLE = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class CaSaid:
    """A CA's newest report of itself."""

    at: datetime
    took_ms: int
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaSeen:
    """One CA. `took` are the newest certificates, oldest first: when each came, and how long it had taken.

    `chain` is what stands above the newest certificate, lowest first: name and last day. `refused` is the
    newest issuance that came to nothing: its number, when, and why.
    """

    name: str
    said: CaSaid | None
    took: tuple[tuple[datetime, timedelta], ...]
    waiting: int
    chain: tuple[tuple[str, datetime], ...]
    refused: tuple[int, datetime | None, str] | None


def newest_reports(names: Collection[str]) -> dict[str, CaSaid]:
    """The newest report of each of these CAs that has been asked, by its name."""
    known = CaReport.objects.filter(backend__in=names)
    newest = known.values("backend").annotate(newest=Max("id")).values("newest")
    return {
        row.backend: CaSaid(at=row.at, took_ms=row.took_ms, checks=tuple(map(from_record, row.checks)))
        for row in CaReport.objects.filter(id__in=newest)
    }


def cas_seen(*, actor: Actor, names: Sequence[str]) -> list[CaSeen]:
    """What is known of these CAs, for operators. Raises NotFound for others."""
    require(actor, Action.SERVICE_OPERATE, "There is no such page.", refuse=NotFound)
    said = newest_reports(names)
    first = (Issuance.objects.aggregate(newest=Max("id"))["newest"] or 0) - REACH
    return [_seen(name, said.get(name), first=first) for name in names]


def cas_gone(*, actor: Actor, names: Sequence[str]) -> list[tuple[str, int, int]]:
    """CAs other than these that something waits for: name, issuances, revocations.

    Raises NotFound for anybody but operators. What a CA was asked for stays with it, also when it is no
    longer set up, or under another name.
    """
    require(actor, Action.SERVICE_OPERATE, "There is no such page.", refuse=NotFound)
    asked = Issuance.objects.filter(next_attempt_at__isnull=False).exclude(state=Work.WAITING)
    revoked = Revocation.objects.filter(next_attempt_at__isnull=False)
    issuances = Counter(asked.exclude(backend__in=names).values_list("backend", flat=True))
    field = "certificate__issuance__backend"
    revocations = Counter(revoked.exclude(**{f"{field}__in": names}).values_list(field, flat=True))
    return [(name, issuances[name], revocations[name]) for name in sorted({*issuances, *revocations})]


def _seen(name: str, said: CaSaid | None, *, first: int) -> CaSeen:
    lately = Issuance.objects.filter(id__gt=first, backend=name).order_by("-id")
    issued = list(lately.filter(state=Work.ISSUED).values_list("id", "claimed_at", "ended_at")[:SAMPLE])
    chains = Certificate.objects.filter(issuance_id=issued[0][0]) if issued else Certificate.objects.none()
    refused = lately.filter(state=Work.REFUSED).values_list("request_id", "ended_at", "detail").first()
    return CaSeen(
        name=name,
        said=said,
        took=tuple((ended, ended - claimed) for _id, claimed, ended in reversed(issued) if claimed and ended),
        waiting=lately.filter(state__in=(Work.CLAIMED, Work.SUBMITTED)).count(),
        chain=tuple(map(_named, chains.values_list("issuer_chain__certificates", flat=True).first() or ())),
        refused=refused,
    )


def _named(encoded: str) -> tuple[str, datetime]:
    above = x509.load_der_x509_certificate(base64.b64decode(encoded))
    names = above.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else above.subject.rfc4514_string(), above.not_valid_after_utc
