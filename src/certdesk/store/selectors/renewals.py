"""What an operator's renewal advice is about (RFC 9773): certificates in use by issuer, profile and key."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q, QuerySet

from certdesk.domain.actors import Action, Actor, require
from certdesk.domain.errors import NotFound
from certdesk.store.copied import copied
from certdesk.store.models import Certificate, RenewalAdvice

#: Keys that serve several certificates are worth a line each; of single ones there is no end.
KEYS_SHOWN = 10
ADVICE_SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """So many certificates that have one thing in common."""

    value: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InUse:
    """Certificates that are neither expired nor revoked. `keys` are those of more than one certificate."""

    total: int
    issuers: tuple[Group, ...]
    profiles: tuple[Group, ...]
    keys: tuple[Group, ...]
    organisations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AdviceRow:
    """An advice; `withdrawn_at` ends it. `certificates` counts those in use that it is about."""

    id: int
    issuer: str
    profile_id: str
    spki_sha256: str
    starts_at: datetime
    ends_at: datetime
    reason: str
    explanation_url: str
    by: str
    at: datetime
    withdrawn_at: datetime | None
    certificates: int

    def is_over(self, *, now: datetime) -> bool:
        """Whether it holds no more."""
        return self.withdrawn_at is not None or self.ends_at <= now


def certificates_in_use(
    *, actor: Actor, issuer: str = "", profile_id: str = "", spki_sha256: str = "", now: datetime
) -> InUse:
    """Those that fit every part that is given. For operators; raises NotFound for everybody else."""
    require(actor, Action.SERVICE_OPERATE, "There is nothing here.", refuse=NotFound)
    found = _in_use(issuer=issuer, profile_id=profile_id, spki_sha256=spki_sha256, now=now)
    return InUse(
        total=found.count(),
        issuers=_groups(found, "issuer"),
        profiles=_groups(found, "request__profile_id"),
        keys=tuple(one for one in _groups(found, "spki_sha256", limit=KEYS_SHOWN) if one.count > 1),
        organisations=found.order_by().values("request__organisation_id").distinct().count(),
    )


def list_advice(*, actor: Actor, now: datetime) -> list[AdviceRow]:
    """The newest advice. For operators; raises NotFound for everybody else."""
    require(actor, Action.SERVICE_OPERATE, "There is nothing here.", refuse=NotFound)
    return [_advice(row, now=now) for row in RenewalAdvice.objects.order_by("-id")[:ADVICE_SHOWN]]


def _in_use(*, issuer: str, profile_id: str, spki_sha256: str, now: datetime) -> QuerySet[Certificate]:
    wanted: Mapping[str, str] = {
        "issuer": issuer,
        "request__profile_id": profile_id,
        "spki_sha256": spki_sha256,
    }
    given = {name: value for name, value in wanted.items() if value}
    return Certificate.objects.filter(withheld=False, revoked_at__isnull=True, not_after__gt=now, **given)


def _groups(found: QuerySet[Certificate], column: str, *, limit: int | None = None) -> tuple[Group, ...]:
    counted = found.order_by().values(column).annotate(count=Count("id")).order_by("-count", column)
    return tuple(Group(value=row[column], count=row["count"]) for row in counted[:limit])


def _advice(row: RenewalAdvice, *, now: datetime) -> AdviceRow:
    about = _in_use(
        issuer=row.issuer, profile_id=row.profile_id, spki_sha256=row.spki_sha256, now=now
    ).filter(Q(created_at__lt=row.issued_before))
    if row.certificate_id is not None:
        about = about.filter(id=row.certificate_id)
    over = row.withdrawn_at is not None or row.ends_at <= now
    return copied(AdviceRow, row, certificates=0 if over else about.count())
