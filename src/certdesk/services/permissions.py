"""Permissions judged again, in the transaction that acts on them: they may have been withdrawn meanwhile."""

from certdesk.domain.actors import Action, can
from certdesk.domain.errors import NotAuthorized, StateConflict
from certdesk.domain.requests import OrganisationId
from certdesk.store.selectors.facts import organisation_row
from certdesk.store.selectors.people import person_now


def refuse_withdrawn(organisation_id: int, *people: int | None, action: Action = Action.DOMAIN_ASK) -> None:
    """Passes where the organisation is active and these people may still act for it; None is no person.

    To be called under the organisation's lock, before anything is written. Raises StateConflict for a
    disabled organisation, NotAuthorized for a person who may no longer do this.
    """
    if not organisation_row(OrganisationId(organisation_id)).is_active:
        raise StateConflict("This organisation is disabled: nothing is validated for it.")
    refuse_former(organisation_id, *people, action=action)


def refuse_former(organisation_id: int, *people: int | None, action: Action) -> None:
    """Raises NotAuthorized where one of these people may no longer do this for the organisation.

    To be called under its lock: a role that was read before may have been taken away since.
    """
    for person in {one for one in people if one is not None}:
        now = person_now(person)
        if now is None or not can(now, action, organisation_id=OrganisationId(organisation_id)):
            raise NotAuthorized("The person who asked for this may no longer act for the organisation.")
