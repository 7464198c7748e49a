"""What may be done about somebody else's account: shared by the organisation's page and the operator's."""

from datetime import datetime

from certdesk.domain.actors import Actor, Side
from certdesk.domain.errors import NotFound
from certdesk.services.people.accounts import (
    disable_account,
    enable_account,
    issue_new_password,
    reset_second_factor,
)
from certdesk.services.people.organisations import IssuedPassword
from certdesk.store.selectors.people import Disabled
from certdesk.web import times
from certdesk.web.context import ra_name


def disabled_note(disabled: Disabled) -> str:
    """Who disabled it, and when; empty where that is not known."""
    who = {Side.RA: ra_name(), Side.ORGANISATION: "a manager"}.get(disabled.by)
    return f"By {who}, {times.day(disabled.at)}" if who and disabled.at else ""


def act_on(*, actor: Actor, user_id: int, act: str, now: datetime) -> IssuedPassword | str:
    """Does what the button `act` says; the services judge whether the actor may. Raises NotFound.

    Returns a password to show this once, or a sentence.
    """
    match act:
        case "password":
            return issue_new_password(actor=actor, user_id=user_id, now=now)
        case "enable":
            return enable_account(actor=actor, user_id=user_id, now=now)
        case "disable":
            disable_account(actor=actor, user_id=user_id, now=now)
            return "The account is disabled: it can’t sign in, and its API tokens no longer work."
        case "second-factor":
            reset_second_factor(actor=actor, user_id=user_id, now=now)
            return "The second factor and all API tokens are gone. We email the person."
        case _:
            raise NotFound("This action doesn’t exist.")
