"""Browsers that have signed in to an account before, and how many wrong tries they and strangers have.

A stranger's guesses slow strangers down, never the owner's own browser; and one bad client does not shut out
an address that many share. The cookie proves a sign-in with the present password, and nothing else: it opens
no door, and ends with the password.
"""

from collections.abc import Iterator, Mapping

from allauth.core.internal.ratelimit import RateLimitUsage, clear, consume, get_ip
from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponseBase
from django.utils.crypto import constant_time_compare, salted_hmac

from certdesk.domain.passwords import normalised
from certdesk.store.models import User

SALT = "certdesk.known-browser"
LASTS = 400 * 24 * 3600  # seconds; no browser keeps a cookie longer
MOST = 8  # accounts of one browser
#: Wrong tries for an account: from browsers that it knows, from one address, from everywhere. An address has
#: as many for all accounts as a campus behind it makes by mistake.
KNOWN, HERE, EVERYWHERE = {"tries": "10/5m/key"}, {"tries": "5/5m/key"}, {"tries": "100/h/key,200/10m/ip"}


def account_name(typed: str) -> str:
    """A user name in the one spelling that counts; other spellings give no more tries."""
    return normalised(typed).strip().casefold()


def remember(request: HttpRequest, response: HttpResponseBase, user: User) -> None:
    """Lets the browser show from now on that this account was signed in to with it."""
    name = account_name(user.username)
    others = [item for item in _shown(request).items() if item[0] != name][-MOST + 1 :]
    response.set_cookie(
        settings.KNOWN_COOKIE_NAME,
        signing.dumps({**dict(others), name: _proof(user)}, salt=SALT),
        max_age=LASTS,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def is_known(request: HttpRequest, name: str) -> bool:
    """Whether the browser has signed in to this account since its password was set."""
    shown = _shown(request).get(name)
    user = None if shown is None else User.objects.filter(username__iexact=name, is_active=True).first()
    return user is not None and shown is not None and constant_time_compare(shown, _proof(user))


def known_accounts(request: HttpRequest) -> Iterator[str]:
    """The accounts that know this browser."""
    return (name for name in _shown(request) if is_known(request, name))


def take_try(request: HttpRequest, *, name: str, what: str = "password") -> RateLimitUsage | None:
    """Takes one of the tries that are left, to be given back when it was right. None when none is left."""
    if is_known(request, name):
        return _take(request, KNOWN, f"{what} {name} known")
    here = _take(request, HERE, f"{what} {name} {get_ip(request)}")
    everywhere = here and _take(request, EVERYWHERE, f"{what} {name}")
    return RateLimitUsage([*here.usage, *everywhere.usage]) if here and everywhere else None


def forget_tries(request: HttpRequest, *, name: str) -> None:
    """Lets somebody who has just proved to be the person begin again."""
    for rates, key in ((HERE, f"password {name} {get_ip(request)}"), (EVERYWHERE, f"password {name}")):
        clear(request, app="certdesk", action="tries", config=rates, key=key)


def _take(request: HttpRequest, rates: Mapping[str, str], key: str) -> RateLimitUsage | None:
    return consume(request, app="certdesk", action="tries", config=dict(rates), key=key, limit_get=True)


def _shown(request: HttpRequest) -> dict[str, str]:
    """Account → proof, as this service has signed it; empty for any other cookie."""
    try:
        shown: dict[str, str] = signing.loads(
            request.COOKIES.get(settings.KNOWN_COOKIE_NAME, ""), salt=SALT, max_age=LASTS
        )
    except signing.BadSignature:
        return {}
    return shown


def _proof(user: User) -> str:
    """What changes with the password, and tells nothing of it."""
    return salted_hmac(SALT, f"{user.pk} {user.password}", algorithm="sha256").hexdigest()[:32]
