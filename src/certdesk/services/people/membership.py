"""Who belongs to an organisation, and as what: inviting, roles, leaving, handing over.

What somebody asked for belongs to the organisation: nothing in here touches requests or certificates.
ACME credentials that asked in the name of somebody who leaves get another owner. Passwords and accounts as
such are in `services.people.accounts`.
"""

import re
from collections.abc import Mapping
from datetime import datetime

from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError
from django.db.models import QuerySet

from certdesk.domain.actors import Action, Actor, OrgRole, RaRole, Side, can, may_enable, require
from certdesk.domain.errors import InvalidInput, NotAuthorized, StateConflict, existing
from certdesk.domain.issuing.states import OrganisationId, UserId
from certdesk.services.acme.credentials import take_over
from certdesk.services.mail.account import Occasion, enqueue_account_mail
from certdesk.services.people.organisations import IssuedPassword, issued_password
from certdesk.services.people.permissions import FORMER, actor_now
from certdesk.services.people.sessions import drop_sessions
from certdesk.services.people.tokens import end_tokens
from certdesk.services.system.text_input import storable
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.models import Membership, User
from certdesk.store.selectors.facts import lock_organisation, organisation_row

MAX_USERNAME, MAX_EMAIL, MAX_NAME = 150, 254, 150  # the columns' widths
_USERNAME = re.compile(r"[a-z0-9._-]*[a-z0-9][a-z0-9._-]*", re.ASCII)
#: One sentence for a name of whomever, wherever: it tells nothing about the person who has it.
_NOT_AVAILABLE = "This user name is not available. Choose another."


def add_member(
    *,
    actor: Actor,
    organisation_id: OrganisationId,
    username: str,
    name: str,
    email: str,
    role: OrgRole,
    now: datetime,
) -> IssuedPassword:
    """Makes a person of an organisation, with an issued password to be changed at first sign-in.

    The person is mailed a link to choose one, and needs no issued one then.

    Raises NotAuthorized, NotFound, InvalidInput.
    """
    _may_manage(actor, organisation_id)
    organisation_row(organisation_id)
    user, password = _new_person(username=username, name=name, email=email)
    try:
        with write_transaction():
            _lock(actor, organisation_id)
            user.save(force_insert=True)
            Membership.objects.create(user=user, organisation_id=organisation_id, role=role, created_at=now)
            data = {"username": user.username, "role": role.value}
            _record(actor, organisation_id, user.pk, "member.add", now=now, data=data)
            enqueue_account_mail(user_id=user.pk, occasion=Occasion.ADDED, by=actor.label, now=now)
    except IntegrityError:  # two people at the same moment
        raise InvalidInput("The person can't be added like this.", {"username": _NOT_AVAILABLE}) from None
    return IssuedPassword(user_id=UserId(user.pk), username=user.username, password=password)


def add_ra_person(
    *, actor: Actor, username: str, name: str, email: str, role: RaRole, now: datetime
) -> IssuedPassword:
    """Makes a person of the RA, with an issued password to be changed at first sign-in.

    Only the system does, from the command line of the service's own account: that is how the very first
    person comes to be. Raises NotAuthorized, InvalidInput.
    """
    if not actor.is_system:
        raise NotAuthorized("People of the RA are added on the command line: certdesk admin add-person.")
    user, password = _new_person(username=username, name=name, email=email)
    user.ra_role = role
    with write_transaction():
        user.save(force_insert=True)
        data = {"username": user.username, "ra_role": role.value}
        audit.record(actor, "account.add", user.pk, object_type="user", now=now, data=data)
        enqueue_account_mail(user_id=user.pk, occasion=Occasion.ADDED, by=actor.label, now=now)
    return IssuedPassword(user_id=UserId(user.pk), username=user.username, password=password)


