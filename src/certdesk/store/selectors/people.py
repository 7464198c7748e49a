"""People as actors, and as others may see them."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from allauth.mfa.models import Authenticator

from certdesk.domain.actors import Action, Actor, OrgRole, RaRole, Scope, Side, Token, can, require
from certdesk.domain.errors import NotFound, existing
from certdesk.domain.issuing.states import OrganisationId, UserId
from certdesk.store.copied import copied
from certdesk.store.driver import Statement, columns_of, kinds_of, taken
from certdesk.store.models import Membership, User

_PERSON_COLUMNS = """u.id, u.username, u.ra_role, u.must_change_password,
  m.organisation_id, m.role, g.legal_name, m.is_active, g.is_active"""
_PERSON_KINDS = (int, str, str, bool, int, str, str, bool, bool)
_PERSON_ROWS = """store_user u LEFT JOIN store_membership m ON m.user_id = u.id
LEFT JOIN store_organisation g ON g.id = m.organisation_id"""
_PERSON = Statement(
    f"SELECT {_PERSON_COLUMNS} FROM {_PERSON_ROWS} WHERE u.id = %(user)s AND u.is_active",  # noqa: S608 - no input
    *_PERSON_KINDS,
)
_USER = Statement(
    f"SELECT {columns_of(User, 'u')}, {_PERSON_COLUMNS} FROM {_PERSON_ROWS} WHERE u.id = %(user)s",  # noqa: S608 - no input
    *kinds_of(User),
    *_PERSON_KINDS,
)
_BEARER = Statement(
    f"""
SELECT t.id, t.scopes, t.created_at, t.expires_at, {_PERSON_COLUMNS}
FROM {_PERSON_ROWS} JOIN store_apitoken t ON t.user_id = u.id
WHERE t.digest = %(digest)s AND t.revoked_at IS NULL AND u.is_active
  AND (t.expires_at IS NULL OR t.expires_at > %(now)s)""",  # noqa: S608 - no input
    *(int, str, datetime, datetime, *_PERSON_KINDS),
)


def actor_for_token(token: str, *, now: datetime) -> Actor | None:
    """The actor behind a bearer token, or None for an unknown, expired or revoked one.

    What the service's rules take from its scopes is not judged here: see `services.people.tokens.bearer`.

    Looked up by its SHA-256, so that no comparison leaks the token.
    """
    rows = _BEARER.rows(digest=token_digest(token), now=now)
    if not rows:
        return None
    token_id, scopes, created_at, expires_at = rows[0][:4]
    bearing = Token(token_id, frozenset(map(Scope, scopes.split())), created_at, expires_at)
    return _actor([row[4:] for row in rows], token=bearing)


def actor_for_user(user: User) -> Actor:
    """The actor that a signed-in user is: active memberships of active organisations only."""
    return existing(user_and_actor(user.pk), "There is no such person.")[1]


def user_and_actor(user_id: int) -> tuple[User, Actor] | None:
    """An account, disabled ones too, and the actor that it is; None where there is none."""
    rows = _USER.rows(user=user_id)
    users = [taken(User, row) for row in rows]
    return (users[0], _actor(rows)) if users else None


def person_now(user_id: int) -> Actor | None:
    """The actor that a person is at this moment; None for an account that is disabled or not there."""
    rows = _PERSON.rows(user=user_id)
    return _actor(rows) if rows else None


def _actor(rows: Sequence[Sequence[Any]], *, token: Token | None = None) -> Actor:
    """Of a person's columns and, a row for each, those of the memberships."""
    user_id, label, ra_role, must_change = rows[0][:4]
    return Actor(
        label=label,
        user_id=UserId(user_id),
        ra_role=RaRole(ra_role),
        memberships={
            OrganisationId(organisation): OrgRole(role)
            for *_same, organisation, role, _name, active, organisation_active in rows
            if active and organisation_active
        },
        organisations=tuple(sorted(name for *_same, name, active, its in rows if active and its)),
        must_change_password=must_change,
        token=token,
    )


