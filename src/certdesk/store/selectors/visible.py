"""What an actor may see, as a condition: the same for every list."""

from django.db.models import Q

from certdesk.domain.actors import Action, Actor, can


def visible(actor: Actor, action: Action, *, organisation: str = "organisation_id") -> Q:
    """Everything for whom the action is allowed everywhere, else what is of the organisations that allow it.

    `organisation` is the column with its number.
    """
    if can(actor, action):
        return Q()
    own = [o for o in actor.organisation_ids if can(actor, action, organisation_id=o)]
    # One organisation is the common case, and `=` lets the database walk the index in order.
    return Q(**{organisation: own[0]}) if len(own) == 1 else Q(**{f"{organisation}__in": own})