def add_existing_member(
    *, actor: Actor, organisation_id: OrganisationId, username: str, role: OrgRole, now: datetime
) -> None:
    """Makes somebody who has an account belong to a further organisation.

    Only RA officers do: the answer tells who exists, and officers see everybody anyway. Raises
    NotAuthorized, NotFound, InvalidInput.
    """
    if not can(actor, Action.MEMBERS_MANAGE):
        raise NotAuthorized("Only an RA officer adds someone who belongs to another organisation.")
    organisation_row(organisation_id)
    with write_transaction():
        lock_organisation(organisation_id)
        require(actor_now(actor), Action.MEMBERS_MANAGE, FORMER)
        user = User.objects.filter(username=username.strip().lower(), is_active=True).first()
        if user is None:
            raise InvalidInput("Nobody was added.", {"existing": "Nobody active has this user name."})
        if user.ra_role:
            raise InvalidInput("Nobody was added.", {"existing": "This person belongs to the RA."})
        _row, is_new = Membership.objects.get_or_create(
            user=user, organisation_id=organisation_id, defaults={"role": role, "created_at": now}
        )
        if not is_new:
            raise InvalidInput(
                "Nobody was added.", {"existing": "This person is in the list of people already."}
            )
        data = {"username": user.username, "role": role.value, "existing": True}
        _record(actor, organisation_id, user.pk, "member.add", now=now, data=data)
        enqueue_account_mail(user_id=user.pk, occasion=Occasion.JOINED, by=actor.label, now=now)


def change_role(
    *, actor: Actor, organisation_id: OrganisationId, user_id: int, role: OrgRole, now: datetime
) -> None:
    """Makes an applicant a manager, or the other way round. Raises as `disable_member` does."""
    with write_transaction():
        actor = _lock(actor, organisation_id)
        member = _active(organisation_id, user_id)
        if member.role == role:
            return
        if role is not OrgRole.MANAGER:
            _keep_a_manager(actor, member)
        before, member.role = member.role, role
        member.save(update_fields=["role"])
        data = {"role": [before, role.value]}
        _record(actor, organisation_id, user_id, "member.role", now=now, data=data)


def disable_member(*, actor: Actor, organisation_id: OrganisationId, user_id: int, now: datetime) -> None:
    """Ends a person's membership; what they asked for stays with the organisation.

    Somebody who then belongs nowhere is signed out, and their API tokens end. The last manager can't be
    disabled by a manager. Raises NotFound, NotAuthorized, StateConflict.
    """
    with write_transaction():
        actor = _lock(actor, organisation_id)  # two managers disabling each other: one has to be too late
        member = _active(organisation_id, user_id)
        _keep_a_manager(actor, member)
        _end(actor, member, now=now)


def enable_member(*, actor: Actor, organisation_id: OrganisationId, user_id: int, now: datetime) -> None:
    """Makes a disabled membership work again, as an applicant: a manager gives more where it is meant.

    A membership that the RA has disabled, only the RA enables. Raises NotFound, NotAuthorized, StateConflict.
    """
    with write_transaction():
        actor = _lock(actor, organisation_id)
        found = _members(organisation_id).select_related("user").filter(user_id=user_id)
        member = existing(found.first(), "There is no such person in this organisation.")
        if member.is_active:
            raise StateConflict("This person is enabled already.")
        if not member.user.is_active:
            raise StateConflict("The account itself is disabled. Ask the RA to enable it.")
        if not may_enable(actor, Side(member.disabled_by)):
            raise NotAuthorized("The RA ended this person's access. Only the RA can enable it.")
        _members(organisation_id).filter(user_id=user_id).update(
            is_active=True, role=OrgRole.APPLICANT, disabled_by=Side.NONE, disabled_at=None
        )
        _record(actor, organisation_id, user_id, "member.enable", now=now, data={})


def hand_over(
    *, actor: Actor, organisation_id: OrganisationId, leaver_id: int, successor_id: int, now: datetime
) -> None:
    """Makes one person a manager and ends another's membership, in one step: somebody leaves.

    The leaver may be the actor. Raises NotFound, NotAuthorized, InvalidInput.
    """
    with write_transaction():
        actor = _lock(actor, organisation_id)
        if leaver_id == successor_id:
            raise InvalidInput("Nothing was handed over.", {"successor": "Choose someone else."})
        leaver, successor = _active(organisation_id, leaver_id), _active(organisation_id, successor_id)
        if not User.objects.filter(id=successor_id, is_active=True).exists():
            raise InvalidInput(
                "Nothing was handed over.", {"successor": "This person can't sign in. Choose another."}
            )
        if successor.role != OrgRole.MANAGER:
            before, successor.role = successor.role, OrgRole.MANAGER
            successor.save(update_fields=["role"])
            data = {"role": [before, OrgRole.MANAGER.value]}
            _record(actor, organisation_id, successor_id, "member.role", now=now, data=data)
        _end(actor, leaver, now=now, successor_id=UserId(successor_id))


