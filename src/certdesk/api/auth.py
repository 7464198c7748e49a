"""Who calls: a bearer token and nothing else. A session cookie of the portal opens no door here."""

from typing import cast

from django.http import HttpRequest
from django.utils import timezone
from ninja.security import HttpBearer

from certdesk.domain.actors import Actor
from certdesk.domain.errors import NotAuthorized
from certdesk.services.people.second_factor import refuse_without
from certdesk.services.people.tokens import bearer

MAX_TOKEN = 200


class BearerToken(HttpBearer):
    """A token of a person, made in the portal or with POST /tokens (RFC 6750)."""

    def authenticate(self, request: HttpRequest, token: str) -> Actor | None:
        """The actor behind a token. Raises NotAuthorized for one whose password must be changed."""
        del request
        token = token.strip()
        if not token or len(token) > MAX_TOKEN or not token.isascii():
            return None
        actor = bearer(token, now=timezone.now())
        if actor is not None and actor.must_change_password:
            raise NotAuthorized("Sign in to the portal and change the password that you were issued first.")
        if actor is not None:
            refuse_without(actor)  # made before the person became an officer, perhaps
        return actor


def actor_of(request: HttpRequest) -> Actor:
    """The actor of an authenticated call."""
    return cast("Actor", request.auth)  # type: ignore[attr-defined] # ninja puts it there
