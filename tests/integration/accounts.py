"""What tests of accounts share: signing in as a browser does, and codes as an app computes them."""

import time
from typing import TYPE_CHECKING

from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.contrib.auth.hashers import make_password
from django.core.cache import cache
from django.test import Client

from certdesk.domain.actors import Actor
from certdesk.store.models import User

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse as Answer

OLD = "the password until now"
CHOSEN = "several unrelated words"
CHANGE = "/accounts/password/change/"


def user_of(one: Actor) -> User:
    """The row, read afresh."""
    return User.objects.get(id=one.user_id or 0)


def give(one: Actor, password: str = OLD, *, issued: bool = False) -> User:
    """Sets a password without any ceremony."""
    User.objects.filter(id=one.user_id or 0).update(
        password=make_password(password), must_change_password=issued
    )
    return user_of(one)


def sign_in(username: str, password: str = OLD, client: Client | None = None) -> Client:
    """A browser that has sent the sign-in form."""
    client = client or Client()
    client.post("/accounts/login/", {"login": username, "password": password})
    return client


def change(client: Client, *, current: str = OLD, new: str = CHOSEN) -> "Answer":
    """Sends the form that changes the password."""
    return client.post(CHANGE, {"oldpassword": current, "password1": new, "password2": new})


def is_signed_in(client: Client) -> bool:
    """Whether the home page opens."""
    return client.get("/").status_code == 200


def code_of(secret: str, *, steps: int = 0) -> str:
    """What an authenticator app shows now, or some half minutes from now."""
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30 + steps)))


def reauthenticate(client: Client, password: str = OLD) -> "Answer":
    """Shows once more who one is."""
    return client.post("/accounts/reauthenticate/", {"password": password})


def add_app(client: Client, password: str = OLD) -> str:
    """Sets up an authenticator app and returns its secret."""
    reauthenticate(client, password)
    page = client.get("/accounts/2fa/totp/activate/")
    secret = str(page.context["form"].secret)
    answer = client.post("/accounts/2fa/totp/activate/", {"code": code_of(secret)})
    assert answer.status_code == 302, answer.content
    cache.clear()  # a code counts once, and a test can't wait for the next
    return secret
