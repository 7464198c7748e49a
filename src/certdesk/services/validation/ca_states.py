"""What public CAs say of their own validation of a domain: kept beside ours, never taken for it (BR 1.3.2).

A public CA does its own validation; our record is only a gate before it. Back ends report what their CA says,
and an officer can note what stands in a CA's own portal.
"""

from datetime import datetime

from certdesk.domain.actors import Action, Actor, require
from certdesk.domain.errors import InvalidInput, existing
from certdesk.services.system.text_input import storable
from certdesk.services.validation.by_email import audit_domain
from certdesk.store.db import write_transaction
from certdesk.store.models import CaValidation, Domain

MAX_CA_NAME = 64


def note_ca_state(
    *, actor: Actor, domain_id: int, ca: str, valid_until: datetime | None, detail: str = "", now: datetime
) -> None:
    """Keeps what a CA says of a domain now; None: it is not validated there.

    Raises InvalidInput, NotAuthorized for anybody but officers and the system, NotFound.
    """
    require(actor, Action.DOMAIN_VALIDATE, "Only an RA officer notes what a CA says.")
    name = " ".join(storable(ca, field="ca", limit=MAX_CA_NAME).split())
    detail = storable(detail, field="detail", limit=200)
    if not name:
        raise InvalidInput("Say which CA.", {"ca": "Write the name of the CA."})
    domain = existing(Domain.objects.filter(id=domain_id).first(), "There is no such domain.")
    with write_transaction():
        CaValidation.objects.create(
            domain=domain,
            ca=name,
            valid_until=valid_until,
            detail=detail,
            heard_from=actor.label,
            heard_at=now,
        )
        until = valid_until.isoformat() if valid_until else None
        audit_domain(domain, "domain.ca_state", actor=actor, now=now, ca=name, valid_until=until)
