"""Ending a validation record: by whom, why, and what it takes with it. Nothing is deleted."""

from datetime import datetime

from django.db.models import Q

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.errors import InvalidInput, NotAuthorized, NotFound, StateConflict
from certdesk.domain.issuing.states import OrganisationId
from certdesk.domain.validation.deadlines import PERSISTENT_METHODS
from certdesk.services.people.permissions import acting
from certdesk.services.system.text_input import storable
from certdesk.services.validation.by_email import audit_domain, tell_waiting
from certdesk.store.models import (
    AcmeAuthorization,
    ChallengeOutcome,
    EmailChallenge,
    MethodChallenge,
    PersistentRecord,
    ValidationRecord,
)

MAX_REASON = 500
OVER = "This validation has lapsed, or was ended already."


def end_validation(*, actor: Actor, domain_id: int, record_id: int, reason: str, now: datetime) -> None:
    """Ends a proof: from this moment it proves nothing, wherever it was relied on. Who and why stay with it.

    What was asked for the domain before and not confirmed yet ends too. Proofs by a persistent DNS record are
    one proof renewed: they end together, and the record is no longer watched. What a public CA says of its
    own validation is left as it is.

    Raises InvalidInput without a reason, NotFound for a foreign or missing record, NotAuthorized,
    StateConflict for one that has lapsed or was ended.
    """
    row = ValidationRecord.objects.select_related("domain").filter(id=record_id, domain_id=domain_id).first()
    organisation_id = OrganisationId(row.domain.organisation_id) if row else None
    if row is None or not can(actor, Action.DOMAIN_READ, organisation_id=organisation_id):
        raise NotFound("There is no such validation.")
    if not can(actor, Action.VALIDATION_END, organisation_id=organisation_id):
        raise NotAuthorized("Only managers of the organisation and RA officers end a validation.")
    reason = storable(reason, field="reason", limit=MAX_REASON)
    if not reason:
        raise InvalidInput("Say why the validation ends.", {"reason": "Say why; it is shown."})
    with acting(actor, Action.VALIDATION_END, row.domain.organisation_id):
        same = Q(id=row.pk)
        if row.method in PERSISTENT_METHODS:
            same |= Q(domain_id=domain_id, method__in=PERSISTENT_METHODS)
        ended = list(ValidationRecord.objects.filter(same, end_reason="", expires_at__gt=now))
        if row.pk not in {one.pk for one in ended}:
            raise StateConflict(OVER)
        domain = row.domain
        for one in ended:
            # The record's end comes forward, which every read honours, and so does that of what copied it.
            if not ValidationRecord.objects.filter(id=one.pk, end_reason="").update(
                expires_at=now, ended_by_id=actor.user_id, end_reason=reason
            ):
                raise StateConflict(OVER)
            AcmeAuthorization.objects.filter(
                Q(name=domain.adn) | Q(name__endswith=f".{domain.adn}"),
                order__account__organisation_id=domain.organisation_id,  # its accounts are in an index
                valid_until=one.expires_at,
            ).update(valid_until=now)
            noted = {"method": one.method, "record": one.pk, "counted_until": one.expires_at.isoformat()}
            audit_domain(domain, "domain.end_validation", actor=actor, now=now, **noted, reason=reason)
        # Somebody who still wants the domain proven asks again: what was asked before the end proves nothing.
        asked = {"domain_id": domain_id, "outcome": ChallengeOutcome.OPEN}
        over = {"outcome": ChallengeOutcome.CANCELLED, "ended_at": now}
        EmailChallenge.objects.filter(**asked).update(**over)
        MethodChallenge.objects.filter(**asked).update(**over, next_look_at=None)
        watched = PersistentRecord.objects.filter(domain_id=domain_id, stopped_at__isnull=True)
        if row.method not in PERSISTENT_METHODS:
            watched = watched.filter(seen_at__isnull=True)
        watched.update(stopped_at=now, next_look_at=None)
        tell_waiting(OrganisationId(row.domain.organisation_id), now=now)
