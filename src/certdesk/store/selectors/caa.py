"""What CAA records were found to say of the names of a request, and of those of a domain."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Max, Q

from certdesk.domain.actors import Actor
from certdesk.domain.policy.limits import CaaAnswer
from certdesk.domain.validation.caa import Code
from certdesk.store.copied import copied
from certdesk.store.models import CaaCheck
from certdesk.store.selectors.requests import RequestDetail
from certdesk.store.selectors.validation import visible_domain

#: Names of one domain that are shown, those looked up last.
NAMES_SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CaaRow:
    """The newest answer about a name. `found_at` is whose records decided, empty where none exist.

    `servers` are those that answered along the climb, in that order, and `authenticated` says whether DNSSEC
    vouches for every one of these answers. `request` is what it was looked up for; None: an ACME order.
    """

    name: str
    allowed: bool
    code: str
    detail: str
    found_at: str
    records: tuple[str, ...]
    to_add: str
    servers: tuple[str, ...]
    authenticated: bool
    issuers: tuple[str, ...]
    request: int | None
    at: datetime


def stored_answers(*, request_id: int, since: datetime) -> dict[str, tuple[Mapping[str, object], CaaAnswer]]:
    """The newest answer about each name of a request that is not older than `since`, each with the question
    that it was given to: issuers, account, validation method.
    """
    rows = CaaCheck.objects.filter(request_id=request_id, at__gte=since).order_by("id")
    return {
        row.name: (
            row.question,
            CaaAnswer(
                name=row.name,
                permits=row.allowed,
                answered=Code(row.code).is_answer,
                detail=str(row.evidence["detail"]),
                found=tuple(row.records),
                to_add=str(row.evidence["to_add"]),
                at=row.at,
            ),
        )
        for row in rows
    }


def caa_of_domain(*, actor: Actor, domain_id: int) -> list[CaaRow]:
    """The newest answer about each name at or below a domain, for its organisation, newest first.

    Raises NotFound for a foreign or missing domain.
    """
    domain = visible_domain(actor=actor, domain_id=domain_id)
    below = Q(name=domain.adn) | Q(name__endswith=f".{domain.adn}")  # wildcards are below
    newest = (
        CaaCheck.objects.filter(below, organisation_id=domain.organisation_id)
        .values("name")
        .annotate(newest=Max("id"))
        .order_by("-newest")
    )
    return _rows(row["newest"] for row in newest[:NAMES_SHOWN])


def caa_of_request(shown: RequestDetail) -> list[CaaRow]:
    """The newest answer about each name looked up for a request (one that may be shown), newest first."""
    newest = CaaCheck.objects.filter(request_id=shown.number).values("name").annotate(newest=Max("id"))
    return _rows(row["newest"] for row in newest)


def _rows(ids: Iterable[int]) -> list[CaaRow]:
    return [_row(row) for row in CaaCheck.objects.filter(id__in=list(ids)).order_by("-at", "name")]


def _row(row: CaaCheck) -> CaaRow:
    looked = row.evidence["looked"]
    return copied(
        CaaRow,
        row,
        detail=str(row.evidence["detail"]),
        records=tuple(row.records),
        to_add=str(row.evidence["to_add"]),
        servers=tuple(dict.fromkeys(look["server"] for look in looked if look["server"])),
        authenticated=all(look["authenticated"] for look in looked),
        issuers=tuple(row.question["issuers"]),
        request=row.request_id,
    )
