"""Who sees and who looks after ACME credentials, asked across a person's organisations."""

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.requests import OrganisationId


def may_manage_any(actor: Actor) -> bool:
    """Whether there is any organisation whose credentials the actor looks after."""
    own = actor.organisation_ids
    return can(actor, Action.ACME_MANAGE) or any(
        can(actor, Action.ACME_MANAGE, organisation_id=one) for one in own
    )


def may_read_any(actor: Actor) -> bool:
    """Whether there is any organisation whose credentials the actor sees."""
    own = actor.organisation_ids
    return can(actor, Action.ACME_READ) or any(
        can(actor, Action.ACME_READ, organisation_id=one) for one in own
    )


def may_manage(actor: Actor, organisation_id: OrganisationId) -> bool:
    """Whether the actor looks after this organisation's credentials and accounts."""
    return can(actor, Action.ACME_MANAGE, organisation_id=organisation_id)
