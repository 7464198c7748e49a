"""API tokens as their owner may see them: never the token itself."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from certdesk.domain.actors import Action, Actor, Scope, can
from certdesk.domain.errors import existing
from certdesk.store.copied import copied
from certdesk.store.models import ApiToken
from certdesk.store.selectors.people import token_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """A token without its secret."""

    id: int
    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str


def list_tokens(*, actor: Actor) -> list[TokenRow]:
    """The actor's own tokens, newest first; those ended are kept in the list."""
    return [_row(token) for token in _own(actor).order_by("-id")]


def get_token(*, actor: Actor, secret: str) -> TokenRow:
    """The row of a token that the actor holds. Raises NotFound."""
    return _row(existing(_own(actor).filter(digest=token_digest(secret)).first(), "There is no such token."))


def _own(actor: Actor) -> QuerySet[ApiToken]:
    # The system holds no tokens.
    if actor.user_id is None or not can(actor, Action.TOKEN_READ):
        return ApiToken.objects.none()
    return ApiToken.objects.filter(user_id=actor.user_id)


def _row(token: ApiToken) -> TokenRow:
    return copied(TokenRow, token, scopes=tuple(map(Scope, token.scopes.split())))
