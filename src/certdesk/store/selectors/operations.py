"""What those who run the service see: work in the background, past decisions, certificates in use.

Of the work, counts and ages, never what a job is about. Past requests come as a stream, and no CSR is read:
what policy decided on was stored beside it. Renewal advice (RFC 9773) is about certificates by issuer,
profile and key.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, cast
from uuid import UUID

from django.db.models import Count, Min, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django_tasks.base import TaskResultStatus
from django_tasks_db.models import DBTaskResult

from certdesk.domain.actors import Action, Actor, require
from certdesk.domain.errors import NotFound
from certdesk.domain.validation.evidence import Method, Validation
from certdesk.store.copied import copied
from certdesk.store.models import (
    Certificate,
    Issuance,
    Organisation,
    RenewalAdvice,
    Request,
    ValidationRecord,
)

LISTED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Work of one kind that is due now, and since when the oldest of it is."""

    due: int
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedJob:
    """A job that was given up. `reason` is the class of the last error: its text may name people."""

    id: UUID
    name: str
    tries: int
    failed_at: datetime | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """How the work in the background stands."""

    issuances: Backlog
    jobs: Backlog
    jobs_retrying: int
    jobs_failed: int
    failed: tuple[FailedJob, ...]


def operations(*, actor: Actor, now: datetime) -> Operations:
    """How the work stands, for operators. Raises NotFound for others."""
    require(actor, Action.SERVICE_OPERATE, "There is no such page.", refuse=NotFound)
    ready = DBTaskResult.objects.filter(status=TaskResultStatus.READY)
    failed = DBTaskResult.objects.filter(status=TaskResultStatus.FAILED)
    issuances = Issuance.objects.filter(next_attempt_at__lte=now).aggregate(
        due=Count("id"), oldest_at=Min("next_attempt_at")
    )
    jobs = ready.filter(run_after__lte=now).aggregate(due=Count("id"), oldest_at=Min("run_after"))
    return Operations(
        issuances=Backlog(**issuances),
        jobs=Backlog(**jobs),
        jobs_retrying=ready.filter(run_after__gt=now).exclude(exception_class_path="").count(),
        jobs_failed=failed.count(),
        failed=tuple(
            FailedJob(
                id=job.id,
                name=job.task_path.rpartition(".")[2],
                tries=len(job.worker_ids),
                failed_at=job.finished_at,
                reason=job.exception_class_path.rpartition(".")[2] or "worker ended",
            )
            for job in failed.order_by("-finished_at")[:LISTED]
        ),
    )


#: Rows fetched at once: enough to make the round trips cheap, few enough to keep memory flat.
CHUNK = 2000


class PastRequest(NamedTuple):
    """One stored request; but for the number, its fields are columns."""

    number: int
    organisation_id: int
    names: list[str]
    key: str
    duration_years: int
    server_software: str
    profile_id: str
    profile_version: int
    created_at: datetime
    checks: list[dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PastOrganisation:
    """An organisation and every proof that it ever had, by authorisation domain name."""

    id: int
    slug: str
    legal_name: str
    proofs: dict[str, list[Validation]] = field(default_factory=dict)


def past_requests(*, actor: Actor, since: datetime) -> Iterator[PastRequest]:
    """Every request made since then, oldest first. Raises NotFound for whoever does not run the service."""
    require(actor, Action.SERVICE_OPERATE, "There is no such list.", refuse=NotFound)
    keys = (
        Issuance.objects.filter(request=OuterRef("pk"), order__isnull=True).order_by("id").values("key")[:1]
    )
    found = Request.objects.filter(created_at__gte=since).annotate(key=Coalesce(Subquery(keys), Value("")))
    found = found.order_by("id").values_list("id", *PastRequest._fields[1:])
    return (PastRequest._make(cast("tuple[Any, ...]", row)) for row in found.iterator(chunk_size=CHUNK))


def past_organisations(*, actor: Actor) -> Mapping[int, PastOrganisation]:
    """Every organisation with its proofs, lapsed ones included. Raises as `past_requests` does."""
    require(actor, Action.SERVICE_OPERATE, "There is no such list.", refuse=NotFound)
    found = {
        pk: PastOrganisation(id=pk, slug=slug, legal_name=name)
        for pk, slug, name in Organisation.objects.values_list("id", "slug", "legal_name")
    }
    records = ValidationRecord.objects.values_list(
        "domain__organisation_id", "domain__adn", "method", "validated_at", "expires_at"
    )
    for organisation_id, adn, method, start, end in records.iterator(chunk_size=CHUNK):
        proof = Validation(adn=adn, method=Method(method), validated_at=start, expires_at=end)
        found[organisation_id].proofs.setdefault(adn, []).append(proof)
    return found


def unknown_slugs(*, actor: Actor, slugs: Iterable[str]) -> list[str]:
    """Those that name no organisation, in their order. Raises as `past_requests` does."""
    require(actor, Action.SERVICE_OPERATE, "There is no such list.", refuse=NotFound)
    asked = list(slugs)
    known = set(Organisation.objects.filter(slug__in=asked).values_list("slug", flat=True))
    return [slug for slug in asked if slug not in known]


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