def token_digest(token: str) -> str:
    """How a token is stored: it is 256 random bits, so one round of SHA-256 is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Disabled:
    """Who disabled an account or a membership, and when; empty while it is enabled."""

    by: Side
    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A person of an organisation."""

    user_id: int
    username: str
    name: str
    email: str
    role: OrgRole
    is_active: bool
    last_login_at: datetime | None
    account_is_active: bool
    disabled: Disabled
    has_second_factor: bool
    organisation_ids: frozenset[OrganisationId]  # all that the person belongs to now


@dataclass(frozen=True, slots=True, kw_only=True)
class RaPerson:
    """A person of the RA."""

    user_id: int
    username: str
    name: str
    email: str
    role: RaRole
    is_active: bool
    disabled: Disabled
    has_second_factor: bool
    last_login_at: datetime | None


def list_members(*, actor: Actor, organisation_id: OrganisationId) -> list[Member]:
    """The people of an organisation, by name. Raises NotFound for one that the actor may not look into."""
    if not can(actor, Action.MEMBERS_READ, organisation_id=organisation_id):
        raise NotFound("There is no such organisation.")
    rows = list(
        Membership.objects.filter(organisation_id=organisation_id)
        .select_related("user")
        .order_by("user__username")
    )
    people = [row.user_id for row in rows]
    factors, homes = _with_second_factor(people), _homes(people)
    return [
        copied(
            Member,
            row.user,
            user_id=row.user.pk,
            name=row.user.get_full_name(),
            role=OrgRole(row.role),
            is_active=row.is_active and row.user.is_active,
            last_login_at=row.user.last_login,
            account_is_active=row.user.is_active,
            disabled=_disabled(row) if row.user.is_active else _disabled(row.user),
            has_second_factor=row.user_id in factors,
            organisation_ids=frozenset(homes.get(row.user_id, ())),
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Contact:
    """A manager as colleagues may know them: whom to ask, and no more."""

    organisation: str
    name: str
    email: str


def list_own_managers(*, actor: Actor) -> list[Contact]:
    """Who looks after the actor's own organisations now, by organisation and name."""
    rows = (
        Membership.objects.filter(
            organisation_id__in=actor.organisation_ids,
            role=OrgRole.MANAGER,
            is_active=True,
            user__is_active=True,
        )
        .select_related("user", "organisation")
        .order_by("organisation__legal_name", "user__username")
    )
    return [
        Contact(row.organisation.legal_name, row.user.get_full_name() or row.user.username, row.user.email)
        for row in rows
    ]


def list_ra_people(*, actor: Actor) -> list[RaPerson]:
    """The people of the RA, by name, for those who look after their accounts. Raises NotFound for others."""
    require(actor, Action.SERVICE_OPERATE, "There is no such page.", refuse=NotFound)
    rows = list(User.objects.exclude(ra_role=RaRole.NONE).order_by("username"))
    factors = _with_second_factor([row.pk for row in rows])
    return [
        copied(
            RaPerson,
            row,
            user_id=row.pk,
            name=row.get_full_name(),
            role=RaRole(row.ra_role),
            disabled=_disabled(row),
            has_second_factor=row.pk in factors,
            last_login_at=row.last_login,
        )
        for row in rows
    ]


def _disabled(row: User | Membership) -> Disabled:
    return Disabled(by=Side(row.disabled_by), at=row.disabled_at)


def _with_second_factor(people: Iterable[int]) -> set[int]:
    return set(Authenticator.objects.filter(user_id__in=people).values_list("user_id", flat=True))


def _homes(people: Iterable[int]) -> dict[int, list[OrganisationId]]:
    found: dict[int, list[OrganisationId]] = {}
    active = Membership.objects.filter(user_id__in=people, is_active=True)
    for user_id, organisation_id in active.values_list("user_id", "organisation_id"):
        found.setdefault(user_id, []).append(OrganisationId(organisation_id))
    return found


def staff_mailboxes(role: RaRole) -> list[str]:
    """Where the RA's people with a role read mail; for the jobs that tell them, not filtered by actor."""
    people = User.objects.filter(ra_role=role, is_active=True).exclude(email="")
    return list(people.order_by("id").values_list("email", flat=True))
