"""Who is asking: the one way from a web request to an `Actor`."""

from typing import cast

from django.http import HttpRequest

from certdesk.domain.actors import Actor
from certdesk.domain.errors import NotAuthorized
from certdesk.store.models import User
from certdesk.store.selectors.people import actor_for_user

_KEPT = "certdesk_actor"


def keep_actor(user: User, actor: Actor) -> None:
    """Keeps what was read together with the account of a session, for the request that it is read for."""
    setattr(user, _KEPT, actor)


def signed_in_user(request: HttpRequest) -> User | None:
    """The person who signed in, or None. `user` may be missing where a request failed early."""
    user = getattr(request, "user", None)
    return cast("User", user) if user is not None and user.is_authenticated else None


def actor_of(request: HttpRequest) -> Actor:
    """The actor behind a web request, read once a request. Raises NotAuthorized for a visitor."""
    user = signed_in_user(request)
    if user is None:
        raise NotAuthorized("Sign in first.")
    if not hasattr(user, _KEPT):  # signed in just now
        keep_actor(user, actor_for_user(user))
    return cast("Actor", getattr(user, _KEPT))
