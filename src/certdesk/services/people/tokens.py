"""API tokens: shown once, stored as a hash, never better than the person or the token that made them."""

import secrets
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q

from certdesk.domain.actors import LIMITED_SCOPES, Action, Actor, Scope, can, scopes_of
from certdesk.domain.errors import InvalidInput, NotAuthorized, NotFound
from certdesk.services.people.permissions import actor_now
from certdesk.services.people.second_factor import is_bound, refuse_without
from certdesk.services.system.text_input import storable
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import ApiToken, User
from certdesk.store.selectors.people import actor_for_token, token_digest

PREFIX = "cdk_"
MAX_NAME = 100  # the column's width
#: Each scope as people read it.
SCOPE_TITLES: dict[Scope, str] = {
    Scope.READ: "Read what you may read",
    Scope.REQUEST: "Request certificates, withdraw requests, validate domains",
    Scope.REVOKE: "Revoke certificates",
    Scope.DECIDE: "Decide requests, vet organisations, record ownership checks, revoke for the RA",
    Scope.MANAGE: "Manage people, organisations and ACME credentials",
    Scope.TOKENS: "Make and end API tokens",
}


def create_token(
    *, actor: Actor, name: str, scopes: Iterable[Scope] = (), expires_at: datetime | None, now: datetime
) -> str:
    """Makes a token for the actor and returns it, for the only time. Every token may read.

    One that a token makes has no scope that the maker lacks, and ends with it at the latest.
    Raises InvalidInput, NotAuthorized.
    """
    if actor.user_id is None or not can(actor, Action.TOKEN_MANAGE):
        raise NotAuthorized("Sign in, and change an issued password first.")
    refuse_without(actor)  # else a token would go round the second factor of an officer
    name = storable(name, field="name", limit=MAX_NAME)
    if not name:
        raise InvalidInput("Give the token a name.", {"name": "Say what uses it, such as “backup script”."})
    wanted = frozenset({Scope.READ, *scopes})
    maker = actor.token
    if maker is not None and expires_at is None:
        expires_at = maker.expires_at
    if problems := _problems(actor, wanted, expires_at, now=now):
        raise InvalidInput("The token can't be made like this.", problems)
    token = PREFIX + secrets.token_urlsafe(32)
    with write_transaction():
        # What ends tokens changes or locks the person's row first: none is made behind its back.
        User.objects.select_for_update(no_key=True).get(id=actor.user_id)
        current = actor_now(actor)
        if current.must_change_password:
            raise NotAuthorized("Your password has just been reset. Sign in again.")
        if problems := _problems(current, wanted, expires_at, now=now):
            raise InvalidInput("The token can't be made like this.", problems)
        row = ApiToken.objects.create(
            user_id=actor.user_id,
            name=name,
            digest=token_digest(token),
            scopes=" ".join(scope for scope in Scope if scope in wanted),
            made_by_id=maker.id if maker else None,
            created_at=now,
            expires_at=expires_at,
        )
        until = expires_at.isoformat() if expires_at else None
        data = {"name": row.name, "scopes": row.scopes, "expires_at": until, "made_by": row.made_by_id}
        audit.record(actor, "token.create", row.pk, now=now, data=data)
    return token


def revoke_token(*, actor: Actor, token_id: int, now: datetime) -> None:
    """Ends one of the actor's own tokens, and those that it made. Raises NotFound, NotAuthorized."""
    if actor.user_id is None or not can(actor, Action.TOKEN_MANAGE):
        raise NotAuthorized("Sign in, and change an issued password first.")
    with write_transaction():
        User.objects.select_for_update(no_key=True).get(id=actor.user_id)
        actor_now(actor)  # raises for one who has been disabled since
        if not end_tokens(actor=actor, user_id=actor.user_id, now=now, only=Q(id=token_id)):
            raise NotFound("There is no such token.")
        makers = [token_id]
        while makers:
            end_tokens(actor=actor, user_id=actor.user_id, now=now, only=Q(made_by__in=makers))
            makers = list(ApiToken.objects.filter(made_by__in=makers).values_list("id", flat=True))
        audit.record(actor, "token.revoke", token_id, now=now)


def end_tokens(*, actor: Actor, user_id: int, now: datetime, only: Q = Q()) -> int:  # noqa: B008 - Django's Q never changes
    """Ends a person's tokens, all or only some, in the caller's transaction; returns how many."""
    found = ApiToken.objects.filter(only, user_id=user_id, revoked_at__isnull=True)
    return found.update(revoked_at=now, revoked_by=actor.label)


def count_tokens(*, user_id: int, now: datetime) -> int:
    """How many of a person's tokens work now."""
    found = ApiToken.objects.filter(user_id=user_id, revoked_at__isnull=True)
    return found.exclude(expires_at__lte=now).count()


def bearer(token: str, *, now: datetime) -> Actor | None:
    """The actor behind a bearer token with what it may do now; None for one that does not work."""
    actor = actor_for_token(token, now=now)
    if actor is None or actor.token is None or not actor.token.scopes & LIMITED_SCOPES:
        return actor
    limit = _bound(actor)
    if not limit and actor.token.created_at + _longest() <= now:
        limit = f"It holds for {_days()} after a token was made. Make a new one."
    return replace(actor, token=replace(actor.token, limit=limit))


def list_scopes(*, actor: Actor) -> frozenset[Scope]:
    """The scopes that the actor can give to a new token."""
    scopes = scopes_of(actor)
    if actor.token is not None:
        scopes &= actor.token.scopes
    off = _bound(actor) or (actor.token is not None and actor.token.limit)
    return scopes - LIMITED_SCOPES if off else scopes


def _problems(
    actor: Actor, wanted: frozenset[Scope], expires_at: datetime | None, *, now: datetime
) -> dict[str, str]:
    problems, maker = {}, actor.token
    if refused := [scope for scope in Scope if scope in wanted - list_scopes(actor=actor)]:
        why = (_bound(actor) if LIMITED_SCOPES.intersection(refused) else "") or (
            "A token never may more than you." if maker is None else "A token makes none that may more."
        )
        problems["scopes"] = f"You can't give {', '.join(refused)}. {why}"
    if expires_at is not None and expires_at <= now:
        problems["expires_at"] = "Choose a time in the future."
    elif maker and maker.expires_at and expires_at and expires_at > maker.expires_at:
        problems["expires_at"] = "A token makes none that outlives it. Choose an earlier time."
    elif wanted & LIMITED_SCOPES and (expires_at is None or expires_at > now + _longest()):
        problems["expires_at"] = f"A token that decides or manages works for at most {_days()}."
    return problems


def _bound(actor: Actor) -> str:
    """Why no token of this person decides or manages; empty where one may."""
    if settings.CERTDESK.second_factor_decision_tokens or actor.user_id is None:
        return ""
    if not is_bound(user_id=actor.user_id, ra_role=actor.ra_role):
        return ""
    return "For people with a second factor no token decides or manages here. Do it in the portal."


def _longest() -> timedelta:
    return timedelta(days=settings.CERTDESK.decision_token_days)


def _days() -> str:
    days = settings.CERTDESK.decision_token_days
    return f"{days} day{'s' if days > 1 else ''}"
