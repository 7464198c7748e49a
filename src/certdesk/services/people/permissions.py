"""Permissions judged again, in the transaction that acts on them: they may have been withdrawn meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from certdesk.domain.actors import Action, Actor, can
from certdesk.domain.errors import NotAuthorized, StateConflict
from certdesk.domain.issuing.states import OrganisationId
from certdesk.store.db import write_transaction
from certdesk.store.models import ApiToken
from certdesk.store.selectors.facts import lock_organisation, organisation_row
from certdesk.store.selectors.people import person_now

FORMER = "The person who asked for this may no longer act for the organisation."


def actor_now(actor: Actor) -> Actor:
    """The actor as they are at this moment, for judging again what was judged when the call began.

    To be called under the lock that a withdrawal takes too. Who is no person with an account, such as an ACME
    account or the system, comes back unchanged. Raises NotAuthorized for a person whose account was disabled
    or whose token was ended meanwhile.
    """
    if actor.user_id is None:
        return actor
    now = person_now(actor.user_id)
    if now is None:
        raise NotAuthorized("Your account has just been disabled. Sign in again.")
    token = actor.token
    if token is not None and not ApiToken.objects.filter(id=token.id, revoked_at__isnull=True).exists():
        raise NotAuthorized("Your token has just been ended. Use another one.")
    return replace(now, token=token)


def refuse_withdrawn(
    organisation_id: int, *people: Actor | int | None, action: Action = Action.DOMAIN_ASK
) -> None:
    """Passes where the organisation is active and these people may still act for it; None is no person.

    To be called under the organisation's lock, before anything is written. Raises StateConflict for a
    disabled organisation, NotAuthorized for a person who may no longer do this.
    """
    if not organisation_row(OrganisationId(organisation_id)).is_active:
        raise StateConflict("This organisation is disabled: nothing is validated for it.")
    refuse_former(organisation_id, *people, action=action)


def refuse_former(organisation_id: int, *people: Actor | int | None, action: Action) -> None:
    """Raises NotAuthorized where one of these people may no longer do this for the organisation.

    Who acts is told as the actor, with the token; who asked for it before, by the person's number. To be
    called under the organisation's lock: a role that was read before may have been taken away since.
    """
    for one in people:
        if one is None or (isinstance(one, Actor) and one.user_id is None):
            continue
        now = actor_now(one) if isinstance(one, Actor) else person_now(one)
        if now is None or not can(now, action, organisation_id=OrganisationId(organisation_id)):
            raise NotAuthorized(FORMER)


@contextmanager
def acting(actor: Actor, action: Action, organisation_id: int) -> Iterator[None]:
    """A transaction under the organisation's lock, in which the actor still may do this for it.

    Raises NotAuthorized.
    """
    with write_transaction():
        lock_organisation(OrganisationId(organisation_id))
        refuse_former(organisation_id, actor, action=action)
        yield
