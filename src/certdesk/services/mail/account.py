"""Mails about a person's account, and the links in them: invitations, new passwords, lost second factors.

No password is ever mailed. Links are made when the mail is sent, so that no table and no job holds one.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from django.contrib.auth.tokens import default_token_generator
from django.core import signing
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.http import int_to_base36

from certdesk.domain.actors import SYSTEM
from certdesk.domain.errors import NotFound
from certdesk.services.mail.compose import letter, prose, table
from certdesk.services.system import runtime
from certdesk.store.jobs import enqueue
from certdesk.store.models import User

#: Where the links lead; the portal's addresses are a contract.
RESET_PATH = "/accounts/password/reset/key/{uid}-{token}/"
INVITATION_PATH = "/accounts/invitation/{token}/"
INVITED_FOR = timedelta(days=7)
_SALT = "certdesk.invitation"
_NO_LONGER = "This invitation no longer works."


class Occasion(StrEnum):
    """What somebody did about a person's account. The values are stored in the queue."""

    ADDED = "added"
    JOINED = "joined"
    PASSWORD = "password"  # noqa: S105 - a word, not a secret
    ENABLED = "enabled"
    FACTOR_RESET = "factor_reset"


_CHOOSE = "The link works once, until {until}:"
#: Subject, first sentence, and what the link is for, if there is one.
_WORDS: Mapping[Occasion, tuple[str, str, str]] = {
    Occasion.ADDED: (
        "Your account",
        "{by} has made an account for you at {service}{home}.",
        f"Choose your password here. {_CHOOSE}",
    ),
    Occasion.JOINED: (
        "You belong to one more organisation",
        "{by} has added your account at {service} to one more organisation. You belong to{home} now.",
        "",
    ),
    Occasion.PASSWORD: (
        "Your password was replaced",
        "{by} has replaced the password of your account at {service}. The old one no longer works.",
        f"Choose a new one here. {_CHOOSE}",
    ),
    Occasion.ENABLED: (
        "Your account works again",
        "{by} has enabled your account at {service} again. Your old password no longer works.",
        f"Choose a new one here. {_CHOOSE}",
    ),
    Occasion.FACTOR_RESET: (
        "Your second factor was taken away",
        (
            "{by} has taken away the second factor of your account at {service}: passkeys, authenticator "
            "app and recovery codes. You are signed out everywhere. Sign in and add a new one."
        ),
        "",
    ),
}


def enqueue_account_mail(*, user_id: int, occasion: Occasion, by: str, now: datetime) -> None:
    enqueue("mail_account", due_at=now, user_id=user_id, occasion=occasion.value, by=by)


def mail_account(*, user_id: int, occasion: Occasion, by: str, now: datetime) -> bool:
    """Tells a person what was done about the account; False for one that was disabled meanwhile."""
    user = User.objects.filter(id=user_id, is_active=True).exclude(email="").first()
    if user is None:
        return False
    rt, until = runtime.newest(), now + INVITED_FOR
    subject, opening, choosing = _WORDS[occasion]
    homes = sorted(user.memberships.filter(is_active=True).values_list("organisation__legal_name", flat=True))
    home = f" {' and '.join(homes)}" if occasion is Occasion.JOINED else f", for {', '.join(homes)}"
    choose = ""
    if choosing and user.must_change_password:
        day = until.astimezone(UTC).strftime("%-d %B %Y")
        path = INVITATION_PATH.format(token=invitation_token(user, until=until))
        choose = f"{prose(choosing.format(until=day))}\n{rt.base_url}{path}"
    whom = rt.rules.ra if by == SYSTEM.label else f"{by} or {rt.rules.ra}"
    letter(
        subject=subject,
        blocks=(
            prose(opening.format(by=by, service=rt.settings.service_name, home=home if homes else "")),
            table({"User name": user.username, "Portal": f"{rt.base_url}/"}),
            choose,
            prose(f"If you did not expect this, tell {whom}."),
        ),
        to=[user.email],
    ).send()
    return True


def mail_reset(user: User) -> None:
    """Mails a link that resets the password: once, and for the time of PASSWORD_RESET_TIMEOUT."""
    rt = runtime.newest()
    path = RESET_PATH.format(uid=int_to_base36(user.pk), token=default_token_generator.make_token(user))
    letter(
        subject="Reset your password",
        blocks=(
            prose(f"Someone asked to reset the password of your account at {rt.settings.service_name}."),
            table({"User name": user.username}),
            f"Choose a new password here. The link works once, within an hour:\n{rt.base_url}{path}",
            prose("If it was not you, do nothing: your password stays as it is."),
        ),
        to=[user.email],
    ).send()


def invitation_token(user: User, *, until: datetime) -> str:
    """A signed token that lets this person choose a password until something replaces the issued one."""
    return signing.dumps({"u": user.pk, "t": int(until.timestamp()), "s": _state(user)}, salt=_SALT)


def invited_person(*, token: str, now: datetime) -> User:
    """Whom an invitation is for.

    Raises NotFound for one that is used, old, replaced, made up, or of somebody who belongs nowhere any more.
    """
    try:
        said = signing.loads(token, salt=_SALT)
    except signing.BadSignature:
        raise NotFound(_NO_LONGER) from None
    user = User.objects.filter(id=said["u"], is_active=True, must_change_password=True).first()
    if user is None or now.timestamp() >= said["t"] or not constant_time_compare(said["s"], _state(user)):
        raise NotFound(_NO_LONGER)
    if not (user.ra_role or user.memberships.filter(is_active=True).exists()):
        raise NotFound(_NO_LONGER)
    return user


def _state(user: User) -> str:
    """Changes with the password, so that an invitation works once and a newer one replaces it."""
    return salted_hmac(_SALT, user.password).hexdigest()[:32]
