"""Who sees and who looks after ACME credentials, asked across a person's organisations."""

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.issuing.states import OrganisationId


def may_anywhere(actor: Actor, action: Action) -> bool:
    """Whether the actor may do something with the credentials of any organisation."""
    own = actor.organisation_ids
    return can(actor, action) or any(can(actor, action, organisation_id=one) for one in own)


def may_manage(actor: Actor, organisation_id: OrganisationId) -> bool:
    """Whether the actor looks after this organisation's credentials and accounts."""
    return can(actor, Action.ACME_MANAGE, organisation_id=organisation_id)
