"""People's accounts: their passwords, whether they may sign in, their second factor.

Who may do it to somebody else: an RA officer to the people of organisations, a manager to people who
belong to nobody else's organisation, an operator to the people of the RA. Nobody does it to oneself.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from allauth.mfa.models import Authenticator
from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from certdesk.domain.actors import Action, Actor, Side, can, may_enable
from certdesk.domain.errors import InvalidInput, NotAuthorized, NotFound, StateConflict, existing
from certdesk.domain.issuing.states import OrganisationId, UserId
from certdesk.services.acme.credentials import take_over
from certdesk.services.mail.account import Occasion, enqueue_account_mail, invited_person, mail_reset
from certdesk.services.people.organisations import IssuedPassword, issued_password
from certdesk.services.people.permissions import actor_now
from certdesk.services.people.sessions import drop_sessions
from certdesk.services.people.tokens import end_tokens
from certdesk.store import audit
from certdesk.store.db import write_transaction
from certdesk.store.jobs import enqueue
from certdesk.store.models import Membership, User
from certdesk.store.selectors.facts import lock_organisation
from certdesk.store.selectors.people import actor_for_user

MAX_EMAIL = 254


def change_password(*, actor: Actor, current: str, new: str, now: datetime, ends_tokens: bool = True) -> None:
    """The actor chooses a password, giving the one that holds now. Ends all of their sessions.

    Their API tokens end as well, unless they keep them. An issued password opens nothing but this.
    Raises InvalidInput, StateConflict.
    """
    if actor.user_id is None:
        raise NotAuthorized("Only people have passwords.")
    user = _user(actor.user_id)
    if not user.check_password(current):
        raise InvalidInput(
            "The current password is not right.",
            {"current": "This is not your current password. Type it again."},
        )
    _refuse_weak(user, new)
    if user.must_change_password and user.check_password(new):
        raise InvalidInput(
            "This is the issued password.", {"new": "Someone else knows this one. Choose another."}
        )
    _store_password(user, new, action="password.change", actor=actor, now=now, ends_tokens=ends_tokens)


def reset_password(*, user_id: int, new: str, now: datetime) -> None:
    """A person who followed a mailed link chooses a password. Ends all sessions and API tokens.

    Raises InvalidInput, NotFound.
    """
    user = _user(user_id)
    if not user.is_active:
        raise NotFound("There is no such account.")
    _refuse_weak(user, new)
    _store_password(user, new, action="password.reset", actor=actor_for_user(user), now=now)


def request_password_reset(*, email: str, now: datetime) -> None:
    """Asks for a reset mail. Known and unknown addresses cost the same: who gets a mail is decided later."""
    with write_transaction():
        enqueue("mail_password_reset", due_at=now, email=email.strip()[:MAX_EMAIL])


def mail_password_reset(*, email: str) -> int:
    """Mails a link to everybody who has this address; returns how many mails went out.

    It goes to the address that is stored, not to the one that was typed. The link works once and for
    the time of PASSWORD_RESET_TIMEOUT: its token covers the password's hash and the last sign-in.
    """
    rows = list(User.objects.filter(email__iexact=email, is_active=True)) if email else []
    for user in rows:
        mail_reset(user)
    return len(rows)


def accept_invitation(*, token: str, new: str, now: datetime) -> None:
    """An invited person chooses a password by the mailed link, which has then done its work.

    Raises NotFound for an invitation that no longer works, InvalidInput for the password.
    """
    user = invited_person(token=token, now=now)
    _refuse_weak(user, new)
    _store_password(user, new, action="password.invited", actor=actor_for_user(user), now=now)


def issue_new_password(*, actor: Actor, user_id: int, now: datetime) -> IssuedPassword:
    """Makes a new password for a person, shown once and to be changed at the next sign-in.

    Ends the person's sessions and API tokens; a link to choose one oneself is mailed.

    Raises NotFound, NotAuthorized.
    """
    _governed(actor, user_id)
    password = issued_password()
    encoded = make_password(password)
    with write_transaction():
        user = _locked(actor, user_id)
        User.objects.filter(id=user.pk).update(password=encoded, must_change_password=True)
        sessions = drop_sessions(user_id=user.pk)
        tokens = end_tokens(actor=actor, user_id=user.pk, now=now)
        _record(actor, user, "password.issue", now=now, data={"sessions": sessions, "tokens": tokens})
        enqueue_account_mail(user_id=user.pk, occasion=Occasion.PASSWORD, by=actor.label, now=now)
    return IssuedPassword(user_id=UserId(user.pk), username=user.username, password=password)


def disable_account(*, actor: Actor, user_id: int, now: datetime) -> None:
    """Stops a person from signing in, here and with API tokens; what they asked for stays.

    ACME credentials ask in somebody else's name from now on; their keys stay as they are. What the RA has
    disabled, only the RA enables: that is kept beside the account.

    Raises NotFound, NotAuthorized, StateConflict.
    """
    with write_transaction():
        user = _locked(actor, user_id)
        if not User.objects.filter(id=user.pk, is_active=True).update(
            is_active=False, disabled_by=actor.side, disabled_at=now
        ):
            raise StateConflict("This account is disabled already.")
        sessions = drop_sessions(user_id=user.pk)
        tokens = end_tokens(actor=actor, user_id=user.pk, now=now)
        for home in Membership.objects.filter(user=user).values_list("organisation_id", flat=True):
            take_over(actor=actor, organisation_id=OrganisationId(home), leaver_id=user.pk, now=now)
        _record(actor, user, "account.disable", now=now, data={"sessions": sessions, "tokens": tokens})


def enable_account(*, actor: Actor, user_id: int, now: datetime) -> IssuedPassword:
    """Lets a person sign in again, with a newly issued password: nobody knows who has the old one.

    Raises NotFound, NotAuthorized, StateConflict.
    """
    _governed(actor, user_id)
    password = issued_password()
    encoded = make_password(password)
    with write_transaction():
        user = _locked(actor, user_id)
        if not user.is_active and not may_enable(actor, Side(user.disabled_by)):
            raise NotAuthorized("The RA disabled this account. Only the RA can enable it.")
        if not User.objects.filter(id=user.pk, is_active=False).update(
            is_active=True,
            disabled_by=Side.NONE,
            disabled_at=None,
            password=encoded,
            must_change_password=True,
        ):
            raise StateConflict("This account is not disabled.")
        _record(actor, user, "account.enable", now=now)
        enqueue_account_mail(user_id=user.pk, occasion=Occasion.ENABLED, by=actor.label, now=now)
    return IssuedPassword(user_id=UserId(user.pk), username=user.username, password=password)


def reset_second_factor(*, actor: Actor, user_id: int, now: datetime) -> None:
    """Takes away a person's lost second factors, ending sessions and API tokens, and has the person told.

    Raises NotFound, NotAuthorized, StateConflict.
    """
    with write_transaction():
        user = _locked(actor, user_id)
        rows = Authenticator.objects.filter(user_id=user.pk)
        kinds = sorted(rows.values_list("type", flat=True))
        if not kinds:
            raise StateConflict("This person has no second factor.")
        rows.delete()
        drop_sessions(user_id=user.pk)
        tokens = end_tokens(actor=actor, user_id=user.pk, now=now)
        _record(actor, user, "second_factor.reset", now=now, data={"kinds": kinds, "tokens": tokens})
        enqueue_account_mail(user_id=user.pk, occasion=Occasion.FACTOR_RESET, by=actor.label, now=now)


@contextmanager
def second_factor_change(*, user_id: int, but_session: str, now: datetime) -> Iterator[None]:
    """A transaction in which a person's own second factors change; what came of it is audited in it.

    Other sessions end: they began under the old rules, and one stolen before a second factor was there must
    not outlive it. API tokens end with a factor that is removed. An error undoes everything.
    """
    with write_transaction():
        # One change of a person after another; what refers to the person need not wait.
        user = User.objects.select_for_update(no_key=True).get(id=user_id)
        before = _factors(user_id)
        yield
        after = _factors(user_id)
        gone = [kind for pk, kind in before.items() if pk not in after]
        came = [kind for pk, kind in after.items() if pk not in before]
        # One that made way for another of its kind was renewed.
        changes = [("remove", kind) for kind in gone if kind not in came]
        changes += [("renew" if kind in gone else "add", kind) for kind in came]
        sessions = drop_sessions(user_id=user_id, but=but_session) if changes else 0
        who, removed = actor_for_user(user), any(event == "remove" for event, _kind in changes)
        tokens = end_tokens(actor=who, user_id=user_id, now=now) if removed else 0
        for event, kind in changes:
            data = {"kind": kind, "sessions": sessions, "tokens": tokens}
            _record(who, user, f"second_factor.{event}", now=now, data=data)


def _factors(user_id: int) -> dict[int, str]:
    return dict(Authenticator.objects.filter(user_id=user_id).order_by("pk").values_list("pk", "type"))


def _user(user_id: int) -> User:
    return existing(User.objects.filter(id=user_id).first(), "There is no such person.")


def _refuse_weak(user: User, new: str) -> None:
    try:
        validate_password(new, user)
    except ValidationError as error:
        raise InvalidInput("The new password can't be used.", {"new": " ".join(error.messages)}) from None


def _store_password(
    user: User, new: str, *, action: str, actor: Actor, now: datetime, ends_tokens: bool = True
) -> None:
    """Compare-and-swap on the old hash: of two changes at once, the second is told."""
    encoded = make_password(new)
    with write_transaction():
        stored = User.objects.filter(id=user.pk, password=user.password, is_active=True).update(
            password=encoded, must_change_password=False
        )
        if not stored:
            raise StateConflict("The password or the account was changed at the same moment. Sign in again.")
        sessions = drop_sessions(user_id=user.pk)
        tokens = end_tokens(actor=actor, user_id=user.pk, now=now) if ends_tokens else 0
        _record(actor, user, action, now=now, data={"sessions": sessions, "tokens": tokens})
    user.password, user.must_change_password = encoded, False


def _governed(actor: Actor, user_id: int) -> User:
    """The person, if the actor may act on the account. Raises NotFound for a person the actor can't see."""
    user = User.objects.filter(id=user_id).first()
    homes = dict(Membership.objects.filter(user_id=user_id).values_list("organisation_id", "is_active"))

    def manages(home: int) -> bool:
        return can(actor, Action.MEMBERS_MANAGE, organisation_id=OrganisationId(home))

    if user is None or not (
        can(actor, Action.MEMBERS_MANAGE)
        or (user.ra_role and can(actor, Action.SERVICE_OPERATE))
        or any(map(manages, homes))
    ):
        raise NotFound("There is no such person.")
    if user.pk == actor.user_id:
        raise NotAuthorized("Someone else has to do this for you. You can change your own password.")
    if user.ra_role:
        if not can(actor, Action.SERVICE_OPERATE):
            raise NotAuthorized("This person belongs to the RA. An operator looks after that account.")
    elif not can(actor, Action.MEMBERS_MANAGE):
        active = [home for home, is_active in homes.items() if is_active]
        if active and all(map(manages, active)):
            return user
        raise NotAuthorized("This person belongs to another organisation too. Ask the RA to do it.")
    return user


def _locked(actor: Actor, user_id: int) -> User:
    """The same under the locks of the person's organisations and of the person's row, as both are by now.

    The order is that of `services.people.membership`: organisations, the person, the audit chain.
    """
    homes = Membership.objects.filter(user_id=user_id).order_by("organisation_id")
    for home in homes.values_list("organisation_id", flat=True):
        lock_organisation(OrganisationId(home))
    User.objects.select_for_update(no_key=True).filter(id=user_id).first()
    return _governed(actor_now(actor), user_id)


def _record(
    actor: Actor, user: User, action: str, *, now: datetime, data: Mapping[str, object] | None = None
) -> None:
    owners = list(Membership.objects.filter(user=user).values_list("organisation_id", flat=True)[:2])
    owner, data = owners[0] if len(owners) == 1 else None, {"username": user.username, **(data or {})}
    audit.record(actor, action, user.pk, owner, object_type="user", now=now, data=data)
