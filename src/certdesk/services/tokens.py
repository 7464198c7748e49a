"""API tokens: shown once, stored as a hash, never better than the person behind them."""

import secrets
from datetime import datetime

from certdesk.domain.actors import Actor
from certdesk.domain.errors import InvalidInput, NotAuthorized, NotFound
from certdesk.services.second_factor import refuse_without
from certdesk.services.texts import storable
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import ApiToken
from certdesk.store.selectors.people import token_digest

PREFIX = "cdk_"
MAX_NAME = 100  # the column's width


def create_token(*, actor: Actor, name: str, expires_at: datetime | None, now: datetime) -> str:
    """Makes a token for the actor and returns it, for the only time. Raises InvalidInput."""
    if actor.user_id is None or actor.must_change_password:
        raise NotAuthorized("Sign in, and change an issued password first.")
    refuse_without(actor)  # else a token would go round the second factor of an officer (W3)
    name = storable(name, field="name", limit=MAX_NAME)
    if not name:
        raise InvalidInput(
            "Give the token a name.", fields={"name": "Say what uses it, such as “backup script”."}
        )
    if expires_at is not None and expires_at <= now:
        raise InvalidInput(
            "The token would be expired.", fields={"expires_at": "Choose a time in the future."}
        )
    token = PREFIX + secrets.token_urlsafe(32)
    with write_transaction():
        row = ApiToken.objects.create(
            user_id=actor.user_id,
            name=name,
            digest=token_digest(token),
            created_at=now,
            expires_at=expires_at,
        )
        audit.record(
            actor=actor,
            action="token.create",
            object_type="token",
            object_id=row.pk,
            now=now,
            data={"name": row.name},
        )
    return token


def revoke_token(*, actor: Actor, token_id: int, now: datetime) -> None:
    """Ends one of the actor's own tokens. Raises NotFound."""
    with write_transaction():
        ended = ApiToken.objects.filter(
            id=token_id, user_id=actor.user_id or 0, revoked_at__isnull=True
        ).update(revoked_at=now)
        if not ended:
            raise NotFound("There is no such token.")
        audit.record(actor=actor, action="token.revoke", object_type="token", object_id=token_id, now=now)
