"""Past requests with what was stored about their decision, as a stream, for whoever runs the service.

Reads no CSR: what policy decided on was stored beside it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, cast

from django.db.models import OuterRef, Subquery, Value
from django.db.models.functions import Coalesce

from certdesk.domain.actors import Action, Actor, require
from certdesk.domain.errors import NotFound
from certdesk.domain.evidence import Method, Validation
from certdesk.store.models import Issuance, Organisation, Request, ValidationRecord

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
