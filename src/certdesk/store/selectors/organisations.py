"""Organisations and their domains, as an actor may see them."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, OuterRef, Q, QuerySet

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.errors import NotFound, existing
from certdesk.domain.issuing.states import OrganisationId
from certdesk.domain.validation.evidence import METHODS, Method
from certdesk.store.copied import copied
from certdesk.store.models import AuditEvent, Domain, Organisation, ValidationRecord
from certdesk.store.selectors.visible import visible


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganisationRow:
    """An organisation in a list or on its page."""

    id: OrganisationId
    slug: str
    legal_name: str
    country: str
    locality: str
    vetted_at: datetime | None
    first_approved_at: datetime | None
    is_active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganisationEvent:
    """What the RA did about an organisation; `data` is as the audit log has it."""

    action: str
    actor: str
    at: datetime
    data: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationRow:
    """One proof of control of a domain; the last two are empty unless somebody ended it, at `expires_at`."""

    id: int
    method: str
    source: str
    evidence: dict[str, object]
    validated_by: str
    validated_at: datetime
    expires_at: datetime
    ended_by: str
    end_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainRow:
    """A domain of an organisation with its proofs, newest first."""

    id: int
    adn: str
    organisation_id: OrganisationId
    validations: tuple[ValidationRow, ...]

    def is_validated(self, *, now: datetime) -> bool:
        """Whether any proof is current."""
        return any(v.validated_at <= now < v.expires_at for v in self.validations)

    @property
    def expires_at(self) -> datetime | None:
        """When the longest-lasting proof lapses."""
        return max((v.expires_at for v in self.validations), default=None)


def list_organisations(*, actor: Actor, query: str = "", limit: int = 200) -> list[OrganisationRow]:
    """The organisations that the actor may see, by name."""
    found = _seen_by(actor)
    if not query.isprintable():  # no name holds such a character, and no database takes all of them
        return []
    if query:
        found = found.filter(Q(legal_name__icontains=query) | Q(slug__icontains=query))
    return [copied(OrganisationRow, row) for row in found.order_by("legal_name")[:limit]]


def get_organisation(*, actor: Actor, slug: str) -> OrganisationRow:
    """One organisation. Raises NotFound for a foreign or missing one."""
    row = _seen_by(actor).filter(slug=slug).first() if slug.isprintable() else None
    return copied(OrganisationRow, existing(row, "There is no such organisation."))


def list_domains(*, actor: Actor, organisation_id: OrganisationId | None = None) -> list[DomainRow]:
    """The domains that the actor may see, with every proof. Raises NotFound for a foreign organisation."""
    found = Domain.objects.filter(visible(actor, Action.DOMAIN_READ))
    if organisation_id is not None:
        if not can(actor, Action.DOMAIN_READ, organisation_id=organisation_id):
            raise NotFound("There is no such organisation.")
        found = found.filter(organisation_id=organisation_id)
    rows = list(found.order_by("adn", "id")[:1000])
    proofs: dict[int, list[ValidationRow]] = {row.pk: [] for row in rows}
    for record in (
        ValidationRecord.objects.filter(domain__in=rows)
        .select_related("validated_by", "ended_by")
        .order_by("-validated_at", "-id")
    ):
        proofs[record.domain_id].append(
            copied(
                ValidationRow,
                record,
                method=METHODS[Method(record.method)].title,
                evidence=dict(record.evidence),
                validated_by=record.validated_by.username if record.validated_by else "",
                ended_by=record.ended_by.username if record.ended_by else "",
            )
        )
    return [copied(DomainRow, row, validations=tuple(proofs[row.pk])) for row in rows]


def validated_domains(organisation_id: OrganisationId, *, most: int, now: datetime) -> list[str]:
    """The first domains of an organisation, by name, that somebody's proof holds for now."""
    proofs = ValidationRecord.objects.filter(domain=OuterRef("pk"), validated_at__lte=now, expires_at__gt=now)
    found = Domain.objects.filter(Exists(proofs), organisation_id=organisation_id)
    return list(found.order_by("adn").values_list("adn", flat=True)[:most])


#: What the RA does about an organisation as such.
DEEDS = ("create", "vet", "rename", "disable", "enable")


def organisation_history(*, actor: Actor, organisation_id: OrganisationId) -> list[OrganisationEvent]:
    """What the RA did and on which evidence, newest first; nothing for whoever may not vet or audit."""
    if not (can(actor, Action.ORGANISATION_VET) or can(actor, Action.AUDIT_READ)):
        return []
    found = AuditEvent.objects.filter(
        object_type="organisation",
        object_id=str(organisation_id),
        action__in=[f"organisation.{deed}" for deed in DEEDS],
    )
    return [
        copied(OrganisationEvent, row, action=row.action.removeprefix("organisation."))
        for row in found.order_by("-seq")
    ]


def _seen_by(actor: Actor) -> QuerySet[Organisation]:
    return Organisation.objects.filter(visible(actor, Action.ORGANISATION_READ, organisation="id"))