def _new_person(*, username: str, name: str, email: str) -> tuple[User, str]:
    """A person not stored yet, and the password issued to them. Raises InvalidInput."""
    username, name = username.strip().lower(), " ".join(storable(name, field="name").split())
    email = storable(email, field="email", limit=MAX_EMAIL)
    problems = {}
    if not _USERNAME.fullmatch(username) or len(username) > MAX_USERNAME:
        problems["username"] = "Use letters a to z, digits, full stops, hyphens and underscores."
    elif User.objects.filter(username=username).exists():
        problems["username"] = _NOT_AVAILABLE
    try:
        validate_email(email)
    except ValidationError:
        problems["email"] = "Give an e-mail address, such as name@example.ac.uk."
    if not name or len(name) > MAX_NAME:
        problems["name"] = "Give the person's name, at most 150 characters."
    if problems:
        raise InvalidInput("The person can't be added like this.", problems)
    password = issued_password()
    first, _space, last = name.partition(" ")
    user = User(
        username=username,
        first_name=first,
        last_name=last,
        email=email,
        password=make_password(password),
        must_change_password=True,
    )
    return user, password


def _may_manage(actor: Actor, organisation_id: OrganisationId) -> None:
    if not can(actor, Action.MEMBERS_MANAGE, organisation_id=organisation_id):
        raise NotAuthorized("Only a manager of the organisation or an RA officer looks after its people.")


def _lock(actor: Actor, organisation_id: OrganisationId) -> Actor:
    """Takes the organisation's lock; the actor as they are under it. Raises NotAuthorized."""
    lock_organisation(organisation_id)
    now = actor_now(actor)
    _may_manage(now, organisation_id)
    return now


def _members(organisation_id: OrganisationId) -> QuerySet[Membership]:
    return Membership.objects.filter(organisation_id=organisation_id)


def _active(organisation_id: OrganisationId, user_id: int) -> Membership:
    found = _members(organisation_id).filter(is_active=True, user_id=user_id)
    return existing(found.first(), "There is no such person in this organisation.")


def _keep_a_manager(actor: Actor, member: Membership) -> None:
    if member.role != OrgRole.MANAGER or actor.ra_role is RaRole.OFFICER:
        return
    others = _members(OrganisationId(member.organisation_id)).exclude(user_id=member.user_id)
    if not others.filter(role=OrgRole.MANAGER, is_active=True, user__is_active=True).exists():
        raise StateConflict("An organisation keeps at least one manager. Make someone else a manager first.")


def _end(actor: Actor, member: Membership, *, successor_id: UserId | None = None, now: datetime) -> None:
    user_id, home = member.user_id, OrganisationId(member.organisation_id)
    Membership.objects.filter(id=member.pk).update(is_active=False, disabled_by=actor.side, disabled_at=now)
    take_over(actor=actor, organisation_id=home, leaver_id=user_id, successor_id=successor_id, now=now)
    sessions = tokens = 0
    # Whoever makes a token locks the person's row as well: none is made behind this.
    User.objects.select_for_update(no_key=True).get(id=user_id)
    if not Membership.objects.filter(user_id=user_id, is_active=True).exists():
        sessions = drop_sessions(user_id=user_id)
        tokens = end_tokens(actor=actor, user_id=user_id, now=now)
    said = {"sessions": sessions, "tokens": tokens, **({"successor": successor_id} if successor_id else {})}
    _record(actor, home, user_id, "member.disable", now=now, data=said)


def _record(
    actor: Actor,
    organisation_id: OrganisationId,
    user_id: int,
    action: str,
    *,
    now: datetime,
    data: Mapping[str, object],
) -> None:
    audit.record(actor, action, user_id, organisation_id, object_type="user", now=now, data=data)
