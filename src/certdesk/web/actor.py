"""Who is asking: the one way from a web request to an `Actor`."""

from typing import cast

from django.http import HttpRequest

from certdesk.domain.actors import Actor
from certdesk.domain.errors import NotAuthorized
from certdesk.store.models import User
from certdesk.store.selectors.people import actor_for_user

_KEPT = "certdesk_actor"


def signed_in_user(request: HttpRequest) -> User | None:
    """The person who signed in, or None. `user` may be missing where a request failed early."""
    user = getattr(request, "user", None)
    return cast("User", user) if user is not None and user.is_authenticated else None


def actor_of(request: HttpRequest) -> Actor:
    """The actor behind a web request, read once a request. Raises NotAuthorized for a visitor."""
    kept = getattr(request, _KEPT, None)
    if isinstance(kept, Actor):
        return kept
    user = signed_in_user(request)
    if user is None:
        raise NotAuthorized("Sign in first.")
    actor = actor_for_user(user)
    setattr(request, _KEPT, actor)
    return actor
